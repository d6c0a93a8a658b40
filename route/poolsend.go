package route

import (
	"bytes"
	"cmp"
	"io"
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/fec/superobject"
	"github.com/treedn/treedn/route/sls"
)

// A poolFlow is a repair flow with a TSI of its own, whose super-objects hold an object of each of several tracks: those
// with the same number (RFC 9223, section 7.2). Their order is that of the TSIs.
type poolFlow struct {
	name    string
	tsi     uint32
	flows   []*flow
	waiting map[uint32][]*Transmission // by number: those that have ended
	epoch   int                        // changes with the tracks
}

// maxWaiting bounds the numbers of a pool that wait for the rest of their objects: tracks do not lag further behind each
// other. Those before are sent without repair.
const maxWaiting = 4

// join makes a track part of a pool.
func (s *Sender) join(f *flow, name string) {
	i := slices.IndexFunc(s.pools, func(p *poolFlow) bool { return p.name == name })
	if i < 0 {
		s.pools = append(s.pools, &poolFlow{name: name, tsi: s.nextTSI, waiting: make(map[uint32][]*Transmission)})
		s.nextTSI++
		i = len(s.pools) - 1
	}
	p := s.pools[i]
	// A new run of a track takes the place of the one before.
	p.flows = slices.DeleteFunc(p.flows, func(x *flow) bool { return x.track.Stem == f.track.Stem })
	for n := range p.waiting {
		s.abandon(p, n)
	}
	// Super-objects of other members than those that will be announced are of no use.
	p.epoch++
	s.repairs = slices.DeleteFunc(s.repairs, func(j *encodeJob) bool { return j.of == p })
	p.flows = append(p.flows, f)
	slices.SortFunc(p.flows, func(a, b *flow) int { return cmp.Compare(a.tsi, b.tsi) })
	f.pool = p
	f.rev = s.announce()
}

// leave takes a track that has gone out of its pool.
func (s *Sender) leave(f *flow) {
	p := f.pool
	if p == nil {
		return
	}
	p.flows = slices.DeleteFunc(p.flows, func(x *flow) bool { return x == f })
	if len(p.flows) == 0 {
		for n := range p.waiting {
			s.abandon(p, n)
		}
		s.pools = slices.DeleteFunc(s.pools, func(x *poolFlow) bool { return x == p })
	}
}

// abandon gives the repair of a number up.
func (s *Sender) abandon(p *poolFlow, n uint32) {
	for _, t := range p.waiting[n] {
		t.coding--
		s.release(t)
	}
	delete(p.waiting, n)
}

// pooled takes an object that has ended, and hands out the encoding of its super-object when it is the last one.
func (s *Sender) pooled(t *Transmission) {
	p := t.flow.pool
	t.coding++ // its octets are needed
	list := append(p.waiting[t.toi], t)
	p.waiting[t.toi] = list
	if len(list) < len(p.flows) {
		for len(p.waiting) > maxWaiting {
			oldest := t.toi
			for n := range p.waiting {
				oldest = min(oldest, n)
			}
			s.stats.RepairDropped++
			s.abandon(p, oldest)
		}
		return
	}
	delete(p.waiting, t.toi)
	slices.SortFunc(list, func(a, b *Transmission) int { return cmp.Compare(a.flow.tsi, b.flow.tsi) })
	j := &encodeJob{tx: t, tsi: p.tsi, unit: s.unit, block: s.cfg.BlockSymbols, loss: s.cfg.Loss, codec: &s.codec, pool: list, of: p, epoch: p.epoch}
	for _, x := range list {
		j.objects = append(j.objects, x.buf)
		j.cuts = append(j.cuts, x.packets)
	}
	s.works = append(s.works, &Work{run: j.runPool, encode: j})
}

// runPool makes the repair symbols of a super-object of several objects.
func (j *encodeJob) runPool() {
	var all []span
	var total int64
	var members []superobject.Member
	var readers []io.ReaderAt
	for i, b := range j.objects {
		for _, p := range j.cuts[i] {
			p.off += uint32(total) // only where it lies in a symbol matters, roughly
			all = append(all, p)
		}
		total += int64(len(b))
		members = append(members, superobject.Member{Length: uint32(len(b))})
		readers = append(readers, bytes.NewReader(b))
	}
	j.group = splitUnit(total, all, j.unit, random(j.loss), maxObjectSymbols)
	y := j.unit / j.group
	block := max(j.block, j.block*j.group/4)
	var symbols int64
	for _, m := range members {
		symbols += int64(superobject.Symbols(m.Length, uint16(y)))
	}
	info, err := superobject.Info(members, uint16(y), max(block, int(symbols+254)/255))
	if err != nil {
		j.err = err
		return
	}
	j.oti = fec.OTI{
		TransferLength: info.TransferLength, SymbolSize: info.SymbolSize, SourceBlocks: uint8(info.SourceBlocks),
		SubBlocks: 1, Alignment: uint8(info.Alignment),
	}
	fec.AppendOTI(j.fti[:0], j.oti)
	source := superobject.NewSource(members, uint16(y), readers)
	for sbn := range int(j.oti.SourceBlocks) {
		k, off, n := j.oti.Block(uint8(sbn))
		b := make([]byte, n)
		if _, err := source.ReadAt(b, int64(off)); err != nil {
			j.err = err
			return
		}
		var enc *raptorq.Encoder
		if enc, j.err = j.codec.NewEncoder(b, y); j.err != nil {
			return
		}
		// A block has parts of several objects.
		var costs []int
		begin := int64(0)
		for i, m := range members {
			costs = blockCosts(costs, j.cuts[i], y, int64(off)/int64(y)-begin, int64(k))
			begin += int64(superobject.Symbols(m.Length, uint16(y)))
		}
		count := j.loss.RepairWeighted(costs, j.group) * j.group
		j.blocks = append(j.blocks, repairBlock{k: uint32(k), symbols: enc.AppendRepair(make([]byte, 0, count*y), uint32(k), count)})
	}
}

// poolChannel describes the repair flow of a pool. It has no source flow.
func (s *Sender) poolChannel(p *poolFlow) sls.LS {
	rep := &sls.RepairFlow{HasOTI: true, MaximumDelay: uint32(s.cfg.RepairAge / time.Millisecond)}
	for _, f := range p.flows {
		rep.Protected = append(rep.Protected, sls.ProtectedObject{TSI: f.tsi})
	}
	fec.AppendOTI(rep.OTI[:0], fec.OTI{
		SymbolSize: uint16(s.unit), SourceBlocks: 1, SubBlocks: 1, Alignment: symbolAlignment,
	})
	return sls.LS{TSI: p.tsi, RepairFlow: rep}
}
