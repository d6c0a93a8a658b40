package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/treedn/treedn/internal/cmaf"
	"github.com/treedn/treedn/internal/manifest"
)

// A transfer is one object on its way from its publisher to the sink. Its
// methods are used by one goroutine; fields marked so are shared.
type transfer struct {
	c           *channel
	name        string
	contentType string
	who         publisher
	key         KeyHash
	keyed       bool // a stream key was checked
	pushed      bool // came in by a connection, not by a pull
	opened      time.Time
	order       time.Time // when the request or its connection began, to tell which of two was first
	generation  uint64
	session     *session
	ctx         context.Context // ends when the transfer must not go on

	stop context.CancelCauseFunc

	state    transferState
	total    int64
	buf      []byte         // what is held back in the states head, whole and header
	splitter *cmaf.Splitter // nil: opaque octets
	writer   Writer         // in the state stream
	discard  bool           // the rest is read and thrown away

	// Shared, guarded by c.mu.
	media     bool // a segment that the sink has been told of, or is about to be
	track     *track
	number    uint32
	epoch     uint64
	last      time.Time // of an octet
	taken     int64     // octets
	cancelled error
}

type transferState uint8

const (
	head   transferState = iota // too few octets to tell what it is
	whole                       // a manifest: kept until its end
	header                      // an init segment: kept until its end
	stream                      // handed on as it comes
)

// headLength is how many octets tell what an object is: a box header.
const headLength = 8

// open begins a transfer. who becomes the publisher of the channel unless
// another one is live. The transfer must be ended with finish.
func (c *channel) open(ctx context.Context, t *transfer) error {
	now := c.config.Now()
	ctx, t.stop = context.WithCancelCause(ctx)
	t.c, t.ctx, t.opened, t.last = c, ctx, now, now
	if t.order.IsZero() {
		t.order = now
	}
	if err := c.admit(t, now); err != nil {
		c.mu.Lock()
		c.status.hit(err)
		c.mu.Unlock()
		t.stop(err)
		return err
	}
	if manifest.IsManifest(t.name) {
		t.state = whole
	}
	return nil
}

func (c *channel) admit(t *transfer, now time.Time) error {
	asked := now
	for {
		c.mu.Lock()
		err := c.enter(t.who, now)
		if err != nil {
			c.mu.Unlock()
			return err
		}
		rival := c.sameName(t)
		if rival == nil {
			t.session = c.session
			t.epoch = c.epoch
			t.generation = c.seq.next(now)
			c.transfers[t] = struct{}{}
			c.mu.Unlock()
			return nil
		}
		if now.Sub(rival.last) >= c.hold() {
			rival.cancel(ErrSuperseded)
		} else if now.Sub(asked) >= grace {
			err = c.refused(t.who, now, "an open request has the same name: "+t.name)
			c.mu.Unlock()
			return err
		}
		changed := c.changed
		c.mu.Unlock()
		if err := await(t.ctx, grace, changed); err != nil {
			return err
		}
		now = c.config.Now()
	}
}

// sameName returns an open transfer of the same name. Manifests may overlap:
// FFmpeg sends one per stream within milliseconds. c.mu is held.
func (c *channel) sameName(t *transfer) *transfer {
	if manifest.IsManifest(t.name) {
		return nil
	}
	for o := range c.transfers {
		if o.name == t.name && o.alive() {
			return o
		}
	}
	return nil
}

// alive is whether the transfer may go on. c.mu is held.
func (t *transfer) alive() bool { return t.cancelled == nil }

// cancel makes the transfer end soon. c.mu is held.
func (t *transfer) cancel(cause error) {
	if t.cancelled == nil {
		t.cancelled = cause
		t.stop(cause)
	}
}

// write takes the next octets of the object. It blocks while the channel is
// beyond its rate, or while it is open whether the object is taken.
func (t *transfer) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	pause, err := t.touch(len(p))
	if err != nil {
		return err
	}
	if pause > 0 {
		if err := await(t.ctx, pause, nil); err != nil {
			return err
		}
	}
	if t.discard {
		return nil
	}
	switch t.state {
	case head:
		t.buf = append(t.buf, p...)
		if len(t.buf) < headLength {
			return nil
		}
		return t.decide()
	case whole:
		if int64(len(t.buf)+len(p)) > t.c.config.MaxManifest {
			return limitError(limitManifest)
		}
		t.buf = append(t.buf, p...)
		return nil
	case header:
		t.buf = append(t.buf, p...)
		return t.scanHeader(p)
	}
	return t.forward(p)
}

// touch accounts for n octets and returns how long to wait after them.
func (t *transfer) touch(n int) (time.Duration, error) {
	c := t.c
	now := c.config.Now()
	t.total += int64(n)
	if t.total > c.config.MaxObject {
		return 0, limitError(limitObject)
	}
	if now.Sub(t.opened) > c.longest() {
		return 0, limitError(limitObjectTime)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.cancelled != nil {
		return 0, t.cancelled
	}
	t.last, t.taken = now, t.total
	t.session.last = now
	if a := c.of(t.epoch); a != nil && t.media {
		a.heard = now
	}
	c.status.octets += uint64(n)
	pause := c.rate.take(n, now)
	if pause > 0 {
		c.status.count(limitRate)
	}
	return pause, nil
}

// decide tells by the first octets what the object is. t.buf holds them and
// whatever came with them.
func (t *transfer) decide() error {
	b := t.buf
	switch {
	case manifest.LooksLikeManifest(b):
		t.state = whole
		return nil
	case len(b) < headLength:
		return t.begin(t.opaqueKind())
	}
	switch string(b[4:8]) {
	case "ftyp", "moov":
		t.splitter = t.newSplitter()
		t.state = header
		return t.scanHeader(b)
	case "styp", "moof", "sidx", "prft", "emsg":
		t.splitter = t.newSplitter()
		return t.begin(Media)
	}
	return t.begin(t.opaqueKind())
}

func (t *transfer) newSplitter() *cmaf.Splitter {
	return cmaf.NewSplitter(cmaf.Config{
		MaxInit:     uint64(t.c.config.MaxInit),
		MaxFragment: uint64(t.c.config.MaxObject),
	})
}

// opaqueKind is the kind of an object without boxes.
func (t *transfer) opaqueKind() Kind {
	if isSegment(t.name) {
		return Media
	}
	if _, ok := t.c.index.TrackOf(t.name); ok {
		return Media
	}
	return Other
}

// scanHeader looks for the end of an init segment in the newest octets. Media
// behind it make the object a segment that carries its own header.
func (t *transfer) scanHeader(p []byte) error {
	for len(p) > 0 {
		n, ev, err := t.splitter.Next(p)
		switch {
		case errors.Is(err, cmaf.ErrLimit) && int64(len(t.buf)) > t.c.config.MaxInit:
			return limitError(limitInit)
		case err != nil:
			// An ordinary MP4 file: nothing that could be played in part.
			t.splitter = nil
			return t.begin(Other)
		case ev.Kind == cmaf.SegmentStart, ev.Kind == cmaf.MoofEnd, ev.Kind == cmaf.ChunkEnd:
			t.splitter = t.newSplitter()
			return t.begin(Media)
		}
		p = p[n:]
	}
	if int64(len(t.buf)) > t.c.config.MaxInit {
		return limitError(limitInit)
	}
	return nil
}

// begin opens the object at the sink and hands on what was held back.
func (t *transfer) begin(kind Kind) error {
	o := Object{Channel: t.c.name, Name: t.name, Kind: kind, Generation: t.generation}
	if kind == Media {
		if err := t.c.admitMedia(t, &o); err != nil {
			return err
		}
	}
	o.ContentType = contentType(t.name, t.contentType, o.Track.Kind)
	w, err := t.c.sink.Begin(o)
	if err != nil {
		return fmt.Errorf("ingest: sink: %w", err)
	}
	t.writer, t.state = w, stream
	held := t.buf
	t.buf = nil
	return t.forward(held)
}

// forward hands octets on, cut after each CMAF chunk.
func (t *transfer) forward(p []byte) error {
	start := 0
	for at := 0; t.splitter != nil && at < len(p); {
		n, ev, err := t.splitter.Next(p[at:])
		at += n
		if err != nil {
			// The octets are the publisher's; without boundaries they are still
			// worth handing on.
			t.splitter = nil
			t.c.malformed(t, err)
			break
		}
		if ev.Kind == cmaf.ChunkEnd {
			if err := t.writer.Write(p[start:at], true); err != nil {
				return fmt.Errorf("ingest: sink: %w", err)
			}
			start = at
		}
	}
	if start == len(p) {
		return nil
	}
	if err := t.writer.Write(p[start:], false); err != nil {
		return fmt.Errorf("ingest: sink: %w", err)
	}
	return nil
}

// finish ends the transfer: with a nil cause as a complete object. It returns
// why a complete object was not taken.
func (t *transfer) finish(cause error) error {
	if cause == nil {
		cause = t.complete()
	} else {
		t.c.mu.Lock()
		if t.cancelled != nil {
			cause = t.cancelled // why it broke, not how
		}
		t.c.mu.Unlock()
	}
	if t.writer != nil {
		if cause == nil {
			if err := t.writer.Commit(); err != nil {
				cause = fmt.Errorf("ingest: sink: %w", err)
			}
		} else {
			t.writer.Abort(cause)
		}
		t.writer = nil
	}
	t.c.leave(t, cause)
	t.stop(cause)
	return cause
}

// complete does what remains at the end of the octets.
func (t *transfer) complete() error {
	if _, err := t.touch(0); err != nil || t.discard {
		return err
	}
	if t.state == head {
		if err := t.decide(); err != nil {
			return err
		}
	}
	switch t.state {
	case whole:
		return t.c.takeManifest(t)
	case header:
		return t.c.takeInit(t)
	}
	if t.splitter != nil {
		if _, err := t.splitter.Finish(); errors.Is(err, io.ErrUnexpectedEOF) {
			t.c.malformed(t, err)
		}
	}
	return nil
}
