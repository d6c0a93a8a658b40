package ingress_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/hostile"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
)

// told is a log of lines at Warn and above.
type told struct {
	mu    sync.Mutex
	lines []map[string]any
}

func (l *told) Enabled(_ context.Context, v slog.Level) bool { return v >= slog.LevelWarn }
func (l *told) WithAttrs([]slog.Attr) slog.Handler           { return l }
func (l *told) WithGroup(string) slog.Handler                { return l }
func (l *told) Handle(_ context.Context, r slog.Record) error {
	line := map[string]any{"msg": r.Message}
	r.Attrs(func(a slog.Attr) bool { line[a.Key] = a.Value.Any(); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

// of returns the lines with a message, and the sum of their counts.
func (l *told) of(msg string) (lines []map[string]any, count uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if line["msg"] == msg {
			lines = append(lines, line)
			count += line["count"].(uint64)
		}
	}
	return lines, count
}

// losing runs a tree whose node loses packets from the third second to the sixteenth, and returns what it says of that
// in the end.
func losing(t *testing.T, length time.Duration, c func(b *below) ingress.Config, lose func(n int, p hostile.Packet) (hostile.Packet, bool)) (st ingress.Stats, log *told) {
	log = &told{}
	var b *below
	n := 0
	a := newAbove(t, 0, func(p hostile.Packet) {
		n++
		begun := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
		if begun > 3*time.Second && begun < 16*time.Second {
			var lost bool
			if p, lost = lose(n, p); lost {
				return
			}
		}
		b.hear(p)
	})
	b = newBelow(t, a)
	cfg := c(b)
	cfg.Service, cfg.Receiver.Session, cfg.Logger = b.svc, session, slog.New(log)
	b.in = ingress.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { a.run(ctx, 1) })
	group.Go(func() { b.run(ctx) })
	time.Sleep(length)
	st = b.in.Stats()
	cancel()
	group.Wait()
	return st, log
}

func most(n int, p hostile.Packet) (hostile.Packet, bool) { return p, !p.Seal && n%2 == 0 }

func lost(st ingress.Stats) (n uint64) {
	for _, k := range st.Lost {
		n += k
	}
	return n
}

// What is lost is counted with its reason, and the log says so: at once, and then how much it was each ten seconds.
func TestLossIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, log := losing(t, 40*time.Second, func(*below) ingress.Config { return ingress.Config{} }, most)
		require.Greater(t, st.Lost[ingress.Incomplete], uint64(10))
		require.Equal(t, st.Lost[ingress.Incomplete], lost(st))
		lines, count := log.of("objects are lost")
		require.Equal(t, lost(st), count)
		require.Contains(t, []int{2, 3}, len(lines))
		require.EqualValues(t, 1, lines[0]["count"])
		require.Equal(t, "live", lines[0]["service"])
		require.Regexp(t, `^[av]-\d+\.m4s$`, lines[0]["name"])
		require.Equal(t, "incomplete", lines[0]["reason"])
	})
}

func TestWhatNobodySealsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, log := losing(t, 40*time.Second, func(b *below) ingress.Config {
			var err error
			b.gate, err = sealing.NewGate(sealing.GateConfig{Service: b.svc, Retention: time.Minute, Anchors: b.anchors}) // asks nobody
			require.NoError(t, err)
			return ingress.Config{Gate: b.gate}
		},
			func(_ int, p hostile.Packet) (hostile.Packet, bool) { return p, p.Seal })
		require.Greater(t, st.Unsealed, uint64(10))
		lines, count := log.of("objects are given up that no seal tells of")
		require.Equal(t, st.Unsealed, count)
		require.Contains(t, []int{2, 3}, len(lines))
	})
}

// What seals tell of, and neither multicast nor a parent brings, is lost for the parents' reason.
func TestLossAtTheParentsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := fetcher(func(context.Context, service.Request, func(service.Meta) (io.Writer, error)) error {
			return errors.New("no parent is there")
		})
		st, log := losing(t, 40*time.Second, func(b *below) ingress.Config {
			return ingress.Config{Gate: b.gate, Fetch: &sealing.Fetcher{Inner: failing, Gate: b.gate, Client: b.fetcher.Client}}
		}, most)
		require.Greater(t, st.Lost[ingress.Unfetched], uint64(10))
		lines, count := log.of("objects are lost")
		require.Equal(t, lost(st), count)
		require.Contains(t, []int{2, 3}, len(lines))
		require.ErrorContains(t, lines[len(lines)-1]["error"].(error), "no parent is there")
	})
}

type fetcher func(context.Context, service.Request, func(service.Meta) (io.Writer, error)) error

func (f fetcher) Fetch(ctx context.Context, r service.Request, begin func(service.Meta) (io.Writer, error)) error {
	return f(ctx, r, begin)
}

// Nothing is told of what ends as it should.
func TestNoLossIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		none := func(_ int, p hostile.Packet) (hostile.Packet, bool) { return p, false }
		for _, sealed := range []bool{true, false} {
			st, log := losing(t, 12*time.Second, func(b *below) ingress.Config {
				if !sealed {
					return ingress.Config{}
				}
				return ingress.Config{Gate: b.gate}
			}, none)
			require.Zero(t, lost(st))
			require.Zero(t, st.Unsealed)
			require.Empty(t, log.lines)
		}
	})
}

func TestReasonsOfLoss(t *testing.T) {
	seen := map[string]bool{}
	for l := range ingress.Losses {
		require.NotEmpty(t, l.String())
		require.False(t, seen[l.String()])
		seen[l.String()] = true
	}
}
