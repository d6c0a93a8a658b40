package amtr_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/xdp/amtr"
	"github.com/treedn/treedn/amt/xdp/internal/nettest"
)

// vector is a message of another program.
type vector struct {
	Impl, Type, Outer string
	Hex               string

	from, to netip.AddrPort
	payload  []byte
	message  amt.Message
}

// toRelay reports whether it is a message for relays.
func (v *vector) toRelay() bool {
	switch v.message.Type {
	case amt.TypeDiscovery, amt.TypeRequest, amt.TypeUpdate, amt.TypeTeardown:
		return true
	}
	return false
}

func vectors(t *testing.T) (list []vector) {
	f, err := os.Open("testdata/vectors.jsonl")
	require.NoError(t, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var v vector
		require.NoError(t, json.Unmarshal(s.Bytes(), &v))
		from, to, _ := strings.Cut(v.Outer, ">")
		v.from, v.to = netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
		v.payload, err = hex.DecodeString(v.Hex)
		require.NoError(t, err)
		require.NoError(t, v.message.Unmarshal(v.payload))
		list = append(list, v)
	}
	return list
}

// frame is an Ethernet frame with a UDP datagram; checksums do not matter here.
func frame(from, to netip.AddrPort, payload []byte) []byte {
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}
	if from.Addr().Is6() {
		b[12], b[13] = 0x86, 0xdd
	}
	return amt.AppendUDP(b, from, to, 64, payload)
}

func open(t *testing.T, config amtr.Config) *amtr.Tracker {
	if testing.Verbose() {
		config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	tracker, err := amtr.Open(config)
	require.NoError(t, err)
	require.Equal(t, config.Method, tracker.Method())
	t.Cleanup(func() {
		require.NoError(t, tracker.Close())
		require.NoError(t, tracker.Close())
	})
	return tracker
}

var methods = []amtr.Method{amtr.MethodBPF, amtr.MethodSocket}

// Both trackers see in the messages of other programs what the codec does.
func TestVectors(t *testing.T) {
	for _, method := range methods {
		t.Run(method.String(), func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			t.Run("", func(t *testing.T) { testVectors(t, method) })
		})
	}
}

func testVectors(t *testing.T, method amtr.Method) {
	peer := nettest.NewPeer(t, "side", "10.11.0.2/24", "10.11.0.1/24")
	tracker := open(t, amtr.Config{Interfaces: []string{"side"}, Method: method})
	here, there := nettest.Listen(t, peer.Here), peer.Listen(t)
	type key struct {
		gateway netip.AddrPort
		typ     amt.Type
	}
	want := make(map[key]uint64)
	octets := make(map[netip.AddrPort]uint64)
	up, flowing := make(map[netip.AddrPort]bool), make(map[netip.AddrPort]bool)
	list := vectors(t)
	require.Len(t, list, 54)
	for _, v := range list {
		gateway, relay := v.to, v.from
		send := here
		if v.toRelay() {
			gateway, relay, send = v.from, v.to, there
		}
		if v.message.Type == amt.TypeTeardown {
			gateway = v.message.Gateway
		}
		send.Send(frame(v.from, v.to, v.payload))
		want[key{gateway, v.message.Type}]++
		if v.message.Type == amt.TypeData {
			octets[gateway] += uint64(len(v.message.Packet))
		}
		if v.message.Type != amt.TypeData || !flowing[gateway] {
			if v.message.Type == amt.TypeData && !up[gateway] {
				e := <-tracker.Events()
				require.Equal(t, amtr.EventUp, e.Type)
				up[gateway] = true
			}
			e := <-tracker.Events()
			require.Equal(t, amtr.EventType(v.message.Type), e.Type, "%s %s", v.Impl, v.Type)
			require.Equal(t, gateway, e.Gateway)
			require.Equal(t, relay, e.Relay)
			require.Equal(t, v.message.Nonce, e.Nonce)
			require.Equal(t, len(v.payload), e.Length)
			require.WithinDuration(t, time.Now(), e.Time, time.Minute)
			if v.message.Type == amt.TypeRequest || v.message.Type == amt.TypeQuery {
				require.Equal(t, v.message.Flags, e.Flags)
			}
		}
		switch v.message.Type {
		case amt.TypeData:
			flowing[gateway] = true
		case amt.TypeUpdate:
			if !up[gateway] {
				e := <-tracker.Events()
				require.Equal(t, amtr.EventUp, e.Type)
				require.Equal(t, gateway, e.Gateway)
				up[gateway] = true
			}
		case amt.TypeTeardown:
			if up[gateway] {
				require.Equal(t, amtr.EventDown, (<-tracker.Events()).Type)
			}
			up[gateway], flowing[gateway] = false, false
		}
	}
	check := func() bool {
		got := make(map[key]uint64)
		for g := range tracker.Gateways() {
			for typ, n := range g.Messages {
				if n > 0 {
					got[key{g.Endpoint, amt.Type(typ)}] = n
				}
			}
			require.Equal(t, up[g.Endpoint], g.Up)
			require.Equal(t, flowing[g.Endpoint], g.Flowing)
			if g.Octets != octets[g.Endpoint] {
				return false
			}
		}
		if len(got) != len(want) {
			return false
		}
		for k, n := range want {
			if got[k] != n {
				return false
			}
		}
		return true
	}
	require.Eventually(t, check, 5*time.Second, time.Millisecond)
	require.Zero(t, tracker.Stats())
	require.NoError(t, tracker.Close())
	require.True(t, check(), "what is known stays")
	_, ok := <-tracker.Events()
	require.False(t, ok)
	for range tracker.Gateways() {
		break
	}
}

// Whatever strangers send is counted alike, and passed on.
func TestHostile(t *testing.T) {
	peer := nettest.NewPeer(t, "side", "10.11.0.2/24", "10.11.0.1/24")
	var trackers []*amtr.Tracker
	for _, method := range methods {
		trackers = append(trackers, open(t, amtr.Config{Interfaces: []string{"side"}, Method: method}))
	}
	here, there := nettest.Listen(t, peer.Here), peer.Listen(t)
	relay, gateway := netip.MustParseAddrPort("10.11.0.2:2268"), netip.MustParseAddrPort("10.11.0.1:1234")
	relay6, gateway6 := netip.MustParseAddrPort("[fd11::2]:2268"), netip.MustParseAddrPort("[fd11::1]:1234")
	request := []byte{3, 0, 0, 0, 1, 2, 3, 4}
	update := append([]byte{5, 0, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4}, make([]byte, 44)...)
	good := frame(gateway, relay, request)
	good6 := frame(gateway6, relay6, request)
	change := func(b []byte, f func(b []byte)) []byte {
		b = slices.Clone(b)
		f(b)
		return b
	}
	insert := func(b []byte, at int, more ...byte) []byte { return slices.Insert(slices.Clone(b), at, more...) }
	data := func(n int, inner []byte) []byte {
		var b []byte
		for range n {
			b = append(append(b, 6, 0), inner...)
		}
		return b
	}
	inner := amt.AppendUDP(nil, netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddrPort("232.1.1.1:1"), 9, make([]byte, 100))
	inner6 := amt.AppendUDP(nil, netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[ff3e::1]:1"), 9, make([]byte, 100))
	const tag = "\x81\x00\x00\x07"
	seen := func(n int) amtr.Stats { return amtr.Stats{} }
	malformed, fragment, unexpected := amtr.Stats{Malformed: 1}, amtr.Stats{Fragments: 1}, amtr.Stats{Unexpected: 1}
	teardown := append([]byte{7, 0, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 0x12, 0x34}, make([]byte, 16)...)
	for _, c := range []struct {
		name     string
		frame    []byte
		outgoing bool
		messages uint64
		octets   uint64
		want     amtr.Stats
	}{
		{"good", good, false, 1, 0, seen(1)},
		{"good over IPv6", good6, false, 1, 0, seen(1)},
		{"good and padded", append(slices.Clone(good), make([]byte, 20)...), false, 1, 0, seen(1)},
		{"good in a VLAN", insert(good, 12, []byte(tag)...), false, 1, 0, seen(1)},
		{"good in two VLANs", insert(good6, 12, []byte("\x88\xa8\x00\x09"+tag)...), false, 1, 0, seen(1)},
		{"good with IPv4 options", change(insert(good, 34, 0x94, 4, 0, 0), func(b []byte) { b[14] = 0x46; b[17] += 4 }), false, 1, 0, seen(1)},
		{"good with the longest header", change(insert(good, 34, make([]byte, 40)...), func(b []byte) { b[14] = 0x4f; b[17] += 40 }), false, 1, 0, seen(1)},
		{"longer Request", frame(gateway, relay, append(slices.Clone(request), 0)), false, 1, 0, seen(1)},
		{"four VLANs", insert(good, 12, []byte(tag+tag+tag+tag)...), false, 0, 0, amtr.Stats{}},
		{"another port", frame(gateway, netip.AddrPortFrom(relay.Addr(), 2269), request), false, 0, 0, amtr.Stats{}},
		{"Ethernet header alone", good[:14], false, 0, 0, amtr.Stats{}},
		{"cut in the IPv4 header", good[:14+19], false, 0, 0, amtr.Stats{}},
		{"cut in the UDP header", good[:14+20+7], false, 0, 0, amtr.Stats{}},
		{"cut in the IPv6 header", good6[:14+39], false, 0, 0, amtr.Stats{}},
		{"cut in the message", good[:len(good)-1], false, 0, 0, malformed},
		{"cut in the message over IPv6", good6[:len(good6)-1], false, 0, 0, malformed},
		{"no message", frame(gateway, relay, nil), false, 0, 0, malformed},
		{"seven octets", frame(gateway, relay, request[:7]), false, 0, 0, malformed},
		{"UDP length too small", change(good, func(b []byte) { b[14+20+5] = 7 }), false, 0, 0, malformed},
		{"UDP length too large", change(good, func(b []byte) { b[14+20+4] = 0xff }), false, 0, 0, malformed},
		{"IPv4 length too small", change(good, func(b []byte) { b[17] = 27 }), false, 0, 0, malformed},
		{"header length too small", change(good, func(b []byte) { b[14] = 0x44 }), false, 0, 0, amtr.Stats{}},
		{"header longer than the packet", change(good, func(b []byte) { b[14] = 0x4f }), false, 0, 0, amtr.Stats{}},
		{"first fragment", change(good, func(b []byte) { b[20] = 0x20 }), false, 0, 0, fragment},
		{"later fragment", change(good, func(b []byte) { b[21] = 9 }), false, 0, 0, fragment},
		{"IPv6 fragment", change(good6, func(b []byte) { b[20] = 44 }), false, 0, 0, fragment},
		{"IPv6 extension header", change(good6, func(b []byte) { b[20] = 0 }), false, 0, 0, amtr.Stats{}},
		{"not UDP", change(good, func(b []byte) { b[23] = 6 }), false, 0, 0, amtr.Stats{}},
		{"version 1", frame(gateway, relay, append([]byte{0x13}, request[1:]...)), false, 0, 0, malformed},
		{"type 8", frame(gateway, relay, append([]byte{8}, request[1:]...)), false, 0, 0, unexpected},
		{"type 0", frame(gateway, relay, append([]byte{0}, request[1:]...)), false, 0, 0, unexpected},
		{"Query to a relay", frame(gateway, relay, append([]byte{4}, update[1:]...)), false, 0, 0, unexpected},
		{"Update from a relay", frame(relay, gateway, update), true, 0, 0, unexpected},
		{"Update without MAC", frame(gateway, relay, update[:11]), false, 0, 0, malformed},
		{"cut Teardown", frame(gateway, relay, teardown[:29]), false, 0, 0, malformed},
		{"Advertisement of 5 octets", frame(relay, gateway, append([]byte{2}, make([]byte, 12)...)), true, 0, 0, malformed},
		{"data", frame(relay, gateway, data(1, inner)), true, 1, 128, seen(1)},
		{"data over IPv6", frame(relay6, gateway6, data(1, inner6)), true, 1, 148, seen(1)},
		{"data in segments", frame(relay, gateway, data(5, inner)), true, 5, 640, seen(1)},
		{"data in segments, the last short", frame(relay, gateway, append(data(4, inner), data(1, inner[:50])...)), true, 5, 4*128 + 50, seen(1)},
		{"data without a packet", frame(relay, gateway, []byte{6, 0, 0, 0, 0, 0, 0, 0}), true, 0, 0, malformed},
		{"data of a length of 0", frame(relay, gateway, data(1, change(inner, func(b []byte) { b[2], b[3] = 0, 0 }))), true, 0, 0, malformed},
		{"data cut", frame(relay, gateway, data(1, inner)[:100]), true, 0, 0, malformed},
	} {
		type sum struct {
			messages, octets uint64
			stats            amtr.Stats
		}
		total := func(tr *amtr.Tracker) (s sum) {
			for g := range tr.Gateways() {
				for _, n := range g.Messages {
					s.messages += n
				}
				s.octets += g.Octets
			}
			s.stats = tr.Stats()
			return s
		}
		var before []sum
		for _, tr := range trackers {
			before = append(before, total(tr))
		}
		send, other, other2 := there, here, frame(gateway, relay, []byte{1, 0, 0, 0, 9, 9, 9, 9})
		if c.outgoing {
			send, other, other2 = here, there, frame(relay, gateway, append([]byte{4, 0}, make([]byte, 50)...))
		}
		mark := func(b []byte) []byte { return change(b, func(b []byte) { b[11] = 0x77 }) }
		send.Send(mark(c.frame))
		require.NotNil(t, other.Next(5*time.Second, func(b []byte) bool { return len(b) >= 14 && b[11] == 0x77 }), "%s: is passed on", c.name)
		send.Send(other2) // and this one after it
		for i, tr := range trackers {
			want := before[i]
			want.messages += c.messages + 1
			want.octets += c.octets
			want.stats.Malformed += c.want.Malformed
			want.stats.Fragments += c.want.Fragments
			want.stats.Unexpected += c.want.Unexpected
			var got sum
			require.Eventually(t, func() bool { got = total(tr); return got.messages >= want.messages }, 5*time.Second, time.Millisecond,
				"%s: %v", c.name, tr.Method())
			got.stats.LostEvents = 0
			require.Equal(t, want, got, "%s: %v", c.name, tr.Method())
		}
	}
}

// As many gateways as there may be all have exact counters.
func TestFull(t *testing.T) {
	for _, method := range methods {
		t.Run(method.String(), func(t *testing.T) {
			const n, packets = 1000, 3
			peer := nettest.NewPeer(t, "side", "10.11.0.2/24", "10.11.0.1/24")
			tracker := open(t, amtr.Config{Interfaces: []string{"side"}, Method: method, MaxGateways: n})
			here := nettest.Listen(t, peer.Here)
			relay := netip.MustParseAddrPort("10.11.0.2:2268")
			inner := amt.AppendUDP(nil, netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddrPort("232.1.1.1:1"), 9, make([]byte, 100))
			for range packets {
				for i := range n {
					gateway := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 99, byte(i >> 8), byte(i)}), 1000)
					here.Send(frame(relay, gateway, append([]byte{6, 0}, inner...)))
				}
			}
			exact := func() (count int) {
				for g := range tracker.Gateways() {
					if g.Messages[amt.TypeData] == packets && g.Octets == packets*128 {
						count++
					}
				}
				return count
			}
			require.Eventually(t, func() bool { return exact() == n }, 10*time.Second, 10*time.Millisecond, "not all of %d", n)
		})
	}
}

// A flood with forged addresses pushes out strangers, not tunnels.
func TestFlood(t *testing.T) {
	for _, method := range methods {
		t.Run(method.String(), func(t *testing.T) {
			peer := nettest.NewPeer(t, "side", "10.11.0.2/24", "10.11.0.1/24")
			tracker := open(t, amtr.Config{Interfaces: []string{"side"}, Method: method, MaxGateways: 256, Buffer: 8})
			there := peer.Listen(t)
			relay := netip.MustParseAddrPort("10.11.0.2:2268")
			update := append([]byte{5, 0, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4}, make([]byte, 44)...)
			honest := netip.MustParseAddrPort("10.11.0.1:5555")
			there.Send(frame(honest, relay, update))
			const n = 5000
			for i := range n {
				b := [4]byte{10, 99, byte(i >> 8), byte(i)}
				there.Send(frame(netip.AddrPortFrom(netip.AddrFrom4(b), 1000), relay, []byte{3, 0, 0, 0, 1, 2, 3, 4}))
			}
			require.Eventually(t, func() bool {
				s := tracker.Stats()
				return s.Evicted+s.Lost+256 >= n+1
			}, 20*time.Second, time.Millisecond, "%+v", tracker.Stats())
			count := 0
			for g := range tracker.Gateways() {
				if count == 0 {
					require.Equal(t, honest, g.Endpoint)
					require.True(t, g.Up)
				}
				count++
			}
			require.LessOrEqual(t, count, 256)
			require.NotZero(t, tracker.Stats().LostEvents)
		})
	}
}

// manual is an upstream that a test feeds.
type manual struct {
	mu      sync.Mutex
	deliver func([][]byte)
}

func (m *manual) Join(_, _ netip.Addr, deliver func([][]byte)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deliver = deliver
	return nil
}
func (m *manual) Leave(_, _ netip.Addr) {}
func (m *manual) Close() error          { return nil }
func (m *manual) send(packets [][]byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deliver == nil {
		return false
	}
	m.deliver(packets)
	return true
}

// A tunnel of our gateway and our relay, from its first message to its end.
func TestLifecycle(t *testing.T) {
	for _, method := range methods {
		t.Run(method.String(), func(t *testing.T) { testLifecycle(t, method) })
	}
}

func testLifecycle(t *testing.T, method amtr.Method) {
	nettest.Require(t)
	lo, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(lo))
	tracker := open(t, amtr.Config{
		Interfaces: []string{"lo"}, Method: method, Idle: 300 * time.Millisecond, Lifetime: time.Second,
	})
	relay := netip.MustParseAddrPort("127.0.0.9:2268")
	up := &manual{}
	ctx, cancel := context.WithCancel(t.Context())
	server, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{relay}, Upstream: up})
	require.NoError(t, err)
	var done sync.WaitGroup
	done.Go(func() { _ = server.Run(ctx) })
	defer done.Wait()
	defer cancel()
	source, group := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddrPort("232.1.1.1:5000")
	var seen []amtr.EventType
	var gateway netip.AddrPort
	until := func(want amtr.EventType) amtr.Event {
		t.Helper()
		timeout := time.After(20 * time.Second)
		for {
			select {
			case e := <-tracker.Events():
				require.Equal(t, relay, e.Relay)
				if gateway.IsValid() {
					require.Equal(t, gateway, e.Gateway)
				}
				gateway = e.Gateway
				seen = append(seen, e.Type)
				if e.Type == want {
					return e
				}
			case <-timeout:
				t.Fatalf("no %v; %v", want, seen)
			}
		}
	}
	conn, err := amt.Dial(ctx, source, group, amt.DialConfig{
		Mode: amt.ModeTunnel, Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: relay}}},
	})
	require.NoError(t, err)
	until(amtr.EventUp)
	require.Equal(t, []amtr.EventType{
		amtr.EventDiscovery, amtr.EventAdvertisement, amtr.EventRequest, amtr.EventQuery, amtr.EventUpdate, amtr.EventUp,
	}, seen)
	// A run of packets, which the relay gives the kernel as one.
	var packets [][]byte
	octets := 0
	for i := range 10 {
		packets = append(packets, amt.AppendUDP(nil, netip.AddrPortFrom(source, 1), group, 9, make([]byte, 1200)))
		packets[i][40] = byte(i)
		packets[i] = amt.AppendUDP(nil, netip.AddrPortFrom(source, 1), group, 9, packets[i][28:])
		octets += len(packets[i])
	}
	require.Eventually(t, func() bool { return up.send(packets) }, 10*time.Second, time.Millisecond)
	until(amtr.EventData)
	buf := make([]byte, 2000)
	for range packets {
		_, _, err := conn.ReadFrom(buf)
		require.NoError(t, err)
	}
	find := func() (g amtr.Gateway) {
		for g = range tracker.Gateways() {
			if g.Endpoint == gateway {
				return g
			}
		}
		return g
	}
	require.Eventually(t, func() bool { return find().Messages[amt.TypeData] == 10 }, 5*time.Second, time.Millisecond, "%+v", find())
	require.EqualValues(t, octets, find().Octets)
	require.True(t, find().Flowing)
	until(amtr.EventIdle)
	require.False(t, find().Flowing)
	require.True(t, up.send(packets[:1]))
	until(amtr.EventData)
	require.NoError(t, conn.Close())
	until(amtr.EventDown)
	require.False(t, find().Up)
	t.Logf("%v", seen)
}

// Without the right to use BPF it is the socket, and what it needs is said.
func TestCapabilities(t *testing.T) {
	nettest.Require(t)
	nettest.RequireKernel(t, 6, 12, "older ones want CAP_PERFMON")
	nettest.NewPeer(t, "side", "10.11.0.2/24", "10.11.0.1/24")
	open := func(want amtr.Method) {
		tracker, err := amtr.Open(amtr.Config{Interfaces: []string{"side"}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
		if assert.NoError(t, err) {
			assert.Equal(t, want, tracker.Method())
			assert.NoError(t, tracker.Close())
		}
	}
	nettest.Without(t, func() { open(amtr.MethodBPF) }, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN)
	nettest.Without(t, func() { open(amtr.MethodSocket) }, unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN)
	nettest.Without(t, func() {
		_, err := amtr.Open(amtr.Config{Interfaces: []string{"side"}})
		assert.ErrorIs(t, err, os.ErrPermission)
	}, unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN, unix.CAP_NET_RAW)
}

func TestErrors(t *testing.T) {
	_, err := amtr.Open(amtr.Config{})
	require.ErrorIs(t, err, amtr.ErrConfig)
	_, err = amtr.Open(amtr.Config{Interfaces: []string{"lo"}, MaxGateways: -1})
	require.ErrorIs(t, err, amtr.ErrConfig)
	nettest.Require(t)
	_, err = amtr.Open(amtr.Config{Interfaces: []string{"lo", "none"}})
	require.ErrorContains(t, err, "none")
}
