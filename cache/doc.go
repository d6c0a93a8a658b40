// Package cache keeps the objects of a delivery node.
package cache
