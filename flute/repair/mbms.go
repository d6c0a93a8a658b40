package repair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// ContainerType is the media type of symbols in MBMS (3GPP TS 26.346 annex C.3).
const ContainerType = "application/simpleSymbolContainer"

// FileRepair is the request for symbols of MBMS file repair (3GPP TS 26.346 clause 9.3):
//
//	<serviceURI>?fileURI=<Content-Location>[&Content-MD5=<base64>][&SBN=<s>[-<s>]][&SBN=<s>;ESI=<list>]...
//
// Without blocks it asks for the whole file.
type FileRepair struct {
	FileURI    string // Content-Location of the file in the FDT
	ContentMD5 string // of the FDT, or empty
	Blocks     []BlockSymbols
}

const (
	fileURIItem    = "fileURI="
	contentMD5Item = "Content-MD5="
)

// AppendQuery appends the query of the request, without "?".
func (f *FileRepair) AppendQuery(dst []byte) []byte {
	dst = append(dst, fileURIItem...)
	dst = append(dst, escapeItem(f.FileURI)...)
	if f.ContentMD5 != "" {
		dst = append(dst, '&')
		dst = append(dst, contentMD5Item...)
		dst = append(dst, escapeItem(f.ContentMD5)...)
	}
	if len(f.Blocks) > 0 {
		dst = AppendQuery(append(dst, '&'), f.Blocks)
	}
	return dst
}

// escapeItem escapes what has a meaning in a query. "/" and ":" stay, as the examples of the standard have them.
func escapeItem(s string) string {
	return strings.NewReplacer("%2F", "/", "%3A", ":", "+", "%20").Replace(url.QueryEscape(s))
}

// ParseFileRepair parses the query of a request; its errors are those of [ParseQuery].
func ParseFileRepair(query string, maxSymbols int) (FileRepair, error) {
	var f FileRepair
	item, rest, more := strings.Cut(query, "&")
	item, err := url.PathUnescape(item)
	if err != nil {
		return f, fmt.Errorf("repair: %w: query: %w", ErrRequest, err)
	}
	var ok bool
	if f.FileURI, ok = strings.CutPrefix(item, fileURIItem); !ok || f.FileURI == "" {
		return f, fmt.Errorf("repair: %w: query without fileURI", ErrRequest)
	}
	if more && strings.HasPrefix(rest, contentMD5Item) {
		item, rest, more = strings.Cut(rest, "&")
		if item, err = url.PathUnescape(item); err != nil {
			return f, fmt.Errorf("repair: %w: query: %w", ErrRequest, err)
		}
		f.ContentMD5 = strings.TrimPrefix(item, contentMD5Item)
	}
	if !more {
		return f, nil
	}
	f.Blocks, err = parseBlockList(rest, maxSymbols, 16)
	return f, err
}

// isFileRepair reports whether a query is one of MBMS file repair.
func isFileRepair(query string) bool { return strings.HasPrefix(query, fileURIItem) }

// nameOf returns the name under which a backend knows a file: what the path of a request for it would be. A fileURI need not
// have a scheme.
func (f *FileRepair) nameOf() (string, error) {
	name := f.FileURI
	if u, err := url.Parse(name); err == nil && u.Scheme != "" {
		if strings.Contains(strings.ToLower(u.EscapedPath()), "%2f") {
			return "", checkName("")
		}
		name = strings.TrimPrefix(u.Path, "/")
	}
	return name, checkName(name)
}

// SymbolGroup is a run of symbols of one block with consecutive IDs, as a simpleSymbolContainer holds them: the number of
// symbols, 2 octets; the FEC Payload ID of the first one, 4 octets; the symbols.
type SymbolGroup struct {
	SBN   uint16
	First uint32 // ESI
	Count int
	Data  []byte // Count symbols of one size
}

const (
	groupHeader = 2 + 4
	maxGroup    = 1<<16 - 1
)

// appendGroupHeader appends what stands before the symbols.
func appendGroupHeader(dst []byte, scheme Scheme, sbn uint16, first uint32, count int) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(count))
	return binary.BigEndian.AppendUint32(dst, uint32(sbn)<<scheme.esiBits()|first)
}

// Append appends the wire form of the group. It panics if the numbers do not fit the scheme.
func (g *SymbolGroup) Append(dst []byte, scheme Scheme) []byte {
	bits := scheme.esiBits()
	if bits == 0 || g.Count < 1 || g.Count > maxGroup || len(g.Data) != g.Count*scheme.SymbolSize ||
		int64(g.First)+int64(g.Count) > 1<<bits || int(g.SBN) >= 1<<(32-bits) {
		panic("repair: symbol group out of range")
	}
	return append(appendGroupHeader(dst, scheme, g.SBN, g.First, g.Count), g.Data...)
}

// ParseSymbolGroup parses the group at the beginning of b and returns its length on the wire. Data aliases b. An incomplete
// group gives [io.ErrUnexpectedEOF], any other fault an error that matches [ErrAnswer].
func ParseSymbolGroup(b []byte, scheme Scheme) (g SymbolGroup, n int, err error) {
	bits := scheme.esiBits()
	if bits == 0 || scheme.SymbolSize < 1 {
		return g, 0, errors.New("repair: no such FEC scheme")
	}
	if len(b) < groupHeader {
		return g, 0, io.ErrUnexpectedEOF
	}
	id := binary.BigEndian.Uint32(b[2:])
	g = SymbolGroup{SBN: uint16(id >> bits), First: id & (1<<bits - 1), Count: int(binary.BigEndian.Uint16(b))}
	if g.Count == 0 || int64(g.First)+int64(g.Count) > 1<<bits {
		return g, 0, fmt.Errorf("repair: %w: group of %d symbols from %d on", ErrAnswer, g.Count, g.First)
	}
	size := int64(g.Count) * int64(scheme.SymbolSize)
	if int64(len(b)-groupHeader) < size {
		return g, 0, io.ErrUnexpectedEOF
	}
	n = groupHeader + int(size)
	g.Data = b[groupHeader:n:n]
	return g, n, nil
}

// parseContainer parses a whole answer: symbols of the blocks asked for.
func parseContainer(b []byte, scheme Scheme, blocks []BlockSymbols) ([]Symbol, error) {
	asked := blockSet(blocks)
	symbols := make([]Symbol, 0, len(b)/scheme.SymbolSize)
	for len(b) > 0 {
		g, n, err := ParseSymbolGroup(b, scheme)
		if err != nil {
			return nil, fmt.Errorf("%w: symbol %d: %w", ErrAnswer, len(symbols), err)
		}
		if !asked[g.SBN] {
			return nil, fmt.Errorf("%w: symbols of block %d were not asked for", ErrAnswer, g.SBN)
		}
		for i := range g.Count {
			data := g.Data[i*scheme.SymbolSize : (i+1)*scheme.SymbolSize : (i+1)*scheme.SymbolSize]
			symbols = append(symbols, Symbol{SBN: g.SBN, ESI: g.First + uint32(i), Data: data})
		}
		b = b[n:]
	}
	return symbols, nil
}
