// Package flutetest gives tests the packets of sessions that other senders
// made, as captures hold them.
package flutetest

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
	"time"
)

// Packet is a UDP datagram of a capture.
type Packet struct {
	At       time.Time
	Src, Dst netip.AddrPort
	// Payload is what follows the UDP header.
	Payload []byte
}

// llsPort carries Low Level Signalling (ATSC A/331 section 6.1), which is not
// LCT.
const llsPort = 4937

// IsLCT says whether a packet is meant for a receiver of LCT.
func (p Packet) IsLCT() bool { return p.Dst.Port() != llsPort }

// Capture reads a classic pcap file with nothing but whole packets of IPv4 and
// UDP in Ethernet frames. Anything else fails the test.
func Capture(tb testing.TB, file string) (packets []Packet) {
	tb.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	const (
		header, record, ethernet, udpHeader = 24, 16, 14, 8

		microseconds = 0xa1b2c3d4
	)
	le, be := binary.LittleEndian, binary.BigEndian
	if len(b) < header || le.Uint32(b) != microseconds {
		tb.Fatalf("%s is not a pcap file with microseconds, low octet first", file)
	}
	for b = b[header:]; len(b) > 0; {
		if len(b) < record || len(b)-record < int(le.Uint32(b[8:])) {
			tb.Fatalf("%s ends in packet %d", file, len(packets)+1)
		}
		at := time.Unix(int64(le.Uint32(b)), int64(le.Uint32(b[4:]))*int64(time.Microsecond))
		frame := b[record : record+int(le.Uint32(b[8:]))]
		b = b[record+len(frame):]
		if len(frame) < ethernet+20 || be.Uint16(frame[12:]) != 0x0800 || frame[ethernet+9] != 17 {
			tb.Fatalf("%s: packet %d is not UDP over IPv4", file, len(packets)+1)
		}
		ip := frame[ethernet:]
		udp := ip[min(len(ip), int(ip[0]&15)*4):]
		if len(udp) < udpHeader || int(be.Uint16(udp[4:])) < udpHeader || int(be.Uint16(udp[4:])) > len(udp) {
			tb.Fatalf("%s: packet %d is cut off", file, len(packets)+1)
		}
		address := func(ip, port []byte) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip)), be.Uint16(port))
		}
		packets = append(packets, Packet{
			At: at, Src: address(ip[12:16], udp), Dst: address(ip[16:20], udp[2:]),
			Payload: udp[udpHeader:be.Uint16(udp[4:])],
		})
	}
	return packets
}
