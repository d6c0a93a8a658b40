package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestConcurrent lets everything happen at once: what is read is a prefix of
// what was written under that name and generation, whole if it ends well.
func TestConcurrent(t *testing.T) {
	cfg := diskConfig(t.TempDir())
	cfg.Memory = Limit{Octets: 2 << 20, Objects: 40}
	cfg.Disk = Limit{Octets: 4 << 20, Objects: 60}
	s := openStore(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	gens := make(map[string]uint64)
	next := func(name string) uint64 {
		mu.Lock()
		defer mu.Unlock()
		gens[name]++
		return gens[name]
	}
	for range 4 {
		wg.Go(func() { // writers
			for ctx.Err() == nil {
				name := "seg-" + strconv.Itoa(rand.IntN(30))
				gen := next(name)
				p := content(name, gen)
				if rand.IntN(3) == 0 {
					_, _ = s.Put(Key{"news", name}, Meta{Generation: gen}, p)
					continue
				}
				w, err := s.Create(Key{"news", name}, Meta{Generation: gen})
				if err != nil {
					continue
				}
				for len(p) > 0 {
					n := min(1+rand.IntN(9000), len(p))
					if _, err := w.Write(p[:n]); err != nil {
						break
					}
					p = p[n:]
				}
				if rand.IntN(5) == 0 {
					w.Abort(nil)
				} else {
					_ = w.Finish()
				}
			}
		})
		wg.Go(func() { // readers
			for ctx.Err() == nil {
				name := "seg-" + strconv.Itoa(rand.IntN(30))
				o, ok := s.Lookup(Key{"news", name})
				if !ok {
					continue
				}
				want := content(name, o.Meta().Generation)
				off := rand.IntN(len(want) + 1)
				r, err := o.NewReader(ctx, int64(off))
				if err != nil {
					if !errors.Is(err, ErrEvicted) {
						t.Error(err)
					}
					continue
				}
				p, err := io.ReadAll(r)
				switch {
				case err == nil && !bytes.Equal(p, want[min(off, len(want)):]):
					t.Error("whole object differs")
				case err != nil && !errors.Is(err, ErrAborted) && ctx.Err() == nil:
					t.Error(err)
				case !bytes.HasPrefix(want[off:], p):
					t.Error("prefix differs")
				}
				_ = r.Close()
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			name := "seg-" + strconv.Itoa(rand.IntN(30))
			switch rand.IntN(5) {
			case 0:
				s.Remove(Key{"news", name})
			case 1:
				s.Sweep()
			case 2:
				_ = s.Stats()
				_ = s.List("news")
			case 3:
				_ = s.SetService("news", ServiceConfig{Keys: []EpochKey{testKey(uint32(rand.IntN(3)), 1), testKey(9, 9)}})
			case 4:
				gen := next(name)
				o, err := s.Fetch(ctx, Key{"news", name}, func(_ context.Context, begin func(Meta) (*Writer, error)) error {
					w, err := begin(Meta{Generation: gen})
					if err != nil {
						return err
					}
					_, err = w.Write(content(name, gen))
					return err
				})
				if err == nil {
					_ = o.WaitPrefix(ctx, 1<<40)
				}
			}
		}
	})
	wg.Wait()
	flush(t, s)
	check(t, s)
	require.Zero(t, s.Stats().AuthenticationFail)
	require.Zero(t, s.Stats().DiskErrors)
	require.Len(t, files(t, cfg.Dir), s.Stats().Disk.Objects)
}
