// Package sealing puts flute/seal between the parts of a node, so that no octet can be read before it was verified.
//
// At the root a [Sealer] seals what a service takes in. It is a sink of the service, and its datagrams leave by the
// service's other sinks: the senders, which multicast them on the port behind that of the media.
//
// Below the root a [Gate] stands in front of a service: whoever has octets for it, the receiver of multicast or a fetch
// from a parent, opens the object at the Gate, shows what has come, and writes to the service what the Gate says is
// readable. The datagrams that made octets readable go with them: to the senders, and into the cache, from where a
// [Handler] gives them to children. A [Client] asks the parents for those that multicast did not bring, and a [Fetcher]
// makes a fetch from a parent one of verified octets.
//
// The rules of what is genuine are flute/seal's. Here are locks, goroutines and HTTP.
package sealing
