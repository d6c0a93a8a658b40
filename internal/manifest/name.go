package manifest

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// MaxName is the longest name of an object in octets. Names travel in seals and
// signalling, where the same limit holds.
const MaxName = 512

// ValidName reports whether name can be the name of an object: a relative,
// slash-separated path of at most [MaxName] octets in UTF-8, without empty, "."
// or ".." elements, control characters or backslashes. Such a name stays below
// the directory that it is joined to, on any file system.
func ValidName(name string) bool {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c == 0x7f || c == '\\' {
			return false
		}
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == "" || element == "." || element == ".." {
			return false
		}
	}
	return true
}

// JoinURL returns the URL of what has a path below base. The path's parts are
// names as they are, not escaped, and are taken as they are: [ValidName] is what
// keeps them below base. Empty parts and slashes at their ends do not count.
func JoinURL(base *url.URL, parts ...string) *url.URL {
	u := *base
	u.RawPath = base.EscapedPath()
	add := func(s string) {
		u.Path = strings.TrimSuffix(u.Path, "/") + "/" + s
		u.RawPath = strings.TrimSuffix(u.RawPath, "/") + "/" + (&url.URL{Path: s}).EscapedPath()
	}
	for _, part := range parts {
		if part = strings.Trim(part, "/"); part != "" {
			add(part)
		}
	}
	return &u
}

// Resolve returns the name that the reference ref has in a manifest of the name
// base: percent-decoded, without query and fragment. It is false for references
// that lead out of the channel.
func Resolve(base, ref string) (name string, ok bool) {
	name, ok = join(base, ref)
	return name, ok && ValidName(name)
}

// join is Resolve for references that may also end in a slash, as BaseURLs do.
func join(base, ref string) (string, bool) {
	ref = strings.TrimSpace(ref)
	if i := strings.IndexAny(ref, "?#"); i >= 0 {
		ref = ref[:i]
	}
	if ref == "" {
		return base, true
	}
	if len(ref) > 4*MaxName || ref[0] == '/' || hasScheme(ref) {
		return "", false
	}
	ref, err := url.PathUnescape(ref)
	if err != nil {
		return "", false
	}
	dir := base[:strings.LastIndexByte(base, '/')+1]
	return clean(dir + ref)
}

// hasScheme reports whether ref begins with a URI scheme (RFC 3986, 4.2: a
// relative reference has no colon in its first segment).
func hasScheme(ref string) bool {
	i := strings.IndexAny(ref, ":/")
	return i >= 0 && ref[i] == ':'
}

// clean removes "." and ".." elements; a trailing slash stays. It is false when
// the path leads above its beginning.
func clean(path string) (string, bool) {
	if !strings.Contains(path, ".") && !strings.Contains(path, "//") {
		return path, true
	}
	out := make([]string, 0, 8)
	elements := strings.Split(path, "/")
	for i, e := range elements {
		switch last := i == len(elements)-1; {
		case e == "..":
			if len(out) == 0 {
				return "", false
			}
			out = out[:len(out)-1]
			if last {
				out = append(out, "")
			}
		case e == "." || e == "":
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, e)
		}
	}
	return strings.Join(out, "/"), true
}

// IsManifest reports whether a name's extension is that of an HLS playlist or a
// DASH MPD.
func IsManifest(name string) bool {
	switch strings.ToLower(extension(name)) {
	case ".m3u8", ".m3u", ".mpd":
		return true
	}
	return false
}

// extension returns the extension of the last path element with its dot.
func extension(name string) string {
	file := name[strings.LastIndexByte(name, '/')+1:]
	if i := strings.LastIndexByte(file, '.'); i > 0 {
		return file[i:]
	}
	return ""
}

// sniff tells a playlist or an MPD by its first octets.
func sniff(body []byte) format {
	s := body[:min(len(body), 256)]
	text := strings.TrimLeft(strings.TrimPrefix(string(s), "\ufeff"), " \t\r\n")
	switch {
	case strings.HasPrefix(text, "#EXTM3U"):
		return formatHLS
	case strings.HasPrefix(text, "<?xml"), strings.HasPrefix(text, "<MPD"), strings.HasPrefix(text, "<!--"):
		return formatDASH
	}
	return formatUnknown
}

type format uint8

const (
	formatUnknown format = iota
	formatHLS
	formatDASH
)

// LooksLikeManifest reports whether the first octets of an object are those of
// an HLS playlist or a DASH MPD. Eight octets are enough.
func LooksLikeManifest(first []byte) bool {
	return sniff(first) != formatUnknown
}
