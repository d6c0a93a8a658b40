//go:build unix

package amt_test

import (
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/gmp"
)

// wholesale is a relay without the limits that a flood from one machine meets.
func wholesale(n int) amt.RelayConfig {
	return amt.RelayConfig{MaxTunnels: n, HighWater: 1, Rate: 1e9, PrefixRate: 1e9, TunnelRate: 1e6}
}

// handshakes runs Request, Query and Update of gateways first to last-1.
type handshakes struct {
	relay  *amt.Relay
	report []byte
	update []byte
	answer []byte
}

func newHandshakes(relay *amt.Relay) *handshakes {
	return &handshakes{
		relay:  relay,
		report: gmp.AppendReport(nil, netip.Addr{}, false, record(gmp.ModeIsInclude, "232.1.1.1", "10.12.0.1")),
	}
}

func (h *handshakes) run(i int) bool {
	h.update = append(h.update[:0], 3, 0, 0, 0, byte(i>>24), byte(i>>16), byte(i>>8), byte(i))
	d := amt.Datagram{Local: relay4, Remote: gatewayAt(i), Payload: h.update}
	h.answer = h.relay.HandleDatagram(epoch, &d, h.answer[:0])
	if len(h.answer) < 12 {
		return false
	}
	h.update = append(h.update[:0], 5, 0)
	h.update = append(h.update, h.answer[2:12]...)
	h.update = append(h.update, h.report...)
	d.Payload = h.update
	h.relay.HandleDatagram(epoch, &d, h.answer[:0])
	for {
		if _, ok := h.relay.PollEvent(); !ok {
			return true
		}
	}
}

// processor returns the time that this process has had on a processor, which
// other work on the machine does not change.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Request, Query, Update of gateways that have tunnels: what each sends every
// two minutes.
func BenchmarkHandshake(b *testing.B) {
	const n = 200_000
	relay, err := amt.NewRelay(epoch, wholesaleAddress(n))
	require.NoError(b, err)
	h := newHandshakes(relay)
	for i := range n {
		h.run(i)
	}
	b.ReportAllocs()
	i := 0
	start := processor(b)
	for b.Loop() {
		if !h.run(i % n) {
			b.Fatal("no answer")
		}
		i++
	}
	b.ReportMetric(float64(b.N)/(processor(b)-start).Seconds(), "handshakes/core-s")
}

func wholesaleAddress(n int) amt.RelayConfig {
	c := wholesale(n)
	c.IPv4 = relay4.Addr()
	return c
}

// The same for gateways that are new, and the octets that each takes.
func BenchmarkTunnels500k(b *testing.B) {
	const n = 500_000
	var used time.Duration
	for b.Loop() {
		b.StopTimer()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		relay, err := amt.NewRelay(epoch, wholesaleAddress(n))
		require.NoError(b, err)
		h := newHandshakes(relay)
		b.StartTimer()
		start := processor(b)
		for i := range n {
			h.run(i)
		}
		used += processor(b) - start
		b.StopTimer()
		require.Equal(b, n, relay.Stats().Tunnels)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/tunnel")
		runtime.KeepAlive(relay)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*n/used.Seconds(), "handshakes/core-s")
}
