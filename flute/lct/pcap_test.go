package lct_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// llsPort carries Low Level Signalling, which is not LCT.
const llsPort = 4937

// capture returns the UDP payloads of a classic pcap file of IPv4 in Ethernet.
func capture(tb testing.TB, name string) (packets [][]byte) {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name))
	require.NoError(tb, err)
	require.Equal(tb, uint32(0xa1b2c3d4), binary.LittleEndian.Uint32(b))
	for b = b[24:]; len(b) > 0; {
		n := binary.LittleEndian.Uint32(b[8:])
		ip := b[16+14 : 16+n]
		b = b[16+n:]
		udp := ip[int(ip[0]&15)*4:]
		if binary.BigEndian.Uint16(udp[2:]) != llsPort {
			packets = append(packets, udp[8:binary.BigEndian.Uint16(udp[4:])])
		}
	}
	return packets
}

var captures = []string{
	"atsc3-ateme-lls-esg.pcap",
	"gpac-mabr-flute-heads.pcap",
	"gpac-route-ll-heads.pcap",
	"libflute-etag.pcap",
	"libflute-gzip.pcap",
	"libflute-plain-heads.pcap",
}
