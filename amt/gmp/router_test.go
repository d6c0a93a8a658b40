package gmp_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/gmp"
)

// routerRig runs a router in virtual time.
type routerRig struct {
	t      testing.TB
	router *gmp.Router
	now    time.Time
}

func newRouterRig(t testing.TB, config gmp.RouterConfig) *routerRig {
	return &routerRig{t: t, router: gmp.NewRouter(epoch, config), now: epoch}
}

func (r *routerRig) report(l gmp.Link, recs ...gmp.Record) gmp.ReportResult {
	r.t.Helper()
	return r.deliver(l, gmp.AppendReport(nil, netip.Addr{}, recs[0].Group.Is6(), recs...))
}

func (r *routerRig) deliver(l gmp.Link, packet []byte) gmp.ReportResult {
	r.t.Helper()
	var m gmp.Message
	require.NoError(r.t, m.Parse(packet))
	result := r.router.HandleReport(r.now, l, &m)
	require.NoError(r.t, r.router.Check())
	return result
}

// wait goes on for d, timers included.
func (r *routerRig) wait(d time.Duration) {
	r.t.Helper()
	end := r.now.Add(d)
	for n := 0; ; n++ {
		at := r.router.NextTimeout()
		if at.IsZero() || at.After(end) {
			break
		}
		require.Less(r.t, n, 100_000, "timers that never end")
		if at.After(r.now) { // times are rounded to the tenth of a second
			r.now = at
		}
		r.router.HandleTimeout(r.now)
		require.NoError(r.t, r.router.Check())
	}
	r.now = end
}

func (r *routerRig) links(source, group string) []gmp.Link {
	list := r.router.AppendLinks(nil, netip.MustParseAddr(source), netip.MustParseAddr(group))
	slices.Sort(list)
	return list
}

func (r *routerRig) events() (list []string) {
	for {
		e, ok := r.router.PollEvent()
		if !ok {
			return list
		}
		name := [...]string{"", "subscribed", "unsubscribed", "forward", "prune", "block", "unblock", "idle"}[e.Type]
		source := "*"
		if e.Source.IsValid() {
			source = e.Source.String()
		}
		if e.Group.IsValid() {
			name += fmt.Sprintf(" (%s,%v)", source, e.Group)
		}
		if e.Link != 0 {
			name += fmt.Sprintf(" %d", e.Link)
		}
		list = append(list, name)
	}
}

const membershipInterval = 260 * time.Second

func TestTunnelChannel(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddLink()
	v := r.router.Version(netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("232.1.1.1"))
	require.Equal(t, gmp.ReportResult{Changed: true}, r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.0.0.1")))
	require.Equal(t, []string{"subscribed (10.0.0.1,232.1.1.1)", "forward (10.0.0.1,232.1.1.1) 1"}, r.events())
	require.Equal(t, []gmp.Link{l}, r.links("10.0.0.1", "232.1.1.1"))
	require.Empty(t, r.links("10.0.0.2", "232.1.1.1"))
	require.NotEqual(t, v, r.router.Version(netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("232.1.1.1")))

	r.wait(200 * time.Second)
	require.Equal(t, gmp.ReportResult{}, r.report(l, record(gmp.ModeIsInclude, "232.1.1.1", "10.0.0.1")))
	r.wait(membershipInterval - time.Second)
	require.Empty(t, r.events())
	r.wait(2 * time.Second)
	require.Equal(t, []string{"prune (10.0.0.1,232.1.1.1) 1", "unsubscribed (10.0.0.1,232.1.1.1)", "idle 1"}, r.events())
	require.Zero(t, r.router.NextTimeout())

	r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.0.0.1", "10.0.0.2"))
	r.events()
	r.report(l, record(gmp.BlockOldSources, "232.1.1.1", "10.0.0.1"))
	require.Equal(t, []string{"prune (10.0.0.1,232.1.1.1) 1", "unsubscribed (10.0.0.1,232.1.1.1)"}, r.events())
	r.report(l, record(gmp.ChangeToInclude, "232.1.1.1", "10.0.0.3"))
	require.Equal(t, []gmp.Link{l}, r.links("10.0.0.3", "232.1.1.1"))
	require.Empty(t, r.links("10.0.0.2", "232.1.1.1"))
	r.report(l, record(gmp.ChangeToInclude, "232.1.1.1"))
	require.Zero(t, r.router.Channels())
}

// A channel that nobody wants any more and somebody else wants then is not taken
// for what it was.
func TestVersion(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	source, group := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("232.1.1.1")
	seen := map[uint64]bool{}
	for range 3 {
		l := r.router.AddLink()
		r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.0.0.1"))
		version := r.router.Version(source, group)
		require.False(t, seen[version], "version %#x of another link", version)
		seen[version] = true
		r.report(l, record(gmp.BlockOldSources, "232.1.1.1", "10.0.0.1"))
		require.Empty(t, r.links("10.0.0.1", "232.1.1.1"))
		r.router.RemoveLink(l)
	}
}

func TestTunnelGroup(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddLink()
	const g = "239.1.1.1"
	r.report(l, record(gmp.ChangeToExclude, g, "10.0.0.1"))
	require.Equal(t, []string{
		"subscribed (*,239.1.1.1)", "forward (*,239.1.1.1) 1", "block (10.0.0.1,239.1.1.1) 1",
	}, r.events())
	require.Empty(t, r.links("10.0.0.1", g))
	require.Equal(t, []gmp.Link{l}, r.links("10.0.0.2", g))
	r.report(l, record(gmp.AllowNewSources, g, "10.0.0.1"))
	require.Equal(t, []gmp.Link{l}, r.links("10.0.0.1", g))
	r.report(l, record(gmp.BlockOldSources, g, "10.0.0.2"))
	require.Empty(t, r.links("10.0.0.2", g))
	r.report(l, record(gmp.ModeIsExclude, g))
	require.Equal(t, []gmp.Link{l}, r.links("10.0.0.2", g))
	r.report(l, record(gmp.ChangeToInclude, g, "10.0.0.7"))
	require.Equal(t, []gmp.Link{l}, r.links("10.0.0.7", g))
	require.Empty(t, r.links("10.0.0.2", g))

	// The group timer ends the mode; sources asked for since live on.
	r.report(l, record(gmp.ChangeToExclude, g))
	r.wait(100 * time.Second)
	r.report(l, record(gmp.ModeIsInclude, g, "10.0.0.7"))
	r.wait(200 * time.Second)
	require.Equal(t, []gmp.Link{l}, r.links("10.0.0.7", g))
	require.Empty(t, r.links("10.0.0.2", g))
	r.wait(100 * time.Second)
	require.Zero(t, r.router.Channels())
}

// RFC 4604 section 3, and groups that never leave a link.
func TestIgnoredRecords(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddLink()
	require.Equal(t, gmp.ReportResult{Changed: true}, r.report(l,
		record(gmp.ModeIsExclude, "232.1.1.1"), record(gmp.ChangeToExclude, "232.1.1.1"),
		record(gmp.ModeIsExclude, "224.0.0.251"), record(gmp.ModeIsInclude, "10.0.0.1", "10.0.0.2"),
		record(77, "239.1.1.1", "10.0.0.1"), record(gmp.AllowNewSources, "232.1.1.2", "10.0.0.1", "224.0.0.1", "0.0.0.0"),
	))
	require.Equal(t, 2, r.router.Channels(), "the one good channel and its group")
	r.deliver(l, gmp.AppendOlder(nil, netip.Addr{}, 2, gmp.TypeReport, netip.MustParseAddr("232.1.1.1")))
	require.Equal(t, 2, r.router.Channels())
	r.deliver(l, gmp.AppendOlder(nil, netip.Addr{}, 2, gmp.TypeReport, netip.MustParseAddr("239.1.1.1")))
	require.Equal(t, []gmp.Link{l}, r.links("10.0.0.1", "239.1.1.1"))
	r.deliver(l, gmp.AppendOlder(nil, netip.Addr{}, 2, gmp.TypeLeave, netip.MustParseAddr("239.1.1.1")))
	require.Empty(t, r.links("10.0.0.1", "239.1.1.1"))
}

func TestRouterLimits(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{MaxGroups: 2, MaxSources: 3, MaxChannels: 8})
	l := r.router.AddLink()
	require.Equal(t, gmp.ReportResult{Changed: true, Ignored: 1},
		r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")))
	r.report(l, record(gmp.AllowNewSources, "232.1.1.2", "10.0.0.1"))
	require.Equal(t, gmp.ReportResult{Ignored: 1}, r.report(l, record(gmp.AllowNewSources, "232.1.1.3", "10.0.0.1")))

	// Leaves and refreshes go on at the limit (RFC 7450 section 5.3.3.8).
	r.report(l, record(gmp.BlockOldSources, "232.1.1.1", "10.0.0.1"))
	require.Equal(t, gmp.ReportResult{Changed: true}, r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.0.0.4")))

	// Other limits hold from then on.
	r.router.SetLimits(3, 2, 0)
	require.Equal(t, gmp.ReportResult{}, r.report(l, record(gmp.ModeIsInclude, "232.1.1.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")))
	require.Equal(t, gmp.ReportResult{Ignored: 1}, r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.0.0.1")))
	require.Equal(t, gmp.ReportResult{Changed: true}, r.report(l, record(gmp.AllowNewSources, "232.1.1.3", "10.0.0.1")))
	require.Equal(t, gmp.ReportResult{Changed: true}, r.report(l, record(gmp.ChangeToInclude, "232.1.1.3")))
	r.router.SetLimits(2, 3, 0)

	m := r.router.AddLink()
	require.Equal(t, gmp.ReportResult{Changed: true, Ignored: 1},
		r.report(m, record(gmp.AllowNewSources, "232.1.1.4", "10.0.0.1", "10.0.0.2")), "8 channels in all")

	deny := newRouterRig(t, gmp.RouterConfig{Allow: func(_ gmp.Link, source, group netip.Addr) bool {
		return source == netip.MustParseAddr("10.0.0.1")
	}})
	l = deny.router.AddLink()
	require.Equal(t, gmp.ReportResult{Changed: true, Ignored: 2, Denied: 2}, deny.report(l,
		record(gmp.AllowNewSources, "232.1.1.1", "10.0.0.1", "10.0.0.2"), record(gmp.ChangeToExclude, "239.1.1.1")))
	require.Empty(t, deny.links("10.0.0.1", "239.1.1.1"))
}

// What a report leaves makes room for what it adds, whatever the order of its records:
// Linux has ALLOW before BLOCK, and RFC 3376 section 6.4 knows no limit.
func TestLeavesMakeRoom(t *testing.T) {
	const g, other = "232.1.1.1", "232.1.1.2"
	for name, recs := range map[string][]gmp.Record{
		"TO_IN":           {record(gmp.ChangeToInclude, g, "10.0.0.4", "10.0.0.2", "10.0.0.5")},
		"ALLOW and BLOCK": {record(gmp.AllowNewSources, g, "10.0.0.4", "10.0.0.5"), record(gmp.BlockOldSources, g, "10.0.0.1", "10.0.0.3")},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRouterRig(t, gmp.RouterConfig{MaxSources: 3, MaxLinkSources: 3, MaxChannels: 4})
			l := r.router.AddLink()
			r.report(l, record(gmp.ModeIsInclude, g, "10.0.0.1", "10.0.0.2", "10.0.0.3"))
			kept := r.router.Version(netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr(g))
			require.Equal(t, gmp.ReportResult{Changed: true}, r.report(l, recs...))
			for source, links := range map[string][]gmp.Link{"10.0.0.1": nil, "10.0.0.2": {l}, "10.0.0.3": nil, "10.0.0.4": {l}, "10.0.0.5": {l}} {
				require.Equal(t, links, r.links(source, g), source)
			}
			require.Equal(t, kept, r.router.Version(netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr(g)), "it is not left and joined again")
		})
	}
	t.Run("group", func(t *testing.T) {
		r := newRouterRig(t, gmp.RouterConfig{MaxGroups: 1})
		l := r.router.AddLink()
		for _, leave := range []gmp.Record{record(gmp.ChangeToInclude, g), record(gmp.BlockOldSources, g, "10.0.0.1")} {
			r.report(l, record(gmp.AllowNewSources, g, "10.0.0.1"))
			require.Equal(t, gmp.ReportResult{Changed: true}, r.report(l, record(gmp.AllowNewSources, other, "10.0.0.1"), leave))
			require.Equal(t, []gmp.Link{l}, r.links("10.0.0.1", other))
			require.Empty(t, r.links("10.0.0.1", g))
			r.report(l, record(gmp.ChangeToInclude, other))
		}
		for _, whole := range []string{"239.1.1.1", "239.1.1.2"} { // of the one, then of the other
			r.report(l, record(gmp.ChangeToInclude, "239.1.1.1"), record(gmp.ChangeToExclude, whole))
			require.Equal(t, []gmp.Link{l}, r.links("10.0.0.1", whole))
		}
	})
	t.Run("EXCLUDE", func(t *testing.T) {
		const g = "239.1.1.1"
		r := newRouterRig(t, gmp.RouterConfig{MaxSources: 2})
		l := r.router.AddLink()
		r.report(l, record(gmp.ChangeToExclude, g, "10.0.0.1", "10.0.0.2"))
		require.Equal(t, gmp.ReportResult{Changed: true}, r.report(l, record(gmp.ChangeToExclude, g, "10.0.0.3", "10.0.0.2")))
		require.Empty(t, r.links("10.0.0.3", g))
		require.Equal(t, []gmp.Link{l}, r.links("10.0.0.1", g))
		require.Equal(t, gmp.ReportResult{Changed: true}, r.report(l, record(gmp.ChangeToInclude, g, "10.0.0.4", "10.0.0.2")))
		for source, links := range map[string][]gmp.Link{"10.0.0.1": nil, "10.0.0.2": {l}, "10.0.0.3": nil, "10.0.0.4": {l}} {
			require.Equal(t, links, r.links(source, g), source)
		}
	})
	t.Run("the order of records counts", func(t *testing.T) {
		r := newRouterRig(t, gmp.RouterConfig{MaxSources: 2})
		l := r.router.AddLink()
		allow, block := record(gmp.AllowNewSources, g, "10.0.0.1"), record(gmp.BlockOldSources, g, "10.0.0.1")
		r.report(l, allow, block)
		require.Empty(t, r.links("10.0.0.1", g))
		r.report(l, block, allow)
		require.Equal(t, []gmp.Link{l}, r.links("10.0.0.1", g))
		r.report(l, allow, block)
		require.Empty(t, r.links("10.0.0.1", g))
		require.True(t, r.router.Idle(l))
	})
}

func TestRemoveLink(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	a, b := r.router.AddLink(), r.router.AddLink()
	for _, l := range []gmp.Link{a, b} {
		r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.0.0.1"), record(gmp.ChangeToExclude, "239.1.1.1", "10.0.0.9"))
	}
	require.Len(t, r.links("10.0.0.1", "232.1.1.1"), 2)
	r.router.RemoveLink(a)
	require.NoError(t, r.router.Check())
	require.Equal(t, []gmp.Link{b}, r.links("10.0.0.1", "232.1.1.1"))
	r.router.RemoveLink(b)
	require.NoError(t, r.router.Check())
	require.Zero(t, r.router.Channels())
	require.Zero(t, r.router.Links())
	require.Zero(t, r.router.NextTimeout())
}

func TestMLDRouter(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddLink()
	r.report(l, record(gmp.AllowNewSources, "ff3e::8000:d", "2001:db8::a"))
	require.Equal(t, []gmp.Link{l}, r.links("2001:db8::a", "ff3e::8000:d"))
	r.report(l, record(gmp.AllowNewSources, "232.1.1.1", "10.0.0.1"))
	require.Equal(t, []gmp.Link{l}, r.links("10.0.0.1", "232.1.1.1"))
}

// randomHosts sets random filters on hosts and returns the universe of sources
// and groups.
func randomFilter(rng *rand.Rand) (netip.Addr, gmp.Filter) {
	group := netip.AddrFrom4([4]byte{byte([]int{232, 239}[rng.IntN(2)]), 1, 1, byte(1 + rng.IntN(3))})
	var f gmp.Filter
	for range rng.IntN(4) {
		f.Sources = append(f.Sources, netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + rng.IntN(5))}))
	}
	if rng.IntN(2) == 0 && !gmp.SourceSpecific(group) {
		f.Mode = gmp.Exclude
	}
	return group, f
}

func universe(yield func(source, group netip.Addr) bool) {
	for s := range 6 {
		for g := range 3 {
			for _, first := range []byte{232, 239} {
				if !yield(netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + s)}), netip.AddrFrom4([4]byte{first, 1, 1, byte(1 + g)})) {
					return
				}
			}
		}
	}
}

// A router forwards to a tunnel exactly what the host at its other end wants,
// whatever the host changes.
func TestHostAndRouterAgree(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		r := newRouterRig(t, gmp.RouterConfig{})
		l := r.router.AddLink()
		host := gmp.NewHost(gmp.HostConfig{Rand: rng, Prompt: true})
		pump := func() {
			host.HandleTimeout(r.now)
			for {
				p, ok := host.Poll(nil)
				if !ok {
					return
				}
				r.deliver(l, p)
			}
		}
		for range 300 {
			group, filter := randomFilter(rng)
			require.NoError(t, host.SetFilter(r.now, group, filter))
			changes, versions := r.router.Changes(), make(map[[2]netip.Addr]uint64)
			for source, group := range universe {
				versions[[2]netip.Addr{source, group}] = r.router.Version(source, group)
			}
			pump()
			for source, group := range universe {
				if r.router.Changes() == changes {
					require.Equal(t, versions[[2]netip.Addr{source, group}], r.router.Version(source, group))
				}
				require.Equal(t, host.Wants(source, group), len(r.router.AppendLinks(nil, source, group)) == 1,
					"seed %d: (%v,%v), filter %+v", seed, source, group, host.Filter(group))
			}
			d := time.Duration(rng.Int64N(int64(400 * time.Millisecond)))
			end := r.now.Add(d)
			for at := host.NextTimeout(); !at.IsZero() && !at.After(end); at = host.NextTimeout() {
				r.now = at
				pump()
			}
			r.now = end
		}
	}
}

// With lost reports, they agree again one membership interval of queries later.
func TestLossHeals(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 2))
		r := newRouterRig(t, gmp.RouterConfig{})
		l := r.router.AddLink()
		host := gmp.NewHost(gmp.HostConfig{Rand: rng})
		loss := 0.5
		pump := func() {
			host.HandleTimeout(r.now)
			for {
				p, ok := host.Poll(nil)
				if !ok {
					return
				}
				if rng.Float64() >= loss {
					r.deliver(l, p)
				}
			}
		}
		run := func(d time.Duration) {
			end := r.now.Add(d)
			for at := host.NextTimeout(); !at.IsZero() && !at.After(end); at = host.NextTimeout() {
				r.wait(at.Sub(r.now))
				pump()
			}
			r.wait(end.Sub(r.now))
		}
		for range 50 {
			group, filter := randomFilter(rng)
			require.NoError(t, host.SetFilter(r.now, group, filter))
			pump()
			run(time.Duration(rng.Int64N(int64(2 * time.Second))))
		}
		loss = 0
		for range 4 {
			var m gmp.Message
			q := general(125*time.Second, 2)
			require.NoError(t, m.Parse(gmp.AppendQuery(nil, netip.Addr{}, 3, &q)))
			host.HandleQuery(r.now, &m)
			run(125 * time.Second)
		}
		for source, group := range universe {
			require.Equal(t, host.Wants(source, group), len(r.router.AppendLinks(nil, source, group)) == 1,
				"seed %d: (%v,%v), filter %+v", seed, source, group, host.Filter(group))
		}
	}
}

func TestRouterAllocates(t *testing.T) {
	r := newRouterRig(t, gmp.RouterConfig{})
	l := r.router.AddLink()
	var join, leave, refresh gmp.Message
	require.NoError(t, join.Parse(gmp.AppendReport(nil, netip.Addr{}, false, record(gmp.AllowNewSources, "232.1.1.1", "10.0.0.1"))))
	require.NoError(t, refresh.Parse(gmp.AppendReport(nil, netip.Addr{}, false, record(gmp.ModeIsInclude, "232.1.1.1", "10.0.0.1"))))
	require.NoError(t, leave.Parse(gmp.AppendReport(nil, netip.Addr{}, false, record(gmp.BlockOldSources, "232.1.1.1", "10.0.0.1"))))
	r.router.HandleReport(r.now, l, &join)
	other := r.router.AddLink()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		r.router.HandleReport(r.now, other, &join)
		r.router.HandleReport(r.now, other, &refresh)
		r.router.HandleReport(r.now, other, &leave)
		for {
			if _, ok := r.router.PollEvent(); !ok {
				break
			}
		}
	}))
}

func BenchmarkRouterRefresh(b *testing.B) {
	for _, n := range []int{1, 100, 500_000} {
		b.Run(fmt.Sprintf("hosts=%d", n), func(b *testing.B) {
			r := newRouterRig(b, gmp.RouterConfig{})
			var m gmp.Message
			require.NoError(b, m.Parse(gmp.AppendReport(nil, netip.Addr{}, false, record(gmp.ModeIsInclude, "232.1.1.1", "10.0.0.1"))))
			for range n {
				l := r.router.AddLink()
				r.router.HandleReport(r.now, l, &m)
				r.events()
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = i%n + 1
				r.router.HandleReport(r.now, gmp.Link(i), &m)
			}
		})
	}
}

// Octets for a link with one channel.
func BenchmarkRouterMemory(b *testing.B) {
	var m gmp.Message
	require.NoError(b, m.Parse(gmp.AppendReport(nil, netip.Addr{}, false, record(gmp.ModeIsInclude, "232.1.1.1", "10.0.0.1"))))
	const n = 500_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r := gmp.NewRouter(epoch, gmp.RouterConfig{})
		for range n {
			r.HandleReport(epoch, r.AddLink(), &m)
			for {
				if _, ok := r.PollEvent(); !ok {
					break
				}
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/link")
		runtime.KeepAlive(r)
	}
}
