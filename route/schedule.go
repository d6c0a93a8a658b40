package route

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/pacing"
)

func (s *Sender) rate() int64 {
	if s.cfg.Rate > 0 {
		return s.cfg.Rate
	}
	return max(minRate, 4*s.peak.bitrate())
}

// timerGrain is what timers of operating systems may be late by: a burst has to last as long for the rate to be kept.
const timerGrain = 2 * time.Millisecond

// burst is how much may leave at once, in octets.
func (s *Sender) burst() int {
	if s.cfg.Burst > 0 {
		return s.cfg.Burst
	}
	return int(max(minBurst, s.rate()/8*int64(timerGrain)/int64(time.Second)))
}

// spare is the part of the burst that packets may use which can wait: repair
// and repetitions. A track's key frame comes right behind the repair packets of
// the segment before it, and needs the burst more than they do.
func (s *Sender) spare() int { return s.burst() / 8 }

// Poll appends the next packet to dst, if one may leave now. Signalling and
// source packets go first, then repair packets of growing objects, then those of
// whole ones, those of the oldest first, then carousel repetitions. Only repair
// packets of growing objects that are late go before source packets.
//
// With a RepairSession these are the packets for Session alone, and none while
// late ones wait for PollRepair.
func (s *Sender) Poll(now time.Time, dst []byte) (pkt []byte, ok bool) {
	return s.poll(now, dst, s.repairApart())
}

// PollRepair is as Poll, for packets that go to the RepairSession. Call it when
// Poll has nothing, and then Poll again, until neither has: they share the rate.
func (s *Sender) PollRepair(now time.Time, dst []byte) (pkt []byte, ok bool) {
	if s.repairApart() == together {
		return dst, false
	}
	return s.poll(now, dst, repairOnly)
}

// part is which packets are wanted.
type part uint8

const (
	together part = iota
	sourceOnly
	repairOnly
)

func (s *Sender) repairApart() part {
	if s.cfg.RepairSession.Group.IsValid() {
		return sourceOnly
	}
	return together
}

func (s *Sender) poll(now time.Time, dst []byte, want part) (pkt []byte, ok bool) {
	rate := s.rate()
	if s.throttle(now, rate) > 0 {
		return dst, false
	}
	n := len(dst)
	s.closeBlocks(now)
	dst, ok = s.appendNext(now, dst, rate, want)
	if ok {
		s.bucket.Take(now, len(dst)-n+pacing.UDPOverhead, rate)
		s.stats.Packets++
		s.stats.Octets += uint64(len(dst) - n)
	}
	return dst, ok
}

func (s *Sender) appendNext(now time.Time, dst []byte, rate int64, want part) ([]byte, bool) {
	s.expire(now)
	n, ok := len(dst), false
	if want != repairOnly {
		if dst, ok = s.appendSignalling(now, dst); ok {
			s.stats.SignallingPackets++
			return dst, true
		}
	}
	if want == sourceOnly {
		if s.lateGrowing(now) {
			return dst, false
		}
	} else if dst, ok = s.appendGrowing(now, dst, true); ok {
		s.countGrowing(len(dst) - n)
		return dst, true
	}
	if want != repairOnly {
		if dst, ok = s.appendNextSource(now, dst); ok {
			return dst, true
		}
	}
	if want != sourceOnly {
		if s.bucket.Wait(now, rate, s.burst()/2) > 0 {
			return dst, false
		}
		if dst, ok = s.appendGrowing(now, dst, false); ok {
			s.countGrowing(len(dst) - n)
			return dst, true
		}
	}
	if s.bucket.Wait(now, rate, s.spare()) > 0 {
		return dst, false
	}
	if want != sourceOnly {
		if dst, ok = s.appendRepair(now, dst); ok {
			s.stats.RepairPackets++
			s.stats.RepairOctets += uint64(len(dst) - n)
			return dst, true
		}
	}
	if want != repairOnly {
		if dst, ok = s.appendCarousel(now, dst); ok {
			s.stats.CarouselPackets++
			return dst, true
		}
	}
	return dst, false
}

func (s *Sender) appendNextSource(now time.Time, dst []byte) ([]byte, bool) {
	t := s.nextSource(now)
	if t == nil {
		return dst, false
	}
	n := len(dst)
	dst = t.appendSource(dst, t.next)
	t.next++
	t.flow.spend(now, len(dst)-n)
	s.stats.SourcePackets++
	s.stats.SourceOctets += uint64(len(dst) - n)
	if t.next == len(t.packets) {
		t.flow.queue = slices.DeleteFunc(t.flow.queue, func(x *Transmission) bool { return x == t })
		t.flow.idle, t.sentAt = now, now
		s.release(t)
	}
	s.closeBlock(now, t)
	return dst, true
}

func (s *Sender) countGrowing(octets int) {
	s.stats.RepairPackets++
	s.stats.RepairOctets += uint64(octets)
	s.stats.GrowingPackets++
	s.stats.GrowingOctets += uint64(octets)
}

// nextSource picks the packet of the highest priority that is due first. Channels
// without deadlines take turns, so that a large segment of one does not hold up
// the small ones of another.
func (s *Sender) nextSource(now time.Time) (best *Transmission) {
	if len(s.flows) == 0 {
		return nil
	}
	first := (s.turn + 1) % len(s.flows)
	for i := range s.flows {
		at := (first + i) % len(s.flows)
		t := s.flows[at].pendingIn()
		if t == nil || s.flows[at].wait(now) > 0 {
			continue
		}
		if best == nil || t.before(best) {
			best, s.turn = t, at
		}
	}
	return best
}

func (s *Sender) appendRepair(now time.Time, dst []byte) ([]byte, bool) {
	for i := 0; i < len(s.repairs); {
		j := s.repairs[i]
		if t := j.tx; t.next == len(t.packets) && now.Sub(t.sentAt) > s.cfg.RepairAge {
			s.stats.RepairDropped++
		} else if t.flow.wait(now) > 0 {
			i++
			continue
		} else {
			n := len(dst)
			var ok bool
			if dst, ok = j.appendPacket(dst); ok {
				t.flow.spend(now, len(dst)-n)
				return dst, true
			}
		}
		s.repairs = slices.Delete(s.repairs, i, i+1)
	}
	return dst, false
}

// appendPacket appends the next repair packet. The blocks take turns, so that
// a burst of losses hits all of them alike.
func (j *encodeJob) appendPacket(dst []byte) ([]byte, bool) {
	for range j.blocks {
		sbn := j.turn
		j.turn = (j.turn + 1) % len(j.blocks)
		b := &j.blocks[sbn]
		if b.sent == len(b.symbols) {
			continue
		}
		y := int(j.oti.SymbolSize)
		n := min(j.group*y, len(b.symbols)-b.sent)
		var room [16]byte
		ext, _ := lct.Extensions(room[:0]).AppendFTI(j.fti[:])
		h := lct.Header{
			PSI: psiRepair, Codepoint: cpRepair,
			TSI: uint64(j.tsi), TOI: uint64(j.tx.toi), HasTOI: true, TSILen: 4, TOILen: 4,
			Extensions: ext,
		}
		dst, _ = h.AppendTo(dst)
		esi := b.k + uint32(b.sent/y)
		dst = binary.BigEndian.AppendUint32(dst, uint32(sbn)<<24|esi)
		dst = append(dst, b.symbols[b.sent:b.sent+n]...)
		b.sent += n
		return dst, true
	}
	return dst, false
}

func (s *Sender) appendCarousel(now time.Time, dst []byte) ([]byte, bool) {
	for s.meta != nil && s.meta.wait(now) == 0 {
		x := s.carousel
		if x == nil {
			if x = s.dueFile(now); x == nil {
				return dst, false
			}
			s.carousel = x
			x.at = 0
		}
		if x.at < len(x.tx.packets) && slices.Contains(s.meta.files, x) {
			x.at++
			if x.at > 1 && x.tx.packets[x.at-1].n == 0 {
				continue // it told the length, which all packets tell now
			}
			n := len(dst)
			dst = x.tx.appendSource(dst, x.at-1)
			s.meta.spend(now, len(dst)-n)
			return dst, true
		}
		s.carousel = nil
		x.next = now.Add(x.every)
		if x.left--; x.left == 0 { // it was the last one
			x.next, x.carousel = time.Time{}, false
			x.expires = now.Add(s.cfg.TrackLinger)
			s.release(x.tx)
		}
	}
	return dst, false
}

// dueFile returns the carousel file whose time has come: of those of the highest
// priority the one that waits longest.
func (s *Sender) dueFile(now time.Time) (best *file) {
	for _, x := range s.meta.files {
		if x.next.IsZero() || now.Before(x.next) || x.tx.next < len(x.tx.packets) {
			continue
		}
		if best == nil || x.tx.out.Priority > best.tx.out.Priority ||
			x.tx.out.Priority == best.tx.out.Priority && x.next.Before(best.next) {
			best = x
		}
	}
	return best
}

// NextTimeout is when PollWork and Poll are worth calling again if there was
// nothing, or nothing was allowed, to send; zero if only new input can change
// that.
func (s *Sender) NextTimeout(now time.Time) time.Time {
	next := sooner(s.nextRetire(), s.signal.nextTimeout())
	ready := s.signal.urgent || s.signal.sending
	for _, f := range s.flows {
		if f.pendingIn() == nil {
			continue
		}
		if d := f.wait(now); d > 0 {
			next = sooner(next, now.Add(d))
		} else {
			ready = true
		}
	}
	next = sooner(next, s.nextClose())
	ready = ready || len(s.blockWorks) > 0
	if d, ok := s.growingWait(now); ok {
		next = sooner(next, now.Add(max(d, s.bucket.Wait(now, s.rate(), s.burst()*7/16))))
	}
	// What can wait leaves some packets at a time.
	spare := now.Add(s.bucket.Wait(now, s.rate(), s.spare()/2))
	for _, j := range s.repairs {
		next = sooner(next, later(spare, now.Add(j.tx.flow.wait(now))))
	}
	if s.carousel != nil {
		next = sooner(next, later(spare, now.Add(s.meta.wait(now))))
	}
	if s.meta != nil {
		for _, x := range s.meta.files {
			if at := x.next; !at.IsZero() {
				next = sooner(next, later(at, later(spare, now.Add(s.meta.wait(now)))))
			}
		}
	}
	if ready || !next.IsZero() && next.Before(now) {
		next = now
	}
	if next.IsZero() {
		return next
	}
	if free := now.Add(s.throttle(now, s.rate())); next.Before(free) {
		return free
	}
	return next
}

// growingWait is for how long channels hold all repair packets of growing objects
// back, and whether there are any.
func (s *Sender) growingWait(now time.Time) (d time.Duration, ok bool) {
	for _, j := range s.blocks {
		if w := j.tx.flow.wait(now); !ok || w < d {
			d, ok = w, true
		}
	}
	return d, ok
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// throttle returns how long the next packet has to wait. One that finds the bucket empty waits until a batch of packets
// may leave: at high rates the system sleeps longer than a packet takes, and a lone one costs as much as many.
func (s *Sender) throttle(now time.Time, rate int64) time.Duration {
	if !s.throttled && s.bucket.Wait(now, rate, s.burst()) == 0 {
		return 0
	}
	batch := min(int64(s.burst())/4, rate/8*int64(pacingDelay)/int64(time.Second))
	d := s.bucket.Wait(now, rate, s.burst()-int(batch))
	s.throttled = d > 0
	return d
}

// pacingDelay is for how long a packet may wait for others, beside Rate and Burst.
const pacingDelay = 250 * time.Microsecond
