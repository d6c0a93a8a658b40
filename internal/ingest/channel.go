package ingest

import (
	"context"
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"github.com/treedn/treedn/internal/cmaf"
	"github.com/treedn/treedn/internal/manifest"
)

// A channel is what one name below /publish/ has: a publisher, its objects on
// their way, and what must be remembered of those that have passed.
type channel struct {
	name   string
	config *Config // of the server; not written
	sink   Sink
	index  manifest.Index
	seq    sequence
	store  *store          // nil: nothing is kept
	ctx    context.Context // ends when the channel is closed
	stop   context.CancelCauseFunc

	// manifests is held over the sink's calls for one manifest, so that the
	// newest one is also the last one the sink sees.
	manifests sync.Mutex

	mu        sync.Mutex    // guards below; not held over calls of the sink
	changed   chan struct{} // closed and replaced when a decision that waits may have changed
	keys      keyring
	keyCount  int
	rate      bucket
	closed    error // why the channel takes nothing any more
	session   *session
	epoch     uint64      // counts starts of the encoder, as far as they are noticed
	activity  [2]activity // of the current epoch and the one before
	ended     time.Time   // when a manifest said that nothing will follow; zero: none
	transfers map[*transfer]struct{}
	tracks    map[family]*track
	inits     map[string]*initSegment
	manifest  map[string]manifestState
	status    record
}

// A publisher is told from others by where it comes from and what it says it is.
// FFmpeg opens a connection per request or per stream, so connections do not
// tell; two of one kind on one host are told apart by what they push.
type publisher struct {
	addr    netip.Addr
	agent   string // User-Agent, or the origin that is pulled from
	standby bool   // gives way to one that is none
}

func (p publisher) String() string {
	switch {
	case !p.addr.IsValid():
		return p.agent
	case p.agent == "":
		return p.addr.String()
	}
	return p.addr.String() + " (" + p.agent + ")"
}

// A session is the time during which one publisher has the channel.
type session struct {
	who   publisher
	began time.Time
	last  time.Time // of an octet, a beginning or an end
}

// activity is what media was pushed in one epoch.
type activity struct {
	epoch    uint64
	heard    time.Time // the newest octet, beginning or end of an object
	ended    time.Time // the newest end of an object
	broken   bool      // that end was none: the connection broke
	streamed bool      // objects are sent while they are made, one after the other without a pause
}

type initSegment struct {
	hash    [sha256.Size]byte
	kind    manifest.Kind
	session *session
	deleted bool // by the publisher, since
	used    uint64
}

type manifestState struct {
	summary    manifest.Summary
	generation uint64
	order      time.Time
	epoch      uint64
}

// maxManifests bounds the manifests that a channel remembers.
const maxManifests = 128

func newChannel(name string, s *Server, cfg Channel) (*channel, error) {
	c := &channel{
		name:      name,
		config:    &s.config,
		sink:      s.config.Sink,
		changed:   make(chan struct{}),
		transfers: make(map[*transfer]struct{}),
		tracks:    make(map[family]*track),
		inits:     make(map[string]*initSegment),
		manifest:  make(map[string]manifestState),
	}
	c.ctx, c.stop = context.WithCancelCause(context.Background())
	c.index.Limits.Octets = int(c.config.MaxManifest)
	c.status.since = c.config.Now()
	c.configure(cfg)
	if c.config.StateDir != "" {
		if err := c.restore(s); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// configure sets keys and rate and ends the requests whose key is gone.
func (c *channel) configure(cfg Channel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = keyring{n: len(cfg.Keys)}
	copy(c.keys.hashes[:], cfg.Keys)
	c.keyCount = len(cfg.Keys)
	c.rate.limit(cfg.MaxRate)
	for t := range c.transfers {
		if t.keyed && !c.keys.find(t.key) || !t.keyed && t.pushed && c.keyCount > 0 {
			t.cancel(ErrRevoked)
		}
	}
}

// restore reads what the channel had before a restart and gives the init
// segments to the sink, under the generations that they had.
func (c *channel) restore(s *Server) error {
	var err error
	if c.store, err = openStore(c.config.StateDir, c.name); err != nil {
		return err
	}
	log := c.config.Logger.With("channel", c.name)
	c.seq.save = c.store.saveGeneration
	c.seq.spawn = s.background.run
	c.seq.fail = func(err error) {
		log.Error("generations are not kept: after a restart old objects may look newer", "error", err)
	}
	reserved, err := c.store.generation()
	if err != nil {
		log.Error("saved generation is lost", "error", err)
	}
	c.seq.last, c.seq.reserved = reserved, reserved
	inits, err := c.store.inits()
	if err != nil {
		log.Error("saved init segments are lost", "error", err)
	}
	for _, i := range inits {
		c.seq.last = max(c.seq.last, i.Generation)
		o := Object{Channel: c.name, Name: i.Name, ContentType: i.ContentType, Kind: Init, Generation: i.Generation}
		kind := initKind(i.body)
		o.Track = manifest.Track{Kind: kind, Init: i.Name}
		if err := deliver(c.sink, o, i.body); err != nil {
			log.Warn("saved init segment is refused", "name", i.Name, "error", err)
			continue
		}
		c.inits[i.Name] = &initSegment{hash: sha256.Sum256(i.body), kind: kind, used: i.Generation}
	}
	return nil
}

// deliver gives the sink a whole object.
func deliver(sink Sink, o Object, body []byte) error {
	w, err := sink.Begin(o)
	if err != nil {
		return err
	}
	if err := w.Write(body, true); err != nil {
		w.Abort(err)
		return err
	}
	return w.Commit()
}

// initKind is what an init segment carries; of several tracks, the picture wins.
func initKind(body []byte) manifest.Kind {
	in, err := cmaf.ParseInit(body)
	if err != nil {
		return manifest.Unknown
	}
	kind := manifest.Unknown
	for _, t := range in.Tracks {
		var k manifest.Kind
		switch t.Kind {
		case cmaf.Video:
			k = manifest.Video
		case cmaf.Audio:
			k = manifest.Audio
		case cmaf.Text:
			k = manifest.Text
		default:
			continue
		}
		if kind == manifest.Unknown || k < kind {
			kind = k
		}
	}
	return kind
}

// close ends all transfers and refuses new ones.
func (c *channel) close(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		c.closed = cause
		c.stop(cause)
	}
	for t := range c.transfers {
		t.cancel(cause)
	}
	c.signal()
}

// signal wakes those that wait for a decision. c.mu is held.
func (c *channel) signal() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// hold is how long a silent publisher keeps the channel.
func (c *channel) hold() time.Duration {
	return max(c.config.Hold, 2*c.index.TargetDuration())
}

// enter makes who the publisher, or refuses it while another one is live. c.mu
// is held.
func (c *channel) enter(who publisher, now time.Time) error {
	if c.closed != nil {
		return c.closed
	}
	if len(c.transfers) >= c.config.MaxRequests {
		return limitError(limitRequests)
	}
	s := c.session
	overrides := s != nil && s.who.standby && !who.standby
	if s != nil && s.who != who && !overrides && now.Sub(s.last) < c.hold() && (c.ended.IsZero() || len(c.transfers) > 0) {
		return c.refused(who, now, "another publisher is live: "+s.who.String())
	}
	// A session of the same publisher goes on while any of its requests does,
	// however slow its media.
	if s == nil || s.who != who || now.Sub(s.last) >= c.hold() && len(c.transfers) == 0 {
		for t := range c.transfers {
			t.cancel(ErrSuperseded)
		}
		c.session = &session{who: who, began: now}
		c.nextEpoch()
		c.status.begin(now)
		c.config.Logger.Info("publisher began", "channel", c.name, "publisher", who.String())
	}
	c.session.last = now
	return nil
}

// refused counts a publisher that was turned away. c.mu is held.
func (c *channel) refused(who publisher, now time.Time, reason string) error {
	if c.status.refuse(who, now, reason) {
		c.config.Logger.Warn("publisher refused", "channel", c.name, "publisher", who.String(), "reason", reason)
	}
	return ErrBusy
}

// nextEpoch notes that the encoder began anew. c.mu is held.
func (c *channel) nextEpoch() {
	c.epoch++
	c.activity[1] = c.activity[0]
	c.activity[0] = activity{epoch: c.epoch}
	c.ended = time.Time{}
	c.signal()
}

// of returns the activity of an epoch, nil if that is long gone. c.mu is held.
func (c *channel) of(epoch uint64) *activity {
	for i := range c.activity {
		if c.activity[i].epoch == epoch {
			return &c.activity[i]
		}
	}
	return nil
}

// await blocks until the time, a change, or the end of ctx.
func await(ctx context.Context, d time.Duration, changed <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-changed:
	case <-timer.C:
	}
	return nil
}
