package ingest

import (
	"strings"

	"github.com/treedn/treedn/internal/manifest"
)

// pathPrefix is where publishers put their objects.
const pathPrefix = "/publish/"

// target is what a request's path names.
type target struct {
	channel string
	key     string // the stream key in the path, "" if there is none
	name    string
}

// parsePath reads /publish/<channel>/[<key>/]<name...> from a decoded path. The
// key is told from a directory by its prefix; one that an operator chose without
// it is found by authorize. ok is false for anything that
// names no object.
func parsePath(path string) (t target, ok bool) {
	rest, ok := strings.CutPrefix(path, pathPrefix)
	if !ok {
		return target{}, false
	}
	t.channel, rest, ok = strings.Cut(rest, "/")
	if !ok || !ValidChannel(t.channel) {
		return target{}, false
	}
	if strings.HasPrefix(rest, KeyPrefix) {
		if t.key, rest, ok = strings.Cut(rest, "/"); !ok {
			return target{}, false
		}
	}
	t.name = rest
	// A key in the wrong place must not become a name: names are published.
	return t, manifest.ValidName(rest) && !strings.Contains(rest, KeyPrefix)
}

// ValidChannel reports whether s can be the name of a channel: up to 64 letters,
// digits, dots, hyphens and underscores, beginning with a letter or digit.
func ValidChannel(s string) bool {
	if s == "" || len(s) > 64 || strings.Contains(s, KeyPrefix) {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && (c == '-' || c == '_' || c == '.'):
		default:
			return false
		}
	}
	return true
}

// contentType is the media type of an object: by extension where players depend
// on it, else what the publisher says.
func contentType(name, announced string, kind manifest.Kind) string {
	switch extension(name) {
	case "m3u8", "m3u":
		return "application/vnd.apple.mpegurl"
	case "mpd":
		return "application/dash+xml"
	case "m4s", "mp4", "cmfv", "m4v":
		switch kind {
		case manifest.Audio:
			return "audio/mp4"
		case manifest.Text:
			return "application/mp4"
		}
		return "video/mp4"
	case "m4a", "cmfa":
		return "audio/mp4"
	case "cmft":
		return "application/mp4"
	case "ts":
		return "video/mp2t"
	case "aac":
		return "audio/aac"
	case "vtt":
		return "text/vtt"
	}
	if announced == "" || len(announced) > 128 || strings.HasPrefix(announced, "application/x-www-form-urlencoded") {
		return "application/octet-stream"
	}
	return announced
}

// isSegment reports whether the extension is one that packagers give to media
// segments that carry no boxes to tell them by.
func isSegment(name string) bool {
	switch extension(name) {
	case "ts", "aac", "vtt", "m4s", "cmfv", "cmfa", "cmft", "webm", "ac3", "ec3", "mp3":
		return true
	}
	return false
}

// extension returns the lower-case extension of a name without its dot.
func extension(name string) string {
	file := name[strings.LastIndexByte(name, '/')+1:]
	return strings.ToLower(file[strings.LastIndexByte(file, '.')+1:])
}
