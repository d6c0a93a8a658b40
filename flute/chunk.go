package flute

import (
	"strconv"
	"strings"

	"github.com/treedn/treedn/flute/reassembly"
)

// Chunk is what the Content-Location of a DVB-MABR transport object says in chunked transmission mode (TS 103 769 annex F):
// the object is a part of a media resource that is sent while it is made.
type Chunk struct {
	// Resource is the URI of the whole.
	Resource string
	// Offset is where the chunk begins, in octets.
	Offset int64
	// Last tells that the chunk is the last one of the resource. A chunk without octets is, too.
	Last bool
	// RandomAccess tells that decoding can begin within the chunk.
	RandomAccess bool
}

// ParseChunk reads a Content-Location. It is false for that of an object which is not a chunk: only chunks have a fragment
// that is a number.
func ParseChunk(location string) (Chunk, bool) {
	rest, fragment, found := strings.Cut(location, "#")
	if !found || fragment == "" || strings.Trim(fragment, "0123456789") != "" {
		return Chunk{}, false
	}
	offset, err := strconv.ParseInt(fragment, 10, 64)
	if err != nil {
		return Chunk{}, false
	}
	c := Chunk{Resource: rest, Offset: offset}
	// The resource may have a query of its own, before or among these words.
	path, query, found := strings.Cut(rest, "?")
	if !found {
		return c, true
	}
	var own []string
	for word := range strings.SplitSeq(query, "&") {
		switch word {
		case "isLast":
			c.Last = true
		case "hasRandomAccessPoint":
			c.RandomAccess = true
		default:
			own = append(own, word)
		}
	}
	c.Resource = path
	if len(own) > 0 {
		c.Resource += "?" + strings.Join(own, "&")
	}
	return c, true
}

// Location is the Content-Location of the chunk.
func (c Chunk) Location() string {
	var b strings.Builder
	b.WriteString(c.Resource)
	sep := byte('?')
	if strings.Contains(c.Resource, "?") {
		sep = '&'
	}
	for _, w := range []struct {
		on   bool
		word string
	}{{c.Last, "isLast"}, {c.RandomAccess, "hasRandomAccessPoint"}} {
		if w.on {
			b.WriteByte(sep)
			b.WriteString(w.word)
			sep = '&'
		}
	}
	b.WriteByte('#')
	b.WriteString(strconv.FormatInt(c.Offset, 10))
	return b.String()
}

// Resource is what has come of a media resource that is sent in chunks. The zero value is ready. The octets stay with the
// objects: a chunk is of use from its own first octet on, but a player reads no further than Prefix.
type Resource struct {
	held  reassembly.Set
	end   int64
	ended bool
}

// Add takes a chunk of which n octets have come: all of them if it is complete, else Prefix of its object. It may be
// called again for the same chunk as it grows; complete tells that there will be no more of it.
func (r *Resource) Add(c Chunk, n int64, complete bool) {
	if c.Offset < 0 || n < 0 || c.Offset+n < c.Offset {
		return
	}
	r.held.Add(c.Offset, c.Offset+n)
	if complete && (c.Last || n == 0) && !r.ended {
		r.end, r.ended = c.Offset+n, true
	}
}

// Prefix is the number of octets from the start on that have come without a hole.
func (r *Resource) Prefix() int64 {
	if r.ended {
		return min(r.end, r.held.Prefix())
	}
	return r.held.Prefix()
}

// Length is the length of the resource, -1 until its last chunk is there.
func (r *Resource) Length() int64 {
	if !r.ended {
		return -1
	}
	return r.end
}

// Complete tells that all of the resource has come.
func (r *Resource) Complete() bool { return r.ended && r.Prefix() == r.end }

// AppendMissing appends the ranges that have not come, to fetch them: a range of the resource, since chunks that never
// came have no names (TS 103 769 clause 9).
func (r *Resource) AppendMissing(dst []Range) []Range {
	end := r.end
	if !r.ended {
		end = r.held.End()
	}
	for _, m := range r.held.AppendMissing(nil, 0, end) {
		dst = append(dst, Range(m))
	}
	if !r.ended {
		dst = append(dst, Range{end, -1})
	}
	return dst
}
