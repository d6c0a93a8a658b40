package amt_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/gmp"
)

// maxScript is more than it takes to reach every limit of the machines.
const maxScript = 400

// The bytes of a script are messages from a few endpoints, some with the right
// MAC, and steps in time. What is checked at each step is compared by hand: the fuzzer
// instruments testify as well, which then takes most of the time.
func FuzzRelay(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(append([]byte{0, byte(len(v.raw))}, v.raw...))
	}
	f.Add([]byte{1, 0, 1, 1, 2, 2, 0x41, 3, 3, 0x82, 9})
	f.Fuzz(func(t *testing.T, script []byte) {
		script = script[:min(len(script), maxScript)]
		config := amt.RelayConfig{MaxTunnels: 5, MaxTunnelsPerAddress: 3, MaxGroups: 3, MaxSources: 3, MaxChannels: 20}
		r := newRelayRig(t, config)
		endpoints := []netip.AddrPort{gateway4, netip.AddrPortFrom(gateway4.Addr(), 1), gateway6,
			netip.MustParseAddrPort("203.0.113.1:1"), netip.MustParseAddrPort("203.0.113.2:1"), netip.MustParseAddrPort("203.0.113.3:1")}
		queries := make(map[netip.AddrPort]amt.Message)
		joined := make(map[[2]netip.Addr]bool)
		full := false
		up := make(map[netip.AddrPort]bool)
		for len(script) >= 2 {
			op, arg := script[0], script[1]
			script = script[2:]
			e := endpoints[int(op>>4)%len(endpoints)]
			switch op & 0xf {
			case 0: // anything
				n := min(int(arg), len(script))
				r.sendRaw(e, script[:n])
				script = script[n:]
			case 1:
				if q, ok := r.send(e, amt.Message{Type: amt.TypeRequest, Flags: amt.Flags(arg), Nonce: uint32(arg)}); ok {
					queries[e] = q
				}
			case 2, 3, 4, 5: // a report with the right MAC
				q, ok := queries[e]
				if !ok {
					continue
				}
				var list []netip.Addr
				for i := range 5 {
					if arg>>i&1 == 1 {
						list = append(list, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
					}
				}
				group := netip.AddrFrom4([4]byte{[]byte{232, 239}[arg>>5&1], 1, 1, arg >> 6})
				rec := gmp.Record{Type: gmp.RecordType(1 + (op+arg)%6), Group: group, Sources: gmp.SourcesOf(list...)}
				r.update(e, q, rec)
			case 6: // a report of random content
				n := min(int(arg), len(script))
				q := queries[e]
				r.send(e, amt.Message{Type: amt.TypeUpdate, MAC: q.MAC, Nonce: q.Nonce, Packet: script[:n]})
				script = script[n:]
			case 7:
				q := queries[e]
				r.send(endpoints[int(arg)%len(endpoints)], amt.Message{Type: amt.TypeTeardown, MAC: q.MAC, Nonce: q.Nonce, Gateway: e})
			case 8:
				r.relay.HandleUnreachable(r.now, e)
			default:
				r.wait(time.Duration(arg) * time.Duration(arg) * 10 * time.Millisecond)
			}
			for {
				ev, ok := r.relay.PollEvent()
				if !ok {
					break
				}
				channel := [2]netip.Addr{ev.Source, ev.Group}
				had := false
				switch ev.Type {
				case amt.EventJoin:
					had = !joined[channel]
					joined[channel] = true
				case amt.EventLeave:
					had = joined[channel]
					delete(joined, channel)
				case amt.EventTunnelUp:
					had = !up[ev.Gateway]
					up[ev.Gateway] = true
				case amt.EventTunnelDown:
					had = up[ev.Gateway]
					delete(up, ev.Gateway)
				case amt.EventFull, amt.EventReady:
					had = full == (ev.Type == amt.EventReady)
					full = !full
				}
				if !had {
					t.Fatalf("an event twice, or without its beginning: %+v", ev)
				}
			}
			s := r.relay.Stats()
			if len(up) != s.Tunnels || s.Tunnels > config.MaxTunnels || s.Channels > config.MaxChannels || len(joined) < s.Channels {
				t.Fatalf("%d tunnels and %d channels, of which the events have told %d and %d", s.Tunnels, s.Channels, len(up), len(joined))
			}
		}
		r.wait(10 * time.Minute)
		require.Zero(t, r.relay.Stats().Tunnels, "silent gateways are forgotten")
		require.Zero(t, r.relay.Stats().Channels)
	})
}

// The bytes of a script are answers to a gateway, right ones and others, and
// what happens to it otherwise.
func FuzzGateway(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(append([]byte{0, byte(len(v.raw))}, v.raw...))
	}
	f.Add([]byte{3, 0, 1, 1, 1, 1, 2, 0, 9, 9, 4, 1, 1, 0, 1, 1})
	// The relay's answers to both kinds of Request; a gateway looks into neither MAC.
	rig := newRelayRig(f, amt.RelayConfig{})
	queries := [2]amt.Message{rig.query(gateway4, 0, 1), rig.query(gateway4, amt.FlagP, 1)}
	f.Fuzz(func(t *testing.T, script []byte) {
		script = script[:min(len(script), maxScript)]
		relays := []netip.AddrPort{netip.MustParseAddrPort(relayA), netip.MustParseAddrPort(relayB), netip.MustParseAddrPort(relayC)}
		g := amt.NewGateway(amt.GatewayConfig{
			Relays: candidates(relayA, relayB, relayC), Rand: rand.New(rand.NewPCG(1, 2)),
		})
		now := epoch
		var sent []amt.Transmission
		open := make(map[amt.Path]bool)
		drain := func() {
			for {
				tr, ok := g.PollTransmission()
				if !ok {
					break
				}
				if len(tr.Payload) > 1300 {
					t.Fatalf("a message of %d octets", len(tr.Payload))
				}
				sent = append(sent, tr)
				open[tr.Path] = true
			}
			for {
				e, ok := g.PollEvent()
				if !ok {
					break
				}
				if e.Type == amt.GatewayClosed {
					delete(open, e.Path)
				}
			}
			if len(open) > 8 {
				t.Fatalf("%d paths", len(open))
			}
		}
		var p amt.Packet
		for len(script) >= 2 {
			op, arg := script[0], script[1]
			script = script[2:]
			source := netip.AddrFrom4([4]byte{10, 0, 0, 1 + arg&3})
			group := netip.AddrFrom4([4]byte{232, 1, 1, 1 + arg>>2&3})
			if arg&0x80 != 0 {
				source, group = netip.MustParseAddr(source6), netip.MustParseAddr(group6)
			}
			switch op & 0xf {
			case 0: // anything, from a relay
				n := min(int(arg), len(script))
				d := amt.Datagram{Remote: relays[int(op>>4)%3], Payload: script[:n]}
				g.HandleDatagram(now, amt.Path(1+op>>6), &d, arg, &p)
				script = script[n:]
			case 1, 2: // the answer to the last message
				if len(sent) == 0 {
					continue
				}
				last := sent[len(sent)-1]
				var m amt.Message
				if err := m.Unmarshal(last.Payload); err != nil {
					t.Fatal(err)
				}
				a := amt.Message{Type: amt.TypeAdvertisement, Nonce: m.Nonce, Relay: last.To.Addr()}
				if m.Type == amt.TypeRequest {
					a = queries[m.Flags&amt.FlagP]
					a.Nonce, a.Flags = m.Nonce, amt.Flags(arg&3)
					if arg&1 != 0 {
						a.Gateway = gateway4
					}
				}
				b, err := a.AppendTo(nil)
				if err != nil {
					t.Fatal(err)
				}
				g.HandleDatagram(now, last.Path, &amt.Datagram{Remote: last.To, Payload: b}, 0, &p)
			case 3:
				if err := g.Join(now, source, group); err != nil {
					t.Fatal(err)
				}
			case 4:
				if err := g.Leave(now, source, group); err != nil {
					t.Fatal(err)
				}
			case 5:
				g.HandleUnreachable(now, amt.Path(arg&7))
			case 6:
				g.Move(now, relays[int(arg)%3])
			case 7:
				g.Commit(now)
			case 8:
				g.SetRelays(now, candidates(relayA, relayB, relayC)[arg%3:])
			case 9: // data
				b := amt.AppendUDP([]byte{6, 0}, netip.AddrPortFrom(source, 1), netip.AddrPortFrom(group, 2), 1, binary.BigEndian.AppendUint32(nil, 1))
				relay, path := g.Active()
				if g.HandleDatagram(now, path, &amt.Datagram{Remote: relay, Payload: b}, 0, &p) {
					require.NoError(t, p.ParseUDP())
				}
			default:
				end := now.Add(time.Duration(arg) * time.Duration(arg) * 10 * time.Millisecond)
				for n := 0; ; n++ {
					drain()
					at := g.NextTimeout()
					if at.IsZero() || at.After(end) {
						break
					}
					if n == 10_000 {
						t.Fatal("timers that never end")
					}
					if at.After(now) {
						now = at
					}
					g.HandleTimeout(now)
				}
				now = end
			}
			drain()
		}
		g.Close(now)
		drain()
		require.Empty(t, open, "every path is closed")
		require.Zero(t, g.NextTimeout())
	})
}

// Inner packets and their fragments.
func FuzzPacket(f *testing.F) {
	f.Add(amt.AppendUDP(nil, netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("232.1.1.1:2"), 5, []byte("hello")), uint16(1400))
	f.Add(amt.AppendUDP(nil, netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[ff3e::1]:2"), 5, []byte("hello")), uint16(28))
	f.Fuzz(func(t *testing.T, b []byte, mtu uint16) {
		var p amt.Packet
		if p.Parse(b) == nil {
			require.True(t, p.Destination.Addr().IsMulticast())
			require.LessOrEqual(t, len(p.Raw), len(b))
			_ = p.ParseUDP()
		}
		amt.Fragment(b, int(mtu), nil, func(piece []byte) bool {
			require.LessOrEqual(t, len(piece), int(mtu))
			return true
		})
		amt.AppendTooBig(nil, relay4.Addr(), b, int(mtu))
		amt.AppendTooBig(nil, relay6.Addr(), b, int(mtu))
	})
}
