package amt_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/gmp"
)

// Tests of single sentences of RFC 7450 that concern relays; CONFORMANCE.md lists all.

// Section 5.3.3.4: lengths and checksums of the encapsulated datagram. Whatever bit of an
// Update is another one, nothing changes. Of IPv6 the traffic class, the flow label,
// the hop limit and the Router Alert option are under no checksum.
func TestDamagedUpdates(t *testing.T) {
	for _, c := range []struct{ source, group string }{{"10.12.0.1", "232.1.1.1"}, {"2001:db8::a", "ff3e::8000:d"}} {
		r := newRelayRig(t, amt.RelayConfig{PrefixRate: 1e6})
		g := netip.MustParseAddr(c.group)
		var flags amt.Flags
		if g.Is6() {
			flags = amt.FlagP
		}
		q := r.query(gateway4, flags, 7)
		raw, err := (&amt.Message{Type: amt.TypeUpdate, MAC: q.MAC, Nonce: q.Nonce,
			Packet: gmp.AppendReport(nil, netip.Addr{}, g.Is6(), allow(c.group, c.source))}).AppendTo(nil)
		require.NoError(t, err)
		for bit := range 8 * len(raw) {
			inner := bit/8 - 12
			free := inner == 0 && bit%8 < 4 || inner >= 1 && inner < 4 || inner == 7 || inner >= 42 && inner < 48
			if bit/8 == 1 || g.Is6() && free {
				continue // reserved, or under no checksum
			}
			damaged := append([]byte(nil), raw...)
			damaged[bit/8] ^= 1 << (bit % 8)
			r.sendRaw(gateway4, damaged)
			require.Zero(t, r.relay.Stats().Tunnels, "%s: octet %d, bit %d", c.group, bit/8, bit%8)
		}
		for n := range raw {
			r.sendRaw(gateway4, raw[:n])
			require.Zero(t, r.relay.Stats().Tunnels, "the first %d octets", n)
		}
		// Octets behind the datagram are ignored, and so are reserved bits.
		raw[1] = 0xff
		r.sendRaw(gateway4, append(raw, 1, 2, 3))
		require.Len(t, r.tunnels(c.source, c.group), 1)
	}
}

// Section 5.3.3.3 and RFC 3376 section 4.1, RFC 3810 section 5.1: the General Queries,
// octet by octet. The maximum response code is 1, S is 0, QRV 2, QQIC 125.
func TestGeneralQueries(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{})
	require.Equal(t, []byte{
		0x46, 0xc0, 0, 36, 0, 0, 0x40, 0, 1, 2, 0x04, 0x13, 0, 0, 0, 0, 224, 0, 0, 1, 0x94, 4, 0, 0,
		0x11, 1, 0xec, 0x81, 0, 0, 0, 0, 2, 125, 0, 0,
	}, r.query(gateway4, 0, 7).Packet)
	p := r.query(gateway4, amt.FlagP, 7).Packet
	require.Equal(t, []byte{0x60, 0, 0, 0, 0, 36, 0, 1}, p[:8], "a hop limit of 1")
	require.Equal(t, netip.MustParseAddr("fe80::2"), netip.AddrFrom16([16]byte(p[8:])))
	require.Equal(t, netip.MustParseAddr("ff02::1"), netip.AddrFrom16([16]byte(p[24:])))
	require.Equal(t, []byte{58, 0, 5, 2, 0, 0, 1, 0}, p[40:48], "Router Alert")
	require.Equal(t, []byte{130, 0}, p[48:50])
	require.Equal(t, []byte{0, 1, 0, 0}, p[52:56])
	require.Equal(t, append(make([]byte, 16), 2, 125, 0, 0), p[56:])

	// A robustness and an interval of one's own. The interval is not longer than the
	// time after which a silent gateway is forgotten (section 5.3.3.7).
	for _, interval := range []time.Duration{time.Second, 200 * time.Second, 31744 * time.Second} {
		r := newRelayRig(t, amt.RelayConfig{Robustness: 1, QueryInterval: interval})
		var m gmp.Message
		require.NoError(t, m.Parse(r.join(gateway4, "10.12.0.1", "232.1.1.1").Packet))
		require.LessOrEqual(t, m.Query.Interval, interval)
		require.Equal(t, uint8(1), m.Query.Robustness)
		r.wait(m.Query.Interval + 9*time.Second)
		require.Equal(t, 1, r.relay.Stats().Tunnels)
		r.wait(interval + 3*time.Second)
		require.Zero(t, r.relay.Stats().Tunnels)
	}
}

// What an address that somebody else pretends to be is sent for a message.
func TestAmplification(t *testing.T) {
	for _, gateway := range []netip.AddrPort{gateway4, gateway6} {
		header := 28
		if gateway.Addr().Is6() {
			header = 48
		}
		for _, compat := range []amt.EndpointMode{amt.EndpointAuto, amt.EndpointAlways} {
			r := newRelayRig(t, amt.RelayConfig{Compat: amt.RelayCompat{Endpoint: compat}, PrefixRate: 10})
			local := relay4
			if gateway.Addr().Is6() {
				local = relay6
			}
			in, out := 0, 0
			send := func(payload ...byte) {
				in += header + len(payload)
				if a := r.relay.HandleDatagram(r.now, &amt.Datagram{Local: local, Remote: gateway, Payload: payload}, nil); len(a) > 0 {
					out += header + len(a)
				}
			}
			send(3, 1, 0, 0, 0, 0, 0, 7)
			require.LessOrEqual(t, float64(out)/float64(in), 4.0, "the most: a query of MLD, with the endpoint")
			in, out = 0, 0
			for range 1000 {
				send(3, 1, 0, 0, 0, 0, 0, 7)
				send(1, 0, 0, 0, 0, 0, 0, 7)
				send(5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7)
				send(7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7)
			}
			require.Less(t, float64(out)/float64(in), 0.02, "a prefix has 10 answers a second")
		}
	}
}

// Section 6.1: an endpoint has a limit of channels of all its groups. At the limit it may
// leave, refresh and exchange what it has (section 5.3.3.8).
func TestChannelsOfATunnel(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{MaxChannelsPerTunnel: 100, TunnelRate: 1e6})
	q := r.query(gateway4, 0, 7)
	sources := func(first, n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("10.0.%d.1", first+i))
		}
		return list
	}
	for i := range 10 {
		r.update(gateway4, q, allow(fmt.Sprintf("232.1.1.%d", i), sources(0, 30)...))
	}
	s := r.relay.Stats()
	require.Equal(t, 100, s.Channels)
	require.EqualValues(t, 200, s.Ignored)
	require.Len(t, r.tunnels("10.0.0.1", "232.1.1.0"), 1)
	r.update(gateway4, q, allow("232.1.1.0", sources(0, 30)...))
	require.EqualValues(t, 200, r.relay.Stats().Ignored, "a refresh")
	r.update(gateway4, q, record(gmp.BlockOldSources, "232.1.1.0", sources(0, 10)...), allow("232.1.1.9", sources(40, 20)...))
	require.Equal(t, 100, r.relay.Stats().Channels)
	require.EqualValues(t, 210, r.relay.Stats().Ignored)
	require.Len(t, r.tunnels("10.0.49.1", "232.1.1.9"), 1)
	require.Empty(t, r.tunnels("10.0.50.1", "232.1.1.9"))
	r.join(gateway6, "10.0.50.1", "232.1.1.9")
	require.Len(t, r.tunnels("10.0.50.1", "232.1.1.9"), 1, "others are not affected")
}

// An IPv6 /64 counts as one address.
func TestTunnelsOfAPrefix(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{MaxTunnelsPerAddress: 20, PrefixRate: 1e6})
	at := func(format string, i int) netip.AddrPort { return netip.MustParseAddrPort(fmt.Sprintf(format, i)) }
	for i := range 100 {
		r.join(at("[2001:db8:9:9::%x]:51000", i+1), "10.12.0.1", "232.1.1.1")
	}
	require.Equal(t, 20, r.relay.Stats().Tunnels)
	require.EqualValues(t, 80, r.relay.Stats().Refused)
	r.join(netip.MustParseAddrPort("[2001:db8:9:a::1]:51000"), "10.12.0.1", "232.1.1.1")
	for i := range 100 { // of IPv4 each is one
		r.join(at("198.51.100.%d:51000", i+1), "10.12.0.1", "232.1.1.1")
	}
	require.Equal(t, 121, r.relay.Stats().Tunnels)
	// Whoever leaves makes room.
	gone := at("[2001:db8:9:9::%x]:51000", 1)
	r.update(gone, r.query(gone, 0, 8), record(gmp.BlockOldSources, "232.1.1.1", "10.12.0.1"))
	r.join(at("[2001:db8:9:9::%x]:51000", 77), "10.12.0.1", "232.1.1.1")
	require.Equal(t, 121, r.relay.Stats().Tunnels)
	r.wait(10 * time.Minute)
	require.Zero(t, r.relay.Stats().Tunnels)
	for i := range 20 {
		r.join(at("[2001:db8:9:9::%x]:51000", 1000+i), "10.12.0.1", "232.1.1.1")
	}
	require.Equal(t, 20, r.relay.Stats().Tunnels)
}

// Section 5.3.3.5: a Teardown does what a report that deletes all would do, at once, and
// leaves others alone; it has to have the MAC and the nonce of the endpoint that it names,
// whoever sends it.
func TestTeardownIsAReport(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{Linger: -1, Compat: amt.RelayCompat{Endpoint: amt.EndpointAlways}})
	moved := netip.MustParseAddrPort("203.0.113.77:9")
	q := r.join(gateway4, "10.12.0.1", "232.1.1.1")
	require.Equal(t, amt.FlagG, q.Flags)
	require.Equal(t, gateway4, q.Gateway)
	r.update(gateway4, q, record(gmp.ChangeToExclude, "239.1.1.1", "10.12.0.9"))
	other := r.join(gateway6, "10.12.0.1", "232.1.1.1")
	r.events()
	teardown := func(mac amt.MAC, nonce uint32, names netip.AddrPort) []string {
		r.send(moved, amt.Message{Type: amt.TypeTeardown, MAC: mac, Nonce: nonce, Gateway: names})
		return r.events()
	}
	require.Empty(t, teardown(q.MAC, q.Nonce+1, gateway4))
	require.Empty(t, teardown(other.MAC, q.Nonce, gateway4))
	require.Empty(t, teardown(q.MAC, q.Nonce, netip.AddrPortFrom(gateway4.Addr(), gateway4.Port()+1)))
	require.Empty(t, teardown(q.MAC, q.Nonce, moved))
	require.Equal(t, 2, r.relay.Stats().Tunnels)

	// The gateway has a tunnel from its new address by then: section 4.2.1.3.
	r.join(moved, "10.12.0.1", "232.1.1.1")
	r.events()
	require.Equal(t, []string{"down " + gateway4.String(), "leave (invalid IP,239.1.1.1)"}, teardown(q.MAC, q.Nonce, gateway4))
	require.Equal(t, []string{moved.String(), gateway6.String()}, r.tunnels("10.12.0.1", "232.1.1.1"))
	require.Empty(t, teardown(q.MAC, q.Nonce, gateway4), "twice")
}

// Section 5.3.1 and RFC 3376 section 6.4: each gateway is on a link of its own, so that one
// that leaves is off at once while others stay, and the channel is left with the last.
func TestLeavesOfSeveral(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{Linger: -1})
	const source, group = "10.12.0.1", "232.1.1.1"
	var gateways []netip.AddrPort
	var queries []amt.Message
	for i := range 3 {
		gateways = append(gateways, netip.AddrPortFrom(gateway4.Addr(), uint16(1000+i)))
		queries = append(queries, r.join(gateways[i], source, group))
	}
	r.events()
	for i, leave := range []gmp.Record{
		record(gmp.BlockOldSources, group, source), record(gmp.ChangeToInclude, group), record(gmp.ChangeToInclude, group, "10.12.0.2"),
	} {
		r.update(gateways[i], queries[i], leave)
		require.Len(t, r.tunnels(source, group), 2-i)
		r.update(gateways[i], queries[i], leave) // the repetition
	}
	require.Equal(t, []string{
		"down " + gateways[0].String(), "down " + gateways[1].String(), "join (10.12.0.2,232.1.1.1)", "leave (10.12.0.1,232.1.1.1)",
	}, r.events())
	// What is repeated late, after a leave, does not bring anything back but for who asks:
	// ALLOW, BLOCK and ALLOW again in one report count in their order.
	r.update(gateways[0], queries[0], allow(group, source), record(gmp.BlockOldSources, group, source), allow(group, source))
	require.Len(t, r.tunnels(source, group), 1)
}

// RFC 4607 section 1 and RFC 3376 section 6: what stays on a link or a node is for no
// relay, and in the range of source-specific multicast a source is needed (RFC 4604
// section 2.2.3).
func TestGroupsThatAreForNobody(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{MaxGroups: 100})
	q4, q6 := r.query(gateway4, 0, 7), r.query(gateway4, amt.FlagP, 8)
	for _, group := range []string{"224.0.0.1", "224.0.0.251", "192.0.2.1", "0.0.0.0", "255.255.255.255"} {
		r.update(gateway4, q4, allow(group, "10.12.0.1"), record(gmp.ChangeToExclude, group))
	}
	for _, group := range []string{"ff01::1", "ff02::fb", "ff32::8000:1", "ff00::1", "ff3f::1", "2001:db8::1", "::"} {
		r.update(gateway4, q6, allow(group, "2001:db8::a"), record(gmp.ChangeToExclude, group))
	}
	r.update(gateway4, q4, record(gmp.ChangeToExclude, "232.1.1.1"), record(gmp.ModeIsExclude, "232.1.1.2", "10.12.0.1"))
	r.update(gateway4, q6, record(gmp.ChangeToExclude, "ff3e::8000:d"))
	for _, source := range []string{"224.0.0.1", "0.0.0.0", "239.1.1.1"} {
		r.update(gateway4, q4, allow("232.1.1.1", source))
	}
	require.Zero(t, r.relay.Stats().Tunnels)
	require.Empty(t, r.events())
	r.update(gateway4, q4, record(gmp.ChangeToExclude, "239.1.1.1"))
	require.Equal(t, []string{"up " + gateway4.String(), "join (invalid IP,239.1.1.1)"}, r.events(), "any-source multicast, unless Allow says otherwise")
}

// A clock that is set back or forward by hours: nobody loses a tunnel before its time for
// it, or keeps it, and who asks again goes on.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{-3 * time.Hour, -time.Second, 3 * time.Hour, 100 * time.Hour} {
		r := newRelayRig(t, amt.RelayConfig{})
		r.now = r.now.Add(200 * time.Hour)
		r.relay.HandleTimeout(r.now)
		r.join(gateway4, "10.12.0.1", "232.1.1.1")
		r.join(gateway6, "10.12.0.1", "232.1.1.1")
		r.now = r.now.Add(jump)
		r.relay.HandleTimeout(r.now)
		r.join(gateway4, "10.12.0.1", "232.1.1.1")
		require.Len(t, r.tunnels("10.12.0.1", "232.1.1.1"), map[bool]int{true: 2, false: 1}[jump < 0], "%v", jump)
		for range 3 {
			r.wait(120 * time.Second)
			r.join(gateway4, "10.12.0.1", "232.1.1.1")
		}
		require.Contains(t, r.tunnels("10.12.0.1", "232.1.1.1"), gateway4.String(), "%v", jump)
		r.wait(max(0, -jump) + 270*time.Second)
		require.Zero(t, r.relay.Stats().Tunnels, "%v", jump)
	}
}

// Section 5.3.3.1: messages of another version and those that are not for relays. An
// Update without anything to subscribe to makes no tunnel (section 4.2.2).
func TestNothingToSubscribe(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{})
	q := r.query(gateway4, 0, 7)
	empty := gmp.AppendReport(nil, netip.Addr{}, false)
	for _, p := range [][]byte{
		empty, gmp.AppendOlder(nil, netip.Addr{}, 2, gmp.TypeLeave, netip.MustParseAddr("239.1.1.1")),
		gmp.AppendReport(nil, netip.Addr{}, false, record(gmp.ChangeToInclude, "232.1.1.1"), record(gmp.BlockOldSources, "232.1.1.1", "10.12.0.1"), allow("232.1.1.1")),
	} {
		r.send(gateway4, amt.Message{Type: amt.TypeUpdate, MAC: q.MAC, Nonce: q.Nonce, Packet: p})
	}
	require.EqualValues(t, 3, r.relay.Stats().Updates)
	require.Zero(t, r.relay.Stats().Tunnels)
	for version := 1; version < 16; version++ {
		for typ := range byte(16) {
			_, ok := r.sendRaw(gateway4, []byte{byte(version)<<4 | typ, 0, 0, 0, 0, 0, 0, 7})
			require.False(t, ok)
		}
	}
	require.Zero(t, r.relay.Stats().Opened)
}
