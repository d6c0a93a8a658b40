package driad

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The examples of RFC 6724 section 10.2, but for those about home and deprecated
// addresses.
func TestDestinationOrder(t *testing.T) {
	for _, c := range []struct{ first, firstSource, second, secondSource, rule string }{
		{"2001:db8:1::1", "2001:db8:1::2", "198.51.100.121", "169.254.13.78", "matching scope"},
		{"198.51.100.121", "198.51.100.117", "2001:db8:1::1", "fe80::1", "matching scope"},
		{"2001:db8:1::1", "2001:db8:1::2", "10.1.2.3", "10.1.2.4", "higher precedence"},
		{"fe80::1", "fe80::2", "2001:db8:1::1", "2001:db8:1::2", "smaller scope"},
		{"2001:db8:1::1", "2001:db8:1::2", "2001:db8:3ffe::1", "2001:db8:3f44::2", "longest matching prefix"},
		{"2002:c633:6401::1", "2002:c633:6401::2", "2001:db8:1::1", "2002:c633:6401::2", "matching label"},
		{"2001:db8:1::1", "2001:db8:1::2", "2002:c633:6401::1", "2002:c633:6401::2", "higher precedence"},
		{"2002:c633:6401::1", "2002:c633:6401::2", "2001:db8:1::1", "", "usable"},
	} {
		a := destination{address: netip.MustParseAddr(c.first), source: netip.MustParseAddr(c.firstSource)}
		b := destination{address: netip.MustParseAddr(c.second)}
		if c.secondSource != "" {
			b.source = netip.MustParseAddr(c.secondSource)
		}
		require.Negative(t, compareDestinations(&a, &b), c.rule)
		require.Positive(t, compareDestinations(&b, &a), c.rule)
		require.Zero(t, compareDestinations(&a, &a))
	}
}

func TestInterleave(t *testing.T) {
	for _, c := range [][2]string{{"66644", "64646"}, {"4666", "4666"}, {"6444", "6444"}, {"44666", "46466"}, {"66", "66"}, {"", ""}} {
		var list []Candidate
		for i, f := range c[0] {
			a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
			if f == '6' {
				a = netip.AddrFrom16([16]byte{0x20, 1, 15: byte(i)})
			}
			list = append(list, Candidate{Address: netip.AddrPortFrom(a, Port)})
		}
		before := slices.Clone(list)
		interleave(list)
		got := ""
		last := map[bool]byte{}
		for _, x := range list {
			four := x.Address.Addr().Is4()
			got += map[bool]string{true: "4", false: "6"}[four]
			b := x.Address.Addr().AsSlice()
			require.LessOrEqual(t, last[four], b[len(b)-1], "the order within a family stays")
			last[four] = b[len(b)-1]
		}
		require.Equal(t, c[1], got)
		require.ElementsMatch(t, before, list)
	}
}
