package cache

import (
	"net/http"
	"strings"
)

// precondition evaluates If-Match and If-None-Match (RFC 9110, section 13.2.2)
// and returns the status that they demand, or 0. The fields with dates do not
// count, as objects have no modification date (sections 13.1.3 and 13.1.4).
func precondition(h http.Header, etag string) int {
	if f := h["If-Match"]; len(f) > 0 && !matchETag(f, etag, false) {
		return http.StatusPreconditionFailed
	}
	if f := h["If-None-Match"]; len(f) > 0 && matchETag(f, etag, true) {
		return http.StatusNotModified
	}
	return 0
}

// ifRange tells whether Range counts: without If-Range, or when that holds our
// tag. A date never matches, nor does a weak tag (section 13.1.5).
func ifRange(h http.Header, etag string) bool {
	f := h["If-Range"]
	return len(f) == 0 || (len(f) == 1 && strings.TrimSpace(f[0]) == etag)
}

// matchETag looks for a strong tag in lists of tags. Weak comparison takes
// W/"x" for "x" (section 8.8.3.2).
func matchETag(fields []string, etag string, weak bool) bool {
	for _, f := range fields {
		for f != "" {
			f = strings.TrimLeft(f, " \t,")
			if strings.HasPrefix(f, "*") {
				return true
			}
			isWeak := strings.HasPrefix(f, "W/")
			if isWeak {
				f = f[2:]
			}
			if !strings.HasPrefix(f, `"`) {
				break
			}
			n := tagLen(f)
			if n == 0 {
				break
			}
			if f[:n] == etag && (weak || !isWeak) {
				return true
			}
			f = f[n:]
		}
	}
	return false
}

// tagLen returns the length of the opaque tag, quotes included, at the
// beginning of s, or 0 (section 8.8.3).
func tagLen(s string) int {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c < 0x21 || c == 0x7f:
			return 0
		}
	}
	return 0
}
