package amt

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/internal/checksum"
)

func TestLoopGuard(t *testing.T) {
	for _, addrs := range [][2]string{{"192.0.2.1", "232.1.1.1"}, {"2001:db8::1", "ff3e::8000:1"}} {
		packet := func(ttl uint8, payload string) *Packet {
			b := AppendUDP(nil, netip.AddrPortFrom(netip.MustParseAddr(addrs[0]), 1), netip.AddrPortFrom(netip.MustParseAddr(addrs[1]), 2), ttl, []byte(payload))
			var p Packet
			require.NoError(t, p.Parse(b))
			return &p
		}
		now := time.Unix(1000, 0)
		g := newLoopGuard(now)
		p := packet(9, "a")
		require.Equal(t, loopPass, g.pass(now, p))
		require.Equal(t, uint8(8), p.TTL)
		var again Packet
		require.NoError(t, again.Parse(p.Raw), "the header checksum was mended")
		require.Equal(t, uint8(8), again.TTL)

		// It comes back, marked by the way.
		round := append([]byte(nil), p.Raw...)
		if round[0]>>4 == 4 {
			round[1] = 3
			round[10], round[11] = 0, 0
			s := checksum.Of(round[:20])
			round[10], round[11] = byte(s>>8), byte(s)
		} else {
			round[1] |= 0x30
		}
		require.NoError(t, again.Parse(round))
		require.Equal(t, loopSeen, g.pass(now.Add(time.Second), &again))

		require.Equal(t, loopPass, g.pass(now, packet(9, "a")), "an equal one from the source")
		require.Equal(t, loopPass, g.pass(now, packet(5, "b")), "another one")
		require.Equal(t, loopExpired, g.pass(now, packet(1, "c")))
		require.Equal(t, loopExpired, g.pass(now, packet(0, "c")))
		require.Equal(t, loopPass, g.pass(now.Add(time.Minute), packet(8, "a")), "long ago")
	}
}

// Incremental and full checksums agree for every time to live.
func TestHop(t *testing.T) {
	for ttl := 255; ttl > 0; ttl-- {
		b := AppendUDP(nil, netip.MustParseAddrPort("10.255.255.1:1"), netip.MustParseAddrPort("232.1.1.1:2"), uint8(ttl), []byte{byte(ttl)})
		var p Packet
		require.NoError(t, p.Parse(b))
		p.hop()
		require.Zero(t, checksum.Of(b[:20]))
	}
}

func BenchmarkLoopGuard(b *testing.B) {
	now := time.Now()
	g := newLoopGuard(now)
	packet := AppendUDP(nil, netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("232.1.1.1:2"), 64, make([]byte, 1316))
	b.SetBytes(int64(len(packet)))
	b.ReportAllocs()
	var p Packet
	buf := make([]byte, len(packet))
	for b.Loop() {
		copy(buf, packet)
		if p.Parse(buf) != nil || g.pass(now, &p) != loopPass {
			b.Fatal("dropped")
		}
	}
}
