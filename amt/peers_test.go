package amt_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/gmp"
)

// peers reads testdata/peers.jsonl: messages to a relay and from two, of programs
// that are run by hand and not by the tests.
func peers(tb testing.TB) []vector { return readVectors(tb, "testdata/peers.jsonl", 53) }

// short reports whether a message is the Teardown of amt-protocol, which ends
// with the nonce: RFC 7450 section 5.1.7 has the gateway's address behind it.
func short(v vector) bool { return v.Type == "teardown" && len(v.raw) == 12 }

// They decode, and encode again to the same octets but for the one that VLC
// appends to its Requests.
func TestPeers(t *testing.T) {
	for i, v := range peers(t) {
		var m amt.Message
		if short(v) {
			require.ErrorIs(t, m.Unmarshal(v.raw), amt.ErrShort)
			continue
		}
		require.NoError(t, m.Unmarshal(v.raw), "line %d", i+1)
		require.Equal(t, typeNames[v.Type], m.Type, "line %d", i+1)
		again, err := m.AppendTo(nil)
		require.NoError(t, err)
		want := v.raw
		if m.Type == amt.TypeRequest && strings.HasPrefix(v.Impl, "vlc") {
			want = want[:8]
		}
		require.Equal(t, want, again, "line %d", i+1)
	}
}

// What these gateways join they get, and what they leave ends, whatever they
// write into the headers of their reports.
func TestRelayServesPeers(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{})
	now := make(map[netip.AddrPort]map[string]bool)
	reports := 0
	for _, v := range peers(t) {
		from, _, _ := strings.Cut(v.Outer, ">")
		gateway := netip.MustParseAddrPort(from)
		if gateway.Port() == amt.Port {
			continue
		}
		var m amt.Message
		if short(v) {
			before := r.relay.Stats()
			_, answered := r.sendRaw(gateway, v.raw)
			require.False(t, answered)
			require.EqualValues(t, before.Malformed+1, r.relay.Stats().Malformed)
			continue
		}
		require.NoError(t, m.Unmarshal(v.raw))
		switch m.Type {
		case amt.TypeDiscovery:
			a, ok := r.sendRaw(gateway, v.raw)
			require.True(t, ok, v.Impl)
			require.Equal(t, m.Nonce, a.Nonce)
		case amt.TypeRequest:
			q, ok := r.sendRaw(gateway, v.raw)
			require.True(t, ok, v.Impl)
			require.Equal(t, m.Nonce, q.Nonce)
			require.Equal(t, m.Flags&(amt.FlagP|amt.FlagLinuxP) != 0, q.Packet[0]>>4 == 6)
		case amt.TypeUpdate:
			m.MAC = r.query(gateway, 0, m.Nonce).MAC
			before := r.relay.Stats()
			r.send(gateway, m)
			var report gmp.Message
			if report.Parse(m.Packet) != nil {
				// A Router Solicitation, which its gateway takes for a report.
				require.EqualValues(t, before.Malformed+1, r.relay.Stats().Malformed)
				continue
			}
			reports++
			if now[gateway] == nil {
				now[gateway] = make(map[string]bool)
			}
			for rec := range report.Records {
				switch rec.Type {
				case gmp.ModeIsInclude, gmp.AllowNewSources:
					now[gateway][rec.Group.String()] = true
				case gmp.BlockOldSources, gmp.ChangeToInclude:
					delete(now[gateway], rec.Group.String())
				}
			}
		case amt.TypeTeardown:
			// That of go-amt is for no endpoint, so its MAC cannot be right.
			before := r.relay.Stats()
			r.send(gateway, m)
			require.EqualValues(t, before.BadMAC+1, r.relay.Stats().BadMAC)
		}
	}
	require.Equal(t, 29, reports)
	tunnels, channels := 0, make(map[string]bool)
	for _, groups := range now {
		if len(groups) > 0 {
			tunnels++
		}
		for g := range groups {
			channels[g] = true
		}
	}
	s := r.relay.Stats()
	require.Equal(t, tunnels, s.Tunnels)
	require.Positive(t, tunnels)
	require.Len(t, channels, s.Channels)
	require.EqualValues(t, 3, s.Malformed)
}

// A relay of 2004 whose query interval is 5 s or 20 s, with queries that have
// neither robustness nor a plausible S flag: the gateway keeps to its interval,
// and leaves it in a way that it understands.
func TestGatewayWithAmtrelayd(t *testing.T) {
	for i, c := range []struct {
		outer, source, group string
		interval             time.Duration
	}{
		{"10.77.23.1:2268>10.77.4.2:40872", "10.77.1.2", "232.77.0.1", 20 * time.Second},
		{"[fd77:23::1]:2268>[fd77:4::2]:56771", "fd77:1::2", "ff3e::8000:77", 5 * time.Second},
		{"[fd66::1]:2268>[fd66::2]:56035", "10.66.1.2", "232.66.0.1", 20 * time.Second}, // IPv4 in IPv6
		{"10.66.0.1:2268>10.66.0.2:57806", "fd66:1::2", "ff3e::8000:67", 5 * time.Second},
	} {
		var query, data []byte
		for _, v := range peers(t) {
			if v.Outer == c.outer {
				switch v.Type {
				case "query":
					query = v.raw
				case "data":
					data = v.raw
				}
			}
		}
		from, _, _ := strings.Cut(c.outer, ">")
		relay := netip.MustParseAddrPort(from)
		source, group := netip.MustParseAddr(c.source), netip.MustParseAddr(c.group)
		g := amt.NewGateway(amt.GatewayConfig{Relays: direct(from), Silence: -1})
		now := epoch
		require.NoError(t, g.Join(now, source, group))
		var sent []string
		var asked []time.Time
		deliver := func(payload []byte) bool {
			var p amt.Packet
			return g.HandleDatagram(now, 1, &amt.Datagram{Remote: relay, Payload: payload}, 0, &p)
		}
		drain := func() {
			for {
				out, ok := g.PollTransmission()
				if !ok {
					return
				}
				var m amt.Message
				require.NoError(t, m.Unmarshal(out.Payload))
				switch m.Type {
				case amt.TypeRequest:
					asked = append(asked, now)
					answer := append([]byte(nil), query...)
					binary.BigEndian.PutUint32(answer[8:], m.Nonce)
					deliver(answer)
				case amt.TypeUpdate:
					var report gmp.Message
					require.NoError(t, report.Parse(m.Packet))
					for rec := range report.Records {
						sent = append(sent, fmt.Sprintf("%v %d", rec.Type, rec.Sources.Len()))
					}
				default:
					require.Fail(t, "unexpected", m.Type)
				}
			}
		}
		drain()
		require.Contains(t, sent, "MODE_IS_INCLUDE 1")
		if i != 1 { // of which there is none
			require.True(t, deliver(data), "the data of this channel")
		}
		for end := now.Add(5 * time.Minute); now.Before(end); {
			now = g.NextTimeout()
			g.HandleTimeout(now)
			drain()
		}
		for j := 3; j < len(asked); j++ { // the first ones learn the endpoint, which this relay never tells
			require.LessOrEqual(t, asked[j].Sub(asked[j-1]), c.interval)
		}
		require.Greater(t, len(asked), int(5*time.Minute/c.interval))

		sent = nil
		g.Close(now)
		drain()
		require.Equal(t, []string{"BLOCK_OLD_SOURCES 1", "CHANGE_TO_INCLUDE_MODE 0",
			"BLOCK_OLD_SOURCES 1", "CHANGE_TO_INCLUDE_MODE 0"}, sent)
	}
}

// A relay forgets a tunnel after twice its query interval and 10 s.
func TestShortQueryInterval(t *testing.T) {
	s := newSim(t, 1)
	r := s.addRelay(relayA, amt.RelayConfig{QueryInterval: time.Second})
	g := s.addGateway(amt.GatewayConfig{Relays: candidates(relayA), Silence: -1})
	s.stream(source4, group4, 20*time.Millisecond)
	g.join(source4, group4)
	s.run(10 * time.Minute)
	require.EqualValues(t, 1, r.relay.Stats().Opened)
	require.Zero(t, r.relay.Stats().Expired)
}

// RFC 7450 section 5.3.3.4 has IGMPv2 and IGMPv3.
func TestRelayTakesNoIGMPv1(t *testing.T) {
	group := netip.MustParseAddr("239.1.1.1")
	for version, tunnels := range []int{1: 0, 2: 1} {
		if version == 0 {
			continue
		}
		r := newRelayRig(t, amt.RelayConfig{})
		q := r.query(gateway4, 0, 7)
		r.send(gateway4, amt.Message{Type: amt.TypeUpdate, MAC: q.MAC, Nonce: q.Nonce,
			Packet: gmp.AppendOlder(nil, netip.Addr{}, version, gmp.TypeReport, group)})
		require.Equal(t, tunnels, r.relay.Stats().Tunnels)
	}
}

// VLC sends the MAC of its first Query for as long as it plays. That of a tunnel
// that was never without an Update since stays good; not for others, not once the
// gateway has shown a newer one, and not after a silence.
func TestRelayKeepsTunnelsOfOldSecrets(t *testing.T) {
	r := newRelayRig(t, amt.RelayConfig{})
	vlc, fresh, late := gateway4, netip.AddrPortFrom(gateway4.Addr(), 1), netip.AddrPortFrom(gateway4.Addr(), 2)
	record := allow("232.1.1.1", "10.12.0.1")
	q := r.join(vlc, "10.12.0.1", "232.1.1.1")
	renewed := r.join(fresh, "10.12.0.1", "232.1.1.1")
	asked := r.query(late, 0, 7)
	var again amt.Message
	for range 24 * 3600 / 125 {
		r.wait(125 * time.Second)
		r.update(vlc, q, record)
		again = r.query(fresh, 0, 8)
		r.update(fresh, again, record)
	}
	s := r.relay.Stats()
	require.Equal(t, 2, s.Tunnels)
	require.Zero(t, s.BadMAC)

	r.update(late, asked, record)
	require.EqualValues(t, 1, r.relay.Stats().BadMAC)
	r.update(fresh, renewed, record)
	require.EqualValues(t, 2, r.relay.Stats().BadMAC)

	r.wait(10 * time.Minute)
	require.Zero(t, r.relay.Stats().Tunnels)
	r.update(vlc, q, record)
	require.EqualValues(t, 3, r.relay.Stats().BadMAC)
	require.Zero(t, r.relay.Stats().Tunnels)
}

// amt-protocol and VLC send one Request, and go on with the MAC of its answer
// when the relay restarts. A relay with the same key takes it as long as the
// secret lasts; one of another key, and one that restarts later, cannot.
func TestRestartUnderGatewayThatAsksOnce(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	for _, c := range []struct {
		key     []byte
		after   time.Duration
		tunnels int
	}{{key, time.Minute, 1}, {nil, time.Minute, 0}, {key, 3 * time.Hour, 0}} {
		r := newRelayRig(t, amt.RelayConfig{Key: key})
		q := r.join(gateway4, "10.12.0.1", "232.1.1.1")
		r = newRelayRig(t, amt.RelayConfig{Key: c.key})
		r.wait(c.after)
		r.update(gateway4, q, allow("232.1.1.1", "10.12.0.1"))
		s := r.relay.Stats()
		require.Equal(t, c.tunnels, s.Tunnels, c)
		require.EqualValues(t, 1-c.tunnels, s.BadMAC, c)
	}
}
