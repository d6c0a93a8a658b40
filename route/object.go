package route

import (
	"errors"
	"io"
	"time"

	"github.com/treedn/treedn/flute/reassembly"
	"github.com/treedn/treedn/route/entity"
	"github.com/treedn/treedn/route/sls"
)

// Range is the half-open interval [Start, End) of octets of an object. An End
// of -1 stands for the end of the object, which is not known yet.
type Range struct {
	Start, End int64
}

// ErrNotHeld is returned by ReadAt for octets that have not arrived.
var ErrNotHeld = errors.New("route: octets have not arrived")

// kind tells what to do with an object.
type kind uint8

const (
	kindUndescribed kind = iota // no signalling for it, yet
	kindMedia                   // named by a file template
	kindFile                    // named by a File entry
	kindBare                    // not named, but it has its metadata with it
	kindPackage                 // of TSI 0: signalling
	kindEFDT                    // TOI 0: an Extended FDT Instance
)

// Object is an object on its way in. It belongs to its Receiver's goroutine;
// its octets stay readable until the Receiver's Release.
//
// Octets are as they came: nothing but their place in the object has been
// checked.
type Object struct {
	r    *Receiver
	ch   *channel
	key  objectKey
	kind kind

	name, contentType, contentEncoding string
	stem                               string // the template
	cp, format                         uint8
	generation                         uint64
	announced                          bool  // the sender gave the generation
	late                               bool  // joined in its middle
	first                              int64 // then, the offset of its first packet

	held   reassembly.Set
	data   reassembly.Buffer
	length int64 // -1 while unknown
	firm   bool  // length comes from EXT_TOL, EXT_FTI or signalling, not from B alone

	header    *entity.Header // of Entity Mode
	bodyAt    int64          // what it takes
	headless  bool           // there is none
	unstarted bool           // Started waits for it

	mapped    bool // packets find it
	preferred bool // see Prefer
	complete  bool
	released  bool
	notified  bool  // a Progress event is waiting
	prefix    int64 // as reported
	started   time.Time
	lastNew   time.Time // last octets that were new
	lastPkt   time.Time // last source packet
	endedAt   time.Time // no further source packet is expected since
	closeAt   time.Time // B was seen
	expires   time.Time
	asked     int64              // holes below were reported
	left      []reassembly.Range // but these were left to repair packets
	holeAt    time.Time          // a hole above asked stands since
	askAgain  time.Time
	askedAll  bool // it was reported as ended
	backoff   time.Duration
	wake      time.Time
	epoch     int
	busy      int // Works that read its memory
	packets   int
	recovered int64 // by FEC
	supplied  int64 // by Supply

	loss       *account // nil if all came, so far, by source packets
	nth        uint64   // of those of its channel that begin
	sentEnd    int64    // of the source packet that is furthest in it
	repair     *repairState
	lastRepair time.Time
	noFEC      bool // its repair symbols contradicted the object
	blocks     []*openBlock
	joint      bool  // blocks are being decoded together
	jointMark  int64 // what was known at the latest attempt
	grown      bool  // repair symbols came while it grew
	// Of the block that is furthest in the object, of those of which repair
	// packets came: where it begins and ends, and when the last one came.
	repairing  Range
	overlap    bool // blocks do: each of them may help with any hole before it
	repairedAt time.Time
	holeOff    int64 // the hole that stands since holeAt
}

// TSI and TOI are the identifiers on the wire.
func (o *Object) TSI() uint32 { return o.key.tsi }

// TOI is the Transport Object Identifier.
func (o *Object) TOI() uint32 { return o.key.toi }

// Name is the Content-Location, a hostile string. It may be empty for an object that no EFDT names, see
// ReceiverConfig.Unpack.
func (o *Object) Name() string { return o.name }

// Generation orders the objects of one name. If the sender announces none, the
// receiver counts: from the time in microseconds, one generation for each file,
// and one for each run of a track. A run ends when a TOI comes again with other
// octets.
func (o *Object) Generation() uint64 { return o.generation }

// ContentType and ContentEncoding are those of the File entry, empty for
// objects named by a template.
func (o *Object) ContentType() string     { return o.contentType }
func (o *Object) ContentEncoding() string { return o.contentEncoding }

// Announced tells whether the sender announced the generation.
func (o *Object) Announced() bool { return o.announced }

// Templated tells whether a file template names the object: it is one of a
// track's media segments.
func (o *Object) Templated() bool { return o.kind == kindMedia }

// Format is the delivery object format (formatId): 1 File Mode, 2 Entity Mode,
// 3 unsigned package, 4 signed package.
func (o *Object) Format() uint8 { return o.format }

// Track is what Outgoing.Track was for an object that a template names, and
// the zero value for others.
func (o *Object) Track() Track {
	if o.kind != kindMedia {
		return Track{}
	}
	t := o.ch.track
	t.Stem, t.Number, t.Run = o.stem, o.key.toi, o.generation
	return t
}

// Init tells that the codepoint is one of initialization segments, which are
// sent again and again.
func (o *Object) Init() bool {
	return o.cp >= sls.CPInitNew && o.cp <= sls.CPInitRedundant
}

// Length is the length of the object in octets, -1 while it is unknown.
func (o *Object) Length() int64 { return o.length }

// Prefix is the number of octets from the start on that have arrived without
// a hole.
func (o *Object) Prefix() int64 { return o.held.Prefix() }

// Held is the number of octets that have arrived.
func (o *Object) Held() int64 { return o.held.Total() }

// Complete tells whether all octets have arrived.
func (o *Object) Complete() bool { return o.complete }

// LateStart tells that reception began in the middle of the object, when the
// receiver joined.
func (o *Object) LateStart() bool { return o.late }

// Seen tells whether any octet or repair symbol of the object has arrived. It
// is false for an object that is only suspected, because the TOIs around its
// own came.
func (o *Object) Seen() bool {
	return o.packets > 0 || o.repair != nil || o.grown || o.held.Total() > 0
}

// Recovered and Supplied are the octets that came by FEC and by Supply.
func (o *Object) Recovered() int64 { return o.recovered }
func (o *Object) Supplied() int64  { return o.supplied }

// LastPacket is when the last source packet of the object came; for one that is
// only suspected, when it began to be.
func (o *Object) LastPacket() time.Time { return o.lastPkt }

// Bytes returns octets from off on without copying them: as many as lie in one
// piece of memory, none at the end of the prefix. The slice is valid until
// Release or Reject.
func (o *Object) Bytes(off int64) []byte {
	if off < 0 {
		return nil
	}
	return o.data.Bytes(off, o.held.Prefix())
}

// ReadAt reads from the prefix. It returns io.EOF at the end of the object and
// ErrNotHeld where the octets have not arrived.
func (o *Object) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		b := o.Bytes(off + int64(n))
		if len(b) == 0 {
			if o.length >= 0 && off+int64(n) >= o.length {
				return n, io.EOF
			}
			return n, ErrNotHeld
		}
		n += copy(p[n:], b)
	}
	return n, nil
}

// AppendMissing appends the ranges of octets that have not arrived.
func (o *Object) AppendMissing(dst []Range) []Range {
	end := o.length
	if end < 0 {
		end = o.held.End()
	}
	for _, m := range o.held.AppendMissing(nil, 0, end) {
		dst = append(dst, Range(m))
	}
	if o.length < 0 {
		if n := len(dst); n > 0 && dst[n-1].End == end {
			dst[n-1].End = -1
		} else {
			dst = append(dst, Range{end, -1})
		}
	}
	return dst
}

// GrowingRepair tells whether the sender announces repair packets for the object
// while it grows: then NeedRepair reports a hole in it only when these cannot
// help any more.
func (o *Object) GrowingRepair() bool { return o.ch != nil && o.ch.growingDelay > 0 }

// protected tells whether the object's channel has a repair flow that may
// still help.
func (o *Object) protected() bool {
	return o.ch != nil && o.ch.protected && !o.noFEC
}

// limit bounds the octets of the object.
func (o *Object) limit() int64 {
	if o.kind == kindPackage || o.kind == kindEFDT {
		return o.r.cfg.MaxSignalling
	}
	return o.r.cfg.MaxObject
}

// path is the way octets came.
type path uint8

const (
	bySource path = iota
	byFEC
	byUnicast
)

// store adds octets to the object. Octets that are held already must agree
// with it, else all of p counts as corrupt (RFC 9223, section 6). An octet is
// written once, so that a decoder may read held octets meanwhile.
func (o *Object) store(now time.Time, off int64, p []byte, by path) (added int64, err error) {
	end := off + int64(len(p))
	if end > o.limit() {
		return 0, errTooLarge
	}
	if o.length >= 0 && end > o.length {
		if o.firm {
			return 0, errBeyond
		}
		o.length, o.closeAt = -1, time.Time{} // B was not on the last packet
	}
	if off >= o.held.End() {
		if err := o.write(off, p); err != nil {
			return 0, err
		}
	} else {
		if !o.agrees(off, p) {
			return 0, errConflict
		}
		o.r.missing = o.held.AppendMissing(o.r.missing[:0], off, end)
		for _, m := range o.r.missing {
			if err := o.write(m.Start, p[m.Start-off:m.End-off]); err != nil {
				return added, err
			}
			added += o.held.Add(m.Start, m.End)
			if by != bySource {
				o.missed(m.Start, m.End)
			}
		}
		return added, nil
	}
	if by != bySource {
		o.missed(off, end)
	}
	return o.held.Add(off, end), nil
}

func (o *Object) write(off int64, p []byte) error {
	if o.held.Len() >= o.r.cfg.MaxRanges && off != o.held.End() {
		return errRanges
	}
	before := o.data.Held()
	for !o.data.WriteAt(o.r.pool, p, off) {
		if !o.r.evict(o) {
			return errMemory
		}
	}
	if o.kind == kindUndescribed {
		o.r.undescribed += o.data.Held() - before
		for o.r.undescribed > o.r.cfg.MaxUndescribed && o.r.evictUndescribed(o) {
		}
	}
	return nil
}

// memory is what the object takes of the pool, in octets.
func (o *Object) memory() int64 {
	n := o.data.Held()
	if o.repair != nil {
		n += o.repair.data.Held()
	}
	return n
}

// equal compares held octets with p.
func (o *Object) equal(off int64, p []byte) bool {
	for len(p) > 0 {
		b := o.data.Bytes(off, off+int64(len(p)))
		if len(b) == 0 || string(b) != string(p[:len(b)]) {
			return false
		}
		p, off = p[len(b):], off+int64(len(b))
	}
	return true
}

// setLength applies a claim about the length (RFC 9223, section 6.1). The first
// firm one stays.
func (o *Object) setLength(n int64, firm bool) error {
	switch {
	case n == o.length:
		o.firm = o.firm || firm
	case n > o.limit():
		return errTooLarge
	case n < o.held.End(), o.firm, o.length >= 0 && !firm:
		return errLengths
	default:
		o.length, o.firm = n, firm
	}
	return nil
}

// full tells whether every octet is there, if the length is right.
func (o *Object) full() bool {
	return o.length >= 0 && o.held.Total() == o.length
}
