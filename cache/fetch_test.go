package cache

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// source is an upstream under a test's control.
type source struct {
	calls atomic.Int64
	begun chan *Writer  // a fill began
	end   chan error    // ends it
	fail  chan error    // ends a fill before it begins
	began chan struct{} // a fill was called
	meta  Meta
}

func newSource() *source {
	return &source{begun: make(chan *Writer, 9), end: make(chan error, 9), fail: make(chan error, 9), began: make(chan struct{}, 99)}
}

func (s *source) fill(ctx context.Context, begin func(Meta) (*Writer, error)) error {
	s.calls.Add(1)
	s.began <- struct{}{}
	select {
	case err := <-s.fail:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w, err := begin(s.meta)
	if err != nil {
		return err
	}
	s.begun <- w
	select {
	case err := <-s.end:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

type fetched struct {
	o   *Object
	err error
}

func fetch(ctx context.Context, s *Store, src *source) chan fetched {
	ch := make(chan fetched, 1)
	go func() {
		o, err := s.Fetch(ctx, key, src.fill)
		ch <- fetched{o, err}
	}()
	return ch
}

// waitFor polls a condition that another goroutine brings about.
func waitFor(t testing.TB, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, 5*time.Second, time.Millisecond)
}

func (s *Store) waiting() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for _, f := range s.flights {
		n += len(f.waiters)
	}
	return n
}

func TestFetchCollapses(t *testing.T) {
	s := openStore(t, Config{})
	src := newSource()
	var calls []chan fetched
	for range 20 {
		calls = append(calls, fetch(t.Context(), s, src))
	}
	waitFor(t, func() bool { return s.waiting() == 20 })
	src.fail <- nil
	w := <-src.begun
	write(t, w, []byte("abc"))
	var wg sync.WaitGroup
	for _, ch := range calls {
		f := <-ch
		require.NoError(t, f.err)
		require.Same(t, w.Object(), f.o)
		wg.Go(func() {
			r, err := f.o.NewReader(t.Context(), 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			if p, err := io.ReadAll(r); err != nil || string(p) != "abcdef" {
				t.Error(string(p), err)
			}
		})
	}
	late := <-fetch(t.Context(), s, src)
	require.Same(t, w.Object(), late.o)
	write(t, w, []byte("def"))
	src.end <- nil
	wg.Wait()
	o, err := s.Fetch(t.Context(), key, src.fill)
	require.NoError(t, err)
	require.Same(t, w.Object(), o)
	require.EqualValues(t, 1, src.calls.Load())
	st := s.Stats()
	require.EqualValues(t, 1, st.Fills)
	require.EqualValues(t, 20, st.Collapsed)
	require.Empty(t, s.flights)
}

func TestFetchFailureBeforeBeginPassesOn(t *testing.T) {
	s := openStore(t, Config{})
	down := errors.New("parent is down")
	bad, good := newSource(), newSource()
	first := fetch(t.Context(), s, bad)
	<-bad.began
	second := fetch(t.Context(), s, good)
	third := fetch(t.Context(), s, good)
	waitFor(t, func() bool { return s.waiting() == 3 })
	bad.fail <- down
	require.ErrorIs(t, (<-first).err, down)
	<-good.began
	good.fail <- nil
	w := <-good.begun
	good.end <- nil
	require.Same(t, w.Object(), (<-second).o)
	require.Same(t, w.Object(), (<-third).o)
	require.EqualValues(t, 1, good.calls.Load())
}

func TestFetchNotFoundIsEverybodysAnswer(t *testing.T) {
	s := openStore(t, Config{})
	src := newSource()
	calls := []chan fetched{fetch(t.Context(), s, src), fetch(t.Context(), s, src), fetch(t.Context(), s, src)}
	waitFor(t, func() bool { return s.waiting() == 3 })
	src.fail <- ErrNotFound
	for _, ch := range calls {
		require.ErrorIs(t, (<-ch).err, ErrNotFound)
	}
	require.EqualValues(t, 1, src.calls.Load())

	// A fill that neither begins nor fails found nothing.
	_, err := s.Fetch(t.Context(), key, func(context.Context, func(Meta) (*Writer, error)) error { return nil })
	require.ErrorIs(t, err, ErrNotFound)
}

func TestFetchFailureAfterBeginAborts(t *testing.T) {
	s := openStore(t, Config{})
	src := newSource()
	ch := fetch(t.Context(), s, src)
	src.fail <- nil
	w := <-src.begun
	write(t, w, []byte("abc"))
	o := (<-ch).o
	r, err := o.NewReader(t.Context(), 0)
	require.NoError(t, err)
	defer r.Close()
	broken := errors.New("reset by peer")
	src.end <- broken
	p, err := io.ReadAll(r)
	require.Equal(t, "abc", string(p))
	require.ErrorIs(t, err, ErrAborted)
	require.ErrorIs(t, err, broken)
	// The next one begins anew.
	ch = fetch(t.Context(), s, src)
	src.fail <- nil
	w2 := <-src.begun
	require.NotSame(t, w, w2)
	src.end <- nil
	require.NoError(t, (<-ch).err)
}

func TestFetchShortFillIsAborted(t *testing.T) {
	s := openStore(t, Config{})
	src := newSource()
	src.meta.Length = 10
	ch := fetch(t.Context(), s, src)
	src.fail <- nil
	write(t, <-src.begun, []byte("abc"))
	src.end <- nil
	o := (<-ch).o
	require.ErrorIs(t, o.WaitPrefix(t.Context(), 4), ErrLength)
}

func TestFetchEndsWhenNobodyWaits(t *testing.T) {
	for _, tt := range []struct {
		name    string
		length  int64
		written int
		goesOn  bool
	}{
		{"unknown length", 0, 1000, false},
		{"half", 1000, 500, false},
		{"more than half", 1000, 501, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, Config{})
			src := newSource()
			src.meta.Length = tt.length
			ctx1, cancel1 := context.WithCancel(t.Context())
			ctx2, cancel2 := context.WithCancel(t.Context())
			one := fetch(ctx1, s, src)
			src.fail <- nil
			w := <-src.begun
			write(t, w, make([]byte, tt.written))
			o := (<-one).o
			require.Same(t, o, (<-fetch(ctx2, s, src)).o)
			cancel1()
			waitFor(t, func() bool { s.mu.RLock(); defer s.mu.RUnlock(); return o.fill == nil || o.fill.interest == 1 })
			_, _, err := o.Size()
			require.NoError(t, err) // the second one waits
			cancel2()
			if tt.goesOn {
				waitFor(t, func() bool { s.mu.RLock(); defer s.mu.RUnlock(); return o.fill.interest == 0 })
				write(t, w, make([]byte, 1000-tt.written))
				src.end <- nil
				require.Equal(t, io.EOF, o.WaitPrefix(t.Context(), 1001))
				return
			}
			require.ErrorIs(t, o.WaitPrefix(t.Context(), 1001), errUnwanted)
			_, ok := s.Lookup(key)
			require.False(t, ok)
		})
	}
}

func TestFetchRunnerLeaves(t *testing.T) {
	s := openStore(t, Config{})
	src := newSource()
	ctx, cancel := context.WithCancel(t.Context())
	first := fetch(ctx, s, src)
	<-src.began
	second := fetch(t.Context(), s, src)
	waitFor(t, func() bool { return s.waiting() == 2 })
	cancel()
	require.ErrorIs(t, (<-first).err, context.Canceled)
	waitFor(t, func() bool { return s.waiting() == 1 })
	src.fail <- nil
	src.end <- nil
	require.NoError(t, (<-second).err)
	require.EqualValues(t, 1, src.calls.Load())

	// If everybody left, the fill ends.
	s.Remove(key)
	ctx, cancel = context.WithCancel(t.Context())
	first = fetch(ctx, s, src)
	<-src.began
	cancel()
	require.ErrorIs(t, (<-first).err, context.Canceled)
	waitFor(t, func() bool { s.mu.RLock(); defer s.mu.RUnlock(); return len(s.flights) == 0 })
}

func TestPushOvertakesFetch(t *testing.T) {
	s := openStore(t, Config{})
	src := newSource()
	src.meta.Generation = 5
	ch := fetch(t.Context(), s, src)
	<-src.began // asked, no answer yet
	pushed := put(t, s, key, 5, []byte("pushed"))
	require.Same(t, pushed, (<-ch).o)
	require.Empty(t, s.flights)

	// It wins over a running fill of the same generation too, whose readers
	// go on.
	s.Remove(key)
	ch = fetch(t.Context(), s, src)
	src.fail <- nil
	w := <-src.begun
	old := (<-ch).o
	pw := create(t, s, key, Meta{Generation: 5})
	cur, _ := s.Lookup(key)
	require.Same(t, pw.Object(), cur)
	write(t, w, []byte("filled"))
	src.end <- nil
	require.Equal(t, "filled", string(readAll(t, old)))
	write(t, pw, []byte("pushed"))
	require.NoError(t, pw.Finish())
	cur, _ = s.Lookup(key)
	require.Equal(t, "pushed", string(readAll(t, cur)))
	require.Equal(t, 1, s.Stats().Memory.Objects)

	// But not over a finished one.
	_, err := s.Create(key, Meta{Generation: 5})
	require.ErrorIs(t, err, ErrExists)
}

func TestFetchOlderThanPushedIsRefused(t *testing.T) {
	s := openStore(t, Config{})
	// The fill begins with an older generation while a newer one is pushed.
	o, err := s.Fetch(t.Context(), key, func(_ context.Context, begin func(Meta) (*Writer, error)) error {
		put(t, s, key, 9, []byte("new"))
		_, err := begin(Meta{Generation: 8})
		return err
	})
	require.NoError(t, err)
	require.EqualValues(t, 9, o.Meta().Generation)
}

func TestFetchBeginsOnce(t *testing.T) {
	s := openStore(t, Config{})
	_, err := s.Fetch(t.Context(), key, func(_ context.Context, begin func(Meta) (*Writer, error)) error {
		_, err := begin(Meta{})
		require.NoError(t, err)
		_, err = begin(Meta{})
		require.Error(t, err)
		return nil
	})
	require.NoError(t, err)
}

func TestCloseEndsFetches(t *testing.T) {
	s := openStore(t, Config{})
	src, src2 := newSource(), newSource()
	waits := fetch(t.Context(), s, src)
	<-src.began
	growing := make(chan fetched, 1)
	go func() {
		o, err := s.Fetch(t.Context(), Key{"news", "other"}, src2.fill)
		growing <- fetched{o, err}
	}()
	src2.fail <- nil
	<-src2.begun
	o := (<-growing).o
	require.NoError(t, s.Close())
	require.ErrorIs(t, (<-waits).err, ErrClosed)
	require.ErrorIs(t, o.WaitPrefix(t.Context(), 1), ErrAborted)
	_, err := s.Fetch(t.Context(), key, src.fill)
	require.ErrorIs(t, err, ErrClosed)
}
