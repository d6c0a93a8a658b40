package sealing

import (
	"crypto/ed25519"
	"net/netip"
	"time"

	"github.com/treedn/treedn/flute/seal"
)

// HopConfig configures a Hop. All fields but State are required.
type HopConfig struct {
	Service string
	Key     ed25519.PrivateKey
	// Source, Group and Port are the multicast session.
	Source, Group netip.Addr
	Port          uint16
	// State is as that of SealerConfig.
	State string
}

// Hop seals the signalling of one multicast session for whoever sends it. It belongs to its owner's goroutine.
type Hop struct {
	signer *seal.Signer
	name   string
	now    Signalling // what is announced
	sealed Signalling // what the newest datagram seals
	clock  clock
}

// stsid is the part of SignallingName for an S-TSID.
const stsid = "s-tsid"

// STSIDName is the name under which the S-TSID of a session is sealed.
func STSIDName(source, group netip.Addr, port uint16) string {
	return seal.SignallingName(source, group, port, 0, stsid)
}

// NewHop returns a Hop that has sealed nothing.
func NewHop(cfg HopConfig) (*Hop, error) {
	h := &Hop{name: STSIDName(cfg.Source, cfg.Group, cfg.Port), clock: clock{file: cfg.State}}
	after, err := h.clock.load()
	if err != nil {
		return nil, err
	}
	h.signer, err = seal.NewSigner(seal.SignerConfig{Service: cfg.Service, Kind: seal.Hop, Key: cfg.Key, After: after})
	return h, err
}

// Time is that of the newest seal of this session, before restarts too, in Unix microseconds. Generations of what is to be
// sealed have to be above those that were sealed before, which none is that was made from an earlier time.
func (h *Hop) Time() uint64 { return h.signer.Time() }

// Name is that under which the signalling is sealed.
func (h *Hop) Name() string { return h.name }

// Announce seals an S-TSID, unless this generation was sealed already. body must not be changed any more.
func (h *Hop) Announce(now time.Time, body []byte, generation uint64) error {
	if len(body) == 0 || generation <= h.now.Generation {
		return nil
	}
	h.now = Signalling{Body: body, Generation: generation}
	x, err := h.signer.Begin(now, seal.Outgoing{Name: h.name, Generation: generation, Current: true})
	if err != nil {
		return err
	}
	x.Append(body)
	return x.End(now)
}

// Rotate goes over to another key.
func (h *Hop) Rotate(now time.Time, key ed25519.PrivateKey) error {
	return h.signer.Rotate(now, key, 0)
}

// Poll returns the next datagram that is due, and false if there is none.
func (h *Hop) Poll(now time.Time) ([]byte, bool) {
	s, ok := h.signer.Poll(now)
	if !ok {
		return nil, false
	}
	_ = h.clock.keep(s.Time())
	h.sealed = h.now
	h.sealed.Seal = s.Bytes()
	return h.sealed.Seal, true
}

// Newest returns what the newest datagram seals, with it, for children at their first contact; false if there is none.
func (h *Hop) Newest() (s Signalling, ok bool) { return h.sealed, h.sealed.Seal != nil }

// NextTimeout is when Poll has something to do. The zero time stands for never.
func (h *Hop) NextTimeout() time.Time { return h.signer.NextTimeout() }
