package route

import (
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/fec/superobject"
	"github.com/treedn/treedn/flute/reassembly"
)

// A pool is a FEC super-object of several objects, which may belong to several source flows (RFC 9223, section 7.2), as
// far as it has come: repair packets. The source packets are with the objects. Those of complete objects are kept for a
// while although they are released, since the others may need them.
type pool struct {
	key     objectKey // of its repair packets
	oti     fec.OTI
	members []objectKey
	sizes   []int64 // of the FEC transport objects as signalled, 0 for unknown

	data    reassembly.Buffer
	packets []pooledPacket
	octets  int64 // in data
	counts  []int // symbols of each source block
	tried   []int // those that did not suffice
	busy    bool  // a Work reads it
	began   time.Time
	dead    bool // it contradicted itself
	over    bool // nothing lacks anything any more
}

type pooledPacket struct {
	id uint32
	at int64 // in data
	n  int
}

// kept is a complete object that was released, for the sake of pools.
type kept struct {
	key    objectKey
	length int64
	data   reassembly.Buffer
	until  time.Time
	busy   int // Works that read it
}

// Bounds on pools.
const (
	maxPools   = 64
	maxKept    = 256
	maxMembers = 64
)

// poolTime is for how long released objects are kept and pools are waited for: as long as the sender announces that
// repair packets lag, within the bounds of the configuration.
func (r *Receiver) poolTime(ch *channel) time.Duration {
	d := r.cfg.FECDelay + r.cfg.RepairGap
	if ch.maxDelay > 0 {
		d = max(d, min(ch.maxDelay, r.cfg.Deadline))
	}
	return d
}

// members returns the objects that a repair TOI of the channel protects, in the order of the super-object.
func (ch *channel) members(toi uint32) (keys []objectKey, sizes []int64) {
	for _, m := range ch.sources {
		key, ok := m.of(toi)
		if !ok {
			return nil, nil
		}
		keys = append(keys, key)
		sizes = append(sizes, m.size)
	}
	return keys, sizes
}

// pushPool handles a repair packet of a super-object of several objects.
func (r *Receiver) pushPool(now time.Time, ch *channel, key objectKey, oti fec.OTI, id uint32, payload []byte) error {
	p := r.pools[key]
	if p == nil {
		keys, sizes := ch.members(key.toi)
		if keys == nil || len(keys) > maxMembers {
			return errRepair
		}
		if r.settled(keys) {
			r.stats.Repeats++
			return nil
		}
		if oti.Validate() != nil || oti.SubBlocks != 1 || int(oti.SymbolSize) < lengthField || int64(oti.TransferLength) > r.cfg.MaxObject*int64(len(keys)) {
			return errRepair
		}
		for sbn := range oti.SourceBlocks {
			if k, _, _ := oti.Block(sbn); k == 0 || k > maxBlock {
				return errRepair
			}
		}
		p = &pool{
			key: key, oti: oti, members: keys, sizes: sizes, began: now,
			counts: make([]int, oti.SourceBlocks), tried: make([]int, oti.SourceBlocks),
		}
		r.makePoolRoom()
		r.pools[key] = p
		r.next = sooner(r.next, now.Add(r.cfg.Deadline))
	}
	t := int(oti.SymbolSize)
	switch {
	case p.over:
		r.stats.Repeats++
		return nil
	case p.dead:
		r.stats.Ignored++
		return nil
	}
	sbn, esi := int(id>>24), int(id&0xffffff)
	if p.oti != oti || sbn >= len(p.counts) || len(payload) == 0 || len(payload)%t != 0 || esi+len(payload)/t > raptorq.MaxESI+1 {
		return errRepair
	}
	if k, _, _ := oti.Block(uint8(sbn)); esi < k || p.counts[sbn] >= k+surplus {
		return errRepair
	}
	if slices.ContainsFunc(p.packets, func(x pooledPacket) bool { return x.id == id }) {
		r.stats.Repeats++
		return nil
	}
	for !p.data.WriteAt(r.pool, payload, p.octets) {
		if !r.evict(nil) {
			return errMemory
		}
	}
	p.packets = append(p.packets, pooledPacket{id, p.octets, len(payload)})
	p.octets += int64(len(payload))
	p.counts[sbn] += len(payload) / t
	r.stats.RepairPackets++
	r.stats.RepairOctets += uint64(len(payload))
	for i, m := range p.members {
		o := r.objects[m]
		if o == nil && r.records.m[m] == nil && r.lengthsKnown(p, i) {
			// Nothing of the object came.
			var err error
			if o, err = r.open(now, m, cpMedia); err != nil {
				continue
			}
		}
		if o == nil || o.complete || !o.visible() {
			continue
		}
		if o.endedAt.IsZero() {
			o.endedAt = now // repair packets follow the last source packet
		}
		o.lastRepair = now
		r.arm(o, r.wakeTime(now, o))
	}
	r.decodePool(p)
	return nil
}

// settled tells that no object of a pool lacks anything, or can be had.
func (r *Receiver) settled(keys []objectKey) bool {
	return !slices.ContainsFunc(keys, func(k objectKey) bool {
		if o := r.objects[k]; o != nil {
			return !o.complete
		}
		rec := r.records.m[k]
		return rec == nil || rec.fate != delivered && rec.fate != dropped
	})
}

// lengthsKnown tells whether the lengths of all members but one are known.
func (r *Receiver) lengthsKnown(p *pool, except int) bool {
	for i := range p.members {
		if _, _, ok := r.member(p, i); !ok && i != except {
			return false
		}
	}
	return true
}

// member returns the size of a FEC transport object in symbols, and the length of the object, -1 if only the size is
// known.
func (r *Receiver) member(p *pool, i int) (symbols, length int64, ok bool) {
	y := int(p.oti.SymbolSize)
	if o := r.objects[p.members[i]]; o != nil && o.length >= 0 && o.firm {
		return superSymbols(o.length, y), o.length, true
	}
	if k := r.keptObject(p.members[i]); k != nil {
		return superSymbols(k.length, y), k.length, true
	}
	if rec := r.records.m[p.members[i]]; rec != nil && rec.fate == delivered {
		return superSymbols(rec.length, y), rec.length, true
	}
	if p.sizes[i] > 0 && p.sizes[i]%int64(y) == 0 {
		return p.sizes[i] / int64(y), -1, true
	}
	return 0, 0, false
}

func (r *Receiver) keptObject(key objectKey) *kept {
	for _, k := range r.kept {
		if k.key == key {
			return k
		}
	}
	return nil
}

// layout returns the members of a pool, as soon as the place of each is known.
func (r *Receiver) layout(p *pool) (list []superobject.Member, ok bool) {
	total := int64(p.oti.TransferLength) / int64(p.oti.SymbolSize)
	unknown := -1
	for i, key := range p.members {
		symbols, length, ok := r.member(p, i)
		if !ok {
			if unknown >= 0 {
				return nil, false
			}
			unknown = i
		}
		total -= symbols
		list = append(list, superobject.Member{TSI: key.tsi, TOI: key.toi, Symbols: uint32(symbols), Length: uint32(max(0, length))})
	}
	if unknown >= 0 && total > 0 {
		list[unknown].Symbols, total = uint32(total), 0
	}
	if total != 0 {
		p.dead = true // lengths were forged, or the OTI was
		return nil, false
	}
	return list, true
}

// touchPools tries to decode what an object is part of.
func (r *Receiver) touchPools(o *Object) {
	if o.ch == nil || !o.ch.pooled {
		return
	}
	for _, p := range r.pools {
		if slices.Contains(p.members, o.key) {
			r.decodePool(p)
		}
	}
}

// completedIn looks after the pools of an object that is complete: others may lack less now, or nothing.
func (r *Receiver) completedIn(o *Object) {
	if !o.ch.pooled {
		return
	}
	for _, p := range r.pools {
		if slices.Contains(p.members, o.key) {
			r.decodePool(p)
			r.endPool(p)
		}
	}
}

// endPool drops a pool that has done what it can, and the objects that were kept for it.
// It is remembered, so that these are not kept again.
func (r *Receiver) endPool(p *pool) {
	if !p.busy && r.settled(p.members) {
		p.over, p.packets = true, nil
		p.data.Release(r.pool, false)
		for _, key := range p.members {
			r.dropKept(r.keptObject(key))
		}
	}
}

func (r *Receiver) dropPool(p *pool) {
	if r.pools[p.key] == p {
		delete(r.pools, p.key)
		p.data.Release(r.pool, p.busy)
	}
}

func (r *Receiver) dropKept(k *kept) {
	if i := slices.Index(r.kept, k); k != nil && i >= 0 {
		r.kept = slices.Delete(r.kept, i, i+1)
		k.data.Release(r.pool, k.busy > 0)
	}
}

// makePoolRoom sees to it that there may be one more pool.
func (r *Receiver) makePoolRoom() {
	if len(r.pools) < maxPools {
		return
	}
	var oldest *pool
	for _, p := range r.pools {
		if oldest == nil || p.began.Before(oldest.began) {
			oldest = p
		}
	}
	r.dropPool(oldest)
}

// evictPooled frees what pools hold for others, the oldest first, and tells whether there was anything.
func (r *Receiver) evictPooled() bool {
	if len(r.kept) > 0 {
		r.dropKept(r.kept[0])
		return true
	}
	return false
}

// keep holds on to the octets of a complete object that is released.
func (r *Receiver) keep(now time.Time, o *Object) {
	for _, p := range r.pools {
		if p.over && slices.Contains(p.members, o.key) {
			return
		}
	}
	if len(r.kept) >= maxKept {
		r.dropKept(r.kept[0])
	}
	until := now.Add(r.poolTime(o.ch))
	r.kept = append(r.kept, &kept{key: o.key, length: o.length, data: o.data, until: until})
	o.data = reassembly.Buffer{}
	r.next = sooner(r.next, until)
}

// expirePools drops what nobody waits for any more, and returns when to look again.
func (r *Receiver) expirePools(now time.Time) (next time.Time) {
	for i := 0; i < len(r.kept); {
		if k := r.kept[i]; !now.Before(k.until) {
			r.dropKept(k)
			continue
		}
		next = sooner(next, r.kept[i].until)
		i++
	}
	for _, p := range r.pools {
		if at := p.began.Add(r.cfg.Deadline); !now.Before(at) {
			r.dropPool(p)
		} else {
			next = sooner(next, at)
		}
	}
	return next
}
