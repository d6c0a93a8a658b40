package repair

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// maxESI is the largest encoding symbol ID: 24 bits in the FEC Payload ID of
// RaptorQ (RFC 6330 section 3.2).
const maxESI = 1<<24 - 1

// ESIRange is a run of encoding symbol IDs, both ends included.
type ESIRange struct {
	First, Last uint32
}

// Len returns the number of symbols.
func (r ESIRange) Len() int { return int(r.Last-r.First) + 1 }

// BlockSymbols asks for symbols of one source block: the symbols in ESIs, or
// Count repair symbols of the server's choice, or, with neither, all source
// symbols.
type BlockSymbols struct {
	SBN   uint16 // at most 255 with RaptorQ
	ESIs  []ESIRange
	Count int
}

// asked returns the number of symbols, 0 for a whole block.
func (b *BlockSymbols) asked() int {
	n := b.Count
	for _, r := range b.ESIs {
		n += r.Len()
	}
	return n
}

// AppendQuery appends the query of a request for symbols, without "?".
func AppendQuery(dst []byte, blocks []BlockSymbols) []byte {
	for i, b := range blocks {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(dst, "SBN="...)
		dst = strconv.AppendUint(dst, uint64(b.SBN), 10)
		for j, r := range b.ESIs {
			if j == 0 {
				dst = append(dst, ";ESI="...)
			} else {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(dst, uint64(r.First), 10)
			if r.Last != r.First {
				dst = append(dst, '-')
				dst = strconv.AppendUint(dst, uint64(r.Last), 10)
			}
		}
		if len(b.ESIs) == 0 && b.Count > 0 {
			dst = append(dst, "&count="...)
			dst = strconv.AppendInt(dst, int64(b.Count), 10)
		}
	}
	return dst
}

// ParseQuery parses the query of a request for symbols:
//
//	SBN=<s>;ESI=<list>[&SBN=...]    symbols by ID: a, a-b, a+n (n symbols from a)
//	SBN=<s>&count=<n>[&SBN=...]     n repair symbols of the server's choice
//	SBN=<s>[-<s>][&SBN=...]         all source symbols of blocks
//
// maxSymbols bounds the number of symbols asked for by ID or count, and the
// number of runs and blocks. Errors match [ErrRequest] or [ErrLimit].
func ParseQuery(query string, maxSymbols int) ([]BlockSymbols, error) {
	return parseBlockList(query, maxSymbols, 8)
}

// parseBlockList is ParseQuery for block numbers of so many bits.
func parseBlockList(query string, maxSymbols, sbnBits int) ([]BlockSymbols, error) {
	var blocks []BlockSymbols
	var symbols int
	for item := range strings.SplitSeq(query, "&") {
		// PathUnescape because "+" is part of the syntax, not a space.
		item, err := url.PathUnescape(item)
		if err != nil {
			return nil, fmt.Errorf("repair: %w: query: %w", ErrRequest, err)
		}
		if value, ok := strings.CutPrefix(item, "count="); ok {
			n, err := parseNumber(value, 24)
			if err != nil {
				return nil, err
			}
			if len(blocks) == 0 || n == 0 || blocks[len(blocks)-1].asked() > 0 {
				return nil, fmt.Errorf("repair: %w: query: count out of place", ErrRequest)
			}
			blocks[len(blocks)-1].Count = int(n)
			symbols += int(n)
		} else if blocks, err = parseBlocks(blocks, item, &symbols, maxSymbols, sbnBits); err != nil {
			return nil, err
		}
		if symbols > maxSymbols || len(blocks) > maxSymbols {
			return nil, fmt.Errorf("repair: %w: more than %d symbols", ErrLimit, maxSymbols)
		}
	}
	return blocks, nil
}

// parseBlocks parses SBN=<s>;ESI=<list> or SBN=<s>[-<s>].
func parseBlocks(blocks []BlockSymbols, item string, symbols *int, maxSymbols, sbnBits int) ([]BlockSymbols, error) {
	value, ok := strings.CutPrefix(item, "SBN=")
	if !ok {
		value, ok = strings.CutPrefix(item, "SourceSBN=") // of some clients of MBMS
	}
	if !ok {
		return nil, fmt.Errorf("repair: %w: query: unknown parameter %q", ErrRequest, item)
	}
	sbns, list, hasList := strings.Cut(value, ";")
	first, last, isRange := strings.Cut(sbns, "-")
	if !isRange {
		last = first
	}
	from, err := parseNumber(first, sbnBits)
	if err != nil {
		return nil, err
	}
	to, err := parseNumber(last, sbnBits)
	if err != nil {
		return nil, err
	}
	if to < from || (isRange && hasList) {
		return nil, fmt.Errorf("repair: %w: query: SBN %q", ErrRequest, sbns)
	}
	if int(to-from) >= maxSymbols-len(blocks) {
		return nil, fmt.Errorf("repair: %w: more than %d blocks", ErrLimit, maxSymbols)
	}
	for sbn := from; sbn <= to; sbn++ {
		blocks = append(blocks, BlockSymbols{SBN: uint16(sbn)})
	}
	if !hasList {
		return blocks, nil
	}
	list, ok = strings.CutPrefix(list, "ESI=")
	if !ok {
		return nil, fmt.Errorf("repair: %w: query: unknown parameter %q", ErrRequest, list)
	}
	block := &blocks[len(blocks)-1]
	for element := range strings.SplitSeq(list, ",") {
		run, err := parseRun(element)
		if err != nil {
			return nil, err
		}
		if *symbols += run.Len(); *symbols > maxSymbols {
			return nil, fmt.Errorf("repair: %w: more than %d symbols", ErrLimit, maxSymbols)
		}
		block.ESIs = append(block.ESIs, run)
	}
	return blocks, nil
}

// parseRun parses a, a-b and a+n.
func parseRun(s string) (ESIRange, error) {
	i := strings.IndexAny(s, "-+")
	number := s
	if i >= 0 {
		number = s[:i]
	}
	first, err := parseNumber(number, 24)
	if err != nil {
		return ESIRange{}, err
	}
	if i < 0 {
		return ESIRange{uint32(first), uint32(first)}, nil
	}
	last, err := parseNumber(s[i+1:], 24)
	if err != nil {
		return ESIRange{}, err
	}
	if s[i] == '+' {
		if last == 0 {
			return ESIRange{}, fmt.Errorf("repair: %w: query: ESI %q", ErrRequest, s)
		}
		last += first - 1
	}
	if last < first || last > maxESI {
		return ESIRange{}, fmt.Errorf("repair: %w: query: ESI %q", ErrRequest, s)
	}
	return ESIRange{uint32(first), uint32(last)}, nil
}
