package amt_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

// The tests of this file use the loopback interface, on which Linux has every
// address in 127/8.

func serve(t testing.TB, listen netip.AddrPort, upstream amt.Upstream, config amt.RelayConfig) *amt.Server {
	s, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{listen}, Upstream: upstream, Relay: config})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-done, net.ErrClosed)
	})
	return s
}

func native(t testing.TB, port uint16) *amt.Native {
	n, err := amt.NewNative(amt.NativeConfig{Ports: []uint16{port}, Sockets: true})
	require.NoError(t, err)
	return n
}

// sendTo sends numbered packets to a channel until the test ends.
func sendTo(t testing.TB, ch ssm.Channel, size int, interval time.Duration) (count *atomic.Uint64) {
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	count = new(atomic.Uint64)
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		b := make([]byte, size)
		for {
			select {
			case <-stop:
				return
			case <-time.After(interval):
			}
			binary.BigEndian.PutUint64(b, count.Load())
			if _, err := tx.WriteBatch([][]byte{b}, ch.Destination()); err != nil {
				return
			}
			count.Add(1)
		}
	})
	t.Cleanup(func() {
		close(stop)
		done.Wait()
		_ = tx.Close()
	})
	return count
}

// numbers reads n packets and returns their numbers.
func numbers(t testing.TB, c *amt.Conn, n int) (list []uint64) {
	t.Helper()
	ms := ssm.NewMessages(4)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	for len(list) < n {
		got, err := c.ReadBatch(ms)
		require.NoError(t, err, "%d of %d packets", len(list), n)
		for i := range ms[:got] {
			require.Equal(t, c.Channel().Group, ms[i].Destination)
			for p := range ms[i].Segments {
				list = append(list, binary.BigEndian.Uint64(p))
			}
		}
	}
	return list
}

func requireConsecutive(t testing.TB, list []uint64) {
	t.Helper()
	for i := 1; i < len(list); i++ {
		require.Equal(t, list[i-1]+1, list[i], "packet %d", i)
	}
}

func dial(t testing.TB, ch ssm.Channel, config amt.DialConfig) *amt.Conn {
	c, err := amt.Dial(context.Background(), ch.Source, ch.Destination(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// loopback draws an address for a relay, on a port of the system's choice.
func loopback(t testing.TB) netip.AddrPort {
	a := ssmtest.Source()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	require.NoError(t, err)
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestDialTunnel(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("", func(t *testing.T) {
		ch := ssmtest.Channel(t)
		relay := loopback(t)
		s := serve(t, relay, native(t, ch.Port), amt.RelayConfig{})
		sendTo(t, ch, 1316, time.Millisecond)
		events := make(chan amt.ConnEvent, 100)
		c := dial(t, ch, amt.DialConfig{
			Mode:    amt.ModeTunnel,
			Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: relay}}},
			OnEvent: func(e amt.ConnEvent) { events <- e },
		})
		requireConsecutive(t, numbers(t, c, 300))
		way, ok := c.Way()
		require.True(t, ok)
		require.Equal(t, relay, way.Relay)
		require.Equal(t, amt.ConnRelay, (<-events).Type)
		require.Equal(t, amt.ConnStarted, (<-events).Type)
		st := s.Stats()
		require.Equal(t, 1, st.Tunnels)
		require.GreaterOrEqual(t, st.Copies, uint64(300))
		require.Zero(t, st.Refused)
		require.Zero(t, c.Stats().Dropped)

		b := make([]byte, 2000)
		n, from, err := c.ReadFrom(b)
		require.NoError(t, err)
		require.Equal(t, 1316, n)
		require.Equal(t, ch.Source, from.(*net.UDPAddr).AddrPort().Addr())

		for range 10 * 64 { // more than there are places for packets
			runs := 0
			require.NoError(t, c.Receive(func(at time.Time, from, to netip.AddrPort, run []byte, _ int) {
				runs++
				require.WithinDuration(t, time.Now(), at, time.Second)
				require.Equal(t, ch.Source, from.Addr())
				require.Equal(t, ch.Destination(), to)
				require.NotEmpty(t, run)
				require.Zero(t, len(run)%1316)
			}))
			require.Equal(t, 1, runs)
		}

		require.NoError(t, c.Close())
		require.NoError(t, c.Close())
		_, err = c.ReadBatch(ssm.NewMessages(1))
		for err == nil {
			_, err = c.ReadBatch(ssm.NewMessages(1))
		}
		require.ErrorIs(t, err, net.ErrClosed)
		require.Eventually(t, func() bool { return s.Stats().Tunnels == 0 }, 10*time.Second, 10*time.Millisecond,
			"the relay was told")
	})
}

func TestDialNative(t *testing.T) {
	ch := ssmtest.Channel(t)
	sendTo(t, ch, 1316, time.Millisecond)
	for _, mode := range []amt.Mode{amt.ModeNative, amt.ModeAuto, amt.ModeAdaptive} {
		c := dial(t, ch, amt.DialConfig{Mode: mode})
		requireConsecutive(t, numbers(t, c, 100))
		way, _ := c.Way()
		require.Equal(t, "native", way.String())
		require.NoError(t, c.Close())
	}
}

func TestDialDeadline(t *testing.T) {
	c := dial(t, ssmtest.Channel(t), amt.DialConfig{Mode: amt.ModeNative})
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err := c.ReadBatch(ssm.NewMessages(1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var timeout net.Error
	require.True(t, errors.As(err, &timeout) && timeout.Timeout())
	_, _, err = c.ReadFrom(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	_, err = c.WriteTo(nil, nil)
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestDialContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := ssmtest.Channel(t)
	c, err := amt.Dial(ctx, ch.Source, ch.Destination(), amt.DialConfig{})
	require.NoError(t, err)
	reason := errors.New("enough")
	cancel(reason)
	_, err = c.ReadBatch(ssm.NewMessages(1))
	require.ErrorIs(t, err, reason)
	require.NoError(t, c.Close())
	_, err = amt.Dial(ctx, ch.Source, ch.Destination(), amt.DialConfig{})
	require.ErrorIs(t, err, reason)
	_, err = amt.Dial(context.Background(), ch.Source, ch.Destination(), amt.DialConfig{Mode: amt.ModeTunnel})
	require.ErrorIs(t, err, amt.ErrNoRelays)
	_, err = amt.Dial(context.Background(), ch.Source, netip.MustParseAddrPort("10.0.0.1:1"), amt.DialConfig{})
	require.ErrorIs(t, err, ssm.ErrChannel)
}

// Relays that become known later are used then.
func TestDialRelaysLater(t *testing.T) {
	ch := ssmtest.Channel(t)
	relay := loopback(t)
	serve(t, relay, native(t, ch.Port), amt.RelayConfig{})
	sendTo(t, ch, 1316, time.Millisecond)
	c := dial(t, ch, amt.DialConfig{Mode: amt.ModeTunnel, RelaysLater: true})
	require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err := c.ReadBatch(ssm.NewMessages(1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	c.SetRelays([]amt.Candidate{{Address: relay}})
	requireConsecutive(t, numbers(t, c, 100))
	way, _ := c.Way()
	require.Equal(t, relay, way.Relay)
}

// What comes through the tunnel for another port goes to Other, and to nobody
// else.
func TestDialOther(t *testing.T) {
	ch := ssmtest.Channel(t)
	beside := ch
	beside.Port++
	relay := loopback(t)
	up, err := amt.NewNative(amt.NativeConfig{Ports: []uint16{ch.Port, beside.Port}, Sockets: true})
	require.NoError(t, err)
	serve(t, relay, up, amt.RelayConfig{})
	sendTo(t, ch, 1316, time.Millisecond)
	sendTo(t, beside, 100, time.Millisecond)
	others := make(chan uint64, 1000)
	c := dial(t, ch, amt.DialConfig{
		Mode: amt.ModeTunnel, Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: relay}}},
		Other: func(p *amt.Packet) {
			if p.Destination.Port() == beside.Port && p.Source.Addr() == ch.Source && len(p.Payload) == 100 {
				select {
				case others <- binary.BigEndian.Uint64(p.Payload):
				default:
				}
			}
		},
	})
	requireConsecutive(t, numbers(t, c, 100))
	var list []uint64
	for range 50 {
		select {
		case n := <-others:
			list = append(list, n)
		case <-time.After(20 * time.Second):
			t.Fatal("nothing comes for the other port")
		}
	}
	requireConsecutive(t, list)
}

// Two relays and a planned move between them, again and again: no packet is
// lost or doubled.
func TestDialMove(t *testing.T) {
	ch := ssmtest.Channel(t)
	a, b := loopback(t), loopback(t)
	serve(t, a, native(t, ch.Port), amt.RelayConfig{})
	serve(t, b, native(t, ch.Port), amt.RelayConfig{})
	sendTo(t, ch, 1000, time.Millisecond)
	events := make(chan amt.ConnEvent, 1000)
	c := dial(t, ch, amt.DialConfig{
		Mode:    amt.ModeTunnel,
		Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: a}, {Address: b}}, Silence: -1},
		OnEvent: func(e amt.ConnEvent) { events <- e },
	})
	list := numbers(t, c, 100)
	for i := range 10 {
		to := []netip.AddrPort{b, a}[i%2]
		require.Eventually(t, func() bool { return c.Move(to) }, 10*time.Second, 10*time.Millisecond)
		for {
			list = append(list, numbers(t, c, 20)...)
			if way, _ := c.Way(); way.Relay == to {
				break
			}
		}
	}
	list = append(list, numbers(t, c, 200)...)
	requireConsecutive(t, list)
	require.EqualValues(t, 10, c.Stats().Switches)
	planned := 0
	for len(events) > 0 {
		if e := <-events; e.Type == amt.ConnSwitched {
			require.True(t, e.Planned)
			planned++
		}
	}
	require.Equal(t, 10, planned)
}

// A relay that goes away is replaced, and the gap reported.
func TestDialRelayLost(t *testing.T) {
	ch := ssmtest.Channel(t)
	a, b := loopback(t), loopback(t)
	first, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{a}, Upstream: native(t, ch.Port)})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = first.Run(ctx) }()
	serve(t, b, native(t, ch.Port), amt.RelayConfig{})
	sendTo(t, ch, 1000, 5*time.Millisecond)
	events := make(chan amt.ConnEvent, 1000)
	c := dial(t, ch, amt.DialConfig{
		Mode:    amt.ModeTunnel,
		Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: a}, {Address: b}}},
		OnEvent: func(e amt.ConnEvent) { events <- e },
	})
	numbers(t, c, 100)
	cancel()
	<-done
	for {
		numbers(t, c, 1)
		if way, _ := c.Way(); way.Relay == b {
			break
		}
	}
	numbers(t, c, 100)
	for {
		e := <-events
		if e.Type == amt.ConnSwitched {
			require.False(t, e.Planned)
			require.NotZero(t, e.Gap)
			t.Log("gap", e.Gap)
			require.Equal(t, a, e.From.Relay)
			require.Equal(t, b, e.To.Relay)
			break
		}
	}
}

// Native reception that fails, and returns.
func TestDialAuto(t *testing.T) {
	ch := ssmtest.Channel(t)
	relay := loopback(t)
	up := &manual{}
	serve(t, relay, up, amt.RelayConfig{})
	events := make(chan amt.ConnEvent, 1000)
	c := dial(t, ch, amt.DialConfig{
		Gateway:       amt.GatewayConfig{Relays: []amt.Candidate{{Address: relay}}, Silence: -1},
		NativeTimeout: 300 * time.Millisecond,
		OnEvent:       func(e amt.ConnEvent) { events <- e },
	})
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	defer tx.Close()
	var next uint64
	var list []uint64
	from := netip.AddrPortFrom(ch.Source, tx.Source().Port())
	step := func(native bool) {
		b := make([]byte, 500)
		binary.BigEndian.PutUint64(b, next)
		next++
		up.send(amt.AppendUDP(nil, from, ch.Destination(), 9, b))
		if native {
			_, err := tx.WriteBatch([][]byte{b}, ch.Destination())
			require.NoError(t, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	until := func(native bool, want string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; {
			require.True(t, time.Now().Before(end), "not %s in time", want)
			step(native)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Millisecond)))
			ms := ssm.NewMessages(4)
			n, _ := c.ReadBatch(ms)
			for i := range ms[:n] {
				for p := range ms[i].Segments {
					list = append(list, binary.BigEndian.Uint64(p))
				}
			}
			if way, ok := c.Way(); ok && way.String() == want {
				return
			}
		}
	}
	until(true, "native")
	require.Zero(t, c.Stats().Gateway.Updates, "no relay is needed")
	until(false, "relay "+relay.String())
	list = nil
	for range 3 {
		until(true, "native")
		for range 100 {
			step(true)
		}
		list = append(list, numbers(t, c, 50)...)
		requireConsecutive(t, list) // the way back loses nothing
		until(false, "relay "+relay.String())
		list = nil
	}
}

// manual is an upstream that a test feeds.
type manual struct {
	mu      sync.Mutex
	deliver func(packets [][]byte)
}

func (m *manual) Join(_, _ netip.Addr, deliver func(packets [][]byte)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deliver = deliver
	return nil
}

func (m *manual) Leave(netip.Addr, netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deliver = nil
}

func (m *manual) Close() error { return nil }

func (m *manual) send(packets ...[]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deliver != nil {
		m.deliver(packets)
	}
}

// Packets that do not fit the path go in fragments if they may be cut, and are
// put together again; others are dropped and counted. Each tunnel is charged
// with what it got.
func TestDialFragments(t *testing.T) {
	ch := ssmtest.Channel(t)
	listen := loopback(t)
	up := &manual{}
	s := serve(t, listen, up, amt.RelayConfig{PathMTU: 1000})
	c := dial(t, ch, amt.DialConfig{Mode: amt.ModeTunnel, Queue: 100, Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: listen}}}})
	require.Eventually(t, func() bool { up.mu.Lock(); defer up.mu.Unlock(); return up.deliver != nil }, 10*time.Second, time.Millisecond)
	packet := func(i uint64, size int, df bool) []byte {
		b := make([]byte, size)
		binary.BigEndian.PutUint64(b, i)
		p := amt.AppendUDP(nil, netip.AddrPortFrom(ch.Source, 9), ch.Destination(), 9, b)
		if !df {
			binary.BigEndian.PutUint16(p[4:], uint16(i)) // what belongs together
			p[6] &^= 0x40
			p[10], p[11] = 0, 0
			var sum uint32
			for k := 0; k < 20; k += 2 {
				sum += uint32(binary.BigEndian.Uint16(p[k:]))
			}
			sum = sum>>16 + sum&0xffff
			binary.BigEndian.PutUint16(p[10:], ^uint16(sum+sum>>16))
		}
		return p
	}
	const n = 50
	for i := range uint64(n) {
		up.send(packet(i, 2500, false), packet(1000, 2500, true), packet(i+500, 900, true))
	}
	var whole, small []uint64
	for _, number := range numbers(t, c, 2*n) {
		if number >= 500 {
			small = append(small, number)
		} else {
			whole = append(whole, number)
		}
	}
	requireConsecutive(t, whole)
	requireConsecutive(t, small)
	st := s.Stats()
	require.EqualValues(t, 3*n, st.Packets)
	require.EqualValues(t, n, st.Fragmented)
	require.EqualValues(t, n, st.TooBig)
	require.Zero(t, st.Refused)
	require.EqualValues(t, 4*n, st.Copies, "three fragments, and one whole")
	require.EqualValues(t, n*(2500+28+2*20+900+28), st.Octets)
}
