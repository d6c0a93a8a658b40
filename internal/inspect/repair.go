package inspect

import (
	"bytes"
	"encoding/binary"

	"github.com/treedn/treedn/fec"
	fecobject "github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/fec/superobject"
	"github.com/treedn/treedn/route/sls"
)

// repairKey identifies a FEC super-object of ROUTE.
type repairKey struct {
	tsi uint64
	toi uint64
}

// repairSet is what repair packets brought for one super-object.
type repairSet struct {
	ch      *channel
	toi     uint64
	oti     fec.OTI
	hasOTI  bool
	packets [][]byte // FEC Payload ID and symbols
	octets  int64
	tried   int
	done    bool
}

const (
	maxRepairSets   = 4096
	maxRepairOctets = 64 << 20 // of one session
)

// takeRepair keeps a repair packet, and tries to recover what it may.
func (ch *channel) takeRepair(b []byte) {
	s, h := ch.s, &ch.s.in.hdr
	if !h.HasTOI || len(b) <= 4 {
		return
	}
	if s.repairs == nil {
		s.repairs = map[repairKey]*repairSet{}
	}
	key := repairKey{ch.tsi, h.TOI}
	set := s.repairs[key]
	if set == nil {
		if len(s.repairs) >= maxRepairSets {
			s.dropRepairs()
		}
		set = &repairSet{ch: ch, toi: h.TOI}
		s.repairs[key] = set
	}
	if fti, ok := h.Extensions.FTI(); ok {
		if len(fti) >= fec.OTILen {
			set.oti, set.hasOTI = parseOTI([fec.OTILen]byte(fti)), true
		}
	}
	if set.done {
		return
	}
	if s.repairOctets() > maxRepairOctets {
		s.dropRepairs()
	}
	set.packets = append(set.packets, bytes.Clone(b))
	set.octets += int64(len(b))
	set.recover(false)
}

func (s *session) repairOctets() (n int64) {
	for _, set := range s.repairs {
		n += set.octets
	}
	return n
}

// dropRepairs forgets the sets that are done, or all.
func (s *session) dropRepairs() {
	before := len(s.repairs)
	for key, set := range s.repairs {
		if set.done {
			delete(s.repairs, key)
		}
	}
	if len(s.repairs) == before {
		clear(s.repairs)
	}
}

// repairAll tries everything once more, by all that is known now.
func (s *session) repairAll() {
	for _, set := range s.repairs {
		set.recover(true)
	}
}

// sources returns the objects of a super-object, in the order of the S-TSID; nil where none of their packets came.
func (set *repairSet) sources() (list []*object, keys []superobject.Member) {
	s := set.ch.s
	flow := set.ch.flow
	if flow == nil || flow.RepairFlow == nil {
		return nil, nil
	}
	for _, p := range flow.RepairFlow.Protected {
		maps := p.SourceTOIs
		if len(maps) == 0 {
			maps = []sls.SourceTOI{{X: 1}}
		}
		for _, m := range maps {
			toi := m.Of(set.toi)
			if toi > 0xffffffff || len(list) >= 64 {
				return nil, nil
			}
			var o *object
			if ch := s.sourceChannel(uint64(p.TSI)); ch != nil {
				o = ch.objects[objectKey{toi: toi}]
			}
			m := superobject.Member{TSI: p.TSI, TOI: uint32(toi)}
			if t := uint64(set.symbolSize()); t > 0 && p.ObjectSize/t <= 1<<32-1 {
				m.Symbols = uint32(p.ObjectSize / t)
			}
			list = append(list, o)
			keys = append(keys, m)
		}
	}
	return list, keys
}

// recover decodes, if there may be enough for it. Hard tries even if the packets do not look like it.
func (set *repairSet) recover(hard bool) {
	if set.done || len(set.packets) == set.tried {
		return
	}
	oti, ok := set.oti, set.hasOTI
	if flow := set.ch.flow; !ok && flow != nil && flow.RepairFlow != nil && flow.RepairFlow.HasOTI {
		oti, ok = parseOTI(flow.RepairFlow.OTI), true
	}
	objects, members := set.sources()
	if !ok || oti.SymbolSize == 0 || len(objects) == 0 {
		return
	}
	if oti.TransferLength > 0 && len(objects) == 1 && set.plain(oti, objects[0]) {
		return
	}
	if !set.layout(&oti, objects, members) {
		return
	}
	missing := int64(0)
	for i, o := range objects {
		size := int64(members[i].Symbols) * int64(oti.SymbolSize)
		if o == nil {
			missing += size
			continue
		}
		if o.complete {
			continue
		}
		missing += size - o.held.Total()
	}
	if missing == 0 {
		set.done, set.packets, set.octets = true, nil, 0
		return
	}
	if got := set.octets - 4*int64(len(set.packets)); !hard && got < missing-int64(oti.SymbolSize)*int64(len(objects)) {
		return
	}
	set.tried = len(set.packets)
	set.decode(oti, objects, members)
}

// parseOTI reads the OTI of RaptorQ (RFC 6330, 3.3). Its length may be 0, for lengths that vary, which no object has.
func parseOTI(b [fec.OTILen]byte) fec.OTI {
	return fec.OTI{
		TransferLength: uint64(b[0])<<32 | uint64(binary.BigEndian.Uint32(b[1:])),
		SymbolSize:     binary.BigEndian.Uint16(b[6:]), SourceBlocks: b[8], SubBlocks: binary.BigEndian.Uint16(b[9:]), Alignment: b[11],
	}
}

func (set *repairSet) symbolSize() uint16 {
	if set.hasOTI {
		return set.oti.SymbolSize
	}
	if f := set.ch.flow; f != nil && f.RepairFlow != nil {
		return parseOTI(f.RepairFlow.OTI).SymbolSize
	}
	return 0
}

// sourceChannel returns the channel of a source flow, which may be on another group than its repair flow.
func (s *session) sourceChannel(tsi uint64) *channel {
	if ch := s.channels[tsi]; ch != nil {
		return ch
	}
	for _, other := range s.in.sorted() {
		if ch := other.channels[tsi]; ch != nil && other.source == s.source && ch.protocol == routing {
			return ch
		}
	}
	return nil
}

// layout fills in the sizes of the members, and of the whole where it is not known.
func (set *repairSet) layout(oti *fec.OTI, objects []*object, members []superobject.Member) bool {
	unknown, sum := -1, uint64(0)
	for i, o := range objects {
		m := &members[i]
		if o != nil && o.length >= 0 && o.firm {
			m.Length = uint32(o.length)
			m.Symbols = superobject.Symbols(uint32(o.length), oti.SymbolSize)
		}
		if m.Symbols > 0 {
			sum += uint64(m.Symbols)
			continue
		}
		if unknown >= 0 {
			return false
		}
		unknown = i
	}
	total := oti.TransferLength / uint64(oti.SymbolSize)
	if unknown >= 0 && total == 0 && oti.SourceBlocks <= 1 {
		// Repair symbols have the numbers behind those of the source symbols.
		total = uint64(set.firstSymbol())
		oti.TransferLength = total * uint64(oti.SymbolSize)
	}
	switch {
	case unknown >= 0 && total > sum && total-sum <= 1<<32-1:
		members[unknown].Symbols = uint32(total - sum)
	case unknown >= 0:
		return false
	case total == 0: // variable: it goes by the members
		oti.TransferLength = sum * uint64(oti.SymbolSize)
	case total != sum:
		return false
	}
	oti.SourceBlocks = max(oti.SourceBlocks, 1)
	oti.SubBlocks = max(oti.SubBlocks, 1)
	oti.Alignment = max(oti.Alignment, 1)
	return oti.TransferLength <= maxSuperObject
}

// maxSuperObject bounds super-objects that are decoded, in octets.
const maxSuperObject = 1 << 30

// firstSymbol returns the lowest number of a symbol that came.
func (set *repairSet) firstSymbol() uint32 {
	first := uint32(0)
	for i, p := range set.packets {
		if esi := binary.BigEndian.Uint32(p) & 0xffffff; i == 0 || esi < first {
			first = esi
		}
	}
	return first
}

// plain decodes for a sender that codes the object as it is, rather than a FEC transport object with its length behind it
// (RFC 9223, 5.6), which shows in the length of the OTI. It is false if the sender is not one of these.
func (set *repairSet) plain(oti fec.OTI, o *object) bool {
	if o == nil || o.length < 0 || !o.firm || uint64(o.length) != oti.TransferLength || o.complete || o.dropped {
		return false
	}
	if uint64(superobject.Symbols(uint32(o.length), oti.SymbolSize))*uint64(oti.SymbolSize) == oti.TransferLength {
		return false // it may be either
	}
	info := oti.Info()
	if info.Validate() != nil || info.SubBlocks != 1 {
		return false
	}
	d, err := o.ch.s.in.codec.NewDecoder(info, recoverer{o}, fecobject.DecoderConfig{MaxMemory: maxDecoding})
	if err != nil {
		return false
	}
	set.tried = len(set.packets)
	t := int64(info.SymbolSize)
	symbol := make([]byte, t)
	for sbn := range uint32(info.Blocks()) {
		k, offset, length := info.Block(sbn)
		for i := range int64(k) {
			from := int64(offset) + i*t
			to := min(from+t, int64(offset+length))
			if !o.held.Contains(from, to) {
				continue
			}
			clear(symbol)
			o.data.ReadAt(symbol[:to-from], from)
			_, _ = d.Add(fec.PayloadID{SBN: sbn, ESI: uint32(i)}, symbol)
		}
	}
	for _, p := range set.packets {
		if done, err := d.Packet(p); done && err == nil {
			break
		}
	}
	o.ch.finish(o)
	return true
}

func (set *repairSet) decode(oti fec.OTI, objects []*object, members []superobject.Member) {
	info := fec.ObjectInfo{
		ID: fec.RaptorQ, TransferLength: oti.TransferLength, SymbolSize: oti.SymbolSize, SourceBlocks: uint16(oti.SourceBlocks),
		SubBlocks: oti.SubBlocks, Alignment: oti.Alignment,
	}
	a, err := superobject.NewAssembler(info, members, superobject.Config{MaxMemory: 256 << 20})
	if err != nil {
		return
	}
	for i, o := range objects {
		if o == nil || o.dropped {
			continue
		}
		for _, r := range o.held.All() {
			for at := r.Start; at < r.End; {
				piece := o.data.Bytes(at, r.End)
				if len(piece) == 0 || a.Source(i, uint64(at), piece) != nil {
					break
				}
				at += int64(len(piece))
			}
		}
		if o.length >= 0 && o.firm {
			_ = a.SetLength(i, uint32(o.length))
		}
	}
	for _, p := range set.packets {
		_ = a.Repair(p) // what does not fit is of no use
	}
	for piece, ok := a.Next(); ok; piece, ok = a.Next() {
		o := objects[piece.Member]
		if o == nil {
			ch := set.ch.s.sourceChannel(uint64(members[piece.Member].TSI))
			if ch == nil {
				ch = set.ch.s.channel(uint64(members[piece.Member].TSI))
			}
			if ch == nil {
				continue
			}
			o = ch.open(objectKey{toi: uint64(members[piece.Member].TOI)})
			objects[piece.Member] = o
		}
		if o.complete || o.dropped {
			continue
		}
		if n, ok := a.Length(piece.Member); ok && o.length < 0 {
			_ = o.setLength(int64(n), true)
		}
		before := o.held.Total()
		if _, err := o.store(int64(piece.Offset), piece.Data); err != nil {
			continue // octets that contradict: nothing tells which are right
		}
		o.recovered += o.held.Total() - before
	}
	for i, o := range objects {
		if o == nil {
			continue
		}
		if n, ok := a.Length(i); ok && o.length < 0 {
			_ = o.setLength(int64(n), true)
		}
		o.ch.finish(o)
	}
	if a.Done() {
		set.done, set.packets, set.octets = true, nil, 0
	}
}

// channel returns the channel of a TSI, a new one if none of its packets came.
func (s *session) channel(tsi uint64) *channel {
	ch := s.channels[tsi]
	if ch == nil && len(s.channels) < maxChannels {
		ch = s.newChannel(tsi)
		ch.protocol = routing
	}
	return ch
}
