package packetio

import (
	"net/netip"
	"time"
)

// Handler takes one run of packets that arrived at a time, all of them from one sender and to one group or address: run
// is cut into packets of size octets, of which the last may be shorter. to is invalid, or its address is, where the
// system does not tell. The octets are valid until the handler returns, which has to be soon: the next packets wait.
type Handler = func(at time.Time, from, to netip.AddrPort, run []byte, size int)

// Source is where packets come from. Receive is for one goroutine at a time; the other methods may be called from others.
type Source interface {
	// Receive waits for packets and calls handle with each run of them, at least once unless it fails. Its error
	// matches os.ErrDeadlineExceeded after the time set by SetReadDeadline, net.ErrClosed after Close, and io.EOF at the
	// end of a capture.
	Receive(handle Handler) error
	// SetReadDeadline ends a Receive that waits now or later at t; the zero time means never.
	SetReadDeadline(t time.Time) error
	// Close ends all that wait. It may be called more than once.
	Close() error
}

// Sink is where packets go.
type Sink interface {
	// WriteBatch sends packets in order and returns how many were sent. Packets of one size, and a shorter one behind
	// them, go to the kernel as one, at the least cost if they lie behind each other in memory. They are not kept.
	WriteBatch(packets [][]byte, to netip.AddrPort) (int, error)
	// Close ends all that wait. It may be called more than once.
	Close() error
}

// Segments iterates over the packets of a run.
func Segments(run []byte, size int) func(yield func(packet []byte) bool) {
	return func(yield func(packet []byte) bool) {
		if size <= 0 {
			return
		}
		for b := run; len(b) > 0; {
			n := min(size, len(b))
			if !yield(b[:n:n]) {
				return
			}
			b = b[n:]
		}
	}
}
