package inspect

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/route/lls"
)

// foreign is what came to a destination and is of another protocol.
type foreign struct {
	packets uint64
	seal    bool // the first one is a seal
	// Datagrams that follow each other as those of a protocol do.
	ts, rtp, mmtp uint64
	last          map[uint32]uint32 // sequence numbers, by the identifier of their flow
}

// maxFlows bounds the flows whose sequence numbers are compared.
const maxFlows = 64

// foreignTo counts a datagram to a destination.
func (in *Inspector) foreignTo(to netip.AddrPort, b []byte) {
	in.total.Foreign++
	f := in.foreign[to]
	if f == nil {
		if len(in.foreign) >= maxSessions {
			return
		}
		var d seal.Datagram
		f = &foreign{seal: d.Unmarshal(b) == nil, last: map[uint32]uint32{}}
		in.foreign[to] = f
	}
	f.packets++
	const tsPacket = 188
	switch {
	case len(b) < 12:
	case b[0] == 0x47 && len(b)%tsPacket == 0: // ISO/IEC 13818-1
		for ; len(b) > 0 && b[0] == 0x47; b = b[tsPacket:] {
		}
		if len(b) == 0 {
			f.ts++
		}
	case b[0]>>6 == 2: // RFC 3550 section 5.1
		if f.follows(binary.BigEndian.Uint32(b[8:]), uint32(binary.BigEndian.Uint16(b[2:])), 0xffff) {
			f.rtp++
		}
	case b[0]>>6 < 2: // ISO/IEC 23008-1 section 9.2: packet_id and packet_sequence_number
		if f.follows(uint32(binary.BigEndian.Uint16(b[2:])), binary.BigEndian.Uint32(b[8:]), 0xffffffff) {
			f.mmtp++
		}
	}
}

// follows tells whether a sequence number is the next one of its flow.
func (f *foreign) follows(flow, number, mask uint32) bool {
	last, ok := f.last[flow]
	if !ok && len(f.last) >= maxFlows {
		return false
	}
	f.last[flow] = number
	return ok && number == (last+1)&mask
}

// foreignName says what datagrams to a destination are: what the SLT says, or what they look like.
func (in *Inspector) foreignName(to netip.AddrPort) string {
	for _, l := range in.lls {
		if l.SLT == nil {
			continue
		}
		for i := range l.SLT.Services {
			if b := l.SLT.Services[i].Signalling; b != nil && b.Protocol == lls.ProtocolMMTP && b.Destination == to {
				return fmt.Sprintf("the SLT says that service %d comes by MMTP", l.SLT.Services[i].ID)
			}
		}
	}
	f := in.foreign[to]
	most := f.packets * 3 / 4
	switch {
	case f.seal:
		return "they are seals of TreeDN"
	case f.ts > most:
		return "they look like an MPEG-2 transport stream"
	case f.rtp > most:
		return "they look like RTP"
	case f.mmtp > most:
		return "they look like MMTP"
	}
	return "another protocol"
}
