package flute

import "github.com/treedn/treedn/flute/fdt"

// EventKind tells what an Event reports.
type EventKind uint8

// Events of one object come in the order of this list; Progress and NeedRepair repeat. Of an object that is over by the
// time of Poll, Lost is the only one.
const (
	// Started: the first packet of a file that an FDT Instance describes, or the description of one of which packets
	// came.
	Started EventKind = iota + 1
	// Progress: the prefix has grown. There is one such event at a time for each object, however many packets came.
	Progress
	// NeedRepair: octets are missing, and neither later packets nor FEC are likely to bring them soon. Repeated, with
	// growing distance, until they came or the object is lost.
	NeedRepair
	// Complete: all octets are there, with the digest that was announced if there is one.
	Complete
	// Lost: the object will not become complete; Err tells why. It is released.
	Lost
	// FDT: an FDT Instance, or the expiry of one, changed what is known of the session's files.
	FDT
	// Closed: the sender closed the session.
	Closed
	// Fault: the session has a defect, told in Err, that concerns more than one packet. What Push returns is not
	// reported again.
	Fault
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
	case FDT:
		return "fdt"
	case Closed:
		return "closed"
	case Fault:
		return "fault"
	}
	return "unknown"
}

// Event is one thing that happened in a Receiver.
type Event struct {
	Kind EventKind
	// Session is set in all events.
	Session *Session
	// Object is set from Started to Lost.
	Object *Object
	// Missing are the octets to fetch: with NeedRepair. For symbols instead see [Object.AppendMissingSymbols].
	Missing []Range
	// Err is why an object was Lost, or the Fault, a *RejectError.
	Err error
	// With FDT, Instance is the FDT Instance ID, Raw the instance as it was transferred, Document what its content
	// encoding holds, and Changes what became of files. Raw and Document are nil when files expired.
	Instance uint32
	Raw      []byte
	Document []byte
	Changes  []fdt.Change
}
