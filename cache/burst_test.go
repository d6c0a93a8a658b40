package cache

import (
	"bytes"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// slowFiles is a disk on which each file waits for its turn.
type slowFiles struct {
	fileSystem
	turn chan struct{}
}

func (f *slowFiles) Create(name string) (io.WriteCloser, error) {
	<-f.turn
	return f.fileSystem.Create(name)
}

// slowConfig is a store of three objects in memory, all of them at the live
// edge, whose disk moves when the test says so.
func slowConfig(t testing.TB) (Config, *slowFiles) {
	cfg := diskConfig(t.TempDir())
	cfg.Memory, cfg.LiveWindow, cfg.SpillWait = Limit{Objects: 3}, time.Hour, time.Hour
	f := &slowFiles{fileSystem: osFiles{cfg.Dir}, turn: make(chan struct{})}
	cfg.files = f
	return cfg, f
}

func burst(n int) (name string, body []byte) {
	return strconv.Itoa(n), noise(uint64(n), 20_000+n*1000)
}

// TestBurstLosesNothing sends 8 MiB at once through 1 MiB of memory, all within
// the live window.
func TestBurstLosesNothing(t *testing.T) {
	for _, tt := range []struct {
		name    string
		writers int
		send    func(s *Store, n int) error
	}{
		{"written", 1, writeBurst},
		{"written by many", 4, writeBurst},
		{"put", 1, func(s *Store, n int) error {
			name, body := burst(n)
			_, err := s.Put(Key{"news", name}, Meta{Generation: 1}, body)
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := diskConfig(t.TempDir())
			cfg.Memory, cfg.LiveWindow = Limit{Octets: 1 << 20}, time.Hour
			cfg.SpillWait = 10 * time.Second // of a machine that does other things
			s := openStore(t, cfg)
			init, err := s.Put(Key{"news", "init"}, Meta{Pinned: true}, []byte("init"))
			require.NoError(t, err)
			const objects = 130
			var next, total atomic.Int64
			var wg sync.WaitGroup
			for range tt.writers {
				wg.Go(func() {
					for n := int(next.Add(1)); n <= objects; n = int(next.Add(1)) {
						_, body := burst(n)
						total.Add(int64(len(body)))
						if err := tt.send(s, n); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			require.Greater(t, total.Load(), int64(8<<20))
			check(t, s)
			for n := 1; n <= objects; n++ {
				name, body := burst(n)
				o, ok := s.Lookup(Key{"news", name})
				require.True(t, ok, name)
				require.True(t, bytes.Equal(body, readAll(t, o)), name)
			}
			require.Zero(t, s.Stats().Unspilled)
			require.Zero(t, s.Stats().NoSpace)
			require.NotNil(t, init.body.Load(), "pinned objects go last")
		})
	}
}

func writeBurst(s *Store, n int) error {
	name, body := burst(n)
	w, err := s.Create(Key{"news", name}, Meta{Generation: 1})
	if err != nil {
		return err
	}
	for len(body) > 0 {
		p := body[:min(len(body), 3000)]
		if _, err := w.Write(p); err != nil {
			return err
		}
		body = body[len(p):]
	}
	return w.Finish()
}

// TestBurstWithoutADisk is memory only: nobody waits, the oldest go.
func TestBurstWithoutADisk(t *testing.T) {
	cfg, f, _, _ := faultyConfig(t, -1)
	cfg.Memory, cfg.LiveWindow, cfg.SpillWait = Limit{Octets: 1 << 20}, time.Hour, time.Hour
	s := openStore(t, cfg)
	f.fail(syscall.EIO)
	put(t, s, key, 1, []byte("finds out"))
	flush(t, s)
	require.True(t, s.Stats().DiskFailed)
	const objects = 130
	for n := 1; n <= objects; n++ {
		require.NoError(t, writeBurst(s, n))
	}
	check(t, s)
	here := present(s, "news")
	require.NotEmpty(t, here)
	for i, n := range here {
		require.Equal(t, objects+1-len(here)+i, n)
	}
	require.EqualValues(t, objects-len(here)+1, s.Stats().Unspilled)
}

// TestSealedLeavesMemoryFirst holds the disk up: what is there leaves memory,
// young as it is, before older objects that are not.
func TestSealedLeavesMemoryFirst(t *testing.T) {
	cfg, f := slowConfig(t)
	s := openStore(t, cfg)
	sealed := put(t, s, Key{"news", "1"}, 1, []byte("sealed"))
	f.turn <- struct{}{}
	flush(t, s)
	put(t, s, Key{"news", "2"}, 1, []byte("not sealed"))
	put(t, s, Key{"news", "3"}, 1, []byte("not sealed"))
	put(t, s, Key{"news", "4"}, 1, []byte("not sealed"))
	require.Nil(t, sealed.body.Load())
	require.Equal(t, []int{1, 2, 3, 4}, present(s, "news"))
	require.Equal(t, "sealed", string(readAll(t, sealed)))
	close(f.turn)
}

// TestWriterWaitsForTheDisk has each way to need room go on as soon as the
// disk has moved.
func TestWriterWaitsForTheDisk(t *testing.T) {
	cfg, f := slowConfig(t)
	cfg.Memory = Limit{Octets: 3 * pageSize}
	s := openStore(t, cfg)
	w := create(t, s, Key{"news", "9"}, Meta{})
	write(t, w, noise(1, pageSize))
	for n := range 2 {
		put(t, s, Key{"news", strconv.Itoa(n)}, 1, noise(1, pageSize))
	}
	done := make(chan error, 1)
	for n, need := range []func() error{
		func() error { _, err := w.Write(noise(1, pageSize)); return err },
		func() error {
			_, err := s.Put(Key{"news", "2"}, Meta{}, noise(1, pageSize))
			return err
		},
	} {
		go func() { done <- need() }()
		select {
		case <-done:
			t.Fatal("it did not wait")
		case f.turn <- struct{}{}:
		}
		require.NoError(t, <-done)
		require.NotNil(t, s.services["news"].objects[strconv.Itoa(n)])
	}
	require.Zero(t, s.Stats().Unspilled)
	close(f.turn)
	require.NoError(t, w.Finish())
	check(t, s)
}

// TestWaitIsBounded hangs the disk: one writer waits, the next ones do not, and
// the disk is waited for again once it has moved.
func TestWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, f := slowConfig(t)
		f.turn = make(chan struct{})
		cfg.SpillWait, cfg.Now = 0, nil
		s := openStore(t, cfg)
		send := func(n int) time.Duration {
			begun := time.Now()
			put(t, s, Key{"news", strconv.Itoa(n)}, 1, []byte("x"))
			return time.Since(begun)
		}
		for n := range 3 {
			require.Zero(t, send(n))
		}
		require.Equal(t, DefaultSpillWait, send(3))
		require.Zero(t, send(4))
		require.Zero(t, send(5))
		require.Equal(t, []int{3, 4, 5}, present(s, "news"))
		require.EqualValues(t, 3, s.Stats().Unspilled)
		f.turn <- struct{}{}
		synctest.Wait()
		require.Equal(t, DefaultSpillWait, send(6))
		close(f.turn)
		flush(t, s)
		require.Zero(t, send(7))
		check(t, s)
		require.NoError(t, s.Close())
	})
}

// TestFailureEndsTheWait makes the disk fail, and the store close, while a
// writer waits.
func TestFailureEndsTheWait(t *testing.T) {
	for _, end := range []string{"failure", "close"} {
		t.Run(end, func(t *testing.T) {
			cfg, f := slowConfig(t)
			disk := newFaultyFiles(cfg.Dir, -1)
			f.fileSystem = disk
			s := openStore(t, cfg)
			for n := range 3 {
				put(t, s, Key{"news", strconv.Itoa(n)}, 1, []byte("x"))
			}
			done := make(chan error, 1)
			go func() {
				_, err := s.Put(Key{"news", "3"}, Meta{}, []byte("x"))
				done <- err
			}()
			require.Never(t, func() bool { return len(done) > 0 }, 20*time.Millisecond, time.Millisecond)
			if end == "close" {
				closed := make(chan error, 1)
				go func() { closed <- s.Close() }()
				require.ErrorIs(t, <-done, ErrClosed)
				close(f.turn)
				require.NoError(t, <-closed)
				return
			}
			disk.fail(syscall.EIO)
			close(f.turn)
			require.NoError(t, <-done)
			require.True(t, s.Stats().DiskFailed)
			require.Equal(t, []int{1, 2, 3}, present(s, "news"))
			check(t, s)
		})
	}
}

// TestStaleWriterDoesNotWait refuses before it makes room: a late copy of an
// object must not evict the newer one and take its place.
func TestStaleWriterDoesNotWait(t *testing.T) {
	s := openStore(t, Config{Memory: Limit{Objects: 1}})
	put(t, s, key, 2, []byte("new"))
	_, err := s.Put(key, Meta{Generation: 1}, []byte("old"))
	require.ErrorIs(t, err, ErrStale)
	_, err = s.Create(key, Meta{Generation: 1})
	require.ErrorIs(t, err, ErrStale)
}
