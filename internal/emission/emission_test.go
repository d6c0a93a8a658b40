package emission

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/flute/repair"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/depot"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bench struct {
	t     *testing.T
	host  *ssm.Host
	svc   *service.Service
	depot *depot.Depot
	delay telemetry.Latency
	e     *Emission
	gen   uint64
}

func newBench(t *testing.T) *bench {
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	b := &bench{
		t: t, host: ssm.NewHost(ssm.Config{}), depot: depot.New(store),
		svc: service.New(service.Config{Name: "live", Store: store}),
	}
	b.e = New(Config{Service: b.svc, Depot: b.depot, Delay: &b.delay, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		b.e.Close(t.Context())
		require.NoError(t, b.host.Close())
		require.NoError(t, store.Close())
	})
	return b
}

// listen counts the packets of a session that carry a text.
func (b *bench) listen(ch ssm.Channel, text string) (seen *atomic.Int64) {
	rx, err := b.host.Join(b.t.Context(), ch, "")
	require.NoError(b.t, err)
	seen = new(atomic.Int64)
	go func() {
		messages := ssm.NewMessages(4)
		for {
			n, err := rx.ReadBatch(messages)
			if err != nil {
				return
			}
			for i := range messages[:n] {
				for p := range messages[i].Segments {
					if bytes.Contains(p, []byte(text)) {
						seen.Add(1)
					}
				}
			}
		}
	}()
	return seen
}

func downstream(ch ssm.Channel) config.Downstream {
	return config.Downstream{
		Session: config.Session{Source: ch.Source, Group: ch.Group, Port: ch.Port},
		TTL:     4, FEC: config.FEC{Loss: 0.1, Target: 1e-3},
	}
}

func (b *bench) begin(name string) *service.Object {
	b.gen++
	o, err := b.svc.Begin(service.Meta{Name: name, Generation: b.gen, Kind: service.Other, Length: -1})
	require.NoError(b.t, err)
	return o
}

func (b *bench) eventually(holds func() bool, otherwise string) {
	b.t.Helper()
	require.Eventually(b.t, holds, 5*time.Second, 2*time.Millisecond, otherwise)
}

func TestMoveToAnotherSession(t *testing.T) {
	b := newBench(t)
	one, two := ssmtest.Channel(t), ssmtest.Channel(t)
	const before, after = "begun before", "begun after"
	beforeOne, afterOne := b.listen(one, before), b.listen(one, after)
	beforeTwo, afterTwo := b.listen(two, before), b.listen(two, after)

	require.NoError(t, b.e.Change(downstream(one), nil))
	o := b.begin("1.bin")
	require.NoError(t, o.Write([]byte(before), true))
	b.eventually(func() bool { return beforeOne.Load() > 0 }, "nothing is sent")

	require.NoError(t, b.e.Change(downstream(two), nil))
	seen := beforeOne.Load()
	require.NoError(t, o.Write([]byte(before), true))
	require.NoError(t, o.Commit())
	o = b.begin("2.bin")
	require.NoError(t, o.Write([]byte(after), true))
	require.NoError(t, o.Commit())
	b.eventually(func() bool { return beforeOne.Load() > seen && afterTwo.Load() > 0 }, "objects do not leave")
	require.Zero(t, afterOne.Load(), "what begins goes to the new session")
	require.Zero(t, beforeTwo.Load(), "what has begun ends on the old one")

	var st telemetry.Service
	b.e.Status(&st)
	require.GreaterOrEqual(t, st.PacketsSent, uint64(4))
	require.NotZero(t, st.OctetsSent)
	require.NotZero(t, st.RateOut)
	require.NotZero(t, b.delay.Quantiles().Count)
	require.Less(t, b.delay.Quantiles().Max, time.Minute)

	// Children may still ask for what left on the old session.
	tsi := b.e.ending[0].out.NextTSI() - 1
	id := repair.ObjectID{Session: repair.Session{Source: one.Source, Group: one.Group, Port: one.Port}, TSI: uint64(tsi), TOI: 1}
	object, err := b.depot.Lookup(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "1.bin", object.Info().Name)

	// Back at once: no TSI comes a second time, and the old sender is silent.
	require.NoError(t, b.e.Change(downstream(one), nil))
	require.Greater(t, b.e.current.out.NextTSI(), tsi)
	o = b.begin("3.bin")
	require.NoError(t, o.Write([]byte(after), true))
	require.NoError(t, o.Commit())
	b.eventually(func() bool { return afterOne.Load() > 0 }, "the session does not come back")
	b.eventually(func() bool { b.e.mu.Lock(); defer b.e.mu.Unlock(); return len(b.e.ending) == 1 }, "two senders on one session")
	id.TSI = uint64(b.e.current.out.NextTSI() - 1)
	_, err = b.depot.Lookup(t.Context(), id)
	require.NoError(t, err, "the sender that has ended took the new one's place in the depot away")
	sent := st.PacketsSent
	b.e.Status(&st)
	require.Greater(t, st.PacketsSent, sent, "counters never fall")
}

func TestChangeWithinTheSession(t *testing.T) {
	b := newBench(t)
	ch := ssmtest.Channel(t)
	d := downstream(ch)
	require.NoError(t, b.e.Change(d, nil))
	out := b.e.current.out
	o := b.begin("1.bin")
	require.NoError(t, o.Write(make([]byte, 100_000), true))

	d.Rate, d.TTL, d.FEC.Loss = 80_000_000, 9, 0.3
	require.NoError(t, b.e.Change(d, nil))
	require.NoError(t, b.e.Change(d, nil))
	require.Same(t, out, b.e.current.out)
	require.Empty(t, b.e.ending)
	require.Equal(t, int64(80_000_000), out.Stats().Rate)
	require.NoError(t, o.Commit())
	b.eventually(func() bool { return out.Stats().Buffered == 0 && out.Stats().RepairPackets > 20 }, "the socket was not replaced")

	// What cannot be done changes nothing.
	bad := d
	bad.Interface = "none0"
	var e *ssm.Error
	require.ErrorAs(t, b.e.Change(bad, nil), &e)
	bad = downstream(ssmtest.Channel(t))
	bad.Interface = "none0"
	require.ErrorAs(t, b.e.Change(bad, nil), &e)
	require.Same(t, out, b.e.current.out)
	require.NoError(t, b.e.Change(d, nil))
	require.Same(t, out, b.e.current.out)
}

func TestCloseSendsWhatHasEnded(t *testing.T) {
	b := newBench(t)
	ch := ssmtest.Channel(t)
	const text = "the last words"
	seen := b.listen(ch, text)
	require.NoError(t, b.e.Change(config.Downstream{}, nil), "not sent at all")
	require.NoError(t, b.e.Change(downstream(ch), nil))
	o := b.begin("1.bin")
	require.NoError(t, o.Write([]byte(text), true))
	require.NoError(t, o.Commit())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	b.e.Close(ctx)
	b.e.Close(ctx)
	require.NoError(t, ctx.Err())
	b.eventually(func() bool { return seen.Load() > 0 }, "it is not sent")
	require.ErrorIs(t, b.e.Change(downstream(ch), nil), errClosed)
	_, err := b.depot.Lookup(t.Context(), repair.ObjectID{Session: repair.Session{Source: ch.Source, Group: ch.Group, Port: ch.Port}, TSI: 1, TOI: 1})
	require.ErrorIs(t, err, repair.ErrUnknown)
}
