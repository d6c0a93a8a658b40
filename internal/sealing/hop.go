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
	last   uint64 // generation that was sealed
	clock  clock
	newest []byte
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

// Announce seals an S-TSID, unless this generation was sealed already.
func (h *Hop) Announce(now time.Time, body []byte, generation uint64) error {
	if len(body) == 0 || generation <= h.last {
		return nil
	}
	h.last = generation
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
	h.newest = s.Bytes()
	return h.newest, true
}

// Newest returns the newest datagram, for children at their first contact; nil if there is none yet.
func (h *Hop) Newest() []byte { return h.newest }

// NextTimeout is when Poll has something to do. The zero time stands for never.
func (h *Hop) NextTimeout() time.Time { return h.signer.NextTimeout() }
