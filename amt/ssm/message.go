package ssm

import (
	"net/netip"

	"github.com/treedn/treedn/amt/internal/mmsg"
)

// MaxDatagram is the size of the largest UDP payload and of the largest run of
// coalesced packets.
const MaxDatagram = 65535

// Message is one result of [Receiver.ReadBatch]: a packet, or a run of packets
// that the kernel joined together.
type Message struct {
	// Buffer is given by the caller and filled by ReadBatch. With less than
	// MaxDatagram octets the tail of a run may be lost, which
	// [Stats.Truncated] counts. ReadBatch may exchange the Buffers of the
	// messages handed to it.
	Buffer []byte
	// N is the number of octets received.
	N int
	// SegmentSize is the size of each packet in Buffer[:N]; the last one may be
	// shorter. It equals N for a lone packet.
	SegmentSize int
	// Source is the sender of all packets of the run.
	Source netip.AddrPort
	// Destination is the group, or invalid where the system does not tell.
	Destination netip.Addr
	// Truncated: the end of the packet, or packets at the end of the run, did not fit
	// the Buffer and are lost. Only Linux tells of packets from the network.
	Truncated bool
}

// NewMessages returns n messages with buffers of [MaxDatagram] octets.
func NewMessages(n int) []Message {
	ms := make([]Message, n)
	for i := range ms {
		ms[i].Buffer = make([]byte, MaxDatagram)
	}
	return ms
}

// Segments iterates over the packets of m, which alias its Buffer. It is made
// for the range statement: for packet := range m.Segments.
func (m *Message) Segments(yield func(packet []byte) bool) {
	mmsg.Segments(m.Buffer[:m.N], m.SegmentSize, yield)
}

// packets returns how many packets m holds.
func (m *Message) packets() int {
	if m.SegmentSize <= 0 {
		return 0
	}
	return (m.N + m.SegmentSize - 1) / m.SegmentSize
}
