package amt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// record logs a line at a time.
func record(log *slog.Logger, at time.Time, level slog.Level, message string, args ...any) {
	r := slog.NewRecord(at, level, message, 0)
	r.Add(args...)
	_ = log.Handler().Handle(context.Background(), r)
}

func TestLimitLog(t *testing.T) {
	var out bytes.Buffer
	log := LimitLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	require.Same(t, log, LimitLog(log))
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	lines := func() int { return strings.Count(out.String(), "\n") }

	// A million of one kind, in ten hours, whatever the attributes and the logger.
	with := log.With("x", 1).WithGroup("g")
	for i := range 1_000_000 {
		l := log
		if i%2 == 1 {
			l = with
		}
		record(l, now.Add(time.Duration(i)*36*time.Millisecond), slog.LevelWarn, "cannot", "gateway", i)
	}
	require.Equal(t, logBurst+599, lines())
	require.Contains(t, out.String(), "suppressed=1666")
	out.Reset()

	// Others are not affected, and the clock may be set back.
	record(log, now, slog.LevelInfo, "something else")
	require.Equal(t, 1, lines())
	for i := range 2 * logBurst {
		record(log, now.Add(-time.Duration(i)*time.Hour), slog.LevelInfo, "something else")
	}
	require.Equal(t, logBurst, lines())

	// Debug is for who wants to see all; what is made up of input has a bound.
	for i := range 1000 {
		record(log, now, slog.LevelDebug, "a tunnel")
		record(log, now, slog.LevelInfo, fmt.Sprint("made up ", i))
	}
	require.LessOrEqual(t, lines(), logBurst+1000+logMessages+logBurst)
	require.Len(t, log.Handler().(*limitedLog).shared.lines, logMessages+1)
	require.False(t, LimitLog(nil).Enabled(context.Background(), slog.LevelError))
}

// Joins that fail are tried again in the order of their times, a number at once, and the
// log is told of all that come in a minute together.
func TestFailedJoins(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &Server{failed: make(map[[2]netip.Addr]time.Time)}
	key := func(i int) [2]netip.Addr {
		return [2]netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.AddrFrom4([4]byte{232, 1, byte(i >> 8), byte(i)})}
	}
	fail := func(i int, at time.Time) {
		k := key(i)
		if s.failed[k].IsZero() {
			s.untold.fresh++
			s.untold.last = &JoinError{k[0], k[1], os.ErrPermission}
		}
		s.failed[k] = at
		s.again = append(s.again, failedJoin{k, at})
	}
	for i := range 1000 {
		fail(i, now.Add(retryJoin+time.Duration(i)*time.Millisecond))
	}
	report, _ := s.failures(now)
	require.Equal(t, 1000, report.fresh)
	require.Equal(t, 1000, report.now)
	require.Equal(t, now.Add(retryJoin), s.retryAt())
	require.ErrorIs(t, report.last, os.ErrPermission)
	var typed *JoinError
	require.True(t, errors.As(error(report.last), &typed))
	require.Equal(t, "joining (10.0.0.1,232.1.3.231): permission denied", typed.Error())
	require.Equal(t, "joining (*,232.1.3.231): permission denied", (&JoinError{Group: typed.Group, Err: typed.Err}).Error())

	require.Empty(t, s.retry(now))
	delete(s.failed, key(1)) // left
	todo := s.retry(now.Add(retryJoin + 9*time.Millisecond))
	require.Len(t, todo, 9)
	require.Equal(t, key(2), todo[1])
	now = now.Add(10 * time.Second)
	require.Len(t, s.retry(now), maxRetries)
	for i := range 10 { // again
		fail(i, now.Add(retryJoin))
	}
	left := 0
	for n := maxRetries; n == maxRetries; left += n {
		n = len(s.retry(now))
	}
	require.Equal(t, 1000-10-maxRetries, left)
	report, next := s.failures(now)
	require.Zero(t, report.fresh, "a minute has not passed")
	require.Equal(t, now.Add(logInterval-10*time.Second), next)
	require.Equal(t, now.Add(retryJoin), s.retryAt())
	report, _ = s.failures(now.Add(time.Minute))
	require.Equal(t, 1, report.fresh, "the one that was left and wanted again")
	require.Len(t, s.retry(now.Add(retryJoin)), 10)
	require.Nil(t, s.again)
	require.Zero(t, s.retryAt())
	_, next = s.failures(now)
	require.Zero(t, next)
}
