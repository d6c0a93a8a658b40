// Package packetio joins receivers and senders of FLUTE and ROUTE to whatever carries their packets, so that neither
// knows the other: a socket that has joined a group, an AMT tunnel, a unicast socket, or a capture.
//
// A [Source] hands out runs: a packet, or several of one size that lie behind each other, as the kernel joins them (UDP
// GRO). A [Sink] takes packets; those of one size that lie behind each other in memory leave as one (UDP GSO). Both use
// types of the standard library alone, so that the sockets of package amt/ssm satisfy them without an import. The
// receivers take runs as they come: their PushRun is a [Handler].
//
//	handle := receiver.PushRun
//	for {
//		source.SetReadDeadline(receiver.NextTimeout())
//		err := source.Receive(handle)
//		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
//			return err
//		}
//		now := time.Now()
//		receiver.HandleTimeout(now)
//		// poll events
//	}
package packetio
