package amtrelay

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/authority"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/internal/config"
)

// fakeEnd is an end of a tunnel that only hears of relays.
type fakeEnd struct {
	lists chan []amt.Candidate
	told  func(amt.ConnEvent)
}

func (f *fakeEnd) SetRelays(list []amt.Candidate) { f.lists <- list }
func (f *fakeEnd) Close() error                   { return nil }

// until waits for a list that is as wanted.
func (f *fakeEnd) until(t *testing.T, want ...string) {
	t.Helper()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case list := <-f.lists:
			var got []string
			for _, c := range list {
				got = append(got, c.Address.String())
			}
			if len(got) == len(want) && (len(got) == 0 || got[0] == want[0]) {
				return
			}
			t.Log(got)
		case <-deadline:
			t.Fatal("never ", want)
		}
	}
}

// The tunnels of all sources look for relays by one client: a name is asked for once, and a relay that one has found dead
// is no candidate of another.
func TestTunnelsShareKnowledge(t *testing.T) {
	defer goleak.VerifyNone(t)
	zone, err := authority.New(authority.Config{Rate: -1, Zones: []authority.Zone{{
		Name: dns.MustParseName("100.51.198.amt.in-addr.arpa"), NameServers: []dns.Name{dns.MustParseName("ns.example")}}}})
	require.NoError(t, err)
	at := func(source string, relay string) authority.Relay {
		return authority.Relay{Coverage: []netip.Prefix{netip.MustParsePrefix(source)}, Record: amtrelay.Record{Type: amtrelay.IPv4, Address: netip.MustParseAddr(relay)}}
	}
	require.NoError(t, zone.SetRelays([]authority.Relay{at("198.51.100.1/32", "192.0.2.1"), at("198.51.100.2/32", "192.0.2.2")}))
	s, err := authority.Listen(authority.ServerConfig{Authority: zone, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(ctx) }()
	defer func() { cancel(); <-served }()

	var relays config.AMTRelays
	relays.DRIAD = true
	require.NoError(t, relays.Resolver.UnmarshalText([]byte(s.Addrs()[0].String())))
	for _, name := range []string{"1.100.51.198.amt.in-addr.arpa", "2.100.51.198.amt.in-addr.arpa"} {
		var h config.AMTHost
		require.NoError(t, h.UnmarshalText([]byte(name)))
		relays.Relays = append(relays.Relays, h)
	}
	all := &tunnels[*fakeEnd]{most: 4, relays: relays, log: slog.New(slog.DiscardHandler), ended: func(*fakeEnd) {},
		own: []netip.AddrPort{netip.AddrPortFrom(amt.DiscoveryIPv4, amt.Port)}} // which leaves the anycast addresses out
	all.open = func(_ []amt.Candidate, told func(amt.ConnEvent)) (*fakeEnd, error) {
		return &fakeEnd{make(chan []amt.Candidate, 64), told}, nil
	}
	join := func(source string) (end *fakeEnd) {
		require.NoError(t, all.join(netip.MustParseAddr(source), func(e *fakeEnd) error { end = e; return nil }))
		return end
	}
	const one, two = "192.0.2.1:2268", "192.0.2.2:2268"
	a := join("203.0.113.1")
	a.until(t, one, two)
	asked := zone.Stats().Answers
	b := join("203.0.113.2")
	b.until(t, one, two)
	require.Equal(t, uint64(2), asked)
	require.Equal(t, asked, zone.Stats().Answers, "the names of relays are known")

	// It is dead: whoever begins later does not try it.
	a.told(amt.ConnEvent{Type: amt.ConnRelayLost, Relay: netip.MustParseAddrPort(one), Candidate: netip.MustParseAddrPort(one), Err: amt.ErrUnreachable})
	a.until(t, two)
	join("203.0.113.3").until(t, two)

	// Other names, another client; the same ones, the same.
	client := all.client
	all.set(relays)
	require.Same(t, client, all.client)
	relays.Relays = relays.Relays[:1]
	all.set(relays)
	require.NotSame(t, client, all.client)
	b.until(t, one)
	all.close()
}
