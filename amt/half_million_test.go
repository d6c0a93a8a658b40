package amt_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/gmp"
)

// crowd is very many gateways of one relay in virtual time, each as small as can
// be: it asks with the retransmissions of RFC 7450 section 5.2.3.5.3, answers
// Queries with a report of one channel, once more within a second, and asks
// again after the query interval. The messages are real, and a part of them is
// lost both ways.
type crowd struct {
	relay    *amt.Relay
	rng      *rand.Rand
	now      uint32 // milliseconds
	loss     float64
	gateways []member
	slots    [][]crowdEvent // by time modulo their number
	report   []byte
	leave    []byte
	answer   []byte
	buf      []byte
	messages int
}

type member struct {
	nonce   uint32
	tries   uint8
	waiting bool   // for a Query
	asked   uint16 // number of the Request that a timeout is for
}

type crowdEvent struct {
	gateway uint32
	nonce   uint32
	mac     amt.MAC
	kind    uint8
	asked   uint16
}

const (
	crowdRequest = iota // arrives at the relay
	crowdQuery          // arrives at the gateway
	crowdUpdate         // arrives at the relay
	crowdAgain          // time to report again
	crowdTimeout        // no Query has come
	crowdCycle          // time for the next Request

	crowdSlots = 1 << 18 // ms: more than the longest timer
	queryTime  = 125 * time.Second
)

// gatewayAt returns the endpoint of gateway i.
func gatewayAt(i int) netip.AddrPort {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], uint32(100<<24+i/2))
	return netip.AddrPortFrom(netip.AddrFrom4(a), uint16(2000+i%2))
}

func newCrowd(relay *amt.Relay, n int, loss float64) *crowd {
	return &crowd{
		relay: relay, rng: rand.New(rand.NewPCG(1, 1)), loss: loss, gateways: make([]member, n),
		slots:  make([][]crowdEvent, crowdSlots),
		report: gmp.AppendReport(nil, relay4.Addr(), false, record(gmp.ModeIsInclude, "232.1.1.1", "10.12.0.1")),
		leave:  gmp.AppendReport(nil, relay4.Addr(), false, record(gmp.BlockOldSources, "232.1.1.1", "10.12.0.1")),
	}
}

func (c *crowd) at(delay uint32, e crowdEvent) {
	slot := (c.now + max(1, delay)) % crowdSlots
	c.slots[slot] = append(c.slots[slot], e)
}

// send is at for what travels: 10 to 40 ms, if at all.
func (c *crowd) send(e crowdEvent) {
	c.messages++
	if c.rng.Float64() >= c.loss {
		c.at(10+c.rng.Uint32N(30), e)
	}
}

// ask begins a query cycle of a gateway, or repeats its Request.
func (c *crowd) ask(i uint32, again bool) {
	g := &c.gateways[i]
	if !again {
		g.nonce, g.tries = c.rng.Uint32()|1, 0
	}
	g.waiting = true
	g.asked++
	limit := uint32(1000) << min(g.tries, 6)
	g.tries++
	c.send(crowdEvent{gateway: i, nonce: g.nonce, kind: crowdRequest})
	c.at(1000+c.rng.Uint32N(limit), crowdEvent{gateway: i, kind: crowdTimeout, asked: g.asked})
}

// run goes on for d, or until done says so.
func (c *crowd) run(d time.Duration, done func() bool) time.Duration {
	begun := c.now
	end := c.now + uint32(d/time.Millisecond)
	for c.now < end && !(done != nil && done()) {
		c.now++
		slot := &c.slots[c.now%crowdSlots]
		for i := 0; i < len(*slot); i++ {
			c.handle(&(*slot)[i])
		}
		if cap(*slot) > 1024 {
			*slot = nil
		}
		*slot = (*slot)[:0]
		if at := c.relay.NextTimeout(); !at.IsZero() && !at.After(c.time()) {
			c.relay.HandleTimeout(c.time())
			c.drain()
		}
	}
	return time.Duration(c.now-begun) * time.Millisecond
}

func (c *crowd) time() time.Time { return epoch.Add(time.Duration(c.now) * time.Millisecond) }

func (c *crowd) drain() {
	for {
		if _, ok := c.relay.PollEvent(); !ok {
			return
		}
	}
}

func (c *crowd) handle(e *crowdEvent) {
	g := &c.gateways[e.gateway]
	switch e.kind {
	case crowdRequest:
		d := amt.Datagram{Local: relay4, Remote: gatewayAt(int(e.gateway)), Payload: c.request(e.nonce)}
		c.answer = c.relay.HandleDatagram(c.time(), &d, c.answer[:0])
		var m amt.Message
		if len(c.answer) > 0 && m.Unmarshal(c.answer) == nil {
			c.send(crowdEvent{gateway: e.gateway, nonce: m.Nonce, mac: m.MAC, kind: crowdQuery})
		}
	case crowdQuery:
		if !g.waiting || e.nonce != g.nonce {
			return
		}
		g.waiting = false
		c.send(crowdEvent{gateway: e.gateway, nonce: e.nonce, mac: e.mac, kind: crowdUpdate})
		c.at(c.rng.Uint32N(1000), crowdEvent{gateway: e.gateway, nonce: e.nonce, mac: e.mac, kind: crowdAgain, asked: g.asked})
		c.at(uint32(queryTime/time.Millisecond)*3/4+c.rng.Uint32N(uint32(queryTime/time.Millisecond)/4),
			crowdEvent{gateway: e.gateway, kind: crowdCycle, asked: g.asked})
	case crowdAgain:
		c.send(crowdEvent{gateway: e.gateway, nonce: e.nonce, mac: e.mac, kind: crowdUpdate})
	case crowdUpdate:
		c.update(e, c.report)
	case crowdTimeout:
		if g.waiting && e.asked == g.asked {
			c.ask(e.gateway, true)
		}
	case crowdCycle:
		if e.asked == g.asked {
			c.ask(e.gateway, false)
		}
	}
}

func (c *crowd) request(nonce uint32) []byte {
	c.buf = binary.BigEndian.AppendUint32(append(c.buf[:0], 3, 0, 0, 0), nonce)
	return c.buf
}

func (c *crowd) update(e *crowdEvent, report []byte) {
	c.buf = append(append(c.buf[:0], 5, 0), e.mac[:]...)
	c.buf = binary.BigEndian.AppendUint32(c.buf, e.nonce)
	c.buf = append(c.buf, report...)
	d := amt.Datagram{Local: relay4, Remote: gatewayAt(int(e.gateway)), Payload: c.buf}
	c.relay.HandleDatagram(c.time(), &d, nil)
	c.drain()
}

// Half a million gateways join within three seconds, stay for more than a query
// interval, all ask at once when the relay has restarted, and go: by silence,
// with 2 % of the messages lost all the while. The relay has its default rates.
func TestHalfAMillion(t *testing.T) {
	n := 500_000
	if testing.Short() {
		n = 50_000
	}
	config := amt.RelayConfig{IPv4: relay4.Addr(), MaxTunnels: n, HighWater: 1}
	begun := time.Now()
	relay, err := amt.NewRelay(epoch, config)
	require.NoError(t, err)
	c := newCrowd(relay, n, 0.02)
	for i := range n {
		c.at(c.rng.Uint32N(3000), crowdEvent{gateway: uint32(i), kind: crowdCycle})
	}
	joined := func(part float64) func() bool {
		return func() bool { return float64(c.relay.Stats().Tunnels) >= part*float64(n) }
	}
	t.Logf("%d gateways: 99.9 %% joined after %v", n, c.run(time.Minute, joined(0.999)))
	c.run(queryTime+20*time.Second, nil)
	require.True(t, joined(0.99999)())
	require.Zero(t, c.relay.Stats().BadMAC)

	// The relay has a new secret and no tunnels. Data cease, and gateways ask.
	c.relay, err = amt.NewRelay(c.time(), config)
	require.NoError(t, err)
	for i := range n {
		c.gateways[i].asked++
		c.at(250+c.rng.Uint32N(50), crowdEvent{gateway: uint32(i), kind: crowdCycle, asked: c.gateways[i].asked})
	}
	most := c.run(time.Minute, joined(0.99))
	rest := c.run(time.Minute, joined(0.999))
	t.Logf("after a restart: 99 %% back after %v, 99.9 %% after %v more; %d Requests were over the rate", most, rest, c.relay.Stats().Limited)
	require.True(t, joined(0.999)())
	require.LessOrEqual(t, most, 15*time.Second)

	// Nobody says anything any more: all are forgotten after 260 s.
	for i := range c.slots {
		c.slots[i] = nil
	}
	c.run(5*time.Minute, nil)
	require.Zero(t, c.relay.Stats().Tunnels)
	require.Zero(t, c.relay.Stats().Channels)
	t.Logf("%v of simulated time and %d messages in %v", time.Duration(c.now)*time.Millisecond, c.messages, time.Since(begun).Round(time.Millisecond))
}
