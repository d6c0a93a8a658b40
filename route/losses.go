package route

import (
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/reassembly"
)

// An account tells which packets of one object did not come: octets that had
// to come by another way, and gaps in the ESIs of its repair flow. A packet that
// was only late strikes its octets or ESIs off, and a repeated one finds nothing
// to strike, so that neither counts for long.
//
// An account stays open while the object is incomplete. Its losses are counted
// when nothing came for the lossDelay, and again for some time when late packets
// still came.
//
// Time alone makes nothing a loss: a parent may answer before the packets leave,
// and a busy receiver looks at the time before it reads them. Packets keep their
// order, so that those are lost behind which others of the sender came.
type account struct {
	ch     *channel       // of the source packets
	missed reassembly.Set // octets that came otherwise, or not at all
	from   int64          // those before do not count: the receiver joined later
	nth    uint64         // the object, of its channel
	sent   extent         // of it, by what came
	known  extent         // what it was when the account was looked at last
	unsure bool           // octets beyond that are missed
	early  bool           // source packets were rejected before the signalling came

	seqs   reassembly.Set // of repair packets for the growing object that came
	seqAt  int64          // those before do not count
	esis   reassembly.Set // that came, with the SBN above them
	oti    fec.OTI
	per    int64 // symbols in a repair packet
	joined bool  // the repair flow was met in its middle

	closed  bool
	queued  bool
	changed bool // since it was counted
	settled bool // nothing changes it any more
	counted int64
	last    time.Time // when it was closed, or changed since
	charged int
}

// extent is how much of an object the sender is known to have sent.
type extent struct {
	end int64 // of the source packet that is furthest in it
	all bool
}

// losses are the accounts that were closed and may still change.
type losses struct {
	queue   []look
	charged int
	// counted is the sum of all accounts. It falls when packets turn out to
	// be late, which the counter must not.
	counted int64
}

type look struct {
	at time.Time
	a  *account
}

const (
	// settleLooks is for how many lossDelays without a packet an account is
	// kept.
	settleLooks = 5
	// unsureFor is for how long after its last packet an account waits for
	// others behind it. If none come, the session is cut off rather than late.
	unsureFor = 30 * time.Second
	// lateObjects is how many objects of a channel have to begin until one before
	// them is known to have been sent: a sender may wait for the end of one while
	// it sends the next.
	lateObjects = 2
	// maxAccounts bounds the memory of the accounts that are closed, in
	// ranges.
	maxAccounts = 1 << 16
	// accountCost is what an account takes beside its ranges, likewise.
	accountCost = 16
	// maxESIGap bounds the packets that gaps in the ESIs of one object, which
	// may be forged, count for.
	maxESIGap = 4096
	// maxIgnored bounds the objects that are remembered since packets of theirs
	// were ignored: those that are under way in a session when a
	// receiver joins it.
	maxIgnored = 128
)

// lossDelay is how long after the end of an object its packets may come without
// having been counted as lost.
func (r *Receiver) lossDelay() time.Duration { return 4 * r.cfg.GapDelay }

// account returns one that knows what came of the object so far.
func (o *Object) account() *account {
	return &account{
		ch: o.ch, nth: o.nth, sent: extent{o.sentEnd, !o.closeAt.IsZero()},
		early: slices.Contains(o.r.ignored, o.key),
	}
}

// openAccount returns an account for an object of the channel that came by its
// source packets alone.
func openAccount(ch *channel) *account {
	return &account{ch: ch, nth: ch.began, sent: extent{all: true}}
}

// missed notes octets that came by another way than by source packets.
func (o *Object) missed(start, end int64) {
	if start >= end || !o.visible() {
		return
	}
	if o.loss == nil || o.loss.settled {
		o.loss = o.account()
	}
	if !o.loss.early && o.loss.missed.Len() < o.r.cfg.MaxRanges {
		o.loss.missed.Add(start, end)
	}
}

// came notes the source packet whose header is in r.hdr, which may bring octets
// that had come by another way before.
func (r *Receiver) came(now time.Time, a *account, start, end int64) {
	if a == nil || a.settled {
		return
	}
	a.sent.end = max(a.sent.end, end)
	a.sent.all = a.sent.all || r.hdr.CloseObject
	if a.missed.Len() >= r.cfg.MaxRanges {
		return
	}
	if start < a.from {
		a.from, a.changed = start, true
	}
	if _, ok := a.missed.Next(start, end); !ok {
		return
	}
	a.ch.sizes.add(end - start)
	a.missed.Remove(start, end)
	r.touch(now, a)
}

// repairCame notes a repair packet of n octets with the TSI and TOI in key.
func (r *Receiver) repairCame(now time.Time, a *account, key objectKey, id uint32, n int, oti fec.OTI) {
	t, sbn := int64(oti.SymbolSize), id>>24
	if a.settled || t == 0 || int64(n) < t || sbn >= uint32(oti.SourceBlocks) {
		return
	}
	a.sent.all = true // they follow the last source packet
	if a.per == 0 {
		if slices.Contains(r.ignored, key) {
			return
		}
		a.oti = oti
	} else if a.oti != oti || a.esis.Len() >= maxESIGap {
		return
	}
	per := int64(n) / t
	a.per = max(a.per, per)
	if a.esis.Add(int64(id), int64(id)+per) > 0 {
		r.touch(now, a)
	}
}

// growingCame notes a repair packet of a growing object with the TSI and TOI in
// key.
func (r *Receiver) growingCame(now time.Time, a *account, key objectKey, seq uint16) {
	if a.settled || a.seqs.Len() >= maxESIGap {
		return
	}
	if a.seqs.Len() == 0 && slices.Contains(r.ignored, key) {
		return
	}
	n := int64(seq)
	if last := a.seqs.End() - 1; last >= 0 {
		n = last + int64(int16(seq-uint16(last))) // the number nearest to it
	} else if a.joined || a.from > 0 {
		a.seqAt = n
	}
	if n >= 0 && a.seqs.Add(n, n+1) > 0 {
		r.touch(now, a)
	}
}

// ignore notes that a packet of the TSI and TOI in key came before what makes
// sense of it. It is not lost, and neither are those before it, but nothing tells
// which they are: gaps between its like count for nothing.
func (r *Receiver) ignore(key objectKey) {
	if slices.Contains(r.ignored, key) {
		return
	}
	if len(r.ignored) == maxIgnored {
		r.ignored = slices.Delete(r.ignored, 0, 1)
	}
	r.ignored = append(r.ignored, key)
}

// closeAccount is for an object that is over.
func (r *Receiver) closeAccount(now time.Time, a *account) {
	if a != nil && !a.closed && !a.settled {
		a.closed = true
		r.touch(now, a)
	}
}

func (r *Receiver) touch(now time.Time, a *account) {
	if !a.closed {
		return
	}
	a.last, a.changed, a.known = now, true, a.extent()
	l := &r.losses
	if !a.queued {
		l.push(now.Add(r.lossDelay()), a)
		r.next = sooner(r.next, l.next())
	}
	l.charge(a, accountCost+a.missed.Len()+a.seqs.Len()+a.esis.Len())
	for l.charged > maxAccounts && len(l.queue) > 0 {
		a := l.pop()
		a.known.all = true
		r.count(a)
		l.settle(a)
	}
}

// extent is what is known to have been sent by now.
func (a *account) extent() extent {
	x := a.sent
	x.all = x.all || a.ch.began >= a.nth+lateObjects
	return x
}

func (l *losses) charge(a *account, n int) {
	l.charged += n - a.charged
	a.charged = n
}

func (l *losses) next() time.Time {
	if len(l.queue) == 0 {
		return time.Time{}
	}
	return l.queue[0].at
}

// push keeps the queue in order; most looks belong at its end.
func (l *losses) push(at time.Time, a *account) {
	i := len(l.queue)
	for i > 0 && l.queue[i-1].at.After(at) {
		i--
	}
	l.queue = slices.Insert(l.queue, i, look{at, a})
	a.queued = true
}

func (l *losses) pop() *account {
	a := l.queue[0].a
	l.queue[0].a = nil
	l.queue = l.queue[1:]
	a.queued = false
	return a
}

func (l *losses) settle(a *account) {
	l.charge(a, 0)
	*a = account{settled: true, closed: true}
}

// countLosses looks at the accounts whose time has come.
func (r *Receiver) countLosses(now time.Time) {
	l := &r.losses
	for len(l.queue) > 0 && !now.Before(l.queue[0].at) {
		a := l.pop()
		if !a.closed { // the object was taken up again
			l.charge(a, 0)
			continue
		}
		quiet, delay := now.Sub(a.last), r.lossDelay()
		if quiet < delay {
			l.push(a.last.Add(delay), a)
			continue
		}
		if quiet >= unsureFor {
			a.known.all = true
		}
		r.count(a)
		if !a.unsure && (quiet >= settleLooks*delay || a.counted == 0 && a.esis.Len() == 0 && a.seqs.Len() == 0) {
			l.settle(a)
			continue
		}
		a.known = a.extent()
		if a.unsure && quiet >= settleLooks*delay {
			delay *= settleLooks
		}
		l.push(now.Add(delay), a)
	}
}

func (r *Receiver) count(a *account) {
	if !a.changed && !a.unsure {
		return
	}
	a.changed, a.unsure = false, false
	n := a.gaps()
	for _, m := range a.missed.All() {
		if !a.known.all && m.End > a.known.end {
			a.unsure = true
			m.End = a.known.end
		}
		if m.Start = max(m.Start, a.from); m.Start < m.End {
			n += a.ch.sizes.packetsIn(m.Len())
		}
	}
	r.losses.counted += n - a.counted
	a.counted = n
	r.stats.Lost = max(r.stats.Lost, uint64(max(0, r.losses.counted)))
}

// gaps is the number of repair packets that did not come before others of their
// block, or of their object while it grew.
func (a *account) gaps() (n int64) {
	at := a.seqAt
	for _, e := range a.seqs.All() {
		if gap := e.Start - at; gap > 0 && gap < maxESIGap {
			n += gap
		}
		at = max(at, e.End)
	}
	block, next := int64(-1), int64(0)
	for _, e := range a.esis.All() {
		if sbn := e.Start >> 24; sbn != block {
			k, _, _ := a.oti.Block(uint8(sbn))
			block, next = sbn, sbn<<24+int64(k)
			if a.joined {
				next = e.Start
			}
		}
		if gap := (e.Start - next + a.per - 1) / a.per; gap > 0 && gap < maxESIGap {
			n += gap
		}
		next = e.End
	}
	return min(n, maxESIGap)
}

// packetSizes are the sizes of a channel's source packets of late.
type packetSizes struct {
	octets, packets int64
	largest, before int64 // of this period, and of the one before
}

// sizesPeriod is how many packets the sizes of older ones are remembered for.
const sizesPeriod = 1024

func (z *packetSizes) add(octets int64) {
	if octets <= 0 {
		return
	}
	z.octets += octets
	z.packets++
	z.largest = max(z.largest, octets)
	if z.packets >= 2*sizesPeriod {
		z.octets, z.packets = z.octets/2, z.packets/2
		z.before, z.largest = z.largest, 0
	}
}

// packetsIn estimates how many packets a hole took. Most holes are one packet,
// whatever its size: low-latency chunks end in small ones.
func (z *packetSizes) packetsIn(hole int64) int64 {
	mean, largest := int64(1344), int64(1344)
	if z.packets > 0 {
		mean, largest = max(1, z.octets/z.packets), max(z.largest, z.before)
	}
	if hole <= largest {
		return 1
	}
	return max((hole+largest-1)/largest, (hole+mean/2)/mean)
}
