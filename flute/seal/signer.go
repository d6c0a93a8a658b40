package seal

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"time"
)

// SignerConfig configures a Signer. Service and Key are required.
type SignerConfig struct {
	// Service is the name of the service, 1 to MaxService octets, none of them
	// zero.
	Service string
	// Kind of the key. Default: Content.
	Kind Kind
	Key  ed25519.PrivateKey
	// KeyID must be the one in the anchors of receivers. Default: KeyIDOf.
	KeyID KeyID
	// After is the last time that may have been used in a seal of this service,
	// in Unix microseconds: times never fall, through restarts and when a clock
	// steps back. Default: 0, none.
	After uint64
	// Standby makes the Signer silent until the active one was not heard for
	// 2 s, see Heard.
	Standby bool

	// MaxRate bounds the datagrams per second, with bursts of four. Default 50.
	MaxRate int
	// Share is what seals may cost, as a part of the octets that they seal. As
	// long as it is exceeded records wait for each other up to 5 ms; there are
	// no other savings, so that very slow services exceed it still. Default
	// 0.08.
	Share float64
	// Reseal is the time between two seals of a Current object. Default 5 s.
	Reseal time.Duration
	// MaxObjects bounds the objects that grow, ended within 15 s or are Current.
	// Default 4096.
	MaxObjects int
}

func (c SignerConfig) withDefaults() SignerConfig {
	c.Kind = cmp.Or(c.Kind, Content)
	c.MaxRate = cmp.Or(c.MaxRate, 50)
	c.Share = cmp.Or(c.Share, 0.08)
	c.Reseal = cmp.Or(c.Reseal, 5*time.Second)
	c.MaxObjects = cmp.Or(c.MaxObjects, 4096)
	return c
}

// Signer seals the objects of one service with one key. It belongs to one
// goroutine, but for Sealing.Append.
type Signer struct {
	cfg     SignerConfig
	keyID   KeyID
	last    uint64 // time of the newest seal
	live    []*Sealing
	names   map[ObjectID]*Sealing // those in live
	leading int                   // growing objects that do not follow others
	pace    pace

	standby bool
	deposed bool
	heardAt time.Time

	datagram Datagram // scratch
	buf      []byte
	sealed   []*Sealing // in the newest datagram
	stats    SignerStats
}

// SignerStats counts what a Signer did.
type SignerStats struct {
	Datagrams, Octets uint64 // sent
	Records           uint64 // in them
	Sealed            uint64 // octets of objects
	Objects           int    // growing, ended within 15 s or Current
}

// Seal is a signed datagram. It does not change.
type Seal struct {
	raw  []byte
	time uint64
}

// Bytes returns the datagram, which must not be changed.
func (s *Seal) Bytes() []byte { return s.raw }

// Time returns when the datagram was signed, in Unix microseconds of its
// signer's clock.
func (s *Seal) Time() uint64 { return s.time }

// NewSigner returns a Signer without objects.
func NewSigner(cfg SignerConfig) (*Signer, error) {
	cfg = cfg.withDefaults()
	switch {
	case !validService(cfg.Service):
		return nil, errService
	case !cfg.Kind.valid():
		return nil, errors.New("seal: unknown kind of key")
	case len(cfg.Key) != ed25519.PrivateKeySize:
		return nil, errors.New("seal: not an Ed25519 private key")
	case cfg.MaxRate < 0 || cfg.Share < 0 || cfg.Reseal < 0 || cfg.MaxObjects < 0:
		return nil, errors.New("seal: negative limit")
	}
	s := &Signer{
		cfg: cfg, last: cfg.After, standby: cfg.Standby,
		names: make(map[ObjectID]*Sealing),
		pace:  newPace(cfg),
		buf:   make([]byte, 0, MaxDatagram),
	}
	s.keyID = cfg.keyID()
	return s, nil
}

func (c *SignerConfig) keyID() KeyID {
	return cmp.Or(c.KeyID, KeyIDOf(c.Kind, c.Key.Public().(ed25519.PublicKey)))
}

// Stats returns the counters.
func (s *Signer) Stats() SignerStats {
	st := s.stats
	st.Objects = len(s.live)
	return st
}

// Time is that of the newest seal. Who keeps it for SignerConfig.After keeps a
// later one, so that not every seal has to wait for the disk.
func (s *Signer) Time() uint64 { return s.last }

// Outgoing describes an object to be sealed.
type Outgoing struct {
	// Name is the Content-Location, 1 to MaxName octets, of the signer's Kind
	// (see KindOf).
	Name       string
	Generation uint64
	// Follows says that chunks of this object may wait up to 40 ms for a record
	// of an object that does not follow: audio, text.
	Follows bool
	// Current says that the object is sealed again every few seconds, once it
	// has ended, until Forget or until a newer generation begins:
	// initialization segments, manifests, signalling.
	Current bool
}

// Begin starts an object. One of the same name and an older generation ends
// here: it is not sealed any more.
func (s *Signer) Begin(now time.Time, o Outgoing) (*Sealing, error) {
	if len(o.Name) == 0 || len(o.Name) > MaxName {
		return nil, errName
	}
	if KindOf(o.Name) != s.cfg.Kind {
		return nil, ErrNameKind
	}
	id := ObjectIDOf(s.cfg.Service, o.Name)
	if old := s.names[id]; old != nil {
		switch {
		case old.Name != o.Name:
			return nil, ErrCollision
		case old.Generation >= o.Generation:
			return nil, ErrGeneration
		}
		s.remove(old)
	}
	if len(s.live) >= s.cfg.MaxObjects {
		return nil, ErrLimit
	}
	x := &Sealing{Outgoing: o, s: s, id: id, nameOctets: []byte(o.Name), hash: sha256.New()}
	s.live = append(s.live, x)
	s.names[id] = x
	if !o.Follows {
		s.leading++
	}
	return x, nil
}

// remove ends the Signer's interest in an object.
func (s *Signer) remove(x *Sealing) {
	for i, y := range s.live {
		if y == x {
			last := len(s.live) - 1
			s.live[i], s.live[last] = s.live[last], nil
			s.live = s.live[:last]
			break
		}
	}
	s.dismiss(x)
}

// dismiss is remove for one that is not in live any more.
func (s *Signer) dismiss(x *Sealing) {
	if s.names[x.id] == x {
		delete(s.names, x.id)
	}
	s.stopped(x)
	x.gone = true
}

// stopped notes that an object does not grow any more.
func (s *Signer) stopped(x *Sealing) {
	if !x.stopped {
		x.stopped = true
		if !x.Follows {
			s.leading--
		}
	}
}

// Rotate goes over to another key. What is growing or Current, or ended within
// the last 15 s, is sealed again at once: a new key makes receivers forget the
// old one and what it sealed.
func (s *Signer) Rotate(now time.Time, key ed25519.PrivateKey, id KeyID) error {
	if len(key) != ed25519.PrivateKeySize {
		return errors.New("seal: not an Ed25519 private key")
	}
	s.cfg.Key, s.cfg.KeyID = key, id
	s.keyID = s.cfg.keyID()
	s.again(now)
	return nil
}

// again has the newest record of every object sent as if it were new.
func (s *Signer) again(now time.Time) {
	for _, x := range s.live {
		if x.has {
			x.fresh, x.named = true, false
			s.pace.trigger(now)
		}
	}
}

// Heard tells the Signer of a seal of its own service and kind that a Verifier
// has found genuine. It may be one of the Signer's own. One that is newer than
// those comes from another signer: a standby Signer stays silent, and an active
// one falls silent for good and returns ErrDeposed, now and on every call.
func (s *Signer) Heard(now time.Time, t uint64) error {
	switch {
	case s.deposed:
		return ErrDeposed
	case s.standby:
		s.heardAt = now
		s.last = max(s.last, t)
	case t > s.last:
		s.deposed = true
		return ErrDeposed
	}
	return nil
}

// silent tells whether nothing may be sent.
func (s *Signer) silent(now time.Time) bool {
	if s.standby && !s.deposed {
		if s.heardAt.IsZero() {
			s.heardAt = now
		}
		if now.Sub(s.heardAt) >= standbyDelay {
			s.standby = false
			s.again(now)
		}
	}
	return s.standby || s.deposed
}

// Poll returns the next datagram that is due, and false if there is none. Call
// it until there is none, after each Cut, End and Abort, and at NextTimeout.
func (s *Signer) Poll(now time.Time) (*Seal, bool) {
	silent := s.silent(now)
	s.prune(now, silent)
	if silent {
		return nil, false
	}
	why := s.reason(now)
	if why == notDue || !s.pace.limit.allow(now) {
		return nil, false
	}
	size := s.compose(now, why)
	if len(s.datagram.Records) == 0 {
		s.pace.idle = len(idleDelays) // nothing is left to repeat
		return nil, false
	}
	s.last = max(s.last+1, micro(now))
	s.datagram.Key, s.datagram.Time = s.keyID, s.last
	raw, err := s.datagram.Append(s.buf[:0], s.cfg.Service, s.cfg.Key)
	if err != nil {
		panic(err) // compose keeps to what Append demands
	}
	s.pace.sent(size)
	s.stats.Datagrams++
	s.stats.Octets += uint64(len(raw))
	s.stats.Records += uint64(len(s.datagram.Records))
	seal := &Seal{raw: bytes.Clone(raw), time: s.last}
	for _, x := range s.sealed {
		x.seal = seal
	}
	return seal, true
}

// Sealed returns the objects whose newest records are in the datagram that Poll
// returned last. The slice is valid until the next Poll.
func (s *Signer) Sealed() []*Sealing { return s.sealed }

// NextTimeout is when Poll has something to do, if nothing happens before. The
// zero time stands for never.
func (s *Signer) NextTimeout() time.Time {
	if s.deposed {
		return time.Time{}
	}
	if s.standby {
		if s.heardAt.IsZero() {
			return time.Time{} // the first Poll is yet to come
		}
		return s.heardAt.Add(standbyDelay)
	}
	return s.pace.limit.notBefore(s.nextDue())
}
