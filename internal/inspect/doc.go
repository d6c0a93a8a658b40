// Package inspect finds out what is in a multicast: it takes UDP datagrams, of a capture or live, tells FLUTE, ROUTE,
// ATSC 3.0 and DVB-MABR apart by itself, puts every object together, and says what is wrong with the signalling.
//
// An [Inspector] is a state machine without sockets and files:
//
//	in := inspect.New(inspect.Config{Emit: func(e inspect.Event) { fmt.Println(e) }})
//	in.Push(at, from, to, datagram) // for each datagram
//	in.Finish()                     // what is incomplete, the findings, the sums
//
// It goes by the packets alone, and takes from the signalling only what they do not tell: names, and the length where
// no packet has it. So it shows the objects also of a session whose signalling is missing, wrong or expired, or whose
// clock is off, which the receivers of packages flute and route rightly do not deliver. What they share with it are the
// codecs and the FEC.
//
// An object is one by its source, destination, TSI and TOI, and on TOI 0 by its FDT Instance ID. One that comes again
// with other octets is another object. Each is told once, when it is complete and named, or at the end if it stays
// incomplete.
//
// [ReadCapture] and [Listen] feed an Inspector, [Saver] writes its objects to files, [Printer] and [JSON] write its
// events. The names of objects are the sender's, and hostile: a Saver never leaves its directory.
package inspect
