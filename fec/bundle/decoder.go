package bundle

import (
	"fmt"
	"slices"
	"time"

	"github.com/treedn/treedn/fec/fecframe"
	"github.com/treedn/treedn/fec/raptorq"
)

// Limits bound what a decoder holds, and for how long. The zero value has useful
// defaults.
type Limits struct {
	// Window is how long a block is waited for, from its first repair packet, and
	// how long source packets are held for repair packets that may come: the
	// sender's window and what reordering adds to it. Default 1 s. In mode Explicit
	// Blocks alone counts.
	Window time.Duration

	// Blocks is how many blocks are waited for at once. Default 4.
	Blocks int

	// Recent is how many source packets of each flow are held for blocks that are
	// not known yet. Default MaxBlock.
	Recent int

	// Memory bounds all of it, in octets. Default 256 MB.
	Memory int
}

func (l Limits) populate(d *Descriptor) Limits {
	if l.Window <= 0 {
		l.Window = time.Second
	}
	if l.Blocks <= 0 {
		l.Blocks = 4
	}
	if l.Recent <= 0 {
		l.Recent = d.MaxBlock
	}
	if l.Memory <= 0 {
		l.Memory = 256 << 20
	}
	return l
}

// Packet is a recovered source packet.
type Packet struct {
	Flow uint8
	Seq  uint32 // in mode Mapped
	Data []byte // the caller's to keep
}

// Decoder recovers lost packets of a bundle, in mode Mapped or Explicit. It is not safe
// for concurrent use.
type Decoder struct {
	// Check, if not nil, tells whether a recovered packet is one of its flow and has
	// the sequence number that it should have. If not, the block is [ErrPoisoned].
	Check func(flow uint8, seq uint32, packet []byte) bool

	d        Descriptor
	limits   Limits
	codec    raptorq.Codec
	explicit *fecframe.Decoder // mode Explicit

	recent map[uint8]*ring
	blocks map[uint32]*rxBlock
	newest uint32 // block number
	begun  bool   // newest is valid
	parsed Repair // scratch
	out    []Packet
}

// ring holds the latest source packets of a flow, as ADU information without padding.
type ring struct {
	packets map[uint32]held
	order   []uint32
}

type held struct {
	at   time.Time
	adui []byte
}

// rxBlock is a block of which some repair packets have arrived.
type rxBlock struct {
	expires time.Time
	ranges  []Range
	places  []place
	esi     map[place]uint32
	code    *raptorq.Decoder // nil once the block is done
	symbols int

	recovered map[place]struct{}
}

// NewDecoder returns a decoder. An error that is [ErrBudget] means that the limits do not
// allow for blocks of the descriptor.
func NewDecoder(d Descriptor, limits Limits) (*Decoder, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	limits = limits.populate(&d)
	x := &Decoder{d: d, limits: limits, recent: make(map[uint8]*ring), blocks: make(map[uint32]*rxBlock)}
	if d.Mode == Explicit {
		var err error
		x.explicit, err = fecframe.NewDecoder(
			fecframe.Config{Scheme: fecframe.RaptorQArbitrary, SymbolSize: d.SymbolSize, MaxBlock: d.MaxBlock},
			fecframe.Limits{Blocks: limits.Blocks, Memory: limits.Memory},
		)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBudget, err)
		}
		return x, nil
	}
	for _, f := range d.Flows {
		x.recent[f] = &ring{packets: make(map[uint32]held)}
	}
	k, t := uint64(d.MaxBlock), uint64(d.SymbolSize)
	const each = 400 // octets of bookkeeping for a symbol, while planning
	need := uint64(limits.Blocks)*(k*t+2*(k+k/8+128)*(t+each)) + uint64(limits.Recent*len(d.Flows))*(t+100)
	if need > uint64(limits.Memory) {
		return nil, fmt.Errorf("%w: blocks and packets may take %d octets", ErrBudget, need)
	}
	return x, nil
}

// Source takes a source packet, in mode Explicit with its trailer and without regard to
// seq, and returns what is to be delivered, which is good whatever the error. An error
// that is [fecframe.ErrRecovered] means that it has been delivered already.
func (x *Decoder) Source(now time.Time, flow uint8, seq uint32, packet []byte) ([]byte, error) {
	if x.explicit != nil {
		return x.explicit.Source(flow, packet)
	}
	r := x.recent[flow]
	if r == nil || len(packet) > x.d.SymbolSize-aduiHeader {
		return packet, fmt.Errorf("%w: flow %d, %d octets", ErrPacket, flow, len(packet))
	}
	x.expire(now)
	adui := r.add(now, flow, seq, packet, x.limits.Recent)
	p := place{flow, seq}
	for number, b := range x.blocks {
		esi, ok := b.esi[p]
		if !ok {
			continue
		}
		if b.code == nil {
			if _, ok := b.recovered[p]; ok {
				return packet, fmt.Errorf("%w: flow %d, %d", fecframe.ErrRecovered, flow, seq)
			}
			continue
		}
		if err := x.give(number, b, esi, adui); err != nil {
			return packet, err
		}
	}
	return packet, nil
}

// add holds a packet in the place of the oldest.
func (r *ring) add(now time.Time, flow uint8, seq uint32, packet []byte, limit int) (adui []byte) {
	if h, ok := r.packets[seq]; ok {
		return h.adui // a repetition
	}
	if len(r.order) >= limit {
		delete(r.packets, r.order[0])
		r.order = r.order[1:]
	}
	adui = fecframe.AppendADUI(nil, flow, uint16(len(packet)), packet, 0)
	r.packets[seq] = held{now, adui}
	r.order = append(r.order, seq)
	return adui
}

// expire forgets blocks and packets that have been waited for long enough.
func (x *Decoder) expire(now time.Time) {
	for number, b := range x.blocks {
		if !now.Before(b.expires) {
			delete(x.blocks, number)
		}
	}
	if len(x.blocks) == 0 {
		x.begun = false // the sender may begin anew
	}
	for _, r := range x.recent {
		for len(r.order) > 0 && now.Sub(r.packets[r.order[0]].at) >= x.limits.Window {
			delete(r.packets, r.order[0])
			r.order = r.order[1:]
		}
	}
}

// Repair takes a repair packet.
func (x *Decoder) Repair(now time.Time, packet []byte) error {
	if x.explicit != nil {
		return x.explicit.Repair(packet)
	}
	r := &x.parsed
	if err := r.Parse(packet); err != nil {
		return err
	}
	if r.Bundle != x.d.ID || r.K() > x.d.MaxBlock || len(r.Symbol) != x.d.SymbolSize {
		return fmt.Errorf("%w: bundle %d, K = %d, symbol of %d octets", ErrPacket, r.Bundle, r.K(), len(r.Symbol))
	}
	for _, m := range r.Map {
		if x.recent[m.Flow] == nil {
			return fmt.Errorf("%w: flow %d", ErrPacket, m.Flow)
		}
	}
	x.expire(now)
	b, err := x.block(now, r)
	if err != nil || b.code == nil {
		return err
	}
	if k := len(b.places); b.symbols > k+k/8+64 {
		return fmt.Errorf("%w: %d symbols do not decode block %d", ErrBudget, b.symbols, r.Block)
	}
	return x.give(r.Block, b, r.ESI, r.Symbol)
}

// block returns the block of a repair packet, which it begins if it is new.
func (x *Decoder) block(now time.Time, r *Repair) (*rxBlock, error) {
	if b := x.blocks[r.Block]; b != nil {
		if !slices.Equal(b.ranges, r.Map) {
			return nil, fmt.Errorf("%w: two maps of block %d", ErrConflict, r.Block)
		}
		return b, nil
	}
	age := int32(x.newest - r.Block)
	switch {
	case !x.begun || age < 0:
		x.newest, x.begun = r.Block, true
		for other := range x.blocks {
			if n := int32(r.Block - other); n >= int32(x.limits.Blocks) || n < 0 {
				delete(x.blocks, other)
			}
		}
	case int(age) >= x.limits.Blocks:
		return nil, fmt.Errorf("%w: block %d", ErrOld, r.Block)
	}
	code, err := x.codec.NewDecoder(r.K(), x.d.SymbolSize)
	if err != nil {
		return nil, fmt.Errorf("bundle: block %d: %w", r.Block, err)
	}
	b := &rxBlock{
		expires: now.Add(x.limits.Window),
		ranges:  slices.Clone(r.Map),
		places:  order(r.Map),
		code:    code,
	}
	b.esi = make(map[place]uint32, len(b.places))
	x.blocks[r.Block] = b
	for i, p := range b.places {
		b.esi[p] = uint32(i)
	}
	for i, p := range b.places {
		if h, ok := x.recent[p.flow].packets[p.seq]; ok && b.code != nil {
			if err := x.give(r.Block, b, uint32(i), h.adui); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

// give gives a symbol to the code, and recovers what is missing if it can.
func (x *Decoder) give(number uint32, b *rxBlock, esi uint32, symbol []byte) error {
	if len(symbol) < x.d.SymbolSize {
		symbol = append(make([]byte, 0, x.d.SymbolSize), symbol...)[:x.d.SymbolSize]
	}
	fresh, err := b.code.Add(esi, symbol)
	if err != nil {
		return fmt.Errorf("%w: block %d: %w", ErrConflict, number, err)
	}
	if fresh {
		b.symbols++
	}
	if b.code.Need() > 0 {
		return nil
	}
	var missing []int
	for i := range b.places {
		if b.code.Symbol(i) == nil {
			missing = append(missing, i)
		}
	}
	if !b.code.Decode() {
		return nil
	}
	code, first := b.code, len(x.out)
	b.code = nil
	b.recovered = make(map[place]struct{}, len(missing))
	for _, i := range missing {
		p := b.places[i]
		flow, data, err := fecframe.ParseADUI(code.Symbol(i), 0)
		if err != nil || flow != p.flow || x.Check != nil && !x.Check(flow, p.seq, data) {
			x.out = x.out[:first]
			clear(b.recovered)
			return fmt.Errorf("%w: block %d, flow %d, %d", ErrPoisoned, number, p.flow, p.seq)
		}
		x.out = append(x.out, Packet{flow, p.seq, data})
		b.recovered[p] = struct{}{}
	}
	return nil
}

// Next returns the next recovered packet.
func (x *Decoder) Next() (Packet, bool) {
	if x.explicit != nil {
		adu, ok := x.explicit.Next()
		return Packet{Flow: adu.Flow, Data: adu.Data}, ok
	}
	if len(x.out) == 0 {
		return Packet{}, false
	}
	p := x.out[0]
	if x.out = x.out[1:]; len(x.out) == 0 {
		x.out = nil
	}
	return p, true
}

// AppendMissing appends the source packets that are missing of the blocks under way, flow
// by flow, so that they can be asked for: their place is known once one repair packet has
// arrived. In mode Explicit nobody knows.
func (x *Decoder) AppendMissing(dst []Packet) []Packet {
	for _, b := range x.blocks {
		if b.code == nil {
			continue
		}
		for i, p := range b.places {
			if b.code.Symbol(i) == nil {
				dst = append(dst, Packet{Flow: p.flow, Seq: p.seq})
			}
		}
	}
	return dst
}
