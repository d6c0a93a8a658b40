package inspect

import (
	"bytes"

	"github.com/treedn/treedn/flute/lct"
)

// largeDatagram is what does not fit into a frame of Ethernet, in octets.
const largeDatagram = 1500 - 20 - 8

// segmentSize finds out whether a datagram is a run of packets of one size, with a shorter one behind them: captures have
// those as the kernel hands them on, at a sender before its interface cuts them (UDP GSO), or at a receiver that joins
// them (GRO). First is the header of the first packet, of n octets. It is 0 if the datagram is one packet.
func segmentSize(first *lct.Header, n int, b []byte) int {
	cci := b[4:8]
	for at := n + 4; at+8 <= len(b); {
		i := bytes.Index(b[at+4:], cci)
		if i < 0 {
			return 0
		}
		if at += i; isRun(first, b, at) {
			return at
		}
		at++
	}
	return 0
}

// isRun tells whether a packet begins after each size octets.
func isRun(first *lct.Header, b []byte, size int) bool {
	var h lct.Header
	for rest := b[size:]; len(rest) > 0; rest = rest[min(size, len(rest)):] {
		if len(rest) < 8 || rest[0]>>4 != b[0]>>4 || !bytes.Equal(rest[4:8], b[4:8]) {
			return false
		}
		if _, err := h.Unmarshal(rest[:min(size, len(rest))]); err != nil || h.TSILen != first.TSILen || h.TOILen != first.TOILen {
			return false
		}
	}
	return true
}
