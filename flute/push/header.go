package push

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
)

// Header fields of the protocol.
const (
	// UploadOffset tells how many octets the receiver has, UploadComplete whether these are all ("?1"). They are those of the
	// IETF's resumable uploads (draft-ietf-httpbis-resumable-upload).
	UploadOffset   = "Upload-Offset"
	UploadComplete = "Upload-Complete"
	// UploadLength is the length of the whole object, of the same draft, for a body whose own length is not known.
	UploadLength = "Upload-Length"
	// ReprDigest has digests of the whole object (RFC 9530), as a header or a trailer field.
	ReprDigest = "Repr-Digest"
)

// contentRange is the header field Content-Range of a PUT (RFC 9110 sections 14.4 and 14.5), with an end that may be
// unknown: an object is sent while it is made.
//
//	bytes <first>-<last>/<length>   a part of an object of known length
//	bytes <first>-<last>/*          a part of an object of unknown length
//	bytes <first>-*/<length>        the rest of an object of known length
//	bytes <first>-*/*               the rest of an object of unknown length
type contentRange struct {
	first  int64
	end    int64 // one beyond the last octet, -1 if it is that of the object
	length int64 // -1 if not known
}

func (c contentRange) append(dst []byte) []byte {
	dst = append(dst, "bytes "...)
	dst = strconv.AppendInt(dst, c.first, 10)
	dst = append(dst, '-')
	if c.end < 0 {
		dst = append(dst, '*')
	} else {
		dst = strconv.AppendInt(dst, c.end-1, 10)
	}
	dst = append(dst, '/')
	if c.length < 0 {
		return append(dst, '*')
	}
	return strconv.AppendInt(dst, c.length, 10)
}

func parseContentRange(s string) (contentRange, error) {
	bad := fmt.Errorf("push: %w: Content-Range %.80q", ErrRequest, s)
	unit, rest, found := strings.Cut(s, " ")
	if !found || !strings.EqualFold(unit, "bytes") {
		return contentRange{}, bad
	}
	span, length, found := strings.Cut(rest, "/")
	first, last, found2 := strings.Cut(span, "-")
	if !found || !found2 {
		return contentRange{}, bad
	}
	c := contentRange{end: -1, length: -1}
	var ok bool
	if c.first, ok = parseOffset(first); !ok {
		return contentRange{}, bad
	}
	if last != "*" {
		if c.end, ok = parseOffset(last); !ok || c.end < c.first {
			return contentRange{}, bad
		}
		c.end++
	}
	if length != "*" {
		if c.length, ok = parseOffset(length); !ok || max(c.first, c.end) > c.length {
			return contentRange{}, bad
		}
	}
	return c, nil
}

// parseOffset takes up to 18 decimal digits, so that sums do not overflow.
func parseOffset(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// digest is one of a field Repr-Digest.
type digest struct {
	algorithm string // sha-256 or sha-512
	sum       []byte
}

func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "sha-256":
		return sha256.New()
	case "sha-512":
		return sha512.New()
	}
	return nil
}

// parseDigests parses Repr-Digest: a dictionary of byte sequences (RFC 9530 section 3, RFC 9651 section 3.2). Algorithms
// other than SHA-2 are ignored, as the RFC wants it of those unknown, and of those that prove nothing.
func parseDigests(lines []string) ([]digest, error) {
	var digests []digest
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			member = strings.Trim(member, " \t")
			if member == "" {
				continue
			}
			key, value, _ := strings.Cut(member, "=")
			h := newHash(key)
			if h == nil {
				continue
			}
			value, _, _ = strings.Cut(value, ";") // parameters say nothing yet
			value = strings.TrimRight(value, " \t")
			text, ok1 := strings.CutPrefix(value, ":")
			text, ok2 := strings.CutSuffix(text, ":")
			sum, err := base64.StdEncoding.DecodeString(text)
			if !ok1 || !ok2 || err != nil || len(sum) != h.Size() {
				return nil, fmt.Errorf("push: %w: %s %.120q", ErrRequest, ReprDigest, member)
			}
			// The last of a key counts.
			digests = slices.DeleteFunc(digests, func(d digest) bool { return d.algorithm == key })
			digests = append(digests, digest{key, sum})
		}
	}
	return digests, nil
}

// String returns the digest as a member of Repr-Digest.
func (d digest) String() string {
	return d.algorithm + "=:" + base64.StdEncoding.EncodeToString(d.sum) + ":"
}

// checkText refuses what cannot stand in a header field, or is too long for a name.
func checkText(name, s string) error {
	bad := len(s) > maxText
	for _, c := range []byte(s) {
		bad = bad || c < 0x20 && c != '\t' || c == 0x7f
	}
	if bad {
		return fmt.Errorf("push: %w: %s %.80q", ErrRequest, name, s)
	}
	return nil
}

const maxText = 2048
