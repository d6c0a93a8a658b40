package cache

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sink is a response that counts octets and allocates nothing.
type sink struct {
	h       http.Header
	n       atomic.Int64
	flushes atomic.Int64
}

func (s *sink) Header() http.Header              { return s.h }
func (s *sink) WriteHeader(int)                  {}
func (s *sink) Write(p []byte) (int, error)      { s.n.Add(int64(len(p))); return len(p), nil }
func (s *sink) Flush()                           { s.flushes.Add(1) }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

func TestLookupAllocatesNothing(t *testing.T) {
	s := openStore(t, Config{})
	put(t, s, key, 1, []byte("x"))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, ok := s.Lookup(key); !ok {
			t.Fail()
		}
	}))
}

func TestReadAtAllocatesNothing(t *testing.T) {
	s := openStore(t, Config{})
	o := put(t, s, key, 1, noise(1, 200_000))
	p := make([]byte, 1316)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := o.ReadAt(p, 65_000); err != nil {
			t.Fail()
		}
	}))
}

// TestServingGrowthAllocatesNothing appends to an object that is being served:
// neither the append nor its way to the client may allocate.
func TestServingGrowthAllocatesNothing(t *testing.T) {
	s := openStore(t, Config{})
	w := create(t, s, key, Meta{})
	write(t, w, make([]byte, pageSize)) // pages are allocated, octets in them not
	write(t, w, make([]byte, 1))
	dst := &sink{h: make(http.Header)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ServeObject(dst, httptest.NewRequest("GET", "/", nil), w.Object(), ServeOptions{})
	}()
	total := int64(pageSize + 1)
	wait := func() {
		for dst.n.Load() < total {
			time.Sleep(10 * time.Microsecond)
		}
	}
	wait()
	p := make([]byte, 100)
	allocs := testing.AllocsPerRun(400, func() {
		_, _ = w.Write(p)
		total += 100
		wait()
	})
	require.Less(t, allocs, 1.0)
	require.NoError(t, w.Finish())
	<-done
	require.Greater(t, dst.flushes.Load(), int64(100)) // each append left at once
}

// TestServingMemoryAllocatesPerRequestOnly compares objects of one page and of
// a hundred.
func TestServingMemoryAllocatesPerRequestOnly(t *testing.T) {
	s := openStore(t, Config{})
	allocs := func(n int) float64 {
		o := put(t, s, key, 0, make([]byte, n))
		r := httptest.NewRequest("GET", "/", nil)
		return testing.AllocsPerRun(50, func() {
			ServeObject(&sink{h: make(http.Header)}, r, o, ServeOptions{})
		})
	}
	require.LessOrEqual(t, allocs(100*pageSize), allocs(pageSize)+1)
	require.Less(t, allocs(1000), 40.0)
}

func BenchmarkServeGrowing(b *testing.B) {
	s := openStore(b, Config{MaxObject: 1 << 40})
	p := make([]byte, 25_000) // a low-latency chunk
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	srv := httptest.NewServer(&Handler{Store: s})
	defer srv.Close()
	var w *Writer
	var body io.ReadCloser
	i := 0
	for b.Loop() {
		if i%40 == 0 { // a segment
			if w != nil {
				_ = w.Finish()
				body.Close()
			}
			w = create(b, s, key, Meta{})
			write(b, w, p[:1])
			resp, err := http.Get(srv.URL + "/" + key.String())
			require.NoError(b, err)
			body = resp.Body
			_, _ = io.ReadFull(body, p[:1])
		}
		i++
		write(b, w, p)
		if _, err := io.ReadFull(body, p); err != nil {
			b.Fatal(err)
		}
	}
	_ = w.Finish()
	body.Close()
}

func BenchmarkServe(b *testing.B) {
	content := make([]byte, 1<<20)
	for _, tier := range []string{"memory", "disk"} {
		s := openStore(b, diskConfig(b.TempDir()))
		o := put(b, s, key, 1, content)
		if tier == "disk" {
			flush(b, s)
			s.mu.Lock()
			s.evictMemory(o)
			s.mu.Unlock()
		}
		for _, rng := range []string{"", "bytes=500000-501315"} {
			b.Run(tier+rng, func(b *testing.B) {
				r := httptest.NewRequest("GET", "/", nil)
				n := len(content)
				if rng != "" {
					r.Header.Set("Range", rng)
					n = 1316
				}
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					ServeObject(&sink{h: make(http.Header)}, r, o, ServeOptions{})
				}
			})
		}
	}
}

func BenchmarkReadAt(b *testing.B) {
	p := make([]byte, 1316)
	for _, tier := range []string{"memory", "disk"} {
		s := openStore(b, diskConfig(b.TempDir()))
		o := put(b, s, key, 1, make([]byte, 1<<20))
		if tier == "disk" {
			flush(b, s)
			s.mu.Lock()
			s.evictMemory(o)
			s.mu.Unlock()
		}
		b.Run(tier, func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := o.ReadAt(p, int64(i%700)*1316); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	s := openStore(b, Config{})
	p := make([]byte, 1316)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	w := create(b, s, key, Meta{})
	for i := 0; b.Loop(); i++ {
		if i%800 == 799 {
			_ = w.Finish()
			w = create(b, s, key, Meta{})
		}
		if _, err := w.Write(p); err != nil {
			b.Fatal(err)
		}
	}
	w.Abort(nil)
}

func BenchmarkSpill(b *testing.B) {
	cfg := diskConfig(b.TempDir())
	cfg.Disk.Objects = 50
	s := openStore(b, cfg)
	p := make([]byte, 1<<20)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		put(b, s, key, 0, p)
		_ = s.Flush(context.Background())
	}
}

func BenchmarkScan(b *testing.B) {
	cfg := diskConfig(b.TempDir())
	cfg.Memory = Limit{}
	for i := range 200 {
		cfg.Services[string(rune('a'+i%26))+string(rune('a'+i/26))] = ServiceConfig{Keys: []EpochKey{testKey(uint32(i), byte(i))}}
	}
	s := openStore(b, cfg)
	for i := range 1000 {
		put(b, s, Key{"news", string(rune('a' + i))}, 1, []byte("x"))
	}
	require.NoError(b, s.Close())
	b.ReportAllocs()
	for b.Loop() {
		s, err := Open(cfg)
		require.NoError(b, err)
		require.Len(b, s.List("news"), 1000)
		require.NoError(b, s.Close())
	}
}
