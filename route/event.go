package route

import (
	"time"

	"github.com/treedn/treedn/route/sls"
)

// EventKind tells what an Event reports.
type EventKind uint8

// Events of one object come in the order of this list; Progress and NeedRepair
// repeat, and Complete may be followed by NeedRepair again after a Reject.
const (
	// Started: the first packet of an object that the signalling describes.
	Started EventKind = iota + 1
	// Progress: the prefix has grown. There is one such event at a time for
	// each object, however many packets came.
	Progress
	// NeedRepair: octets are missing, and neither later packets nor FEC are
	// likely to bring them. Repeated, with growing distance, until they came
	// or the object is lost.
	NeedRepair
	// Complete: all octets are there.
	Complete
	// Lost: the deadline passed, or the memory did not suffice. The object
	// is released.
	Lost
	// Manifest: a part of the SLS package that is new or changed.
	Manifest
	// Signalling: an S-TSID or an EFDT that is new or changed.
	Signalling
	// Faulty: a sender does other than the standards say, or packets are
	// useless. Once for each kind and channel.
	Faulty
	// Unpacked: a part of a package outside TSI 0, before the package is
	// Complete. See ReceiverConfig.Unpack.
	Unpacked
)

// String returns the name of the event.
func (k EventKind) String() string {
	switch k {
	case Started:
		return "started"
	case Progress:
		return "progress"
	case NeedRepair:
		return "need repair"
	case Complete:
		return "complete"
	case Lost:
		return "lost"
	case Manifest:
		return "manifest"
	case Signalling:
		return "signalling"
	case Faulty:
		return "faulty"
	case Unpacked:
		return "unpacked"
	}
	return "unknown"
}

// Event is one thing that happened in a Receiver.
type Event struct {
	Kind EventKind
	// Object is set in all events but Manifest, Signalling and Faulty.
	Object *Object
	// Missing are the octets to fetch: with NeedRepair.
	Missing []Range
	// Growing tells with NeedRepair that more packets of the object are to
	// come, and with them FEC: only a reader who waits at the hole gains by
	// fetching it.
	Growing bool
	// Part is the part of a package: with Manifest and Unpacked.
	Part sls.Part
	// Signal is what was signalled: with Signalling.
	Signal *Signal
	// Fault is what is wrong: with Faulty.
	Fault *Fault
}

// Signal is an S-TSID or a stand-alone EFDT as it was received.
type Signal struct {
	TSI, TOI uint32
	// ContentType is sls.TypeSTSID or fdt.MediaType.
	ContentType string
	Location    string
	Generation  uint64
	Body        []byte

	apply func(now time.Time)
}

// events is a queue that reuses its memory.
type events struct {
	q    []Event
	head int
}

func (e *events) push(ev Event) {
	if e.head > 0 && e.head == len(e.q) {
		e.q, e.head = e.q[:0], 0
	}
	e.q = append(e.q, ev)
}

func (e *events) pop() (ev Event, ok bool) {
	if e.head == len(e.q) {
		return Event{}, false
	}
	ev = e.q[e.head]
	e.q[e.head] = Event{}
	e.head++
	if e.head > 64 && e.head*2 > len(e.q) {
		n := copy(e.q, e.q[e.head:])
		clear(e.q[n:])
		e.q, e.head = e.q[:n], 0
	}
	return ev, true
}
