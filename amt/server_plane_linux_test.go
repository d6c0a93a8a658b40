package amt_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

// fakePlane takes what has at least two tunnels.
type fakePlane struct {
	mu      sync.Mutex
	copies  []amt.PlaneCopy
	stopped int
	sent    uint64
	version uint64
	full    bool
}

func (p *fakePlane) Forward(_, _ netip.Addr, copies []amt.PlaneCopy) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.copies = nil; len(copies) < 2 || p.full {
		return errors.New("too few")
	}
	p.copies = copies
	return nil
}

func (p *fakePlane) Version() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version
}

// change makes the plane take everything or nothing.
func (p *fakePlane) change(full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full = full
	p.version++
}

func (p *fakePlane) Stop(netip.Addr, netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.copies = nil
	p.stopped++
}

func (p *fakePlane) Counters(yield func(t *amt.Tunnel, packets, octets uint64)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent > 0 {
		for i := range p.copies {
			yield(&p.copies[i].Tunnel, p.sent, 100*p.sent)
		}
		p.sent = 0
	}
}

func (p *fakePlane) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.copies)
}

// A plane is told of each change of a channel, and what it sends is counted.
func TestServerPlane(t *testing.T) {
	ch := ssmtest.Channel(t)
	listen := loopback(t)
	p := &fakePlane{}
	s, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{listen}, Upstream: &manual{}, Plane: p, Relay: amt.RelayConfig{Linger: -1}})
	require.NoError(t, err)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { defer close(done); _ = s.Run(ctx) }()
	defer func() { cancel(); <-done }()
	config := amt.DialConfig{Mode: amt.ModeTunnel, Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: listen}}, Silence: -1}}
	becomes := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return p.len() == n }, 10*time.Second, time.Millisecond)
	}
	a, b, c := dial(t, ch, config), dial(t, ch, config), dial(t, ch, config)
	becomes(3)
	for _, x := range p.copies {
		require.Equal(t, listen, x.From)
		require.Equal(t, uint16(1500-30), x.Tunnel.MTU)
	}
	p.mu.Lock()
	p.sent = 7
	p.mu.Unlock()
	require.Eventually(t, func() bool { return s.Stats().Copies == 21 }, 10*time.Second, time.Millisecond)
	require.EqualValues(t, 2100, s.Stats().Octets)
	// It gives up what it had, and has it again, though no tunnel has changed.
	p.change(true)
	becomes(0)
	p.change(false)
	becomes(3)
	require.NoError(t, a.Close())
	becomes(2)
	require.NoError(t, b.Close())
	becomes(0)
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.stopped == 1 }, 10*time.Second, time.Millisecond)
}
