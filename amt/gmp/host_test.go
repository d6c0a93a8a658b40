package gmp_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/gmp"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// hostRig runs a host in virtual time.
type hostRig struct {
	t    *testing.T
	host *gmp.Host
	now  time.Time
}

func newHostRig(t *testing.T, config gmp.HostConfig) *hostRig {
	config.Rand = rand.New(rand.NewPCG(1, 2))
	return &hostRig{t: t, host: gmp.NewHost(config), now: epoch}
}

func (r *hostRig) set(group string, mode gmp.FilterMode, sources ...string) {
	r.t.Helper()
	require.NoError(r.t, r.host.SetFilter(r.now, netip.MustParseAddr(group), gmp.Filter{Mode: mode, Sources: addrs(sources...)}))
}

func (r *hostRig) query(version int, q gmp.Query) {
	var m gmp.Message
	source := querier4
	if q.Group.Is6() {
		source = querier6
	}
	require.NoError(r.t, m.Parse(gmp.AppendQuery(nil, source, version, &q)))
	require.NoError(r.t, r.host.HandleQuery(r.now, &m))
}

// poll returns what the host sends now.
func (r *hostRig) poll() (list []gmp.Message) {
	r.host.HandleTimeout(r.now)
	for {
		b, ok := r.host.Poll(nil)
		if !ok {
			return list
		}
		var m gmp.Message
		require.NoError(r.t, m.Parse(b))
		require.NoError(r.t, m.Validate())
		list = append(list, m)
	}
}

func (r *hostRig) pollRecords() (list []gmp.Record) {
	for _, m := range r.poll() {
		list = append(list, records(&m)...)
	}
	return list
}

// next goes on to the next timeout and returns what is sent then.
func (r *hostRig) next() []gmp.Record {
	at := r.host.NextTimeout()
	require.False(r.t, at.IsZero(), "nothing is due")
	require.False(r.t, at.Before(r.now))
	r.now = at
	return r.pollRecords()
}

func (r *hostRig) idle() {
	r.t.Helper()
	require.Zero(r.t, r.host.NextTimeout())
	require.Empty(r.t, r.poll())
}

func general(interval time.Duration, robustness uint8) gmp.Query {
	return gmp.Query{Group: netip.IPv4Unspecified(), MaxResponse: 10 * time.Second, Robustness: robustness, Interval: interval}
}

// The table of RFC 3376 section 5.1; each change is reported twice.
func TestStateChanges(t *testing.T) {
	r := newHostRig(t, gmp.HostConfig{})
	step := func(want ...gmp.Record) {
		t.Helper()
		requireRecords(t, want, r.pollRecords())
		before := r.now
		requireRecords(t, want, r.next())
		require.LessOrEqual(t, r.now.Sub(before), time.Second)
		r.idle()
	}
	const g = "239.1.1.1"
	r.set(g, gmp.Include, "10.0.0.2", "10.0.0.1", "10.0.0.2")
	step(record(gmp.AllowNewSources, g, "10.0.0.1", "10.0.0.2"))
	r.set(g, gmp.Include, "10.0.0.1", "10.0.0.2")
	r.idle()
	r.set(g, gmp.Include, "10.0.0.2", "10.0.0.3")
	step(record(gmp.AllowNewSources, g, "10.0.0.3"), record(gmp.BlockOldSources, g, "10.0.0.1"))
	r.set(g, gmp.Exclude, "10.0.0.4")
	step(record(gmp.ChangeToExclude, g, "10.0.0.4"))
	r.set(g, gmp.Exclude, "10.0.0.5")
	step(record(gmp.AllowNewSources, g, "10.0.0.4"), record(gmp.BlockOldSources, g, "10.0.0.5"))
	r.set(g, gmp.Include, "10.0.0.6")
	step(record(gmp.ChangeToInclude, g, "10.0.0.6"))
	r.set(g, gmp.Include)
	step(record(gmp.BlockOldSources, g, "10.0.0.6"))
	require.False(t, r.host.Member())
	r.set(g, gmp.Exclude)
	step(record(gmp.ChangeToExclude, g))
	require.True(t, r.host.Wants(netip.MustParseAddr("10.9.9.9"), netip.MustParseAddr(g)))
	r.set(g, gmp.Include)
	step(record(gmp.ChangeToInclude, g))
	r.set(g, gmp.Include)
	r.idle()
}

// A change while an older one is still being repeated.
func TestChangesMerge(t *testing.T) {
	r := newHostRig(t, gmp.HostConfig{})
	const g = "232.1.1.1"
	r.set(g, gmp.Include, "10.0.0.1")
	requireRecords(t, []gmp.Record{record(gmp.AllowNewSources, g, "10.0.0.1")}, r.pollRecords())
	r.set(g, gmp.Include, "10.0.0.2")
	requireRecords(t, []gmp.Record{
		record(gmp.AllowNewSources, g, "10.0.0.2"), record(gmp.BlockOldSources, g, "10.0.0.1"),
	}, r.pollRecords())
	requireRecords(t, []gmp.Record{
		record(gmp.AllowNewSources, g, "10.0.0.2"), record(gmp.BlockOldSources, g, "10.0.0.1"),
	}, r.next())
	r.idle()

	r = newHostRig(t, gmp.HostConfig{})
	const any = "239.1.1.1"
	r.set(any, gmp.Exclude)
	requireRecords(t, []gmp.Record{record(gmp.ChangeToExclude, any)}, r.pollRecords())
	r.set(any, gmp.Exclude, "10.0.0.1")
	// The next two reports are of the mode, whatever else changes; what is left of
	// the sources' comes then.
	requireRecords(t, []gmp.Record{record(gmp.ChangeToExclude, any, "10.0.0.1")}, r.pollRecords())
	requireRecords(t, []gmp.Record{record(gmp.BlockOldSources, any, "10.0.0.1")}, r.next())
	r.idle()
}

func TestGeneralQuery(t *testing.T) {
	r := newHostRig(t, gmp.HostConfig{})
	r.set("232.1.1.1", gmp.Include, "10.0.0.1")
	r.set("239.1.1.1", gmp.Exclude)
	r.set("224.0.0.1", gmp.Exclude)
	require.Len(t, r.pollRecords(), 2, "membership of all-systems is not reported")
	require.Len(t, r.next(), 2)

	r.query(3, general(20*time.Second, 3))
	at := r.host.NextTimeout()
	require.True(t, at.After(r.now) && !at.After(r.now.Add(10*time.Second)))
	requireRecords(t, []gmp.Record{
		record(gmp.ModeIsInclude, "232.1.1.1", "10.0.0.1"), record(gmp.ModeIsExclude, "239.1.1.1"),
	}, r.next())
	r.idle()
	require.Equal(t, 3, r.host.Robustness())
	require.Equal(t, 20*time.Second, r.host.Interval())

	r.query(3, general(0, 0))
	r.next()
	require.Equal(t, gmp.DefaultRobustness, r.host.Robustness())
	require.Equal(t, gmp.DefaultQueryInterval, r.host.Interval())
}

func TestPromptAnswer(t *testing.T) {
	r := newHostRig(t, gmp.HostConfig{Prompt: true})
	r.set("232.1.1.1", gmp.Include, "10.0.0.1")
	r.pollRecords()
	r.next()
	r.query(3, general(0, 2))
	require.Equal(t, r.now, r.host.NextTimeout())
	require.Len(t, r.pollRecords(), 1)
}

func TestSpecificQueries(t *testing.T) {
	r := newHostRig(t, gmp.HostConfig{})
	const g = "239.1.1.1"
	ask := func(sources ...string) {
		q := gmp.Query{Group: netip.MustParseAddr(g), MaxResponse: time.Second}
		q.Sources = gmp.SourcesOf(addrs(sources...)...)
		r.query(3, q)
	}
	ask()
	r.idle()
	r.set(g, gmp.Include, "10.0.0.1", "10.0.0.2")
	r.pollRecords()
	r.next()

	ask("10.0.0.9")
	require.Empty(t, r.next(), "a source that is not wanted")
	ask("10.0.0.2", "10.0.0.9")
	ask("10.0.0.1")
	requireRecords(t, []gmp.Record{record(gmp.ModeIsInclude, g, "10.0.0.2", "10.0.0.1")}, r.next())
	ask("10.0.0.2")
	ask()
	requireRecords(t, []gmp.Record{record(gmp.ModeIsInclude, g, "10.0.0.1", "10.0.0.2")}, r.next())
	r.idle()

	r.set(g, gmp.Exclude, "10.0.0.1")
	r.pollRecords()
	r.next()
	ask("10.0.0.1", "10.0.0.2")
	requireRecords(t, []gmp.Record{record(gmp.ModeIsInclude, g, "10.0.0.2")}, r.next())
}

// RFC 3376 section 7.2.1.
func TestOlderQuerier(t *testing.T) {
	r := newHostRig(t, gmp.HostConfig{})
	const g = "239.1.1.1"
	r.query(2, general(0, 0))
	require.Equal(t, 2, r.host.Version(r.now))
	r.idle()
	r.set(g, gmp.Include, "10.0.0.1")
	want := func(typ gmp.Type, version int) {
		t.Helper()
		list := r.poll()
		require.Len(t, list, 1)
		require.Equal(t, typ, list[0].Type)
		require.Equal(t, version, list[0].Version)
		require.Equal(t, netip.MustParseAddr(g), list[0].Query.Group)
	}
	want(gmp.TypeReport, 2)
	r.now = r.host.NextTimeout()
	want(gmp.TypeReport, 2)
	r.idle()
	r.set(g, gmp.Include, "10.0.0.2")
	r.idle()
	r.set(g, gmp.Include)
	want(gmp.TypeLeave, 2)
	r.idle()

	r.set(g, gmp.Exclude)
	want(gmp.TypeReport, 2)
	r.now = r.host.NextTimeout()
	want(gmp.TypeReport, 2)
	r.query(1, general(0, 0))
	r.now = r.host.NextTimeout()
	want(gmp.TypeReport, 1)
	r.set(g, gmp.Include)
	r.idle2()

	r.now = r.now.Add(261 * time.Second)
	r.set(g, gmp.Exclude)
	requireRecords(t, []gmp.Record{record(gmp.ChangeToExclude, g)}, r.pollRecords())
}

// idle2 is idle after what is due now.
func (r *hostRig) idle2() {
	require.Empty(r.t, r.poll())
	r.idle()
}

func TestMLDHost(t *testing.T) {
	r := newHostRig(t, gmp.HostConfig{IPv6: true, Source: netip.MustParseAddr("fe80::1")})
	r.set("ff3e::8000:1", gmp.Include, "2001:db8::1")
	requireRecords(t, []gmp.Record{record(gmp.AllowNewSources, "ff3e::8000:1", "2001:db8::1")}, r.pollRecords())
	r.next()
	r.query(1, gmp.Query{Group: netip.IPv6Unspecified(), MaxResponse: time.Second})
	r.now = r.host.NextTimeout()
	list := r.poll()
	require.Len(t, list, 1)
	require.Equal(t, 1, list[0].Version)
	require.Equal(t, netip.MustParseAddr("fe80::1"), list[0].Header.Source)
}

// Reports beyond the MTU are split (RFC 3376 section 4.2.16).
func TestLargeReports(t *testing.T) {
	r := newHostRig(t, gmp.HostConfig{MTU: 256})
	var many []string
	for i := range 200 {
		many = append(many, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}).String())
	}
	got := func(want gmp.RecordType, then gmp.RecordType) (sources int) {
		list := r.poll()
		for i, m := range list {
			for rec := range m.Records {
				if i == 0 {
					require.Equal(t, want, rec.Type)
				} else {
					require.Equal(t, then, rec.Type)
				}
				sources += rec.Sources.Len()
			}
		}
		r.now = r.host.NextTimeout()
		r.poll()
		return sources
	}
	r.set("239.1.1.1", gmp.Include, many...)
	require.Equal(t, 200, got(gmp.AllowNewSources, gmp.AllowNewSources))
	r.set("239.1.1.1", gmp.Exclude)
	require.Equal(t, 0, got(gmp.ChangeToExclude, 0))
	r.set("239.1.1.1", gmp.Include, many...)
	require.Equal(t, 200, got(gmp.ChangeToInclude, gmp.AllowNewSources))
	r.set("239.1.1.1", gmp.Exclude, many...)
	require.Equal(t, (256-24-8-8)/4, got(gmp.ChangeToExclude, 0))
	r.query(3, general(0, 0))
	r.now = r.host.NextTimeout()
	require.Equal(t, (256-24-8-8)/4, got2(r))
}

func got2(r *hostRig) (n int) {
	for _, rec := range r.pollRecords() {
		n += rec.Sources.Len()
	}
	return n
}

func TestRefresh(t *testing.T) {
	r := newHostRig(t, gmp.HostConfig{})
	r.set("232.1.1.1", gmp.Include, "10.0.0.1")
	r.set("232.1.1.2", gmp.Include, "10.0.0.1")
	r.set("232.1.1.2", gmp.Include)
	r.host.Refresh(r.now)
	requireRecords(t, []gmp.Record{record(gmp.ModeIsInclude, "232.1.1.1", "10.0.0.1")}, r.pollRecords())
	r.idle()
}

func TestHostRefuses(t *testing.T) {
	host := gmp.NewHost(gmp.HostConfig{})
	for _, c := range []struct {
		group string
		f     gmp.Filter
	}{
		{"10.0.0.1", gmp.Filter{}},
		{"ff3e::1", gmp.Filter{}},
		{"::ffff:232.1.1.1", gmp.Filter{}},
		{"232.1.1.1", gmp.Filter{Mode: gmp.Exclude}},
		{"232.1.1.1", gmp.Filter{Sources: addrs("232.1.1.1")}},
		{"232.1.1.1", gmp.Filter{Sources: addrs("2001:db8::1")}},
		{"232.1.1.1", gmp.Filter{Sources: addrs("0.0.0.0")}},
	} {
		require.ErrorIs(t, host.SetFilter(epoch, netip.MustParseAddr(c.group), c.f), gmp.ErrGroup, c.group)
	}
}

func TestGroups(t *testing.T) {
	for s, want := range map[string][2]bool{ // source-specific, routable
		"232.1.1.1": {true, true}, "239.1.1.1": {false, true}, "224.0.0.251": {false, false}, "224.0.1.1": {false, true},
		"10.0.0.1": {false, false}, "ff3e::1": {true, true}, "ff15::1": {false, true}, "ff02::1": {false, false},
		"ff32::1": {true, false}, "ff01::1": {false, false}, "2001:db8::1": {false, false}, "::ffff:232.1.1.1": {false, false},
	} {
		a := netip.MustParseAddr(s)
		require.Equal(t, want[0], gmp.SourceSpecific(a), s)
		require.Equal(t, want[1], gmp.Routable(a), s)
	}
}
