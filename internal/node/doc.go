// Package node holds what every role of the tree stands on: HTTP listeners with certificates that can be replaced under
// way.
package node
