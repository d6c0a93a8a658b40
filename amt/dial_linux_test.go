package amt_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

// 1,000 planned switches in each direction, between native reception and a relay over
// sockets, lose and double nothing.
func TestSwitchModes(t *testing.T) {
	const parallel = 10
	for range parallel {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			testSwitchModes(t, switches(t)/parallel)
		})
	}
}

func testSwitchModes(t *testing.T, times int) {
	ch := ssmtest.Channel(t)
	relay, up := loopback(t), new(manual)
	serve(t, relay, up, amt.RelayConfig{PrefixRate: 100_000, Linger: -1})
	events := make(chan amt.ConnEvent, 16*times+100)
	c := dial(t, ch, amt.DialConfig{
		NativeTimeout: time.Minute, // a slow machine is not silence
		Gateway:       amt.GatewayConfig{Silence: -1, Relays: []amt.Candidate{{Address: relay, Direct: true}}},
		OnEvent:       func(e amt.ConnEvent) { events <- e },
	})
	m := newMeter(t, ch, c)
	by := func(want amt.Way, relays ...*manual) {
		t.Helper()
		for end := time.Now().Add(60 * time.Second); ; m.step(true, relays...) {
			if way, ok := c.Way(); ok && way == want {
				return
			}
			require.True(t, time.Now().Before(end))
		}
	}
	by(amt.Way{}) // the first packet that is counted is the first to arrive
	for i := range times {
		require.NoError(t, c.SetMode(amt.ModeTunnel))
		by(amt.Way{Relay: relay}, up)
		for range meterEqual {
			m.step(true, up)
		}
		require.NoError(t, c.SetMode([]amt.Mode{amt.ModeNative, amt.ModeAuto}[i%2]))
		by(amt.Way{}, up)
		for range meterEqual {
			m.step(true, up)
		}
	}
	m.settle()
	require.EqualValues(t, 2*times, c.Stats().Switches)
	require.Eventually(t, func() bool { return m.planned(events) == 2*times }, 20*time.Second, time.Millisecond)
}

// planned counts switches, all of which have to be planned.
func (m *meter) planned(events chan amt.ConnEvent) int {
	for len(events) > 0 {
		if e := <-events; e.Type == amt.ConnSwitched {
			require.True(m.t, e.Planned)
			require.Zero(m.t, e.Gap)
			require.NotEqual(m.t, e.From, e.To)
			m.switched++
		}
	}
	return m.switched
}

func TestSetMode(t *testing.T) {
	ch := ssmtest.Channel(t)
	c := dial(t, ch, amt.DialConfig{})
	require.ErrorIs(t, c.SetMode(amt.ModeTunnel), amt.ErrNoRelays)
	require.NoError(t, c.SetMode(amt.ModeAuto))
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.SetMode(amt.ModeAuto), net.ErrClosed)
}

// What package net promises of a connection.
func TestConnSemantics(t *testing.T) {
	defer goleak.VerifyNone(t)
	ch := ssmtest.Channel(t)
	c, err := amt.Dial(context.Background(), ch.Source, ch.Destination(), amt.DialConfig{})
	require.NoError(t, err)
	var _ net.PacketConn = c
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	defer tx.Close()
	send := func(p string) {
		_, err := tx.WriteBatch([][]byte{[]byte(p)}, ch.Destination())
		require.NoError(t, err)
	}
	send("first")
	require.Eventually(t, func() bool { return c.Stats().Packets == 1 }, 20*time.Second, time.Millisecond)

	// A deadline that is over wins over what waits.
	require.NoError(t, c.SetReadDeadline(time.Now().Add(-time.Second)))
	b := make([]byte, 10)
	_, _, err = c.ReadFrom(b)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c.SetReadDeadline(time.Time{}))
	n, from, err := c.ReadFrom(b)
	require.NoError(t, err)
	require.Equal(t, "first", string(b[:n]))
	require.Equal(t, netip.AddrPortFrom(ch.Source, tx.Source().Port()), from.(*net.UDPAddr).AddrPort())

	// Readers at the same time, who wait, and are let go by a deadline that is set then.
	var readers sync.WaitGroup
	failures := make(chan error, 8)
	for range 8 {
		readers.Go(func() {
			_, err := c.ReadBatch([]ssm.Message{{Buffer: make([]byte, 10)}})
			failures <- err
		})
	}
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	readers.Wait()
	for range 8 {
		require.ErrorIs(t, <-failures, os.ErrDeadlineExceeded)
	}

	// What does not fit is told with the message, also if nothing fits.
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	for size := range 3 {
		send("0123456789")
		ms := []ssm.Message{{Buffer: make([]byte, 5*size)}}
		n, err = c.ReadBatch(ms)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, 5*size, ms[0].N)
		require.Equal(t, size < 2, ms[0].Truncated)
	}

	// After Close nothing is read, though it has arrived.
	send("last")
	require.Eventually(t, func() bool { return c.Stats().Packets == 5 }, 20*time.Second, time.Millisecond)
	var closing sync.WaitGroup
	for range 4 {
		closing.Go(func() { require.NoError(t, c.Close()) })
	}
	closing.Wait()
	_, _, err = c.ReadFrom(b)
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, c.SetReadDeadline(time.Time{}), net.ErrClosed)
}

// Whatever a Conn is at when its context ends, it ends, and leaves no goroutine.
func TestCancelInEachPhase(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("", func(t *testing.T) {
		relay, up := loopback(t), new(manual)
		serve(t, relay, up, amt.RelayConfig{})
		reason := errors.New("enough")
		for name, phase := range map[string]struct {
			config amt.DialConfig
			until  func(c *amt.Conn) bool
		}{
			"at once":     {amt.DialConfig{Mode: amt.ModeAdaptive}, func(*amt.Conn) bool { return true }},
			"native":      {amt.DialConfig{Mode: amt.ModeNative}, func(*amt.Conn) bool { return true }},
			"not joined":  {amt.DialConfig{Interface: "nosuch0"}, func(c *amt.Conn) bool { return up.joined() }},
			"discovering": {amt.DialConfig{Mode: amt.ModeTunnel}, func(*amt.Conn) bool { return true }},
			"tunnel":      {amt.DialConfig{Mode: amt.ModeTunnel}, func(*amt.Conn) bool { return up.joined() }},
			"switching": {amt.DialConfig{}, func(c *amt.Conn) bool {
				return c.SetMode(amt.ModeTunnel) == nil && up.joined()
			}},
		} {
			t.Run(name, func(t *testing.T) {
				ch := ssmtest.Channel(t)
				phase.config.Gateway = amt.GatewayConfig{Relays: []amt.Candidate{{Address: relay}}}
				ctx, cancel := context.WithCancelCause(context.Background())
				c, err := amt.Dial(ctx, ch.Source, ch.Destination(), phase.config)
				require.NoError(t, err)
				require.Eventually(t, func() bool { return phase.until(c) }, 20*time.Second, time.Millisecond)
				read := make(chan error)
				go func() {
					_, err := c.ReadBatch(ssm.NewMessages(1))
					read <- err
				}()
				cancel(reason)
				require.ErrorIs(t, <-read, reason)
				require.Eventually(t, func() bool { return !up.joined() }, 20*time.Second, time.Millisecond)
				// Nobody closes it.
			})
		}
	})
}

// Two Conns of a channel in one process, of which one is closed.
func TestTwoConnsOfAChannel(t *testing.T) {
	ch := ssmtest.Channel(t)
	a, b := dial(t, ch, amt.DialConfig{}), dial(t, ch, amt.DialConfig{})
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	defer tx.Close()
	for i := range uint64(4) {
		_, err = tx.WriteBatch([][]byte{binary.BigEndian.AppendUint64(nil, i)}, ch.Destination())
		require.NoError(t, err)
		require.Equal(t, []uint64{i}, numbers(t, b, 1))
		if i < 2 {
			require.Equal(t, []uint64{i}, numbers(t, a, 1))
		} else {
			require.NoError(t, a.Close())
		}
	}
}

// A thousand Conns in a process: what each of them takes.
func TestThousandConns(t *testing.T) {
	const n = 1000
	ch := ssmtest.Channel(t)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, goroutines := heap(), runtime.NumGoroutine()
	var all []*amt.Conn
	for range n {
		all = append(all, dial(t, ch, amt.DialConfig{ReceiveBuffer: 64 << 10}))
	}
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	defer tx.Close()
	_, err = tx.WriteBatch([][]byte{make([]byte, 1316)}, ch.Destination())
	require.NoError(t, err)
	for _, c := range all {
		numbers(t, c, 1)
	}
	require.LessOrEqual(t, runtime.NumGoroutine()-goroutines, 3*n)
	each := (heap() - before) / n
	t.Logf("%d octets each", each)
	require.Less(t, each, uint64(256<<10))
}

// The largest datagram of IPv4 arrives whole, natively and through a tunnel, where it
// comes in fragments.
func TestLargestDatagram(t *testing.T) {
	ch := ssmtest.Channel(t)
	relay, up := loopback(t), new(manual)
	serve(t, relay, up, amt.RelayConfig{})
	payload := make([]byte, 65507)
	for i := range payload {
		payload[i] = byte(i * i >> 8)
	}
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	defer tx.Close()
	for _, mode := range []amt.Mode{amt.ModeNative, amt.ModeTunnel} {
		c := dial(t, ch, amt.DialConfig{Mode: mode, Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: relay}}}})
		if mode == amt.ModeNative {
			_, err = tx.WriteBatch([][]byte{payload}, ch.Destination())
			require.NoError(t, err)
		} else {
			require.Eventually(t, up.joined, 20*time.Second, time.Millisecond)
			packet := amt.AppendUDP(nil, netip.AddrPortFrom(ch.Source, 9), ch.Destination(), 9, payload)
			binary.BigEndian.PutUint16(packet[6:], 0) // may be cut
			packet[10], packet[11] = 0, 0
			var sum uint32
			for i := 0; i < 20; i += 2 {
				sum += uint32(binary.BigEndian.Uint16(packet[i:]))
			}
			for sum > 0xffff {
				sum = sum>>16 + sum&0xffff
			}
			binary.BigEndian.PutUint16(packet[10:], ^uint16(sum))
			up.send(packet)
		}
		require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
		ms := ssm.NewMessages(1)
		n, err := c.ReadBatch(ms)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.True(t, string(payload) == string(ms[0].Buffer[:ms[0].N]))
	}
}

// A relay that sends other sources, other groups, broken packets, and what is no AMT.
func TestRelayThatLies(t *testing.T) {
	ch := ssmtest.Channel(t)
	at := loopback(t)
	relay, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	require.NoError(t, err)
	defer relay.Close()
	stranger, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer stranger.Close()
	c := dial(t, ch, amt.DialConfig{Mode: amt.ModeTunnel, Gateway: amt.GatewayConfig{
		Relays: []amt.Candidate{{Address: at, Direct: true}},
	}})
	query := vectorQuery()
	b := make([]byte, 2000)
	var gateway netip.AddrPort
	for joined := false; !joined; {
		n, from, err := relay.ReadFromUDPAddrPort(b)
		require.NoError(t, err)
		var m amt.Message
		require.NoError(t, m.Unmarshal(b[:n]))
		gateway = from
		if joined = m.Type == amt.TypeUpdate; !joined {
			answer, err := (&amt.Message{Type: amt.TypeQuery, Nonce: m.Nonce, Packet: query}).AppendTo(nil)
			require.NoError(t, err)
			_, err = relay.WriteToUDPAddrPort(answer, gateway)
			require.NoError(t, err)
		}
	}
	data := func(source netip.Addr, to netip.AddrPort, payload uint64) []byte {
		p := amt.AppendUDP(nil, netip.AddrPortFrom(source, 9), to, 9, binary.BigEndian.AppendUint64(nil, payload))
		m, err := (&amt.Message{Type: amt.TypeData, Packet: p}).AppendTo(nil)
		require.NoError(t, err)
		return m
	}
	other := netip.MustParseAddr("198.51.100.77")
	group := netip.AddrPortFrom(netip.MustParseAddr("232.9.9.9"), ch.Port)
	broken := data(ch.Source, ch.Destination(), 1)
	broken[len(broken)-1] ^= 1
	for _, d := range [][]byte{
		data(other, ch.Destination(), 1), data(ch.Source, group, 1), broken, broken[:20], {}, {6}, {0x16, 0}, {6, 0, 0x45},
		data(ch.Source, netip.AddrPortFrom(ch.Group, ch.Port+1), 1),
	} {
		_, err = relay.WriteToUDPAddrPort(d, gateway)
		require.NoError(t, err)
	}
	_, err = stranger.WriteToUDPAddrPort(data(ch.Source, ch.Destination(), 1), gateway)
	require.NoError(t, err)
	_, err = relay.WriteToUDPAddrPort(data(ch.Source, ch.Destination(), 42), gateway)
	require.NoError(t, err)
	require.Equal(t, []uint64{42}, numbers(t, c, 1))
	st := c.Stats()
	require.EqualValues(t, 3, st.Gateway.Unwanted)
	require.EqualValues(t, 1, st.Packets)
}

// vectorQuery is an IGMP general query.
func vectorQuery() []byte {
	return []byte{
		0x46, 0xc0, 0, 0x24, 0, 0, 0x40, 0, 1, 2, 4, 0x13, 0, 0, 0, 0, 224, 0, 0, 1, 0x94, 4, 0, 0,
		0x11, 1, 0xec, 0x81, 0, 0, 0, 0, 2, 125, 0, 0,
	}
}
