package speed

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/route"
)

type (
	ssmReceiver = ssm.Receiver
	ssmSender   = ssm.Sender
	addrPort    = netip.AddrPort
)

// receiver reassembles what comes and lets complete objects go.
type receiver struct {
	*route.Receiver
	complete int
}

func newReceiver(tb testing.TB, l *load) *receiver {
	r := &receiver{Receiver: route.NewReceiver(route.ReceiverConfig{Session: session()})}
	now := time.Now()
	for _, pkt := range l.signalling {
		if err := r.Push(now, netip.AddrPortFrom(sourceAddr, 1), pkt); err != nil {
			tb.Fatal(err)
		}
	}
	r.drain(now)
	return r
}

func (r *receiver) handle(at time.Time, from, to addrPort, run []byte, size int) {
	r.PushRun(at, from, to, run, size)
	r.drain(at)
}

func (r *receiver) drain(now time.Time) {
	for ev, ok := r.Poll(); ok; ev, ok = r.Poll() {
		if ev.Kind == route.Complete {
			r.complete++
			r.Release(now, ev.Object)
		}
	}
	if at := r.NextTimeout(); !at.IsZero() && !now.Before(at) {
		r.HandleTimeout(now)
	}
}

// mallocs is what the process has allocated, in octets.
func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// benchmarkReceive lets a sender that costs nothing but its system calls send as fast as the receiver takes packets.
func benchmarkReceive(b *testing.B, offload bool, rounds int) {
	l := newLoad(b)
	ln := newLink(b, offload)
	nothing := func(time.Time, addrPort, addrPort, []byte, int) {}
	_, _ = transfer(b, ln, l, 1, nothing)
	rawSend, raw := transfer(b, ln, l, rounds, nothing)
	r := newReceiver(b, l)
	transfer(b, ln, l, 2, r.handle)
	r.complete = 0
	var sum figures
	n := 0
	before := mallocs()
	for b.Loop() {
		_, recv := transfer(b, ln, l, rounds, r.handle)
		sum = sum.plus(recv)
		n += rounds
	}
	allocated := mallocs() - before
	require.Equal(b, n*tracks, r.complete, "%+v %+v", r.Stats(), ln.rx.Stats())
	require.Zero(b, ln.rx.Stats().Dropped)
	b.ReportMetric(sum.gbits(), "Gbit/s")
	b.ReportMetric(sum.cost(), "cpu-s/Gbit")
	b.ReportMetric(raw.gbits(), "raw-Gbit/s")
	b.ReportMetric(raw.cost(), "raw-cpu-s/Gbit")
	b.ReportMetric(rawSend.cost(), "raw-send-cpu-s/Gbit")
	b.ReportMetric(float64(allocated)/float64(n*l.packets), "B/packet")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkReceive(b *testing.B)          { benchmarkReceive(b, true, 100) }
func BenchmarkReceiveNoOffload(b *testing.B) { benchmarkReceive(b, false, 20) }
