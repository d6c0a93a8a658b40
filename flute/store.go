package flute

import (
	"bytes"
	"fmt"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/flute/reassembly"
)

// path is the way octets came.
type path uint8

const (
	bySource path = iota
	byFEC
	byUnicast
)

// configure takes the FEC Object Transmission Information: the object can be cut into symbols from here on.
func (o *Object) configure(info fec.ObjectInfo) error {
	limit := uint64(o.r.cfg.MaxObject)
	if o.kind == kindInstance {
		limit = uint64(o.r.cfg.MaxInstance)
	}
	if info.TransferLength > limit {
		return errTooLarge
	}
	o.info, o.hasInfo = info, true
	o.info.InstanceInfo = bytes.Clone(info.InstanceInfo)
	o.plain = info.ID == fec.CompactNoCode
	// Symbols of sub-blocks and of groups do not lie in a row: only a decoder knows where they belong.
	o.raw = !o.plain && (info.SubBlocks > 1 || info.ID == fec.LDPCStaircase && info.GroupSize() > 1)
	k, _, _ := info.Block(0)
	o.noFEC = o.plain || int64(object.BlockMemory(&info, k)) > o.r.cfg.MaxDecoding
	return nil
}

// An earlyPacket is one that came before anything told how to read it.
type earlyPacket struct {
	id  fec.PayloadID
	off int64
	n   int
}

const maxEarly = 4096

// keepEarly keeps a packet of an object without OTI.
func (o *Object) keepEarly(id fec.PayloadID, symbols []byte) error {
	for _, e := range o.earliest {
		if e.id == id {
			return nil
		}
	}
	if len(o.earliest) >= maxEarly || o.earlyLen+int64(len(symbols)) > o.r.cfg.MaxUndescribed {
		return errUndescribed
	}
	if err := o.claim(&o.early, symbols, o.earlyLen); err != nil {
		return err
	}
	o.earliest = append(o.earliest, earlyPacket{id, o.earlyLen, len(symbols)})
	o.earlyLen += int64(len(symbols))
	return nil
}

// replay takes the packets that were kept.
func (o *Object) replay(now time.Time) {
	if len(o.earliest) == 0 {
		return
	}
	kept, buf := o.earliest, []byte(nil)
	o.earliest = nil
	for _, e := range kept {
		buf = append(buf[:0], make([]byte, e.n)...)
		o.early.ReadAt(buf, e.off)
		// What does not fit is dropped; it was counted as accepted.
		if added, err := o.take(now, e.id, buf); err == nil && added > 0 {
			o.lastNew = now
		}
		if o.released {
			return
		}
	}
	o.early.Release(o.r.pool, false)
	o.earlyLen = 0
}

// take stores the symbols of a packet. It returns the source octets that are new.
func (o *Object) take(now time.Time, id fec.PayloadID, symbols []byte) (added int64, err error) {
	k, offset, length := o.info.Block(id.SBN)
	t := int(o.info.SymbolSize)
	switch {
	case len(symbols) == 0:
		return 0, nil
	case k == 0, o.info.ID == fec.SmallBlockSystematic && int(id.SBL) != k:
		return 0, errSymbol
	}
	count := (len(symbols) + t - 1) / t
	n := o.info.EncodingSymbols(k)
	if int64(id.ESI)+int64(count) > int64(n) {
		return 0, errSymbol
	}
	if !o.raw && int(id.ESI) < k {
		if int(id.ESI)+count > k {
			return 0, errSymbol
		}
		start := int64(offset) + int64(id.ESI)*int64(t)
		end := int64(offset + length)
		// The last symbol may be short, and may as well be padded.
		if len(symbols)%t != 0 && start+int64(len(symbols)) != end {
			return 0, errSize
		}
		added, err = o.store(start, symbols[:min(int64(len(symbols)), end-start)], bySource)
		if b := o.blocks[id.SBN]; b != nil && added > 0 {
			b.source += (int(added) + t - 1) / t
			o.settle(now, id.SBN, b)
		}
		return added, err
	}
	if o.noFEC {
		if o.raw {
			return 0, errMemory
		}
		return 0, nil
	}
	if o.held.Contains(int64(offset), int64(offset+length)) {
		return 0, nil
	}
	if !o.raw && len(symbols)%t != 0 {
		return 0, errSize
	}
	return 0, o.keep(now, id, symbols, k, count)
}

// store adds octets to the object. Octets that are held already must agree. An octet is written once, so that a decoder
// may read held octets meanwhile.
func (o *Object) store(off int64, p []byte, by path) (added int64, err error) {
	end := off + int64(len(p))
	if off >= o.held.End() {
		if err := o.write(off, p); err != nil {
			return 0, err
		}
		return o.count(o.held.Add(off, end), by), nil
	}
	if by != byFEC && !o.agrees(off, p) {
		return 0, errConflict
	}
	o.r.missing = o.held.AppendMissing(o.r.missing[:0], off, end)
	for _, m := range o.r.missing {
		if err := o.write(m.Start, p[m.Start-off:m.End-off]); err != nil {
			return added, err
		}
		added += o.count(o.held.Add(m.Start, m.End), by)
	}
	return added, nil
}

func (o *Object) count(added int64, by path) int64 {
	switch by {
	case byFEC:
		o.recovered += added
	case byUnicast:
		o.supplied += added
	}
	return added
}

// minPerRange bounds the bookkeeping of an object by its octets.
const minPerRange = 64

func (o *Object) write(off int64, p []byte) error {
	if n := int64(o.held.Len()); off != o.held.End() &&
		(n >= int64(o.r.cfg.MaxRanges) || n > 1024 && n > o.held.Total()/minPerRange) {
		return errRanges
	}
	if o.data.store != nil {
		if !o.put(p, off) {
			return errStore
		}
		return nil
	}
	return o.claim(&o.data.mem, p, off)
}

// claim writes to a buffer, at the cost of other objects if need be.
func (o *Object) claim(b *reassembly.Buffer, p []byte, off int64) error {
	for !b.WriteAt(o.r.pool, p, off) {
		if !o.r.evict(o) {
			return errMemory
		}
	}
	return nil
}

// Supply takes octets of an object that came by another way, as after NeedRepair. Octets that are held must agree.
func (r *Receiver) Supply(now time.Time, o *Object, off int64, p []byte) error {
	switch {
	case o.r != r || o.released:
		return ErrReleased
	case o.complete:
		return nil
	case !o.hasInfo || off < 0 || off+int64(len(p)) > o.Length():
		return fmt.Errorf("flute: octets %d to %d of %d", off, off+int64(len(p)), o.Length())
	case len(p) == 0:
		return nil
	}
	before := o.supplied
	added, err := o.store(off, p, byUnicast)
	r.stats.Supplied += uint64(o.supplied - before)
	for sbn, b := range o.blocks {
		o.settle(now, sbn, b)
	}
	r.advanced(now, o, added)
	return err
}

// SupplySymbols is Supply for the symbols of one packet, of source or repair.
func (r *Receiver) SupplySymbols(now time.Time, o *Object, id fec.PayloadID, symbols []byte) error {
	switch {
	case o.r != r || o.released:
		return ErrReleased
	case o.complete:
		return nil
	case !o.hasInfo:
		return errNoFTI
	}
	added, err := o.take(now, id, symbols)
	o.supplied += added
	r.stats.Supplied += uint64(added)
	r.advanced(now, o, added)
	return err
}
