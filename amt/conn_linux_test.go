package amt_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

const namespaceVariable = "AMT_TEST_IN_NAMESPACE"

// TestInNamespace runs tests in network namespaces of their own. It needs user
// namespaces and the program ip, but no privilege; a system without them is a failure
// only where TREEDN_REQUIRE lists root.
func TestInNamespace(t *testing.T) {
	for _, name := range []string{"TestNativeAgain", "TestLinkLocalRelay"} {
		t.Run(name, func(t *testing.T) { inNamespace(t, name) })
	}
}

func inNamespace(t *testing.T, name string) {
	cmd := exec.Command(os.Args[0], "-test.run=^"+name+"$", "-test.v")
	cmd.Env = append(os.Environ(), namespaceVariable+"=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	_, err := exec.LookPath("ip")
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("TREEDN_REQUIRE"), ","), "root") {
			t.Fatal(err)
		}
		t.Skipf("this system gives no namespace: %v", err)
	}
	require.NoError(t, cmd.Wait(), "%s", &out)
}

// The interface of the channel is not there at first: a tunnel carries, and the
// channel comes natively as soon as it can. Later the interface goes, and comes again.
func TestNativeAgain(t *testing.T) {
	if os.Getenv(namespaceVariable) == "" {
		t.Skip("run by TestInNamespace")
	}
	ip := func(args string) {
		t.Helper()
		out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
		require.NoError(t, err, "ip %s: %s", args, out)
	}
	ip("link set lo up")
	ch := ssm.Channel{Source: netip.MustParseAddr("10.99.0.1"), Group: netip.MustParseAddr("232.1.2.3"), Port: 5000}
	relay, up := loopback(t), new(manual)
	serve(t, relay, up, amt.RelayConfig{})
	_, err := amt.Dial(t.Context(), ch.Source, ch.Destination(), amt.DialConfig{Mode: amt.ModeNative, Interface: "media0"})
	require.ErrorIs(t, err, ssm.ErrInterface)
	events := make(chan amt.ConnEvent, 1000)
	c := dial(t, ch, amt.DialConfig{
		Interface: "media0", NativeTimeout: 500 * time.Millisecond, OnEvent: func(e amt.ConnEvent) { events <- e },
		Gateway: amt.GatewayConfig{Silence: -1, Relays: []amt.Candidate{{Address: relay}}},
	})
	var tx *ssm.Sender
	from := netip.AddrPortFrom(ch.Source, 9)
	n := uint64(0)
	by := func(want amt.Way) {
		t.Helper()
		for end := time.Now().Add(60 * time.Second); ; {
			require.True(t, time.Now().Before(end), "not by %v: %v", want, c.Reason())
			b := make([]byte, 100)
			binary.BigEndian.PutUint64(b, n)
			n++
			up.send(amt.AppendUDP(nil, from, ch.Destination(), 9, b))
			if tx != nil {
				_, _ = tx.WriteBatch([][]byte{b}, ch.Destination())
			}
			require.NoError(t, c.SetReadDeadline(time.Now().Add(2*time.Millisecond)))
			_, _ = c.ReadBatch(ssm.NewMessages(1))
			if way, ok := c.Way(); ok && way == want {
				return
			}
		}
	}
	happens := func(want amt.ConnEventType) (e amt.ConnEvent) {
		t.Helper()
		for {
			select {
			case e = <-events:
				if e.Type == want {
					return e
				}
			case <-time.After(60 * time.Second):
				t.Fatalf("event %d does not come", want)
			}
		}
	}
	add := func() {
		ip("link add media0 type veth peer name media1")
		ip("link set media1 up")
		ip("addr add 10.99.0.1/24 dev media0")
		ip("link set media0 up")
		var err error
		tx, err = ssm.NewSender(ch.Source, &ssm.SenderConfig{Interface: "media0"})
		require.NoError(t, err)
	}
	by(amt.Way{Relay: relay})
	require.ErrorIs(t, happens(amt.ConnNativeFailed).Err, ssm.ErrInterface)
	for range 2 {
		add()
		by(amt.Way{})
		happens(amt.ConnNativeJoined)
		require.True(t, happens(amt.ConnSwitched).Planned)
		_ = tx.Close()
		tx = nil
		ip("link del media0")
		by(amt.Way{Relay: relay})
		e := happens(amt.ConnSwitched)
		require.False(t, e.Planned)
		require.GreaterOrEqual(t, e.Gap, 500*time.Millisecond)
		for end := time.Now().Add(60 * time.Second); len(events) == 0 && time.Now().Before(end); {
			by(amt.Way{Relay: relay}) // until the loss is noticed
		}
		require.ErrorIs(t, happens(amt.ConnNativeFailed).Err, ssm.ErrInterface)
	}

	require.NoError(t, c.Close())
}

// Relays with a link-local address, which takes a zone, on a socket of that address and
// on one of all, directly and by discovery.
func TestLinkLocalRelay(t *testing.T) {
	if os.Getenv(namespaceVariable) == "" {
		t.Skip("run by TestInNamespace")
	}
	ip := func(args string) {
		t.Helper()
		out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
		require.NoError(t, err, "ip %s: %s", args, out)
	}
	ip("link set lo up")
	ip("link add link0 type veth peer name link1")
	ip("addr add fe80::1/64 dev link0 nodad")
	ip("addr add fe80::2/64 dev link1 nodad")
	ip("link set link0 up")
	ip("link set link1 up")
	ch := ssm.Channel{Source: netip.MustParseAddr("10.99.0.1"), Group: netip.MustParseAddr("232.1.2.3"), Port: 5000}
	packet := amt.AppendUDP(nil, netip.AddrPortFrom(ch.Source, 9), ch.Destination(), 9, binary.BigEndian.AppendUint64(nil, 42))
	for listen, at := range map[string]string{
		"[fe80::1%link0]:2268": "[fe80::1%link0]:2268", // of this machine
		"[fe80::1%link0]:2269": "[fe80::1%link1]:2269",
		"[::]:2270":            "[fe80::1%link1]:2270",
	} {
		up := new(manual)
		serve(t, netip.MustParseAddrPort(listen), up, amt.RelayConfig{IPv6: netip.MustParseAddr("fe80::1")})
		for _, direct := range []bool{true, false} {
			t.Run(listen+" at "+at, func(t *testing.T) {
				relay := netip.MustParseAddrPort(at)
				c := dial(t, ch, amt.DialConfig{
					Mode: amt.ModeTunnel, Gateway: amt.GatewayConfig{Silence: -1, Relays: []amt.Candidate{{Address: relay, Direct: direct}}},
				})
				require.Eventually(t, func() bool {
					up.send(packet)
					_, ok := c.Way()
					return ok
				}, 30*time.Second, time.Millisecond, "%v", c.Reason)
				way, _ := c.Way()
				require.Equal(t, relay, way.Relay)
				require.EqualValues(t, 42, numbers(t, c, 1)[0])
				require.NoError(t, c.Close())
			})
		}
	}
}

// Buffers that are too small for a run take what fits, whole packets first.
func TestSmallBuffers(t *testing.T) {
	ch := ssmtest.Channel(t)
	relay, up := loopback(t), new(manual)
	serve(t, relay, up, amt.RelayConfig{})
	c := dial(t, ch, amt.DialConfig{Mode: amt.ModeTunnel, Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: relay}}}})
	require.Eventually(t, up.joined, 20*time.Second, time.Millisecond)
	next := uint64(0)
	burst := func() {
		var packets [][]byte
		for range 16 {
			packets = append(packets, amt.AppendUDP(nil, netip.AddrPortFrom(ch.Source, 9), ch.Destination(), 9,
				binary.BigEndian.AppendUint64(make([]byte, 0, 1000), next)[:1000]))
			next++
		}
		up.send(packets...)
	}
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	burst()
	burst()
	ms := []ssm.Message{{Buffer: make([]byte, 2500)}, {Buffer: make([]byte, 1000)}}
	want := uint64(0)
	for want < 32 {
		n, err := c.ReadBatch(ms)
		require.NoError(t, err)
		for i := range ms[:n] {
			for p := range ms[i].Segments {
				require.Len(t, p, 1000)
				require.Equal(t, want, binary.BigEndian.Uint64(p))
				want++
			}
		}
	}
	require.Zero(t, c.Stats().Truncated)
	burst()
	small := make([]byte, 100)
	for i := range 16 {
		if i%2 == 0 {
			n, _, err := c.ReadFrom(small)
			require.NoError(t, err)
			require.Equal(t, 100, n)
		} else {
			n, err := c.ReadBatch([]ssm.Message{{Buffer: small}})
			require.NoError(t, err)
			require.Equal(t, 1, n)
		}
		require.Equal(t, want, binary.BigEndian.Uint64(small))
		want++
	}
	require.EqualValues(t, 16, c.Stats().Truncated)
}

// What keeps packets away is said, and a reader that waits is let go by Close.
func TestReason(t *testing.T) {
	defer goleak.VerifyNone(t)
	ch := ssmtest.Channel(t)
	c, err := amt.Dial(context.Background(), ch.Source, ch.Destination(), amt.DialConfig{NativeTimeout: 50 * time.Millisecond})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return c.Reason() != nil }, 20*time.Second, time.Millisecond)
	require.ErrorIs(t, c.Reason(), ssm.ErrNothingReceived)
	require.ErrorIs(t, c.Reason(), amt.ErrNoRelays)
	done := make(chan error)
	go func() {
		_, err := c.ReadBatch(ssm.NewMessages(1))
		done <- err
	}()
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-done, net.ErrClosed)

	// A relay that answers, and has nothing; and one that is not there.
	relay := loopback(t)
	s, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{relay}, Upstream: &manual{}})
	require.NoError(t, err)
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Run(context.Background()) }()
	defer func() { _ = s.Close(); <-served }()
	for at, want := range map[netip.AddrPort]error{relay: amt.ErrNoData, loopback(t): amt.ErrUnreachable} {
		told := make(chan amt.ConnEvent, 100)
		c, err := amt.Dial(context.Background(), ch.Source, ch.Destination(), amt.DialConfig{
			Mode: amt.ModeTunnel, NativeTimeout: 50 * time.Millisecond, OnEvent: func(e amt.ConnEvent) { told <- e },
			Gateway: amt.GatewayConfig{NoData: 100 * time.Millisecond, Relays: []amt.Candidate{{Address: at}}},
		})
		require.NoError(t, err)
		for e := range told {
			if e.Type == amt.ConnRelay {
				require.Positive(t, e.RTT)
			}
			if e.Err != nil {
				require.ErrorIs(t, e.Err, want)
				require.Equal(t, at, e.Relay)
				require.Equal(t, at, e.Candidate)
				break
			}
		}
		require.Eventually(t, func() bool { return c.Reason() != nil }, 20*time.Second, time.Millisecond)
		require.ErrorIs(t, c.Reason(), want)
		require.NoError(t, c.Close())
	}
}

// 200 Conns of one process through one relay: each is a gateway of its own, with a
// port of its own, two of which may receive the same channel.
func TestManyDials(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("", func(t *testing.T) {
		ch := ssmtest.Channel(t)
		relay, up := loopback(t), new(manual)
		s := serve(t, relay, up, amt.RelayConfig{PrefixRate: 100_000})
		const n = 200
		var all []*amt.Conn
		for range n {
			all = append(all, dial(t, ch, amt.DialConfig{
				Mode: amt.ModeTunnel, ReceiveBuffer: 64 << 10, Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: relay}}},
			}))
		}
		require.Eventually(t, func() bool { return s.Stats().Tunnels == n }, 60*time.Second, 10*time.Millisecond)
		up.send(amt.AppendUDP(nil, netip.AddrPortFrom(ch.Source, 9), ch.Destination(), 9, binary.BigEndian.AppendUint64(nil, 42)))
		for _, c := range all {
			require.Equal(t, []uint64{42}, numbers(t, c, 1))
		}
	})
}
