package amt_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
)

// The tests of this file need a network namespace that is linked to a guest
// whose kernel has AMT: testdata/kernel/test.sh makes both and sets this.
const kernelGuest = "AMT_KERNEL"

const (
	guestRelay = "10.11.0.2:2268"
	hostRelay  = "10.11.0.1:2268"
)

// kernelChannels are of either family; others send to the same groups.
var kernelChannels = []struct {
	channel ssm.Channel
	other   netip.Addr
}{
	{ssm.Channel{Source: netip.MustParseAddr("10.12.0.1"), Group: netip.MustParseAddr("232.1.1.1"), Port: 5000}, netip.MustParseAddr("10.12.0.9")},
	{ssm.Channel{Source: netip.MustParseAddr("fd12::1"), Group: netip.MustParseAddr("ff3e::8000:d"), Port: 5000}, netip.MustParseAddr("fd12::9")},
}

func requireKernel(t *testing.T) {
	if os.Getenv(kernelGuest) == "" {
		t.Skip("step amt-kernel of .ci/run runs it, by testdata/kernel/test.sh: it needs a guest with the kernel's AMT module")
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(guest(t, "dmesg | tail -n 20; /opt/ip -s -d link; cat /proc/net/ip_mr_cache /proc/net/ip6_mr_cache"))
		}
	})
}

// guest runs a command in the guest and returns what it prints.
func guest(t *testing.T, command string, args ...any) string {
	t.Helper()
	command = fmt.Sprintf(command, args...)
	c, err := net.DialTimeout("tcp", "10.11.0.2:9999", 30*time.Second)
	require.NoError(t, err, command)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(60*time.Second)))
	_, err = io.WriteString(c, command+"\n")
	require.NoError(t, err, command)
	out, err := io.ReadAll(c)
	require.NoError(t, err, command)
	return strings.TrimSpace(string(out))
}

// guestEventually runs a command until what it prints is as wanted.
func guestEventually(t *testing.T, command string, wanted func(string) bool) {
	t.Helper()
	var out string
	require.Eventually(t, func() bool { out = guest(t, command); return wanted(out) }, 60*time.Second, 100*time.Millisecond,
		"%s: %s", command, &out)
}

// guestNumber reads a number from a file in the guest.
func guestNumber(t *testing.T, file string) int {
	t.Helper()
	n, err := strconv.Atoi(guest(t, "cat %s", file))
	require.NoError(t, err)
	return n
}

// makeKernel gives the guest a new AMT device: "none", "relay", or "gateway",
// which is not yet up.
func makeKernel(t *testing.T, mode string) {
	t.Helper()
	require.Empty(t, guest(t, "amt %s", mode))
}

// sendNative sends numbered packets on the native side until the test ends.
func sendNative(t *testing.T, source netip.Addr, ch ssm.Channel) {
	tx, err := ssm.NewSender(source, &ssm.SenderConfig{Interface: "t1", TTL: 16})
	require.NoError(t, err)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1200)
		for i := uint64(0); ; i++ {
			binary.BigEndian.PutUint64(b, i)
			_, _ = tx.WriteBatch([][]byte{b}, ch.Destination())
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		_ = tx.Close()
	})
}

// kernelAddress is another address of ours for each gateway: the kernel's relay
// has one tunnel for each.
func kernelAddress(next *int) netip.Addr {
	*next++
	return netip.AddrFrom4([4]byte{10, 11, 0, byte(20 + *next)})
}

// joinTimes asserts how long it takes from a join to the first packet, where
// nothing else makes the machine late.
func joinTimes(t *testing.T, what string, times []time.Duration) {
	slices.Sort(times)
	t.Logf("join to first byte, %s: %v", what, times)
	if os.Getenv("TREEDN_QUIET") != "" {
		require.LessOrEqual(t, times[0], 300*time.Millisecond, "at best")
		require.LessOrEqual(t, times[len(times)/2], time.Second, "mostly")
	}
}

// Our gateway and the kernel's relay.
func TestKernelRelay(t *testing.T) {
	requireKernel(t)
	makeKernel(t, "relay")
	addresses := 0
	for _, c := range kernelChannels {
		ch := c.channel
		t.Run(ch.Group.String(), func(t *testing.T) {
			sendNative(t, ch.Source, ch)
			sendNative(t, c.other, ch)
			var times []time.Duration
			for i := range 5 {
				start := time.Now()
				conn := dial(t, ch, amt.DialConfig{
					Mode:    amt.ModeTunnel,
					Local:   []netip.Addr{kernelAddress(&addresses)},
					Gateway: amt.GatewayConfig{Relays: candidates(guestRelay)},
					OnEvent: func(e amt.ConnEvent) { t.Logf("%v: %+v", time.Since(start), e) },
				})
				list := numbers(t, conn, 1)
				times = append(times, time.Since(start))
				if i == 0 {
					list = append(list, numbers(t, conn, 300)...)
					requireConsecutive(t, list) // the other source would be in between
					st := conn.Stats().Gateway
					require.NotZero(t, st.Unwanted, "the kernel forwards all sources of a group")
					require.Zero(t, st.Malformed)
				}
				require.NoError(t, conn.Close())
			}
			joinTimes(t, "our gateway and the kernel's relay", times)
		})
	}
	t.Run("refresh", func(t *testing.T) { testKernelRelayRefresh(t, kernelAddress(&addresses)) })
	for _, c := range kernelChannels {
		t.Run("made anew "+c.channel.Group.String(), func(t *testing.T) {
			testKernelRelayAnew(t, c.channel, kernelAddress(&addresses))
		})
	}
}

// The kernel's relay takes the Updates of many query intervals, each with the
// nonce and the MAC of its own Query. The intervals pass in the gateway's time
// only.
func testKernelRelayRefresh(t *testing.T, local netip.Addr) {
	makeKernel(t, "relay") // one that does not count what comes back of the data that it sends for ever to those who left
	for _, c := range kernelChannels {
		sendNative(t, c.channel.Source, c.channel)
	}
	const (
		took    = "/sys/class/net/amt/statistics/rx_packets"
		dropped = "/sys/class/net/amt/statistics/rx_dropped"
	)
	tookBefore, droppedBefore := guestNumber(t, took), guestNumber(t, dropped)
	relay := netip.MustParseAddrPort(guestRelay)
	socket, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)), net.UDPAddrFromAddrPort(relay))
	require.NoError(t, err)
	defer socket.Close()
	var ahead time.Duration // of the gateway's clock
	now := func() time.Time { return time.Now().Add(ahead) }
	g := amt.NewGateway(amt.GatewayConfig{Relays: direct(guestRelay), Silence: -1})
	for _, c := range kernelChannels {
		require.NoError(t, g.Join(now(), c.channel.Source, c.channel.Group))
	}
	path, refused := amt.Path(0), 0
	send := func() {
		for tr, ok := g.PollTransmission(); ok; tr, ok = g.PollTransmission() {
			path = tr.Path
			_, err := socket.Write(tr.Payload)
			require.NoError(t, err)
			if tr.Payload[0] == byte(amt.TypeRequest) && amt.Flags(tr.Payload[1])&amt.FlagP != 0 {
				refused++ // Linux wants P elsewhere, as the gateway learns; it tries both when answers are late
			}
		}
	}
	buf := make([]byte, 2000)
	// receive goes on until both families have come since its call.
	receive := func() {
		v4, v6 := false, false
		for end := time.Now().Add(20 * time.Second); !v4 || !v6; {
			require.True(t, time.Now().Before(end), "%+v", g.Stats())
			send()
			require.NoError(t, socket.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
			if n, err := socket.Read(buf); err == nil {
				var p amt.Packet
				if g.HandleDatagram(now(), path, &amt.Datagram{Remote: relay, Payload: buf[:n]}, 0, &p) {
					v4 = v4 || p.Source.Addr().Is4()
					v6 = v6 || p.Source.Addr().Is6()
				}
			}
			g.HandleTimeout(now())
		}
	}
	receive()
	const intervals = 20
	first, start := g.Stats(), now()
	for range intervals {
		queries := g.Stats().Queries
		for g.Stats().Queries < queries+2 { // of either family
			if wait := g.NextTimeout().Sub(now()); wait > 2*time.Second {
				ahead += wait // nothing else is to happen
			}
			receive()
		}
	}
	last := g.Stats()
	t.Logf("%v, %d Queries, %d Updates", now().Sub(start), last.Queries-first.Queries, last.Updates-first.Updates)
	require.Greater(t, now().Sub(start), intervals*10*time.Second)
	require.GreaterOrEqual(t, last.Updates-first.Updates, uint64(2*intervals))
	require.Zero(t, last.Malformed)
	require.Zero(t, last.Lost)

	g.Close(now())
	send()
	left := g.Stats().Updates
	// The kernel counts the Updates that it takes, and drops those with a wrong MAC.
	require.Eventually(t, func() bool { return guestNumber(t, took)-tookBefore >= int(left) }, 20*time.Second, 100*time.Millisecond,
		"%d Updates", left)
	require.Equal(t, droppedBefore+refused, guestNumber(t, dropped))
}

// The kernel's relay goes and comes back; our gateway finds it again.
func testKernelRelayAnew(t *testing.T, ch ssm.Channel, local netip.Addr) {
	sendNative(t, ch.Source, ch)
	start := time.Now()
	lost := make(chan error, 100)
	conn := dial(t, ch, amt.DialConfig{
		Mode:    amt.ModeTunnel,
		Local:   []netip.Addr{local},
		Gateway: amt.GatewayConfig{Relays: candidates(guestRelay)},
		OnEvent: func(e amt.ConnEvent) {
			t.Logf("%v: %+v", time.Since(start), e)
			if e.Type == amt.ConnRelayLost {
				lost <- e.Err
			}
		},
	})
	numbers(t, conn, 50)
	makeKernel(t, "none")
	select {
	case err := <-lost:
		require.Error(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("nobody notices that the relay has gone")
	}
	makeKernel(t, "relay")
	there := time.Now()
	for before := conn.Stats().Packets; ; { // those that were on their way
		numbers(t, conn, 1)
		if conn.Stats().Packets > before+50 {
			break
		}
	}
	t.Log("data again after", time.Since(there))
}

// server is a relay of ours that can be restarted.
type server struct {
	*amt.Server
	done chan error
}

func startServer(t *testing.T, config amt.RelayConfig) *server {
	up, err := amt.NewNative(amt.NativeConfig{Ports: []uint16{5000}, Interface: "t1"})
	require.NoError(t, err)
	s, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{netip.MustParseAddrPort(hostRelay)}, Upstream: up, Relay: config})
	require.NoError(t, err)
	started := &server{s, make(chan error, 1)}
	go func() { started.done <- s.Run(context.Background()) }()
	t.Cleanup(func() { started.stop(t) })
	return started
}

func (s *server) stop(t *testing.T) {
	require.NoError(t, s.Close())
	if err, ok := <-s.done; ok {
		require.ErrorIs(t, err, net.ErrClosed)
		close(s.done)
	}
}

// requireSane asserts that the kernel has sent nothing that we refuse.
func (s *server) requireSane(t *testing.T) {
	st := s.Stats()
	t.Logf("%+v", st)
	require.NotZero(t, st.LinuxP)
	require.Zero(t, st.Malformed)
	require.Zero(t, st.OddHeaders)
	require.Zero(t, st.Limited)
	require.Zero(t, st.Unexpected)
}

// receiver is a program in the guest that has joined a channel.
type receiver struct{ output, pid string }

func joinInGuest(t *testing.T, ch ssm.Channel) *receiver {
	r := &receiver{output: guest(t, "mktemp")}
	r.pid = guest(t, "mc join amt %v %v %d </dev/null >%s 2>&1 & echo $! | tee -a /tmp/started", ch.Group, ch.Source, ch.Port, r.output)
	return r
}

func (r *receiver) leave(t *testing.T) { guest(t, "kill %s", r.pid) }

// counts reads what mc has printed last.
func (r *receiver) counts(t *testing.T) map[string]int {
	line := guest(t, "tail -n 1 %s", r.output)
	counts := make(map[string]int)
	for f := range strings.FieldsSeq(line) {
		name, value, ok := strings.Cut(f, "=")
		require.True(t, ok, line)
		n, err := strconv.Atoi(value)
		require.NoError(t, err, line)
		counts[name] = n
	}
	return counts
}

// more waits for n packets more than at its call.
func (r *receiver) more(t *testing.T, s *server, n int) map[string]int {
	t.Helper()
	counts := r.counts(t)
	for want := counts["packets"] + n; counts["packets"] < want; {
		before := counts["packets"]
		require.Eventually(t, func() bool { counts = r.counts(t); return counts["packets"] > before }, 60*time.Second, 20*time.Millisecond,
			"the guest's receiver gets no packets; %+v", s.Stats())
	}
	return counts
}

// tapDropped is how many packets the tap to the guest had no room for: this
// machine was busy, and the path lost them.
func tapDropped(t *testing.T) string {
	b, err := os.ReadFile("/sys/class/net/t0/statistics/tx_dropped")
	require.NoError(t, err)
	return strings.TrimSpace(string(b))
}

// Our relay and the kernel's gateway. That sends Requests every two seconds,
// whatever it is told.
func TestKernelGateway(t *testing.T) {
	requireKernel(t)
	for _, c := range kernelChannels {
		sendNative(t, c.channel.Source, c.channel)
		sendNative(t, c.other, c.channel)
	}
	// Without refreshes a tunnel would end after 12 s.
	config := amt.RelayConfig{QueryInterval: time.Second}
	s := startServer(t, config)
	makeKernel(t, "gateway")
	t.Run("first Query", func(t *testing.T) {
		// They have joined before there is a tunnel, so that the answer to the first
		// Query is what brings the data.
		receivers := []*receiver{joinInGuest(t, kernelChannels[0].channel), joinInGuest(t, kernelChannels[1].channel)}
		guest(t, "/opt/ip link set amt up")
		var st amt.ServerStats
		require.Eventually(t, func() bool { st = s.Stats(); return st.Channels == 2 }, 20*time.Second, 100*time.Microsecond)
		require.EqualValues(t, 1, st.Discoveries)
		require.EqualValues(t, 2, st.Requests, "one of either family")
		require.EqualValues(t, 1, st.Opened)
		for _, r := range receivers {
			r.more(t, s, 100)
			r.leave(t)
		}
		require.Eventually(t, func() bool { return s.Stats().Tunnels == 0 }, 30*time.Second, 10*time.Millisecond)
	})
	for _, c := range kernelChannels {
		t.Run("join "+c.channel.Group.String(), func(t *testing.T) {
			var times []time.Duration
			for range 5 {
				r := joinInGuest(t, c.channel)
				counts := r.more(t, s, 1)
				times = append(times, time.Duration(counts["first"])*time.Millisecond)
				require.Equal(t, 1, s.Stats().Tunnels)
				r.leave(t)
				// The kernel says so twice at most, and may drop both: then the tunnel ends
				// for want of reports.
				require.Eventually(t, func() bool { return s.Stats().Tunnels == 0 }, 30*time.Second, 10*time.Millisecond)
			}
			joinTimes(t, "the kernel's gateway and our relay", times)
		})
	}
	t.Run("refresh", func(t *testing.T) {
		before, dropped := s.Stats(), tapDropped(t)
		var receivers []*receiver
		for _, c := range kernelChannels {
			receivers = append(receivers, joinInGuest(t, c.channel))
		}
		for s.Stats().Requests < before.Requests+16 { // eight times two seconds
			receivers[0].more(t, s, 100)
		}
		for _, r := range receivers {
			counts := r.more(t, s, 1)
			t.Log(counts)
			require.Equal(t, 1200*counts["packets"], counts["bytes"])
			require.Zero(t, counts["odd"], "the other source, or packets twice")
			if dropped == tapDropped(t) {
				require.Zero(t, counts["missing"])
			}
		}
		st := s.Stats()
		require.Equal(t, 1, st.Tunnels)
		require.Equal(t, 2, st.Channels)
		require.Equal(t, before.Opened+1, st.Opened)
		require.Equal(t, before.Expired, st.Expired)
		require.Zero(t, st.BadMAC)
		s.requireSane(t)

		for i, r := range receivers {
			start := time.Now()
			r.leave(t)
			require.Eventually(t, func() bool { return s.Stats().Channels == 1-i }, 30*time.Second, 10*time.Millisecond)
			t.Log("left after", time.Since(start))
		}
		require.Zero(t, s.Stats().Tunnels)
	})
	t.Run("restart", func(t *testing.T) {
		var receivers []*receiver
		for _, c := range kernelChannels {
			receivers = append(receivers, joinInGuest(t, c.channel))
		}
		for _, r := range receivers {
			r.more(t, s, 10)
		}
		s.stop(t)
		start := time.Now()
		s = startServer(t, config) // with another key
		for _, r := range receivers {
			r.more(t, s, 10)
			t.Log("restarted at once: data again after", time.Since(start))
		}
		s.requireSane(t)
		s.stop(t)
		// The kernel gives up in the end, and forgets the relay's address.
		guestEventually(t, "/opt/ip -d link show amt", func(out string) bool { return !strings.Contains(out, "remote") })
		start = time.Now()
		s = startServer(t, config)
		for _, r := range receivers {
			r.more(t, s, 10)
			t.Log("given up: data again after", time.Since(start))
			r.leave(t)
		}
		require.NotZero(t, s.Stats().Discoveries)
		s.requireSane(t)
	})
	makeKernel(t, "none")
}
