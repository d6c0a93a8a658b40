package service

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/cache"
)

func newService(t *testing.T, parents Fetcher) *Service {
	t.Helper()
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return New(Config{Name: "live", Store: store, Parents: parents})
}

func read(t *testing.T, s *Service, name string) (string, error) {
	t.Helper()
	o, err := s.Open(t.Context(), name)
	if err != nil {
		return "", err
	}
	r, err := o.NewReader(t.Context(), 0)
	require.NoError(t, err)
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

func put(t *testing.T, s *Service, m Meta, body string) {
	t.Helper()
	o, err := s.Begin(m)
	require.NoError(t, err)
	require.NoError(t, o.Write([]byte(body), true))
	require.NoError(t, o.Commit())
}

// recorder is a sink that notes what it is given.
type recorder struct{ log []string }

func (r *recorder) Begin(m Meta) ObjectSink {
	r.log = append(r.log, "begin "+m.Name)
	return &recorded{r, m.Name}
}

func (r *recorder) Manifest(m Meta, body []byte) {
	r.log = append(r.log, "manifest "+m.Name+" "+string(body))
}

type recorded struct {
	r    *recorder
	name string
}

func (o *recorded) Write(p []byte, chunkEnd bool) {
	s := "write " + o.name + " " + string(p)
	if chunkEnd {
		s += "|"
	}
	o.r.log = append(o.r.log, s)
}
func (o *recorded) Commit()     { o.r.log = append(o.r.log, "commit "+o.name) }
func (o *recorded) Abort(error) { o.r.log = append(o.r.log, "abort "+o.name) }

func TestSinkGetsWhatIsCurrentAndWhatComes(t *testing.T) {
	s := newService(t, nil)
	put(t, s, Meta{Name: "init.mp4", Generation: 1, Kind: Init}, "I")
	put(t, s, Meta{Name: "old.m4s", Generation: 2, Kind: Media}, "old")
	require.NoError(t, s.PutManifest(Meta{Name: "a.m3u8", Generation: 3}, []byte("M")))
	growing, err := s.Begin(Meta{Name: "grows.m4s", Generation: 4, Kind: Media})
	require.NoError(t, err)

	r := &recorder{}
	s.AddSink(r)
	require.Equal(t, []string{"begin init.mp4", "write init.mp4 I|", "commit init.mp4", "manifest a.m3u8 M"}, r.log)

	r.log = nil
	require.NoError(t, growing.Commit()) // belongs to the sinks that saw its beginning
	o, err := s.Begin(Meta{Name: "new.m4s", Generation: 5, Kind: Media})
	require.NoError(t, err)
	require.NoError(t, o.Write([]byte("x"), false))
	s.RemoveSink(r)
	require.NoError(t, o.Write([]byte("y"), true))
	require.NoError(t, o.Commit())
	put(t, s, Meta{Name: "later.m4s", Generation: 6, Kind: Media}, "z")
	require.Equal(t, []string{"begin new.m4s", "write new.m4s x", "write new.m4s y|", "commit new.m4s"}, r.log)
}

func TestNewerGenerationReplacesAtOnce(t *testing.T) {
	s := newService(t, nil)
	old, err := s.Begin(Meta{Name: "1.m4s", Generation: 10, Kind: Media})
	require.NoError(t, err)
	require.NoError(t, old.Write([]byte("old run"), true))
	put(t, s, Meta{Name: "1.m4s", Generation: 11, Kind: Media}, "new run")
	require.NoError(t, old.Write([]byte(" goes on"), true)) // for those who read it already

	body, err := read(t, s, "1.m4s")
	require.NoError(t, err)
	require.Equal(t, "new run", body)

	_, err = s.Begin(Meta{Name: "1.m4s", Generation: 10, Kind: Media})
	require.ErrorIs(t, err, ErrOlder)
	_, err = s.Begin(Meta{Name: "1.m4s", Generation: 11, Kind: Media})
	require.ErrorIs(t, err, ErrExists)
}

func TestManifestsAreSwappedAsAWhole(t *testing.T) {
	s := newService(t, nil)
	require.NoError(t, s.PutManifest(Meta{Name: "m.mpd", Generation: 2}, []byte("second")))
	require.ErrorIs(t, s.PutManifest(Meta{Name: "m.mpd", Generation: 1}, []byte("first")), ErrOlder)
	body, err := read(t, s, "m.mpd")
	require.NoError(t, err)
	require.Equal(t, "second", body)
}

func TestAbortedObjectCanComeAgain(t *testing.T) {
	s := newService(t, nil)
	o, err := s.Begin(Meta{Name: "1.m4s", Generation: 10, Kind: Media})
	require.NoError(t, err)
	o.Abort(errors.New("gone"))
	require.Error(t, o.Write([]byte("x"), true))
	_, err = read(t, s, "1.m4s")
	require.ErrorIs(t, err, ErrNotFound)
	put(t, s, Meta{Name: "1.m4s", Generation: 10, Kind: Media}, "whole")
	body, err := read(t, s, "1.m4s")
	require.NoError(t, err)
	require.Equal(t, "whole", body)
}

const playlist = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:2.0,\nseg-00001.m4s\n"

func TestOpenWaitsForWhatIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, nil)
		require.NoError(t, s.PutManifest(Meta{Name: "v.m3u8", Generation: 1}, []byte(playlist)))

		begun := time.Now()
		go func() {
			time.Sleep(700 * time.Millisecond)
			put(t, s, Meta{Name: "seg-00001.m4s", Generation: 2, Kind: Media}, "came")
		}()
		body, err := read(t, s, "seg-00001.m4s")
		require.NoError(t, err)
		require.Equal(t, "came", body)
		require.Equal(t, 700*time.Millisecond, time.Since(begun))

		begun = time.Now()
		_, err = read(t, s, "seg-00002.m4s") // comes next by the names of the playlist, or never
		require.ErrorIs(t, err, ErrNotFound)
		require.Equal(t, 2*time.Second, time.Since(begun), "one target duration")

		begun = time.Now()
		_, err = read(t, s, "nonsense")
		require.ErrorIs(t, err, ErrNotFound)
		require.Zero(t, time.Since(begun))
	})
}

// oneParent has some objects.
type oneParent struct {
	bodies map[string]string
	asked  []string
	via    string

	generation uint64
}

func (p *oneParent) Fetch(ctx context.Context, q Request, create func(Meta) (io.Writer, error)) error {
	p.asked = append(p.asked, q.Name)
	p.via = Via(ctx)
	body, ok := p.bodies[q.Name]
	switch {
	case !ok:
		return ErrNotFound
	case q.After >= max(7, p.generation):
		return ErrUnchanged
	}
	w, err := create(Meta{Name: q.Name, Generation: max(7, p.generation), Length: int64(len(body))})
	if err != nil {
		return err
	}
	_, err = w.Write([]byte(body))
	return err
}

func TestOpenAsksTheParents(t *testing.T) {
	p := &oneParent{bodies: map[string]string{"old.m4s": "from above", "v.m3u8": playlist}}
	s := newService(t, p)
	body, err := read(t, s, "old.m4s")
	require.NoError(t, err)
	require.Equal(t, "from above", body)
	_, err = read(t, s, "old.m4s")
	require.NoError(t, err)
	require.Equal(t, []string{"old.m4s"}, p.asked, "the second reader is served from the cache")

	_, err = read(t, s, "none.m4s")
	require.ErrorIs(t, err, ErrNotFound)

	_, err = s.Open(WithVia(t.Context(), "1.1 child"), "v.m3u8")
	require.NoError(t, err)
	require.Equal(t, "1.1 child", p.via)
	require.True(t, s.Index().Expects("seg-00001.m4s"), "a manifest from a parent announces too")
}

// A node that joins late has missed what a playlist lists. Its first player must not wait for each segment.
func TestOpenAsksSoonForWhatWasMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &oneParent{bodies: map[string]string{"seg-00001.m4s": "from above"}}
		s := newService(t, p)
		require.NoError(t, s.PutManifest(Meta{Name: "v.m3u8", Generation: 1}, []byte(playlist)))
		begun := time.Now()
		body, err := read(t, s, "seg-00001.m4s")
		require.NoError(t, err)
		require.Equal(t, "from above", body)
		require.Equal(t, 100*time.Millisecond, time.Since(begun))

		// The parents have no init segment either, and then it comes.
		begun = time.Now()
		go func() {
			time.Sleep(time.Second)
			put(t, s, Meta{Name: "init.mp4", Generation: 2, Kind: Init}, "late")
		}()
		body, err = read(t, s, "init.mp4")
		require.NoError(t, err)
		require.Equal(t, "late", body)
		require.Equal(t, time.Second, time.Since(begun))

		begun = time.Now()
		_, err = read(t, s, "seg-00002.m4s")
		require.ErrorIs(t, err, ErrNotFound)
		require.Equal(t, 2*time.Second, time.Since(begun), "what comes next comes by itself")
	})
}

// above asks another node's service, as a parent client and the parent's server do.
type above struct{ *Service }

func (a above) Fetch(ctx context.Context, q Request, _ func(Meta) (io.Writer, error)) error {
	up := context.Background()
	if left, ok := Patience(ctx); ok {
		up = WithPatience(up, left)
	}
	_, err := a.Open(up, q.Name)
	return err
}

// Every node of a chain knows what comes next. A reader at its end waits as long as at its begin.
func TestOpenWaitsOnceInAChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newService(t, nil)
		relay := newService(t, above{root})
		leaf := newService(t, above{relay})
		for _, s := range []*Service{root, relay, leaf} {
			require.NoError(t, s.PutManifest(Meta{Name: "v.m3u8", Generation: 1}, []byte(playlist)))
		}
		for _, name := range []string{"seg-00002.m4s", "init.mp4"} {
			begun := time.Now()
			_, err := read(t, leaf, name)
			require.ErrorIs(t, err, ErrNotFound)
			require.Equal(t, 2*time.Second, time.Since(begun), "one target duration for %s", name)
		}
		begun := time.Now()
		_, err := root.Open(WithPatience(t.Context(), 300*time.Millisecond), "seg-00002.m4s")
		require.ErrorIs(t, err, ErrNotFound)
		require.Equal(t, 300*time.Millisecond, time.Since(begun))
	})
}

func TestRefreshOfAManifestThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &oneParent{bodies: map[string]string{"v.m3u8": playlist + "#EXTINF:2.0,\nseg-00002.m4s\n"}, generation: 20}
		s := newService(t, p)
		r := &recorder{}
		s.AddSink(r)
		require.NoError(t, s.PutManifest(Meta{Name: "v.m3u8", Generation: 10}, []byte(playlist)))
		s.Refresh(t.Context(), "v.m3u8")
		require.Empty(t, p.asked, "it is young")

		time.Sleep(3 * time.Second)
		s.Refresh(t.Context(), "v.m3u8")
		s.Refresh(t.Context(), "v.m3u8")
		require.Equal(t, []string{"v.m3u8"}, p.asked)
		body, err := read(t, s, "v.m3u8")
		require.NoError(t, err)
		require.Contains(t, body, "seg-00002.m4s")
		require.Len(t, r.log, 2, "it is sent on, too")
		require.True(t, s.Index().Expects("seg-00003.m4s"))

		time.Sleep(3 * time.Second)
		s.Refresh(t.Context(), "v.m3u8") // the parent has nothing newer
		require.Len(t, p.asked, 2)
		require.Len(t, r.log, 2)

		delete(p.bodies, "v.m3u8")
		time.Sleep(3 * time.Second)
		s.Refresh(t.Context(), "v.m3u8") // the parent has lost it
		_, err = read(t, s, "v.m3u8")
		require.NoError(t, err)

		s.Refresh(t.Context(), "seg-00001.m4s")
		require.Len(t, p.asked, 3, "segments do not change")
	})
}

func TestMulticastStillReachesSinksAfterAFetch(t *testing.T) {
	p := &oneParent{bodies: map[string]string{"1.m4s": "same"}}
	s := newService(t, p)
	r := &recorder{}
	s.AddSink(r)
	_, err := read(t, s, "1.m4s")
	require.NoError(t, err)
	put(t, s, Meta{Name: "1.m4s", Generation: 7, Kind: Media}, "same")
	require.Equal(t, []string{"begin 1.m4s", "write 1.m4s same|", "commit 1.m4s"}, r.log)
}

func BenchmarkWrite(b *testing.B) {
	store, err := cache.Open(cache.Config{})
	require.NoError(b, err)
	defer store.Close()
	s := New(Config{Name: "live", Store: store})
	chunk := make([]byte, 1344)
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	var o *Object
	for i := range b.N {
		if i%512 == 0 {
			if o != nil {
				require.NoError(b, o.Commit())
			}
			if o, err = s.Begin(Meta{Name: "seg.m4s", Generation: uint64(i + 1), Kind: Media}); err != nil {
				b.Fatal(err)
			}
		}
		if err := o.Write(chunk, false); err != nil {
			b.Fatal(err)
		}
	}
}

// away is a parent that cannot be reached for a time.
type away struct {
	*oneParent
	until time.Time
}

func (p *away) Fetch(ctx context.Context, q Request, create func(Meta) (io.Writer, error)) error {
	if time.Now().Before(p.until) {
		p.asked = append(p.asked, q.Name)
		return errors.New("no parent can be reached")
	}
	return p.oneParent.Fetch(ctx, q, create)
}

// A reader of what a manifest lists does not get an error because the parents are away for a moment.
func TestOpenAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &away{&oneParent{bodies: map[string]string{"seg-00001.m4s": "from above"}}, time.Now().Add(700 * time.Millisecond)}
		s := newService(t, p)
		require.NoError(t, s.PutManifest(Meta{Name: "v.m3u8", Generation: 1}, []byte(playlist)))
		begun := time.Now()
		body, err := read(t, s, "seg-00001.m4s")
		require.NoError(t, err)
		require.Equal(t, "from above", body)
		require.Less(t, time.Since(begun), time.Second)
		require.Len(t, p.asked, 4)

		p.until = time.Now().Add(time.Minute)
		begun = time.Now()
		_, err = read(t, s, "init.mp4")
		require.Error(t, err)
		require.Equal(t, 2*time.Second, time.Since(begun), "but no longer than it may wait")
		require.LessOrEqual(t, len(p.asked), 4+9)
	})
}
