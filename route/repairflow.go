package route

import (
	"cmp"
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/reassembly"
)

// repairState is what the repair flow has brought for one object.
type repairState struct {
	oti    fec.OTI
	blocks []blockState
	data   reassembly.Buffer // the repair symbols, in the order of arrival
	count  int
}

type blockState struct {
	k       int
	off     int64 // of the block in the super-object
	symbols []repairSymbol
	tried   int // symbols that did not suffice
	decode  *decodeJob
}

type repairSymbol struct {
	esi uint32
	at  int // place in repairState.data, in symbols
}

// surplus is how many symbols more than K are kept for a block: beyond it the
// decoder's failure is out of the question.
const surplus = 32

// maxBlock bounds the source symbols of a block, since the time to decode one
// grows faster than its size: a forged packet must not cost a second.
const maxBlock = 16384

// pushRepair handles a repair packet, whose header is in r.hdr.
func (r *Receiver) pushRepair(now time.Time, key objectKey, id uint32, payload []byte) error {
	ch := r.channels[key.tsi]
	if ch == nil || len(ch.sources) == 0 {
		// Before the signalling came.
		r.stats.Ignored++
		r.ignore(key)
		return nil
	}
	oti := ch.repairOTI
	if fti, ok := r.hdr.Extensions.FTI(); ok {
		var err error
		if oti, err = fec.ParseFTI(fti); err != nil {
			return errRepair
		}
	}
	r.lastRepair = now
	if len(ch.sources) > 1 {
		return r.pushPool(now, ch, key, oti, id, payload)
	}
	src, ok := ch.sourceOf(key.toi)
	if !ok {
		return errRepair
	}
	o, joined := r.objects[src], false
	if o == nil {
		if rec := r.records.m[src]; rec != nil {
			if rec.loss == nil {
				rec.loss = openAccount(cmp.Or(r.channels[src.tsi], ch))
				r.closeAccount(now, rec.loss)
			}
			r.repairCame(now, rec.loss, key, id, len(payload), oti)
			r.stats.Repeats++
			return nil
		}
		// Nothing of the object came but its repair packets.
		var err error
		if o, err = r.open(now, src, cpMedia); err != nil {
			return err
		}
		joined = true
	}
	if o.loss == nil {
		o.loss = o.account()
		o.loss.joined = joined
		if o.complete {
			r.closeAccount(now, o.loss)
		}
	}
	r.repairCame(now, o.loss, key, id, len(payload), oti)
	if o.complete {
		r.stats.Repeats++
		return nil
	}
	if o.endedAt.IsZero() && o.visible() {
		// Repair packets follow the last source packet.
		o.endedAt = now
	}
	return r.addRepair(now, o, oti, id, payload)
}

// SupplySymbols adds repair symbols of an object that came by another way:
// consecutive ones of source block sbn, the first of them esi.
func (r *Receiver) SupplySymbols(now time.Time, o *Object, oti fec.OTI, sbn uint8, esi uint32, symbols []byte) error {
	if o.released || o.r != r {
		return ErrReleased
	}
	if o.complete {
		return nil
	}
	if esi >= 1<<24 || oti.Validate() != nil {
		return errRepair
	}
	return r.addRepair(now, o, oti, uint32(sbn)<<24|esi, symbols)
}

func (r *Receiver) addRepair(now time.Time, o *Object, oti fec.OTI, id uint32, payload []byte) error {
	if o.noFEC {
		return nil
	}
	t := int(oti.SymbolSize)
	sbn, esi := uint8(id>>24), id&0xffffff
	if t < lengthField || oti.SubBlocks != 1 || len(payload) == 0 || len(payload)%t != 0 || sbn >= oti.SourceBlocks ||
		oti.TransferLength%uint64(t) != 0 || int64(oti.TransferLength) > r.cfg.MaxObject+int64(t)+lengthField {
		return errRepair
	}
	st := o.repair
	if st == nil {
		if o.length >= 0 && o.firm && !fitsSuperObject(o.length, oti) || o.held.End()+lengthField > int64(oti.TransferLength) {
			return errRepair
		}
		st = &repairState{oti: oti, blocks: make([]blockState, oti.SourceBlocks)}
		for i := range st.blocks {
			k, off, _ := oti.Block(uint8(i))
			if k > maxBlock {
				return errRepair
			}
			st.blocks[i].k, st.blocks[i].off = k, int64(off)
		}
		o.repair = st
	} else if st.oti != oti {
		return errRepair
	}
	b := &st.blocks[sbn]
	if esi < uint32(b.k) {
		return errRepair // a source symbol: never sent in a repair flow
	}
	octets, fresh := len(payload), false
	for ; len(payload) > 0 && esi < 1<<24; payload, esi = payload[t:], esi+1 {
		if len(b.symbols) >= b.k+surplus {
			break
		}
		i, dup := slices.BinarySearchFunc(b.symbols, esi, func(s repairSymbol, e uint32) int { return int(s.esi) - int(e) })
		if dup {
			continue
		}
		for !st.data.WriteAt(r.pool, payload[:t], int64(st.count)*int64(t)) {
			if !r.evict(o) {
				return errMemory
			}
		}
		b.symbols = slices.Insert(b.symbols, i, repairSymbol{esi, st.count})
		st.count++
		fresh = true
	}
	if !fresh {
		r.stats.Repeats++
		return nil
	}
	o.lastRepair = now
	r.stats.RepairPackets++
	r.stats.RepairOctets += uint64(octets)
	r.decode(now, o)
	if !o.released && !o.complete {
		r.arm(o, r.wakeTime(now, o))
	}
	return nil
}
