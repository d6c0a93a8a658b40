package sealing

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
)

// SealerConfig configures a Sealer. Service, Store and Key are required.
type SealerConfig struct {
	Service *service.Service
	// Store holds the service's objects, beside which their seals are kept.
	Store *cache.Store
	// Key seals the content.
	Key ed25519.PrivateKey
	// State is the file that keeps the time of the seals through restarts; empty: none does, and the clock must not step
	// back over one.
	State  string
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default silent
}

// Sealer seals the content of one service. Its methods are safe for concurrent use.
type Sealer struct {
	cfg   SealerConfig
	clock clock
	wake  chan struct{}

	mu     sync.Mutex // guards below
	signer *seal.Signer
	newest *seal.Seal
}

var _ service.Sink = (*Sealer)(nil)

// NewSealer returns a Sealer that takes part in what the service takes in from now on. Run sends the seals.
func NewSealer(cfg SealerConfig) (*Sealer, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	s := &Sealer{cfg: cfg, clock: clock{file: cfg.State}, wake: make(chan struct{}, 1)}
	after, err := s.clock.load()
	if err != nil {
		return nil, err
	}
	s.signer, err = seal.NewSigner(seal.SignerConfig{Service: cfg.Service.Name(), Key: cfg.Key, After: after})
	if err != nil {
		return nil, err
	}
	cfg.Service.AddSink(s)
	return s, nil
}

// Rotate goes over to another key. The receivers must have it among their anchors by then.
func (s *Sealer) Rotate(key ed25519.PrivateKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.poke()
	return s.signer.Rotate(s.cfg.Now(), key, 0)
}

// Newest returns the newest datagram, for children at their first contact; nil if there is none yet.
func (s *Sealer) Newest() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil {
		return nil
	}
	return s.newest.Bytes()
}

// Stats returns the counters of the signer.
func (s *Sealer) Stats() seal.SignerStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signer.Stats()
}

// Run sends the seals until ctx ends.
func (s *Sealer) Run(ctx context.Context) {
	defer s.cfg.Service.RemoveSink(s)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := s.emit()
		if next.IsZero() {
			timer.Reset(time.Hour)
		} else {
			timer.Reset(max(0, next.Sub(s.cfg.Now())))
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// emit sends what is due and returns when it wants to be called again.
func (s *Sealer) emit() time.Time {
	for {
		s.mu.Lock()
		x, ok := s.signer.Poll(s.cfg.Now())
		if !ok {
			defer s.mu.Unlock()
			return s.signer.NextTimeout()
		}
		s.newest = x
		type sealed struct {
			name       string
			generation uint64
		}
		var objects [8]sealed
		list := objects[:0]
		for _, o := range s.signer.Sealed() {
			list = append(list, sealed{o.Name, o.Generation})
		}
		s.mu.Unlock()
		if err := s.clock.keep(x.Time()); err != nil {
			s.cfg.Logger.Error("time of the seals is not kept: after a restart with a clock that stepped back receivers will refuse them",
				"service", s.cfg.Service.Name(), "error", err)
		}
		for _, o := range list {
			Keep(s.cfg.Store, s.cfg.Service.Name(), o.name, o.generation, x.Bytes())
		}
		s.cfg.Service.Seal(x.Bytes())
	}
}

// Keep notes beside a cached object the datagram that makes it readable. What is not in the cache needs none.
func Keep(store *cache.Store, svc, name string, generation uint64, datagram []byte) {
	if o, ok := store.Lookup(cache.Key{Service: svc, Name: name}); ok && o.Meta().Generation == generation {
		_ = o.SetHeader(service.SealHeader, string(datagram)) // it fits
	}
}

func (s *Sealer) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Sealer) begin(o seal.Outgoing) *seal.Sealing {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.signer.Begin(s.cfg.Now(), o)
	if err != nil {
		if !errors.Is(err, seal.ErrGeneration) {
			s.cfg.Logger.Error("object is not sealed, nobody will read it", "service", s.cfg.Service.Name(), "name", o.Name, "error", err)
		}
		return nil
	}
	return x
}

// Begin implements service.Sink.
func (s *Sealer) Begin(m service.Meta) service.ObjectSink {
	o := seal.Outgoing{
		Name: m.Name, Generation: m.Generation, Current: m.Kind == service.Init,
		Follows: m.Track.Kind == route.Audio || m.Track.Kind == route.Text,
	}
	if x := s.begin(o); x != nil {
		return sealing{s, x}
	}
	return nil
}

// Manifest implements service.Sink.
func (s *Sealer) Manifest(m service.Meta, body []byte) {
	if x := s.begin(seal.Outgoing{Name: m.Name, Generation: m.Generation, Current: true}); x != nil {
		x.Append(body)
		sealing{s, x}.Commit()
	}
}

// sealing is an object that is being sealed.
type sealing struct {
	s *Sealer
	x *seal.Sealing
}

func (o sealing) Write(p []byte, chunkEnd bool) {
	o.x.Append(p)
	if chunkEnd {
		o.do(o.x.Cut)
	}
}

func (o sealing) Commit()     { o.do(o.x.End) }
func (o sealing) Abort(error) { o.do(o.x.Abort) }

func (o sealing) do(f func(time.Time) error) {
	o.s.mu.Lock()
	_ = f(o.s.cfg.Now()) // a newer generation may have ended it
	o.s.mu.Unlock()
	o.s.poke()
}
