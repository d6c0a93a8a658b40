package manifest

import "strings"

// Kind is what a track carries.
type Kind uint8

// The kinds of tracks. A track of several is that of its first in this order.
const (
	Unknown Kind = iota
	Video
	Audio
	Text
)

// String returns the kind in lower case, as contentType writes it.
func (k Kind) String() string {
	switch k {
	case Video:
		return "video"
	case Audio:
		return "audio"
	case Text:
		return "text"
	}
	return "unknown"
}

// kindOf decides by what a manifest says, the most direct statement first:
// contentType, then the MIME type, then the codecs.
func kindOf(contentType, mimeType, codecs string) Kind {
	for _, s := range []string{contentType, mimeType} {
		main, sub, _ := strings.Cut(strings.ToLower(s), "/")
		switch main {
		case "video":
			return Video
		case "audio":
			return Audio
		case "text":
			return Text
		case "application":
			if strings.HasPrefix(sub, "ttml") {
				return Text
			}
		}
	}
	return kindOfCodecs(codecs)
}

// kindOfCodecs decides by an RFC 6381 list; video wins over audio over text,
// since the list of an HLS variant names the audio of its groups too.
func kindOfCodecs(codecs string) Kind {
	kind := Unknown
	for codec := range strings.SplitSeq(codecs, ",") {
		fourcc, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(codec)), ".")
		var k Kind
		switch fourcc {
		case "avc1", "avc3", "hvc1", "hev1", "vvc1", "vvi1", "av01", "vp08", "vp09", "vp8", "vp9", "dvh1", "dvhe", "mp4v":
			k = Video
		case "mp4a", "ac-3", "ec-3", "ac-4", "opus", "flac", "alac", "dtsc", "dtse", "dtsh", "dtsl", "dtsx", "mha1", "mhm1":
			k = Audio
		case "stpp", "wvtt", "stxt":
			k = Text
		default:
			continue
		}
		if kind == Unknown || k < kind {
			kind = k
		}
	}
	return kind
}
