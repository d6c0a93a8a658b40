package amt

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// Joins and leaves of so many channels through one tunnel: each costs the same, however
// many there are, in groups of their own or in a few.
func BenchmarkChainChannels(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		for _, groups := range []int{n, 10} {
			b.Run(fmt.Sprintf("channels=%d/groups=%d", n, groups), func(b *testing.B) {
				for b.Loop() {
					c, err := NewChain(ChainConfig{RelaysLater: true})
					require.NoError(b, err)
					key := func(i int) (source, group netip.Addr) {
						g := i % groups
						return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), netip.AddrFrom4([4]byte{232, 1, byte(g >> 8), byte(g)})
					}
					for i := range n {
						source, group := key(i)
						require.NoError(b, c.Join(source, group, func([][]byte) {}))
					}
					for i := range n {
						c.Leave(key(i))
					}
					require.NoError(b, c.Close())
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "us/channel")
			})
		}
	}
}
