package object

import (
	"fmt"
	"io"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/ldpc"
	"github.com/treedn/treedn/fec/rs"
)

// DefaultMaxMemory is the default of [DecoderConfig.MaxMemory], in octets.
const DefaultMaxMemory = 256 << 20

// DecoderConfig has the choices of a decoder. The zero value is useful.
type DecoderConfig struct {
	// MaxMemory bounds what the decoder holds, in octets. Default DefaultMaxMemory.
	MaxMemory int

	// Surplus is how many symbols more than necessary to wait for before a block
	// with losses is decoded, so that [ErrPoisoned] can show. Default none.
	// Reed-Solomon codes have no use for it.
	Surplus int
}

// Decoder rebuilds an object from packets. It is not safe for concurrent use.
type Decoder struct {
	codec  *Codec
	info   fec.ObjectInfo
	target io.WriterAt
	config DecoderConfig
	ldpc   ldpcCodes

	blocks map[uint32]*openBlock
	used   int // octets reserved
	done   blockSet
	err    error // of target

	group []uint32 // scratch
}

// openBlock is a block of which some symbols have arrived.
type openBlock struct {
	k, n     int
	last     int // octets of the last source symbol
	reserved int
	symbols  int // accepted
	code     blockDecoder
	ldpc     *ldpc.Code
}

// blockDecoder is the decoder of one source block.
type blockDecoder interface {
	Add(esi uint32, symbol []byte) (fresh bool, err error)
	Need() int
	Decode() bool
	Symbol(i int) []byte
}

// consistent is what block decoders have that can check surplus symbols.
type consistent interface{ Consistent() bool }

// NewDecoder prepares to rebuild the object that the OTI describes. Complete blocks
// are written to target, each octet once, in pieces of a symbol or less: a file wants
// a buffer. An error that is [ErrBudget] means that the object's blocks are too large
// for the budget.
func (c *Codec) NewDecoder(info fec.ObjectInfo, target io.WriterAt, config DecoderConfig) (*Decoder, error) {
	if err := info.Validate(); err != nil {
		return nil, err
	}
	if err := supported(&info); err != nil {
		return nil, err
	}
	if config.MaxMemory <= 0 {
		config.MaxMemory = DefaultMaxMemory
	}
	config.Surplus = max(0, min(config.Surplus, slack/2))
	large, small := blockSizes(&info)
	if need := BlockMemory(&info, large) + ldpcMemory(&info, large) + ldpcMemory(&info, small); need > uint64(config.MaxMemory) {
		return nil, fmt.Errorf("%w: a block of %d symbols of %d octets takes %d octets",
			ErrBudget, large, info.SymbolSize, need)
	}
	if info.ID == fec.LDPCStaircase {
		for _, k := range []int{large, small} {
			if err := ldpcParams(&info, k).Validate(); k > 0 && err != nil {
				return nil, err
			}
		}
	}
	return &Decoder{
		codec: c, info: info, target: target, config: config,
		blocks: make(map[uint32]*openBlock),
		used:   int(ldpcMemory(&info, large) + ldpcMemory(&info, small)),
	}, nil
}

// slack is how many symbols beyond k a block may take, in addition to an eighth of
// k. A block that so many cannot decode is not made of random symbols.
const slack = 128

// BlockMemory bounds the memory of a block of k symbols while it is decoded, in
// octets: the symbols that arrive, those that are decoded, and the intermediate ones,
// with the bookkeeping for each.
func BlockMemory(o *fec.ObjectInfo, k int) uint64 {
	n, t := uint64(k), uint64(o.SymbolSize)
	const each = 400 // octets of bookkeeping for a symbol, while planning
	switch o.ID {
	case fec.CompactNoCode:
		return n/8 + 64
	case fec.RaptorQ, fec.Raptor:
		received := n + n/8 + slack
		intermediate := n + n/8 + slack
		return (received+n+intermediate)*t + each*(received+intermediate)
	case fec.LDPCStaircase:
		all := uint64(o.EncodingSymbols(k))
		return all*(t+each) + 64*t + min(all*all/4, 64<<20)
	}
	return 2*n*t + 24*256 // Reed-Solomon: k symbols arrive, others are decoded
}

// ldpcMemory is what the matrix for blocks of k symbols takes.
func ldpcMemory(o *fec.ObjectInfo, k int) uint64 {
	if o.ID != fec.LDPCStaircase || k == 0 {
		return 0
	}
	return uint64(ldpcParams(o, k).Memory())
}

// Info returns the OTI.
func (d *Decoder) Info() fec.ObjectInfo { return d.info }

// Done reports whether the object is complete: all of it is with the target.
func (d *Decoder) Done() bool { return d.done.n == d.info.Blocks() }

// BlockDone reports whether source block sbn is complete.
func (d *Decoder) BlockDone(sbn uint32) bool { return d.done.has(sbn) }

// Memory returns the octets that are reserved.
func (d *Decoder) Memory() int { return d.used + d.done.memory() }

// Packet takes FEC Payload ID and symbols of a packet; see [Decoder.Add].
func (d *Decoder) Packet(b []byte) (done bool, err error) {
	id, err := fec.ParsePayloadID(d.info.ID, b)
	if err != nil {
		return false, err
	}
	return d.Add(id, b[d.info.ID.PayloadIDLen():])
}

// Add takes the symbols of a packet and reports whether they completed their source
// block. Packets of complete blocks and repeated symbols are fine and change nothing.
// Otherwise the error is [ErrPacket], [ErrBudget] or [ErrPoisoned], or what the
// block's code says of a symbol that differs from one that was there, or, for good,
// an error of the target.
func (d *Decoder) Add(id fec.PayloadID, symbols []byte) (done bool, err error) {
	if d.err != nil {
		return false, d.err
	}
	k, _, _ := d.info.Block(id.SBN)
	n := d.info.EncodingSymbols(k)
	switch {
	case k == 0:
		return false, fmt.Errorf("%w: source block %d", ErrPacket, id.SBN)
	case uint64(id.ESI) >= uint64(n):
		return false, fmt.Errorf("%w: ESI %d of %d", ErrPacket, id.ESI, n)
	case d.info.ID == fec.SmallBlockSystematic && int(id.SBL) != k:
		return false, fmt.Errorf("%w: source block length %d, not %d", ErrPacket, id.SBL, k)
	case d.done.has(id.SBN):
		return false, nil
	}
	b := d.blocks[id.SBN]
	if b == nil {
		// Looked at first, so that a malformed packet opens no block.
		b, err = d.describe(id.SBN, k, n)
		if err != nil {
			return false, err
		}
	}
	if err := d.split(b, id.ESI, symbols); err != nil {
		return false, err
	}
	if b.code == nil {
		if err := d.open(id.SBN, b); err != nil {
			return false, err
		}
	}
	if b.symbols > b.k+b.k/8+slack/2 {
		return false, fmt.Errorf("%w: %d symbols do not decode a block of %d", ErrBudget, b.symbols, b.k)
	}
	for _, esi := range d.group {
		size := d.symbolSize(b, esi, len(symbols))
		fresh, err := b.code.Add(esi, symbols[:size])
		if err != nil {
			return false, fmt.Errorf("object: source block %d: %w", id.SBN, err)
		}
		if fresh {
			b.symbols++
		}
		symbols = symbols[size:]
	}
	return d.complete(id.SBN, b)
}

// describe returns a block that is not open yet.
func (d *Decoder) describe(sbn uint32, k, n int) (*openBlock, error) {
	b := &openBlock{k: k, n: n, last: lastSymbol(&d.info, sbn)}
	if d.info.ID == fec.LDPCStaircase {
		var err error
		if b.ldpc, err = d.ldpc.get(&d.info, k); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// split sets group to the ESIs of a packet's symbols, or says why they do not fit.
func (d *Decoder) split(b *openBlock, esi uint32, symbols []byte) error {
	t := int(d.info.SymbolSize)
	count := (len(symbols) + t - 1) / t
	d.group = d.group[:0]
	end := b.n
	if int(esi) < b.k {
		end = b.k
	}
	switch {
	case count == 0, count > d.info.GroupSize():
		return fmt.Errorf("%w: %d octets of symbols", ErrPacket, len(symbols))
	case b.ldpc != nil:
		d.group = b.ldpc.AppendGroup(d.group, esi)
		if count < len(d.group) {
			d.group = d.group[:count]
		}
	case int(esi)+count > end:
		return fmt.Errorf("%w: symbols %d to %d of %d", ErrPacket, esi, int(esi)+count-1, end)
	default:
		for i := range uint32(count) {
			d.group = append(d.group, esi+i)
		}
	}
	whole, short := count*t, count*t
	for _, esi := range d.group {
		if int(esi) == b.k-1 {
			short = whole - t + b.last
		}
	}
	if len(symbols) != whole && len(symbols) != short {
		return fmt.Errorf("%w: %d octets of symbols", ErrPacket, len(symbols))
	}
	return nil
}

// symbolSize returns the length of a symbol, the first of so many octets that are
// left of the packet's.
func (d *Decoder) symbolSize(b *openBlock, esi uint32, left int) int {
	t := int(d.info.SymbolSize)
	if int(esi) == b.k-1 && left%t != 0 {
		return b.last
	}
	return t
}

// open reserves memory for a block and makes its decoder.
func (d *Decoder) open(sbn uint32, b *openBlock) (err error) {
	b.reserved = int(BlockMemory(&d.info, b.k))
	if b.reserved > d.config.MaxMemory-d.Memory()-doneEntry {
		return fmt.Errorf("%w: source block %d takes %d octets of %d", ErrBudget, sbn, b.reserved, d.config.MaxMemory)
	}
	t := int(d.info.SymbolSize)
	switch d.info.ID {
	case fec.CompactNoCode:
		b.code = newDirect(d, sbn, b)
	case fec.Raptor:
		b.code, err = d.codec.Raptor.NewDecoder(b.k, t)
	case fec.RaptorQ:
		b.code, err = d.codec.RaptorQ.NewDecoder(b.k, t)
	case fec.LDPCStaircase:
		b.code, err = b.ldpc.NewDecoder(t)
	default:
		b.code, err = rs.NewDecoder(d.codec.Matrix, b.k, t)
	}
	if err != nil {
		return fmt.Errorf("object: source block %d: %w", sbn, err)
	}
	d.used += b.reserved
	d.blocks[sbn] = b
	return nil
}

// complete decodes a block if it can be, and writes it.
func (d *Decoder) complete(sbn uint32, b *openBlock) (done bool, err error) {
	if b.code.Need() > 0 {
		return false, nil
	}
	check, checkable := b.code.(consistent)
	if checkable && d.config.Surplus > 0 && b.symbols < b.k+d.config.Surplus && d.missing(b) {
		return false, nil
	}
	if !b.code.Decode() {
		return false, nil
	}
	if checkable && d.config.Surplus > 0 && !check.Consistent() {
		d.Drop(sbn)
		return false, fmt.Errorf("%w: source block %d", ErrPoisoned, sbn)
	}
	if _, direct := b.code.(*direct); !direct {
		d.err = d.write(sbn, b)
	}
	d.Drop(sbn)
	if d.err != nil {
		return false, d.err
	}
	d.done.add(sbn)
	return true, nil
}

func (d *Decoder) missing(b *openBlock) bool {
	for i := range b.k {
		if b.code.Symbol(i) == nil {
			return true
		}
	}
	return false
}

// write writes a decoded block to the target.
func (d *Decoder) write(sbn uint32, b *openBlock) error {
	_, offset, length := d.info.Block(sbn)
	w := pieces{target: d.target, offset: int64(offset), end: int64(length)}
	for i := range b.k {
		d.info.EachSubSymbol(b.k, i, b.code.Symbol(i), w.write)
	}
	return w.err
}

// pieces writes pieces of a block.
type pieces struct {
	target io.WriterAt
	offset int64 // of the block
	end    int64 // in the block
	err    error
}

func (w *pieces) write(at int64, piece []byte) {
	if w.err == nil && at < w.end {
		_, w.err = w.target.WriteAt(piece[:min(int64(len(piece)), w.end-at)], w.offset+at)
	}
}

// Drop forgets the symbols of a block that is not complete, and frees its memory.
func (d *Decoder) Drop(sbn uint32) {
	if b := d.blocks[sbn]; b != nil {
		d.used -= b.reserved
		delete(d.blocks, sbn)
	}
}

// Need returns a lower bound of the symbols that source block sbn still needs. It is
// zero for a block that is complete or that does not exist.
func (d *Decoder) Need(sbn uint32) int {
	if d.done.has(sbn) {
		return 0
	}
	if b := d.blocks[sbn]; b != nil {
		return max(b.code.Need(), 1)
	}
	k, _, _ := d.info.Block(sbn)
	return k
}

// AppendMissing appends the ESIs of the source symbols of block sbn that are missing,
// in ascending order: these are what to ask a repair server for, or any Need of the
// block's other symbols.
func (d *Decoder) AppendMissing(dst []uint32, sbn uint32) []uint32 {
	if d.done.has(sbn) {
		return dst
	}
	b := d.blocks[sbn]
	k, _, _ := d.info.Block(sbn)
	for i := range k {
		if b == nil || b.code.Symbol(i) == nil {
			dst = append(dst, uint32(i))
		}
	}
	return dst
}
