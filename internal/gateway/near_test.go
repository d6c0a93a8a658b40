package gateway

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/dns"
)

// three is a resolver that knows three relays of the same precedence for each source.
type three struct{}

func (three) Resolve(_ context.Context, q dns.Question) (dns.Response, error) {
	b := dns.NewBuilder(nil, dns.Header{Flags: dns.FlagResponse | dns.FlagRecursionAvailable}, &q)
	for i := range byte(3) {
		r := amtrelay.Record{Precedence: 1, Type: amtrelay.IPv4, Address: netip.AddrFrom4([4]byte{192, 0, 2, 1 + i})}
		data, err := r.AppendTo(nil)
		if err != nil {
			return dns.Response{}, err
		}
		b.Record(dns.SectionAnswer, &q.Name, dns.TypeAMTRELAY, dns.ClassINET, 300, data)
	}
	return dns.Response{Message: b.Message()}, nil
}

// reach returns what a gateway says of a relay that is some time away.
func reach(t *testing.T, relay netip.AddrPort, rtt time.Duration) amt.ConnEvent {
	t.Helper()
	now := time.Now()
	r, err := amt.NewRelay(now, amt.RelayConfig{IPv4: relay.Addr()})
	require.NoError(t, err)
	g := amt.NewGateway(amt.GatewayConfig{Relays: []amt.Candidate{{Address: relay}}})
	require.NoError(t, g.Join(now, netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("232.1.1.1")))
	local := netip.MustParseAddrPort("198.51.100.99:5000")
	for range 10 {
		tr, ok := g.PollTransmission()
		require.True(t, ok)
		answer := r.HandleDatagram(now, &amt.Datagram{Local: relay, Remote: local, Payload: tr.Payload}, nil)
		require.NotEmpty(t, answer)
		now = now.Add(rtt)
		g.HandleDatagram(now, tr.Path, &amt.Datagram{Local: local, Remote: relay, Payload: answer}, 0, new(amt.Packet))
		if e, ok := g.PollEvent(); ok {
			require.Equal(t, amt.GatewayConnected, e.Type)
			return amt.ConnEvent{Type: amt.ConnRelay, Relay: e.Relay, Candidate: e.Candidate, RTT: e.RTT}
		}
	}
	t.Fatal("no relay")
	return amt.ConnEvent{}
}

// What the tunnels of one source have found out about relays serves the next look-up, of this source and of others: of
// equal relays the nearest comes first.
func TestNextLookUpPrefersTheNearer(t *testing.T) {
	far, middle, near := netip.MustParseAddrPort("192.0.2.1:2268"), netip.MustParseAddrPort("192.0.2.2:2268"), netip.MustParseAddrPort("192.0.2.3:2268")
	for range 8 { // by chance it would be so once in 1.7 million times
		synctest.Test(t, func(t *testing.T) {
			client, err := driad.NewClient(driad.ClientConfig{Resolver: three{}, Config: driad.Config{
				NoAnycast: true, NoPlain: true, NoServiceDiscovery: true, Local: func(a netip.Addr) netip.Addr { return a }}})
			require.NoError(t, err)
			defer client.Close()
			find := func(source string) *Finder {
				f := Find(t.Context(), netip.MustParseAddr(source), nil, client, nil)
				synctest.Wait()
				require.Len(t, f.Relays(), 3)
				return f
			}
			f := find("198.51.100.1")
			for relay, rtt := range map[netip.AddrPort]time.Duration{far: 90 * time.Millisecond, middle: 30 * time.Millisecond, near: 4 * time.Millisecond} {
				e := reach(t, relay, rtt)
				require.Equal(t, rtt, e.RTT)
				f.Event(e)
			}
			f.Close()
			for _, source := range []string{"198.51.100.1", "198.51.100.2"} {
				f := find(source)
				list := f.Relays()
				require.Equal(t, []netip.AddrPort{near, middle, far}, []netip.AddrPort{list[0].Address, list[1].Address, list[2].Address}, source)
				f.Close()
			}
		})
	}
}
