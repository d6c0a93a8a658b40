package route

import (
	"cmp"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"time"

	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/route/internal/ranges"
	"github.com/treedn/treedn/route/internal/slab"
	"github.com/treedn/treedn/route/sls"
)

// ReceiverConfig configures a Receiver. The zero value of every field is
// usable.
type ReceiverConfig struct {
	// Session is what was joined. Packets from another address than its
	// Source are rejected, unless Source is not set or AnySource is. Of an
	// S-TSID with several sessions the channels of this one are used.
	Session Session
	// AnySource accepts packets of every source: for replayed captures and
	// re-streamed services, which announce an address that is not theirs.
	AnySource bool

	// MaxObject bounds one object, in octets. Default 64 MiB.
	MaxObject int64
	// MaxMemory bounds the octets of all objects, including those complete
	// and not released, and of repair symbols. Default 64 MiB.
	MaxMemory int64
	// MaxObjects bounds the incomplete objects of one TSI. Default 64.
	MaxObjects int
	// MaxRanges bounds the pieces of one object. Default 4096.
	MaxRanges int
	// MaxUndescribed bounds the octets of objects that no signalling
	// describes yet, default 4 MiB; UndescribedAge how long they are kept,
	// default 2 s.
	MaxUndescribed int64
	UndescribedAge time.Duration
	// MaxSignalling bounds an SLS package or EFDT, in octets. Default 1 MiB.
	MaxSignalling int64
	// MaxChannels bounds the TSIs of the session. Default 256.
	MaxChannels int
	// Remember is the number of delivered objects whose repeats are
	// recognized. Default 8192.
	Remember int

	// GapDelay is how long after the end of an object, or after the first
	// packet of a later one of the same TSI, missing packets may still come.
	// Default 50 ms.
	GapDelay time.Duration
	// HoleDelay is how long a hole in a growing object may stand behind newer
	// octets before NeedRepair reports it. Default 25 ms.
	HoleDelay time.Duration
	// FECDelay bounds the time after the end of an object that is waited for
	// its first repair packet while those of others arrive. Default 300 ms.
	FECDelay time.Duration
	// RepairBackoff is the time between the first two NeedRepair of an object,
	// default 200 ms. It doubles each time, up to RepairBackoffMax, default
	// 1 s.
	RepairBackoff, RepairBackoffMax time.Duration
	// Inactivity is how long after its last packet an object counts as ended.
	// Default 1 s.
	Inactivity time.Duration
	// Deadline is how long after the last new octets an incomplete object is
	// lost. Default 5 s.
	Deadline time.Duration
	// MaxSkip bounds the number of TOIs between those of two objects of a
	// track that are taken for objects lost altogether. Default 8; -1 turns
	// it off.
	MaxSkip int

	// HoldSignalling makes the receiver act on an S-TSID or EFDT only when it
	// comes back by Accept: for sealed services.
	HoldSignalling bool

	// Logger gets warnings. Nil is silent.
	Logger *slog.Logger
}

func (c ReceiverConfig) withDefaults() ReceiverConfig {
	c.MaxObject = min(maxObject, cmp.Or(c.MaxObject, 64<<20))
	c.MaxMemory = cmp.Or(c.MaxMemory, 64<<20)
	c.MaxObjects = cmp.Or(c.MaxObjects, 64)
	c.MaxRanges = cmp.Or(c.MaxRanges, 4096)
	c.MaxUndescribed = cmp.Or(c.MaxUndescribed, 4<<20)
	c.UndescribedAge = cmp.Or(c.UndescribedAge, 2*time.Second)
	c.MaxSignalling = cmp.Or(c.MaxSignalling, 1<<20)
	c.MaxChannels = cmp.Or(c.MaxChannels, 256)
	c.Remember = cmp.Or(c.Remember, 8192)
	c.GapDelay = cmp.Or(c.GapDelay, 50*time.Millisecond)
	c.HoleDelay = cmp.Or(c.HoleDelay, 25*time.Millisecond)
	c.FECDelay = cmp.Or(c.FECDelay, 300*time.Millisecond)
	c.RepairBackoff = cmp.Or(c.RepairBackoff, 200*time.Millisecond)
	c.RepairBackoffMax = max(c.RepairBackoff, cmp.Or(c.RepairBackoffMax, time.Second))
	c.Inactivity = cmp.Or(c.Inactivity, time.Second)
	c.Deadline = cmp.Or(c.Deadline, 5*time.Second)
	c.MaxSkip = cmp.Or(c.MaxSkip, 8)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// ReceiverStats counts what a Receiver saw. Octets are those of payloads,
// unless stated otherwise.
type ReceiverStats struct {
	Packets, Octets             uint64 // accepted or not, UDP payload
	SourcePackets, SourceOctets uint64 // that brought something new
	RepairPackets, RepairOctets uint64 // of objects that lacked octets
	Repeats                     uint64 // packets that brought nothing new
	Ignored                     uint64 // packets of objects given up, or of unknown repair flows
	Recovered                   uint64 // octets by FEC
	Supplied                    uint64 // octets by Supply
	// Lost is an estimate of the packets that did not arrive: octets missing
	// when objects ended, in packets of their mean size, and gaps in the ESIs.
	Lost          uint64
	Rejected      [reasons]uint64 // packets, by Reason
	RejectedBytes uint64          // octets of rejected packets, UDP payload
	Objects       uint64          // complete
	ObjectsLost   uint64          // incomplete at their deadline
	Decodes       uint64          // FEC blocks decoded
	DecodeErrors  uint64          // FEC blocks that contradicted themselves
	Memory        int64           // octets held
	Incomplete    int             // objects
}

// RejectedPackets returns the number of packets rejected for a reason.
func (s *ReceiverStats) RejectedPackets(r Reason) uint64 { return s.Rejected[r] }

// Receiver turns the packets of one ROUTE session into objects. It opens no
// socket and starts no goroutine; it belongs to one goroutine, which pushes
// packets, polls events and calls HandleTimeout. All times come from the
// caller.
type Receiver struct {
	cfg     ReceiverConfig
	pool    slab.Pool
	hdr     lct.Header
	missing []ranges.Range // scratch

	channels    map[uint32]*channel
	objects     map[objectKey]*Object
	active      []*Object // those in need of timers
	last        *Object   // the object of the packet before
	undescribed int64
	records     records
	parts       map[string]sls.Part
	events      events
	works       []*Work

	next       time.Time // of HandleTimeout
	lastRepair time.Time
	lastGen    uint64
	stats      ReceiverStats
}

// NewReceiver returns a Receiver that has seen nothing yet.
func NewReceiver(cfg ReceiverConfig) *Receiver {
	cfg = cfg.withDefaults()
	return &Receiver{
		cfg:      cfg,
		pool:     *slab.NewPool(cfg.MaxMemory),
		channels: make(map[uint32]*channel),
		objects:  make(map[objectKey]*Object),
		records:  records{m: make(map[objectKey]*record), max: cfg.Remember},
		parts:    make(map[string]sls.Part),
	}
}

// Stats returns the counters.
func (r *Receiver) Stats() ReceiverStats {
	st := r.stats
	st.Memory = r.pool.Used()
	for _, o := range r.active {
		if !o.complete {
			st.Incomplete++
		}
	}
	return st
}

// Push handles one UDP payload. The error, a *RejectError or one of package
// lct, tells why it was dropped; there is no need to act on it. pkt is not
// kept.
func (r *Receiver) Push(now time.Time, src netip.AddrPort, pkt []byte) error {
	r.stats.Packets++
	r.stats.Octets += uint64(len(pkt))
	err := r.push(now, src, pkt)
	if err != nil {
		reason := RejectHeader
		if e, ok := err.(*RejectError); ok {
			reason = e.Reason
		}
		r.stats.Rejected[reason]++
		r.stats.RejectedBytes += uint64(len(pkt))
	}
	return err
}

func (r *Receiver) push(now time.Time, src netip.AddrPort, pkt []byte) error {
	if want := r.cfg.Session.Source; want.IsValid() && !r.cfg.AnySource && src.Addr().Unmap() != want.Unmap() {
		return errSource
	}
	h := &r.hdr
	n, err := h.Unmarshal(pkt)
	if err != nil {
		return err
	}
	if len(pkt) == n || !h.HasTOI {
		return nil // an empty packet: A, or congestion control
	}
	if h.TSI > 0xffffffff || h.TOI > 0xffffffff {
		return errHeader
	}
	key := objectKey{uint32(h.TSI), uint32(h.TOI)}
	id, payload := binary.BigEndian.Uint32(pkt[n:]), pkt[n+4:]
	// Source and repair packets may share a TSI: SPI decides (RFC 9223,
	// section 9.4).
	if h.PSI&psiSource == 0 && key.tsi != 0 {
		return r.pushRepair(now, key, id, payload)
	}
	return r.pushSource(now, key, int64(id), payload)
}

// pushSource handles a source packet whose header is in r.hdr.
func (r *Receiver) pushSource(now time.Time, key objectKey, off int64, payload []byte) error {
	h := &r.hdr
	length, known := r.transferLength()
	o := r.last
	if o == nil || o.key != key || !o.mapped {
		if o = r.objects[key]; o == nil {
			if rec := r.records.m[key]; rec != nil {
				if rec.repeats(now, off, payload, length, known) {
					if rec.lost {
						r.stats.Ignored++
					} else {
						r.stats.Repeats++
					}
					return nil
				}
				r.records.remove(key)
				if rec.kind == kindMedia && !rec.lost {
					r.restarted(now, r.channels[key.tsi], rec.generation)
				}
			}
			var err error
			if o, err = r.open(now, key, h.Codepoint); err != nil {
				return err
			}
			o.late = off > 0 && !o.ch.seen
			o.ch.seen = true
		}
		r.last = o
	}
	if o.complete {
		return r.pushComplete(now, o, off, payload, length, known)
	}
	o.packets++
	o.lastPkt = now
	end := off + int64(len(payload))
	var lengthErr error
	if known {
		// A length that contradicts says nothing about the octets.
		lengthErr = o.setLength(length, true)
	}
	added, err := o.store(now, off, payload, bySource)
	if err != nil {
		o.source += added
		r.advanced(now, o, added) // its length may be new, and all it lacked
		return err
	}
	if !o.firm && !known && h.CloseObject {
		// A hint: the sender of a forged or reordered B must not cut the
		// object off, so that a length from B alone has to last for a while.
		_ = o.setLength(end, false)
	}
	if h.CloseObject && o.closeAt.IsZero() {
		o.closeAt = now
	}
	if added == 0 && len(payload) > 0 {
		r.stats.Repeats++
	} else {
		r.stats.SourcePackets++
		r.stats.SourceOctets += uint64(added)
		o.source += added
	}
	if added > 0 && o.closeAt.IsZero() {
		o.endedAt = time.Time{} // a later object, or a repair packet, was early
	}
	r.advanced(now, o, added)
	return lengthErr
}

// transferLength returns what EXT_TOL or EXT_FTI of the packet in r.hdr says.
func (r *Receiver) transferLength() (int64, bool) {
	if len(r.hdr.Extensions) == 0 {
		return 0, false
	}
	if n, ok := r.hdr.Extensions.TOL(); ok {
		return int64(n), true
	}
	// The transfer length comes first in the FTI of every FEC scheme; in
	// source packets the rest has no use, since they carry a start_offset.
	if fti, ok := r.hdr.Extensions.FTI(); ok && len(fti) >= 6 {
		return int64(binary.BigEndian.Uint16(fti))<<32 | int64(binary.BigEndian.Uint32(fti[2:])), true
	}
	return 0, false
}

// pushComplete handles a packet of an object that is complete and not
// released: a repeat, or a new object that reuses the TOI.
func (r *Receiver) pushComplete(now time.Time, o *Object, off int64, payload []byte, length int64, known bool) error {
	end := off + int64(len(payload))
	if (!known || length == o.length) && end <= o.length && o.equal(off, payload) {
		r.stats.Repeats++
		return nil
	}
	if o.announced {
		return errConflict // TOIs are not reused by those who announce generations
	}
	r.unmap(o)
	if o.kind == kindMedia {
		r.restarted(now, o.ch, o.generation)
	}
	return r.pushSource(now, o.key, off, payload)
}

// advanced looks after an object that got a packet, or octets.
func (r *Receiver) advanced(now time.Time, o *Object, added int64) {
	if added > 0 {
		o.lastNew = now
	}
	if o.full() && o.firm {
		r.finish(now, o)
		return
	}
	if o.kind == kindUndescribed {
		r.arm(o, o.started.Add(r.cfg.UndescribedAge))
		return
	}
	if p := o.held.Prefix(); p > o.prefix && o.visible() {
		o.prefix = p
		if !o.notified {
			o.notified = true
			r.events.push(Event{Kind: Progress, Object: o})
		}
	}
	if o.endedAt.IsZero() && (!o.closeAt.IsZero() || o.length >= 0 && o.held.End() == o.length) {
		o.endedAt = now
	}
	if o.held.Prefix() == o.held.End() {
		o.holeAt = time.Time{}
	} else if o.holeAt.IsZero() && r.hole(o) {
		o.holeAt = now
	}
	if o.repair != nil {
		r.decode(now, o)
	}
	r.arm(o, r.wakeTime(now, o))
}

// visible tells whether the object is one that events report.
func (o *Object) visible() bool { return o.kind == kindMedia || o.kind == kindFile }

// finish handles an object all of whose octets are there.
func (r *Receiver) finish(now time.Time, o *Object) {
	if o.complete || o.kind == kindUndescribed {
		return
	}
	o.complete = true
	o.wake = time.Time{}
	r.dropRepair(o)
	switch o.kind {
	case kindPackage, kindEFDT:
		body := make([]byte, o.length)
		o.data.ReadAt(body, 0)
		r.retire(now, o, false, body)
		if o.kind == kindPackage {
			r.handlePackage(now, o, body)
		} else {
			r.handleEFDT(now, o, body)
		}
	default:
		r.stats.Objects++
		r.countLost(o)
		r.events.push(Event{Kind: Complete, Object: o})
	}
}

// countLost estimates the source packets that an object did not get.
func (r *Receiver) countLost(o *Object) {
	if o.late || o.length <= 0 {
		return
	}
	mean := int64(1344)
	if o.packets > 0 && o.source > 0 {
		mean = max(1, o.source/int64(o.packets))
	}
	r.stats.Lost += uint64((max(0, o.length-o.source) + mean - 1) / mean)
}

// Poll returns the next event, and false if there is none.
func (r *Receiver) Poll() (Event, bool) {
	for {
		ev, ok := r.events.pop()
		if !ok {
			return Event{}, false
		}
		if o := ev.Object; o != nil {
			if ev.Kind == Progress {
				o.notified = false
			}
			if o.released && ev.Kind != Lost {
				continue
			}
		}
		return ev, true
	}
}

// Supply adds octets of an object that came by another way. total is the
// length of the object, or -1 if the answer does not tell: it overrides what
// packets said.
func (r *Receiver) Supply(now time.Time, o *Object, off int64, p []byte, total int64) error {
	if o.released || o.r != r {
		return ErrReleased
	}
	if o.complete {
		return nil
	}
	if total >= 0 && total != o.length {
		if total < o.held.End() {
			return errLengths
		}
		o.length, o.firm = total, false
	}
	if total >= 0 {
		o.firm = true
	}
	added, err := o.store(now, off, p, byUnicast)
	o.supplied += added
	r.stats.Supplied += uint64(added)
	if added > 0 || err == nil {
		r.advanced(now, o, added)
	}
	return err
}

// Release frees the memory of an object and ends its events, in any state.
// Packets of it that still come are recognized and cost nothing.
func (r *Receiver) Release(now time.Time, o *Object) {
	if !o.released && o.r == r {
		r.retire(now, o, !o.complete, nil)
	}
}

// Reject takes back the octets from off on: they were found to be forged. All
// repair symbols go with them, and so does a length that is not below off. The
// object is incomplete again, and its missing octets are reported.
func (r *Receiver) Reject(now time.Time, o *Object, off int64) {
	if o.released || o.r != r {
		return
	}
	o.epoch++
	r.dropRepair(o)
	o.held.Truncate(off)
	o.data.Truncate(&r.pool, off, o.busy > 0)
	if o.length >= off {
		o.length, o.firm = -1, false
		o.closeAt = time.Time{}
	}
	o.complete = false
	o.prefix = min(o.prefix, off)
	o.asked = min(o.asked, o.held.End())
	o.lastNew, o.endedAt, o.askAgain = now, now.Add(-r.cfg.GapDelay), time.Time{}
	if !o.mapped && r.objects[o.key] == nil {
		r.objects[o.key], o.mapped = o, true
	}
	r.arm(o, now)
}
