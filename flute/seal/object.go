package seal

import (
	"container/list"
	"crypto/sha256"
	"slices"
	"time"
)

// nameKey tells names apart. Keys of one kind say nothing about the names of
// the other.
type nameKey struct {
	kind Kind
	id   ObjectID
}

// name is what is known of a name.
type name struct {
	key   nameKey
	text  string    // empty while unknown
	cur   *Object   // the newest generation of which there is a record
	ahead []*Object // open ones without a record
	anew  bool      // generations begin anew: the key was replaced
	seen  time.Time
	order *list.Element
}

func (n *name) open() bool { return len(n.ahead) > 0 || n.cur != nil && n.cur.open }

// record is a Record whose datagram was found genuine.
type record struct {
	end   int64
	sum   [sha256.Size]byte
	flags Flags
	seal  *Seal
}

// stateLen is the length of a stored SHA-256.
const stateLen = 4 + 8*4 + 64 + 8

// Object is a generation of a name, as the receiver knows it. It belongs to its
// Verifier's goroutine.
type Object struct {
	v          *Verifier
	n          *name
	generation uint64

	has       bool   // there is a record
	top       record // the one with the highest end
	end       int64  // of the object, -1 while unknown
	ended     Flags  // Final or Aborted
	displaced bool
	notified  bool // a Sealed event waits
	told      bool // a Begun event was

	// pending are records above good, sorted.
	pending []record
	waiting *list.Element

	open    bool
	index   int // in v.opened
	good    int64
	goodSum [sha256.Size]byte
	state   [stateLen]byte // of the hash at good, if that is not 0
	seal    *Seal          // of good

	unverified int64
	overflowed bool
	standing   int64     // octets below stand without a record
	since      time.Time // for so long; zero: none do
	wait       time.Duration
	wake       time.Time
}

func newObject(v *Verifier, n *name, generation uint64) *Object {
	return &Object{v: v, n: n, generation: generation, end: -1, goodSum: emptySum}
}

// Name is the name that the object was opened with. It is empty if it is not
// open and no record brought the name.
func (o *Object) Name() string { return o.n.text }

// Generation orders the objects of one name.
func (o *Object) Generation() uint64 { return o.generation }

// Readable is the number of octets from the start on that are genuine.
func (o *Object) Readable() int64 { return o.good }

// Sealed is the number of octets of which the newest record tells: at least so
// many there are.
func (o *Object) Sealed() int64 { return o.top.end }

// End is the length of the object, as soon as a record tells that it is whole
// or broken; else it is -1. Octets behind it are forged.
func (o *Object) End() int64 { return o.end }

// Broken tells that the object broke off at the source, at End.
func (o *Object) Broken() bool { return o.ended&Aborted != 0 }

// State is what the seals say.
func (o *Object) State() State {
	switch {
	case o.displaced:
		return Superseded
	case o.ended&Aborted != 0:
		return Broken
	case o.end >= 0 && o.good == o.end:
		return Whole
	case o.has:
		return Growing
	}
	return Unsealed
}

// Seal returns the datagram that makes the object readable up to Readable; nil
// if there is none. It goes with the octets wherever they go.
func (o *Object) Seal() *Seal { return o.seal }

// Standing is how long octets have been standing without a record, see
// NeedSeal; 0 if none are.
func (o *Object) Standing(now time.Time) time.Duration {
	if o.since.IsZero() {
		return 0
	}
	return now.Sub(o.since)
}

// outcome is what became of a record.
type outcome uint8

const (
	outNew      outcome = iota
	outRepeat           // known
	outConflict         // contradicts others
)

// compare tells what a record would be. It changes nothing.
func (o *Object) compare(r *Record) outcome {
	end, ended := int64(r.End), r.Flags&endFlags
	if !o.has {
		return outNew
	}
	if o.end >= 0 && (end > o.end || ended != 0 && (end != o.end || ended != o.ended)) {
		return outConflict
	}
	if ended != 0 && end < o.top.end {
		return outConflict
	}
	if end == o.good && end > 0 {
		if r.Sum != o.goodSum {
			return outConflict
		}
		return ended.newIf(o.ended)
	}
	if end < o.good {
		return outRepeat // superseded: the newer one covers it
	}
	if end == o.top.end {
		if r.Sum != o.top.sum {
			return outConflict
		}
		return ended.newIf(o.ended)
	}
	if i, ok := o.find(end); ok {
		if r.Sum != o.pending[i].sum {
			return outConflict
		}
		return outRepeat
	}
	if end < o.top.end && !o.open && len(o.pending) == 0 {
		return outRepeat // of an object that was released, or had to go
	}
	return outNew
}

func (f Flags) newIf(known Flags) outcome {
	if f != 0 && known == 0 {
		return outNew
	}
	return outRepeat
}

func (o *Object) find(end int64) (int, bool) {
	return slices.BinarySearchFunc(o.pending, end, func(r record, end int64) int {
		return int(max(-1, min(1, r.end-end)))
	})
}

// add takes in a record that compare finds new.
func (o *Object) add(r *Record, seal *Seal) {
	rec := record{end: int64(r.End), sum: r.Sum, flags: r.Flags, seal: seal}
	if f := r.Flags & endFlags; f != 0 {
		o.end, o.ended = rec.end, f
	}
	if !o.has || rec.end >= o.top.end {
		o.top = rec
	}
	o.has = true
	if rec.end == o.good {
		o.goodSum, o.seal = rec.sum, seal // it ends where it is readable to
		return
	}
	i, ok := o.find(rec.end)
	if ok {
		o.pending[i] = rec
		return
	}
	if len(o.pending) >= maxPerObject {
		// The lowest one matters least: any other covers its octets.
		if i == 0 {
			return
		}
		o.pending = slices.Delete(o.pending, 0, 1)
		o.v.pending--
		i--
	}
	o.pending = slices.Insert(o.pending, i, rec)
	o.v.pending++
	o.v.wait(o)
}

// settle forgets the records that wait, but for the newest of an open object.
func (o *Object) settle() {
	keep := 0
	if n := len(o.pending); o.open && n > 0 {
		o.pending[0] = o.pending[n-1]
		keep = 1
	}
	o.v.pending -= len(o.pending) - keep
	clear(o.pending[keep:])
	o.pending = o.pending[:keep]
	if keep == 0 {
		o.pending = nil
		o.v.unwait(o)
	}
}
