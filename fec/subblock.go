package fec

// With N > 1 sub-blocks a source symbol is not contiguous in the object: the
// source block consists of N sub-blocks, one after the other, of K sub-symbols
// each, and symbol m is made of sub-symbol m of every sub-block (RFC 6330 section
// 4.4.1.2). The code works on whole symbols and does not care.

// AppendSourceSymbol appends source symbol m of a block of k symbols, the octets
// of which are given as they lie in the object. What is missing at the end of
// the block is taken as zero. The OTI must be valid.
func (o OTI) AppendSourceSymbol(dst, block []byte, k, m int) []byte {
	o.subSymbols(k, m, func(at, size int) {
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
	o.subSymbols(k, m, func(at, size int) {
		size = min(size, len(symbol))
		copy(block[min(at, len(block)):], symbol[:size])
		symbol = symbol[size:]
	})
}

// subSymbols calls f with offset in the block and size of each piece of symbol m.
func (o OTI) subSymbols(k, m int, f func(at, size int)) {
	if o.Alignment == 0 || m < 0 || m >= k {
		return
	}
	al := int(o.Alignment)
	tl, ts, nl, ns := Partition(uint64(o.SymbolSize)/uint64(al), uint64(o.SubBlocks))
	at := 0
	for i := range nl + ns {
		size := int(ts) * al
		if i < nl {
			size = int(tl) * al
		}
		f(at+m*size, size)
		at += k * size
	}
}
