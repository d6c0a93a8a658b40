// Package service is one channel inside one node.
//
// Objects come in from exactly one kind of place (an encoder's push at CAST, multicast at RELAY and BEACON), are kept in
// the node's cache where players and children read them while they still grow, and are handed to sinks, such as the
// sender that multicasts them on. A Service knows what the current manifests announce, so that a request for an object
// that is about to come can wait for it, and asks the parents of the node for what it has missed.
//
// Octets given to a Service are readable at once: whoever writes must have verified them first.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/manifest"
	"github.com/treedn/treedn/route"
)

// Kind tells how an object takes part in the service.
type Kind uint8

const (
	Other Kind = iota
	Manifest
	Init
	Media
)

// Meta describes one object before its first octet.
type Meta struct {
	Name        string // Content-Location, relative to the service
	ContentType string
	Generation  uint64 // of two objects under one name the higher replaces the lower
	Kind        Kind
	Track       route.Track
	Length      int64 // -1 while unknown
	Fallback    bool  // a parent gives it, not multicast
}

// A Sink receives every object that begins after it was added, and what is current (manifests, init segments) when it
// is added. Its methods are called in order and must not block.
type Sink interface {
	Begin(Meta) ObjectSink // nil: not interested
	Manifest(Meta, []byte)
}

// ObjectSink follows one object. The slices are only valid during the call.
type ObjectSink interface {
	Write(p []byte, chunkEnd bool)
	Commit()
	Abort(cause error)
}

// SealHeader is the key under which the cache keeps, beside an object, the datagram that makes it readable.
const SealHeader = "seal"

// SealSink is a Sink that sends the datagrams which seal the service's objects on to others.
type SealSink interface {
	Sink
	Seal(datagram []byte)
}

var (
	// ErrExists is returned by Begin for an object that is here already or is on its way.
	ErrExists = errors.New("service: object exists")
	// ErrOlder is returned for a generation lower than the newest one of that name.
	ErrOlder = errors.New("service: older generation")
	// ErrNotFound is returned by Open when neither this node nor a parent has the object.
	ErrNotFound = cache.ErrNotFound
	// ErrUnchanged is returned by a Fetcher when no parent has a newer generation than the one that is here.
	ErrUnchanged = errors.New("service: no newer generation")
	// ErrChanged is returned by a Fetcher when the parents have another generation than the one that was begun.
	ErrChanged = errors.New("service: another generation")
)

// A Fetcher asks the parents of the node for an object that did not come by itself.
type Fetcher interface {
	// Fetch calls begin, once, when it knows what it gets, and writes the octets as they come. The caller ends the
	// object: nil means that all octets came. The writer may refuse octets by a *MismatchError; if it is an Ender, it
	// has the last word on whether the object is complete.
	Fetch(ctx context.Context, r Request, begin func(Meta) (io.Writer, error)) error
}

// Request names what the parents are asked for.
type Request struct {
	Service, Name string
	// Offset is the first octet that is wanted, of the object of that Generation. Zero: the whole object, of the
	// generation that the parent has.
	Offset     int64
	Generation uint64
	// After asks for a generation newer than this one.
	After uint64
	// Persist goes on to ask until the context ends while all that is wrong is that no parent can be reached, or that
	// those that can have nothing more for now.
	Persist bool
	// Expect is how long it may take until there is something to give: no second parent is asked before.
	Expect time.Duration
}

// MismatchError is returned by a writer that is given octets that are not those of the source: whoever gave them is
// asked no more, and another parent is asked for all from Offset on.
type MismatchError struct{ Offset int64 }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("service: octets from %d on are not the source's", e.Offset)
}

// An Ender is a writer that is told that all octets came, and how many these are. It returns nil when it has them all
// and found them good, or a *MismatchError.
type Ender interface{ End(length int64) error }

// Config configures a Service.
type Config struct {
	Name  string
	Store *cache.Store
	// Parents is asked for objects that this node lacks; nil if there is none.
	Parents Fetcher
	// Runs tells that the objects of a numbered track have the generation of their run, as a CAST gives it and a seal
	// proves it.
	Runs   bool
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default silent
}

// Service is safe for concurrent use.
type Service struct {
	cfg   Config
	log   *slog.Logger
	index manifest.Index

	renewals renewals

	mu        sync.Mutex // guards below
	sinks     map[Sink]struct{}
	newest    map[string]begun // by name
	runs      runs
	manifests map[string]current
	inits     map[string]current
	lastBegin time.Time
	asked     map[string]time.Time // when the parents were asked for a manifest that was overdue
}

type begun struct {
	generation uint64
	aborted    bool
	at         time.Time
}

type current struct {
	meta Meta
	body []byte
	at   time.Time // when it came
}

const (
	maxNames   = 65536
	maxCurrent = 256
)

// New returns an empty service.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{
		cfg: cfg, log: cfg.Logger,
		sinks:     make(map[Sink]struct{}),
		newest:    make(map[string]begun),
		runs:      make(runs),
		manifests: make(map[string]current),
		inits:     make(map[string]current),
		asked:     make(map[string]time.Time),
	}
}

// Name returns the name of the service.
func (s *Service) Name() string { return s.cfg.Name }

// Index tells what the current manifests announce.
func (s *Service) Index() *manifest.Index { return &s.index }

func (s *Service) key(name string) cache.Key { return cache.Key{Service: s.cfg.Name, Name: name} }

// Manifests returns the names of the current manifests.
func (s *Service) Manifests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.manifests))
}

// AddSink hands s everything current and everything to come. The caller ends it with RemoveSink.
func (s *Service) AddSink(sink Sink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.inits {
		if o := sink.Begin(c.meta); o != nil {
			o.Write(c.body, true)
			o.Commit()
		}
	}
	for _, c := range s.manifests {
		sink.Manifest(c.meta, c.body)
	}
	s.sinks[sink] = struct{}{}
}

// RemoveSink ends the sink's share in objects that begin from now on; those under way go on to their end.
func (s *Service) RemoveSink(sink Sink) {
	s.mu.Lock()
	delete(s.sinks, sink)
	s.mu.Unlock()
}

// PutManifest replaces a manifest at once and byte-identical: readers see the old one or the new one.
func (s *Service) PutManifest(m Meta, body []byte) error { return s.PutSealed(m, body, nil) }

// PutSealed is PutManifest with the datagram that seals the manifest, nil if none does.
func (s *Service) PutSealed(m Meta, body, datagram []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.manifests[m.Name]
	if ok && old.meta.Generation >= m.Generation {
		return ErrOlder
	} else if !ok && len(s.manifests) >= maxCurrent {
		return fmt.Errorf("service: more than %d manifests", maxCurrent)
	}
	body = append([]byte(nil), body...)
	m.Length = int64(len(body))
	cm := s.cacheMeta(m)
	if datagram != nil {
		cm.Header = map[string]string{SealHeader: string(datagram)}
	}
	if o := s.here(m.Name); o != nil && o.Meta().Generation > m.Generation {
		return ErrOlder
	}
	// What it announces has to be known by the time that somebody can read it.
	before, known := s.index.Summary(m.Name)
	s.announce(m.Name, body)
	if after, _ := s.index.Summary(m.Name); known && s.cfg.Runs && after.Replaces(before) {
		s.renew(m.Name, old.meta.Generation)
	}
	switch _, err := s.cfg.Store.Put(s.key(m.Name), cm, body); {
	case err == nil, errors.Is(err, cache.ErrExists): // a request has fetched it from a parent
	case errors.Is(err, cache.ErrStale):
		return ErrOlder
	default:
		return err
	}
	s.manifests[m.Name] = current{m, body, s.cfg.Now()}
	for sink := range s.sinks {
		sink.Manifest(m, body)
	}
	return nil
}

// Seal hands a datagram that seals objects of the service to the sinks that send it on. It must not be changed any more.
func (s *Service) Seal(datagram []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sink := range s.sinks {
		if x, ok := sink.(SealSink); ok {
			x.Seal(datagram)
		}
	}
}

// announce notes what a manifest says. One that cannot be read is still passed on.
func (s *Service) announce(name string, body []byte) {
	if err := s.index.Update(name, body); err != nil {
		s.log.Debug("manifest is passed on unread", "service", s.cfg.Name, "name", name, "error", err)
	}
}

func (s *Service) cacheMeta(m Meta) cache.Meta {
	cm := cache.Meta{ContentType: m.ContentType, Generation: m.Generation, Pinned: m.Kind == Init}
	if m.Kind == Manifest {
		cm.CacheControl = "no-cache"
	}
	return cm
}

// Begin opens an object. A newer generation of a name replaces the older one at once, also in mid-growth.
func (s *Service) Begin(m Meta) (*Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.past(m) {
		return nil, ErrOlder
	}
	if b, ok := s.newest[m.Name]; ok {
		switch {
		case b.generation > m.Generation:
			return nil, ErrOlder
		case b.generation == m.Generation && !b.aborted:
			return nil, ErrExists
		}
	} else if len(s.newest) >= maxNames {
		s.forgetOldest()
	}
	o := &Object{service: s, meta: m}
	w, err := s.cfg.Store.Create(s.key(m.Name), s.cacheMeta(m))
	switch {
	case err == nil:
		o.cache = w
	case errors.Is(err, cache.ErrExists):
		// A player's request fetched it first; the sinks still need it.
	case errors.Is(err, cache.ErrStale):
		return nil, ErrOlder
	default:
		return nil, err
	}
	now := s.cfg.Now()
	s.newest[m.Name] = begun{generation: m.Generation, at: now}
	s.lastBegin = now
	if !s.cfg.Runs {
		s.index.Observe(m.Name, 0)
	} else {
		s.index.Observe(m.Name, m.Track.Run)
		s.renewals.begin(m.Track.Stem, m.Track.Run)
		for _, name := range s.runs.begin(m) {
			s.cfg.Store.RemoveOlder(s.key(name), m.Track.Run)
		}
	}
	for sink := range s.sinks {
		if os := sink.Begin(m); os != nil {
			o.sinks = append(o.sinks, os)
		}
	}
	if m.Kind == Init {
		o.keep = make([]byte, 0, 2048)
	}
	return o, nil
}

// Holds tells whether Begin would refuse an object, because it or a newer one is here or on its way.
func (s *Service) Holds(name string, generation uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.newest[name]
	return ok && (b.generation > generation || b.generation == generation && !b.aborted)
}

// Outdate makes an object unreadable whose generation is below the given one, since the newer one exists.
func (s *Service) Outdate(name string, generation uint64) {
	if s.cfg.Store.RemoveOlder(s.key(name), generation) {
		s.log.Debug("object is outdated", "service", s.cfg.Name, "name", name)
	}
}

// forgetOldest makes room for a new name; the replay of a name that has been forgotten for so long is for the seals to
// refuse.
func (s *Service) forgetOldest() {
	var name string
	var at time.Time
	for n, b := range s.newest {
		if name == "" || b.at.Before(at) {
			name, at = n, b.at
		}
	}
	delete(s.newest, name)
}

// An Object is written by one goroutine.
type Object struct {
	service *Service
	meta    Meta
	cache   *cache.Writer // nil if the cache has it from elsewhere
	sinks   []ObjectSink
	keep    []byte
	n       int64
	done    bool
}

// Meta returns what the object was begun with.
func (o *Object) Meta() Meta { return o.meta }

// Len returns the octets written so far.
func (o *Object) Len() int64 { return o.n }

// Write appends octets, which readers see at once. chunkEnd marks the end of a CMAF chunk, where packets are cut.
func (o *Object) Write(p []byte, chunkEnd bool) error {
	if o.done {
		return errors.New("service: write after the end")
	}
	o.n += int64(len(p))
	if o.meta.Kind == Init {
		o.keep = append(o.keep, p...)
	}
	for _, s := range o.sinks {
		s.Write(p, chunkEnd)
	}
	if o.cache != nil {
		if _, err := o.cache.Write(p); err != nil {
			// Limits of the cache end what players can read, not what is sent on.
			o.cache.Abort(err)
			o.cache = nil
			o.service.log.Warn("object left the cache", "service", o.service.cfg.Name, "name", o.meta.Name, "error", err)
		}
	}
	return nil
}

// SetSeal keeps beside the object the datagram that makes the octets written next readable. The octets do not come
// first: a child that reads them must find it.
func (o *Object) SetSeal(datagram []byte) {
	if o.cache != nil {
		_ = o.cache.Object().SetHeader(SealHeader, string(datagram)) // it fits
	}
}

// Commit ends the object: its length is final.
func (o *Object) Commit() error {
	if o.done {
		return nil
	}
	o.done = true
	for _, s := range o.sinks {
		s.Commit()
	}
	s := o.service
	if o.meta.Kind == Init {
		m := o.meta
		m.Length = o.n
		s.mu.Lock()
		if _, ok := s.inits[m.Name]; ok || len(s.inits) < maxCurrent {
			s.inits[m.Name] = current{m, o.keep, s.cfg.Now()}
		}
		s.mu.Unlock()
	}
	if o.cache != nil {
		return o.cache.Finish()
	}
	return nil
}

// Abort breaks the object off: no reader ever takes it for complete.
func (o *Object) Abort(cause error) {
	if o.done {
		return
	}
	o.done = true
	for _, s := range o.sinks {
		s.Abort(cause)
	}
	s := o.service
	s.mu.Lock()
	if b := s.newest[o.meta.Name]; b.generation == o.meta.Generation {
		b.aborted = true
		s.newest[o.meta.Name] = b
	}
	s.mu.Unlock()
	if o.cache != nil {
		o.cache.Abort(cause)
	}
}

// LastBegin tells when the last object began; the zero time if none did.
func (s *Service) LastBegin() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastBegin
}

// RouteKind is the kind of media in the sender's terms.
func RouteKind(k manifest.Kind) route.TrackKind {
	switch k {
	case manifest.Video:
		return route.Video
	case manifest.Audio:
		return route.Audio
	case manifest.Text:
		return route.Text
	}
	return route.Unknown
}
