package gateway

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/authority"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/resolver"
)

// The tests use the loopback interface, on which Linux has every address in 127/8.

// send sends a text to a port of a channel until the test ends.
func send(t *testing.T, ch ssm.Channel, port uint16, text string) {
	t.Helper()
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			_, _ = tx.WriteBatch([][]byte{[]byte(text)}, netip.AddrPortFrom(ch.Group, port))
		}
	})
	t.Cleanup(func() { close(stop); done.Wait(); _ = tx.Close() })
}

// serve runs a relay of a channel and the port behind it on the usual port of an address of its own.
func serve(t *testing.T, ch ssm.Channel) netip.AddrPort {
	t.Helper()
	return serveAs(t, ch, netip.Addr{})
}

// serveAs is serve for a relay that answers a Relay Discovery with another address than its own, as one behind an anycast
// address does.
func serveAs(t *testing.T, ch ssm.Channel, advertised netip.Addr) netip.AddrPort {
	t.Helper()
	up, err := amt.NewNative(amt.NativeConfig{Ports: []uint16{ch.Port, ch.Port + 1}, Sockets: true})
	require.NoError(t, err)
	at := netip.AddrPortFrom(ssmtest.Source(), amt.Port)
	s, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{at}, Upstream: up, Relay: amt.RelayConfig{IPv4: advertised}})
	require.NoError(t, err)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(context.Background()) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return at
}

// nameserver says that the relays of a source are those.
func nameserver(t *testing.T, source netip.Addr, relays ...netip.Addr) driad.Resolver {
	t.Helper()
	a, err := authority.New(authority.Config{Rate: -1, Zones: []authority.Zone{{
		Name: dns.MustParseName("127.in-addr.arpa"), NameServers: []dns.Name{dns.MustParseName("ns.example")}}}})
	require.NoError(t, err)
	var list []authority.Relay
	for i, r := range relays {
		list = append(list, authority.Relay{Coverage: []netip.Prefix{netip.PrefixFrom(source, 32)}, Record: amtrelay.Record{
			Precedence: uint8(i), Type: amtrelay.IPv4, Address: r}})
	}
	require.NoError(t, a.SetRelays(list))
	s, err := authority.Listen(authority.ServerConfig{Authority: a, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return &resolver.Plain{Servers: s.Addrs()}
}

type source interface {
	ReadBatch([]ssm.Message) (int, error)
}

// read reads packets, all of which are of one text.
func read(t *testing.T, s source, n int, text string) {
	t.Helper()
	messages := ssm.NewMessages(4)
	for n > 0 {
		got, err := s.ReadBatch(messages)
		require.NoError(t, err)
		for i := range messages[:got] {
			for p := range messages[i].Segments {
				require.Equal(t, text, string(p))
				n--
			}
		}
	}
}

// Relays are known from the DNS only. Nobody is at the address of the first: it is left for the second, and discovery hears
// of that. Both ports come through one tunnel.
func TestFoundByTheSource(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("", func(t *testing.T) {
		ch := ssmtest.Channel(t)
		send(t, ch, ch.Port, "media")
		send(t, ch, ch.Port+1, "seals")
		dead := ssmtest.Source()
		at := serve(t, ch)
		config := driad.Config{NoAnycast: true, NoServiceDiscovery: true, Allow: func(netip.Addr) bool { return true }}
		var mu sync.Mutex
		var log bytes.Buffer
		c, err := Dial(t.Context(), Config{
			Channel: ch, Beside: ch.Port + 1, Mode: amt.ModeTunnel,
			Discovery: &driad.ClientConfig{Config: config, Resolver: nameserver(t, ch.Source, dead, at.Addr())},
			Logger:    slog.New(slog.NewTextHandler(locked{&mu, &log}, nil)),
		})
		require.NoError(t, err)
		require.False(t, c.Status().Started)
		read(t, c, 50, "media")
		read(t, c.Beside(), 50, "seals")
		st := c.Status()
		require.Equal(t, at, st.Way.Relay)
		require.False(t, st.Since.IsZero())
		require.Eventually(t, func() bool { return len(c.finder.Relays()) == 1 }, 20*time.Second, 10*time.Millisecond,
			"discovery holds the dead one down")
		require.Equal(t, at, c.finder.Relays()[0].Address)
		require.Positive(t, c.Status().RelaysLost)

		require.NoError(t, c.Close())
		require.NoError(t, c.Close())
		messages := ssm.NewMessages(1)
		for _, s := range []source{c, c.Beside()} {
			for err = nil; err == nil; {
				_, err = s.ReadBatch(messages)
			}
			require.ErrorIs(t, err, net.ErrClosed)
		}
		mu.Lock()
		defer mu.Unlock()
		require.Contains(t, log.String(), at.String()+" (DRIAD)")
	})
}

// What is true of a relay is true of the discovery address that led to it: that is held down when the relay is not there,
// and counts as connected when it is.
func TestDiscoveryAddress(t *testing.T) {
	ch := ssmtest.Channel(t)
	send(t, ch, ch.Port, "media")
	dead, live := serveAs(t, ch, ssmtest.Source()), serve(t, ch)
	config := driad.Config{NoAnycast: true, NoServiceDiscovery: true, Allow: func(netip.Addr) bool { return true }}
	c, err := Dial(t.Context(), Config{
		Channel: ch, Mode: amt.ModeTunnel,
		Discovery: &driad.ClientConfig{Config: config, Resolver: nameserver(t, ch.Source, dead.Addr(), live.Addr())},
	})
	require.NoError(t, err)
	defer c.Close()
	read(t, c, 50, "media")
	require.Equal(t, live, c.Status().Way.Relay)
	require.Eventually(t, func() bool {
		list := c.finder.Relays()
		return len(list) == 1 && list[0].Address == live
	}, 20*time.Second, 10*time.Millisecond)
}

type locked struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l locked) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }

// Natively both ports come as well, and no relay is asked.
func TestNative(t *testing.T) {
	ch := ssmtest.Channel(t)
	send(t, ch, ch.Port, "media")
	send(t, ch, ch.Port+1, "seals")
	for _, mode := range []amt.Mode{amt.ModeNative, amt.ModeAuto} {
		c, err := Dial(t.Context(), Config{Channel: ch, Beside: ch.Port + 1, Mode: mode, Relays: []amt.Candidate{{Address: serve(t, ch)}}})
		require.NoError(t, err)
		read(t, c, 10, "media")
		read(t, c.Beside(), 10, "seals")
		st := c.Status()
		require.Equal(t, "native", st.Way.String())
		require.Zero(t, st.Gateway.Queries)
		require.NoError(t, c.Close())
	}
}

// What keeps packets away is said.
func TestWhy(t *testing.T) {
	ch := ssmtest.Channel(t)
	closed, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ssmtest.Source(), 0)))
	require.NoError(t, err)
	gone := closed.LocalAddr().(*net.UDPAddr).AddrPort()
	require.NoError(t, closed.Close())
	c, err := Dial(t.Context(), Config{Channel: ch, Mode: amt.ModeTunnel, Relays: []amt.Candidate{{Address: gone}}})
	require.NoError(t, err)
	defer c.Close()
	require.Eventually(t, func() bool { return c.Status().RelaysLost > 0 }, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, "AMT relay "+gone.String()+" is unreachable (nothing listens there, or no way leads there)", c.Status().Why)

	silent := driad.ClientConfig{Config: driad.Config{NoAnycast: true, NoServiceDiscovery: true}, Resolver: nobody{}}
	d, err := Dial(t.Context(), Config{Channel: ch, Mode: amt.ModeAuto, Discovery: &silent})
	require.NoError(t, err)
	defer d.Close()
	require.Eventually(t, func() bool { return d.Status().Why != "" }, 20*time.Second, 10*time.Millisecond)
	require.Contains(t, d.Status().Why, "no AMT relay was found")

	_, err = Dial(t.Context(), Config{Channel: ch, Mode: amt.ModeNative, Interface: "nosuch0"})
	require.Error(t, err)
}

// nobody answers no question.
type nobody struct{}

func (nobody) Resolve(context.Context, dns.Question) (dns.Response, error) {
	return dns.Response{}, errors.New("no such domain")
}
