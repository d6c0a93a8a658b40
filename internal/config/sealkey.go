package config

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/seal"
)

// SealKey is the Ed25519 private key that seals a service: the 32 octets of its
// seed (RFC 8032 section 5.1.5).
type SealKey struct{ secret }

// NewSealKey returns the key with a seed as a SealKey.
func NewSealKey(seed [32]byte) SealKey { return SealKey{secret{key: hide(seed)}} }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *SealKey) UnmarshalText(b []byte) error {
	var s secret
	if err := s.UnmarshalText(b); err != nil {
		return err
	}
	// Both halves have 32 octets. A public key taken for a seed would give a key
	// that everybody has.
	if strings.HasSuffix(s.ref, publicExt) {
		return fmt.Errorf("%s is a public key, by its name; what seals is the private one", s.ref)
	}
	k.secret = s
	return nil
}

// Private returns the key, nil if none was given.
func (k SealKey) Private() ed25519.PrivateKey {
	seed, ok := k.Key()
	if !ok {
		return nil
	}
	return ed25519.NewKeyFromSeed(seed[:])
}

// Anchor is the public half of a SealKey, which receivers believe. In a file it
// is the key, 64 hexadecimal digits or 44 characters of base64, or file:PATH;
// then, if wanted, from=TIME and until=TIME (RFC 3339), which bound the times of
// its seals:
//
//	anchors:
//	  - qk0lr7pFvnoX5jHFqFEtlzjRdYdPxg9yRVLzpVdkeVg= until=2027-01-31T00:00:00Z
//	  - file:/etc/treedn/live.pub
type Anchor struct {
	key         [32]byte
	ref         string
	from, until time.Time
}

// NewAnchor returns a public key as an Anchor.
func NewAnchor(key ed25519.PublicKey) Anchor { return Anchor{key: [32]byte(key)} }

// AnchorOf returns the Anchor of a SealKey, which must not be zero.
func AnchorOf(k SealKey) Anchor { return NewAnchor(k.Private().Public().(ed25519.PublicKey)) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Anchor) UnmarshalText(b []byte) error {
	fields := strings.Fields(string(b))
	if len(fields) == 0 {
		return errors.New("is empty")
	}
	var n Anchor
	if path, ok := strings.CutPrefix(fields[0], "file:"); ok && path != "" {
		// An anchor is printed.
		if strings.HasSuffix(path, privateExt) {
			return fmt.Errorf("%s is a private key, by its name; an anchor is the public one", shorten(fields[0]))
		}
		n.ref = fields[0]
	} else {
		key, err := parseOctets([]byte(fields[0]), false)
		if err != nil {
			return fmt.Errorf("%q is neither file:PATH nor a public key (64 hexadecimal digits or 44 characters of base64)", shorten(fields[0]))
		}
		n.key = key
	}
	for _, f := range fields[1:] {
		name, value, _ := strings.Cut(f, "=")
		t, err := time.Parse(time.RFC3339, value)
		switch {
		case err != nil:
			return fmt.Errorf("%q: a key is followed by from=TIME and until=TIME, like until=2027-01-31T00:00:00Z", shorten(f))
		case name == "from":
			n.from = t.UTC()
		case name == "until":
			n.until = t.UTC()
		default:
			return fmt.Errorf("%q: a key is followed by from=TIME and until=TIME", shorten(f))
		}
	}
	if !n.from.IsZero() && !n.until.IsZero() && !n.from.Before(n.until) {
		return errors.New("from= is not before until=")
	}
	*a = n
	return nil
}

// Key returns the public key.
func (a Anchor) Key() ed25519.PublicKey { return a.key[:] }

// Validity bounds the times of its seals; the zero time is no bound.
func (a Anchor) Validity() (from, until time.Time) { return a.from, a.until }

// valid says whether its seals may be of time t.
func (a Anchor) valid(t time.Time) bool {
	return (a.from.IsZero() || !t.Before(a.from)) && (a.until.IsZero() || !t.After(a.until))
}

// String is the form in a file, with the key in base64.
func (a Anchor) String() string {
	s := base64.StdEncoding.EncodeToString(a.key[:])
	if !a.from.IsZero() {
		s += " from=" + a.from.Format(time.RFC3339)
	}
	if !a.until.IsZero() {
		s += " until=" + a.until.Format(time.RFC3339)
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (a Anchor) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

func (a *Anchor) rebase(dir string) { a.ref = rebaseRef(a.ref, dir) }

func (a *Anchor) resolve() (err error) {
	if a.ref != "" {
		a.key, err = readOctets(a.ref, nil)
	}
	return err
}

// checkKeyIDs refuses anchors that a receiver could not tell apart: one key
// given twice, or two whose ids, which seals bear instead of the keys, are equal
// by chance.
func (u *Upstream) checkKeyIDs(p *problems, path string) {
	ids := map[seal.KeyID]string{}
	check := func(name string, kind seal.Kind, list []Anchor) {
		for i, a := range list {
			if a.key == [32]byte{} {
				continue // it could not be read
			}
			id, at := seal.KeyIDOf(kind, a.Key()), fmt.Sprintf("%s[%d]", name, i)
			if first, dup := ids[id]; dup {
				p.addf(path+"."+at, "has the key id of %s already", first)
				continue
			}
			ids[id] = at
		}
	}
	check("anchors", seal.Content, u.Anchors)
	check("hop_anchors", seal.Hop, u.HopAnchors)
}
