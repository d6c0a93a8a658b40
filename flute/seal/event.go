package seal

import "github.com/treedn/treedn/flute/internal/fifo"

// EventKind tells what an Event reports.
type EventKind uint8

const (
	// Sealed: there is a new record of an open object. Advance may find that
	// more of it is readable.
	Sealed EventKind = iota + 1
	// NeedSeal: octets of an open object stand without a record. A parent may
	// have one. Repeated, with growing distance.
	NeedSeal
	// NeedContact: datagrams come, and nothing tells whether they are of the
	// present. The newest datagram of a parent would.
	NeedContact
	// Displaced: an open object was superseded by a newer generation.
	Displaced
	// Overflow: an open object has to go, since too many octets stand without a
	// record. The caller drops its octets and releases it.
	Overflow
	// Resealed: an object was sealed again with no other change, because it is
	// Current or because the key is another. The seal replaces the one that is
	// kept beside the octets.
	Resealed
	// Conflict: a genuine record contradicts another one of the same name and
	// generation. It was refused. A signer is broken, or a key is in two hands.
	Conflict
	// Rotated: the first seal by a later key.
	Rotated
	// Begun: the first record of a generation of a name. What there is of older
	// ones has passed. Not for signalling.
	Begun
)

// String returns the name of the event.
func (k EventKind) String() string {
	switch k {
	case Sealed:
		return "sealed"
	case NeedSeal:
		return "need seal"
	case NeedContact:
		return "need contact"
	case Displaced:
		return "displaced"
	case Overflow:
		return "overflow"
	case Resealed:
		return "resealed"
	case Conflict:
		return "conflict"
	case Rotated:
		return "rotated"
	case Begun:
		return "begun"
	}
	return "unknown"
}

// Event is one thing that happened in a Verifier.
type Event struct {
	Kind EventKind
	// Object is set with Sealed, NeedSeal, Displaced and Overflow.
	Object *Object
	// Seal is the datagram: with Resealed, Conflict, Rotated and Begun.
	Seal *Seal
	// Name and Generation are those of the object: with Resealed, Conflict and
	// Begun.
	// The name may not be known at a Conflict.
	Name       string
	Generation uint64
	// Keys are those concerned: with NeedContact and Rotated.
	Keys Kind
}

// events bounds what nobody polls.
type events struct{ fifo.Queue[Event] }

// push returns false if nobody reads the events.
func (e *events) push(ev Event) bool {
	if e.Len() >= maxEvents {
		return false
	}
	e.Push(ev)
	return true
}
