package route

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/reassembly"
	"github.com/treedn/treedn/route/sls"
)

// Receiver turns the packets of one ROUTE session into objects. It opens no
// socket and starts no goroutine; it belongs to one goroutine, which pushes
// packets, polls events and calls HandleTimeout. All times come from the
// caller.
type Receiver struct {
	cfg     ReceiverConfig
	pool    *reassembly.Pool
	hdr     lct.Header
	missing []reassembly.Range // scratch
	asking  []reassembly.Range // scratch

	channels    map[uint32]*channel
	objects     map[objectKey]*Object
	active      []*Object  // those in need of timers
	last        *Object    // the object of the packet before
	undescribed int64      // octets of objects without description
	unnamed     int        // those objects
	source      netip.Addr // of the latest packet
	faults      uint32     // reported, of no channel
	records     records
	parts       map[string]sls.Part
	reads       readings
	warned      time.Time // of bad signalling
	events      events
	losses      losses
	works       []*Work

	// Of growing objects.
	growing     map[uint32]*channel // by the TSI of the repair flow
	codec       raptorq.Codec
	blocks      []*openBlock // all, the oldest first
	freeBlocks  []*openBlock
	freeDecodes []*blockDecode
	decoding    int  // octets of the blocks that are being decoded
	postponed   bool // some wait for these
	rows        coefficients
	joints      readings  // attempts to decode several together
	clock       time.Time // of the latest packet
	unknown     []int     // scratch

	// Of super-objects of several objects.
	pools map[objectKey]*pool
	kept  []*kept // the oldest first
	// otherSessions are those of flows beside this one.
	otherSessions []Session

	next       time.Time // of HandleTimeout
	lastRepair time.Time
	// ignored are those of which packets came that made no sense yet, by the
	// TSIs and TOIs of these. The latest is the last.
	ignored []objectKey
	lastGen uint64
	stats   ReceiverStats
}

// NewReceiver returns a Receiver that has seen nothing yet.
func NewReceiver(cfg ReceiverConfig) *Receiver {
	cfg = cfg.withDefaults()
	return &Receiver{
		cfg:      cfg,
		pool:     reassembly.NewPool(cfg.MaxMemory),
		channels: make(map[uint32]*channel),
		objects:  make(map[objectKey]*Object),
		records:  records{m: make(map[objectKey]*record), max: cfg.Remember},
		parts:    make(map[string]sls.Part),
		growing:  make(map[uint32]*channel),
		pools:    make(map[objectKey]*pool),
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
		r.rejected(reason, err)
	}
	return err
}

// PushRun handles a run of UDP payloads as package packetio hands them out: packets of size octets, the last of which may
// be shorter. Packets to another group or port than those of the Session are left alone: a capture has them. What is
// rejected is counted.
func (r *Receiver) PushRun(now time.Time, from, to netip.AddrPort, run []byte, size int) {
	if s := &r.cfg.Session; to.IsValid() && (s.Group.IsValid() && s.Group != to.Addr() || s.Port != 0 && s.Port != to.Port()) &&
		!r.otherSession(netip.Addr{}, to) {
		return
	}
	if size <= 0 {
		size = len(run)
	}
	for len(run) > 0 {
		n := min(size, len(run))
		_ = r.Push(now, from, run[:n])
		run = run[n:]
	}
}

func (r *Receiver) push(now time.Time, src netip.AddrPort, pkt []byte) error {
	if want := r.cfg.Session.Source; want.IsValid() && !r.cfg.AnySource && src.Addr().Unmap() != want.Unmap() && !r.otherSession(src.Addr(), netip.AddrPort{}) {
		return errSource
	}
	r.source, r.clock = src.Addr(), now
	h := &r.hdr
	n, err := h.Unmarshal(pkt)
	if err != nil {
		return err
	}
	if len(pkt) == n || !h.HasTOI {
		return nil // an empty packet: A, or congestion control
	}
	if h.TSI > 0xffffffff || h.TOI > 0xffffffff || h.TOIHigh != 0 {
		return errHeader
	}
	key := objectKey{uint32(h.TSI), uint32(h.TOI)}
	id, payload := binary.BigEndian.Uint32(pkt[n:]), pkt[n+4:]
	// Source and repair packets may share a TSI: SPI decides (RFC 9223,
	// section 9.4).
	if h.PSI&psiSource == 0 && key.tsi != 0 {
		if ch := r.growing[key.tsi]; ch != nil {
			return r.pushGrowing(now, ch, key, pkt[n:])
		}
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
					r.came(now, rec.loss, off, off+int64(len(payload)))
					if rec.fate >= dropped {
						r.stats.Ignored++
					} else {
						r.stats.Repeats++
					}
					return nil
				}
				r.records.remove(key)
				if rec.kind == kindMedia && rec.fate == delivered {
					r.restarted(now, r.channels[key.tsi], rec.generation)
				}
			}
			var err error
			if o, err = r.open(now, key, h.Codepoint); err != nil {
				return err
			}
			o.late = off > 0 && !o.ch.seen
			o.ch.seen = true
			o.ch.began++
			o.nth = o.ch.began
			o.first = off
			if o.late && o.loss == nil {
				o.loss = o.account()
				o.loss.from = off
			}
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
		o.ch.sizes.add(added)
	}
	o.sentEnd = max(o.sentEnd, end)
	r.came(now, o.loss, off, end)
	if added > 0 && o.closeAt.IsZero() {
		o.endedAt = time.Time{} // a later object, or a repair packet, was early
	}
	if added > 0 && len(o.blocks) > 0 {
		r.settleBlocks(o, off, end)
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
		r.came(now, o.loss, off, end)
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
		r.findHeader(o)
		if !o.notified && !o.unstarted {
			o.notified = true
			r.events.push(Event{Kind: Progress, Object: o})
		}
	}
	if o.endedAt.IsZero() && (!o.closeAt.IsZero() || o.length >= 0 && o.held.End() == o.length) {
		o.endedAt = now
	}
	if o.held.Prefix() == o.held.End() {
		o.holeAt = time.Time{}
	} else if h, ok := o.hole(); ok && (o.holeAt.IsZero() || h != o.holeOff && o.ch.growingDelay > 0) {
		o.holeAt, o.holeOff = now, h
	}
	if o.repair != nil {
		r.decode(now, o)
	}
	if added > 0 && len(r.pools) > 0 {
		r.touchPools(o)
	}
	r.arm(o, r.wakeTime(now, o))
}

// visible tells whether the object is one that events report.
func (o *Object) visible() bool {
	return o.kind == kindMedia || o.kind == kindFile || o.kind == kindBare
}

// finish handles an object all of whose octets are there.
func (r *Receiver) finish(now time.Time, o *Object) {
	if o.complete || o.kind == kindUndescribed {
		return
	}
	o.complete = true
	o.wake = time.Time{}
	r.dropRepair(o)
	r.dropBlocks(o, 0)
	switch o.kind {
	case kindPackage, kindEFDT:
		body := make([]byte, o.length)
		o.data.ReadAt(body, 0)
		r.retire(now, o, delivered, body)
		if o.kind == kindPackage {
			r.handlePackage(now, o, body)
		} else {
			r.handleEFDT(now, o, body)
		}
	default:
		r.stats.Objects++
		r.closeAccount(now, o.loss)
		r.findHeader(o)
		r.unpack(now, o)
		r.start(o)
		r.events.push(Event{Kind: Complete, Object: o})
		r.completedIn(o)
	}
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
