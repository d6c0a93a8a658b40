package moqfec

import (
	"fmt"

	"github.com/treedn/treedn/fec/raptorq"
)

// Encoder numbers source packets and collects them into blocks. It is not safe for
// concurrent use; its blocks are.
type Encoder struct {
	config Config
	codec  raptorq.Codec
	start  uint32 // SS_ID of the block's first packet
	count  int
	source []byte // symbols
}

// NewEncoder returns an encoder that gives the first source packet the given SS_ID. With
// LegacySSBG0 that has to be a multiple of the block size.
func NewEncoder(c Config, first uint32) (*Encoder, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Profile == LegacySSBG0 && first%uint32(c.MaxBlock) != 0 {
		return nil, fmt.Errorf("%w: first SS_ID %d", ErrCatalog, first)
	}
	return &Encoder{config: c, start: first}, nil
}

// Len returns the number of source packets in the block so far.
func (e *Encoder) Len() int { return e.count }

// AppendSource adds an MMTP packet, which has FEC type 1, to the block, and appends it
// with its SS_ID behind it to dst. After an error that is [ErrFull], close the block.
func (e *Encoder) AppendSource(dst, packet []byte) ([]byte, error) {
	id, err := e.Add(packet)
	if err != nil {
		return dst, err
	}
	return AppendSourceID(append(dst, packet...), id), nil
}

// Add is AppendSource for packets whose SS_ID is carried elsewhere, in property
// [PropertySourceID].
func (e *Encoder) Add(packet []byte) (id uint32, err error) {
	if len(packet) < minPacket || len(packet) > e.config.MaxPacket() {
		return 0, fmt.Errorf("%w: %d octets", ErrPacket, len(packet))
	}
	if e.count == e.config.MaxBlock {
		return 0, ErrFull
	}
	n := len(e.source)
	e.source = e.config.appendSymbol(e.source, packet)
	e.source = append(e.source, make([]byte, n+e.config.SymbolSize-len(e.source))...)
	e.count++
	return e.start + uint32(e.count-1), nil
}

// Close ends the block and prepares its repair packets, which is where the time of
// encoding goes. The block is nil if there are no source packets.
func (e *Encoder) Close() (*Block, error) {
	if e.count == 0 {
		return nil, nil
	}
	k := e.config.codeLength(e.count)
	source := make([]byte, k*e.config.SymbolSize)
	copy(source, e.source)
	b := &Block{
		k:    k,
		head: Repair{Start: e.start, Total: uint32(e.config.RepairSymbols()), Length: uint32(e.count)},
	}
	e.start += uint32(k)
	e.count, e.source = 0, e.source[:0]
	var err error
	if b.code, err = e.codec.NewEncoder(source, e.config.SymbolSize); err != nil {
		return nil, fmt.Errorf("moqfec: block %d: %w", b.head.Start, err)
	}
	return b, nil
}

// Block is a block that is complete. It is safe for concurrent use.
type Block struct {
	k    int // of the code
	head Repair
	code *raptorq.Encoder
}

// Start returns SS_Start, the SS_ID of the first source packet.
func (b *Block) Start() uint32 { return b.head.Start }

// Len returns the number of source packets.
func (b *Block) Len() int { return int(b.head.Length) }

// Repair returns the number of repair packets in all layers.
func (b *Block) Repair() int { return int(b.head.Total) }

// AppendRepair appends the repair packet with the given RS_ID, which is from 0 to
// Repair()-1. It does not allocate when dst has room.
func (b *Block) AppendRepair(dst []byte, h Header, id int) ([]byte, error) {
	if id < 0 || id >= b.Repair() {
		return dst, fmt.Errorf("%w: RS_ID %d of %d", ErrPacket, id, b.Repair())
	}
	r := b.head
	r.Header, r.ID = h, uint32(id)
	dst = r.appendHeader(dst)
	return b.code.AppendSymbol(dst, uint32(b.k+id)), nil
}
