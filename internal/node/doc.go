// Package node holds what every role of the tree stands on: the life of a command from its flags to its exit code, and
// HTTP listeners whose certificates can be replaced under way.
package node
