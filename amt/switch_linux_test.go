package amt_test

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

// meter sends numbered packets, one of 20 of which is like all others of its kind,
// and counts what arrives. It sends no more than a window ahead of that, so that
// nothing is lost for a slow machine.
type meter struct {
	t    *testing.T
	ch   ssm.Channel
	conn *amt.Conn
	tx   *ssm.Sender
	from netip.AddrPort

	sent     int
	probes   uint64
	switched int

	mu       sync.Mutex // guards below
	received int
	equal    int
	seen     map[uint64]int
}

const (
	meterWindow = 16
	meterEqual  = 20
	meterProbe  = 1 << 32 // numbers from here on are not counted
)

func newMeter(t *testing.T, ch ssm.Channel, conn *amt.Conn) *meter {
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	m := &meter{t: t, ch: ch, conn: conn, tx: tx, from: netip.AddrPortFrom(ch.Source, tx.Source().Port()), seen: make(map[uint64]int)}
	var reading sync.WaitGroup
	reading.Go(func() {
		ms := ssm.NewMessages(4)
		for {
			n, err := conn.ReadBatch(ms)
			if err != nil {
				return // closed
			}
			m.mu.Lock()
			for i := range ms[:n] {
				for p := range ms[i].Segments {
					switch number := binary.BigEndian.Uint64(p); {
					case number >= meterProbe:
						continue
					case number == 0:
						m.equal++
					default:
						m.seen[number]++
					}
					m.received++
				}
			}
			m.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		reading.Wait()
		_ = tx.Close()
	})
	return m
}

// ahead returns how many packets have not arrived.
func (m *meter) ahead() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sent - m.received
}

// step sends a packet natively, to upstreams of relays, or both, once there is room
// for it.
func (m *meter) step(natively bool, relays ...*manual) {
	m.t.Helper()
	for end := time.Now().Add(30 * time.Second); m.ahead() >= meterWindow; time.Sleep(100 * time.Microsecond) {
		require.True(m.t, time.Now().Before(end), "%d packets sent, %d arrived", m.sent, m.sent-m.ahead())
	}
	b := make([]byte, 500)
	if m.sent%meterEqual != 7 {
		binary.BigEndian.PutUint64(b, uint64(m.sent)+1)
	}
	m.sent++
	for _, up := range relays {
		up.send(amt.AppendUDP(nil, m.from, m.ch.Destination(), 9, b))
	}
	if natively {
		_, err := m.tx.WriteBatch([][]byte{b}, m.ch.Destination())
		require.NoError(m.t, err)
	}
	time.Sleep(50 * time.Microsecond)
}

// probe sends what is not counted to an upstream, until packets come by a relay.
func (m *meter) probe(up *manual, relay netip.AddrPort) {
	m.t.Helper()
	require.Eventually(m.t, func() bool {
		m.probes++
		up.send(amt.AppendUDP(nil, m.from, m.ch.Destination(), 9, binary.BigEndian.AppendUint64(nil, meterProbe+m.probes)))
		way, ok := m.conn.Way()
		return ok && way.Relay == relay
	}, 30*time.Second, time.Millisecond)
}

// settle waits for the rest, and a little for what there should not be.
func (m *meter) settle() {
	m.t.Helper()
	require.Eventually(m.t, func() bool { return m.ahead() <= 0 }, 30*time.Second, time.Millisecond, "lost packets")
	time.Sleep(50 * time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	equal := 0
	for i := range m.sent {
		if i%meterEqual == 7 {
			equal++
		} else if n := m.seen[uint64(i)+1]; n != 1 {
			m.t.Errorf("packet %d arrived %d times", i, n)
		}
	}
	require.Equal(m.t, equal, m.equal, "equal packets")
	require.Equal(m.t, m.sent, m.received)
}

// switches says how many there are to be.
func switches(t *testing.T) int {
	if testing.Short() {
		return 50
	}
	return 1000
}

func (m *manual) joined() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.deliver != nil
}

// 1,000 planned moves from relay to relay over sockets lose and double nothing.
func TestSwitchRelays(t *testing.T) {
	ch := ssmtest.Channel(t)
	relays := []netip.AddrPort{loopback(t), loopback(t)}
	ups := []*manual{{}, {}}
	for i := range relays {
		serve(t, relays[i], ups[i], amt.RelayConfig{PrefixRate: 100_000})
	}
	planned := make(chan bool, 2000)
	c := dial(t, ch, amt.DialConfig{
		Mode: amt.ModeTunnel,
		Gateway: amt.GatewayConfig{Silence: -1, Relays: []amt.Candidate{
			{Address: relays[0], Direct: true}, {Address: relays[1], Direct: true},
		}},
		OnEvent: func(e amt.ConnEvent) {
			if e.Type == amt.ConnSwitched {
				planned <- e.Planned
			}
		},
	})
	m := newMeter(t, ch, c)
	require.Eventually(t, ups[0].joined, 20*time.Second, time.Millisecond)
	at := 0
	for range meterEqual {
		m.step(false, ups...)
	}
	for range switches(t) {
		at = 1 - at
		require.Eventually(t, func() bool { return c.Move(relays[at]) }, 20*time.Second, time.Millisecond)
		for end := time.Now().Add(30 * time.Second); ; m.step(false, ups...) {
			if way, _ := c.Way(); way.Relay == relays[at] {
				break
			}
			require.True(t, time.Now().Before(end), "no move after %d", len(planned))
		}
	}
	for range 2 * meterEqual {
		m.step(false, ups...)
	}
	m.settle()
	require.EqualValues(t, switches(t), c.Stats().Switches)
	for range switches(t) {
		require.True(t, <-planned)
	}
}

// 1,000 times native reception fails and comes back. The way back is planned, and
// loses and doubles nothing; the way to the relay is not, and tells its gap.
func TestSwitchNative(t *testing.T) {
	const parallel = 10
	for range parallel {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			testSwitchNative(t, switches(t)/parallel)
		})
	}
}

func testSwitchNative(t *testing.T, times int) {
	ch := ssmtest.Channel(t)
	relay, up := loopback(t), new(manual)
	serve(t, relay, up, amt.RelayConfig{PrefixRate: 100_000, Linger: -1})
	events := make(chan amt.ConnEvent, 8*times+100)
	c := dial(t, ch, amt.DialConfig{
		NativeTimeout: time.Minute, // a slow machine is not silence
		Gateway:       amt.GatewayConfig{Silence: -1, Relays: []amt.Candidate{{Address: relay, Direct: true}}},
		OnEvent:       func(e amt.ConnEvent) { events <- e },
	})
	m := newMeter(t, ch, c)
	natively := func(relays ...*manual) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; m.step(true, relays...) {
			if way, ok := c.Way(); ok && way == (amt.Way{}) {
				return
			}
			require.True(t, time.Now().Before(end))
		}
	}
	natively() // the first packet that is counted is the first to arrive
	for range times {
		// What is on its way arrives first: what a path loses is lost.
		require.Eventually(t, func() bool { return m.ahead() <= 0 }, 30*time.Second, 100*time.Microsecond, "lost packets")
		c.SilenceNative()
		m.probe(up, relay)
		natively(up)
		for range meterEqual {
			m.step(true, up)
		}
	}
	m.settle()
	planned, gaps := 0, 0
	require.Eventually(t, func() bool {
		for len(events) > 0 {
			switch e := <-events; {
			case e.Type != amt.ConnSwitched:
			case e.Planned:
				require.Zero(t, e.Gap)
				require.Equal(t, amt.Way{Relay: relay}, e.From)
				planned++
			default:
				require.Positive(t, e.Gap)
				require.Equal(t, amt.Way{Relay: relay}, e.To)
				gaps++
			}
		}
		return planned == times && gaps == times
	}, 20*time.Second, time.Millisecond)
	require.EqualValues(t, planned+gaps, c.Stats().Switches)
}

// While a tunnel is silent, native reception returns for so short a time that nothing
// shows how the two are aligned, and then for good: all of it is delivered, once.
func TestShortNativeReception(t *testing.T) {
	ch := ssmtest.Channel(t)
	relay, up := loopback(t), new(manual)
	serve(t, relay, up, amt.RelayConfig{})
	c := dial(t, ch, amt.DialConfig{
		Mode: amt.ModeAdaptive, NativeTimeout: 3 * time.Second,
		Gateway: amt.GatewayConfig{Silence: -1, Relays: []amt.Candidate{{Address: relay, Direct: true}}},
	})
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	defer tx.Close()
	payload := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	tunnel := func(n uint64) {
		up.send(amt.AppendUDP(nil, netip.AddrPortFrom(ch.Source, 9), ch.Destination(), 9, payload(n)))
	}
	natively := func(n uint64) {
		_, err := tx.WriteBatch([][]byte{payload(n)}, ch.Destination())
		require.NoError(t, err)
	}
	require.Eventually(t, up.joined, 30*time.Second, time.Millisecond)
	tunnel(0)
	require.Equal(t, []uint64{0}, numbers(t, c, 1))
	natively(1)
	natively(2)
	require.Equal(t, []uint64{1, 2}, numbers(t, c, 2))
	way, _ := c.Way()
	require.Equal(t, amt.Way{Relay: relay}, way)
	tunnel(1)
	tunnel(2)
	tunnel(3)
	require.Equal(t, []uint64{3}, numbers(t, c, 1))

	// It delivers and the tunnel does not, which is given up.
	sent := uint64(4)
	require.Eventually(t, func() bool {
		natively(sent)
		sent++
		way, _ := c.Way()
		return way == amt.Way{}
	}, 30*time.Second, 100*time.Millisecond)
	list := numbers(t, c, int(sent-4))
	require.Equal(t, uint64(4), list[0])
	requireConsecutive(t, list)
}
