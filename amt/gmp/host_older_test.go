package gmp_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/gmp"
)

// A host that changes its version cancels what it was about to say (RFC 3376
// section 7.2.1, RFC 3810 section 8.2.1), in either direction.
func TestVersionChangeCancels(t *testing.T) {
	for _, c := range []struct {
		name          string
		config        gmp.HostConfig
		group, source string
		newest, older int
	}{
		{"IGMP", gmp.HostConfig{}, "239.1.1.1", "10.0.0.1", 3, 2},
		{"MLD", gmp.HostConfig{IPv6: true, Source: querier6}, "ff15::1", "2001:db8::1", 2, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newHostRig(t, c.config)
			q := general(0, 0)
			if c.config.IPv6 {
				q.Group = netip.IPv6Unspecified()
			}
			r.set(c.group, gmp.Include, c.source)
			require.Len(t, r.pollRecords(), 1)
			r.query(c.newest, q) // to be answered
			r.query(c.older, q)
			list := r.nextMessages()
			require.Len(t, list, 1, "the answer to the older query, and neither the repetition nor the other answer")
			require.Equal(t, c.older, list[0].Version)
			r.idle()

			r.set(c.group, gmp.Include)
			r.set(c.group, gmp.Exclude) // two reports
			require.Len(t, r.poll(), 1)
			r.now = r.now.Add(261 * time.Second)
			require.Empty(t, r.poll())
			require.Zero(t, r.host.NextTimeout())
			require.Equal(t, c.newest, r.host.Version(r.now))
		})
	}
}

// nextMessages goes on to the next timeout and returns what is sent then.
func (r *hostRig) nextMessages() []gmp.Message {
	at := r.host.NextTimeout()
	require.False(r.t, at.IsZero(), "nothing is due")
	r.now = at
	return r.poll()
}

// RFC 2236 section 3: each group has a time of its own, and what another host
// says need not be said again.
func TestReportSuppression(t *testing.T) {
	groups := []string{"239.1.1.1", "239.1.1.2", "239.1.1.3"}
	other := func(version int, typ gmp.Type, group string) *gmp.Message {
		var m gmp.Message
		require.NoError(t, m.Parse(gmp.AppendOlder(nil, querier4, version, typ, netip.MustParseAddr(group))))
		return &m
	}
	r := newHostRig(t, gmp.HostConfig{})
	r.query(2, general(0, 0))
	for _, g := range groups {
		r.set(g, gmp.Exclude)
	}
	require.Len(t, r.poll(), 3)
	r.host.HandleReport(r.now, other(2, gmp.TypeReport, groups[0]))
	require.Len(t, r.nextMessages(), 2, "what another host reported is not repeated")
	r.idle()

	start := r.now
	r.query(2, general(0, 0))
	for _, version := range []int{1, 2} {
		r.host.HandleReport(r.now, other(version, gmp.TypeReport, groups[version]))
	}
	r.host.HandleReport(r.now, other(2, gmp.TypeLeave, groups[0]))
	require.Len(t, r.nextMessages(), 1)
	r.idle()

	r.query(2, general(0, 0))
	times := map[time.Time]bool{}
	for range groups {
		require.Len(t, r.nextMessages(), 1)
		times[r.now] = true
	}
	require.Len(t, times, 3)
	require.LessOrEqual(t, r.now.Sub(start), 20*time.Second)
	r.idle()

	// A host of IGMPv3 says what it wants, whoever else does (RFC 4604 section
	// 2.2.1).
	r = newHostRig(t, gmp.HostConfig{})
	r.set("232.1.1.1", gmp.Include, "10.0.0.1")
	r.poll()
	r.next()
	r.query(3, general(0, 0))
	r.host.HandleReport(r.now, other(2, gmp.TypeReport, "232.1.1.1"))
	require.Len(t, r.next(), 1)
}

// A timer that runs already is set anew if the answer may not wait for it.
func TestOlderSpecificQuery(t *testing.T) {
	r := newHostRig(t, gmp.HostConfig{})
	r.query(2, general(0, 0))
	r.set("239.1.1.1", gmp.Exclude)
	r.set("239.1.1.2", gmp.Exclude)
	r.poll()
	r.nextMessages()
	r.query(2, gmp.Query{Group: netip.MustParseAddr("239.1.1.1"), MaxResponse: 25 * time.Second})
	r.query(2, gmp.Query{Group: netip.MustParseAddr("239.1.1.1"), MaxResponse: time.Second})
	r.query(2, gmp.Query{Group: netip.MustParseAddr("239.1.1.9"), MaxResponse: time.Second})
	before := r.now
	require.Len(t, r.nextMessages(), 1)
	require.LessOrEqual(t, r.now.Sub(before), time.Second)
	r.idle()
}

// What is sent again is counted by group: changes of others do not use it up.
func TestChangesAreRepeatedByGroup(t *testing.T) {
	r := newHostRig(t, gmp.HostConfig{Robustness: 3})
	r.set("232.1.1.1", gmp.Include, "10.0.0.1")
	require.Len(t, r.pollRecords(), 1)
	for i := range 10 {
		r.set("232.1.1.2", gmp.Include, netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + i)}).String())
		for _, rec := range r.pollRecords() {
			require.Equal(t, netip.MustParseAddr("232.1.1.2"), rec.Group)
		}
	}
	n := 0
	for !r.host.NextTimeout().IsZero() {
		for _, rec := range r.next() {
			if rec.Group == netip.MustParseAddr("232.1.1.1") {
				n++
			}
		}
	}
	require.Equal(t, 2, n)
}

// Sources that are asked for are remembered up to a limit; then the answer says
// everything.
func TestManySourcesAskedFor(t *testing.T) {
	r := newHostRig(t, gmp.HostConfig{})
	r.set("239.1.1.1", gmp.Exclude, "10.9.9.9")
	r.pollRecords()
	r.next()
	for i := range 100 {
		var list []netip.Addr
		for j := range 100 {
			list = append(list, netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j)}))
		}
		r.query(3, gmp.Query{Group: netip.MustParseAddr("239.1.1.1"), MaxResponse: time.Second, Sources: gmp.SourcesOf(list...)})
	}
	requireRecords(t, []gmp.Record{record(gmp.ModeIsExclude, "239.1.1.1", "10.9.9.9")}, r.next())
	r.idle()
}

// What RFC 3376 section 9.1, RFC 3810 sections 5.1.14 and 6.2 and RFC 3590
// section 4 have hosts discard.
func TestQueriesThatHostsDiscard(t *testing.T) {
	fixIPv4 := func(p []byte) {
		p[10], p[11] = 0, 0
		s := checksum(p[:24])
		p[10], p[11] = byte(s>>8), byte(s)
	}
	v4 := func(version int, change func(p []byte)) []byte {
		q := general(0, 0)
		p := gmp.AppendQuery(nil, querier4, version, &q)
		change(p)
		fixIPv4(p)
		return p
	}
	v6 := func(version int, source string, change func(p []byte)) []byte {
		p := gmp.AppendQuery(nil, netip.MustParseAddr(source), version, &gmp.Query{Group: netip.IPv6Unspecified(), MaxResponse: time.Second})
		change(p)
		return p
	}
	noAlert4 := func(p []byte) { copy(p[20:], []byte{1, 1, 1, 1}) }
	noAlert6 := func(p []byte) { copy(p[42:], []byte{1, 4, 0, 0, 0, 0}) }
	same := func([]byte) {}
	for _, c := range []struct {
		name   string
		packet []byte
		taken  bool
	}{
		{"IGMPv3", v4(3, same), true},
		{"IGMPv3 without Router Alert", v4(3, noAlert4), false},
		{"IGMPv2 without Router Alert", v4(2, noAlert4), false},
		{"IGMPv1 without Router Alert", v4(1, noAlert4), true},
		{"IGMPv3 to another group", v4(3, func(p []byte) { copy(p[16:], []byte{224, 0, 0, 2}) }), false},
		{"IGMPv3 to the host alone", v4(3, func(p []byte) { copy(p[16:], []byte{10, 0, 0, 7}) }), true},
		{"MLDv2", v6(2, "fe80::1", same), true},
		{"MLDv1", v6(1, "fe80::1", same), true},
		{"MLDv2 from the unspecified address", v6(2, "::", same), false},
		{"MLDv1 from the unspecified address", v6(1, "::", same), false},
		{"MLDv2 from another network", v6(2, "2001:db8::1", same), false},
		{"MLDv2 with another hop limit", v6(2, "fe80::1", func(p []byte) { p[7] = 64 }), false},
		{"MLDv2 without Router Alert", v6(2, "fe80::1", noAlert6), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m gmp.Message
			require.NoError(t, m.Parse(c.packet))
			group := "232.1.1.1"
			source := "10.0.0.1"
			if m.IPv6() {
				group, source = "ff3e::8000:1", "2001:db8::1"
			}
			for _, tunnel := range []bool{false, true} {
				r := newHostRig(t, gmp.HostConfig{IPv6: m.IPv6(), Prompt: tunnel})
				r.set(group, gmp.Include, source)
				r.poll()
				r.nextMessages()
				err := r.host.HandleQuery(r.now, &m)
				if c.taken || tunnel {
					require.NoError(t, err)
					require.NotZero(t, r.host.NextTimeout())
				} else {
					require.ErrorIs(t, err, gmp.ErrHeader)
					r.idle()
				}
			}
		})
	}
}

// RFC 3590 section 4: what was said without an address is said again.
func TestSourceOfHost(t *testing.T) {
	r := newHostRig(t, gmp.HostConfig{IPv6: true})
	r.set("ff3e::8000:1", gmp.Include, "2001:db8::1")
	list := r.poll()
	require.Equal(t, netip.IPv6Unspecified(), list[0].Header.Source)
	r.nextMessages()
	r.host.SetSource(r.now, netip.MustParseAddr("fe80::7"))
	list = r.poll()
	require.Len(t, list, 1)
	require.Equal(t, netip.MustParseAddr("fe80::7"), list[0].Header.Source)
	requireRecords(t, []gmp.Record{record(gmp.ModeIsInclude, "ff3e::8000:1", "2001:db8::1")}, records(&list[0]))
	r.host.SetSource(r.now, netip.MustParseAddr("fe80::8"))
	r.idle()
}
