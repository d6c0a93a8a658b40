package gmp_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/gmp"
)

// newBridge puts the far end of a link into a bridge that is a querier.
func newBridge(t *testing.T, l *link, options ...string) (name string) {
	name = strings.Replace(l.there, "there", "bridge", 1)
	run(t, append([]string{"ip", "link", "add", name, "type", "bridge", "mcast_snooping", "1", "mcast_querier", "1",
		"mcast_query_interval", "200", "mcast_query_response_interval", "100", "mcast_startup_query_interval", "100",
		"mcast_last_member_interval", "30", "mcast_membership_interval", "500", "mcast_querier_interval", "450"}, options...)...)
	t.Cleanup(func() { run(t, "ip", "link", "del", name) })
	run(t, "ip", "link", "set", l.there, "master", name)
	l2 := *l
	l2.there = name
	run(t, "ip", "link", "set", l.there, "up")
	l2.up("10.77.0.5")
	return name
}

// has reports whether the bridge's table has an entry for the port, of a source
// or of the group as a whole.
func (l *link) has(group, source string) bool {
	for line := range strings.Lines(run(l.t, "bridge", "-d", "mdb", "show")) {
		if !strings.Contains(line, "port "+l.there+" grp "+group+" ") {
			continue
		}
		if source == "" && !strings.Contains(line, " src ") || source != "" && strings.Contains(line, " src "+source+" ") {
			return !strings.Contains(line, " blocked")
		}
	}
	return false
}

// Ours is the host, the kernel's bridge snoops and asks.
func TestLiveBridge(t *testing.T) {
	inNamespace(t, "bridge")
	for _, c := range []struct {
		name     string
		host     gmp.HostConfig
		versions []string
		ssm, asm string
		s        []string
		version  int
	}{
		{"IGMPv3", gmp.HostConfig{Source: ours.IGMP}, []string{"mcast_igmp_version", "3"},
			"232.1.1.1", "239.1.1.1", []string{"10.9.0.1", "10.9.0.2"}, 3},
		{"IGMPv2", gmp.HostConfig{Source: ours.IGMP}, []string{"mcast_igmp_version", "2"},
			"", "239.1.1.1", nil, 2},
		{"MLDv2", gmp.HostConfig{IPv6: true, Source: ours.MLD}, []string{"mcast_mld_version", "2"},
			"ff3e::8000:1", "ff15::1", []string{"2001:db8::1", "2001:db8::2"}, 2},
		{"MLDv1", gmp.HostConfig{IPv6: true, Source: ours.MLD}, []string{"mcast_mld_version", "1"},
			"", "ff15::1", nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLink(t)
			newBridge(t, l, c.versions...)
			h := newHostOn(l, c.host)
			queries := func() (n int) {
				for _, m := range h.heard {
					if m.General() && m.IPv6() == c.host.IPv6 {
						require.Equal(t, c.version, m.Version)
						n++
					}
				}
				return n
			}
			h.until("a query", func() bool { return queries() > 0 })
			require.Equal(t, c.version, h.host.Version(time.Now()))

			if c.ssm != "" {
				h.set(c.ssm, gmp.Include, c.s...)
				h.until("both sources", func() bool { return h.has(c.ssm, c.s[0]) && h.has(c.ssm, c.s[1]) })
				h.set(c.ssm, gmp.Include, c.s[1])
				h.until("one source", func() bool { return !h.has(c.ssm, c.s[0]) && h.has(c.ssm, c.s[1]) })
				h.set(c.asm, gmp.Exclude, c.s[0])
				h.until("an excluded source", func() bool { return h.has(c.asm, "") && !h.has(c.asm, c.s[0]) })
			} else {
				h.set(c.asm, gmp.Exclude)
				h.until("the group", func() bool { return h.has(c.asm, "") })
			}
			n := queries()
			h.until("more queries than a membership lasts", func() bool { return queries() >= n+4 })
			if c.ssm != "" {
				require.True(t, h.has(c.ssm, c.s[1]))
				h.set(c.ssm, gmp.Include)
				h.until("the source to go", func() bool { return !h.has(c.ssm, c.s[1]) })
			}
			require.True(t, h.has(c.asm, ""))
			h.set(c.asm, gmp.Include)
			h.until("the group to go", func() bool { return !h.has(c.asm, "") })
		})
	}
}

// The bridge and our router find out which of them is the querier: the one with
// the lower address.
func TestLiveElection(t *testing.T) {
	inNamespace(t)
	for _, c := range []struct {
		own     string
		querier bool
	}{{"10.77.0.4", true}, {"10.77.0.6", false}} {
		t.Run(fmt.Sprintf("%s against 10.77.0.5", c.own), func(t *testing.T) {
			t.Parallel()
			l := newLink(t)
			newBridge(t, l, "mcast_igmp_version", "3", "mcast_query_use_ifaddr", "1")
			r := newRouterOn(l, quick, gmp.LinkConfig{IGMP: netip.MustParseAddr(c.own)})
			r.run(5 * time.Second)
			r.heard = nil
			sent := r.sent
			r.run(7 * time.Second) // more than three intervals
			heard := 0
			for _, m := range r.heard {
				if m.General() && !m.IPv6() {
					require.Equal(t, netip.MustParseAddr("10.77.0.5"), m.Header.Source)
					heard++
				}
			}
			if c.querier {
				require.Zero(t, heard)
				require.GreaterOrEqual(t, r.sent-sent, 3)
			} else {
				require.GreaterOrEqual(t, heard, 2)
				require.Zero(t, r.sent-sent)
			}
		})
	}
}
