package flute

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/flute/alc"
	"github.com/treedn/treedn/flute/internal/fifo"
	"github.com/treedn/treedn/flute/reassembly"
)

// Receiver turns the packets of FLUTE sessions into files. It opens no socket and starts no goroutine; it belongs to one
// goroutine, which pushes packets, polls events and calls HandleTimeout. All times come from the caller.
type Receiver struct {
	cfg     ReceiverConfig
	pool    *reassembly.Pool
	codec   object.Codec
	pkt     alc.Packet
	missing []reassembly.Range // scratch
	scratch []byte

	sessions    map[sessionKey]*Session
	lastSession *Session
	objects     map[objectKey]*Object
	active      []*Object // those in need of timers
	last        *Object   // the object of the packet before
	undescribed int64     // octets of objects without description
	unnamed     int       // those objects
	records     records
	events      fifo.Queue[Event]
	works       []*Work
	decoding    int64 // octets that computations under way may take
	postponed   bool  // some wait for these

	next  time.Time // of HandleTimeout
	stats ReceiverStats
}

// NewReceiver returns a Receiver that has seen nothing yet.
func NewReceiver(cfg ReceiverConfig) *Receiver {
	cfg = cfg.withDefaults()
	r := &Receiver{
		cfg:      cfg,
		pool:     reassembly.NewPool(cfg.MaxMemory),
		sessions: make(map[sessionKey]*Session),
		objects:  make(map[objectKey]*Object),
		records:  records{m: make(map[objectKey]*record), max: cfg.Remember},
	}
	r.codec.Matrix = cfg.Matrix
	return r
}

// Stats returns the counters.
func (r *Receiver) Stats() ReceiverStats {
	st := r.stats
	st.Memory, st.Sessions = r.pool.Used(), len(r.sessions)
	for _, o := range r.active {
		if !o.complete {
			st.Incomplete++
		}
	}
	return st
}

// Push handles one UDP payload. The error, a *RejectError, tells why it was dropped; there is no need to act on it. pkt
// is not kept.
func (r *Receiver) Push(now time.Time, src netip.AddrPort, pkt []byte) error {
	r.stats.Packets++
	r.stats.Octets += uint64(len(pkt))
	err := r.push(now, src, pkt)
	if err == nil {
		return nil
	}
	if reject, ok := err.(*RejectError); ok {
		r.stats.Rejected[reject.Reason]++
		if s := r.lastSession; reject.Reason > RejectHeader && s != nil && s.key.tsi == r.pkt.TSI {
			s.rejected[reject.Reason]++
			s.scheme = r.pkt.Scheme
		}
	}
	return err
}

// PushRun handles a run of UDP payloads as package packetio hands them out: packets of size octets, the last of which may
// be shorter. Packets to another address than Destination are left alone: a capture has them. What is rejected is counted.
func (r *Receiver) PushRun(now time.Time, from, to netip.AddrPort, run []byte, size int) {
	if want := r.cfg.Destination; want.IsValid() && to.IsValid() && to != want {
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
	source := src.Addr().Unmap()
	if r.cfg.Source.IsValid() && source != r.cfg.Source.Unmap() {
		return errSource
	}
	p := &r.pkt
	var err error
	if r.cfg.RFC3451 {
		err = p.UnmarshalRFC3451(pkt)
	} else {
		err = p.Unmarshal(pkt)
	}
	if err != nil && err != alc.ErrScheme {
		return headerError(err)
	}
	unknown := err
	if len(r.cfg.TSIs) > 0 && !slices.Contains(r.cfg.TSIs, p.TSI) {
		return errSource
	}
	s, err := r.session(now, sessionKey{source, p.TSI})
	if err != nil {
		return err
	}
	r.arrived(now, s)
	if unknown != nil {
		return headerError(unknown)
	}
	if !p.HasID {
		return nil // tells of the session only
	}
	if !p.HasTOI || p.TOIHigh != 0 {
		return errTOI
	}
	key := objectKey{s: s, toi: p.TOI}
	if p.TOI == 0 {
		x, ok := p.Extensions.FDT()
		if !ok {
			return errFDT
		}
		if x.Version != 1 && x.Version != 2 {
			return errVersion
		}
		s.version = x.Version
		key.instance = x.InstanceID + 1
	}
	o := r.last
	if o == nil || o.key != key || !o.mapped {
		if o, err = r.find(now, key); o == nil {
			return err
		}
		r.last = o
	}
	return r.pushObject(now, o)
}

// pushObject handles the packet in r.pkt, which is of o.
func (r *Receiver) pushObject(now time.Time, o *Object) error {
	p := &r.pkt
	if o.complete || o.verifying {
		return r.pushComplete(now, o)
	}
	o.lastPkt = now
	known := o.hasInfo
	if err := r.learn(o); err != nil {
		if !known && !o.visible() && o.memory() == 0 {
			r.free(o) // it costs nothing but its place
		}
		if err == errTooLarge && o.visible() {
			r.lose(now, o, err)
		}
		return err
	}
	if o.kind == kindInstance {
		if x, ok := p.Extensions.CENC(); ok {
			o.cenc = x
		}
	}
	if p.CloseObject && o.closeAt.IsZero() {
		o.closeAt = now
	}
	var added int64
	var err error
	switch {
	case !o.hasInfo:
		err = o.keepEarly(p.ID, p.Symbols)
	default:
		if !known {
			o.settleStore()
			if o.replay(now); o.released || o.full() {
				break
			}
		}
		repair := r.stats.RepairPackets
		added, err = o.take(now, p.ID, p.Symbols)
		switch {
		case added > 0:
			r.stats.SourcePackets++
			r.stats.SourceOctets += uint64(added)
			if o.closeAt.IsZero() {
				o.endedAt = time.Time{} // the next round of a carousel
			}
		case err == nil && r.stats.RepairPackets == repair:
			r.stats.Repeats++
		}
	}
	if !r.checkStore(now, o) {
		return errStore
	}
	if err != nil && o.held.Total() == 0 && o.memory() == 0 && !o.visible() {
		r.free(o)
		return err
	}
	r.advanced(now, o, added)
	return err
}

// pushComplete handles a packet of an object that is complete and not released: a repeat, or a new object that reuses
// the TOI.
func (r *Receiver) pushComplete(now time.Time, o *Object) error {
	p := &r.pkt
	if o.reused(p) {
		r.unmap(o)
		fresh, err := r.open(now, o.key)
		if fresh == nil {
			return err
		}
		r.last = fresh
		return r.pushObject(now, fresh)
	}
	r.stats.Repeats++
	return nil
}

// reused tells whether a packet is of another object than the complete one with the same TOI.
func (o *Object) reused(p *alc.Packet) bool {
	if body, ok := p.Extensions.FTI(); ok && o.fti != nil && !bytes.Equal(body, o.fti) {
		return true
	}
	k, offset, length := o.info.Block(p.ID.SBN)
	if o.raw || int(p.ID.ESI) >= k {
		return false
	}
	start := int64(offset) + int64(p.ID.ESI)*int64(o.info.SymbolSize)
	symbols := p.Symbols[:max(0, min(int64(len(p.Symbols)), int64(offset+length)-start))]
	return !o.agrees(start, symbols)
}

// advanced looks after an object that got a packet, or octets.
func (r *Receiver) advanced(now time.Time, o *Object, added int64) {
	if o.released || o.complete || o.verifying || !r.checkStore(now, o) {
		return
	}
	if added > 0 {
		o.lastNew = now
	}
	r.account(o)
	if o.released {
		return
	}
	if o.full() && o.kind != kindUndescribed {
		r.finish(now, o)
		return
	}
	if p := o.held.Prefix(); p > o.prefix && o.visible() {
		o.prefix = p
		if !o.notified {
			o.notified = true
			r.events.Push(Event{Kind: Progress, Session: o.s, Object: o})
		}
	}
	if o.endedAt.IsZero() && (!o.closeAt.IsZero() || o.hasInfo && o.held.End() == o.Length()) {
		o.endedAt = now
	}
	r.arm(o, r.wakeTime(o))
}

// account counts the memory of objects without description.
func (r *Receiver) account(o *Object) {
	if o.kind != kindUndescribed {
		return
	}
	m := o.memory()
	r.undescribed += m - o.counted
	o.counted = m
	for r.undescribed > r.cfg.MaxUndescribed && r.evictUndescribed(o) {
	}
}

// finish handles an object all of whose octets are there.
func (r *Receiver) finish(now time.Time, o *Object) {
	for sbn, b := range o.blocks {
		o.dropBlock(sbn, b)
	}
	o.wake = time.Time{}
	if o.kind == kindInstance {
		r.readInstance(now, o)
		return
	}
	r.pending(o, -1)
	if !r.verify(o) {
		r.deliver(o)
	}
}

func (r *Receiver) deliver(o *Object) {
	o.complete = true
	r.stats.Objects++
	o.s.objects++
	r.events.Push(Event{Kind: Complete, Session: o.s, Object: o})
}

// Poll returns the next event, and false if there is none.
func (r *Receiver) Poll() (Event, bool) {
	for {
		ev, ok := r.events.Pop()
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
