package superobject

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/treedn/treedn/fec"
)

var (
	// ErrLayout reports members, or an OTI, that make no super-object.
	ErrLayout = errors.New("superobject: invalid layout")

	// ErrPacket reports octets or a packet that do not fit the super-object.
	ErrPacket = errors.New("superobject: packet does not fit the super-object")

	// ErrPoisoned reports a decoded block whose padding or lengths no sender makes,
	// or which contradicts octets that were received.
	ErrPoisoned = errors.New("superobject: decoded block is corrupt")

	// ErrBudget reports a block for which there is no memory left, or one that does
	// not decode with many more symbols than it should need.
	ErrBudget = errors.New("superobject: memory budget exceeded")
)

// lengthField is the length at the end of a FEC transport object, in octets.
const lengthField = 4

// Alignment is Al in the OTI of [Info]; symbol sizes are multiples of it.
const Alignment = 8

// Member is a FEC object: a delivery object, or a range of its octets.
type Member struct {
	TSI, TOI uint32

	// Start is where the FEC object begins in the delivery object, in octets.
	Start uint64

	// Length is F, the size of the FEC object in octets. Receivers may not know
	// it: Symbols tells the size roughly.
	Length uint32

	// Symbols is S, the size of the FEC transport object in symbols. Senders leave
	// it zero.
	Symbols uint32
}

// Symbols returns S for a FEC object of length octets: ceil((F+4)/Y).
func Symbols(length uint32, symbolSize uint16) uint32 {
	y := uint64(symbolSize)
	return uint32((uint64(length) + lengthField + y - 1) / y)
}

// Info returns the OTI of the super-object of members with known lengths, in source
// blocks of at most maxBlock symbols.
func Info(members []Member, symbolSize uint16, maxBlock int) (fec.ObjectInfo, error) {
	if symbolSize == 0 || symbolSize%Alignment != 0 || maxBlock < 1 || len(members) == 0 {
		return fec.ObjectInfo{}, fmt.Errorf("%w: %d members, symbols of %d octets, blocks of %d",
			ErrLayout, len(members), symbolSize, maxBlock)
	}
	total := uint64(0)
	for _, m := range members {
		total += uint64(Symbols(m.Length, symbolSize))
	}
	z := (total + uint64(maxBlock) - 1) / uint64(maxBlock)
	if z > 255 {
		return fec.ObjectInfo{}, fmt.Errorf("%w: %d source blocks", ErrLayout, z)
	}
	info := fec.ObjectInfo{
		ID: fec.RaptorQ, TransferLength: total * uint64(symbolSize), SymbolSize: symbolSize,
		SourceBlocks: uint16(z), SubBlocks: 1, Alignment: Alignment,
	}
	if err := info.Validate(); err != nil {
		return fec.ObjectInfo{}, fmt.Errorf("%w: %w", ErrLayout, err)
	}
	return info, nil
}

// Source reads the super-object of a sender. It is safe for concurrent use if the
// readers are.
type Source struct {
	parts []part
}

// part is a FEC transport object.
type part struct {
	begin, end uint64 // in the super-object
	length     uint32
	object     io.ReaderAt
}

// NewSource returns the super-object of members with known lengths. objects[i] reads
// the FEC object of member i, from its first octet on.
func NewSource(members []Member, symbolSize uint16, objects []io.ReaderAt) *Source {
	s := new(Source)
	at := uint64(0)
	for i, m := range members {
		end := at + uint64(Symbols(m.Length, symbolSize))*uint64(symbolSize)
		s.parts = append(s.parts, part{at, end, m.Length, objects[i]})
		at = end
	}
	return s
}

// ReadAt implements io.ReaderAt.
func (s *Source) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: offset %d", ErrLayout, off)
	}
	for _, part := range s.parts {
		if n == len(p) {
			return n, nil
		}
		if at := uint64(off) + uint64(n); at < part.end {
			got, err := part.readAt(p[n:min(uint64(len(p)), uint64(n)+part.end-at)], at-part.begin)
			n += got
			if err != nil {
				return n, err
			}
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readAt fills p, which does not reach beyond the FEC transport object.
func (x *part) readAt(p []byte, off uint64) (n int, err error) {
	if off < uint64(x.length) {
		n = int(min(uint64(len(p)), uint64(x.length)-off))
		if got, err := x.object.ReadAt(p[:n], int64(off)); got < n {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return got, err
		}
	}
	clear(p[n:])
	var field [lengthField]byte
	binary.BigEndian.PutUint32(field[:], x.length)
	fieldAt := x.end - x.begin - lengthField
	for ; n < len(p); n++ {
		if at := off + uint64(n); at >= fieldAt {
			p[n] = field[at-fieldAt]
		}
	}
	return n, nil
}
