package object

import (
	"fmt"
	"io"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/ldpc"
	"github.com/treedn/treedn/fec/rs"
)

// Encoder cuts an object into packets. It holds no block: those are with the caller,
// who decides how many are in use at once. It is not safe for concurrent use, but its
// blocks are.
type Encoder struct {
	// Group is the number of symbols in a packet. It is set to what the OTI says,
	// and may be changed for Raptor and RaptorQ, where it is 1 at first, before the
	// first block is made.
	Group int

	codec  *Codec
	info   fec.ObjectInfo
	source io.ReaderAt
	ldpc   ldpcCodes
}

// NewEncoder prepares to encode the object that source reads, which is as long as the
// OTI says.
func (c *Codec) NewEncoder(info fec.ObjectInfo, source io.ReaderAt) (*Encoder, error) {
	if err := info.Validate(); err != nil {
		return nil, err
	}
	if err := supported(&info); err != nil {
		return nil, err
	}
	e := &Encoder{Group: 1, codec: c, info: info, source: source}
	if info.Group != 0 {
		e.Group = int(info.Group)
	}
	return e, nil
}

// Info returns the OTI.
func (e *Encoder) Info() fec.ObjectInfo { return e.info }

// Block reads source block sbn and prepares its encoding symbols, which is where the
// time of encoding goes. The block takes about two to three times its size in memory.
func (e *Encoder) Block(sbn uint32) (*Block, error) {
	k, offset, length := e.info.Block(sbn)
	if k == 0 {
		return nil, fmt.Errorf("%w: source block %d", ErrPacket, sbn)
	}
	if e.Group < 1 || e.Group > e.info.GroupSize() {
		return nil, fmt.Errorf("%w: %d symbols in a packet", ErrPacket, e.Group)
	}
	t := int(e.info.SymbolSize)
	source := make([]byte, length)
	if n, err := e.source.ReadAt(source, int64(offset)); n < len(source) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("object: source block %d: %w", sbn, err)
	}
	if e.info.SubBlocks > 1 {
		symbols := make([]byte, 0, k*t)
		for i := range k {
			symbols = e.info.AppendSourceSymbol(symbols, source, k, i)
		}
		source = symbols
	}
	b := &Block{
		id: e.info.ID, sbn: sbn, k: k, n: e.info.EncodingSymbols(k), t: t, group: e.Group,
		last: lastSymbol(&e.info, sbn),
	}
	var err error
	switch e.info.ID {
	case fec.CompactNoCode:
		b.code = uncoded{source: source, t: t}
	case fec.Raptor:
		b.code, err = e.codec.Raptor.NewEncoder(source, t)
	case fec.RaptorQ:
		b.code, err = e.codec.RaptorQ.NewEncoder(source, t)
	case fec.LDPCStaircase:
		if b.ldpc, err = e.ldpc.get(&e.info, k); err == nil {
			b.code, err = b.ldpc.NewEncoder(source, t)
		}
	default:
		b.code, err = rs.NewEncoder(e.codec.Matrix, source, t)
	}
	if err != nil {
		return nil, fmt.Errorf("object: source block %d: %w", sbn, err)
	}
	return b, nil
}

// lastSymbol returns the length of the last source symbol of a block, in octets. With
// sub-blocks it is not the end of the object that lacks, and nothing is left out.
func lastSymbol(o *fec.ObjectInfo, sbn uint32) int {
	k, _, length := o.Block(sbn)
	t := int(o.SymbolSize)
	if o.SubBlocks > 1 {
		return t
	}
	return int(length) - (k-1)*t
}

// blockCode is the encoder of one source block.
type blockCode interface {
	AppendSymbol(dst []byte, esi uint32) []byte
}

// uncoded is the block of a scheme without code.
type uncoded struct {
	source []byte
	t      int
}

func (u uncoded) AppendSymbol(dst []byte, esi uint32) []byte {
	at := int(esi) * u.t
	symbol := u.source[min(at, len(u.source)):min(at+u.t, len(u.source))]
	dst = append(dst, symbol...)
	for range u.t - len(symbol) {
		dst = append(dst, 0)
	}
	return dst
}

// Block is one source block of an object. It is safe for concurrent use.
type Block struct {
	id    fec.EncodingID
	sbn   uint32
	k, n  int
	t     int
	group int
	last  int // octets of the last source symbol
	code  blockCode
	ldpc  *ldpc.Code // nil for other codes
}

// K returns the number of source symbols.
func (b *Block) K() int { return b.k }

// N returns the number of encoding symbols that there are at most.
func (b *Block) N() int { return b.n }

// SourcePackets returns the number of packets that the source symbols take.
func (b *Block) SourcePackets() int { return (b.k + b.group - 1) / b.group }

// Packets returns the number of packets that there are at most, source packets
// included: repair packets are numbered from SourcePackets on. A packet beyond them
// has no symbols that others have not.
func (b *Block) Packets() int {
	return b.SourcePackets() + (b.n-b.k+b.group-1)/b.group
}

// PayloadID returns the FEC Payload ID of packet i.
func (b *Block) PayloadID(i int) fec.PayloadID {
	id := fec.PayloadID{SBN: b.sbn, ESI: uint32(i * b.group)}
	if r := i - b.SourcePackets(); r >= 0 {
		id.ESI = uint32(b.k + r*b.group)
		if b.ldpc != nil {
			id.ESI = b.ldpc.RepairESI(r)
		}
	}
	if b.id == fec.SmallBlockSystematic {
		id.SBL = uint16(b.k)
	}
	return id
}

// AppendPacket appends packet i of the block: FEC Payload ID and symbols. Padding of
// the object's last symbol is left out, as the schemes permit, except with sub-blocks.
// AppendPacket does not allocate when dst has room.
func (b *Block) AppendPacket(dst []byte, i int) ([]byte, error) {
	if i < 0 || i >= b.Packets() {
		return dst, fmt.Errorf("%w: packet %d of %d", ErrPacket, i, b.Packets())
	}
	id := b.PayloadID(i)
	dst, err := fec.AppendPayloadID(dst, b.id, id)
	if err != nil {
		return dst, err
	}
	if b.ldpc != nil {
		var group [31]uint32
		for _, esi := range b.ldpc.AppendGroup(group[:0], id.ESI) {
			dst = b.appendSymbol(dst, esi)
		}
		return dst, nil
	}
	end := b.n
	if int(id.ESI) < b.k {
		end = b.k
	}
	for esi := id.ESI; esi < min(id.ESI+uint32(b.group), uint32(end)); esi++ {
		dst = b.appendSymbol(dst, esi)
	}
	return dst, nil
}

func (b *Block) appendSymbol(dst []byte, esi uint32) []byte {
	dst = b.code.AppendSymbol(dst, esi)
	if int(esi) == b.k-1 {
		dst = dst[:len(dst)-b.t+b.last]
	}
	return dst
}

// AppendSymbol appends one encoding symbol, whole and without FEC Payload ID.
func (b *Block) AppendSymbol(dst []byte, esi uint32) ([]byte, error) {
	if uint64(esi) >= uint64(b.n) {
		return dst, fmt.Errorf("%w: ESI %d of %d", ErrPacket, esi, b.n)
	}
	return b.code.AppendSymbol(dst, esi), nil
}
