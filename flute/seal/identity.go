package seal

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Kind says what a key may seal.
type Kind uint8

const (
	// Content keys seal media, manifests and initialization segments: what the
	// root of the tree took in.
	Content Kind = iota + 1
	// Hop keys seal the signalling of one multicast session, whose sender they
	// belong to. Its objects are named by SignallingName.
	Hop
)

// String returns the name of the kind.
func (k Kind) String() string {
	switch k {
	case Content:
		return "content"
	case Hop:
		return "hop"
	}
	return "unknown"
}

func (k Kind) valid() bool { return k == Content || k == Hop }

// hopPrefix begins the names that hop keys seal, and no others.
const hopPrefix = "sls:"

// KindOf returns the kind of key that seals objects of a name.
func KindOf(name string) Kind { return kindOf(name) }

func kindOf[S string | []byte](name S) Kind {
	if len(name) >= len(hopPrefix) && string(name[:len(hopPrefix)]) == hopPrefix {
		return Hop
	}
	return Content
}

// SignallingName returns the name under which the signalling of a multicast
// session is sealed. part tells several of one TSI apart: "s-tsid", "efdt".
func SignallingName(source, group netip.Addr, port uint16, tsi uint32, part string) string {
	return fmt.Sprintf("%s%s/%s/%d/%d/%s", hopPrefix, source.Unmap(), group.Unmap(), port, tsi, part)
}

// Names of services and objects are bounded, in octets.
const (
	MaxService = 255
	MaxName    = 512
)

func validService(s string) bool {
	return len(s) > 0 && len(s) <= MaxService && strings.IndexByte(s, 0) < 0
}

// ServiceID stands for the name of a service in a datagram. It tells services
// apart that share a port; the signature covers the name itself.
type ServiceID uint32

// ServiceIDOf returns the first four octets of the name's SHA-256.
func ServiceIDOf(service string) ServiceID {
	sum := sha256.Sum256([]byte(service))
	return ServiceID(binary.BigEndian.Uint32(sum[:]))
}

// ObjectID stands for the name of an object in a record.
type ObjectID uint64

// ObjectIDOf returns the first eight octets of the SHA-256 of the service's
// name, a zero octet and the object's name.
func ObjectIDOf(service, name string) ObjectID { return objectIDOf(service, name) }

// objectIDOf takes no memory for names up to MaxName.
func objectIDOf[S string | []byte](service string, name S) ObjectID {
	var buf [MaxService + 1 + MaxName]byte
	b := append(buf[:0], service...)
	b = append(b, 0)
	b = append(b, name...)
	sum := sha256.Sum256(b)
	return ObjectID(binary.BigEndian.Uint64(sum[:]))
}

// KeyID tells the keys of a service apart.
type KeyID uint16

// KeyIDOf returns the KeyID of a key whose owner chose none: the first two
// octets of the SHA-256 of the kind and the public key, and 1 should they be 0.
func KeyIDOf(kind Kind, key ed25519.PublicKey) KeyID {
	sum := sha256.Sum256(append([]byte{byte(kind)}, key...))
	return max(1, KeyID(binary.BigEndian.Uint16(sum[:])))
}

// Anchor is a key whose seals a Verifier believes.
type Anchor struct {
	Kind Kind
	Key  ed25519.PublicKey
	// ID is how datagrams refer to the key. Default: KeyIDOf.
	ID KeyID
	// NotBefore and NotAfter bound the times of its seals; the zero time is no
	// bound.
	NotBefore, NotAfter time.Time
}

// valid tells whether the key may have sealed at t, in Unix microseconds.
func (a *Anchor) valid(t uint64) bool {
	at := time.UnixMicro(int64(min(t, maxMicro)))
	return (a.NotBefore.IsZero() || !at.Before(a.NotBefore)) && (a.NotAfter.IsZero() || !at.After(a.NotAfter))
}

// maxMicro keeps conversions of hostile times from wrapping around.
const maxMicro = 1 << 62

// micro returns t in Unix microseconds, 0 if it is before 1970.
func micro(t time.Time) uint64 { return uint64(max(0, t.UnixMicro())) }
