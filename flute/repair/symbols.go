package repair

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
)

// Media types and header fields of the answers.
const (
	SymbolsType = "application/vnd.treedn.symbols"
	OTIHeader   = "FEC-OTI"
)

// OTI is the FEC Object Transmission Information of RaptorQ as it is on the
// wire (RFC 6330 sections 3.3.2 and 3.3.3).
type OTI [12]byte

// SymbolSize returns the size T of a symbol in octets.
func (o OTI) SymbolSize() int { return int(binary.BigEndian.Uint16(o[6:8])) }

// String returns the value of the header field FEC-OTI.
func (o OTI) String() string { return base64.StdEncoding.EncodeToString(o[:]) }

// ParseOTI parses the value of the header field FEC-OTI.
func ParseOTI(s string) (OTI, error) {
	var o OTI
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(o) {
		return OTI{}, fmt.Errorf("repair: %w: %s %.40q", ErrAnswer, OTIHeader, s)
	}
	copy(o[:], b)
	if o.SymbolSize() == 0 {
		return OTI{}, fmt.Errorf("repair: %w: %s: symbol size 0", ErrAnswer, OTIHeader)
	}
	return o, nil
}

// Symbol is one element of an answer to a request for symbols.
type Symbol struct {
	SBN  uint16
	ESI  uint32 // at most 24 bits
	Data []byte
}

// symbolHeader: FEC Payload ID (RFC 6330 section 3.2) and length.
const symbolHeader = 4 + 2

// Append appends the wire form of s: FEC Payload ID, 4 octets; length, 2
// octets; the symbol. It panics if the symbol or its numbers do not fit.
func (s Symbol) Append(dst []byte) []byte {
	if s.SBN > 255 || s.ESI > maxESI || len(s.Data) > 1<<16-1 {
		panic("repair: symbol out of range")
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.SBN)<<24|s.ESI)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s.Data)))
	return append(dst, s.Data...)
}

// ParseSymbol parses the symbol at the beginning of b and returns its length on
// the wire. Data aliases b. An incomplete symbol gives [io.ErrUnexpectedEOF].
func ParseSymbol(b []byte) (s Symbol, n int, err error) {
	if len(b) < symbolHeader {
		return Symbol{}, 0, io.ErrUnexpectedEOF
	}
	id := binary.BigEndian.Uint32(b)
	n = symbolHeader + int(binary.BigEndian.Uint16(b[4:]))
	if len(b) < n {
		return Symbol{}, 0, io.ErrUnexpectedEOF
	}
	return Symbol{SBN: uint16(id >> 24), ESI: id & maxESI, Data: b[symbolHeader:n:n]}, n, nil
}
