package route

import (
	"slices"
	"time"

	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/flute/lct"
)

const (
	// growingTSIBit makes the TSI of the repair flow for growing objects out of
	// that of the source flow.
	growingTSIBit = 1 << 31
	// repairTSIBit does the same for that of whole objects in a RepairSession.
	// Elsewhere that flow has the TSI of the source flow.
	repairTSIBit = 1 << 30
	// manyPackets is how many source packets make a block whose repair is
	// cheap. One of fewer waits for more: fewShare/n times as long if it has n,
	// and no longer than maxPatience says.
	manyPackets = 24
	fewShare    = 96
	// maxGrowingPackets bounds the source packets of a block.
	maxGrowingPackets = 256
)

// growth is what a Transmission remembers for the repair of what it has sent so
// far. Its open block begins with source packet first.
type growth struct {
	first  int
	opened time.Time // when that packet left; zero if it has not
	ready  bool      // the next chunk would come too late for the open block
	seq    uint16
	blocks []sentBlock // closed

	// Of small streams, see windowsend.go.
	decided bool
	small   bool
	size    int     // of symbols
	counted int     // packets in credit
	credit  float64 // octets that repair packets may take
	chunks  int     // packets before this chunk
}

// growingTSI is the TSI of the repair flow for the growing objects of a
// channel, zero if there is none.
func (s *Sender) growingTSI(tsi uint32) uint32 {
	if s.cfg.NoRepair || s.cfg.GrowingDelay < 0 {
		return 0
	}
	return tsi ^ growingTSIBit
}

// repairTSI is the TSI of repair packets for whole objects of a channel.
func (s *Sender) repairTSI(tsi uint32) uint32 {
	if s.repairApart() == together {
		return tsi
	}
	return tsi ^ repairTSIBit
}

func (t *Transmission) growing() bool {
	return !t.ended && !t.aborted && t.flow.pool == nil && (t.file == nil || !t.file.carousel) && t.s.growingTSI(t.flow.tsi) != 0
}

// grew notes that Append was given octets, before they are cut into packets.
func (t *Transmission) grew(now time.Time) {
	f := t.flow
	if f.chunkEnded || f.chunkAt.IsZero() {
		if d := now.Sub(f.chunkAt); !f.chunkAt.IsZero() && d < time.Second {
			f.interval = (3*f.interval + d) / 4
			if f.interval < d/2 { // the first one
				f.interval = d
			}
		}
		f.chunkAt, f.chunkEnded = now, false
	}
}

// cutOff notes that all octets are in packets, since a chunk has ended. When the
// next one cannot be in time for the open block, that block waits no longer.
func (t *Transmission) cutOff() {
	f, g := t.flow, &t.growth
	f.chunkEnded = true
	f.rhythm(len(t.packets) - g.chunks)
	g.chunks = len(t.packets)
	opened := g.opened
	if opened.IsZero() {
		opened = f.chunkAt // it leaves now, or later
	}
	g.ready = f.interval > 0 && f.chunkAt.Add(f.interval).After(opened.Add(t.patienceTime()))
}

// maxPatience is how many times GrowingDelay a block of few packets may wait for more. Those of audio and text are few
// for long: without patience their repair costs more than they do.
func (f *flow) maxPatience() int {
	if k := f.track.Kind; k == Audio || k == Text {
		return 12
	}
	return 6
}

// patience is how long the first packet of the open block may wait, in GrowingDelay.
func (t *Transmission) patience() float64 {
	n := len(t.packets) - t.growth.first
	if n >= manyPackets {
		return 1
	}
	return min(float64(fewShare)/float64(max(n, 1)), float64(t.flow.maxPatience()))
}

func (t *Transmission) patienceTime() time.Duration {
	return time.Duration(t.patience() * float64(t.s.cfg.GrowingDelay))
}

// closeTime is when the open block has to be closed.
func (t *Transmission) closeTime() time.Time { return t.growth.opened.Add(t.patienceTime()) }

// growingPackets is how many source packets a block has at most: no more than
// leave within GrowingDelay.
func (s *Sender) growingPackets() int {
	n := s.rate() / 8000 * int64(s.cfg.GrowingDelay/time.Millisecond) / int64(s.unit)
	return int(min(max(n, manyPackets), maxGrowingPackets, maxGrowingBlock/int64(s.unit)-2))
}

// closeBlock closes the open block of t, if it is time. Only packets that have
// left are in it: the repair of others would overtake them, and an object whose
// end is known before they leave is better repaired as a whole.
func (s *Sender) closeBlock(now time.Time, t *Transmission) {
	g := &t.growth
	n := t.next - g.first
	if n <= 0 || !t.growing() {
		s.ungrow(t)
		return
	}
	if t.small() && len(t.packets)-g.first < manyPackets {
		s.closeWindow(now, t)
		return
	}
	if g.opened.IsZero() {
		g.opened = now
		s.open = append(s.open, t)
	}
	at, all := t.closeTime(), t.next == len(t.packets)
	due := all && (g.ready || !now.Before(at)) || !now.Before(at.Add(s.cfg.GrowingDelay))
	if !due && n < s.growingPackets() {
		return
	}
	last := t.next
	loss := s.cfg.Loss
	loss.Target = s.cfg.growingTarget()
	b := s.plans.growing(t.packets[g.first:last], s.unit, loss, t.patience())
	b.first, b.last = g.first, last
	if b.valid() && b.count > 0 {
		s.handOut(t, b, g.opened, at)
	}
	g.first, g.ready = last, false
	s.ungrow(t)
}

// handOut has the repair packets of a block made.
func (s *Sender) handOut(t *Transmission, b sentBlock, opened, due time.Time) {
	t.growth.blocks = append(t.growth.blocks, b)
	j := s.takeBlockJob()
	j.tx, j.block, j.opened, j.due = t, b, opened, due
	j.octets = t.buf[b.start:b.end()]
	t.coding++
	j.work = &Work{run: j.run, block: j}
	s.blockWorks = append(s.blockWorks, j.work)
}

// closeBlocks closes what has become due without a packet.
func (s *Sender) closeBlocks(now time.Time) {
	for i := len(s.open) - 1; i >= 0; i-- {
		s.closeBlock(now, s.open[i])
	}
}

// nextClose is when closeBlocks has something to do.
func (s *Sender) nextClose() (next time.Time) {
	for _, t := range s.open {
		if t.next == len(t.packets) && t.next > t.growth.first {
			next = sooner(next, t.closeTime())
		}
	}
	return next
}

// ungrow forgets the open block of t.
func (s *Sender) ungrow(t *Transmission) {
	if t.growth.opened.IsZero() {
		return
	}
	t.growth.opened = time.Time{}
	if i := slices.Index(s.open, t); i >= 0 {
		s.open = slices.Delete(s.open, i, i+1)
	}
}

// blockJob makes the repair symbols of one block of a growing object.
type blockJob struct {
	work   *Work // while it is out
	tx     *Transmission
	block  sentBlock
	octets []byte
	opened time.Time
	due    time.Time
	codec  *raptorq.Codec

	padded  []byte
	symbols []byte
	err     error
	sent    int // octets of symbols
}

func (s *Sender) takeBlockJob() *blockJob {
	if n := len(s.blockJobs); n > 0 {
		j := s.blockJobs[n-1]
		s.blockJobs = s.blockJobs[:n-1]
		*j = blockJob{codec: j.codec, padded: j.padded, symbols: j.symbols}
		return j
	}
	return &blockJob{codec: &s.codec}
}

func (s *Sender) freeBlockJob(j *blockJob) {
	j.tx, j.octets = nil, nil
	if len(s.blockJobs) < 16 {
		s.blockJobs = append(s.blockJobs, j)
	}
}

func (j *blockJob) run() {
	b := &j.block
	source := j.octets
	if b.lead > 0 {
		j.padded = append(append(j.padded[:0], make([]byte, b.lead)...), source...)
		source = j.padded
	}
	enc, err := j.codec.NewEncoder(source, b.size)
	if err != nil {
		j.err = err
		return
	}
	k := uint32(enc.K())
	j.symbols = slices.Grow(j.symbols[:0], b.count*b.group*b.size)
	for i := range uint32(b.count * b.group) {
		j.symbols = enc.AppendSymbol(j.symbols, k+i)
	}
}

// finishBlock takes the repair symbols of a block.
func (s *Sender) finishBlock(w *Work) {
	j := w.block
	if j.work != w || j.tx.s != s {
		return
	}
	j.work = nil
	j.tx.coding--
	s.release(j.tx)
	if j.err != nil || j.tx.aborted {
		if j.err != nil {
			s.cfg.Logger.Warn("no repair packets for part of an object", "name", j.tx.out.Name, "error", j.err)
		}
		s.freeBlockJob(j)
		return
	}
	i, _ := slices.BinarySearchFunc(s.blocks, j, func(a, b *blockJob) int { return a.opened.Compare(b.opened) })
	s.blocks = slices.Insert(s.blocks, i, j)
}

// growingAge is for how many times GrowingDelay the repair packets of a block
// are worth sending once it is closed.
const growingAge = 6

// appendGrowing appends the next repair packet of a growing object, those of the
// oldest block first; with late only of blocks that are.
func (s *Sender) appendGrowing(now time.Time, dst []byte, late bool) ([]byte, bool) {
	for i := 0; i < len(s.blocks); {
		j := s.blocks[i]
		if late && now.Before(j.due) {
			break
		}
		if j.sent < len(j.symbols) && !j.tx.aborted {
			if j.tx.flow.wait(now) > 0 {
				i++
				continue
			}
			if now.Before(j.due.Add(growingAge * s.cfg.GrowingDelay)) {
				n := len(dst)
				dst = j.appendPacket(dst)
				j.tx.flow.spend(now, len(dst)-n)
				return dst, true
			}
			s.stats.BlocksDropped++
		}
		s.blocks = slices.Delete(s.blocks, i, i+1)
		s.freeBlockJob(j)
	}
	return dst, false
}

// lateGrowing tells whether appendGrowing has a packet that is late.
func (s *Sender) lateGrowing(now time.Time) bool {
	for _, j := range s.blocks {
		if now.Before(j.due) {
			return false
		}
		if j.sent < len(j.symbols) && !j.tx.aborted && j.tx.flow.wait(now) <= 0 && now.Before(j.due.Add(growingAge*s.cfg.GrowingDelay)) {
			return true
		}
	}
	return false
}

func (j *blockJob) appendPacket(dst []byte) []byte {
	t, b := j.tx, &j.block
	h := lct.Header{
		PSI: psiRepair, Codepoint: cpRepair,
		TSI: uint64(t.flow.tsi ^ growingTSIBit), TOI: uint64(t.toi), HasTOI: true, TSILen: 4, TOILen: 4,
	}
	dst, _ = h.AppendTo(dst)
	dst = appendGrowingID(dst, b.growingBlock, uint32(b.symbols()+j.sent/b.size), t.growth.seq)
	t.growth.seq++
	n := min(b.group*b.size, len(j.symbols)-j.sent)
	dst = append(dst, j.symbols[j.sent:j.sent+n]...)
	j.sent += n
	return dst
}
