// Package route sends and receives objects by ROUTE (RFC 9223; A/331, Annex A):
// files and live media segments over one-way multicast, repaired by RaptorQ.
//
// A [Sender] turns objects into packets, a [Receiver] packets into objects.
// Both are state machines without sockets, goroutines and clocks. One goroutine
// owns each; it passes in packets, octets and the time, and takes out packets
// and events:
//
//	tx, err := sender.Begin(now, route.Outgoing{Name: "seg-1.m4s", …})
//	tx.Append(now, octets)  // as they are made; full packets leave at once
//	tx.Cut()                // the end of a low-latency chunk: nothing waits
//	tx.End(now)
//	for pkt, ok := sender.Poll(now, buf[:0]); ok; pkt, ok = sender.Poll(now, buf[:0]) {
//		conn.Write(pkt)
//	}
//	// then sleep until sender.NextTimeout(now)
//
//	receiver.Push(now, src, pkt)
//	for ev, ok := receiver.Poll(); ok; ev, ok = receiver.Poll() {
//		// ev.Object.Bytes, Prefix, Length; ev.Missing
//	}
//	// then sleep until receiver.NextTimeout(), and call HandleTimeout
//
// An object can be read while it grows: Prefix is what has come without a hole.
// What is lost of it comes back within tens of milliseconds, from repair packets
// for blocks of what was sent so far, and the end and the rest from those for
// the whole.
//
// RaptorQ takes milliseconds for each megabyte. Both sides hand that out as
// [Work], to be run on any goroutine and given back by Finish; RunWork does it
// on the spot.
//
// # On the wire
//
// TSI 0 carries the S-TSID and the manifests in one gzip'd package, sent three
// times at each change and every 500 ms. One TSI carries lone files, each with
// a File entry in its EFDT. Each run of a media track has a TSI of its own,
// whose file template names the objects. Repair packets have the TSI of the
// source flow; the SPI bit tells them apart. They carry their OTI in EXT_FTI,
// since the symbol size fits the packets that the object left in. A private
// attribute of the EFDT, in a namespace of ours, orders objects of equal name.
//
// Repair packets for growing objects are a profile of our own, see growing.md:
// private attributes of the S-TSID name their TSI, so that other receivers never
// see them.
//
// # What is hostile
//
// Every packet is. A Receiver takes memory for octets that came, never for a
// length that was announced, within the limits of [ReceiverConfig]. The flags A
// and B, lengths, codepoints and repair symbols are claims: the first that
// fits is kept, those that contradict are counted and dropped: of growing
// objects one block at a time. Whether octets
// are genuine is for others to decide: [Receiver.Reject] takes forged ones
// back, and HoldSignalling makes the Receiver wait before it acts on an S-TSID.
// A name is an opaque string, never a path of a file system.
//
// # Repair of several objects together
//
// Outgoing.Pool names the tracks whose objects of equal number make one super-object, which a repair flow with a TSI of
// its own protects: small objects need less repair together than alone. A Receiver decodes such flows of any sender, in
// whatever form they name the objects, and keeps complete ones for a while after their Release, because the octets may
// be needed.
//
// Repair flows may go to another group, SenderConfig.RepairSession, so that who wants no repair does not get it: PollRepair
// has their packets. A Receiver's OtherSessions tells where flows go that it should be given, too.
//
// # Delivery modes
//
// Outgoing.Format and SendPackage send objects of Entity Mode, with an HTTP header and a body that may go in chunks, and
// packages, signed or not. With ReceiverConfig.Unpack a Receiver looks into them: Object.Body reads the body of an entity
// while it grows, and an event tells each part of a package. Package entity holds the formats.
//
// # Left out
//
// Source packets with SBN and ESI, MDE mode and EXT_AUTH are not supported. Of a ProtectedObject the sessionDescription is
// not read: all objects of a super-object are taken to be of this session.
package route
