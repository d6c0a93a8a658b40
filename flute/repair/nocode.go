package repair

import (
	"fmt"
	"io"
)

// Partition is how Compact No-Code FEC (FEC Encoding ID 0, RFC 5445 section 3) cuts an object into symbols and blocks
// (RFC 5052 section 9.1).
type Partition struct {
	Length     int64 // of the object, in octets: Transfer-Length
	SymbolSize int   // FEC-OTI-Encoding-Symbol-Length
	MaxBlock   int   // FEC-OTI-Maximum-Source-Block-Length, in symbols
}

func (p Partition) valid() bool {
	return p.Length >= 0 && p.SymbolSize >= 1 && p.SymbolSize < 1<<16 && p.MaxBlock >= 1 && p.MaxBlock <= 1<<16
}

// symbols returns the number of symbols and of blocks.
func (p Partition) symbols() (all, blocks int64) {
	all = (p.Length + int64(p.SymbolSize) - 1) / int64(p.SymbolSize)
	return all, (all + int64(p.MaxBlock) - 1) / int64(p.MaxBlock)
}

// Block returns the first symbol of a block, counted through the object, and the number of its symbols, which is 0 if there
// is no such block.
func (p Partition) Block(sbn uint16) (first int64, symbols int) {
	all, blocks := p.symbols()
	if int64(sbn) >= blocks {
		return 0, 0
	}
	large, small := (all+blocks-1)/blocks, all/blocks
	larger := all - small*blocks // so many blocks are large
	if s := int64(sbn); s < larger {
		return s * large, int(large)
	}
	return larger*large + (int64(sbn)-larger)*small, int(small)
}

// Octets returns the octets of a symbol, none if there is no such symbol.
func (p Partition) Octets(sbn uint16, esi uint32) Range {
	first, symbols := p.Block(sbn)
	if int64(esi) >= int64(symbols) {
		return Range{}
	}
	start := (first + int64(esi)) * int64(p.SymbolSize)
	return Range{start, min(start+int64(p.SymbolSize), p.Length)}
}

// Symbols returns the symbols that hold octets of ranges, which are sorted and disjoint as [MergeRanges] returns them.
// Symbols of blocks that the FEC Payload ID cannot name are left out.
func (p Partition) Symbols(ranges []Range) []BlockSymbols {
	all, blocks := p.symbols()
	if all == 0 {
		return nil
	}
	large, small := (all+blocks-1)/blocks, all/blocks
	larger := all - small*blocks
	locate := func(symbol int64) (sbn int64, esi uint32) {
		if symbol < larger*large {
			return symbol / large, uint32(symbol % large)
		}
		symbol -= larger * large
		return larger + symbol/small, uint32(symbol % small)
	}
	var list []BlockSymbols
	next := int64(0) // the first symbol that is not in list
	for _, r := range ranges {
		from := max(r.Start/int64(p.SymbolSize), next)
		end := (min(r.End, p.Length) + int64(p.SymbolSize) - 1) / int64(p.SymbolSize)
		for from < end {
			sbn, esi := locate(from)
			if sbn >= 1<<16 {
				return list
			}
			_, symbols := p.Block(uint16(sbn))
			n := min(end-from, int64(symbols)-int64(esi))
			run := ESIRange{esi, esi + uint32(n) - 1}
			if last := len(list) - 1; last >= 0 && list[last].SBN == uint16(sbn) {
				list[last].ESIs = appendRun(list[last].ESIs, run)
			} else {
				list = append(list, BlockSymbols{SBN: uint16(sbn), ESIs: []ESIRange{run}})
			}
			from += n
			next = from
		}
	}
	return list
}

// appendRun appends a run, or makes the last one longer.
func appendRun(runs []ESIRange, r ESIRange) []ESIRange {
	if last := len(runs) - 1; last >= 0 && runs[last].Last+1 == r.First {
		runs[last].Last = r.Last
		return runs
	}
	return append(runs, r)
}

// parts returns the octets of symbols: those that follow each other make one part.
func (p Partition) parts(symbols []Symbol, from string) []Part {
	var parts []Part
	for _, s := range symbols {
		r := p.Octets(s.SBN, s.ESI)
		if r.Len() == 0 {
			continue
		}
		data := s.Data[:r.Len()]
		if last := len(parts) - 1; last >= 0 && parts[last].Offset+int64(len(parts[last].Data)) == r.Start {
			parts[last].Data = append(parts[last].Data, data...)
		} else {
			parts = append(parts, Part{Offset: r.Start, Data: append([]byte(nil), data...), Parent: from})
		}
	}
	return parts
}

// NoCode gives an object the symbols of Compact No-Code FEC, which receivers of FLUTE and MBMS name in their requests: of
// symbolSize octets, in blocks of at most maxBlock. The last symbol of the object is filled up with zeros.
func NoCode(o Object, symbolSize, maxBlock int) (*NoCodeObject, error) {
	if !(Partition{0, symbolSize, maxBlock}).valid() {
		return nil, fmt.Errorf("repair: no-code: symbols of %d octets in blocks of %d", symbolSize, maxBlock)
	}
	return &NoCodeObject{Object: o, size: symbolSize, most: maxBlock}, nil
}

// NoCodeObject is an [Object] that is a [SymbolSource]; see [NoCode].
type NoCodeObject struct {
	Object
	size, most int
}

// Close closes the object beneath, if it is an [io.Closer].
func (n *NoCodeObject) Close() error {
	if closer, ok := n.Object.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// Scheme implements [SymbolSource].
func (n *NoCodeObject) Scheme() Scheme {
	return Scheme{EncodingID: CompactNoCode, SymbolSize: n.size}
}

// SourceSymbols implements [SymbolSource].
func (n *NoCodeObject) SourceSymbols(sbn uint16) (int, error) {
	info := n.Info()
	if info.Length < 0 {
		return 0, ErrNotReady // where the blocks end depends on it
	}
	first, symbols := Partition{info.Length, n.size, n.most}.Block(sbn)
	switch {
	case symbols == 0:
		return 0, ErrUnknown
	case info.Prefix < min((first+int64(symbols))*int64(n.size), info.Length):
		return 0, ErrNotReady
	}
	return symbols, nil
}

// AppendSymbol implements [SymbolSource].
func (n *NoCodeObject) AppendSymbol(dst []byte, sbn uint16, esi uint32) ([]byte, error) {
	info := n.Info()
	if info.Length < 0 {
		return dst, ErrNotReady
	}
	r := Partition{info.Length, n.size, n.most}.Octets(sbn, esi)
	if r.Len() == 0 {
		return dst, ErrUnknown
	}
	start := len(dst)
	dst = append(dst, make([]byte, n.size)...)
	part := dst[start : start+int(r.Len())]
	if read, err := n.ReadAt(part, r.Start); read < len(part) {
		return dst[:start], err
	}
	return dst, nil
}
