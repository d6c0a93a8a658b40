package route

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/fec/superobject"
	"github.com/treedn/treedn/flute/reassembly"
)

// decodePool hands a pool out for decoding if a block of it lacks something and has symbols enough.
func (r *Receiver) decodePool(p *pool) {
	if p.busy || p.dead || p.over || r.settled(p.members) || !r.wanted(p) {
		return
	}
	members, ok := r.layout(p)
	if !ok {
		return
	}
	missing := r.missingSymbols(p, members)
	worth := false
	for sbn, n := range missing {
		if n > 0 && p.counts[sbn] >= n && p.counts[sbn]-n >= p.tried[sbn] {
			worth = true
			p.tried[sbn] = p.counts[sbn] - n + 1
		}
	}
	if !worth {
		return
	}
	j := &poolJob{p: p, oti: p.oti, members: members, data: p.data.Clone(), packets: slices.Clone(p.packets), codec: &r.codec}
	for i, key := range p.members {
		s := poolSource{known: members[i].Length > 0}
		if o := r.objects[key]; o != nil {
			s.o, s.epoch, s.held, s.data = o, o.epoch, slices.Clone(o.held.All()), o.data.Clone()
			s.known = o.firm && o.length >= 0
			o.busy++
		} else if k := r.keptObject(key); k != nil {
			s.k, s.held, s.data, s.known = k, []reassembly.Range{{Start: 0, End: k.length}}, k.data.Clone(), true
			k.busy++
		}
		j.sources = append(j.sources, s)
	}
	p.busy = true
	r.works = append(r.works, &Work{run: j.run, pool: j})
}

// wanted tells whether an incomplete object of the pool may have FEC.
func (r *Receiver) wanted(p *pool) bool {
	return slices.ContainsFunc(p.members, func(k objectKey) bool {
		o := r.objects[k]
		return o != nil && !o.complete && !o.noFEC && o.visible() && (!r.cfg.HoldSignalling || o.preferred)
	})
}

// missingSymbols counts the source symbols of each block of which octets are missing.
func (r *Receiver) missingSymbols(p *pool, members []superobject.Member) []int {
	missing := make([]int, len(p.counts))
	y := int64(p.oti.SymbolSize)
	begin, sbn, end := int64(0), 0, int64(0) // in symbols; the block that ends at end is sbn-1
	mark := func(first, last int64) {
		for s := first; s <= last; {
			for s >= end && sbn < len(missing) {
				k, _, _ := p.oti.Block(uint8(sbn))
				end += int64(k)
				sbn++
			}
			n := min(last+1, end) - s
			if n <= 0 {
				return
			}
			missing[sbn-1] += int(n)
			s += n
		}
	}
	for i, m := range members {
		size := int64(m.Symbols)
		last := int64(-1) // symbol marked before
		o, k := r.objects[p.members[i]], r.keptObject(p.members[i])
		switch {
		case o != nil:
			until := size * y
			if o.firm && o.length >= 0 {
				until = o.length
			}
			r.missing = o.held.AppendMissing(r.missing[:0], 0, until)
			for _, x := range r.missing {
				a, b := max(x.Start/y, last+1), (x.End-1)/y
				if a <= b {
					mark(begin+a, begin+b)
					last = b
				}
			}
		case k == nil:
			mark(begin, begin+size-1)
		}
		begin += size
	}
	return missing
}

// poolJob decodes a super-object.
type poolJob struct {
	p       *pool
	oti     fec.OTI
	members []superobject.Member
	sources []poolSource
	data    reassembly.Buffer
	packets []pooledPacket
	codec   *raptorq.Codec

	back    bool
	err     error
	pieces  []superobject.Piece
	lengths []int64
}

type poolSource struct {
	o     *Object
	epoch int
	k     *kept
	known bool // its length is
	held  []reassembly.Range
	data  reassembly.Buffer
}

func (j *poolJob) run() {
	info := fec.ObjectInfo{
		ID: fec.RaptorQ, TransferLength: j.oti.TransferLength, SymbolSize: j.oti.SymbolSize,
		SourceBlocks: uint16(j.oti.SourceBlocks), SubBlocks: 1, Alignment: j.oti.Alignment,
	}
	const memory = 1 << 30 // bounded by the objects that are held, and by maxBlock
	a, err := superobject.NewAssembler(info, j.members, superobject.Config{MaxMemory: memory, Codec: j.codec})
	if err != nil {
		j.err = err
		return
	}
	for i := range j.sources {
		s := &j.sources[i]
		if s.known {
			if j.err = a.SetLength(i, j.members[i].Length); j.err != nil {
				return
			}
		}
		for _, h := range s.held {
			for at := h.Start; at < h.End; {
				b := s.data.Bytes(at, h.End)
				if j.err = a.Source(i, uint64(at), b); j.err != nil {
					return
				}
				at += int64(len(b))
			}
		}
	}
	var packet []byte
	for _, x := range j.packets {
		packet = binary.BigEndian.AppendUint32(packet[:0], x.id)
		packet = slices.Grow(packet, x.n)[:4+x.n]
		j.data.ReadAt(packet[4:], x.at)
		if j.err = a.Repair(packet); j.err != nil {
			return
		}
	}
	for p, ok := a.Next(); ok; p, ok = a.Next() {
		j.pieces = append(j.pieces, p)
	}
	for i := range j.members {
		length := int64(-1)
		if n, ok := a.Length(i); ok {
			length = int64(n)
		}
		j.lengths = append(j.lengths, length)
	}
}

// finishPool stores what a super-object brought.
func (r *Receiver) finishPool(now time.Time, j *poolJob) {
	if j.back {
		return
	}
	j.back = true
	j.p.busy = false
	for _, s := range j.sources {
		if s.o != nil {
			s.o.busy--
		}
		if s.k != nil {
			s.k.busy--
		}
	}
	if j.err != nil {
		// Something was forged, and nothing tells what.
		r.stats.DecodeErrors++
		j.p.dead = true
		return
	}
	if len(j.pieces) > 0 {
		r.stats.Decodes++
	}
	for i := range j.sources {
		o := j.sources[i].o
		if o == nil || o.released || o.complete || o.epoch != j.sources[i].epoch || o.noFEC {
			continue
		}
		var added int64
		err := error(nil)
		if n := j.lengths[i]; n >= 0 && !o.firm {
			err = o.setLength(n, true)
		}
		for _, p := range j.pieces {
			if p.Member != i || err != nil {
				continue
			}
			var n int64
			n, err = o.store(now, int64(p.Offset), p.Data, byFEC)
			added += n
		}
		o.recovered += added
		r.stats.Recovered += uint64(added)
		if err != nil {
			r.poisoned(o)
			continue
		}
		r.settleBlocks(o, 0, o.held.End())
		r.advanced(now, o, added)
	}
	r.endPool(j.p)
}
