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

// The bytes of a script are messages from a few endpoints, some with the right
// MAC, and steps in time.
func FuzzRelay(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(append([]byte{0, byte(len(v.raw))}, v.raw...))
	}
	f.Add([]byte{1, 0, 1, 1, 2, 2, 0x41, 3, 3, 0x82, 9})
	f.Fuzz(func(t *testing.T, script []byte) {
		config := amt.RelayConfig{MaxTunnels: 5, MaxTunnelsPerAddress: 3, MaxGroups: 3, MaxSources: 3, MaxChannels: 20}
		r := newRelayRig(t, config)
		endpoints := []netip.AddrPort{gateway4, netip.AddrPortFrom(gateway4.Addr(), 1), gateway6,
			netip.MustParseAddrPort("203.0.113.1:1"), netip.MustParseAddrPort("203.0.113.2:1"), netip.MustParseAddrPort("203.0.113.3:1")}
		queries := make(map[netip.AddrPort]amt.Message)
		joined := make(map[string]bool)
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
				channel := ev.Source.String() + ev.Group.String()
				switch ev.Type {
				case amt.EventJoin:
					require.False(t, joined[channel])
					joined[channel] = true
				case amt.EventLeave:
					require.True(t, joined[channel])
					delete(joined, channel)
				case amt.EventTunnelUp:
					require.False(t, up[ev.Gateway])
					up[ev.Gateway] = true
				case amt.EventTunnelDown:
					require.True(t, up[ev.Gateway])
					delete(up, ev.Gateway)
				}
			}
			s := r.relay.Stats()
			require.Len(t, up, s.Tunnels)
			require.LessOrEqual(t, s.Tunnels, config.MaxTunnels)
			require.LessOrEqual(t, s.Channels, config.MaxChannels)
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
	f.Fuzz(func(t *testing.T, script []byte) {
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
				require.LessOrEqual(t, len(tr.Payload), 1300)
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
			require.LessOrEqual(t, len(open), 8)
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
				require.NoError(t, m.Unmarshal(last.Payload))
				rig := newRelayRig(t, amt.RelayConfig{MaxTunnels: 1 + int(arg&1)})
				rig.relay.Drain()
				a := amt.Message{Type: amt.TypeAdvertisement, Nonce: m.Nonce, Relay: last.To.Addr()}
				if m.Type == amt.TypeRequest {
					a = rig.query(gateway4, m.Flags, m.Nonce)
					a.Flags = amt.Flags(arg & 3)
					if arg&1 != 0 {
						a.Gateway = gateway4
					}
				}
				b, err := a.AppendTo(nil)
				require.NoError(t, err)
				g.HandleDatagram(now, last.Path, &amt.Datagram{Remote: last.To, Payload: b}, 0, &p)
			case 3:
				require.NoError(t, g.Join(now, source, group))
			case 4:
				require.NoError(t, g.Leave(now, source, group))
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
					require.Less(t, n, 10_000, "timers that never end")
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
