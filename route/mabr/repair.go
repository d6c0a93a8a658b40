package mabr

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Repair says how to get by unicast what got lost (section 9).
type Repair struct {
	// BaseURI is the beginning of the names of objects that a BaseURL replaces.
	BaseURI string
	// ReceptionTimeout is how long after the last packet of an object its
	// transmission is taken for over. FixedBackOff is how long to wait then, and
	// RandomBackOff the upper bound of the random time to wait after that. All are
	// whole milliseconds.
	ReceptionTimeout, FixedBackOff, RandomBackOff time.Duration
	BaseURLs                                      []BaseURL
}

// A BaseURL is one place to ask, with its share of the requests.
type BaseURL struct {
	URL string
	// Weight is relative to the others, 1 if absent; with 0 the place is not
	// asked.
	Weight uint32
}

// URL returns where to get an object. Random, in [0, 1), chooses between the
// places by their weights. Without any, the name of the object is its URL. It is
// false if all have the weight 0, or the object is not below the BaseURI.
func (r *Repair) URL(object string, random float64) (string, bool) {
	if len(r.BaseURLs) == 0 {
		return object, true
	}
	rest, ok := strings.CutPrefix(object, r.BaseURI)
	if !ok {
		return "", false
	}
	var total float64
	for _, b := range r.BaseURLs {
		total += float64(b.Weight)
	}
	at := random * total
	last := -1
	for i, b := range r.BaseURLs {
		if b.Weight == 0 {
			continue
		}
		last = i
		if at -= float64(b.Weight); at < 0 {
			break
		}
	}
	if last < 0 {
		return "", false
	}
	return r.BaseURLs[last].URL + rest, true
}

// BackOff returns how long to wait after the end of the transmission of an
// object. Random is in [0, 1).
func (r *Repair) BackOff(random float64) time.Duration {
	return r.FixedBackOff + time.Duration(random*float64(r.RandomBackOff))
}

// FECScheme returns the term of an FEC scheme by its encoding id (annex B.2).
func FECScheme(encodingID uint8) string { return fecTerm + strconv.Itoa(int(encodingID)) }

// EncodingID returns the FEC encoding id of the scheme, if it is a term of the
// registry.
func (f *FEC) EncodingID() (uint8, bool) {
	digits, ok := strings.CutPrefix(strings.TrimSpace(f.Scheme), fecTerm)
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 10, 8)
	return uint8(id), err == nil
}

// ErrPattern matches the errors of ParsePattern.
var ErrPattern = errors.New("mabr: malformed contentPlaybackPathPattern")

// A Pattern says which paths belong to a manifest (10.2.2.2).
type Pattern struct {
	elements []element
}

type element struct {
	kind byte // '*', '?' or 0 for a literal
	char byte
}

// maxPattern bounds the octets of a pattern, since matching takes the product of
// its length and that of the path.
const maxPattern = 4096

// ParsePattern parses a contentPlaybackPathPattern: * stands for any characters
// of a path segment, ? for one of them, and $ before either or before $ for
// itself.
func ParsePattern(s string) (Pattern, error) {
	if len(s) > maxPattern {
		return Pattern{}, fmt.Errorf("%w: %d octets", ErrPattern, len(s))
	}
	var p Pattern
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '*', '?':
			p.elements = append(p.elements, element{kind: c})
		case '$':
			if i++; i == len(s) || strings.IndexByte("$*?", s[i]) < 0 {
				return Pattern{}, fmt.Errorf("%w: %.64q: single $", ErrPattern, s)
			}
			p.elements = append(p.elements, element{char: s[i]})
		default:
			p.elements = append(p.elements, element{char: c})
		}
	}
	return p, nil
}

// Match tells whether the path of a request, with its leading slash, fits the
// pattern.
func (p Pattern) Match(path string) bool {
	at, star, mark := 0, -1, 0
	i := 0
	for i < len(path) {
		switch {
		case at < len(p.elements) && p.elements[at].kind == '*':
			star, mark = at, i
			at++
		case at < len(p.elements) && (p.elements[at].kind == '?' && path[i] != '/' || p.elements[at].kind == 0 && p.elements[at].char == path[i]):
			at++
			i++
		case star >= 0 && path[mark] != '/': // the star takes one more
			mark++
			at, i = star+1, mark
		default:
			return false
		}
	}
	for at < len(p.elements) && p.elements[at].kind == '*' {
		at++
	}
	return at == len(p.elements)
}
