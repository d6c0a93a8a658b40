package amt

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"net/netip"
	"time"
)

const (
	// secretLifetime is the longest that RFC 7450 section 5.3.6 recommends.
	secretLifetime = 2 * time.Hour
	// secretGrace is how long before its time the next secret is believed: the
	// clocks of relays that share a secret may differ by as much.
	secretGrace = time.Minute
)

// responder makes and checks Response MACs (RFC 7450 section 5.3.5): the first 6
// octets of HMAC-SHA-256 over address (IPv4 as ::ffff:a.b.c.d), port and nonce. The
// key changes every two hours, by the clock, so that relays with one master key
// always have the same.
type responder struct {
	master []byte
	keep   time.Duration // how long the former key is believed
	keys   [3]epochKey   // of the present epoch and its neighbours, by epoch % 3
	older  [16]epochKey  // of what checkSecret was asked for, by epoch % 16
	sum    [sha256.Size]byte
	input  [23]byte
}

type epochKey struct {
	epoch int64
	hmac  hash.Hash
}

// newResponder draws a master key if there is none. The former key is believed
// for twice the query interval (section 5.3.3.4) and not less than keep.
func newResponder(master []byte, keep time.Duration) responder {
	if len(master) == 0 {
		master = make([]byte, 32)
		rand.Read(master) // never fails
	}
	return responder{master: master, keep: keep}
}

// proof is what an authentic MAC tells of the Request that it was given for.
type proof struct {
	epoch int64 // of the secret
	ecn   bool  // it had FlagE
}

func (r *responder) key(k *epochKey, epoch int64) hash.Hash {
	if k.hmac == nil || k.epoch != epoch {
		info := binary.BigEndian.AppendUint64([]byte("AMT response MAC "), uint64(epoch))
		secret, err := hkdf.Key(sha256.New, r.master, nil, string(info), sha256.Size)
		if err != nil {
			panic(err) // only for keys longer than HKDF can make
		}
		*k = epochKey{epoch, hmac.New(sha256.New, secret)}
	}
	return k.hmac
}

func epochAt(now time.Time) (epoch int64, since time.Duration) {
	const lifetime = int64(secretLifetime / time.Second)
	s := now.Unix()
	epoch = s / lifetime
	if s%lifetime < 0 {
		epoch--
	}
	return epoch, time.Duration(s-epoch*lifetime) * time.Second
}

// mac hashes one octet more for a gateway that can handle ECN, so that its
// Update tells what its Request said, and the relay need not remember it.
func (r *responder) mac(h hash.Hash, gateway netip.AddrPort, nonce uint32, ecn bool) MAC {
	a := gateway.Addr().As16()
	copy(r.input[:], a[:])
	binary.BigEndian.PutUint16(r.input[16:], gateway.Port())
	binary.BigEndian.PutUint32(r.input[18:], nonce)
	h.Reset()
	if ecn {
		h.Write(r.input[:])
	} else {
		h.Write(r.input[:22])
	}
	return MAC(h.Sum(r.sum[:0])[:6])
}

// make returns the MAC for a Query at now.
func (r *responder) make(now time.Time, gateway netip.AddrPort, nonce uint32, ecn bool) MAC {
	epoch, _ := epochAt(now)
	return r.mac(r.key(r.slot(epoch), epoch), gateway, nonce, ecn)
}

func (r *responder) slot(epoch int64) *epochKey { return &r.keys[uint64(epoch)%3] }

// check compares the first n octets of the MAC.
func (r *responder) check(now time.Time, gateway netip.AddrPort, nonce uint32, m MAC, n int) (proof, bool) {
	epoch, since := epochAt(now)
	if p, ok := r.equal(r.slot(epoch), epoch, gateway, nonce, m, n); ok {
		return p, true
	}
	if since <= r.keep {
		if p, ok := r.equal(r.slot(epoch-1), epoch-1, gateway, nonce, m, n); ok {
			return p, true
		}
	}
	if secretLifetime-since <= secretGrace {
		return r.equal(r.slot(epoch+1), epoch+1, gateway, nonce, m, n)
	}
	return proof{}, false
}

// checkSecret compares the MAC with what the secret of some epoch makes, which
// is the last one before now with these low bits.
func (r *responder) checkSecret(now time.Time, secret uint16, gateway netip.AddrPort, nonce uint32, m MAC) (proof, bool) {
	epoch, _ := epochAt(now)
	age := uint16(epoch) - secret
	if age == 0 || age > 1<<15 { // check has had the present one, and one of the future
		return proof{}, false
	}
	epoch -= int64(age)
	return r.equal(&r.older[uint64(epoch)%16], epoch, gateway, nonce, m, len(m))
}

func (r *responder) equal(k *epochKey, epoch int64, gateway netip.AddrPort, nonce uint32, m MAC, n int) (proof, bool) {
	for _, ecn := range []bool{false, true} {
		want := r.mac(r.key(k, epoch), gateway, nonce, ecn)
		if subtle.ConstantTimeCompare(want[:n], m[:n]) == 1 {
			return proof{epoch, ecn}, true
		}
	}
	return proof{}, false
}
