package amt_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/gmp"
)

var (
	epoch  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	relay4 = netip.MustParseAddrPort("192.0.2.1:2268")
	relay6 = netip.MustParseAddrPort("[2001:db8::1]:2268")
)

// relayRig runs a relay in virtual time.
type relayRig struct {
	t     testing.TB
	relay *amt.Relay
	now   time.Time
}

func newRelayRig(t testing.TB, config amt.RelayConfig) *relayRig {
	if !config.IPv4.IsValid() && !config.IPv6.IsValid() {
		config.IPv4, config.IPv6 = relay4.Addr(), relay6.Addr()
	}
	relay, err := amt.NewRelay(epoch, config)
	require.NoError(t, err)
	return &relayRig{t: t, relay: relay, now: epoch}
}

// send delivers a message and returns the answer, of which only the type is
// known if there is none.
func (r *relayRig) send(gateway netip.AddrPort, m amt.Message) (amt.Message, bool) {
	raw, err := m.AppendTo(nil)
	if err != nil { // the fuzzer is here very often
		r.t.Helper()
		require.NoError(r.t, err)
	}
	return r.sendRaw(gateway, raw)
}

func (r *relayRig) sendRaw(gateway netip.AddrPort, raw []byte) (answer amt.Message, ok bool) {
	local := relay4
	if gateway.Addr().Is6() {
		local = relay6
	}
	out := r.relay.HandleDatagram(r.now, &amt.Datagram{Local: local, Remote: gateway, Payload: raw}, nil)
	if len(out) == 0 {
		return answer, false
	}
	if err := answer.Unmarshal(out); err != nil {
		r.t.Helper()
		require.NoError(r.t, err)
	}
	return answer, true
}

func (r *relayRig) query(gateway netip.AddrPort, flags amt.Flags, nonce uint32) amt.Message {
	r.t.Helper()
	q, ok := r.send(gateway, amt.Message{Type: amt.TypeRequest, Flags: flags, Nonce: nonce})
	require.True(r.t, ok)
	require.Equal(r.t, amt.TypeQuery, q.Type)
	require.Equal(r.t, nonce, q.Nonce)
	return q
}

func (r *relayRig) update(gateway netip.AddrPort, q amt.Message, records ...gmp.Record) {
	_, ok := r.send(gateway, amt.Message{Type: amt.TypeUpdate, MAC: q.MAC, Nonce: q.Nonce,
		Packet: gmp.AppendReport(nil, netip.Addr{}, records[0].Group.Is6(), records...)})
	if ok {
		r.t.Helper()
		require.Fail(r.t, "Updates are not answered")
	}
}

// join is a whole handshake.
func (r *relayRig) join(gateway netip.AddrPort, source, group string) amt.Message {
	r.t.Helper()
	var flags amt.Flags
	if strings.Contains(group, ":") {
		flags = amt.FlagP
	}
	q := r.query(gateway, flags, 7)
	r.update(gateway, q, allow(group, source))
	return q
}

func (r *relayRig) wait(d time.Duration) {
	end := r.now.Add(d)
	for n := 0; ; n++ {
		at := r.relay.NextTimeout()
		if at.IsZero() || at.After(end) {
			break
		}
		if n == 100_000 {
			require.Fail(r.t, "timers that never end")
		}
		if at.After(r.now) {
			r.now = at
		}
		r.relay.HandleTimeout(r.now)
	}
	r.now = end
}

func (r *relayRig) tunnels(source, group string) (list []string) {
	tunnels, _ := r.relay.AppendTunnels(nil, nil, netip.MustParseAddr(source), netip.MustParseAddr(group))
	for _, t := range tunnels {
		list = append(list, t.Gateway().String())
	}
	slices.Sort(list)
	return list
}

func (r *relayRig) events() (list []string) {
	for {
		e, ok := r.relay.PollEvent()
		if !ok {
			return list
		}
		name := [...]string{"", "join", "leave", "up", "down", "full", "ready"}[e.Type]
		if e.Group.IsValid() {
			name += fmt.Sprintf(" (%v,%v)", e.Source, e.Group)
		}
		if e.Gateway.IsValid() {
			name += " " + e.Gateway.String()
		}
		list = append(list, name)
	}
}

func record(t gmp.RecordType, group string, sources ...string) gmp.Record {
	var list []netip.Addr
	for _, s := range sources {
		list = append(list, netip.MustParseAddr(s))
	}
	return gmp.Record{Type: t, Group: netip.MustParseAddr(group), Sources: gmp.SourcesOf(list...)}
}

func allow(group string, sources ...string) gmp.Record {
	return record(gmp.AllowNewSources, group, sources...)
}

var (
	gateway4 = netip.MustParseAddrPort("198.51.100.9:51000")
	gateway6 = netip.MustParseAddrPort("[2001:db8:9::9]:51000")
)

// Both outer and both inner families.
func TestRelayHandshake(t *testing.T) {
	for _, gateway := range []netip.AddrPort{gateway4, gateway6} {
		for _, c := range []struct {
			flags         amt.Flags
			source, group string
		}{
			{0, "10.12.0.1", "232.1.1.1"}, {amt.FlagP, "2001:db8::a", "ff3e::8000:d"}, {amt.FlagLinuxP, "2001:db8::a", "ff3e::8000:d"},
		} {
			r := newRelayRig(t, amt.RelayConfig{})
			a, ok := r.send(gateway, amt.Message{Type: amt.TypeDiscovery, Nonce: 5})
			require.True(t, ok)
			want := relay4.Addr()
			if gateway.Addr().Is6() {
				want = relay6.Addr()
			}
			require.Equal(t, amt.Message{Type: amt.TypeAdvertisement, Nonce: 5, Relay: want}, a)

			q := r.query(gateway, c.flags, 7)
			require.Zero(t, q.Flags)
			var g gmp.Message
			require.NoError(t, g.Parse(q.Packet))
			require.NoError(t, g.Validate())
			require.True(t, g.General())
			require.Equal(t, c.flags != 0, g.IPv6())
			require.Equal(t, uint8(2), g.Query.Robustness)
			require.Equal(t, 125*time.Second, g.Query.Interval)
			require.LessOrEqual(t, g.Query.MaxResponse, 100*time.Millisecond)
			require.Zero(t, r.relay.Stats().Tunnels, "nothing is kept of a Request")

			r.update(gateway, q, allow(c.group, c.source))
			require.Equal(t, []string{gateway.String()}, r.tunnels(c.source, c.group))
			require.Empty(t, r.tunnels("10.99.9.9", c.group), "another source")
			channel := fmt.Sprintf("(%s,%s)", c.source, c.group)
			require.Equal(t, []string{"up " + gateway.String(), "join " + channel}, r.events())

			tunnels, _ := r.relay.AppendTunnels(nil, nil, netip.MustParseAddr(c.source), netip.MustParseAddr(c.group))
			local := relay4
			overhead := 30
			if gateway.Addr().Is6() {
				local, overhead = relay6, 50
			}
			require.Equal(t, local, r.relay.Local(&tunnels[0]))
			require.Equal(t, 1500-overhead, int(tunnels[0].MTU))

			r.update(gateway, q, record(gmp.BlockOldSources, c.group, c.source))
			require.Empty(t, r.tunnels(c.source, c.group), "at once")
			require.Equal(t, []string{"down " + gateway.String()}, r.events())
			r.wait(3 * time.Second)
			require.Equal(t, []string{"leave " + channel}, r.events())
			require.Zero(t, r.relay.NextTimeout())
		}
	}
}

// A viewer who returns finds the channel still joined.
func TestRelayLingers(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{})
	q := r.join(gateway4, "10.12.0.1", "232.1.1.1")
	r.update(gateway4, q, record(gmp.BlockOldSources, "232.1.1.1", "10.12.0.1"))
	r.wait(time.Second)
	r.update(gateway4, q, allow("232.1.1.1", "10.12.0.1"))
	r.wait(10 * time.Second)
	require.Equal(t, []string{
		"up 198.51.100.9:51000", "join (10.12.0.1,232.1.1.1)", "down 198.51.100.9:51000", "up 198.51.100.9:51000",
	}, r.events())

	r = newRelayRig(t, amt.RelayConfig{Linger: -1})
	q = r.join(gateway4, "10.12.0.1", "232.1.1.1")
	r.update(gateway4, q, record(gmp.BlockOldSources, "232.1.1.1", "10.12.0.1"))
	require.Contains(t, r.events(), "leave (10.12.0.1,232.1.1.1)")
}

func TestRelayBelievesNoOtherMAC(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{})
	q := r.query(gateway4, 0, 7)
	good := q
	q.MAC[5] ^= 1
	r.update(gateway4, q, allow("232.1.1.1", "10.12.0.1"))
	other := netip.AddrPortFrom(gateway4.Addr(), gateway4.Port()+1)
	r.update(other, good, allow("232.1.1.1", "10.12.0.1"))
	good.Nonce++
	r.update(gateway4, good, allow("232.1.1.1", "10.12.0.1"))
	require.Zero(t, r.relay.Stats().Tunnels)
	require.EqualValues(t, 3, r.relay.Stats().BadMAC)

	// Cisco's gateways send the last two octets wrong.
	r = newRelayRig(t, amt.RelayConfig{Compat: amt.RelayCompat{ShortMAC: true}})
	q = r.query(gateway4, 0, 7)
	q.MAC[5] ^= 1
	r.update(gateway4, q, allow("232.1.1.1", "10.12.0.1"))
	require.Equal(t, 1, r.relay.Stats().Tunnels)
	require.EqualValues(t, 1, r.relay.Stats().ShortMAC)
}

// An Update may reach another relay of the cluster than its Request did.
func TestAnycastCluster(t *testing.T) {
	key := []byte("0123456789abcdef")
	a, b := newRelayRig(t, amt.RelayConfig{Key: key}), newRelayRig(t, amt.RelayConfig{Key: key})
	b.update(gateway4, a.query(gateway4, 0, 7), allow("232.1.1.1", "10.12.0.1"))
	require.Equal(t, 1, b.relay.Stats().Tunnels)
}

// Gateways behind one NAT differ by their ports only.
func TestRelayNAT(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{MaxTunnelsPerAddress: 3})
	nat := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(gateway4.Addr(), port) }
	r.join(nat(1001), "10.12.0.1", "232.1.1.1")
	r.join(nat(1002), "10.12.0.1", "232.1.1.1")
	r.join(nat(1003), "10.12.0.2", "232.1.1.1")
	require.Equal(t, []string{"198.51.100.9:1001", "198.51.100.9:1002"}, r.tunnels("10.12.0.1", "232.1.1.1"))
	require.Equal(t, []string{"198.51.100.9:1003"}, r.tunnels("10.12.0.2", "232.1.1.1"))
	r.join(nat(1004), "10.12.0.1", "232.1.1.1")
	require.Equal(t, 3, r.relay.Stats().Tunnels)
	require.EqualValues(t, 1, r.relay.Stats().Refused)
	r.update(nat(1001), r.query(nat(1001), 0, 7), allow("232.1.1.1", "10.12.0.9"))
	require.Equal(t, []string{"198.51.100.9:1001"}, r.tunnels("10.12.0.9", "232.1.1.1"), "the others go on")
}

func TestRelayExpiry(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{})
	q := r.join(gateway4, "10.12.0.1", "232.1.1.1")
	for range 5 {
		r.wait(125 * time.Second)
		q = r.query(gateway4, 0, q.Nonce+1)
		r.update(gateway4, q, record(gmp.ModeIsInclude, "232.1.1.1", "10.12.0.1"))
	}
	require.Equal(t, 1, r.relay.Stats().Tunnels)
	r.wait(259 * time.Second)
	require.Equal(t, 1, r.relay.Stats().Tunnels)
	r.wait(2 * time.Second)
	require.Zero(t, r.relay.Stats().Tunnels)
	require.EqualValues(t, 1, r.relay.Stats().Expired)
	require.Equal(t, "down 198.51.100.9:51000", r.events()[2])
}

// G is set once the endpoint has a tunnel, never for Linux, which sends two
// Requests at a time and drops Queries with G, and never for js4ms, which counts
// its nonces and dies of them.
func TestEndpointInQuery(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{})
	q := r.join(gateway4, "10.12.0.1", "232.1.1.1")
	require.Zero(t, q.Flags)
	r.query(gateway4, 0, 8<<24)
	q = r.query(gateway4, 0, 9<<24)
	require.Equal(t, amt.FlagG, q.Flags)
	require.Equal(t, gateway4, q.Gateway)
	r.join(gateway6, "10.12.0.1", "232.1.1.1")
	r.query(gateway6, 0, 8<<24)
	require.Equal(t, gateway6, r.query(gateway6, amt.FlagP, 9<<24).Gateway)

	r = newRelayRig(t, amt.RelayConfig{})
	for nonce := range uint32(10) {
		require.Zero(t, r.query(gateway4, 0, nonce).Flags)
		q := r.query(gateway4, amt.FlagLinuxP, nonce)
		require.Zero(t, q.Flags)
		r.update(gateway4, q, allow("232.1.1.1", "10.12.0.1"))
		r.wait(2 * time.Second)
	}

	r = newRelayRig(t, amt.RelayConfig{})
	for nonce := uint32(1); nonce < 100; nonce++ {
		q := r.query(gateway4, 0, nonce)
		require.Zero(t, q.Flags, nonce)
		r.update(gateway4, q, allow("232.1.1.1", "10.12.0.1"))
	}

	always := newRelayRig(t, amt.RelayConfig{Compat: amt.RelayCompat{Endpoint: amt.EndpointAlways}})
	require.Equal(t, amt.FlagG, always.query(gateway4, 0, 7).Flags)
	never := newRelayRig(t, amt.RelayConfig{Compat: amt.RelayCompat{Endpoint: amt.EndpointNever}})
	for nonce := range uint32(3) {
		require.Zero(t, never.join(gateway4, "10.12.0.1", "232.1.1.1").Flags, nonce)
	}
}

func TestTeardown(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{})
	q := r.join(gateway4, "10.12.0.1", "232.1.1.1")
	moved := netip.MustParseAddrPort("203.0.113.5:4444")
	teardown := amt.Message{Type: amt.TypeTeardown, MAC: q.MAC, Nonce: q.Nonce, Gateway: moved}
	r.send(moved, teardown)
	require.Equal(t, 1, r.relay.Stats().Tunnels, "the MAC is for another endpoint")
	teardown.Gateway = gateway4
	r.send(moved, teardown)
	require.Zero(t, r.relay.Stats().Tunnels)
	require.Empty(t, r.tunnels("10.12.0.1", "232.1.1.1"))
	r.send(moved, teardown)
	require.EqualValues(t, 2, r.relay.Stats().Teardowns, "repeats do no harm")
}

func TestFullRelay(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{MaxTunnels: 20, HighWater: 0.5})
	at := func(i int) netip.AddrPort { return netip.AddrPortFrom(gateway4.Addr(), uint16(1000+i)) }
	for i := range 10 {
		require.Zero(t, r.join(at(i), "10.12.0.1", "232.1.1.1").Flags)
	}
	require.Contains(t, r.events(), "full")
	require.Equal(t, amt.FlagL, r.query(at(10), 0, 7).Flags&amt.FlagL)
	require.Zero(t, r.query(at(3), 0, 7).Flags&amt.FlagL, "it has a tunnel")
	for i := 10; i < 25; i++ {
		r.join(at(i), "10.12.0.1", "232.1.1.1")
	}
	require.Equal(t, 20, r.relay.Stats().Tunnels)
	require.EqualValues(t, 5, r.relay.Stats().Refused)
	for i := range 11 {
		r.update(at(i), r.query(at(i), 0, 8), record(gmp.ChangeToInclude, "232.1.1.1"))
	}
	require.Contains(t, r.events(), "ready")
	require.Zero(t, r.query(at(30), 0, 7).Flags&amt.FlagL)
}

func TestDrain(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{})
	r.join(gateway4, "10.12.0.1", "232.1.1.1")
	r.relay.Drain()
	_, ok := r.send(gateway6, amt.Message{Type: amt.TypeDiscovery, Nonce: 5})
	require.False(t, ok)
	require.Equal(t, amt.FlagL, r.join(gateway6, "10.12.0.1", "232.1.1.1").Flags)
	require.Equal(t, []string{gateway4.String()}, r.tunnels("10.12.0.1", "232.1.1.1"))
}

// What is not for a relay, is malformed, or comes by a family of which the relay
// has no address.
func TestRelayIgnores(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{IPv4: relay4.Addr()})
	for _, m := range []amt.Message{
		{Type: amt.TypeAdvertisement, Relay: relay4.Addr()}, {Type: amt.TypeQuery}, {Type: amt.TypeData},
	} {
		_, ok := r.send(gateway4, m)
		require.False(t, ok)
	}
	_, ok := r.send(gateway6, amt.Message{Type: amt.TypeDiscovery, Nonce: 1})
	require.False(t, ok)
	_, ok = r.sendRaw(gateway4, []byte{0x13, 0, 0, 0, 1, 2, 3, 4})
	require.False(t, ok)
	q := r.query(gateway4, 0, 7)
	for _, p := range [][]byte{nil, {0x45}, q.Packet} {
		r.send(gateway4, amt.Message{Type: amt.TypeUpdate, MAC: q.MAC, Nonce: q.Nonce, Packet: p})
	}
	s := r.relay.Stats()
	require.EqualValues(t, 3, s.Unexpected)
	require.EqualValues(t, 4, s.Malformed)
	require.EqualValues(t, 1, s.NoAddress)
	require.Zero(t, s.Tunnels)
}

// What four programs send as Updates is believed once the MAC is right.
func TestRelayTakesAllUpdates(t *testing.T) {
	for _, strict := range []bool{false, true} {
		r := newRelayRig(t, amt.RelayConfig{Compat: amt.RelayCompat{StrictHeaders: strict}})
		n := 0
		for i, v := range vectors(t) {
			var m amt.Message
			require.NoError(t, m.Unmarshal(v.raw))
			if m.Type != amt.TypeUpdate {
				continue
			}
			gateway := netip.AddrPortFrom(gateway4.Addr(), uint16(1000+i))
			q := r.query(gateway, 0, m.Nonce)
			m.MAC = q.MAC
			r.send(gateway, m)
			n++
		}
		s := r.relay.Stats()
		require.Equal(t, 11, n)
		require.Zero(t, s.Malformed)
		require.EqualValues(t, 3, s.OddHeaders, "go-amt's")
		if strict {
			require.Len(t, r.tunnels("10.12.0.1", "232.1.1.1"), 4, "Linux")
		} else {
			require.Len(t, r.tunnels("10.12.0.1", "232.1.1.1"), 6)
		}
		require.Equal(t, 1, s.Channels, "none of the link-local groups")
	}
}

// Hostile reports cost no more than the limits allow.
func TestHostileReports(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{MaxGroups: 4, MaxSources: 5})
	var many []string
	for i := range 300 {
		many = append(many, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String())
	}
	q := r.query(gateway4, 0, 7)
	r.update(gateway4, q, allow("232.1.1.1", many...))
	for i := range 15 {
		r.update(gateway4, q, allow(fmt.Sprintf("232.2.0.%d", i), "10.12.0.1"))
	}
	s := r.relay.Stats()
	require.Equal(t, 5+3, s.Channels, "5 sources of the first group, one of the others")
	require.EqualValues(t, 295+12, s.Ignored)

	// A report that claims 65,535 sources.
	p := gmp.AppendReport(nil, netip.Addr{}, false, allow("232.1.1.1", "10.0.0.1"))
	p[24+10], p[24+11] = 0xff, 0xff
	p[24+2], p[24+3] = 0, 0
	var sum uint32
	for i := 24; i < len(p); i += 2 {
		sum += uint32(p[i])<<8 | uint32(p[i+1])
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	p[24+2], p[24+3] = byte(^sum>>8), byte(^sum)
	r.wait(time.Minute)
	r.send(gateway4, amt.Message{Type: amt.TypeUpdate, MAC: q.MAC, Nonce: q.Nonce, Packet: p})
	require.EqualValues(t, 1, r.relay.Stats().Malformed)
}

func TestRates(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{Rate: 1000, PrefixRate: 100, TunnelRate: 4})
	viewer := netip.MustParseAddrPort("203.0.113.7:5000")
	q := r.join(viewer, "10.12.0.1", "232.1.1.1")
	r.wait(time.Second)

	// A flood with spoofed addresses of one network, then of all.
	answered := 0
	flood := func(n int, from func(i int) netip.AddrPort) {
		answered = 0
		for i := range n {
			if _, ok := r.send(from(i), amt.Message{Type: amt.TypeRequest, Nonce: 9}); ok {
				answered++
			}
		}
	}
	flood(500, func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 1000)
	})
	require.Equal(t, 100, answered)
	flood(5000, func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(i >> 8), byte(i), 1}), 1000)
	})
	require.Equal(t, 900, answered)
	flood(100, func(int) netip.AddrPort { return viewer })
	require.Equal(t, 8, answered, "who has a tunnel has tokens of its own")
	require.Zero(t, r.relay.Stats().BadMAC)
	require.Equal(t, 1, r.relay.Stats().Tunnels)

	// Updates with a wrong MAC, in the viewer's name, do not keep out its own.
	r.wait(time.Second)
	bad := q
	bad.MAC[0] ^= 1
	for range 1000 {
		r.update(viewer, bad, allow("232.1.1.1", "10.12.0.9"))
	}
	r.update(viewer, q, allow("232.1.1.1", "10.12.0.2"))
	require.Equal(t, []string{viewer.String()}, r.tunnels("10.12.0.2", "232.1.1.1"))
}

func TestUnreachableGateway(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{MaxUnreachable: 3})
	q := r.join(gateway4, "10.12.0.1", "232.1.1.1")
	r.relay.HandleUnreachable(r.now, gateway4)
	r.relay.HandleUnreachable(r.now, gateway4)
	r.update(gateway4, q, record(gmp.ModeIsInclude, "232.1.1.1", "10.12.0.1"))
	r.relay.HandleUnreachable(r.now, gateway4)
	r.relay.HandleUnreachable(r.now, gateway4)
	r.relay.HandleUnreachable(r.now, gateway6)
	require.Equal(t, 1, r.relay.Stats().Tunnels)
	r.relay.HandleUnreachable(r.now, gateway4)
	require.Zero(t, r.relay.Stats().Tunnels)
}

func TestPathMTU(t *testing.T) {
	source, group := netip.MustParseAddr("10.12.0.1"), netip.MustParseAddr("232.1.1.1")
	for _, follow := range []bool{false, true} {
		r := newRelayRig(t, amt.RelayConfig{FollowPathMTU: follow, MinPathMTU: 1300})
		r.join(gateway4, "10.12.0.1", "232.1.1.1")
		mtu := func(reported int) int {
			before := r.relay.Version(source, group)
			r.relay.HandlePathMTU(r.now, gateway4, reported)
			tunnels, _ := r.relay.AppendTunnels(nil, nil, source, group)
			if follow && reported < 1500 {
				require.NotEqual(t, before, r.relay.Version(source, group))
			}
			return int(tunnels[0].MTU)
		}
		if !follow {
			require.Equal(t, 1470, mtu(1400))
			continue
		}
		require.Equal(t, 1370, mtu(1400))
		require.Equal(t, 1270, mtu(600))
		require.Equal(t, 1270, mtu(9000))
		// After 10 minutes the path may be another one.
		for range 6 {
			r.wait(90 * time.Second)
			r.join(gateway4, "10.12.0.1", "232.1.1.1")
		}
		require.Equal(t, 1270, mtu(9000))
		r.wait(90 * time.Second)
		r.join(gateway4, "10.12.0.1", "232.1.1.1")
		require.Equal(t, 1470, mtu(9000))
	}
}

func TestECN(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{})
	ecn := func() bool {
		tunnels, _ := r.relay.AppendTunnels(nil, nil, netip.MustParseAddr("10.12.0.1"), netip.MustParseAddr("232.1.1.1"))
		return tunnels[0].ECN
	}
	r.join(gateway4, "10.12.0.1", "232.1.1.1")
	require.False(t, ecn())
	r.update(gateway4, r.query(gateway4, amt.FlagE, 8), allow("232.1.1.1", "10.12.0.1"))
	require.True(t, ecn())
}

func TestTunnelCounters(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{})
	q := r.join(gateway4, "10.12.0.1", "232.1.1.1")
	tunnels, _ := r.relay.AppendTunnels(nil, nil, netip.MustParseAddr("10.12.0.1"), netip.MustParseAddr("232.1.1.1"))
	r.relay.Count(&tunnels[0], 3, 4000)
	packets, octets, ok := r.relay.Counters(gateway4)
	require.Equal(t, []any{uint64(3), uint64(4000), true}, []any{packets, octets, ok})
	r.events()
	r.update(gateway4, q, record(gmp.BlockOldSources, "232.1.1.1", "10.12.0.1"))
	e, _ := r.relay.PollEvent()
	require.Equal(t, amt.Event{Type: amt.EventTunnelDown, Tunnel: tunnels[0].ID, Gateway: gateway4, Reason: amt.DownLeft, Packets: 3, Octets: 4000}, e)

	r.join(gateway6, "10.12.0.1", "232.1.1.1") // has the ID of the one that went
	r.relay.Count(&tunnels[0], 1, 1)
	packets, _, _ = r.relay.Counters(gateway6)
	require.Zero(t, packets, "what was sent to the former one")
}

func TestRelayConfig(t *testing.T) {
	for _, c := range []amt.RelayConfig{
		{}, {IPv4: netip.MustParseAddr("0.0.0.0")}, {IPv4: netip.MustParseAddr("2001:db8::1")},
		{IPv6: netip.MustParseAddr("ff3e::1")}, {IPv4: relay4.Addr(), Key: []byte("short")},
		{IPv4: relay4.Addr(), Robustness: 8}, {IPv4: relay4.Addr(), QueryInterval: time.Millisecond},
	} {
		_, err := amt.NewRelay(epoch, c)
		require.ErrorIs(t, err, amt.ErrConfig, "%+v", c)
	}
}

func TestRelayAllocates(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{TunnelRate: 1e6, PrefixRate: 1e6, Rate: 1e6})
	q := r.join(gateway4, "10.12.0.1", "232.1.1.1")
	message := func(m amt.Message) []byte {
		b, err := m.AppendTo(nil)
		require.NoError(t, err)
		return b
	}
	list := [][]byte{
		message(amt.Message{Type: amt.TypeDiscovery, Nonce: 1}), message(amt.Message{Type: amt.TypeRequest, Nonce: 7}),
	}
	for _, rec := range []gmp.Record{
		record(gmp.ModeIsInclude, "232.1.1.1", "10.12.0.1"), allow("232.1.1.2", "10.12.0.1"),
		record(gmp.BlockOldSources, "232.1.1.2", "10.12.0.1"),
	} {
		list = append(list, message(amt.Message{Type: amt.TypeUpdate, MAC: q.MAC, Nonce: 7,
			Packet: gmp.AppendReport(nil, netip.Addr{}, false, rec)}))
	}
	q.MAC[0]++
	list = append(list, message(amt.Message{Type: amt.TypeUpdate, MAC: q.MAC, Nonce: 7}), []byte{0xff}, nil)
	// The channel that comes and goes belongs to another gateway, too: what is
	// counted here is the relay's work for one gateway, not for a new channel.
	r.join(gateway6, "10.12.0.1", "232.1.1.2")
	buf := make([]byte, 0, 256)
	var d amt.Datagram
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, p := range list {
			d = amt.Datagram{Local: relay4, Remote: gateway4, Payload: p}
			buf = r.relay.HandleDatagram(r.now, &d, buf[:0])
		}
		for {
			if _, ok := r.relay.PollEvent(); !ok {
				break
			}
		}
	}))
}

// One packet is copied to so many tunnels and no more; who has the channel keeps
// it, and the place of one who leaves is free.
func TestMaxCopies(t *testing.T) {
	for _, group := range []string{"232.1.1.1", "239.1.1.1"} {
		r := newRelayRig(t, amt.RelayConfig{MaxCopies: 3})
		gateway := func(i int) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 0, 0, byte(i)}), 9) }
		join := func(i int) {
			q := r.query(gateway(i), 0, 7)
			if group == "239.1.1.1" {
				r.update(gateway(i), q, record(gmp.ModeIsExclude, group))
			} else {
				r.update(gateway(i), q, record(gmp.ModeIsInclude, group, source4))
			}
		}
		for i := range 5 {
			join(i)
		}
		require.Len(t, r.tunnels(source4, group), 3)
		require.Equal(t, uint64(2), r.relay.Stats().Ignored)
		require.Equal(t, 3, r.relay.Stats().Tunnels)
		for i := range 3 {
			join(i) // again
		}
		require.Equal(t, uint64(2), r.relay.Stats().Ignored)
		q := r.query(gateway(1), 0, 7)
		r.update(gateway(1), q, record(gmp.ChangeToInclude, group))
		join(4)
		require.Len(t, r.tunnels(source4, group), 3)
		require.Contains(t, r.tunnels(source4, group), gateway(4).String())
	}
}

// A gateway with more than it may have is known, and has what it asks for when it may have more.
func TestSetLimits(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{MaxGroups: 1, Allow: func(_ netip.AddrPort, source, _ netip.Addr) bool { return source.IsValid() }})
	q := r.join(gateway4, "10.12.0.1", "232.1.1.1")
	r.update(gateway4, q, record(gmp.ChangeToExclude, "239.1.1.1"))
	require.EqualValues(t, 1, r.relay.Stats().Ignored, "that group would be the second")
	require.Equal(t, gateway4, r.relay.Stats().Greedy)
	require.Empty(t, r.tunnels("10.12.0.1", "232.1.1.2"))
	r.relay.SetLimits(2, 0, 0)
	r.update(gateway4, q, allow("232.1.1.2", "10.12.0.1"))
	require.Equal(t, []string{gateway4.String()}, r.tunnels("10.12.0.1", "232.1.1.2"))
	r.relay.SetLimits(1, 0, 0)
	r.update(gateway4, q, allow("232.1.1.2", "10.12.0.1"))
	require.Equal(t, []string{gateway4.String()}, r.tunnels("10.12.0.1", "232.1.1.2"), "what it has it keeps")
	r.relay.SetLimits(0, 0, 0) // the defaults
	r.update(gateway4, q, record(gmp.ChangeToExclude, "239.1.1.1"))
	s := r.relay.Stats()
	require.Equal(t, [2]uint64{2, 1}, [2]uint64{s.Ignored, s.Denied})
}
