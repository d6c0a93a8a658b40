package ingress_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/egress"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hop is a service that is sent and received again over a real group.
type hop struct {
	above, below *service.Service
	in           *ingress.Ingress
	out          *egress.Egress
}

func newService(t *testing.T, name string) *service.Service {
	t.Helper()
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return service.New(service.Config{Name: name, Store: store})
}

func newHop(t *testing.T, repair ingress.Repairer, loss lossy.Config, noFEC bool) *hop {
	t.Helper()
	return newHopOf(t, ingress.Config{Repair: repair, Loss: loss}, noFEC)
}

func newHopOf(t *testing.T, c ingress.Config, noFEC bool) *hop {
	t.Helper()
	ch := ssmtest.Channel(t)
	session := route.Session{Source: ch.Source, Group: ch.Group, Port: ch.Port}
	h := &hop{above: newService(t, "live"), below: newService(t, "live")}

	host := ssm.NewHost(ssm.Config{})
	t.Cleanup(func() { host.Close() })
	rx, err := host.Join(t.Context(), ch, "")
	require.NoError(t, err)
	c.Service, c.Receiver.Session = h.below, session
	h.in = ingress.New(c)
	h.out, err = egress.New(egress.Config{Session: session, Sender: route.SenderConfig{FirstTSI: 7, NoRepair: noFEC}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- h.in.Run(ctx, rx) }()
	go func() { ended <- h.out.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, <-ended)
	})
	h.above.AddSink(h.out)
	return h
}

func octets(seed uint64, n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = rng.Read(b)
	return b
}

// media sends a segment in chunks.
func (h *hop) media(t *testing.T, n uint32, body []byte) string {
	t.Helper()
	m := service.Meta{
		Name: fmt.Sprintf("seg-%05d.m4s", n), Generation: 100, Kind: service.Media, Length: -1,
		Track: route.Track{Stem: "seg-$TOI%05d$.m4s", Number: n, Run: 100, Kind: route.Video},
	}
	o, err := h.above.Begin(m)
	require.NoError(t, err)
	for len(body) > 0 {
		k := min(3000, len(body))
		require.NoError(t, o.Write(body[:k], true))
		body = body[k:]
	}
	require.NoError(t, o.Commit())
	return m.Name
}

// read waits for an object below.
func (h *hop) read(t *testing.T, name string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		o, err := h.below.Open(ctx, name)
		if err == nil {
			r, err := o.NewReader(ctx, 0)
			require.NoError(t, err)
			b, err := io.ReadAll(r)
			r.Close()
			if err == nil {
				return b
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s did not come: %v; %+v", name, err, h.in.Stats())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestObjectsArriveAsTheyWere(t *testing.T) {
	h := newHop(t, nil, lossy.Config{}, false)
	require.NoError(t, h.above.PutManifest(service.Meta{Name: "v.m3u8", Generation: 3, ContentType: "application/vnd.apple.mpegurl"}, []byte("#EXTM3U\n")))
	init := append([]byte{0, 0, 0, 8, 'f', 't', 'y', 'p'}, octets(1, 700)...)
	o, err := h.above.Begin(service.Meta{Name: "init.mp4", Generation: 4, Kind: service.Init, ContentType: "video/mp4", Length: int64(len(init))})
	require.NoError(t, err)
	require.NoError(t, o.Write(init, true))
	require.NoError(t, o.Commit())
	body := octets(2, 200_000)
	name := h.media(t, 1, body)
	empty := h.media(t, 2, nil)

	require.True(t, bytes.Equal(body, h.read(t, name)))
	require.Equal(t, init, h.read(t, "init.mp4"))
	require.Equal(t, "#EXTM3U\n", string(h.read(t, "v.m3u8")))
	require.Empty(t, h.read(t, empty))

	o2, err := h.below.Open(t.Context(), "init.mp4")
	require.NoError(t, err)
	require.EqualValues(t, 4, o2.Meta().Generation)
	require.True(t, o2.Meta().Pinned, "what begins with ftyp is an init segment")
}

func TestFECMakesUpForLoss(t *testing.T) {
	h := newHop(t, nil, lossy.Config{Random: 0.1, Seed: 5}, false)
	for n := uint32(1); n <= 8; n++ {
		body := octets(uint64(n), 60_000)
		require.True(t, bytes.Equal(body, h.read(t, h.media(t, n, body))), "segment %d", n)
	}
	st := h.in.Stats()
	require.Positive(t, st.Injected)
	require.Positive(t, st.Receiver.Recovered)
	require.Zero(t, st.Receiver.Supplied)
}

// mender gives out what the service above has.
type mender struct {
	hop  *hop
	want chan ingress.Wanted
}

func (m *mender) Repair(ctx context.Context, want ingress.Wanted, supply func(int64, []byte, int64) error) error {
	select {
	case m.want <- want:
	default:
	}
	o, err := m.hop.above.Open(ctx, want.Name)
	if err != nil {
		return err
	}
	n, final, err := o.Size()
	if err != nil || !final {
		return fmt.Errorf("not whole: %w", err)
	}
	for _, r := range want.Missing {
		if r.End < 0 {
			r.End = n
		}
		b := make([]byte, r.End-r.Start)
		if _, err := o.ReadAt(b, r.Start); err != nil && err != io.EOF {
			return err
		}
		if err := supply(r.Start, b, n); err != nil {
			return err
		}
	}
	return nil
}

func TestRepairBringsTheRest(t *testing.T) {
	m := &mender{want: make(chan ingress.Wanted, 1)}
	h := newHop(t, m, lossy.Config{Random: 0.2, Seed: 9}, true)
	m.hop = h
	for n := uint32(1); n <= 4; n++ {
		body := octets(uint64(n), 60_000)
		require.True(t, bytes.Equal(body, h.read(t, h.media(t, n, body))), "segment %d", n)
	}
	want := <-m.want
	require.Equal(t, "live", want.Service)
	require.EqualValues(t, 100, want.Generation)
	require.NotEmpty(t, want.Missing)
	st := h.in.Stats()
	require.Positive(t, st.Receiver.Supplied)
	require.Zero(t, st.Receiver.Recovered)
}

func TestRetireEndsWithTheLastObject(t *testing.T) {
	h := newHop(t, nil, lossy.Config{}, false)
	o, err := h.above.Begin(service.Meta{
		Name: "seg-00001.m4s", Generation: 100, Kind: service.Media, Length: -1,
		Track: route.Track{Stem: "seg-$TOI%05d$.m4s", Number: 1, Run: 100},
	})
	require.NoError(t, err)
	require.NoError(t, o.Write(octets(1, 5000), true))
	require.Eventually(t, func() bool {
		_, err := h.below.Open(t.Context(), "seg-00001.m4s")
		return err == nil
	}, 5*time.Second, 2*time.Millisecond)

	retired := make(chan struct{})
	go func() {
		h.in.Retire(t.Context())
		close(retired)
	}()
	select {
	case <-retired:
		t.Fatal("an object is still under way")
	case <-time.After(150 * time.Millisecond):
	}
	require.NoError(t, o.Write(octets(2, 5000), true))
	require.NoError(t, o.Commit())
	<-retired
	require.Len(t, h.read(t, "seg-00001.m4s"), 10_000)
	h.media(t, 2, octets(3, 100))
	time.Sleep(100 * time.Millisecond)
	_, err = h.below.Open(t.Context(), "seg-00002.m4s")
	require.ErrorIs(t, err, service.ErrNotFound)
}

// slowParent gives the rest of an object when it is told to.
type slowParent struct {
	asked chan service.Request
	give  chan []byte
}

func (p *slowParent) Fetch(ctx context.Context, r service.Request, begin func(service.Meta) (io.Writer, error)) error {
	p.asked <- r
	select {
	case <-ctx.Done():
		return ctx.Err()
	case b := <-p.give:
		w, err := begin(service.Meta{Name: r.Name, Length: -1})
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	}
}

// What a parent brings of an object that multicast has begun comes to its end, too, before a session that is left counts as
// ended: its reader has the first half already.
func TestRetireWaitsForWhatParentsBring(t *testing.T) {
	p := &slowParent{asked: make(chan service.Request, 1), give: make(chan []byte)}
	h := newHopOf(t, ingress.Config{Plain: p}, false)
	o, err := h.above.Begin(service.Meta{
		Name: "seg-00001.m4s", Generation: 100, Kind: service.Media, Length: -1,
		Track: route.Track{Stem: "seg-$TOI%05d$.m4s", Number: 1, Run: 100},
	})
	require.NoError(t, err)
	head, tail := octets(1, 5000), octets(2, 5000)
	require.NoError(t, o.Write(head, true))
	require.Eventually(t, func() bool {
		o, err := h.below.Open(t.Context(), "seg-00001.m4s")
		if err != nil {
			return false
		}
		n, _, _ := o.Size()
		return n == 5000
	}, 10*time.Second, 2*time.Millisecond)
	fed := make(chan error, 1)
	go func() { fed <- h.in.Feed(t.Context(), "seg-00001.m4s") }()
	require.EqualValues(t, 5000, (<-p.asked).Offset)

	retired := make(chan struct{})
	go func() {
		h.in.Retire(t.Context())
		close(retired)
	}()
	select {
	case <-retired:
		t.Fatal("an object is still under way")
	case <-time.After(150 * time.Millisecond):
	}
	p.give <- tail
	require.NoError(t, <-fed)
	<-retired
	require.Equal(t, append(head, tail...), h.read(t, "seg-00001.m4s"))
	o.Abort(io.ErrUnexpectedEOF)
}

// TestChunkLeavesBeforeItsSegmentEnds is what low latency rests on.
func TestChunkLeavesBeforeItsSegmentEnds(t *testing.T) {
	h := newHop(t, nil, lossy.Config{}, false)
	o, err := h.above.Begin(service.Meta{
		Name: "seg-00001.m4s", Generation: 100, Kind: service.Media, Length: -1,
		Track: route.Track{Stem: "seg-$TOI%05d$.m4s", Number: 1, Run: 100},
	})
	require.NoError(t, err)
	chunk := octets(1, 2500)
	require.NoError(t, o.Write(chunk, true))
	var below *cache.Object
	require.Eventually(t, func() bool {
		below, err = h.below.Open(t.Context(), "seg-00001.m4s")
		return err == nil
	}, 5*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	require.NoError(t, below.WaitPrefix(ctx, int64(len(chunk))))
	o.Abort(io.ErrUnexpectedEOF)
}
