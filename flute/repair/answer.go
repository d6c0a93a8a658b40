package repair

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// covered returns the ranges of the parts.
func (a *Answer) covered() []Range {
	if a == nil {
		return nil
	}
	ranges := make([]Range, len(a.Parts))
	for i, p := range a.Parts {
		ranges[i] = Range{p.Offset, p.Offset + int64(len(p.Data))}
	}
	return MergeRanges(ranges, 1)
}

// add puts parts into their places. What is there already stays.
func (a *Answer) add(parts []Part) {
	a.Parts = append(a.Parts, parts...)
	slices.SortStableFunc(a.Parts, func(p, q Part) int { return cmp.Compare(p.Offset, q.Offset) })
	disjoint := a.Parts[:0]
	var end int64
	for _, p := range a.Parts {
		if p.Offset < end {
			p.Data = p.Data[min(end-p.Offset, int64(len(p.Data))):]
			p.Offset = end
		}
		if len(p.Data) > 0 {
			end = p.Offset + int64(len(p.Data))
			disjoint = append(disjoint, p)
		}
	}
	clear(a.Parts[len(disjoint):])
	a.Parts = disjoint
}

// joinAnswers merges the answers of several flights into one.
func joinAnswers(flights []*flight) *Answer {
	var joined *Answer
	for _, f := range flights {
		select {
		case <-f.done:
		default:
			continue // the call gave up before
		}
		switch {
		case f.answer == nil:
		case len(flights) == 1:
			return f.answer
		case joined == nil:
			copied := *f.answer
			copied.Parts = slices.Clone(f.answer.Parts)
			joined = &copied
		case joined.ETag == f.answer.ETag:
			joined.Length = max(joined.Length, f.answer.Length)
			joined.add(f.answer.Parts)
		}
	}
	return joined
}

// gathering is what answers have brought of one object.
type gathering struct {
	answer *Answer
	from   string // URL of the one that answers now
	limit  int64  // of the octets
}

// takeOctets takes an answer with octets: the whole object, a range, or several. It returns the parts that came.
func (g *gathering) takeOctets(resp *http.Response, ranges []Range) (parts []Part, err error) {
	length := int64(-1)
	if resp.StatusCode == http.StatusOK {
		var data []byte
		if data, err = readBody(resp.Body, resp.ContentLength, g.limit); err == nil {
			length = int64(len(data))
			parts = []Part{{Data: data}}
		}
	} else {
		mediaType, params, typeErr := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if typeErr == nil && strings.EqualFold(mediaType, "multipart/byteranges") {
			parts, length, err = readParts(resp.Body, params["boundary"], ranges, g.limit)
		} else {
			contentRange := resp.Header.Get("Content-Range")
			parts, length, err = readPart(nil, resp.Body, contentRange, ranges, g.limit)
		}
	}
	// Whole parts count even if what follows them is broken.
	if len(parts) == 0 && err != nil {
		return nil, err
	}
	if keepErr := g.keep(resp, parts, length); keepErr != nil {
		return nil, keepErr
	}
	return parts, err
}

// keep adds parts to the answer, unless they make it too large: with a range to
// ToEnd a parent could go on for ever.
func (g *gathering) keep(resp *http.Response, parts []Part, length int64) error {
	if g.answer == nil {
		g.answer = &Answer{Length: -1}
		// A weak tag does not say that two answers have the same octets.
		if etag := resp.Header.Get("ETag"); !strings.HasPrefix(etag, "W/") {
			g.answer.ETag = etag
		}
		if t := resp.Header.Get("Content-Type"); !strings.HasPrefix(strings.ToLower(t), "multipart/") {
			g.answer.ContentType = t
		}
		if u, err := url.Parse(resp.Header.Get("Content-Location")); err == nil {
			g.answer.Name = strings.TrimPrefix(u.Path, "/")
		}
	}
	sum := octets(g.answer.covered())
	for i := range parts {
		parts[i].Parent = g.from
		sum += int64(len(parts[i].Data))
	}
	if sum > g.limit {
		return fmt.Errorf("%w: more than %d octets", ErrLimit, g.limit)
	}
	g.answer.Length = max(g.answer.Length, length)
	g.answer.add(parts)
	return nil
}

// readBody reads a whole object. Memory grows with the octets that come, not
// with what the parent promises.
func readBody(body io.Reader, promised, limit int64) ([]byte, error) {
	if promised > limit {
		return nil, fmt.Errorf("%w: more than %d octets", ErrLimit, limit)
	}
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: more than %d octets", ErrLimit, limit)
	}
	return data, nil
}

// takeEnd takes the answer that there is nothing in the ranges. If they begin at
// the end of the object, that is what was to be found out.
func (g *gathering) takeEnd(resp *http.Response, ranges []Range) error {
	length, ok := parseUnsatisfied(resp.Header.Get("Content-Range"))
	if !ok {
		return &StatusError{resp.StatusCode}
	}
	if ranges[0].Start > length || ranges[len(ranges)-1].End != ToEnd {
		return fmt.Errorf("%w: the object has only %d octets", ErrChanged, length)
	}
	return g.keep(resp, nil, length)
}

// growFrom is the size from which memory is taken as the octets come, not as
// the parent promises.
const growFrom = 1 << 20

// joinable returns what answers to ranges may hold: a server may join those that lie so close together that another part
// would cost more (RFC 9110 section 15.3.7.2).
func joinable(ranges []Range) []Range { return MergeRanges(slices.Clone(ranges), partOverhead) }

// answers reports whether r may answer ranges.
func answers(ranges []Range, r Range) bool {
	return contains(joinable(ranges), r) && overlap(ranges, []Range{r})
}

// readPart reads one range, of those asked for or joined of them, and appends
// it.
func readPart(parts []Part, body io.Reader, contentRange string, ranges []Range, limit int64) ([]Part, int64, error) {
	r, length, err := parseContentRange(contentRange)
	if err != nil {
		return parts, -1, err
	}
	if !answers(ranges, r) {
		return parts, -1, fmt.Errorf("%w: octets %d to %d were not asked for", ErrAnswer, r.Start, r.End)
	}
	if r.Len() > limit {
		return parts, -1, fmt.Errorf("%w: more than %d octets", ErrLimit, limit)
	}
	var data []byte
	if r.Len() < growFrom {
		data = make([]byte, r.Len())
		_, err = io.ReadFull(body, data)
	} else if data, err = io.ReadAll(io.LimitReader(body, r.Len())); err == nil && int64(len(data)) < r.Len() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return parts, length, err
	}
	var more [1]byte
	if n, _ := io.ReadFull(body, more[:]); n > 0 {
		return parts, length, fmt.Errorf("%w: more octets than Content-Range says", ErrAnswer)
	}
	return append(parts, Part{Offset: r.Start, Data: data}), length, nil
}

// partOverhead bounds the frame of one part: boundary and header.
const partOverhead = 4 << 10

// readParts reads multipart/byteranges. The parts read before an error are
// returned with it.
func readParts(body io.Reader, boundary string, ranges []Range, limit int64) (parts []Part, length int64, err error) {
	length = -1
	if boundary == "" {
		return nil, length, fmt.Errorf("%w: no boundary", ErrAnswer)
	}
	bound := min(octets(joinable(ranges)), limit) + partOverhead*int64(len(ranges)+1)
	reader := multipart.NewReader(io.LimitReader(body, bound), boundary)
	for {
		p, err := reader.NextRawPart()
		if err == io.EOF {
			return parts, length, nil
		}
		if err != nil {
			return parts, length, fmt.Errorf("%w: multipart: %w", ErrAnswer, err)
		}
		if len(parts) >= len(ranges) {
			return parts, length, fmt.Errorf("%w: more parts than ranges", ErrAnswer)
		}
		var total int64
		if parts, total, err = readPart(parts, p, p.Header.Get("Content-Range"), ranges, limit); err != nil {
			return parts, length, err
		}
		if total >= 0 {
			if length >= 0 && length != total {
				return parts, length, fmt.Errorf("%w: two lengths, %d and %d", ErrAnswer, length, total)
			}
			length = total
		}
	}
}

// askedSymbols returns the number of symbols asked for, 0 if there is a whole
// block among them.
func askedSymbols(blocks []BlockSymbols) (n int) {
	for i := range blocks {
		asked := blocks[i].asked()
		if asked == 0 {
			return 0
		}
		n += asked
	}
	return n
}

// parseSymbols parses a whole answer: symbols of one size, of the blocks asked
// for.
func parseSymbols(b []byte, size int, blocks []BlockSymbols) ([]Symbol, error) {
	asked := blockSet(blocks)
	symbols := make([]Symbol, 0, len(b)/(symbolHeader+size))
	for len(b) > 0 {
		s, n, err := ParseSymbol(b)
		if err != nil {
			return nil, fmt.Errorf("%w: symbol %d: %w", ErrAnswer, len(symbols), err)
		}
		if len(s.Data) != size || !asked[s.SBN] {
			return nil, fmt.Errorf("%w: symbol %d: block %d, %d octets", ErrAnswer, len(symbols), s.SBN, len(s.Data))
		}
		symbols = append(symbols, s)
		b = b[n:]
	}
	return symbols, nil
}

// blockSet returns the numbers of the blocks asked for.
func blockSet(blocks []BlockSymbols) map[uint16]bool {
	asked := make(map[uint16]bool, len(blocks))
	for _, block := range blocks {
		asked[block.SBN] = true
	}
	return asked
}
