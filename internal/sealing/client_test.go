package sealing_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/sealing"
)

// answering answers with datagrams and ends, or goes on with what more does.
func answering(more func(w http.ResponseWriter, r *http.Request), datagrams ...[]byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", sealing.MediaType)
		for _, b := range datagrams {
			if _, err := w.Write(seal.AppendFrame(nil, b)); err != nil {
				return
			}
		}
		if more != nil {
			more(w, r)
		}
	}
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func forged(b []byte) []byte {
	b = append([]byte(nil), b...)
	b[len(b)-1] ^= 1
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+2e6)
	return b
}

// A parent that lies, hangs or is behind is left for the next one, within a second or so.
func TestClientGoesOnToTheNextParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		r.put("v.m4s", 7, octets(1, 50_000), 5000)
		time.Sleep(time.Second)
		sent := r.take()
		first, last := sent[0], sent[len(sent)-1]
		var taken atomic.Int64
		for name, c := range map[string]struct {
			bad     http.HandlerFunc
			patient bool // it takes a second to find out
		}{
			"no such service": {bad: http.NotFound},
			"an error":        {bad: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }},
			"another type":    {bad: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }},
			"no datagrams":    {bad: answering(nil)},
			"forged":          {bad: answering(hang, forged(first))},
			"forged for ever": {bad: answering(func(w http.ResponseWriter, _ *http.Request) {
				for {
					if _, err := w.Write(seal.AppendFrame(nil, forged(first))); err != nil {
						return
					}
					taken.Add(1)
				}
			})},
			"random octets": {bad: answering(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(octets(3, 5000)) })},
			"half a frame": {bad: answering(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(seal.AppendFrame(nil, first)[:100])
			})},
			"half a length": {bad: answering(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0}) })},
			"a frame too long": {bad: answering(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(append([]byte{0xff, 0xff}, octets(1, 70_000)...))
			})},
			"says nothing":            {bad: hang, patient: true},
			"begins and says no more": {bad: answering(hang), patient: true},
		} {
			x := newChild(t, childConfig{parents: []string{"bad", "good"}, net: network{"bad": c.bad, "good": r}})
			began := time.Now()
			n := 0
			err := x.fetcher.Client.Seals(t.Context(), "live", "v.m4s", 7, func(b []byte) error {
				err := x.gate.PushParent(b)
				if err == nil {
					n++
				}
				return err
			})
			require.NoError(t, err, name)
			require.Equal(t, 1, n, name)
			generation, ok := x.gate.Known("v.m4s")
			require.True(t, ok, name)
			require.EqualValues(t, 7, generation, name)
			require.Equal(t, c.patient, time.Since(began) == time.Second, "%s took %v", name, time.Since(began))
			require.LessOrEqual(t, x.gate.Stats().Rejected[seal.RejectSignature], uint64(1), name)
		}
		require.LessOrEqual(t, taken.Load(), int64(1), "one lie is enough")

		// The one that gives what is genuine and old, again and again.
		x := newChild(t, childConfig{parents: []string{"bad", "good"}, net: network{
			"bad": answering(func(w http.ResponseWriter, _ *http.Request) {
				for {
					if _, err := w.Write(seal.AppendFrame(nil, first)); err != nil {
						return
					}
				}
			}),
			"good": r,
		}})
		require.NoError(t, x.gate.PushParent(last))
		o, err := x.gate.Open("v.m4s", 7, func(sealing.Notice) {})
		require.NoError(t, err)
		defer o.Release()
		err = x.fetcher.Client.Seals(t.Context(), "live", "v.m4s", 7, x.gate.PushParent)
		require.Error(t, err, "nobody has news")
		require.Less(t, x.gate.Stats().Datagrams, uint64(600))
	})
}

func TestClientWithoutParents(t *testing.T) {
	x := newChild(t, childConfig{})
	require.ErrorIs(t, x.fetcher.Client.Seals(t.Context(), "live", "v.m4s", 7, x.gate.PushParent), sealing.ErrNoSeal)
	err := x.fetcher.Client.Signalling(t.Context(), "live", "sls:x", nil)
	require.ErrorIs(t, err, sealing.ErrNoSeal)
}

func TestClientEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newChild(t, childConfig{parents: []string{"slow"}, net: network{"slow": http.HandlerFunc(hang)}})
		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, io.ErrNoProgress)
		defer cancel()
		require.ErrorIs(t, x.fetcher.Client.Seals(ctx, "live", "v.m4s", 7, x.gate.PushParent), io.ErrNoProgress)
	})
}

// A child that follows a growing object gets each seal as it is made, and the end.
func TestHandlerFollowsAnObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		x := newChild(t, childConfig{parents: []string{"parent"}, net: network{"parent": r}})
		o := r.begin("a b%41.m4s", 7) // a name that needs escaping
		require.NoError(t, o.Write(octets(1, 20_000), true))
		r.take()
		done := make(chan error, 1)
		var ends []uint64
		go func() {
			done <- x.fetcher.Client.Seals(t.Context(), "live", "a b%41.m4s", 7, func(b []byte) error {
				d := unmarshal(t, b)
				ends = append(ends, d.Records[0].End)
				return x.gate.PushParent(b)
			})
		}()
		synctest.Wait()
		require.Equal(t, []uint64{20_000}, ends)
		for i := range 4 {
			time.Sleep(400 * time.Millisecond)
			began := time.Now()
			require.NoError(t, o.Write(octets(2, 20_000), true))
			synctest.Wait()
			time.Sleep(6 * time.Millisecond) // the root's seal comes behind the octets
			synctest.Wait()
			require.Equal(t, uint64(40_000+i*20_000), ends[len(ends)-1])
			require.Less(t, time.Since(began), 10*time.Millisecond)
		}
		require.NoError(t, o.Commit())
		require.NoError(t, <-done)
		require.EqualValues(t, 100_000, ends[len(ends)-1])

		// Another generation, another name, another service.
		for _, ask := range []func() error{
			func() error {
				return x.fetcher.Client.Seals(t.Context(), "live", "a b%41.m4s", 8, x.gate.PushParent)
			},
			func() error { return x.fetcher.Client.Seals(t.Context(), "live", "b.m4s", 7, x.gate.PushParent) },
			func() error { return x.fetcher.Client.Seals(t.Context(), "else", "", 0, x.gate.PushParent) },
		} {
			require.ErrorIs(t, ask(), sealing.ErrNoSeal)
		}
	})
}

func TestHandlerRefusesOtherMethods(t *testing.T) {
	r := newRoot(t, "")
	for _, h := range []http.Handler{r.Handler, &sealing.SignallingHandler{}} {
		res, err := network{"x": h}.RoundTrip(must(http.NewRequest(http.MethodPost, "http://x/seal/v1/live/v.m4s", nil)))
		require.NoError(t, err)
		require.Equal(t, http.StatusMethodNotAllowed, res.StatusCode)
		res.Body.Close()
	}
}

// An object whose seal never comes is answered for after a while.
func TestHandlerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		r.stop() // nobody seals
		r.put("v.m4s", 7, octets(1, 1000), 1000)
		x := newChild(t, childConfig{parents: []string{"parent"}, net: network{"parent": r}})
		began := time.Now()
		require.ErrorIs(t, x.fetcher.Client.Seals(t.Context(), "live", "v.m4s", 7, x.gate.PushParent), sealing.ErrNoSeal)
		require.LessOrEqual(t, time.Since(began), 1100*time.Millisecond)
	})
}

func TestSignallingOverHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, group := testSession()
		h, err := sealing.NewHop(sealing.HopConfig{Service: "live", Key: testKey(2), Source: source, Group: group, Port: 4001})
		require.NoError(t, err)
		now := time.Now()
		require.NoError(t, h.Announce(now, octets(1, 3000), 5))
		_, ok := h.Poll(now.Add(10 * time.Millisecond))
		require.True(t, ok)
		good := &sealing.SignallingHandler{Lookup: func(svc, name string) (s sealing.Signalling, ok bool) {
			if svc != "live" || name != h.Name() {
				return s, false
			}
			return h.Newest()
		}}
		lie := &sealing.SignallingHandler{Lookup: func(string, string) (sealing.Signalling, bool) {
			s, _ := h.Newest()
			s.Body = octets(2, 3000)
			return s, true
		}}
		x := newChild(t, childConfig{
			parents: []string{"none", "absent", "hangs", "lies", "endless", "good"},
			net: network{"absent": http.HandlerFunc(http.NotFound), "hangs": http.HandlerFunc(hang), "lies": lie, "good": good,
				"endless": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", sealing.SignallingType)
					w.Header().Set("Treedn-Generation", "1")
					_, _ = w.Write(seal.AppendFrame(nil, make([]byte, 100)))
					for {
						if _, err := w.Write(make([]byte, 1000)); err != nil {
							return
						}
					}
				}),
			},
			anchors: []seal.Anchor{anchor(seal.Hop, 2)},
		})
		var bodies int
		err = x.fetcher.Client.Signalling(t.Context(), "live", h.Name(), func(s sealing.Signalling) error {
			bodies++
			require.LessOrEqual(t, len(s.Body), 1<<20)
			if err := x.gate.PushParent(s.Seal); err != nil && errors.Is(err, seal.ErrSignature) {
				return err
			}
			o, err := x.gate.Open(h.Name(), s.Generation, func(sealing.Notice) {})
			if err != nil {
				return err
			}
			defer o.Release()
			if v := o.Advance(seal.Body(s.Body)); v.State != seal.Whole || v.Readable != int64(len(s.Body)) {
				return sealing.ErrForged
			}
			require.Equal(t, octets(1, 3000), s.Body)
			require.EqualValues(t, 5, s.Generation)
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 3, bodies)
	})
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}
