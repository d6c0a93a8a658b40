package repair

import (
	"fmt"
	"io"
)

// NoCode cuts an object into the symbols of Compact No-Code FEC (FEC Encoding ID 0, RFC 5445 section 3), which receivers of
// FLUTE and MBMS name in their requests: symbols of symbolSize octets in blocks of at most maxBlock, as
// FEC-OTI-Encoding-Symbol-Length and FEC-OTI-Maximum-Source-Block-Length of the FDT say. The last symbol of the object is
// filled up with zeros.
func NoCode(o Object, symbolSize, maxBlock int) (*NoCodeObject, error) {
	if symbolSize < 1 || symbolSize > 1<<16-1 || maxBlock < 1 || maxBlock > 1<<16 {
		return nil, fmt.Errorf("repair: no-code: symbols of %d octets in blocks of %d", symbolSize, maxBlock)
	}
	return &NoCodeObject{Object: o, size: int64(symbolSize), most: int64(maxBlock)}, nil
}

// NoCodeObject is an [Object] that is a [SymbolSource]; see [NoCode].
type NoCodeObject struct {
	Object
	size, most int64
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
	return Scheme{EncodingID: CompactNoCode, SymbolSize: int(n.size)}
}

// block returns the place of a block in the object (RFC 5052 section 9.1), in symbols.
func (n *NoCodeObject) block(sbn uint16, length int64) (first, symbols int64, err error) {
	if length < 0 {
		return 0, 0, ErrNotReady // where the blocks end depends on it
	}
	all := (length + n.size - 1) / n.size
	blocks := (all + n.most - 1) / n.most
	if int64(sbn) >= blocks {
		return 0, 0, ErrUnknown
	}
	large, small := (all+blocks-1)/blocks, all/blocks
	larger := all - small*blocks // so many blocks are large
	if s := int64(sbn); s < larger {
		return s * large, large, nil
	}
	return larger*large + (int64(sbn)-larger)*small, small, nil
}

// SourceSymbols implements [SymbolSource].
func (n *NoCodeObject) SourceSymbols(sbn uint16) (int, error) {
	info := n.Info()
	first, symbols, err := n.block(sbn, info.Length)
	if err != nil {
		return 0, err
	}
	if info.Prefix < min((first+symbols)*n.size, info.Length) {
		return 0, ErrNotReady
	}
	return int(symbols), nil
}

// AppendSymbol implements [SymbolSource].
func (n *NoCodeObject) AppendSymbol(dst []byte, sbn uint16, esi uint32) ([]byte, error) {
	info := n.Info()
	first, symbols, err := n.block(sbn, info.Length)
	if err != nil {
		return dst, err
	}
	if int64(esi) >= symbols {
		return dst, ErrUnknown
	}
	offset := (first + int64(esi)) * n.size
	start := len(dst)
	dst = append(dst, make([]byte, n.size)...)
	part := dst[start : start+int(min(n.size, info.Length-offset))]
	if read, err := n.ReadAt(part, offset); read < len(part) {
		return dst[:start], err
	}
	return dst, nil
}
