package gmp_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/gmp"
)

// heard has the router hear a query of another one.
func (r *routerRig) heard(l gmp.Link, from string, version int, q gmp.Query) error {
	var m gmp.Message
	require.NoError(r.t, m.Parse(gmp.AppendQuery(nil, netip.MustParseAddr(from), version, &q)))
	err := r.router.HandleQuery(r.now, l, &m)
	require.NoError(r.t, r.router.Check())
	return err
}

// specific returns the queries that are not general.
func (r *routerRig) specific() (list []gmp.Query) {
	for _, m := range r.queries() {
		if !m.General() {
			list = append(list, m.Query)
		}
	}
	return list
}

// Routers that are not the querier go by its intervals (RFC 3376 sections 4.1.6
// and 4.1.7), and by their own again once it is gone.
func TestQuerierIntervals(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddSharedLink(r.now, gmp.LinkConfig{IGMP: querier4})
	r.wait(0)
	require.NoError(t, r.heard(l, "10.0.0.1", 3, general(20*time.Second, 3)))
	r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.9.0.1"))
	r.wait(64 * time.Second)
	require.Len(t, r.queries(), 1, "its own, from before")
	r.report(l, record(gmp.ModeIsInclude, "232.1.1.1", "10.9.0.1"))
	r.wait(800 * time.Millisecond)
	require.Empty(t, r.queries())
	r.wait(time.Second)
	require.Len(t, r.queries(), 1, "3*20 s + 10 s/2 after the last query of the other one")
	r.wait(67 * time.Second)
	require.Len(t, r.links("10.9.0.1", "232.1.1.1"), 1)
	r.wait(2 * time.Second)
	require.Empty(t, r.links("10.9.0.1", "232.1.1.1"), "3*20 s + 10 s after the report")

	r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.9.0.1"))
	r.wait(membershipInterval - time.Second)
	require.Len(t, r.links("10.9.0.1", "232.1.1.1"), 1, "its own intervals")

	require.NoError(t, r.heard(l, "10.0.0.1", 3, general(0, 0)))
	r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.9.0.1"))
	r.wait(membershipInterval - time.Second)
	require.Len(t, r.links("10.9.0.1", "232.1.1.1"), 1, "0 says nothing")
}

// How long hosts have is what the querier tells them.
func TestQuerierResponseTime(t *testing.T) {
	for _, version := range []int{2, 3} {
		r := newRouterRig(t, gmp.RouterConfig{})
		l := r.router.AddSharedLink(r.now, gmp.LinkConfig{IGMP: querier4, IGMPVersion: version})
		require.NoError(t, r.heard(l, "10.0.0.1", version, general(125*time.Second, 2)))
		r.report(l, record(gmp.ChangeToExclude, "239.1.1.1"))
		require.NoError(t, r.heard(l, "10.0.0.1", version, gmp.Query{
			Group: netip.MustParseAddr("239.1.1.1"), MaxResponse: 3 * time.Second, Suppress: true}))
		if version == 3 {
			r.wait(10 * time.Second)
			require.Len(t, r.links("10.9.0.1", "239.1.1.1"), 1, "the S flag")
		}
		require.NoError(t, r.heard(l, "10.0.0.1", version, gmp.Query{
			Group: netip.MustParseAddr("239.1.1.1"), MaxResponse: 3 * time.Second}))
		r.wait(5900 * time.Millisecond)
		require.Len(t, r.links("10.9.0.1", "239.1.1.1"), 1)
		r.wait(300 * time.Millisecond)
		require.Empty(t, r.links("10.9.0.1", "239.1.1.1"))
	}
}

// A router that gives way asks no more, also not what it has begun to ask.
func TestQuestionsEndWithElection(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddSharedLink(r.now, gmp.LinkConfig{IGMP: querier4})
	r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.9.0.1"))
	r.report(l, record(gmp.BlockOldSources, "232.1.1.1", "10.9.0.1"))
	r.wait(0)
	require.Len(t, r.specific(), 1)
	require.NoError(t, r.heard(l, "10.0.0.1", 3, general(125*time.Second, 2)))
	r.wait(time.Minute)
	require.Empty(t, r.queries())
}

// RFC 3376 section 7.3.1 and RFC 3810 section 8.3.1.
func TestOlderVersionsOfQuerier(t *testing.T) {
	const g4, g6 = "239.1.1.1", "ff15::1"
	for _, c := range []struct {
		name     string
		link     gmp.LinkConfig
		group    string
		source   string
		host     string
		version  int
		specific bool // it has Group-Specific Queries
		leaves   bool
	}{
		{"IGMPv1", gmp.LinkConfig{IGMP: querier4, IGMPVersion: 1}, g4, "10.9.0.1", "10.0.0.7", 1, false, false},
		{"IGMPv2", gmp.LinkConfig{IGMP: querier4, IGMPVersion: 2}, g4, "10.9.0.1", "10.0.0.7", 2, true, true},
		{"MLDv1", gmp.LinkConfig{MLD: querier6, MLDVersion: 1}, g6, "2001:db8::1", "fe80::7", 1, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := netip.MustParseAddr(c.host)
			group := netip.MustParseAddr(c.group)
			r := newRouterRig(t, gmp.RouterConfig{})
			l := r.router.AddSharedLink(r.now, c.link)
			r.wait(0)
			list := r.queries()
			require.Len(t, list, 1)
			require.Equal(t, c.version, list[0].Version)
			require.Equal(t, 10*time.Second, list[0].Query.MaxResponse)

			version := max(c.version, 1)
			r.deliver(l, gmp.AppendOlder(nil, host, version, gmp.TypeReport, group))
			require.Len(t, r.links(c.source, c.group), 1)
			leave := gmp.AppendOlder(nil, host, 2, gmp.TypeLeave, group)
			r.deliver(l, leave)
			r.wait(0)
			asked := r.specific()
			require.Equal(t, c.specific, len(asked) == 1)
			if c.specific {
				require.Zero(t, asked[0].Sources.Len())
				// Asked and answered: it does not ask again.
				r.deliver(l, gmp.AppendOlder(nil, host, version, gmp.TypeReport, group))
				r.wait(time.Second)
				require.Empty(t, r.specific())
				require.Len(t, r.links(c.source, c.group), 1)
				r.deliver(l, leave)
			}
			r.wait(2200 * time.Millisecond)
			require.Equal(t, !c.leaves, len(r.links(c.source, c.group)) == 1)

			// Sources cannot be asked for: they run out by themselves.
			r.wait(2 * membershipInterval)
			r.queries()
			allow := record(gmp.AllowNewSources, c.group, c.source)
			block := record(gmp.BlockOldSources, c.group, c.source)
			r.deliver(l, gmp.AppendReport(nil, host, group.Is6(), allow))
			r.deliver(l, gmp.AppendReport(nil, host, group.Is6(), block))
			r.wait(10 * time.Second)
			require.Empty(t, r.specific())
			require.Len(t, r.links(c.source, c.group), 1)
		})
	}
}

// Queriers of other versions are to be logged (RFC 3376 section 7.3.1).
func TestQuerierOfAnotherVersion(t *testing.T) {
	for _, c := range []struct {
		name    string
		own     gmp.LinkConfig
		from    string
		version int
		q       gmp.Query
		odd     bool
	}{
		{"the same", gmp.LinkConfig{IGMP: querier4}, "10.0.0.9", 3, general(0, 0), false},
		{"IGMPv2", gmp.LinkConfig{IGMP: querier4}, "10.0.0.9", 2, general(0, 0), true},
		{"IGMPv1", gmp.LinkConfig{IGMP: querier4}, "10.0.0.1", 1, general(0, 0), true},
		{"IGMPv3 beside IGMPv2", gmp.LinkConfig{IGMP: querier4, IGMPVersion: 2}, "10.0.0.9", 3, general(0, 0), true},
		{"specific IGMPv2", gmp.LinkConfig{IGMP: querier4}, "10.0.0.9", 2,
			gmp.Query{Group: netip.MustParseAddr("239.1.1.1"), MaxResponse: time.Second}, false},
		{"MLDv1", gmp.LinkConfig{MLD: querier6}, "fe80::9", 1, gmp.Query{Group: netip.IPv6Unspecified()}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouterRig(t, gmp.RouterConfig{})
			err := r.heard(r.router.AddSharedLink(r.now, c.own), c.from, c.version, c.q)
			if c.odd {
				require.ErrorIs(t, err, gmp.ErrVersion)
				require.NotErrorIs(t, err, gmp.ErrMalformed)
			} else {
				require.NoError(t, err)
			}
		})
	}
}

// MLD has to come from the link itself (RFC 3810 sections 5.1.14, 5.2.13, 7.4 and
// 7.6).
func TestMessagesThatRoutersDiscard(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddSharedLink(r.now, gmp.LinkConfig{MLD: querier6})
	rec := record(gmp.AllowNewSources, "ff3e::8000:1", "2001:db8::1")
	for _, source := range []string{"::", "2001:db8::9"} {
		result := r.deliver(l, gmp.AppendReport(nil, netip.MustParseAddr(source), true, rec))
		require.ErrorIs(t, result.Err, gmp.ErrHeader)
		require.ErrorIs(t, r.heard(l, source, 2, gmp.Query{Group: netip.IPv6Unspecified()}), gmp.ErrHeader)
	}
	p := gmp.AppendReport(nil, netip.MustParseAddr("fe80::9"), true, rec)
	p[7] = 2
	require.ErrorIs(t, r.deliver(l, p).Err, gmp.ErrHeader)
	require.Zero(t, r.router.Channels())
	p[7] = 1
	require.Equal(t, gmp.ReportResult{Changed: true}, r.deliver(l, p))

	// IGMP is not spoken here.
	require.Equal(t, gmp.ReportResult{}, r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.0.0.1")))

	// A report from 0.0.0.0 MUST be accepted (RFC 3376 section 4.2.13).
	l = r.router.AddSharedLink(r.now, gmp.LinkConfig{IGMP: querier4})
	require.True(t, r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.0.0.1")).Changed)
}

// The identifier of the interface decides, and a zone is not part of the address.
func TestElectionMLD(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddSharedLink(r.now, gmp.LinkConfig{MLD: netip.MustParseAddr("fe80::5%eth0")})
	r.wait(0)
	r.queries()
	all := gmp.Query{Group: netip.IPv6Unspecified()}
	for _, from := range []string{"fe80::5", "fe80::6"} {
		require.NoError(t, r.heard(l, from, 2, all))
		r.wait(32 * time.Second)
		r.wait(125 * time.Second)
		require.NotEmpty(t, r.queries(), from)
	}
	require.NoError(t, r.heard(l, "fe80::4", 2, all))
	r.wait(254 * time.Second)
	require.Empty(t, r.queries())
}

// Leaves that come faster than questions do not make more of them.
func TestLeavesDoNotMultiplyQueries(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddSharedLink(r.now, gmp.LinkConfig{IGMP: querier4})
	r.report(l, record(gmp.ChangeToExclude, "239.1.1.1"))
	n := 0
	for range 15 {
		r.report(l, record(gmp.ChangeToInclude, "239.1.1.1"))
		r.wait(100 * time.Millisecond)
		n += len(r.specific())
	}
	require.Equal(t, 2, n)
}

// Each source is asked for as often as the robustness says and as far apart as
// the interval, whatever else is left meanwhile.
func TestSourcesAreAskedForByThemselves(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddSharedLink(r.now, gmp.LinkConfig{IGMP: querier4})
	r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.9.0.1", "10.9.0.2"))
	at := map[netip.Addr][]time.Duration{}
	step := func() {
		r.wait(100 * time.Millisecond)
		for _, q := range r.specific() {
			for s := range q.Sources.All() {
				at[s] = append(at[s], r.now.Sub(epoch).Round(100*time.Millisecond))
			}
		}
	}
	r.report(l, record(gmp.BlockOldSources, "232.1.1.1", "10.9.0.1"))
	for range 5 {
		step()
	}
	r.report(l, record(gmp.BlockOldSources, "232.1.1.1", "10.9.0.2"))
	for range 30 {
		step()
	}
	for _, s := range addrs("10.9.0.1", "10.9.0.2") {
		require.Len(t, at[s], 2, s)
		require.InDelta(t, time.Second, at[s][1]-at[s][0], float64(100*time.Millisecond), s)
	}
	require.Zero(t, r.router.Channels())
}

// A source that is forgotten is not asked for, and no timer stays behind.
func TestForgottenSourcesAreNotAskedFor(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddSharedLink(r.now, gmp.LinkConfig{IGMP: querier4})
	const g = "239.1.1.1"
	r.report(l, record(gmp.AllowNewSources, g, "10.9.0.1"))
	r.report(l, record(gmp.BlockOldSources, g, "10.9.0.1"))
	r.wait(0)
	require.Len(t, r.specific(), 1)
	r.report(l, record(gmp.ModeIsExclude, g)) // forgets the source
	r.report(l, record(gmp.AllowNewSources, g, "10.9.0.2"))
	for range 100 {
		r.wait(time.Second)
		require.Empty(t, r.specific())
	}
}

// RFC 3376 section 4.1.8: a query fits the MTU.
func TestQueriesFitTheMTU(t *testing.T) {
	for _, c := range []struct {
		link   gmp.LinkConfig
		mtu    int
		number int
	}{
		{gmp.LinkConfig{IGMP: querier4}, 1500, 366},
		{gmp.LinkConfig{MLD: querier6}, 1500, 89},
		{gmp.LinkConfig{IGMP: querier4, MTU: 576}, 576, 135},
		{gmp.LinkConfig{MLD: querier6, MTU: 1280}, 1280, 75},
	} {
		r := newRouterRig(t, gmp.RouterConfig{MaxSources: 1 << 20})
		l := r.router.AddSharedLink(r.now, c.link)
		r.wait(0)
		r.queries()
		var list []netip.Addr
		group, host := netip.MustParseAddr("232.1.1.1"), netip.MustParseAddr("10.0.0.7")
		if c.link.MLD.IsValid() {
			group, host = netip.MustParseAddr("ff3e::8000:1"), netip.MustParseAddr("fe80::7")
		}
		for i := range 1000 {
			a := [16]byte{0x20, 1, 14: byte(i >> 8), 15: byte(1 + i)}
			if group.Is4() {
				list = append(list, netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}))
			} else {
				list = append(list, netip.AddrFrom16(a))
			}
		}
		for _, typ := range []gmp.RecordType{gmp.AllowNewSources, gmp.BlockOldSources} {
			r.deliver(l, gmp.AppendReport(nil, host, group.Is6(), gmp.Record{Type: typ, Group: group, Sources: gmp.SourcesOf(list...)}))
		}
		r.router.HandleTimeout(r.now)
		total := 0
		for {
			p, _, ok := r.router.PollQuery(nil)
			if !ok {
				break
			}
			var m gmp.Message
			require.NoError(t, m.Parse(p))
			require.LessOrEqual(t, len(p), c.mtu)
			require.LessOrEqual(t, m.Query.Sources.Len(), c.number)
			if total == 0 {
				require.Equal(t, c.number, m.Query.Sources.Len())
			}
			total += m.Query.Sources.Len()
		}
		require.Equal(t, 1000, total)
	}
}
