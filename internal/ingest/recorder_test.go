package ingest

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recorder is a Sink that keeps everything.
type recorder struct {
	mu      sync.Mutex // guards below
	objects []*recorded
	deleted []string
	fail    error         // of Begin
	arrived chan struct{} // closed and replaced at each event
}

type recorded struct {
	Object
	r         *recorder
	body      []byte
	chunks    []int // where chunks end
	committed bool
	aborted   error
	at        []time.Time // of each Write
}

func newRecorder() *recorder { return &recorder{arrived: make(chan struct{})} }

func (r *recorder) signal() {
	close(r.arrived)
	r.arrived = make(chan struct{})
}

func (r *recorder) Begin(o Object) (Writer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return nil, r.fail
	}
	w := &recorded{Object: o, r: r}
	r.objects = append(r.objects, w)
	r.signal()
	return w, nil
}

func (r *recorder) Delete(channel, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deleted = append(r.deleted, name)
	r.signal()
}

func (w *recorded) Write(p []byte, chunkEnd bool) error {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	w.body = append(w.body, p...)
	w.at = append(w.at, time.Now())
	if chunkEnd {
		w.chunks = append(w.chunks, len(w.body))
	}
	w.r.signal()
	return nil
}

func (w *recorded) Commit() error {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	if w.committed || w.aborted != nil {
		panic("an object ended twice")
	}
	w.committed = true
	w.r.signal()
	return nil
}

func (w *recorded) Abort(cause error) {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	if w.committed || w.aborted != nil {
		panic("an object ended twice")
	}
	if cause == nil {
		panic("abort without a cause")
	}
	w.aborted = cause
	w.r.signal()
}

// named returns copies of all objects of a name, in the order of their begin.
func (r *recorder) named(name string) []recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []recorded
	for _, o := range r.objects {
		if o.Name == name {
			all = append(all, *o)
		}
	}
	return all
}

func (r *recorder) all() []recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]recorded, len(r.objects))
	for i, o := range r.objects {
		all[i] = *o
	}
	return all
}

// last returns the newest object of a name.
func (r *recorder) last(t *testing.T, name string) recorded {
	t.Helper()
	all := r.named(name)
	require.NotEmpty(t, all, name)
	return all[len(all)-1]
}

// newest returns the object of the name that counts: of manifests that come at
// the same time the last one handed on need not be that.
func (r *recorder) newest(t *testing.T, name string) recorded {
	t.Helper()
	all := r.named(name)
	require.NotEmpty(t, all, name)
	return slices.MaxFunc(all, func(a, b recorded) int { return cmp.Compare(a.Generation, b.Generation) })
}

// wait blocks until the condition holds.
func (r *recorder) wait(t *testing.T, what string, condition func() bool) {
	t.Helper()
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	for {
		r.mu.Lock()
		arrived := r.arrived
		r.mu.Unlock()
		if condition() {
			return
		}
		select {
		case <-arrived:
		case <-timeout.C:
			t.Fatalf("timeout: %s", what)
		}
	}
}

// box returns a box of the given total size, filled with a pattern.
func box(name string, size int) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint32(b, uint32(size))
	copy(b[4:], name)
	if name == "moof" || name == "moov" {
		// One child that nobody reads.
		copy(b[8:], box("free", size-8))
		return b
	}
	for i := 8; i < size; i++ {
		b[i] = byte(i * 31)
	}
	return b
}

// chunk returns a moof and an mdat of the given total size.
func chunk(size int) []byte {
	return append(box("moof", 16), box("mdat", size-16)...)
}

// segment of CMAF with n chunks.
func segmentOf(n int) []byte {
	b := box("styp", 24)
	for range n {
		b = append(b, chunk(100)...)
	}
	return b
}

func initOf(fill byte) []byte {
	b := append(box("ftyp", 24), box("moov", 64)...)
	b[len(b)-1] = fill
	return b
}

// mpd is a manifest like FFmpeg's with two representations.
func mpd(start string) []byte {
	kind := `type="static"`
	if start != "static" {
		kind = `type="dynamic"`
		if start != "" {
			kind += fmt.Sprintf(" availabilityStartTime=%q", start)
		}
	}
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="utf-8"?>
<MPD %s timeShiftBufferDepth="PT10S" maxSegmentDuration="PT2.0S" xmlns="urn:mpeg:dash:schema:mpd:2011"><Period start="PT0S">
<AdaptationSet contentType="video"><Representation id="0" bandwidth="1000000"><SegmentTemplate timescale="1000000" duration="2000000" initialization="init-stream$RepresentationID$.m4s" media="chunk-stream$RepresentationID$-$Number%%05d$.m4s" startNumber="1"/></Representation></AdaptationSet>
<AdaptationSet contentType="audio"><Representation id="1" bandwidth="96000"><SegmentTemplate timescale="1000000" duration="2000000" initialization="init-stream$RepresentationID$.m4s" media="chunk-stream$RepresentationID$-$Number%%05d$.m4s" startNumber="1"/></Representation></AdaptationSet>
</Period></MPD>`, kind)
}

func playlist(first, count int, end bool) []byte {
	b := fmt.Appendf(nil, "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:%d\n#EXT-X-MAP:URI=\"init.mp4\"\n", first)
	for i := range count {
		b = fmt.Appendf(b, "#EXTINF:2.000000,\nseg_%05d.m4s\n", first+i)
	}
	if end {
		b = append(b, "#EXT-X-ENDLIST\n"...)
	}
	return b
}

// A pusher pushes into a channel without HTTP.
type pusher struct {
	t   *testing.T
	c   *channel
	who publisher
}

func newPusher(t *testing.T, s *Server, channel, agent string) *pusher {
	c := s.channel(channel)
	require.NotNil(t, c)
	return &pusher{t, c, publisher{addr: netip.MustParseAddr("127.0.0.1"), agent: agent}}
}

func (p *pusher) open(name string) (*transfer, error) {
	t := &transfer{name: name, who: p.who, pushed: true}
	return t, p.c.open(context.Background(), t)
}

// put pushes a whole object.
func (p *pusher) put(name string, body []byte) error {
	t, err := p.open(name)
	if err != nil {
		return err
	}
	return t.finish(t.write(body))
}

func (p *pusher) mustPut(name string, body []byte) {
	p.t.Helper()
	require.NoError(p.t, p.put(name, body), name)
}

// begin opens an object and pushes its first octets.
func (p *pusher) begin(name string, first []byte) *transfer {
	p.t.Helper()
	t, err := p.open(name)
	require.NoError(p.t, err)
	require.NoError(p.t, t.write(first))
	return t
}

var errBroken = errors.New("connection reset by peer")

func newServer(t *testing.T, cfg Config) (*Server, *recorder) {
	t.Helper()
	r := newRecorder()
	if cfg.Sink == nil {
		cfg.Sink = r
	}
	if cfg.Channels == nil {
		cfg.Channels = map[string]Channel{"ch1": {}}
	}
	s, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, r
}
