package config

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// syncBuffer is a log that a test reads while the watcher writes.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	path, key := filepath.Join(dir, "cast.yaml"), filepath.Join(dir, "key")
	write := func(file, text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write(key, "0123456789abcdef")
	valid := minimalCast + "    keys: [\"file:key\"]\n"
	write(path, valid)

	synctest.Test(t, func(t *testing.T) {
		src := castFlags(t, "-config", path, "-loss", "0.3")
		first, err := src.Load()
		require.NoError(t, err)
		type pair struct{ old, new *Cast }
		var mu sync.Mutex // guards calls
		var calls []pair
		applied := func() []pair {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(calls)
		}
		var log syncBuffer
		hup := make(chan os.Signal, 1)
		ctx, cancel := context.WithCancelCause(t.Context())
		w := &Watcher[Cast]{
			Source: src, Reload: hup, Log: slog.New(slog.NewTextHandler(&log, nil)),
			Apply: func(_ context.Context, old, new *Cast) error {
				mu.Lock()
				defer mu.Unlock()
				calls = append(calls, pair{old, new})
				return nil
			},
		}
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx, first) }()
		wait := func(d time.Duration) { time.Sleep(d); synctest.Wait() }

		wait(5 * time.Second)
		require.Empty(t, applied(), "nothing changed")

		write(path, valid+"    retention: 10s\n")
		wait(1500 * time.Millisecond)
		require.Empty(t, applied(), "a change must be seen twice")
		wait(time.Second)
		require.Len(t, applied(), 1)
		require.Same(t, first, applied()[0].old)
		require.Equal(t, 10*time.Second, applied()[0].new.Channels[0].Retention)
		require.Equal(t, 0.3, applied()[0].new.Channels[0].Multicast.FEC.Loss, "flags go over each load")

		// A bad file is refused once, with its line; the old one stays.
		write(path, valid+"    retention: soon\n")
		wait(10 * time.Second)
		require.Len(t, applied(), 1)
		require.Equal(t, 1, strings.Count(log.String(), "configuration refused"))
		require.Contains(t, log.String(), "cast.yaml:6:16: channels[0].retention:")

		require.NoError(t, os.Remove(path))
		wait(3 * time.Second)
		require.Len(t, applied(), 1)

		write(path, valid+"    retention: 20s\n")
		hup <- syscall.SIGHUP
		synctest.Wait()
		require.Len(t, applied(), 2, "a signal loads at once")
		require.Same(t, applied()[0].new, applied()[1].old)

		// The file that a secret is read from counts, too.
		write(key, "another-stream-key")
		wait(3 * time.Second)
		require.Len(t, applied(), 3)
		require.Equal(t, []string{"keys"}, Diff(applied()[2].old.Channels, applied()[2].new.Channels).Changed[0].Keys)

		wait(10 * time.Second)
		require.Len(t, applied(), 3)
		cause := errors.New("enough")
		cancel(cause)
		require.ErrorIs(t, <-ended, cause)
		require.NotContains(t, log.String(), "another-stream-key")
	})
}
