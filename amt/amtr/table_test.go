package amtr

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
)

var (
	t0 = time.Unix(1_800_000_000, 0)
	g1 = netip.MustParseAddrPort("192.0.2.1:5001")
	g2 = netip.MustParseAddrPort("[2001:db8::2]:5002")
	g3 = netip.MustParseAddrPort("192.0.2.3:2268")
)

// say lets a message pass.
func say(t *Table, at time.Duration, gateway netip.AddrPort, m amt.Message) {
	b, err := m.AppendTo(nil)
	if err != nil {
		panic(err)
	}
	out := m.Type == amt.TypeAdvertisement || m.Type == amt.TypeQuery || m.Type == amt.TypeData
	t.HandleMessage(&Message{Time: t0.Add(at), Outgoing: out, Gateway: gateway, Payload: b[:min(30, len(b))], Length: len(b)})
}

func events(t *Table) (list []string) {
	for {
		e, ok := t.PollEvent()
		if !ok {
			return list
		}
		text := e.Type.String() + " " + e.Gateway.String()
		if e.Silent {
			text += " silent"
		}
		list = append(list, text)
	}
}

func all(t *Table) (list []Gateway) {
	for g := range t.Gateways {
		list = append(list, g)
	}
	return list
}

var (
	discovery     = amt.Message{Type: amt.TypeDiscovery, Nonce: 1}
	advertisement = amt.Message{Type: amt.TypeAdvertisement, Nonce: 1, Relay: netip.MustParseAddr("192.0.2.9")}
	request       = amt.Message{Type: amt.TypeRequest, Nonce: 2}
	query         = amt.Message{Type: amt.TypeQuery, Nonce: 2, Packet: make([]byte, 36)}
	update        = amt.Message{Type: amt.TypeUpdate, Nonce: 2, Packet: make([]byte, 44)}
	data          = amt.Message{Type: amt.TypeData, Packet: make([]byte, 1344)}
)

func TestLifecycle(t *testing.T) {
	x := NewTable(TableConfig{})
	for _, m := range []amt.Message{discovery, advertisement, request, query, update, update, data, data} {
		say(x, 0, g1, m)
	}
	require.Equal(t, []string{"attempt 192.0.2.1:5001", "up 192.0.2.1:5001"}, events(x))
	require.Equal(t, []Gateway{{Address: g1, Up: true, Since: t0, LastSeen: t0, Counters: Counters{1, 1, 1, 1, 2, 0, 2, 2688}}}, all(x))
	require.Equal(t, TableStats{Gateways: 1, Tunnels: 1, Messages: 8}, x.Stats())

	// Requests alone keep nothing up.
	say(x, 100*time.Second, g1, request)
	require.Equal(t, t0.Add(260*time.Second), x.NextTimeout())
	x.HandleTimeout(t0.Add(259 * time.Second))
	require.Empty(t, events(x))
	say(x, 259*time.Second, g2, request)
	say(x, 259*time.Second, g2, update)
	x.HandleTimeout(x.NextTimeout())
	require.Equal(t, []string{"attempt [2001:db8::2]:5002", "up [2001:db8::2]:5002", "down 192.0.2.1:5001 silent"}, events(x))

	// It comes back from another port, and says so.
	say(x, 300*time.Second, g1, update)
	say(x, 301*time.Second, g3, amt.Message{Type: amt.TypeTeardown, Nonce: 2, Gateway: g1})
	require.Equal(t, []string{"up 192.0.2.1:5001", "down 192.0.2.1:5001"}, events(x))
	require.Len(t, all(x), 1, "who sends a Teardown is nobody yet")
	x.AddData(g2, 10, 1000)
	x.AddData(g1, 10, 1000)
	require.Equal(t, uint64(1000), all(x)[0].Counters.DataOctets)

	// What is not heard of for long is forgotten.
	for at := x.NextTimeout(); !at.IsZero(); at = x.NextTimeout() {
		x.HandleTimeout(at)
	}
	require.Empty(t, all(x))
	require.Equal(t, []string{"down [2001:db8::2]:5002 silent"}, events(x))
}

func TestTableIsBounded(t *testing.T) {
	x := NewTable(TableConfig{MaxGateways: 3})
	for i := range 10 {
		g := netip.AddrPortFrom(g1.Addr(), uint16(i))
		say(x, 0, g, update)
		say(x, 0, netip.AddrPortFrom(g1.Addr(), 0), request) // stays
	}
	require.Len(t, all(x), 3)
	require.Equal(t, uint64(7), x.Stats().Forgotten)
	require.Equal(t, 3, x.Stats().Tunnels)
	require.Len(t, events(x), 17, "each came up, seven went")
	say(x, 0, g2, query)
	require.Len(t, all(x), 3, "an answer makes nobody")
}

func TestMalformed(t *testing.T) {
	x := NewTable(TableConfig{})
	for _, m := range []Message{
		{}, {Payload: []byte{0x13}}, {Payload: []byte{0}}, {Payload: []byte{8}}, {Payload: []byte{4}},
		{Payload: []byte{3}, Outgoing: true}, {Payload: []byte{7, 0, 0}},
	} {
		m.Gateway = g1
		x.HandleMessage(&m)
	}
	require.Equal(t, TableStats{Messages: 1, Malformed: 7}, x.Stats())
}

// Whatever passes by, the table stays within its bounds, and its lists agree.
func FuzzTable(f *testing.F) {
	f.Add([]byte{3, 0, 1, 5, 0, 1, 7, 0, 1, 6, 1, 1, 0xff, 200, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		x := NewTable(TableConfig{MaxGateways: 4, MembershipInterval: 10 * time.Second})
		now, up := t0, map[netip.AddrPort]bool{}
		for ; len(script) >= 3; script = script[3:] {
			if script[0] == 0xff {
				now = now.Add(time.Duration(script[1]) * 100 * time.Millisecond)
				x.HandleTimeout(now)
			} else {
				g := netip.AddrPortFrom(g1.Addr(), uint16(script[2]%8))
				payload := make([]byte, 30)
				payload[0], payload[13], payload[29] = script[0], script[2]%8, 1
				x.HandleMessage(&Message{Time: now, Gateway: g, Outgoing: script[1]&1 != 0, Payload: payload, Length: 30})
			}
			for {
				e, ok := x.PollEvent()
				if !ok {
					break
				}
				if e.Type != Attempt {
					require.NotEqual(t, e.Type == Up, up[e.Gateway], "up and down take turns")
					up[e.Gateway] = e.Type == Up
				}
			}
			st := x.Stats()
			require.LessOrEqual(t, st.Gateways, 4)
			n := 0
			for g := range x.Gateways {
				require.Equal(t, g.Up, up[g.Address])
				if g.Up {
					n++
				}
			}
			require.Equal(t, n, st.Tunnels)
			require.Equal(t, st.Gateways, x.order.Len())
		}
	})
}
