package rawip

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"

	"github.com/treedn/treedn/amt/internal/checksum"
)

// The search of the filter, run by x/net/bpf's own machine, accepts its values
// and no others.
func TestFilterSearch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{0, 1, 2, 8, 9, 100, maxGroups} {
		values := make([]uint32, n)
		for i := range values {
			values[i] = 0xe8000000 | rng.Uint32N(1<<16)
		}
		vm, err := bpf.NewVM(append([]bpf.Instruction{bpf.LoadAbsolute{Size: 4}}, search(slices.Clone(values))...))
		require.NoError(t, err)
		wanted := make(map[uint32]bool)
		for _, v := range values {
			wanted[v] = true
		}
		for range 2000 {
			v := 0xe8000000 | rng.Uint32N(1<<16)
			if n > 0 && rng.IntN(2) == 0 {
				v = values[rng.IntN(n)]
			}
			got, err := vm.Run(binary.BigEndian.AppendUint32(nil, v))
			require.NoError(t, err)
			require.Equal(t, wanted[v], got > 0, "%08x", v)
		}
	}
}

// The largest program, and that for more groups than it takes, fit the kernel.
func TestFilterLength(t *testing.T) {
	var groups []netip.Addr
	for i := range 2 * maxGroups {
		groups = append(groups, netip.AddrFrom4([4]byte{232, 1, byte(i >> 8), byte(i)}))
	}
	for _, n := range []int{maxGroups, len(groups)} {
		p, err := bpf.Assemble(filter(groups[:n], true))
		require.NoError(t, err)
		require.LessOrEqual(t, len(p), 4096)
	}
}

// A packet of five datagrams whose checksum is left to the interface is cut
// into whole packets.
func TestFinish(t *testing.T) {
	for _, header := range []int{20, 24, 40} {
		packet := make([]byte, header+8+4*100+30)
		udp := packet[header:]
		binary.BigEndian.PutUint16(udp[2:], 5000)
		binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
		for i := range udp[8:] {
			udp[8+i] = byte(i / 100)
		}
		if header == 40 {
			packet[0], packet[6], packet[7] = 0x60, 17, 9
			binary.BigEndian.PutUint16(packet[4:], uint16(len(udp)))
			packet[24] = 0xff
		} else {
			packet[0], packet[8], packet[9] = 0x40|byte(header/4), 9, 17
			binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
			binary.BigEndian.PutUint16(packet[4:], 65534)
			packet[16] = 232
		}
		var sizes []int
		finish(packet, nil, offload{partial: true, segment: 100}, func(p []byte) {
			i := len(sizes)
			sizes = append(sizes, len(p)-header-8)
			h, length, ok := udpAt(p)
			require.True(t, ok)
			require.Equal(t, len(p), h+length)
			addresses := p[8:40:40]
			if header < 40 {
				require.Zero(t, checksum.Of(p[:header]))
				require.Equal(t, uint16(65534+i), binary.BigEndian.Uint16(p[4:]))
				addresses = p[12:20]
			}
			require.Zero(t, checksum.Fold(checksum.Add(checksum.Add(uint64(17+length), addresses), p[h:])))
			require.Equal(t, byte(i), p[header+8])
		})
		require.Equal(t, []int{100, 100, 100, 100, 30}, sizes)
	}
}

// Packets off the wire can say anything.
func FuzzFinish(f *testing.F) {
	f.Add(make([]byte, 100), uint16(10), true)
	f.Add([]byte{0x45, 0, 0, 40, 0, 0, 0, 0, 9, 17, 0, 0, 1, 2, 3, 4, 232, 0, 0, 1, 0, 0, 0, 0, 0, 20, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, uint16(5), true)
	f.Fuzz(func(t *testing.T, b []byte, segment uint16, partial bool) {
		total := 0
		arena := finish(b, nil, offload{partial: partial, segment: int(segment)}, func(p []byte) { total += len(p) })
		if len(b) > 0 && total > len(b)*(1+48) {
			t.Fatalf("%d octets of %d", total, len(b))
		}
		_ = arena
	})
}
