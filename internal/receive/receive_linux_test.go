package receive

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/dns"
)

// counting is a sink that ends the reception after some packets.
type counting struct {
	want int
	got  [][]byte
}

var errEnough = errors.New("enough")

func (c *counting) Write(p []byte) error {
	c.got = append(c.got, append([]byte(nil), p...))
	if len(c.got) == c.want {
		return errEnough
	}
	return nil
}
func (c *counting) Close() error { return nil }

// log is a writer that may be read while it is written.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }
func (l *log) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func send(t *testing.T, ch ssm.Channel) {
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		b := make([]byte, 1316)
		for i := uint64(0); ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			binary.BigEndian.PutUint64(b, i)
			_, _ = tx.WriteBatch([][]byte{b}, ch.Destination())
		}
	})
	t.Cleanup(func() { close(stop); done.Wait(); _ = tx.Close() })
}

func serveRelay(t *testing.T, ch ssm.Channel) netip.AddrPort {
	up, err := amt.NewNative(amt.NativeConfig{Ports: []uint16{ch.Port}})
	require.NoError(t, err)
	listen := netip.AddrPortFrom(ssmtest.Source(), ch.Port)
	s, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{listen}, Upstream: up})
	require.NoError(t, err)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(context.Background()) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return listen
}

func relays(list ...netip.AddrPort) (c []amt.Candidate) {
	for _, a := range list {
		c = append(c, amt.Candidate{Address: a})
	}
	return c
}

func TestReceive(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("", func(t *testing.T) {
		ch := ssmtest.Channel(t)
		send(t, ch)
		relay := serveRelay(t, ch)
		for _, mode := range []amt.Mode{amt.ModeNative, amt.ModeTunnel, amt.ModeAuto} {
			sink := &counting{want: 100}
			var l log
			err := Run(t.Context(), Config{Channel: ch, Mode: mode, Relays: relays(relay), Sink: sink, Wait: 20 * time.Second, Report: Report{Line: &l}})
			require.ErrorIs(t, err, errEnough)
			require.Len(t, sink.got[0], 1316)
			first := binary.BigEndian.Uint64(sink.got[0])
			for i := range sink.got {
				require.Equal(t, first+uint64(i), binary.BigEndian.Uint64(sink.got[i]))
			}
			require.Contains(t, l.String(), map[amt.Mode]string{
				amt.ModeNative: "receiving, native", amt.ModeTunnel: "receiving, relay " + relay.String(), amt.ModeAuto: "receiving, native",
			}[mode])
			require.Contains(t, l.String(), "100 packets")
		}
	})
}

// Without a port it takes the one that packets come to: through a relay without
// a privilege, if the relay has one.
func TestReceiveWithoutPort(t *testing.T) {
	ch := ssmtest.Channel(t)
	send(t, ch)
	relay := serveRelay(t, ch)
	ch.Port = 0
	sink := &counting{want: 10}
	require.ErrorIs(t, Run(t.Context(), Config{Channel: ch, Mode: amt.ModeTunnel, Relays: relays(relay), Sink: sink, Wait: 20 * time.Second}), errEnough)
	err := Run(t.Context(), Config{Channel: ch, Mode: amt.ModeNative, Sink: &counting{want: 10}, Wait: 20 * time.Second})
	if os.Geteuid() == 0 {
		require.ErrorIs(t, err, errEnough)
	} else {
		require.ErrorIs(t, err, ErrPortOrPrivilege)
	}
}

// What is said when nothing arrives.
func TestNothing(t *testing.T) {
	ch := ssmtest.Channel(t)
	relay := serveRelay(t, ch)
	deaf, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ssmtest.Source(), 0)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = deaf.Close() })
	silent := deaf.LocalAddr().(*net.UDPAddr).AddrPort()
	closed, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ssmtest.Source(), 0)))
	require.NoError(t, err)
	gone := closed.LocalAddr().(*net.UDPAddr).AddrPort()
	require.NoError(t, closed.Close())
	for _, c := range []struct {
		name string
		mode amt.Mode
		to   netip.AddrPort
		wait time.Duration
		want string
	}{
		{"not asked yet", amt.ModeAuto, silent, time.Hour, "no relay was asked yet"},
		{"native", amt.ModeNative, relay, 300 * time.Millisecond, "the source does not send"},
		{"refused", amt.ModeTunnel, gone, time.Minute, "is unreachable"},
		{"no answer", amt.ModeTunnel, silent, time.Minute, "does not answer (is it an AMT relay, is UDP port 2268 open on the way, and is it not full or being drained?"},
		{"no answer yet", amt.ModeTunnel, silent, 300 * time.Millisecond, "no answer from " + silent.String() + " (is it an AMT relay, is UDP port 2268 open on the way, and is it not full or being drained?"},
		{"no data", amt.ModeTunnel, relay, time.Second, "sends nothing of the channel"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sink := &counting{}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			line := writer(func(p []byte) {
				if bytes.Contains(p, []byte(c.want)) {
					cancel() // the reason is known
				}
			})
			if c.wait == time.Hour { // somebody is impatient
				line = func(p []byte) {
					if bytes.Contains(p, []byte("natively")) {
						cancel()
					}
				}
			}
			err := Run(ctx, Config{Channel: ch, Mode: c.mode, Relays: relays(c.to), Sink: sink, Wait: c.wait, Report: Report{Line: line}})
			require.ErrorIs(t, err, ErrNothing)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// Relays that have not answered are named beside those that cannot be reached, and questions to the DNS that wait beside
// those that failed.
func TestWhyUnanswered(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:2268"), netip.MustParseAddrPort("192.0.2.2:2268")
	var w why
	w.event(amt.ConnEvent{Type: amt.ConnRelayLost, Relay: a, Err: amt.ErrUnreachable})
	w.answer("x. AMTRELAY", "refused")
	w.answer("x. AMTRELAY", unanswered)
	w.answer("y. A", unanswered)
	w.silent(amt.ModeTunnel, relays(a, b), amt.ConnStats{}, 5000, 0)
	require.Contains(t, w.String(), "relay 192.0.2.1:2268 is unreachable")
	require.Contains(t, w.String(), "no answer from 192.0.2.2:2268 (")
	require.Contains(t, w.String(), "x. AMTRELAY (refused), y. A (no answer yet)")
}

// A player that takes nothing while it starts loses nothing of that time.
func TestSinkStarts(t *testing.T) {
	const packets = 400
	ch := ssmtest.Channel(t)
	relay := serveRelay(t, ch)
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	defer tx.Close()
	started, sent := make(chan struct{}), make(chan struct{})
	stop := make(chan struct{})
	var sending sync.WaitGroup
	defer sending.Wait()
	defer close(stop)
	sending.Go(func() {
		b := make([]byte, 1316)
		for i := uint64(0); ; {
			select {
			case <-stop:
				return
			case <-started:
				if i++; i == packets {
					close(sent)
				}
			default: // nothing has arrived yet
			}
			binary.BigEndian.PutUint64(b, i)
			_, _ = tx.WriteBatch([][]byte{b}, ch.Destination())
			time.Sleep(time.Millisecond)
		}
	})
	var next uint64
	s := sink(func(p []byte) error {
		switch i := binary.BigEndian.Uint64(p); {
		case next == 0: // it starts
			close(started)
			<-sent
			next = 1
		case i == 0:
		case i != next:
			return fmt.Errorf("packet %d instead of %d", i, next)
		case i == packets:
			return ErrReaderGone
		default:
			next++
		}
		return nil
	})
	require.NoError(t, Run(t.Context(), Config{Channel: ch, Mode: amt.ModeTunnel, Relays: relays(relay), Sink: s}))
}

// A pipe has room for what comes meanwhile.
func TestPipe(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	_, err = OpenSink("-", w)
	require.NoError(t, err)
	size, err := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0)
	require.NoError(t, err)
	require.Equal(t, pipeSize, size)
}

// What comes through a tunnel for another port is told.
func TestOtherPort(t *testing.T) {
	ch := ssmtest.Channel(t)
	send(t, ch)
	relay := serveRelay(t, ch)
	port := ch.Port
	ch.Port = ssmtest.Channel(t).Port
	err := Run(t.Context(), Config{Channel: ch, Mode: amt.ModeTunnel, Relays: relays(relay), Sink: &counting{}, Wait: time.Second})
	require.ErrorIs(t, err, ErrNothing)
	require.ErrorContains(t, err, fmt.Sprintf("for UDP port %d instead of %d", port, ch.Port))
}

// sink is one of a function.
type sink func(p []byte) error

func (s sink) Write(p []byte) error { return s(p) }
func (s sink) Close() error         { return nil }

// What the sink does decides how a reception ends.
func TestSinkDecides(t *testing.T) {
	ch := ssmtest.Channel(t)
	send(t, ch)
	run := func(s sink, r Report) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return Run(ctx, Config{Channel: ch, Mode: amt.ModeNative, Sink: s, Report: r})
	}
	var l log
	require.NoError(t, run(func([]byte) error { return ErrReaderGone }, Report{Line: &l}))
	require.Contains(t, l.String(), "has gone")

	n := 0
	var lines log
	require.NoError(t, run(func([]byte) error {
		if n++; n > 3 {
			return ErrReaderGone
		}
		return fmt.Errorf("%w: network is unreachable", errNotSent)
	}, Report{Line: &lines, JSON: true}))
	list := strings.Split(strings.TrimSpace(lines.String()), "\n")
	var last Statistics
	for _, line := range list {
		var e struct{ Event string }
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		require.NotEmpty(t, e.Event, line)
	}
	require.NoError(t, json.Unmarshal([]byte(list[len(list)-1]), &last))
	require.True(t, last.End)
	require.Equal(t, uint64(3), last.Unsent)
	require.Equal(t, uint64(4), last.Packets)
	require.Equal(t, uint64(4*1316), last.Octets)

	// One that takes nothing does not hold up the end.
	ctx, cancel := context.WithCancel(t.Context())
	release, done := make(chan struct{}), make(chan struct{})
	blocked := sink(func([]byte) error { cancel(); <-release; close(done); return ErrReaderGone })
	require.NoError(t, Run(ctx, Config{Channel: ch, Mode: amt.ModeNative, Sink: blocked, Report: Report{Line: &l}}))
	require.Contains(t, l.String(), "the output takes nothing")
	close(release)
	<-done
}

// answers is a resolver that knows nothing.
type answers struct {
	err error
}

func (a answers) Resolve(context.Context, dns.Question) (dns.Response, error) {
	return dns.Response{}, a.err
}

// reverse is the name of RFC 8777 section 4.1.
func reverse(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa.", b[3], b[2], b[1], b[0])
}

// Without relays they are looked for; that there are none is said with the
// reason.
func TestDiscovery(t *testing.T) {
	ch := ssmtest.Channel(t)
	send(t, ch)
	relay := serveRelay(t, ch)
	config := driad.Config{NoAnycast: true, NoServiceDiscovery: true, Allow: func(netip.Addr) bool { return true }}
	failing := driad.ClientConfig{Config: config, Resolver: answers{err: errors.New("no such domain")}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	verdict := writer(func(p []byte) {
		if bytes.Contains(p, []byte("no relay was found")) {
			cancel()
		}
	})
	err := Run(ctx, Config{Channel: ch, Mode: amt.ModeTunnel, Discovery: &failing, Sink: &counting{}, Wait: time.Minute, Report: Report{Line: verdict}})
	require.ErrorIs(t, err, ErrNothing)
	require.ErrorContains(t, err, "no relay was found: driad: looking up relays: no such domain")
	require.ErrorContains(t, err, reverse(ch.Source)+" AMTRELAY (no such domain)")

	config.Relays = []driad.Candidate{{Address: relay}}
	found := driad.ClientConfig{Config: config, Resolver: answers{err: errors.New("no such domain")}}
	var l log
	sink := &counting{want: 50}
	err = Run(t.Context(), Config{Channel: ch, Mode: amt.ModeTunnel, Discovery: &found, Sink: sink, Wait: 20 * time.Second, Report: Report{Line: &l}})
	require.ErrorIs(t, err, errEnough)
	require.Contains(t, l.String(), "relays for "+ch.Source.String()+": "+relay.String())
}

func TestSinks(t *testing.T) {
	ts := make([]byte, 376)
	ts[0], ts[188] = tsSync, tsSync
	rtp := append([]byte{0x80, 33, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, ts...)

	var out bytes.Buffer
	s, err := OpenSink("-", &out)
	require.NoError(t, err)
	require.NoError(t, s.Write(rtp))
	require.NoError(t, s.Write([]byte("x")))
	require.NoError(t, s.Close())
	require.Equal(t, append(append([]byte(nil), ts...), 'x'), out.Bytes())

	file := filepath.Join(t.TempDir(), "out.ts")
	s, err = OpenSink(file, nil)
	require.NoError(t, err)
	require.NoError(t, s.Write(ts))
	require.NoError(t, s.Close())
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, ts, b)

	player, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	to := "udp://" + player.LocalAddr().String()
	s, err = OpenSink(to, nil)
	require.NoError(t, err)
	require.NoError(t, s.Write(rtp))
	n, err := player.Read(make([]byte, 2000))
	require.NoError(t, err)
	require.Equal(t, len(rtp), n)
	require.NoError(t, player.Close())
	for range 3 { // nobody listens any more
		require.NoError(t, s.Write(rtp))
	}
	require.NoError(t, s.Close())

	lo, err := net.InterfaceByName(ssmtest.Interface)
	require.NoError(t, err)
	group := &net.UDPAddr{IP: net.IPv4(239, 255, 1, 2), Port: int(ssmtest.Channel(t).Port)}
	rx, err := net.ListenMulticastUDP("udp4", lo, group)
	require.NoError(t, err)
	s, err = OpenSink(fmt.Sprintf("udp://%v?interface=lo&ttl=0", group), nil)
	require.NoError(t, err)
	require.NoError(t, s.Write(rtp))
	require.NoError(t, rx.SetReadDeadline(time.Now().Add(20*time.Second)))
	n, err = rx.Read(make([]byte, 2000))
	require.NoError(t, err)
	require.Equal(t, len(rtp), n)
	require.NoError(t, rx.Close())
	require.NoError(t, s.Close())

	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	s, err = OpenSink("-", w)
	require.NoError(t, err)
	require.ErrorIs(t, s.Write(rtp), ErrReaderGone)
	require.NoError(t, w.Close())

	s, err = OpenSink("", nil)
	require.NoError(t, err)
	require.NoError(t, s.Write(nil))
	for _, bad := range []string{
		"udp://x", "http://a:1", "udp://127.0.0.1:1/x", "/does/not/exist", "udp://127.0.0.1:1?ttl=2", "udp://239.1.1.1:1?ttl=x",
		"udp://239.1.1.1:1?interface=none", "udp://239.1.1.1:1?pkt_size=1316",
	} {
		_, err := OpenSink(bad, nil)
		require.Error(t, err, bad)
	}
}
