package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clock is the time of a test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func openStore(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// noise returns n reproducible octets.
func noise(seed uint64, n int) []byte {
	p := make([]byte, n)
	rnd := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1})
	_, _ = rnd.Read(p)
	return p
}

func readAll(t testing.TB, o *Object) []byte {
	t.Helper()
	r, err := o.NewReader(context.Background(), 0)
	require.NoError(t, err)
	defer r.Close()
	p, err := io.ReadAll(r)
	require.NoError(t, err)
	return p
}

func put(t testing.TB, s *Store, key Key, gen uint64, p []byte) *Object {
	t.Helper()
	o, err := s.Put(key, Meta{Generation: gen}, p)
	require.NoError(t, err)
	return o
}

func create(t testing.TB, s *Store, key Key, meta Meta) *Writer {
	t.Helper()
	w, err := s.Create(key, meta)
	require.NoError(t, err)
	return w
}

func write(t testing.TB, w *Writer, p []byte) {
	t.Helper()
	n, err := w.Write(p)
	require.NoError(t, err)
	require.Equal(t, len(p), n)
}

var key = Key{"news", "video/seg-1.m4s"}

func TestWriterGrows(t *testing.T) {
	for _, length := range []bool{false, true} {
		for _, n := range []int{0, 1, firstPage, firstPage + 1, pageSize - 1, pageSize, pageSize + 1, 3*pageSize + 77, 1 << 20} {
			for _, step := range []int{1000, firstPage, pageSize, pageSize + 1, 5 * pageSize} {
				s := openStore(t, Config{})
				want := noise(1, n)
				meta := Meta{Generation: 7}
				if length {
					meta.Length = int64(n)
				}
				w := create(t, s, key, meta)
				o, ok := s.Lookup(key)
				require.True(t, ok)
				for rest := want; len(rest) > 0; {
					m := min(step, len(rest))
					write(t, w, rest[:m])
					rest = rest[m:]
					size, final, err := o.Size()
					require.NoError(t, err)
					require.False(t, final)
					require.EqualValues(t, n-len(rest), size)
					got := make([]byte, size)
					_, err = o.ReadAt(got, 0)
					require.NoError(t, err)
					require.True(t, bytes.Equal(want[:size], got))
				}
				require.NoError(t, w.Finish())
				require.True(t, bytes.Equal(want, readAll(t, o)))
				st := s.Stats()
				require.LessOrEqual(t, st.Memory.Octets, int64(n+n/3+1))
				require.GreaterOrEqual(t, st.Memory.Octets, int64(n))
				require.Equal(t, 1, st.Memory.Objects)
				require.Zero(t, st.Growing)
				require.True(t, s.Remove(key))
				require.Zero(t, s.Stats().Memory.Octets)
				require.Zero(t, s.Stats().Memory.Objects)
			}
		}
	}
}

func TestReaderFollowsGrowth(t *testing.T) {
	s := openStore(t, Config{})
	want := noise(2, 700_000)
	w := create(t, s, key, Meta{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			off := int64(i) * 50_000
			r, err := w.Object().NewReader(t.Context(), off)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			var got bytes.Buffer
			if i%2 == 0 {
				_, err = got.ReadFrom(struct{ io.Reader }{r})
			} else {
				_, err = r.WriteTo(&got)
			}
			if err != nil || !bytes.Equal(want[off:], got.Bytes()) {
				t.Error("differs", err)
			}
		})
	}
	for rest := want; len(rest) > 0; {
		n := min(1+rand.IntN(9000), len(rest))
		write(t, w, rest[:n])
		rest = rest[n:]
	}
	require.NoError(t, w.Finish())
	wg.Wait()
}

func TestAbortReachesReaders(t *testing.T) {
	s := openStore(t, Config{})
	w := create(t, s, key, Meta{})
	write(t, w, []byte("half"))
	o := w.Object()
	r, err := o.NewReader(t.Context(), 0)
	require.NoError(t, err)
	defer r.Close()
	cause := errors.New("push broke off")
	w.Abort(cause)
	w.Abort(errors.New("later"))

	got, err := io.ReadAll(r)
	require.Equal(t, "half", string(got))
	require.ErrorIs(t, err, ErrAborted)
	require.ErrorIs(t, err, cause)
	_, final, err := o.Size()
	require.False(t, final)
	require.ErrorIs(t, err, ErrAborted)
	require.ErrorIs(t, o.WaitPrefix(t.Context(), 5), ErrAborted)
	_, err = o.ReadAt(make([]byte, 9), 0)
	require.ErrorIs(t, err, ErrAborted)
	_, err = w.Write([]byte("x"))
	require.ErrorIs(t, err, ErrAborted)
	require.ErrorIs(t, w.Finish(), ErrAborted)
	_, ok := s.Lookup(key)
	require.False(t, ok)
	require.Zero(t, s.Stats().Memory.Octets)
	require.Zero(t, s.Stats().Memory.Objects)
}

func TestReadersEndWithTheirContext(t *testing.T) {
	s := openStore(t, Config{})
	w := create(t, s, key, Meta{})
	write(t, w, []byte("abc"))
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	r, err := w.Object().NewReader(ctx, 3)
	require.NoError(t, err)
	defer r.Close()
	errs := make(chan error, 2)
	go func() { _, err := r.Read(make([]byte, 1)); errs <- err }()
	go func() { errs <- w.Object().WaitPrefix(ctx, 4) }()
	cancel(gone)
	require.ErrorIs(t, <-errs, gone)
	require.ErrorIs(t, <-errs, gone)
}

func TestWaitPrefix(t *testing.T) {
	s := openStore(t, Config{})
	w := create(t, s, key, Meta{})
	done := make(chan error, 3)
	for _, n := range []int64{1, 3, 4} {
		go func() { done <- w.Object().WaitPrefix(t.Context(), n) }()
	}
	write(t, w, []byte("abc"))
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	require.NoError(t, w.Finish())
	require.Equal(t, io.EOF, <-done)
}

func TestReadAtEnds(t *testing.T) {
	s := openStore(t, Config{})
	w := create(t, s, key, Meta{})
	write(t, w, []byte("abcdef"))
	p := make([]byte, 4)
	n, err := w.Object().ReadAt(p, 4)
	require.Equal(t, 2, n)
	require.ErrorIs(t, err, ErrNotReady)
	require.NoError(t, w.Finish())
	n, err = w.Object().ReadAt(p, 4)
	require.Equal(t, 2, n)
	require.Equal(t, io.EOF, err)
	n, err = w.Object().ReadAt(p, 400)
	require.Zero(t, n)
	require.Equal(t, io.EOF, err)
	_, err = w.Object().ReadAt(p, -1)
	require.ErrorIs(t, err, ErrInvalid)
}

func TestGenerations(t *testing.T) {
	s := openStore(t, Config{})
	put(t, s, key, 5, []byte("five"))
	var g *GenerationError
	_, err := s.Put(key, Meta{Generation: 4}, []byte("four"))
	require.ErrorIs(t, err, ErrStale)
	require.NotErrorIs(t, err, ErrExists)
	require.ErrorAs(t, err, &g)
	require.Equal(t, GenerationError{key, 5, 4}, *g)
	_, err = s.Create(key, Meta{Generation: 5})
	require.ErrorIs(t, err, ErrExists)
	require.NotErrorIs(t, err, ErrStale)

	// Growing six replaces five at once, growing seven replaces six.
	five, _ := s.Lookup(key)
	w6 := create(t, s, key, Meta{Generation: 6})
	write(t, w6, []byte("si"))
	w7 := create(t, s, key, Meta{Generation: 7})
	o, _ := s.Lookup(key)
	require.Same(t, w7.Object(), o)
	require.Equal(t, "five", string(readAll(t, five)))
	write(t, w6, []byte("x"))
	require.NoError(t, w6.Finish())
	require.Equal(t, "six", string(readAll(t, w6.Object())))
	write(t, w7, []byte("seven"))
	require.NoError(t, w7.Finish())
	o, _ = s.Lookup(key)
	require.Equal(t, "seven", string(readAll(t, o)))
	require.Equal(t, `"0000000000000007"`, o.ETag())
	st := s.Stats()
	require.EqualValues(t, 2, st.Replaced)
	require.EqualValues(t, 2, st.Refused)
	require.Equal(t, 1, st.Memory.Objects)
	require.EqualValues(t, 5, st.Memory.Octets)
}

func TestAssignedGenerationsRise(t *testing.T) {
	c := newClock()
	s := openStore(t, Config{Now: c.Now})
	seen := uint64(0)
	for i := range 50 {
		if i == 20 {
			c.Advance(-time.Hour)
		}
		if i == 30 {
			put(t, s, key, 1<<62, nil)
			seen = 1 << 62
		}
		o := put(t, s, key, 0, []byte{byte(i)})
		require.Greater(t, o.Meta().Generation, seen)
		seen = o.Meta().Generation
	}
}

func TestLengthIsHeld(t *testing.T) {
	s := openStore(t, Config{MaxObject: 1000})
	w := create(t, s, key, Meta{Length: 4})
	_, err := w.Write([]byte("abcde"))
	require.ErrorIs(t, err, ErrLength)
	_, _, err = w.Object().Size()
	require.ErrorIs(t, err, ErrAborted)

	w = create(t, s, key, Meta{Length: 4})
	write(t, w, []byte("abc"))
	require.ErrorIs(t, w.Finish(), ErrLength)

	_, err = s.Create(key, Meta{Length: 1001})
	require.ErrorIs(t, err, ErrTooLarge)
	w = create(t, s, key, Meta{})
	write(t, w, make([]byte, 1000))
	_, err = w.Write([]byte{1})
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = s.Put(key, Meta{}, make([]byte, 1001))
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = s.Put(key, Meta{Length: 3}, make([]byte, 4))
	require.ErrorIs(t, err, ErrLength)
	require.Zero(t, s.Stats().Memory.Octets)
	require.Zero(t, s.Stats().Memory.Objects)
}

func TestInvalidKeys(t *testing.T) {
	s := openStore(t, Config{})
	for _, k := range []Key{{}, {"s", ""}, {"", "n"}, {strings.Repeat("s", 256), "n"}, {"s", strings.Repeat("n", 1<<20)}} {
		_, err := s.Put(k, Meta{}, nil)
		require.ErrorIs(t, err, ErrInvalid)
		_, err = s.Create(k, Meta{})
		require.ErrorIs(t, err, ErrInvalid)
		_, err = s.Fetch(t.Context(), k, nil)
		require.ErrorIs(t, err, ErrInvalid)
	}
	_, err := s.Put(key, Meta{Header: map[string]string{"a": strings.Repeat("x", MaxHeader)}}, nil)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = s.Put(key, Meta{ContentType: strings.Repeat("x", 1000)}, nil)
	require.ErrorIs(t, err, ErrInvalid)
	require.Empty(t, s.Services())
}

func TestHeader(t *testing.T) {
	s := openStore(t, Config{})
	w := create(t, s, key, Meta{Header: map[string]string{"seal": "\x00\xff"}})
	o := w.Object()
	before := o.Meta()
	require.NoError(t, o.SetHeader("other", "1"))
	require.NoError(t, o.SetHeader("seal", ""))
	require.ErrorIs(t, o.SetHeader("big", strings.Repeat("x", MaxHeader)), ErrInvalid)
	require.Equal(t, map[string]string{"seal": "\x00\xff"}, before.Header)
	require.Equal(t, map[string]string{"other": "1"}, o.Meta().Header)
	w.Abort(nil)
}

func TestAwait(t *testing.T) {
	s := openStore(t, Config{})
	type result struct {
		o   *Object
		err error
	}
	ch := make(chan result, 2)
	for _, after := range []uint64{0, 5} {
		go func() { o, err := s.Await(t.Context(), key, after); ch <- result{o, err} }()
	}
	put(t, s, key, 5, nil)
	first := <-ch
	require.NoError(t, first.err)
	require.EqualValues(t, 5, first.o.Meta().Generation)
	put(t, s, key, 6, nil)
	second := <-ch
	require.NoError(t, second.err)
	require.EqualValues(t, 6, second.o.Meta().Generation)

	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, err := s.Await(ctx, key, 9); ch <- result{nil, err} }()
	cancel()
	require.ErrorIs(t, (<-ch).err, context.Canceled)
	go func() { _, err := s.Await(t.Context(), key, 9); ch <- result{nil, err} }()
	require.NoError(t, s.Close())
	require.ErrorIs(t, (<-ch).err, ErrClosed)
	require.Empty(t, s.watches)
}

func TestClose(t *testing.T) {
	s := openStore(t, Config{})
	w := create(t, s, key, Meta{})
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err := w.Write([]byte("x"))
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = s.Put(key, Meta{}, nil)
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = s.Create(key, Meta{})
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, s.SetService("x", ServiceConfig{}), ErrClosed)
	_, ok := s.Lookup(key)
	require.False(t, ok)
}

func TestServices(t *testing.T) {
	s := openStore(t, Config{Services: map[string]ServiceConfig{"a": {}}})
	put(t, s, Key{"b", "1"}, 1, []byte("x"))
	put(t, s, Key{"b", "2"}, 1, []byte("yz"))
	require.ElementsMatch(t, []string{"a", "b"}, s.Services())
	require.Len(t, s.List("b"), 2)
	require.Empty(t, s.List("none"))
	require.EqualValues(t, 3, s.ServiceStats("b").Memory.Octets)
	w := create(t, s, Key{"b", "3"}, Meta{})
	s.RemoveService("b")
	s.RemoveService("b")
	require.ElementsMatch(t, []string{"a"}, s.Services())
	write(t, w, []byte("goes on"))
	require.NoError(t, w.Finish())
	require.Zero(t, s.Stats().Memory.Octets)
	require.Zero(t, s.Stats().Memory.Objects)
}
