// Package flute sends and receives files by FLUTE (RFC 6726, and RFC 3926 as 3GPP and DVB use it): one-way multicast, with
// any of the usual codes against loss.
//
// A [Sender] turns files into packets, a [Receiver] packets into files. Both are state machines without sockets,
// goroutines and clocks. One goroutine owns each; it passes in packets, files and the time, and takes out packets and
// events:
//
//	toi, err := sender.Add(now, flute.File{Location: "http://example.com/a", Body: f, Length: n})
//	for pkt, ok := sender.Poll(now, buf[:0]); ok; pkt, ok = sender.Poll(now, buf[:0]) {
//		conn.Write(pkt)
//	}
//	sender.RunWork(now)
//	// then sleep until sender.NextTimeout(now)
//
//	receiver.Push(now, src, pkt)
//	receiver.RunWork(now)
//	for ev, ok := receiver.Poll(); ok; ev, ok = receiver.Poll() {
//		// ev.Object.Location, Bytes, Prefix, Content; ev.Missing; receiver.Release
//	}
//	// then sleep until receiver.NextTimeout(), and call HandleTimeout
//
// Codes and digests take milliseconds for each megabyte. Both sides hand that out as [Work], to be run on any goroutine
// and given back by Finish; RunWork does it on the spot. It must be done either way: a file with a digest is complete only
// afterwards.
//
// A file can be read while it grows: [Object.Reader] yields what has come without a hole, [Object.ReadAt] also what is
// behind holes. Files that are larger than the memory go to a [Store]. What multicast and FEC do not bring is reported by NeedRepair, as ranges of octets or as symbols, and
// comes back by [Receiver.Supply].
//
// # Sessions
//
// A FLUTE session is what one source sends under one TSI. One Receiver takes all sessions that come to one address and
// port, or to several if the session has several channels; a Sender makes one session of one channel.
//
// What a session's files are is told by FDT Instances, objects with TOI 0, of which the Receiver keeps the rules in an
// [fdt.Database] for each session. Packets that come before their description are kept for a while.
//
// # What is hostile
//
// Every packet is. A Receiver takes memory for octets that came, never for a length that was announced, within the limits
// of [ReceiverConfig]; what one sender floods it with does not keep out what another describes. The flags A and B are
// hints. A Content-Location is an opaque string, never a path of a file system.
//
// # Parts
//
// The codecs are packages of their own: flute/lct and flute/alc the packets, flute/fdt the File Delivery Table, flute/mbms
// the announcements of 3GPP. flute/packetio joins sockets, tunnels and captures to Receivers and Senders. flute/ntp,
// flute/pacing, flute/xmllimit and flute/reassembly serve them and package route; flute/repair is file repair by HTTP, flute/push the
// delivery of objects by HTTP; flute/seal signs objects so that they can be believed whatever way they came.
//
// # Left out
//
// Sending on several channels, congestion control (RFC 6726 section 4 permits that in networks with capacity set aside),
// EXT_AUTH, and the FEC schemes 4, 128 and 130. Files that grow while they are sent are for package route.
package flute
