package fdt_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/lct"
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

// instances returns the objects with TOI 0 of a capture: FDT Instances. The
// packets must come in order and each object complete.
func instances(tb testing.TB, name string) (list [][]byte) {
	tb.Helper()
	type key struct {
		tsi uint64
		id  uint32
	}
	objects := map[key][]byte{}
	var order []key
	for _, p := range capture(tb, name) {
		var h lct.Header
		n, err := h.Unmarshal(p)
		require.NoError(tb, err)
		if h.TOI != 0 || !h.HasTOI {
			continue
		}
		ext, isFLUTE := h.Extensions.FDT()
		if !isFLUTE && h.PSI == 0 {
			continue
		}
		k := key{h.TSI, ext.InstanceID}
		first := binary.BigEndian.Uint32(p[n:]) == 0 // start_offset, or SBN and ESI
		if _, seen := objects[k]; !seen {
			order = append(order, k)
		} else if first {
			objects[k] = nil // sent again
		}
		objects[k] = append(objects[k], p[n+4:]...)
	}
	for _, k := range order {
		list = append(list, objects[k])
	}
	return list
}
