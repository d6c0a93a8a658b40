package amtr

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
)

type bench struct {
	*table
	now    time.Time
	events []EventType
}

func newBench(max int) *bench {
	b := &bench{now: time.Unix(1e9, 0)}
	b.table = newTable(&Config{MaxGateways: max, Idle: 30 * time.Second, Lifetime: 260 * time.Second},
		func(e Event) { b.events = append(b.events, e.Type) })
	return b
}

func endpointOf(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 1000)
}

func (b *bench) message(n int, typ amt.Type) {
	b.handle(&record{at: b.now, gateway: endpointOf(n), typ: typ, packets: 1})
}

func (b *bench) after(d time.Duration) []EventType {
	for ; d > 0; d -= time.Second {
		b.now = b.now.Add(time.Second)
		b.tick(b.now)
	}
	return b.take()
}

func (b *bench) take() []EventType {
	e := b.events
	b.events = nil
	return e
}

func TestTable(t *testing.T) {
	b := newBench(10)
	b.message(1, amt.TypeRequest)
	b.message(1, amt.TypeUpdate)
	b.message(1, amt.TypeUpdate)
	require.Equal(t, []EventType{EventRequest, EventUpdate, EventUp, EventUpdate}, b.take())
	b.message(1, amt.TypeData)
	b.message(1, amt.TypeData)
	require.Equal(t, []EventType{EventData}, b.take())
	require.Empty(t, b.after(30*time.Second))
	require.Equal(t, []EventType{EventIdle}, b.after(time.Second))
	b.message(1, amt.TypeData)
	require.Equal(t, []EventType{EventData}, b.take())
	require.Equal(t, []EventType{EventIdle}, b.after(260*time.Second))
	require.Equal(t, []EventType{EventDown}, b.after(time.Second))
	require.Len(t, b.gateways, 1)
	require.Empty(t, b.after(1000*time.Second))
	require.Empty(t, b.gateways, "forgotten at last")

	// Data alone shows that there is a tunnel, before and after a Teardown.
	b.message(2, amt.TypeData)
	require.Equal(t, []EventType{EventUp, EventData}, b.take())
	b.message(2, amt.TypeTeardown)
	require.Equal(t, []EventType{EventTeardown, EventDown}, b.take())
	b.message(2, amt.TypeTeardown)
	require.Equal(t, []EventType{EventTeardown}, b.take())
	b.message(2, amt.TypeData)
	require.Equal(t, []EventType{EventUp, EventData}, b.take())
}

// What is counted elsewhere says that data goes on.
func TestTableLastData(t *testing.T) {
	b := newBench(10)
	until := b.now.Add(100 * time.Second)
	asked := 0
	b.lastData = func(netip.AddrPort) (time.Time, bool) {
		asked++
		if b.now.Before(until) {
			return b.now, true
		}
		return until, true
	}
	b.message(1, amt.TypeUpdate)
	b.message(1, amt.TypeData)
	b.take()
	require.Empty(t, b.after(130*time.Second))
	require.Less(t, asked, 6, "once in the time after which a gateway is idle")
	require.Equal(t, []EventType{EventIdle}, b.after(2*time.Second))
}

func TestTableBound(t *testing.T) {
	b := newBench(4)
	var forgotten []netip.AddrPort
	b.forgotten = func(g netip.AddrPort) { forgotten = append(forgotten, g) }
	b.message(1, amt.TypeUpdate)
	b.message(2, amt.TypeUpdate)
	for n := 3; n < 100; n++ {
		b.message(n, amt.TypeRequest)
		b.message(3, amt.TypeRequest) // is heard of all the time
	}
	require.Len(t, b.gateways, 4)
	for _, n := range []int{1, 2, 3, 99} {
		require.Contains(t, b.gateways, endpointOf(n))
	}
	require.EqualValues(t, 95, b.evicted)
	require.Len(t, forgotten, 95)
	b.take()
	// Tunnels go when there is nothing else to go, the oldest first.
	for n := 200; n < 204; n++ {
		b.message(n, amt.TypeUpdate)
	}
	require.Len(t, b.gateways, 4)
	count := 0
	for _, e := range b.take() {
		if e == EventDown {
			count++
		}
	}
	require.Equal(t, 2, count)
	n := 0
	b.all(func(g *Gateway) bool { require.True(t, g.Up); n++; return true })
	require.Equal(t, 4, n)
	require.Equal(t, 4, b.tunnels.Len())
	require.Zero(t, b.strangers.Len())
}

// Nothing that a frame says makes parse look beyond its end, count what is not
// there or take one direction for the other; what the codec calls malformed, it
// does not call a message.
func FuzzParse(f *testing.F) {
	gateway, relay := netip.MustParseAddrPort("10.11.0.1:1234"), netip.MustParseAddrPort("10.11.0.2:2268")
	inner := amt.AppendUDP(nil, netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddrPort("232.1.1.1:1"), 9, make([]byte, 9))
	for _, m := range []amt.Message{
		{Type: amt.TypeDiscovery, Nonce: 1}, {Type: amt.TypeRequest, Nonce: 2}, {Type: amt.TypeUpdate, Packet: inner},
		{Type: amt.TypeTeardown, Gateway: gateway}, {Type: amt.TypeData, Packet: inner}, {Type: amt.TypeQuery, Packet: inner},
		{Type: amt.TypeAdvertisement, Relay: relay.Addr()},
	} {
		payload, err := m.AppendTo(nil)
		require.NoError(f, err)
		f.Add(append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, amt.AppendUDP(nil, gateway, relay, 9, payload)...), uint16(0), false)
		f.Add(append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, amt.AppendUDP(nil, relay, gateway, 9, payload)...), uint16(0), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, more uint16, outgoing bool) {
		var r record
		size := len(b) + int(more)
		if len(b) > maxHeaders {
			b = b[:maxHeaders]
		}
		if r.parse(b, size, outgoing, 2268) != verdictMessage {
			return
		}
		require.Positive(t, r.packets)
		require.LessOrEqual(t, r.octets+2*r.packets, uint64(size))
		require.LessOrEqual(t, r.length, size-14-20-8)
		require.True(t, r.gateway.IsValid() && r.relay.IsValid())
		require.EqualValues(t, 2268, r.relay.Port())
		switch r.typ {
		case amt.TypeAdvertisement, amt.TypeQuery, amt.TypeData:
			require.True(t, outgoing)
		default:
			require.False(t, outgoing)
		}
		require.True(t, r.typ == amt.TypeData || r.packets == 1 && r.octets == 0)
	})
}

func TestHandleAllocates(t *testing.T) {
	b := newTable(&Config{MaxGateways: 10, Idle: time.Second, Lifetime: time.Second}, func(Event) {})
	f := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0},
		amt.AppendUDP(nil, endpointOf(1), netip.MustParseAddrPort("10.11.0.2:2268"), 9, []byte{3, 0, 0, 0, 1, 2, 3, 4})...)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		var r record
		if r.parse(f, len(f), false, 2268) != verdictMessage {
			t.Fatal("no message")
		}
		b.handle(&r)
	}))
}
