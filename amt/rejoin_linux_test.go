package amt_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/gmp"
	"github.com/treedn/treedn/amt/internal/udpio"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

// endpoints are very many gateways on one socket: each has an address of its own
// in 127/8. They ask as crowd does, in real time.
type endpoints struct {
	conn   *udpio.Conn
	writer *udpio.Writer
	relay  netip.AddrPort
	report []byte
	list   []endpoint
	queue  []uint32 // those that wait for an answer, in the order of their next Request
	out    []udpio.Datagram
	arena  []byte
	ms     []udpio.Message
	asked  int // Requests sent
}

type endpoint struct {
	nonce uint32
	tries uint8
	done  bool
	at    time.Time // of the next Request
}

// address of endpoint i: below 127.128.0.0, where ssmtest draws no others.
func (e *endpoints) address(i uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 128 | byte(i>>16), byte(i >> 8), byte(i)})
}

func newEndpoints(t testing.TB, relay netip.AddrPort, group netip.Addr, source netip.Addr, n int) *endpoints {
	conn, err := udpio.Listen(netip.MustParseAddrPort("0.0.0.0:0"), udpio.Config{ReceiveBuffer: 64 << 20, SendBuffer: 4 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &endpoints{
		conn: conn, writer: conn.NewWriter(), relay: relay, list: make([]endpoint, n), ms: udpio.NewMessages(64),
		report: gmp.AppendReport(nil, source, false, gmp.Record{Type: gmp.ModeIsInclude, Group: group, Sources: gmp.SourcesOf(source)}),
	}
}

func (e *endpoints) put(i uint32, b ...byte) {
	start := len(e.arena)
	e.arena = append(e.arena, b...)
	e.out = append(e.out, udpio.Datagram{Payload: e.arena[start:len(e.arena):len(e.arena)], To: e.relay, From: e.address(i)})
}

func (e *endpoints) flush(t testing.TB) {
	_, err := e.writer.WriteBatch(e.out)
	require.NoError(t, err)
	e.out, e.arena = e.out[:0], make([]byte, 0, 64*64)
}

// join lets all endpoints that are not done ask until stop says so, and returns
// how long that took.
func (e *endpoints) join(t testing.TB, stop func() bool) time.Duration {
	begun := time.Now()
	e.queue = e.queue[:0]
	for i := range e.list {
		e.list[i] = endpoint{nonce: rand.Uint32() | 1, at: begun}
		e.queue = append(e.queue, uint32(i))
	}
	for !stop() {
		require.Less(t, time.Since(begun), time.Minute)
		e.ask(t)
		e.read(t, 5*time.Millisecond)
	}
	return time.Since(begun)
}

func (e *endpoints) ask(t testing.TB) {
	now := time.Now()
	for range 512 { // then it reads what has come
		if len(e.queue) == 0 {
			break
		}
		i := e.queue[0]
		p := &e.list[i]
		if p.at.After(now) {
			break
		}
		e.queue = e.queue[1:]
		if p.done {
			continue
		}
		p.at = now.Add(time.Second) // RFC 7450 section 5.2.3.5.3; all alike, which keeps the queue in order
		p.tries++
		e.asked++
		e.put(i, 3, 0, 0, 0, byte(p.nonce>>24), byte(p.nonce>>16), byte(p.nonce>>8), byte(p.nonce))
		e.queue = append(e.queue, i)
	}
	e.flush(t)
}

func (e *endpoints) read(t testing.TB, wait time.Duration) {
	require.NoError(t, e.conn.SetReadDeadline(time.Now().Add(wait)))
	for range 8 {
		n, err := e.conn.ReadBatch(e.ms)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		require.NoError(t, err)
		if n == 0 { // the relay's port is closed for a moment
			for _, more := e.conn.ReadICMP(); more; _, more = e.conn.ReadICMP() {
			}
		}
		for k := range e.ms[:n] {
			b := e.ms[k].Local.As4()
			i := uint32(b[1]&^128)<<16 | uint32(b[2])<<8 | uint32(b[3])
			for payload := range e.ms[k].Segments {
				var m amt.Message
				if m.Unmarshal(payload) != nil || m.Type != amt.TypeQuery || int(i) >= len(e.list) || m.Nonce != e.list[i].nonce {
					continue
				}
				e.list[i].done = true
				update := append([]byte{5, 0}, m.MAC[:]...)
				update = binary.BigEndian.AppendUint32(update, m.Nonce)
				e.put(i, append(update, e.report...)...)
			}
		}
		e.flush(t)
		if n < len(e.ms) {
			return
		}
	}
}

func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// 50,000 gateways over sockets come back after the relay has restarted, all at
// once, and the packet that follows goes to each of them.
func TestRejoin(t *testing.T) {
	n := 50_000
	if testing.Short() {
		n = 5000
	}
	ch := ssmtest.Channel(t)
	listen := loopback(t)
	config := amt.RelayConfig{MaxTunnels: n, HighWater: 1, MaxTunnelsPerAddress: 10, PrefixRate: 100_000}
	e := newEndpoints(t, listen, ch.Group, ch.Source, n)
	for _, what := range []string{"from nothing", "after a restart"} {
		up := &manual{}
		s, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{listen}, Upstream: up, Relay: config})
		require.NoError(t, err)
		done := make(chan struct{})
		ctx, cancel := context.WithCancel(context.Background())
		go func() { defer close(done); _ = s.Run(ctx) }()
		before := cpu(t)
		asked := e.asked
		took := e.join(t, func() bool { return s.Stats().Tunnels == n })
		t.Logf("%s: %d gateways after %v, with %d Requests; %v of processor time for both sides",
			what, n, took.Round(time.Millisecond), e.asked-asked, (cpu(t) - before).Round(time.Millisecond))
		require.LessOrEqual(t, took, 15*time.Second)

		require.Eventually(t, func() bool { up.mu.Lock(); defer up.mu.Unlock(); return up.deliver != nil }, 10*time.Second, time.Millisecond)
		up.send(amt.AppendUDP(nil, netip.AddrPortFrom(ch.Source, 1), ch.Destination(), 9, make([]byte, 1000)))
		st := s.Stats()
		require.Equal(t, uint64(n), st.Copies)
		require.Zero(t, st.Refused)
		cancel()
		<-done
		for range 20 { // what is under way
			e.read(t, 50*time.Millisecond)
		}
	}
}
