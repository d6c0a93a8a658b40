package authority

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// The search is that of a walk over all prefixes, and what it says holds for all
// addresses within the scope.
func TestNetworks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	// Few different bits, so that prefixes are often within each other.
	address := func(v4 bool) netip.Addr {
		var b [16]byte
		for i := range b {
			b[i] = []byte{0, 1, 0x80, 0xff}[r.IntN(4)]
		}
		if v4 {
			return netip.AddrFrom4([4]byte(b[:4]))
		}
		return netip.AddrFrom16(b)
	}
	prefix := func(v4 bool) netip.Prefix {
		a := address(v4)
		return mask(a, r.IntN(a.BitLen()+1))
	}
	longest := func(list []netip.Prefix, p netip.Prefix) int {
		best := noMatch
		for _, x := range list {
			if x.Bits() <= p.Bits() && x.Contains(p.Addr()) {
				best = max(best, x.Bits())
			}
		}
		return best
	}
	narrow := 0
	for range 2000 {
		var list []netip.Prefix
		for range r.IntN(12) {
			list = append(list, prefix(r.IntN(2) == 0))
		}
		n := compileNetworks(list)
		for range 10 {
			p := prefix(r.IntN(2) == 0)
			length, scope := n.match(p)
			require.Equal(t, longest(list, p), length, "%v in %v", p, list)
			if scope > p.Bits() {
				narrow++
				continue // nobody may use the answer for more than p
			}
			// Anything within the scope has the same answer.
			for range 10 {
				b := address(p.Addr().Is4()).AsSlice()
				top := p.Addr().AsSlice()
				for i := range scope {
					bit := byte(0x80) >> (i % 8)
					b[i/8] = b[i/8]&^bit | top[i/8]&bit
				}
				a, _ := netip.AddrFromSlice(b)
				q := mask(a, scope+r.IntN(a.BitLen()-scope+1))
				got, _ := n.match(q)
				require.Equal(t, length, got, "%v and %v, scope %d, in %v", p, q, scope, list)
			}
		}
	}
	require.Greater(t, narrow, 100)
}
