// Package follow decides what a receiving node asks of its parents beside what multicast brings: when to go over to them
// and when to return, and what to fetch meanwhile. It is a state machine without sockets, goroutines or a clock.
//
// It is told of packets, of objects that begin, grow and end, of manifests, and of how its requests went:
//
//	m := follow.New(now, follow.Config{Index: service.Index(), Has: has})
//	m.Packets(now)
//	o := m.Begun(now, follow.Meta{Name: "v-17.m4s", Media: true})
//	m.Grown(now, o)
//	m.Ended(now, o, true)
//	for a, ok := m.Poll(); ok; a, ok = m.Poll() {
//		// do a, and tell m.Result(now, a.Job, outcome) once it has ended
//	}
//	// at m.NextTimeout(): m.HandleTimeout(now)
//
// # Going over
//
// What counts is what multicast brings into objects, not that packets come: these may be forged. The machine learns the
// longest gap that is usual: some 40 ms in a low-latency flow, a segment in a
// flow of bursts. Somewhat more than that, and a random time so that the children of one node do not ask in step, and the
// flow counts as silent. The node then follows its parents: the objects that multicast began are fed from their last
// octet on, the next ones of each track are asked for before they exist, so that they come as they grow, and manifests
// are waited for. When packets come again nothing new is asked for, unless it does not begin in time, and once an object
// has come by multicast alone the node is back. Packets that begin nothing are given that chance with growing distance.
//
// # What is missing
//
// What manifests list and the node lacks is fetched in any case. Objects behind the place where the node joined are for
// its sinks too, in the order in which players need them; older ones are for the cache alone, newest first, few at a
// time. An object that stands, although packets come, is fed as well.
//
// # Bounds
//
// Requests wait at the parent for what is about to come, so that each object and each manifest costs one of them. While
// parents have nothing new either, as when the source has ended, one request is left that waits.
package follow
