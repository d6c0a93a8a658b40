package seal

import (
	"crypto/sha256"
	"hash"
	"time"
)

// Sealing is an object of a Signer.
type Sealing struct {
	Outgoing
	s          *Signer
	id         ObjectID
	nameOctets []byte

	hash hash.Hash
	n    int64
	paid int64 // octets that the allowance has grown by

	has     bool // there is a record
	record  Record
	fresh   bool // it was not sent yet
	named   bool // the name was sent with it, or before it while growing
	firstAt time.Time
	sentAt  time.Time
	repeats int
	seal    *Seal

	stopped bool // does not grow any more
	endedAt time.Time
	gone    bool // the Signer has nothing to do with it any more
}

// Append adds octets. Different objects may grow at the same time, and while
// the Signer is at work.
func (x *Sealing) Append(b []byte) {
	x.hash.Write(b)
	x.n += int64(len(b))
}

// Len returns the octets added so far.
func (x *Sealing) Len() int64 { return x.n }

// Cut seals the octets so far: a chunk ends here.
func (x *Sealing) Cut(now time.Time) error {
	if x.stopped {
		return ErrEnded
	}
	if x.has && x.record.End == uint64(x.n) || x.n == 0 {
		return nil
	}
	x.digest(0)
	if x.Follows && x.s.leading > 0 {
		x.s.pace.follow(now)
	} else {
		x.s.pace.trigger(now)
	}
	return nil
}

// End seals the object: it is whole.
func (x *Sealing) End(now time.Time) error { return x.end(now, Final) }

// Abort seals that the object broke off, and what came before that.
func (x *Sealing) Abort(now time.Time) error { return x.end(now, Aborted) }

func (x *Sealing) end(now time.Time, f Flags) error {
	if x.stopped {
		return ErrEnded
	}
	x.digest(f)
	x.s.stopped(x)
	x.endedAt = now
	x.s.pace.trigger(now)
	return nil
}

// digest makes the record of what there is.
func (x *Sealing) digest(f Flags) {
	x.s.pace.earn(x.n - x.paid)
	x.s.stats.Sealed += uint64(x.n - x.paid)
	x.paid = x.n
	x.has, x.fresh, x.repeats = true, true, 0
	x.named = x.named && f == 0
	if x.Current {
		f |= Current
	}
	x.record = Record{Flags: f, Generation: x.Generation, End: uint64(x.n), ID: x.id}
	x.hash.Sum(x.record.Sum[:0])
}

// Forget ends the resealing of a Current object.
func (x *Sealing) Forget() {
	if !x.gone {
		x.s.remove(x)
	}
}

// Ended tells whether the newest record is final or aborted.
func (x *Sealing) Ended() Flags { return x.record.Flags & endFlags }

// Seal returns the newest datagram that covers the object, nil before the first
// one. Once Ended is not 0 and Sealed has listed the object, it is the one to
// keep beside the octets.
func (x *Sealing) Seal() *Seal { return x.seal }

// emptySum is the SHA-256 of nothing.
var emptySum = sha256.Sum256(nil)
