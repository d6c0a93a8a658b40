package inspect

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"strings"

	"github.com/treedn/treedn/flute/fdt"
)

// mismatch names a digest of a description that the octets of an object contradict; empty if there is none. Content-MD5
// is over the file as it is transferred (RFC 2616) or behind the content encoding (RFC 6726 section 3.4.2).
func mismatch(f *fdt.File, body []byte) string {
	if f.ContentMD5 == nil && f.ContentDigest.IsZero() && f.ReprDigest.IsZero() {
		return ""
	}
	bodies := [][]byte{body}
	if b, err := decoded(body, f.ContentEncoding); err == nil && f.ContentEncoding != "" {
		bodies = append(bodies, b)
	}
	has := func(want []byte, sum func([]byte) []byte) bool {
		if want == nil {
			return true
		}
		for _, b := range bodies {
			if bytes.Equal(sum(b), want) {
				return true
			}
		}
		return false
	}
	sum256 := func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }
	sum512 := func(b []byte) []byte { s := sha512.Sum512(b); return s[:] }
	switch {
	case !has(f.ContentMD5, func(b []byte) []byte { s := md5.Sum(b); return s[:] }):
		return "Content-MD5"
	case !has(f.ContentDigest.SHA256, sum256), !has(f.ContentDigest.SHA512, sum512):
		return "Content-Digest"
	case strings.Contains(f.ContentLocation, "#"): // of a chunk Repr-Digest is over more than the chunk
	case !has(f.ReprDigest.SHA256, sum256), !has(f.ReprDigest.SHA512, sum512):
		return "Repr-Digest"
	}
	return ""
}
