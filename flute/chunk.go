package flute

import (
	"strconv"
	"strings"
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
