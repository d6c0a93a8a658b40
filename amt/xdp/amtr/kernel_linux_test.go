package amtr_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/xdp/amtr"
	"github.com/treedn/treedn/amt/xdp/internal/nettest"
)

// trackedLine is what a tracker in the guest says: that it is there, events, and
// in the end what it knows.
type trackedLine struct {
	Method  amtr.Method
	Event   *amtr.Event
	Gateway *amtr.Gateway
	Stats   *amtr.Stats
	Err     string
}

// trackInGuest tracks, by the named method, the relay of the kernel that it runs
// on, until the end of the input.
func trackInGuest(method string) int {
	out := json.NewEncoder(os.Stdout)
	config := amtr.Config{Interfaces: []string{"eth0"}, Method: amtr.MethodSocket, Idle: 2 * time.Second}
	if method == amtr.MethodBPF.String() {
		config.Method = amtr.MethodBPF
	}
	tracker, err := amtr.Open(config)
	if err != nil {
		_ = out.Encode(trackedLine{Err: err.Error()})
		return 1
	}
	_ = out.Encode(trackedLine{Method: tracker.Method()})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	for open := true; open; {
		select {
		case e := <-tracker.Events():
			_ = out.Encode(trackedLine{Event: &e})
		case <-done:
			open = false
		}
	}
	for g := range tracker.Gateways() {
		_ = out.Encode(trackedLine{Gateway: &g})
	}
	stats := tracker.Stats()
	_ = out.Encode(trackedLine{Stats: &stats})
	if err := tracker.Close(); err != nil {
		_ = out.Encode(trackedLine{Err: err.Error()})
		return 1
	}
	return 0
}

// inGuest starts a command in the guest.
func inGuest(t *testing.T, command string) *net.TCPConn {
	c, err := net.DialTimeout("tcp", "10.11.0.2:9999", 30*time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(90*time.Second)))
	_, err = fmt.Fprintln(c, command)
	require.NoError(t, err)
	return c.(*net.TCPConn)
}

// The tracker on the host whose kernel is the relay, by either method, tells what
// a capture on the other side of the wire shows.
func TestKernelTracker(t *testing.T) {
	if os.Getenv("AMT_KERNEL") == "" {
		t.Skip("step amt-kernel of .ci/run runs it, by amt/testdata/kernel/test.sh: it needs a guest with the kernel's AMT module")
	}
	for _, method := range methods {
		t.Run(method.String(), func(t *testing.T) { testKernelTracker(t, method) })
	}
}

// firsts are the types in the order in which they were first seen.
func firsts(list []amtr.EventType) (types []amtr.EventType) {
	for _, typ := range list {
		if !slices.Contains(types, typ) {
			types = append(types, typ)
		}
	}
	return types
}

func testKernelTracker(t *testing.T, method amtr.Method) {
	problem, err := io.ReadAll(inGuest(t, "amt relay"))
	require.NoError(t, err)
	require.Empty(t, string(problem))

	tracked := inGuest(t, "AMTR_TRACK="+method.String()+" /run/amtr.test")
	lines := make(chan trackedLine, 1000)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(tracked); in.Scan(); {
			var l trackedLine
			if err := json.Unmarshal(in.Bytes(), &l); err != nil {
				l.Err = in.Text()
			}
			lines <- l
		}
	}()
	next := func() trackedLine {
		l, ok := <-lines
		require.True(t, ok, "the tracker has ended")
		require.Empty(t, l.Err)
		return l
	}
	require.Equal(t, method, next().Method)
	t0, err := net.InterfaceByName("t0")
	require.NoError(t, err)
	capture := nettest.Listen(t, t0)

	// Two gateways, of a channel of either family: they join, receive, and leave.
	relay := netip.MustParseAddrPort("10.11.0.2:2268")
	events := make(map[netip.Addr][]amtr.EventType)
	until := func(typ amtr.EventType, gateway netip.Addr) {
		t.Helper()
		for {
			e := next().Event
			require.NotNil(t, e)
			require.Equal(t, relay, e.Relay)
			from := e.Gateway.Addr()
			events[from] = append(events[from], e.Type)
			if e.Type == typ && from == gateway {
				return
			}
		}
	}
	var gateways []netip.Addr
	for i, channel := range []struct{ source, group string }{{"10.12.0.1", "232.1.1.1"}, {"fd12::1", "ff3e::8000:d"}} {
		source, to := netip.MustParseAddr(channel.source), netip.AddrPortFrom(netip.MustParseAddr(channel.group), 5000)
		local := netip.AddrFrom4([4]byte{10, 11, 0, byte(31 + 2*i + int(method))})
		gateways = append(gateways, local)
		conn, err := amt.Dial(t.Context(), source, to, amt.DialConfig{
			Mode: amt.ModeTunnel, Local: []netip.Addr{local}, Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: relay}}},
		})
		require.NoError(t, err)
		until(amtr.EventUp, local)
		tx, err := ssm.NewSender(source, &ssm.SenderConfig{Interface: "t1", TTL: 16})
		require.NoError(t, err)
		buf := make([]byte, 2000)
		// The next packet is sent when this one has arrived, or seems to be lost.
		for n, arrived := uint64(0), 0; arrived < 100; n++ {
			b := make([]byte, 1000)
			binary.BigEndian.PutUint64(b, n)
			_, err := tx.WriteBatch([][]byte{b}, to)
			require.NoError(t, err)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Second)))
			if _, _, err := conn.ReadFrom(buf); err == nil {
				arrived++
			} else {
				require.Less(t, n, uint64(200), "packets do not arrive")
			}
		}
		until(amtr.EventData, local)
		require.NoError(t, tx.Close())
		require.NoError(t, conn.Close())
		until(amtr.EventIdle, local)
	}
	for _, g := range gateways {
		t.Log(g, events[g])
		list := events[g]
		// Messages without an answer are repeated.
		require.Equal(t, []amtr.EventType{
			amtr.EventDiscovery, amtr.EventAdvertisement, amtr.EventRequest, amtr.EventQuery, amtr.EventUpdate, amtr.EventUp, amtr.EventData,
		}, firsts(list)[:7])
		require.Equal(t, amtr.EventIdle, list[len(list)-1], "Linux does not end a tunnel for a leave")
	}

	require.NoError(t, tracked.CloseWrite())
	got := make(map[netip.AddrPort]amtr.Gateway)
	var stats *amtr.Stats
	for stats == nil {
		l := next()
		stats = l.Stats
		if l.Gateway != nil {
			got[l.Gateway.Endpoint] = *l.Gateway
		}
	}
	require.Zero(t, *stats)
	// What has passed the wire, by its headers alone: Ethernet, IPv4, UDP, AMT.
	type counted struct {
		messages [8]uint64
		octets   uint64
	}
	want := make(map[netip.AddrPort]counted)
	for {
		frame := capture.Next(100*time.Millisecond, func(b []byte) bool {
			return len(b) > 42 && b[12] == 8 && b[13] == 0 && b[14] == 0x45 && b[23] == 17
		})
		if frame == nil {
			break
		}
		endpoint := func(ip, port int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(frame[ip:ip+4])), binary.BigEndian.Uint16(frame[port:]))
		}
		from, to := endpoint(26, 34), endpoint(30, 36)
		gateway := from
		if from == relay {
			gateway = to
		} else if to != relay {
			continue
		}
		c := want[gateway]
		c.messages[frame[42]]++
		if frame[42] == byte(amt.TypeData) {
			c.octets += uint64(binary.BigEndian.Uint16(frame[38:])) - 8 - 2
		}
		want[gateway] = c
	}
	require.Len(t, want, 2)
	for endpoint, c := range want {
		t.Log(endpoint, c)
		require.GreaterOrEqual(t, c.messages[amt.TypeData], uint64(100))
		g := got[endpoint]
		require.Equal(t, c, counted{g.Messages, g.Octets})
		require.True(t, g.Up)
		require.False(t, g.Flowing)
	}
	require.Len(t, got, 2)
}
