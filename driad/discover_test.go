package driad_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/resolver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a resolver without a network.
type memory struct {
	t     testing.TB
	delay time.Duration

	mu    sync.Mutex // guards below
	zone  zone
	err   error
	open  int
	most  int
	asked int
}

func (m *memory) Resolve(ctx context.Context, q dns.Question) (dns.Response, error) {
	m.mu.Lock()
	m.open++
	m.asked++
	m.most = max(m.most, m.open)
	m.mu.Unlock()
	timer := time.NewTimer(m.delay)
	defer timer.Stop()
	var err error
	select {
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C:
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open--
	if err == nil {
		err = m.err
	}
	if err != nil {
		return dns.Response{}, err
	}
	return dns.Response{Message: m.zone.respond(m.t, q, true), Trusted: true}, nil
}

func local(a netip.Addr) netip.Addr { return a }

func config(m *memory) driad.ClientConfig {
	return driad.ClientConfig{Resolver: m, Config: driad.Config{NoAnycast: true, NoPlain: true, NoServiceDiscovery: true, Local: local}}
}

func TestLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{t: t, delay: 20 * time.Millisecond, zone: zone{reverse: {"60 1 1 1 192.0.2.1", "60 2 0 1 192.0.2.2"}}}
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		d, err := driad.Discover(ctx, source, config(m))
		require.NoError(t, err)
		n := 0
		for list := range d.Lists() {
			n++
			switch n {
			case 1:
				require.Equal(t, []string{"192.0.2.1:2268", "192.0.2.2:2268"}, addresses(list))
				require.True(t, list[0].Authentic)
				d.Report(list[0].Address, driad.Overloaded, 0)
			case 2:
				require.Equal(t, []string{"192.0.2.2:2268"}, addresses(list))
				m.mu.Lock()
				m.zone = zone{reverse: {"60 1 1 1 192.0.2.3"}}
				m.mu.Unlock()
			case 3: // when the TTL has ended
				require.Equal(t, []string{"192.0.2.3:2268"}, addresses(list))
				require.NoError(t, d.Err())
				cancel(cause)
			}
		}
		require.Equal(t, 3, n)
		require.ErrorIs(t, d.Err(), cause)
		for range d.Lists() {
			t.Fatal("after the end")
		}
		d.Report(port("192.0.2.3"), driad.Connected, 0)
		d.Restart()
	})
}

func TestNothingFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{t: t, zone: zone{}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		d, err := driad.Discover(ctx, source, config(m))
		require.NoError(t, err)
		for list := range d.Lists() {
			require.Empty(t, list)
			require.ErrorIs(t, d.Err(), driad.ErrNoRelay)
			break
		}
		m = &memory{t: t, err: errors.New("broken")}
		d, err = driad.Discover(ctx, source, config(m))
		require.NoError(t, err)
		for range d.Lists() {
			require.ErrorIs(t, d.Err(), driad.ErrLookup)
			require.ErrorIs(t, d.Err(), m.err)
			break
		}
	})
}

func TestFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{t: t, zone: zone{reverse: {"60 2 0 3 a.", "60 1 1 1 192.0.2.1"}, "a. A": {"60 192.0.2.2"}, plain: {"60 192.0.2.3"}}}
		c := config(m)
		list, err := driad.Find(t.Context(), source, c)
		require.NoError(t, err)
		require.Equal(t, []string{"192.0.2.1:2268", "192.0.2.2:2268"}, addresses(list), "all of it, not what is known first")
		c.NoAnycast = false
		list, err = driad.Find(t.Context(), source, c)
		require.NoError(t, err)
		require.Len(t, list, 4)

		c.NoAnycast = true
		m.zone = zone{}
		_, err = driad.Find(t.Context(), source, c)
		require.ErrorIs(t, err, driad.ErrNoRelay)
		m.zone = zone{reverse: {"fail"}, plain: {"fail"}, "12.100.51.198.amt.in-addr.arpa. AAAA": {"fail"}}
		_, err = driad.Find(t.Context(), source, c)
		require.ErrorIs(t, err, driad.ErrLookup)
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		_, err = driad.Find(ctx, source, c)
		require.ErrorIs(t, err, cause)
		c.NoAnycast = false
		list, err = driad.Find(t.Context(), source, c)
		require.NoError(t, err, "anycast needs no DNS")
		require.Len(t, list, 2)
	})
}

func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{t: t, delay: 20 * time.Millisecond, zone: zone{reverse: {"600 1 0 1 192.0.2.1", "600 2 0 1 192.0.2.2", "600 3 0 1 192.0.2.3"}}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		d, err := driad.Discover(ctx, source, config(m))
		require.NoError(t, err)
		start := time.Now()
		var got []string
		var at []time.Duration
		for c := range d.Attempts() {
			got = append(got, c.Address.Addr().String())
			at = append(at, time.Since(start))
			switch len(got) {
			case 2: // not the first: it does not answer
				d.Report(c.Address, driad.Connected, 10*time.Millisecond)
				time.AfterFunc(time.Minute, func() { d.Report(c.Address, driad.NoTraffic, 0) })
			case 4:
				cancel()
			}
		}
		require.Equal(t, []string{"192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"}, got)
		require.Equal(t, []time.Duration{20 * time.Millisecond, 270 * time.Millisecond, time.Minute + 270*time.Millisecond, time.Minute + 520*time.Millisecond}, at)
	})
}

func TestClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{t: t, delay: time.Second, zone: zone{reverse: {"600 1 0 1 192.0.2.1"}}}
		events := 0
		conf := config(m)
		conf.Concurrent = 3
		conf.OnEvent = func(a netip.Addr, e driad.Event) { events++ }
		c, err := driad.NewClient(conf)
		require.NoError(t, err)
		var all []*driad.Discovery
		for i := range 40 {
			all = append(all, c.Discover(t.Context(), netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})))
			all = append(all, c.Discover(t.Context(), source))
		}
		require.Equal(t, 80, c.Stats().Searches)
		for range all[1].Lists() {
			break
		}
		time.Sleep(time.Minute)
		m.mu.Lock()
		require.Equal(t, 3, m.most, "at a time")
		require.Less(t, m.asked, 100)
		m.mu.Unlock()
		c.NetworkChanged(nil)
		require.NoError(t, c.Close())
		require.NoError(t, c.Close())
		require.NotZero(t, events)
		for _, d := range all {
			<-func() chan struct{} {
				done := make(chan struct{})
				go func() {
					defer close(done)
					for range d.Attempts() {
					}
				}()
				return done
			}()
			require.ErrorIs(t, d.Err(), net.ErrClosed)
		}
		require.ErrorIs(t, c.Discover(t.Context(), source).Err(), net.ErrClosed)
		synctest.Wait()
		require.Zero(t, c.Stats().Searches)
	})
}

// A resolver that never answers is given up after a time.
func TestQueryTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		d, err := driad.Discover(ctx, source, config(&memory{t: t, delay: 1000 * time.Hour}))
		require.NoError(t, err)
		start := time.Now()
		for range d.Lists() {
			require.ErrorIs(t, d.Err(), dns.ErrTimeout)
			require.Equal(t, 15*time.Second, time.Since(start))
			break
		}
	})
}

// This machine's own routes decide what can be used.
func TestLocalAddress(t *testing.T) {
	m := &memory{t: t, zone: zone{reverse: {"60 1 1 1 127.0.0.9", "60 2 0 2 2001:db8:dead:beef::1"}}}
	conf := config(m)
	conf.Local = nil
	conf.Allow = func(netip.Addr) bool { return true }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d, err := driad.Discover(ctx, source, conf)
	require.NoError(t, err)
	for list := range d.Lists() {
		require.Equal(t, "127.0.0.9:2268", addresses(list)[0])
		break
	}
}

// The system's resolver, which is not asked anything here.
func TestSystemResolver(t *testing.T) {
	c, err := driad.NewClient(driad.ClientConfig{})
	if err != nil {
		require.ErrorIs(t, err, resolver.ErrSystem)
		t.Skip(err)
	}
	c.NetworkChanged(nil)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
}

func TestAs(t *testing.T) {
	type candidate struct {
		Address netip.AddrPort
		Direct  bool
	}
	require.Equal(t, []candidate{{port("192.0.2.1"), true}}, driad.As[candidate]([]driad.Candidate{{Address: port("192.0.2.1"), Direct: true, Precedence: 7}}))
}

func ExampleFind() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	relays, err := driad.Find(ctx, netip.MustParseAddr("198.51.100.12"), driad.ClientConfig{
		Resolver: &resolver.HTTPS{URL: "https://dns.example/dns-query"},
	})
	if err != nil {
		return
	}
	for _, relay := range relays {
		use(relay.Address, relay.Direct)
	}
}

func ExampleDiscover() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d, err := driad.Discover(ctx, netip.MustParseAddr("198.51.100.12"), driad.ClientConfig{
		Config:   driad.Config{Domains: []dns.Name{dns.MustParseName("example.com")}}, // of this network
		Resolver: &resolver.TLS{Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:853")}, Name: "dns.example"},
	})
	if err != nil {
		return
	}
	for list := range d.Lists() {
		for _, relay := range list {
			use(relay.Address, relay.Direct)
		}
	}
}

func use(netip.AddrPort, bool) {}
