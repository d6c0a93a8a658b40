package bundle

import (
	"fmt"

	"github.com/treedn/treedn/fec/fecframe"
	"github.com/treedn/treedn/fec/raptorq"
)

// Encoder collects source packets of mode Mapped into blocks. Mode Explicit is that of
// package fecframe. An Encoder is not safe for concurrent use; its blocks are.
type Encoder struct {
	d     Descriptor
	codec raptorq.Codec
	block uint32
	flows map[uint8]*flow
	count int
}

// flow is the part of a flow in the block under construction.
type flow struct {
	first   uint32
	packets [][]byte // ADU information without padding
}

// NewEncoder returns an encoder of which the first block is number 0.
func NewEncoder(d Descriptor) (*Encoder, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	if d.Mode != Mapped {
		return nil, fmt.Errorf("%w: mode Explicit is for package fecframe", ErrDescriptor)
	}
	e := &Encoder{d: d, flows: make(map[uint8]*flow)}
	for _, f := range d.Flows {
		e.flows[f] = new(flow)
	}
	return e, nil
}

// Len returns the number of source packets in the block so far.
func (e *Encoder) Len() int { return e.count }

// Add adds a copy of a source packet with its sequence number; shorter ones are extended
// to 32 bits by the caller. After an error that is [ErrFull] or [ErrGap] the block is as
// it was.
func (e *Encoder) Add(flow uint8, seq uint32, packet []byte) error {
	f := e.flows[flow]
	switch {
	case f == nil:
		return fmt.Errorf("%w: flow %d", ErrPacket, flow)
	case len(packet) > e.d.SymbolSize-aduiHeader:
		return fmt.Errorf("%w: packet of %d octets", ErrPacket, len(packet))
	case e.count == e.d.MaxBlock:
		return ErrFull
	case len(f.packets) > 0 && seq != f.first+uint32(len(f.packets)):
		return fmt.Errorf("%w: flow %d, %d after %d packets from %d", ErrGap, flow, seq, len(f.packets), f.first)
	}
	if len(f.packets) == 0 {
		f.first = seq
	}
	f.packets = append(f.packets, fecframe.AppendADUI(nil, flow, uint16(len(packet)), packet, 0))
	e.count++
	return nil
}

// aduiHeader is flow and length, in front of a packet in its symbol.
const aduiHeader = 3

// Close ends the block and prepares r repair packets. The block is nil if there are no
// source packets.
func (e *Encoder) Close(r int) (*Block, error) {
	if e.count == 0 {
		return nil, nil
	}
	if r < 0 || e.count+r > maxRepairESI {
		return nil, fmt.Errorf("%w: %d repair packets", ErrDescriptor, r)
	}
	b := &Block{head: Repair{Bundle: e.d.ID, Block: e.block}, k: e.count, repair: r}
	for id, f := range e.flows {
		if n := len(f.packets); n > 0 {
			b.head.Map = append(b.head.Map, Range{Flow: id, Count: uint16(n), First: f.first})
		}
	}
	sortMap(b.head.Map)
	source := make([]byte, 0, e.count*e.d.SymbolSize)
	for _, p := range order(b.head.Map) {
		f := e.flows[p.flow]
		n := len(source)
		source = append(source, f.packets[p.seq-f.first]...)[:n+e.d.SymbolSize] // padding is zero
	}
	for _, f := range e.flows {
		clear(f.packets)
		f.packets = f.packets[:0]
	}
	e.block++
	e.count = 0
	var err error
	if b.code, err = e.codec.NewEncoder(source, e.d.SymbolSize); err != nil {
		return nil, fmt.Errorf("bundle: block %d: %w", b.head.Block, err)
	}
	return b, nil
}

// Block is a block that is complete. It is safe for concurrent use.
type Block struct {
	head   Repair
	k      int
	repair int
	code   *raptorq.Encoder
}

// Len returns the number of source packets.
func (b *Block) Len() int { return b.k }

// Repair returns the number of repair packets.
func (b *Block) Repair() int { return b.repair }

// AppendRepair appends repair packet i. It does not allocate when dst has room.
func (b *Block) AppendRepair(dst []byte, i int) ([]byte, error) {
	if i < 0 || i >= b.repair {
		return dst, fmt.Errorf("%w: repair packet %d of %d", ErrPacket, i, b.repair)
	}
	head := b.head
	head.ESI = uint32(b.k + i)
	head.Last = i == b.repair-1
	dst = head.appendHeader(dst)
	return b.code.AppendSymbol(dst, head.ESI), nil
}
