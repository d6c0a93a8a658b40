// Package reception is what RELAY and BEACON have in common: a set of services that are received by multicast, repaired
// from the parents and kept in the node's cache.
//
// A service may move to another session while it runs. Old and new session are received side by side until the new one
// delivers, so that receivers are changed first and their sender last, and nobody misses an object.
package reception
