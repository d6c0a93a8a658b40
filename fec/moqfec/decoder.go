package moqfec

import (
	"fmt"

	"github.com/treedn/treedn/fec/raptorq"
)

// Limits bound what a decoder holds. The zero value has useful defaults.
type Limits struct {
	// Blocks is how many blocks are waited for at once, the newest ones. Default 4.
	Blocks int

	// Recent is how many source packets are held for blocks that are not known yet.
	// Default twice MaxBlock.
	Recent int

	// Memory bounds all of it, in octets. Default 256 MB.
	Memory int
}

// Packet is a recovered source packet.
type Packet struct {
	ID   uint32 // SS_ID
	Data []byte // the MMTP packet without SS_ID; the caller's to keep
}

// Decoder recovers lost source packets. It is not safe for concurrent use.
type Decoder struct {
	config Config
	limits Limits
	codec  raptorq.Codec

	recent map[uint32][]byte // SS_ID: symbol without padding
	order  []uint32          // of recent, the oldest first
	blocks map[uint32]*rxBlock
	out    []Packet
}

// rxBlock is a block of which some repair packet has arrived.
type rxBlock struct {
	start   uint32
	length  int              // source packets
	code    *raptorq.Decoder // nil once the block is done
	symbols int

	recovered map[uint32]struct{} // SS_IDs
}

// has returns the place of an SS_ID in the block, in serial number arithmetic.
func (b *rxBlock) has(id uint32) (i int, ok bool) {
	n := id - b.start
	return int(n), n < uint32(b.length)
}

// NewDecoder returns a decoder. An error that is [ErrBudget] means that the limits do not
// allow for blocks of the configuration.
func NewDecoder(c Config, limits Limits) (*Decoder, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if limits.Blocks <= 0 {
		limits.Blocks = 4
	}
	if limits.Recent <= 0 {
		limits.Recent = 2 * c.MaxBlock
	}
	if limits.Memory <= 0 {
		limits.Memory = 256 << 20
	}
	k, t := uint64(c.MaxBlock), uint64(c.SymbolSize)
	const each = 400 // octets of bookkeeping for a symbol, while planning
	need := uint64(limits.Blocks)*(k*t+2*(k+k/8+128)*(t+each)) + uint64(limits.Recent)*(t+100)
	if need > uint64(limits.Memory) {
		return nil, fmt.Errorf("%w: blocks and packets may take %d octets", ErrBudget, need)
	}
	return &Decoder{
		config: c, limits: limits,
		recent: make(map[uint32][]byte), blocks: make(map[uint32]*rxBlock),
	}, nil
}

// Source takes a source packet with its SS_ID behind it, and returns the MMTP packet,
// which is part of it and good whatever the error. An error that is [ErrRecovered] means
// that it has been delivered already.
func (d *Decoder) Source(packet []byte) ([]byte, error) {
	mmtp, id, err := CutSourceID(packet)
	if err != nil {
		return nil, err
	}
	return mmtp, d.Add(id, mmtp)
}

// Add takes an MMTP packet whose SS_ID was carried elsewhere.
func (d *Decoder) Add(id uint32, mmtp []byte) error {
	if len(mmtp) < minPacket || len(mmtp) > d.config.MaxPacket() {
		return fmt.Errorf("%w: %d octets", ErrPacket, len(mmtp))
	}
	for _, b := range d.blocks {
		i, ok := b.has(id)
		if !ok {
			continue
		}
		if b.code != nil {
			return d.give(b, uint32(i), d.config.appendSymbol(nil, mmtp))
		}
		if _, ok := b.recovered[id]; ok {
			return fmt.Errorf("%w: SS_ID %d", ErrRecovered, id)
		}
		return nil
	}
	if _, ok := d.recent[id]; ok {
		return nil
	}
	if len(d.order) >= d.limits.Recent {
		delete(d.recent, d.order[0])
		d.order = d.order[1:]
	}
	d.recent[id] = d.config.appendSymbol(nil, mmtp)
	d.order = append(d.order, id)
	return nil
}

// Repair takes a repair packet.
func (d *Decoder) Repair(packet []byte) error {
	r, err := ParseRepair(packet)
	if err != nil {
		return err
	}
	k := d.config.codeLength(int(r.Length))
	if r.Length == 0 || int(r.Length) > d.config.MaxBlock || r.ID >= r.Total || k+int(r.ID) > maxESI || len(r.Symbol) != d.config.SymbolSize ||
		d.config.Profile == LegacySSBG0 && r.Start%uint32(d.config.MaxBlock) != 0 {
		return fmt.Errorf("%w: block of %d, RS_ID %d of %d, symbol of %d octets", ErrPacket, r.Length, r.ID, r.Total, len(r.Symbol))
	}
	b, err := d.block(&r, k)
	if err != nil || b.code == nil {
		return err
	}
	if b.symbols > k+k/8+64 {
		return fmt.Errorf("%w: %d symbols do not decode block %d", ErrBudget, b.symbols, r.Start)
	}
	return d.give(b, uint32(k)+r.ID, r.Symbol)
}

// block returns the block of a repair packet, which it begins if it is new.
func (d *Decoder) block(r *Repair, k int) (*rxBlock, error) {
	if b := d.blocks[r.Start]; b != nil {
		if b.length != int(r.Length) {
			return nil, fmt.Errorf("%w: block %d has %d packets, not %d", ErrConflict, r.Start, b.length, r.Length)
		}
		return b, nil
	}
	oldest := r.Start
	for start, b := range d.blocks {
		if _, inside := b.has(r.Start); inside || start-r.Start < r.Length {
			return nil, fmt.Errorf("%w: blocks %d and %d overlap", ErrConflict, start, r.Start)
		}
		if int32(start-oldest) < 0 {
			oldest = start
		}
	}
	if len(d.blocks) >= d.limits.Blocks {
		if oldest == r.Start {
			return nil, fmt.Errorf("%w: block %d", ErrOld, r.Start)
		}
		delete(d.blocks, oldest)
	}
	code, err := d.codec.NewDecoder(k, d.config.SymbolSize)
	if err != nil {
		return nil, fmt.Errorf("moqfec: block %d: %w", r.Start, err)
	}
	b := &rxBlock{start: r.Start, length: int(r.Length), code: code}
	d.blocks[r.Start] = b
	zero := make([]byte, d.config.SymbolSize)
	for i := b.length; i < k; i++ { // LegacySSBG0 fills blocks up
		if _, err := code.Add(uint32(i), zero); err == nil {
			b.symbols++
		}
	}
	rest := d.order[:0]
	for _, id := range d.order {
		i, ok := b.has(id)
		if !ok {
			rest = append(rest, id)
			continue
		}
		if b.code != nil {
			err = d.give(b, uint32(i), d.recent[id])
		}
		delete(d.recent, id)
	}
	d.order = rest
	return b, err
}

// give gives a symbol to the code, and recovers what is missing if it can.
func (d *Decoder) give(b *rxBlock, esi uint32, symbol []byte) error {
	if len(symbol) < d.config.SymbolSize {
		symbol = append(make([]byte, 0, d.config.SymbolSize), symbol...)[:d.config.SymbolSize]
	}
	fresh, err := b.code.Add(esi, symbol)
	if err != nil {
		return fmt.Errorf("%w: block %d: %w", ErrConflict, b.start, err)
	}
	if fresh {
		b.symbols++
	}
	if b.code.Need() > 0 {
		return nil
	}
	missing := d.AppendMissing(nil, b.start)
	if !b.code.Decode() {
		return nil
	}
	code, first := b.code, len(d.out)
	b.code = nil
	b.recovered = make(map[uint32]struct{}, len(missing))
	for _, id := range missing {
		packet, err := d.config.parseSymbol(code.Symbol(int(id - b.start)))
		if err != nil {
			d.out = d.out[:first]
			clear(b.recovered)
			return fmt.Errorf("block %d, SS_ID %d: %w", b.start, id, err)
		}
		d.out = append(d.out, Packet{ID: id, Data: packet})
		b.recovered[id] = struct{}{}
	}
	return nil
}

// Next returns the next recovered packet, in the order of blocks' completion and of
// SS_IDs.
func (d *Decoder) Next() (Packet, bool) {
	if len(d.out) == 0 {
		return Packet{}, false
	}
	p := d.out[0]
	if d.out = d.out[1:]; len(d.out) == 0 {
		d.out = nil
	}
	return p, true
}

// Blocks calls f with each block that is known and not complete: its SS_Start, its number
// of source packets, and a lower bound of the symbols that it needs.
func (d *Decoder) Blocks(f func(start uint32, length, need int)) {
	for start, b := range d.blocks {
		if b.code != nil {
			f(start, b.length, max(b.code.Need(), 1))
		}
	}
}

// AppendMissing appends the SS_IDs of the source packets that a block lacks.
func (d *Decoder) AppendMissing(dst []uint32, start uint32) []uint32 {
	b := d.blocks[start]
	if b == nil || b.code == nil {
		return dst
	}
	for i := range b.length {
		if b.code.Symbol(i) == nil {
			dst = append(dst, start+uint32(i))
		}
	}
	return dst
}

// Drop gives a block up, as is right after its deadline. Its packets are not waited for
// any more, and its repair packets are ignored, until Limits.Blocks newer ones are known.
func (d *Decoder) Drop(start uint32) {
	if b := d.blocks[start]; b != nil {
		b.code = nil
	}
}
