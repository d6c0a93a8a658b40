// Package amtrelay is an AMT relay as a node runs it: the sockets of package amt with a configuration, its changes under
// way, status, and an end that lets gateways go elsewhere. A bridge out of AMT onto a network belongs to it.
//
// A RELAY has one beside its services; Node is a node that is nothing else.
package amtrelay
