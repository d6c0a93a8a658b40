package sealing_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
)

// giver is a service.Fetcher that gives some octets, with a pause between pieces.
type giver struct {
	generation uint64
	b          []byte
	piece      int
	pause      time.Duration
	err        error // at the end
}

func (g *giver) Fetch(ctx context.Context, r service.Request, begin func(service.Meta) (io.Writer, error)) error {
	w, err := begin(service.Meta{Name: r.Name, ContentType: "text/html", Generation: g.generation, Length: int64(len(g.b))})
	if err != nil {
		return err
	}
	for b := g.b; len(b) > 0; {
		n := min(len(b), max(g.piece, 1000))
		if _, err := w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(g.pause):
		}
	}
	if e, ok := w.(service.Ender); ok && g.err == nil {
		return e.End(int64(len(g.b)))
	}
	return g.err
}

// errMismatch stands for a *service.MismatchError.
var errMismatch = errors.New("errMismatch")

func requireError(t *testing.T, err, want error) {
	t.Helper()
	if want == errMismatch {
		var m *service.MismatchError
		require.ErrorAs(t, err, &m)
		return
	}
	require.ErrorIs(t, err, want)
}

// out keeps what a fetch lets through, and the seals beside it.
type out struct {
	bytes.Buffer
	meta  service.Meta
	seals [][]byte
}

func (o *out) SetSeal(b []byte) { o.seals = append(o.seals, b) }

func (x *child) fetch(ctx context.Context, name string) (*out, error) {
	o := &out{}
	began := false
	err := x.fetcher.Fetch(ctx, service.Request{Service: "live", Name: name}, func(m service.Meta) (io.Writer, error) {
		require.False(x.t, began)
		began = true
		o.meta = m
		return o, nil
	})
	return o, err
}

// What a parent gives is let through when it is what was sealed, and nothing of it else.
func TestFetcher(t *testing.T) {
	truth := octets(1, 100_000)
	wrong := bytes.Clone(truth)
	wrong[61_234] ^= 1
	for name, c := range map[string]struct {
		give *giver
		err  error
		good int // octets that may come
	}{
		"the truth":           {give: &giver{b: truth, generation: 7}, good: len(truth)},
		"the truth, slowly":   {give: &giver{b: truth, generation: 7, piece: 9000, pause: 300 * time.Millisecond}, good: len(truth)},
		"wrong octets":        {give: &giver{b: wrong, generation: 7}, err: errMismatch, good: 0}, // there is but the last seal
		"too few":             {give: &giver{b: truth[:50_000], generation: 7}, err: errMismatch},
		"none":                {give: &giver{generation: 7}, err: errMismatch},
		"too many":            {give: &giver{b: append(bytes.Clone(truth), 0), generation: 7}, err: errMismatch, good: len(truth)},
		"an older generation": {give: &giver{b: truth, generation: 6}, err: seal.ErrStale},
		"one that is unknown": {give: &giver{b: truth, generation: 9}, err: sealing.ErrUnsealed},
		"a broken transfer":   {give: &giver{b: truth[:5000], generation: 7, err: io.ErrClosedPipe}, err: io.ErrClosedPipe},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoot(t, "")
				r.put("v.m4s", 7, truth, 10_000)
				time.Sleep(time.Second)
				x := newChild(t, childConfig{parents: []string{"parent"}, net: network{"parent": r}, inner: c.give})
				require.NoError(t, x.fetcher.Client.Seals(t.Context(), "live", "v.m4s", 7, x.gate.PushParent))
				began := time.Now()
				o, err := x.fetch(t.Context(), "v.m4s")
				requireError(t, err, c.err)
				if c.give.pause == 0 {
					require.LessOrEqual(t, time.Since(began), 2500*time.Millisecond)
				}
				require.Equal(t, c.good, o.Len())
				require.True(t, bytes.Equal(truth[:o.Len()], o.Bytes()))
				if c.good > 0 {
					require.NotEmpty(t, o.seals)
					require.Equal(t, "video/mp4", o.meta.ContentType, "not what the parent says")
				}
				held, _ := x.fetcher.Held()
				require.Zero(t, held)
				require.Zero(t, x.gate.Stats().Open)
			})
		})
	}
}

func TestFetcherOfEmptyObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		r.put("v.m4s", 7, nil, 1)
		x := newChild(t, childConfig{parents: []string{"parent"}, net: network{"parent": r}, inner: &giver{generation: 7}})
		o, err := x.fetch(t.Context(), "v.m4s")
		require.NoError(t, err)
		require.Zero(t, o.Len())
		require.Len(t, o.seals, 1, "children are told that it is empty")

		x = newChild(t, childConfig{parents: []string{"parent"}, net: network{"parent": r}, inner: &giver{generation: 7, b: []byte("x")}})
		_, err = x.fetch(t.Context(), "v.m4s")
		requireError(t, err, errMismatch)
	})
}

// A broken object is never taken for a whole one, though all that there is of it can be read.
func TestFetcherOfBrokenObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		b := octets(1, 9000)
		o := r.begin("v.m4s", 7)
		require.NoError(t, o.Write(b, true))
		o.Abort(io.ErrUnexpectedEOF)
		time.Sleep(20 * time.Millisecond)
		x := newChild(t, childConfig{inner: &giver{generation: 7, b: b}})
		for _, d := range r.take() {
			require.NoError(t, ignoreRepeat(x.gate.PushParent(d)))
		}
		got, err := x.fetch(t.Context(), "v.m4s")
		require.ErrorIs(t, err, sealing.ErrBroken)
		require.Equal(t, b, got.Bytes())
	})
}

// Octets may be here before their seals are, at a parent that has just got them itself. The seals are asked for again.
func TestFetcherAsksForSealsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		b := octets(1, 100_000)
		asked := 0
		late := time.Now().Add(700 * time.Millisecond)
		parent := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			asked++
			if time.Now().Before(late) {
				http.NotFound(w, q)
				return
			}
			r.ServeHTTP(w, q)
		})
		r.put("v.m4s", 7, b, 10_000)
		x := newChild(t, childConfig{parents: []string{"parent"}, net: network{"parent": parent}, inner: &giver{generation: 7, b: b}})
		began := time.Now()
		o, err := x.fetch(t.Context(), "v.m4s")
		require.NoError(t, err)
		require.Equal(t, b, o.Bytes())
		require.Less(t, time.Since(began), 1300*time.Millisecond)
		require.LessOrEqual(t, asked, 6)
	})
}

// A parent that is cut off says nothing, and its connections hang: as soon as octets wait for its seals another one is
// asked, or it on another connection.
func TestFetcherWhoseSealsStand(t *testing.T) {
	for name, c := range map[string]struct {
		parents []string
		cut     func(connection int) bool // whether a request hangs
	}{
		"another parent":     {[]string{"first", "second"}, func(int) bool { return true }},
		"another connection": {[]string{"first"}, func(n int) bool { return n == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoot(t, "")
				b := octets(1, 60_000)
				o := r.begin("v.m4s", 7)
				var sent [][]byte
				connections := 0
				first := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
					if connections++; c.cut(connections) {
						answering(hang, sent...)(w, q)
						return
					}
					r.ServeHTTP(w, q)
				})
				require.NoError(t, o.Write(b[:10_000], true))
				time.Sleep(25 * time.Millisecond)
				sent = r.take()
				x := newChild(t, childConfig{parents: c.parents, net: network{"first": first, "second": r}})
				got := &out{}
				w, err := x.fetcher.Open(t.Context(), "v.m4s", 7, func([]byte) (io.Writer, error) { return got, nil })
				require.NoError(t, err)
				defer w.Close()
				_, err = w.Write(b[:10_000])
				require.NoError(t, err)
				synctest.Wait()
				require.Equal(t, 10_000, got.Len())

				require.NoError(t, o.Write(b[10_000:20_000], true))
				_, err = w.Write(b[10_000:20_000])
				require.NoError(t, err)
				time.Sleep(500 * time.Millisecond)
				synctest.Wait()
				require.Equal(t, 20_000, got.Len())
				for i := 20_000; i < 60_000; i += 10_000 {
					require.NoError(t, o.Write(b[i:i+10_000], true))
					_, err = w.Write(b[i : i+10_000])
					require.NoError(t, err)
					time.Sleep(100 * time.Millisecond)
					synctest.Wait()
					require.Equal(t, i+10_000, got.Len())
				}
				require.NoError(t, o.Commit())
				require.NoError(t, w.End(60_000))
				require.Equal(t, b, got.Bytes())
				require.LessOrEqual(t, connections, 2)
			})
		})
	}
}

// Seals that come by multicast in the middle of a fetch release what has come.
func TestFetcherTakesSealsOfMulticast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		b := octets(1, 60_000)
		o := r.begin("v.m4s", 7)
		x := newChild(t, childConfig{trust: true})
		got := &out{}
		w, err := x.fetcher.Open(t.Context(), "v.m4s", 7, func([]byte) (io.Writer, error) { return got, nil })
		require.NoError(t, err)
		defer w.Close()
		for i := range 6 {
			chunk := b[i*10_000 : (i+1)*10_000]
			_, err := w.Write(chunk)
			require.NoError(t, err)
			synctest.Wait()
			require.Equal(t, i*10_000, got.Len(), "nothing without a seal")
			require.NoError(t, o.Write(chunk, true))
			time.Sleep(25 * time.Millisecond)
			require.NoError(t, x.push(r.take()...))
			synctest.Wait()
			require.EqualValues(t, (i+1)*10_000, w.Offset())
		}
		require.NoError(t, o.Commit())
		time.Sleep(25 * time.Millisecond)
		require.NoError(t, x.push(r.take()...))
		require.NoError(t, w.End(-1))
		require.Equal(t, b, got.Bytes())
		require.Greater(t, len(got.seals), 5)
	})
}

// After a lie another parent goes on from the last good octet.
func TestInflowGoesOnAfterALie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		b := octets(1, 60_000)
		x := newChild(t, childConfig{trust: true})
		o := r.begin("v.m4s", 7)
		for i := range 6 {
			require.NoError(t, o.Write(b[i*10_000:(i+1)*10_000], true))
			time.Sleep(25 * time.Millisecond)
			_ = x.push(r.take()...)
		}
		require.NoError(t, o.Commit())
		time.Sleep(25 * time.Millisecond)
		_ = x.push(r.take()...)
		got := &out{}
		w, err := x.fetcher.Open(t.Context(), "v.m4s", 7, func([]byte) (io.Writer, error) { return got, nil })
		require.NoError(t, err)
		defer w.Close()
		_, err = w.Write(append(bytes.Clone(b[:20_000]), octets(5, 9000)...))
		require.NoError(t, err, "nothing tells yet")
		require.Less(t, w.Offset(), int64(29_000))
		_, err = w.Write(octets(5, 40_000))
		requireError(t, err, errMismatch)
		w.Restart(w.Offset())
		_, err = w.Write(b[w.Offset():40_000])
		require.NoError(t, err)
		w.Restart(0) // one that cannot begin in the middle
		_, err = w.Write(b)
		require.NoError(t, err)
		require.NoError(t, w.End(-1))
		require.Equal(t, b, got.Bytes())
	})
}

// Fetches of unsealed octets wait for room, and do not take more than there is.
func TestFetcherIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newChild(t, childConfig{})
		var inflows []*sealing.Inflow
		defer func() {
			for _, w := range inflows {
				w.Close()
			}
			held, _ := x.fetcher.Held()
			require.Zero(t, held)
		}()
		piece := make([]byte, 1<<20)
		var err error
		for i := 0; i < 100 && err == nil; i++ {
			var w *sealing.Inflow
			w, err = x.fetcher.Open(t.Context(), "v.m4s", uint64(i%4+1)+10, func([]byte) (io.Writer, error) { panic("genuine?") })
			if errors.Is(err, seal.ErrOpen) {
				w, err = inflows[i%4], nil
			} else {
				inflows = append(inflows, w)
			}
			require.NoError(t, err)
			_, err = w.Write(piece)
		}
		require.ErrorIs(t, err, sealing.ErrUnsealed)
		held, hits := x.fetcher.Held()
		require.EqualValues(t, sealing.MaxHeld, held)
		require.NotZero(t, hits)
	})
}

// A newer generation ends a fetch of the old one.
func TestFetcherOfAReplacedObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		old := octets(1, 50_000)
		r.put("v.m4s", 7, old, 10_000)
		time.Sleep(50 * time.Millisecond)
		x := newChild(t, childConfig{parents: []string{"parent"}, net: network{"parent": r}, inner: &giver{generation: 7, b: old, piece: 1000, pause: 50 * time.Millisecond}})
		done := make(chan error, 1)
		go func() {
			_, err := x.fetch(t.Context(), "v.m4s")
			done <- err
		}()
		time.Sleep(time.Second)
		r.put("v.m4s", 8, octets(2, 50_000), 10_000)
		time.Sleep(10 * time.Millisecond)
		_ = x.push(r.take()...)
		require.ErrorIs(t, <-done, seal.ErrStale)
	})
}
