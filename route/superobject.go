package route

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/treedn/treedn/fec"
)

// The FEC super-object of a single delivery object, as the repair flow sends
// it (RFC 9223, sections 5.6 to 5.9): the F octets of the object, zeros, and F
// itself in the last four octets, so that the whole is S = ceil((F+4)/Y)
// symbols of Y octets. Neither zeros nor F ever appear in a source packet.

const lengthField = 4

// symbolAlignment is Al of RFC 6330. Eight suits the word size of the coders.
const symbolAlignment = 8

var errSuperObject = errors.New("route: no FEC super-object of this size")

// RepairOTI returns the FEC Object Transmission Information of the super-object
// of an object of f octets, in symbols of y octets, in source blocks of at most
// block symbols.
func RepairOTI(f int64, y, block int) (fec.OTI, error) {
	if f < 0 || f > maxObject || y <= 0 || y > 0xffff || y%symbolAlignment != 0 || block <= 0 {
		return fec.OTI{}, errSuperObject
	}
	s := superSymbols(f, y)
	z := (s + int64(block) - 1) / int64(block)
	if z > 255 {
		return fec.OTI{}, fmt.Errorf("%w: %d octets need %d source blocks", errSuperObject, f, z)
	}
	return fec.OTI{
		TransferLength: uint64(s) * uint64(y),
		SymbolSize:     uint16(y),
		SourceBlocks:   uint8(z),
		SubBlocks:      1,
		Alignment:      symbolAlignment,
	}, nil
}

func superSymbols(f int64, y int) int64 {
	return (f + lengthField + int64(y) - 1) / int64(y)
}

// AppendSuperObject appends the super-object of object in symbols of y octets
// to dst.
func AppendSuperObject(dst, object []byte, y int) []byte {
	start := len(dst)
	dst = append(dst, object...)
	return closeSuperObject(dst, start, y)
}

// closeSuperObject appends what follows the object in b[start:]: if there is
// room, in the same memory.
func closeSuperObject(b []byte, start, y int) []byte {
	f := int64(len(b) - start)
	end := start + int(superSymbols(f, y))*y
	for len(b) < end-lengthField {
		n := min(len(zeros), end-lengthField-len(b))
		b = append(b, zeros[:n]...)
	}
	return binary.BigEndian.AppendUint32(b, uint32(f))
}

var zeros [512]byte

// superLength checks the last octets of a decoded super-object and returns the
// length of the object. tail is the last symbol, or all octets from the known
// end of the object on; padding that is not zero or a length that another
// number of symbols belongs to means that a symbol was forged.
func superLength(last []byte, oti fec.OTI) (f int64, ok bool) {
	f = int64(binary.BigEndian.Uint32(last[len(last)-lengthField:]))
	if !fitsSuperObject(f, oti) {
		return 0, false
	}
	start := int64(oti.TransferLength) - int64(len(last))
	for i := max(0, f-start); i < int64(len(last)-lengthField); i++ {
		if last[i] != 0 {
			return 0, false
		}
	}
	return f, true
}

// fitsSuperObject tells whether an object of f octets makes a super-object of
// this size.
func fitsSuperObject(f int64, oti fec.OTI) bool {
	y := int(oti.SymbolSize)
	return y > 0 && superSymbols(f, y)*int64(y) == int64(oti.TransferLength)
}
