package fec

// With N > 1 sub-blocks a source symbol is not contiguous in the object: the
// source block consists of N sub-blocks, one after the other, of K sub-symbols
// each, and symbol m is made of sub-symbol m of every sub-block (RFC 6330 section
// 4.4.1.2). The code works on whole symbols and does not care.

// AppendSourceSymbol appends source symbol m of a block of k symbols, the octets
// of which are given as they lie in the object. What is missing at the end of
// the block is taken as zero. The OTI must be valid.
func (o OTI) AppendSourceSymbol(dst, block []byte, k, m int) []byte {
	return appendSourceSymbol(dst, block, o.subBlocks(), k, m)
}

// AppendSourceSymbol is [OTI.AppendSourceSymbol] for any scheme; those without
// sub-blocks count as having one.
func (o *ObjectInfo) AppendSourceSymbol(dst, block []byte, k, m int) []byte {
	return appendSourceSymbol(dst, block, o.subBlocks(), k, m)
}

func appendSourceSymbol(dst, block []byte, s subBlocks, k, m int) []byte {
	s.each(k, m, func(at, size int) {
		piece := block[min(at, len(block)):min(at+size, len(block))]
		dst = append(dst, piece...)
		for range size - len(piece) {
			dst = append(dst, 0)
		}
	})
	return dst
}

// PutSourceSymbol writes source symbol m of a block of k symbols to where it lies
// in the block. What reaches beyond the end of block, or is missing at the end of
// symbol, is left out. The OTI must be valid.
func (o OTI) PutSourceSymbol(block []byte, k, m int, symbol []byte) {
	putSourceSymbol(block, o.subBlocks(), k, m, symbol)
}

// PutSourceSymbol is [OTI.PutSourceSymbol] for any scheme; those without sub-blocks
// count as having one.
func (o *ObjectInfo) PutSourceSymbol(block []byte, k, m int, symbol []byte) {
	putSourceSymbol(block, o.subBlocks(), k, m, symbol)
}

func putSourceSymbol(block []byte, s subBlocks, k, m int, symbol []byte) {
	s.each(k, m, func(at, size int) {
		size = min(size, len(symbol))
		copy(block[min(at, len(block)):], symbol[:size])
		symbol = symbol[size:]
	})
}

// subBlocks says how symbols are cut into sub-symbols.
type subBlocks struct{ size, n, alignment int }

func (o OTI) subBlocks() subBlocks {
	return subBlocks{int(o.SymbolSize), int(o.SubBlocks), int(o.Alignment)}
}

func (o *ObjectInfo) subBlocks() subBlocks {
	if o.SourceBlocks == 0 {
		return subBlocks{int(o.SymbolSize), 1, 1}
	}
	return subBlocks{int(o.SymbolSize), int(o.SubBlocks), int(o.Alignment)}
}

// each calls f with offset in the block and size of each piece of symbol m of k.
func (s subBlocks) each(k, m int, f func(at, size int)) {
	if s.alignment == 0 || m < 0 || m >= k {
		return
	}
	tl, ts, nl, ns := Partition(uint64(s.size/s.alignment), uint64(s.n))
	at := 0
	for i := range nl + ns {
		size := int(ts) * s.alignment
		if i < nl {
			size = int(tl) * s.alignment
		}
		f(at+m*size, size)
		at += k * size
	}
}

// EachSubSymbol calls f with each piece of source symbol m of a block of k symbols,
// and its offset in the block in octets; see [OTI.PutSourceSymbol].
func (o *ObjectInfo) EachSubSymbol(k, m int, symbol []byte, f func(at int64, piece []byte)) {
	o.subBlocks().each(k, m, func(at, size int) {
		size = min(size, len(symbol))
		f(int64(at), symbol[:size])
		symbol = symbol[size:]
	})
}
