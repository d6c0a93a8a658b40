package gmp_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/gmp"
)

var (
	querier4 = netip.MustParseAddr("10.0.0.2")
	querier6 = netip.MustParseAddr("fe80::2")
)

// queries returns what the router asks now.
func (r *routerRig) queries() (list []gmp.Message) {
	for {
		p, _, ok := r.router.PollQuery(nil)
		if !ok {
			return list
		}
		var m gmp.Message
		require.NoError(r.t, m.Parse(p))
		require.NoError(r.t, m.Validate())
		list = append(list, m)
	}
}

// RFC 3376 sections 6.1, 8.6 and 8.7: two queries at a quarter of the interval,
// then one each interval.
func TestGeneralQueries(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	r.router.AddSharedLink(r.now, gmp.LinkConfig{IGMP: querier4, MLD: querier6})
	var at []time.Duration
	for range 6 {
		r.now = r.router.NextTimeout()
		r.router.HandleTimeout(r.now)
		list := r.queries()
		require.NotEmpty(t, list)
		for _, q := range list {
			require.True(t, q.General())
			require.Equal(t, 10*time.Second, q.Query.MaxResponse)
			require.Equal(t, 125*time.Second, q.Query.Interval)
			if !q.IPv6() {
				at = append(at, r.now.Sub(epoch).Truncate(time.Second))
			}
		}
	}
	require.Equal(t, []time.Duration{0, 31 * time.Second, 156 * time.Second}, at[:3])
}

// The router with the lower address asks (section 6.6.2).
func TestQuerierElection(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddSharedLink(r.now, gmp.LinkConfig{IGMP: querier4})
	r.wait(0)
	require.Len(t, r.queries(), 1)
	hear := func(from string) {
		var m gmp.Message
		q := general(125*time.Second, 2)
		require.NoError(t, m.Parse(gmp.AppendQuery(nil, netip.MustParseAddr(from), 3, &q)))
		r.router.HandleQuery(r.now, l, &m)
	}
	hear("10.0.0.3")
	r.wait(32 * time.Second)
	require.Len(t, r.queries(), 1, "the other address is higher")
	hear("10.0.0.1")
	r.wait(254 * time.Second)
	require.Empty(t, r.queries())
	r.wait(2 * time.Second)
	require.Len(t, r.queries(), 1, "the other one has not been heard for 255 s")

	hear("10.0.0.1")
	r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.9.0.1"))
	r.report(l, record(gmp.BlockOldSources, "232.1.1.1", "10.9.0.1"))
	require.Empty(t, r.queries(), "only the querier asks")
	var m gmp.Message
	q := gmp.Query{Group: netip.MustParseAddr("232.1.1.1"), Sources: sources("10.9.0.1"), MaxResponse: time.Second}
	require.NoError(t, m.Parse(gmp.AppendQuery(nil, netip.MustParseAddr("10.0.0.1"), 3, &q)))
	r.router.HandleQuery(r.now, l, &m)
	r.wait(2100 * time.Millisecond)
	require.Empty(t, r.links("10.9.0.1", "232.1.1.1"), "the querier's question lowers the timer")
}

// What one host leaves is asked for before it is pruned, and another keeps it.
func TestLeaveOnSharedLink(t *testing.T) {
	const g, s1, s2 = "239.1.1.1", "10.9.0.1", "10.9.0.2"
	for _, c := range []struct {
		name    string
		before  gmp.Record
		leave   gmp.Record
		group   bool // a Group-Specific Query
		sources []string
		gone    []string
		kept    []string
	}{
		{"BLOCK in INCLUDE", record(gmp.AllowNewSources, g, s1, s2), record(gmp.BlockOldSources, g, s1),
			false, []string{s1}, []string{s1}, []string{s2}},
		{"TO_IN in INCLUDE", record(gmp.AllowNewSources, g, s1, s2), record(gmp.ChangeToInclude, g, s2),
			false, []string{s1}, []string{s1}, []string{s2}},
		{"TO_EX in INCLUDE", record(gmp.AllowNewSources, g, s1, s2), record(gmp.ChangeToExclude, g, s1),
			false, []string{s1}, []string{s1}, []string{s2, "10.9.0.3"}},
		{"BLOCK in EXCLUDE", record(gmp.ChangeToExclude, g), record(gmp.BlockOldSources, g, s1),
			false, []string{s1}, []string{s1}, []string{s2}},
		{"TO_IN in EXCLUDE", record(gmp.ChangeToExclude, g), record(gmp.ChangeToInclude, g, s2),
			true, nil, []string{s1}, []string{s2}},
		{"TO_EX in EXCLUDE", record(gmp.ChangeToExclude, g), record(gmp.ChangeToExclude, g, s1),
			false, []string{s1}, []string{s1}, []string{s2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, objected := range []bool{false, true} {
				r := newRouterRig(t, gmp.RouterConfig{})
				l := r.router.AddSharedLink(r.now, gmp.LinkConfig{IGMP: querier4})
				r.report(l, c.before)
				r.wait(0)
				r.queries()
				r.report(l, c.leave)
				for _, s := range c.gone {
					require.Len(t, r.links(s, g), 1, "still there")
				}
				for range 2 { // Last Member Query Count
					r.wait(0)
					var list []gmp.Message
					for _, q := range r.queries() {
						if !q.General() {
							list = append(list, q)
						}
					}
					require.Len(t, list, 1)
					require.Equal(t, netip.MustParseAddr(g), list[0].Query.Group)
					require.Equal(t, time.Second, list[0].Query.MaxResponse)
					require.Equal(t, len(c.sources), list[0].Query.Sources.Len())
					require.Equal(t, c.group, list[0].Query.Sources.Len() == 0)
					require.False(t, list[0].Query.Suppress)
					r.now = r.now.Add(time.Second)
				}
				if objected {
					if c.group {
						r.report(l, record(gmp.ModeIsExclude, g))
					} else {
						r.report(l, record(gmp.ModeIsInclude, g, c.gone...))
					}
				}
				r.wait(200 * time.Millisecond)
				for _, s := range c.gone {
					require.Equal(t, objected, len(r.links(s, g)) == 1, s)
				}
				for _, s := range c.kept {
					require.Len(t, r.links(s, g), 1, s)
				}
			}
		})
	}
}

// An answer that comes before the last query makes that carry the S flag.
func TestSuppressFlag(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddSharedLink(r.now, gmp.LinkConfig{IGMP: querier4})
	r.wait(0)
	r.queries()
	r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.9.0.1"))
	r.report(l, record(gmp.BlockOldSources, "232.1.1.1", "10.9.0.1"))
	r.wait(0)
	require.False(t, r.queries()[0].Query.Suppress)
	r.report(l, record(gmp.ModeIsInclude, "232.1.1.1", "10.9.0.1"))
	r.wait(time.Second)
	require.True(t, r.queries()[0].Query.Suppress)
}

// RFC 3376 section 7.3.2.
func TestOlderHostOnSharedLink(t *testing.T) {
	const g, s = "239.1.1.1", "10.9.0.1"
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddSharedLink(r.now, gmp.LinkConfig{IGMP: querier4})
	r.deliver(l, gmp.AppendOlder(nil, netip.Addr{}, 2, gmp.TypeReport, netip.MustParseAddr(g)))
	r.report(l, record(gmp.BlockOldSources, g, s))
	r.report(l, record(gmp.ChangeToExclude, g, s))
	r.wait(5 * time.Second)
	require.Len(t, r.links(s, g), 1, "the host of version 2 cannot have meant that")
	r.deliver(l, gmp.AppendOlder(nil, netip.Addr{}, 2, gmp.TypeLeave, netip.MustParseAddr(g)))
	r.wait(5 * time.Second)
	require.Empty(t, r.links(s, g), "leaves of version 2 count")

	r.deliver(l, gmp.AppendOlder(nil, netip.Addr{}, 1, gmp.TypeReport, netip.MustParseAddr(g)))
	r.report(l, record(gmp.ChangeToInclude, g))
	r.wait(5 * time.Second)
	require.Len(t, r.links(s, g), 1, "version 1 has no leave")
	r.wait(membershipInterval)
	require.Empty(t, r.links(s, g))
}

// Hosts on a shared link get all that they want at any time, and a leave is
// through once the last queries are unanswered.
func TestHostsOnSharedLink(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 3))
		r := newRouterRig(t, gmp.RouterConfig{})
		l := r.router.AddSharedLink(r.now, gmp.LinkConfig{IGMP: querier4})
		var hosts []*gmp.Host
		for range 3 {
			hosts = append(hosts, gmp.NewHost(gmp.HostConfig{Rand: rng}))
		}
		pump := func() {
			r.router.HandleTimeout(r.now)
			for _, q := range r.queries() {
				for _, h := range hosts {
					h.HandleQuery(r.now, &q)
				}
			}
			for _, h := range hosts {
				h.HandleTimeout(r.now)
				for {
					p, ok := h.Poll(nil)
					if !ok {
						break
					}
					r.deliver(l, p)
				}
			}
		}
		run := func(d time.Duration) {
			end := r.now.Add(d)
			for {
				pump()
				at := r.router.NextTimeout()
				for _, h := range hosts {
					if t := h.NextTimeout(); !t.IsZero() && (at.IsZero() || t.Before(at)) {
						at = t
					}
				}
				if at.IsZero() || at.After(end) {
					r.now = end
					return
				}
				r.now = at
			}
		}
		wanted := func(source, group netip.Addr) bool {
			for _, h := range hosts {
				if h.Wants(source, group) {
					return true
				}
			}
			return false
		}
		for range 100 {
			group, filter := randomFilter(rng)
			require.NoError(t, hosts[rng.IntN(3)].SetFilter(r.now, group, filter))
			run(time.Duration(rng.Int64N(int64(3 * time.Second))))
			for source, group := range universe {
				if wanted(source, group) {
					require.Len(t, r.router.AppendLinks(nil, source, group), 1, "seed %d: (%v,%v)", seed, source, group)
				}
			}
		}
		run(2 * membershipInterval)
		for source, group := range universe {
			require.Equal(t, wanted(source, group), len(r.router.AppendLinks(nil, source, group)) == 1,
				"seed %d: (%v,%v)", seed, source, group)
		}
	}
}
