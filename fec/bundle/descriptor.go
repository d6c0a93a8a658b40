package bundle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

var (
	// ErrDescriptor reports a descriptor or limits that do not make sense.
	ErrDescriptor = errors.New("bundle: invalid descriptor")

	// ErrPacket reports a packet that does not fit the descriptor. It changed
	// nothing. A packet that is too short is io.ErrUnexpectedEOF.
	ErrPacket = errors.New("bundle: packet does not fit the descriptor")

	// ErrConflict reports a packet that contradicts another one of its block.
	ErrConflict = errors.New("bundle: packets of a block contradict each other")

	// ErrPoisoned reports a block that was decoded to what no sender encodes.
	ErrPoisoned = errors.New("bundle: decoded block is corrupt")

	// ErrOld reports a packet of a block that is no longer waited for.
	ErrOld = errors.New("bundle: block is no longer waited for")

	// ErrBudget reports limits that do not allow for the blocks of a descriptor,
	// or a block that does not decode with many more symbols than it should need.
	ErrBudget = errors.New("bundle: memory budget exceeded")

	// ErrFull reports a packet that does not fit into the block any more, and
	// ErrGap one that does not follow the last of its flow: close the block, and
	// add the packet to the next.
	ErrFull = errors.New("bundle: block is full")
	ErrGap  = errors.New("bundle: sequence numbers are not consecutive")
)

// Mode is the way in which source packets are told apart.
type Mode uint8

const (
	Mapped   Mode = iota // by their own sequence numbers
	Explicit             // by trailers, RFC 6681 scheme 2, payload ID format A
)

const (
	maxFlows  = 32
	maxBlock  = 1024
	minSymbol = 64
	maxSymbol = 65528
)

// Descriptor is what both sides know of a bundle.
type Descriptor struct {
	Mode Mode

	// ID tells bundles apart, in repair packets of mode Mapped.
	ID uint32

	// Flows are the flow IDs of the members, at most 32, none twice. What they are
	// to the network is the caller's affair.
	Flows []uint8

	// SymbolSize is T in octets: a multiple of 8 from 64 to 65528. In mode Mapped
	// a packet is at most three octets shorter.
	SymbolSize int

	// MaxBlock bounds K, the symbols of a block: at most 1024.
	MaxBlock int
}

// Validate reports what is wrong, as an error that is [ErrDescriptor].
func (d *Descriptor) Validate() error {
	flows := slices.Clone(d.Flows)
	slices.Sort(flows)
	switch {
	case d.Mode > Explicit:
		return fmt.Errorf("%w: mode %d", ErrDescriptor, d.Mode)
	case len(flows) == 0, len(flows) > maxFlows, len(slices.Compact(flows)) != len(d.Flows):
		return fmt.Errorf("%w: flows %v", ErrDescriptor, d.Flows)
	case d.SymbolSize < minSymbol, d.SymbolSize > maxSymbol, d.SymbolSize%8 != 0:
		return fmt.Errorf("%w: symbols of %d octets", ErrDescriptor, d.SymbolSize)
	case d.MaxBlock < 1, d.MaxBlock > maxBlock:
		return fmt.Errorf("%w: blocks of %d symbols", ErrDescriptor, d.MaxBlock)
	}
	return nil
}

// Range is the part that a flow has in a block.
type Range struct {
	Flow  uint8
	Count uint16 // packets
	First uint32 // sequence number
}

// Repair is a repair packet of a mapped bundle.
type Repair struct {
	Last   bool // of its block
	Bundle uint32
	Block  uint32
	ESI    uint32
	Map    []Range // without flows that have no part
	Symbol []byte
}

const (
	version      = 1
	headerLen    = 16
	rangeLen     = 8
	maxRepairESI = 1<<24 - 1
)

// Append appends the packet.
func (r *Repair) Append(b []byte) []byte {
	b = r.appendHeader(b)
	return append(b, r.Symbol...)
}

// appendHeader appends all but the symbol.
func (r *Repair) appendHeader(b []byte) []byte {
	first := byte(version << 4)
	if r.Last {
		first |= 1
	}
	k := 0
	for _, m := range r.Map {
		k += int(m.Count)
	}
	b = append(b, first, byte(len(r.Map)))
	b = binary.BigEndian.AppendUint16(b, uint16(k))
	b = binary.BigEndian.AppendUint32(b, r.Bundle)
	b = binary.BigEndian.AppendUint32(b, r.Block)
	b = binary.BigEndian.AppendUint32(b, r.ESI)
	for _, m := range r.Map {
		b = append(b, m.Flow, 0)
		b = binary.BigEndian.AppendUint16(b, m.Count)
		b = binary.BigEndian.AppendUint32(b, m.First)
	}
	return b
}

// Parse parses a packet and validates what does not depend on the descriptor. Symbol
// aliases b; Map is overwritten and reused.
func (r *Repair) Parse(b []byte) error {
	if len(b) < headerLen {
		return fmt.Errorf("bundle: repair packet: %w", io.ErrUnexpectedEOF)
	}
	if b[0]>>4 != version {
		return fmt.Errorf("%w: version %d", ErrPacket, b[0]>>4)
	}
	n, k := int(b[1]), int(binary.BigEndian.Uint16(b[2:]))
	if len(b) < headerLen+n*rangeLen {
		return fmt.Errorf("bundle: repair packet: %w", io.ErrUnexpectedEOF)
	}
	*r = Repair{
		Last:   b[0]&1 != 0,
		Bundle: binary.BigEndian.Uint32(b[4:]),
		Block:  binary.BigEndian.Uint32(b[8:]),
		ESI:    binary.BigEndian.Uint32(b[12:]) & maxRepairESI,
		Map:    r.Map[:0],
		Symbol: b[headerLen+n*rangeLen:],
	}
	sum := 0
	for i := range n {
		m := b[headerLen+i*rangeLen:]
		r.Map = append(r.Map, Range{Flow: m[0], Count: binary.BigEndian.Uint16(m[2:]), First: binary.BigEndian.Uint32(m[4:])})
		sum += int(r.Map[i].Count)
	}
	sortMap(r.Map)
	if k == 0 || sum != k || n > maxFlows || int(r.ESI) < k {
		return fmt.Errorf("%w: K = %d, map of %d packets, ESI %d", ErrPacket, k, sum, r.ESI)
	}
	for i, m := range r.Map {
		if m.Count == 0 || i > 0 && m.Flow == r.Map[i-1].Flow {
			return fmt.Errorf("%w: flow %d", ErrPacket, m.Flow)
		}
	}
	return nil
}

// K returns the number of source packets of the block.
func (r *Repair) K() (k int) {
	for _, m := range r.Map {
		k += int(m.Count)
	}
	return k
}

func sortMap(m []Range) {
	slices.SortFunc(m, func(a, b Range) int { return int(a.Flow) - int(b.Flow) })
}

// place is a source packet of a block.
type place struct {
	flow uint8
	seq  uint32
}

// order returns the source packets in the order of their ESIs. The map is sorted by
// flows.
func order(m []Range) []place {
	k := 0
	for _, r := range m {
		k += int(r.Count)
	}
	places := make([]place, 0, k)
	var next [maxFlows]uint64 // packets of each flow so far
	for range k {
		best := -1
		for i, r := range m {
			if next[i] == uint64(r.Count) {
				continue
			}
			// (2j+1)/2n < (2i+1)/2m, of whole numbers.
			if best < 0 || (2*next[i]+1)*uint64(m[best].Count) < (2*next[best]+1)*uint64(r.Count) {
				best = i
			}
		}
		places = append(places, place{m[best].Flow, m[best].First + uint32(next[best])})
		next[best]++
	}
	return places
}
