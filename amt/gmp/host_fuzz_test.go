package gmp_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/treedn/treedn/amt/gmp"
)

// The bytes of a script are filters, queries, reports of others and steps in time.
func FuzzHost(f *testing.F) {
	f.Add([]byte{0, 3, 7, 2, 1, 1, 5, 9, 9})
	f.Add([]byte{1, 3, 7, 3, 0, 1, 4, 0, 0, 1, 3, 0, 5, 255, 255})
	f.Fuzz(func(t *testing.T, script []byte) {
		script = script[:min(len(script), maxScript)]
		const mtu = 128
		v6 := len(script) > 0 && script[0]&0x80 != 0
		host := gmp.NewHost(gmp.HostConfig{IPv6: v6, MTU: mtu, Rand: rand.New(rand.NewPCG(1, 1))})
		now := epoch
		address := func(v4 [4]byte) netip.Addr {
			switch {
			case !v6:
				return netip.AddrFrom4(v4)
			case v4[0] == 10:
				return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: v4[3]})
			case v4[0] == 232:
				return netip.AddrFrom16([16]byte{0xff, 0x3e, 15: v4[3]})
			}
			return netip.AddrFrom16([16]byte{0xff, 0x15, 15: v4[3]})
		}
		for ; len(script) > 2; script = script[3:] {
			op, a, b := script[0], script[1], script[2]
			group := address([4]byte{[]byte{232, 239}[a&1], 0, 1, a >> 1 & 7})
			var list []netip.Addr
			for i := range 8 {
				if b>>i&1 == 1 {
					list = append(list, address([4]byte{10, 0, 0, byte(i + 1)}))
				}
			}
			var m gmp.Message
			var p []byte
			switch op & 7 {
			case 0, 1:
				_ = host.SetFilter(now, group, gmp.Filter{Mode: gmp.FilterMode(op & 1), Sources: list})
			case 2, 3:
				q := gmp.Query{Group: group, Sources: gmp.SourcesOf(list...), MaxResponse: time.Duration(a) * 100 * time.Millisecond,
					Robustness: b, Interval: time.Duration(b) * time.Second}
				if op&7 == 2 {
					q.Group, q.Sources = netip.IPv4Unspecified(), gmp.Sources{}
					if v6 {
						q.Group = netip.IPv6Unspecified()
					}
				}
				source := querier4
				if v6 {
					source = querier6
				}
				p = gmp.AppendQuery(nil, source, 1+int(op>>3)%3, &q)
			case 4:
				if v6 {
					p = gmp.AppendOlder(nil, querier6, 1, gmp.TypeReport, group)
				} else {
					p = gmp.AppendOlder(nil, querier4, 1+int(b&1), gmp.TypeReport, group)
				}
			case 5:
				source := querier4
				if v6 {
					source = querier6
				}
				host.SetSource(now, source)
			default:
				now = now.Add(time.Duration(a) * time.Duration(b) * 10 * time.Millisecond)
			}
			if p != nil {
				if err := m.Parse(p); err != nil {
					t.Fatal(err)
				}
				_ = host.HandleQuery(now, &m)
				host.HandleReport(now, &m)
			}
			host.HandleTimeout(now)
			for n := 0; ; n++ {
				p, ok := host.Poll(nil)
				if !ok {
					break
				}
				if n == 100 || len(p) > mtu {
					t.Fatalf("report %d has %d octets", n, len(p))
				}
				if err := m.Parse(p); err != nil {
					t.Fatal(err)
				}
				if err := m.Validate(); err != nil {
					t.Fatal(err)
				}
				if host.Version(now) != m.Version {
					t.Fatalf("version %d instead of %d", m.Version, host.Version(now))
				}
			}
			if at := host.NextTimeout(); !at.IsZero() && !at.After(now) {
				t.Fatal("what is due has not been done")
			}
		}
	})
}
