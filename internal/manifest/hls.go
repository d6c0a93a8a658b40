package manifest

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Playlist is an HLS playlist. Its URIs are as written.
type Playlist struct {
	// Master tells a multivariant playlist, which has only Children, from a
	// media playlist, which has everything else.
	Master   bool
	Children []Child

	TargetDuration  time.Duration // EXT-X-TARGETDURATION
	PartTarget      time.Duration // EXT-X-PART-INF:PART-TARGET; 0 without parts
	MediaSequence   uint64        // of the first segment; never falls (RFC 8216, 6.2.2)
	EndList         bool
	Blocks          bool // EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD
	Segments        []Segment
	Parts           []string // parts of the segment that is still being made
	Hints           []string // EXT-X-PRELOAD-HINT
	RenditionReport []string // playlists named by EXT-X-RENDITION-REPORT
}

// A Child is a media playlist that a multivariant playlist names.
type Child struct {
	URI  string
	Kind Kind
}

// A Segment is a media segment of a playlist.
type Segment struct {
	URI       string
	Map       string // URI of the EXT-X-MAP in force, "" without one
	Parts     []string
	Duration  time.Duration
	ByteRange bool // the segment is a part of the resource (EXT-X-BYTERANGE)
}

// ParsePlaylist reads an HLS playlist. Unknown tags and malformed attributes are
// passed over, as RFC 8216, 6.3.1 demands of clients; only a body that does not
// begin with #EXTM3U or breaks a limit is refused. The result copies what it
// needs of body.
func ParsePlaylist(body []byte, limits Limits) (*Playlist, error) {
	limits = limits.withDefaults()
	if len(body) > limits.Octets {
		return nil, tooLarge("octets", limits.Octets)
	}
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	s := scanner{limits: limits}
	first := true
	for n := 0; len(body) > 0; n++ {
		if n == limits.Entries {
			return nil, tooLarge("lines", limits.Entries)
		}
		var raw []byte
		raw, body, _ = bytes.Cut(body, []byte("\n"))
		line := strings.TrimSpace(string(raw))
		if first {
			if line != "#EXTM3U" {
				return nil, fmt.Errorf("%w: no #EXTM3U", ErrFormat)
			}
			first = false
			continue
		}
		if err := s.line(line); err != nil {
			return nil, err
		}
	}
	if first {
		return nil, fmt.Errorf("%w: empty", ErrFormat)
	}
	s.out.Parts = s.parts
	return &s.out, nil
}

// scanner carries what a tag says about lines after it.
type scanner struct {
	limits    Limits
	out       Playlist
	initMap   string
	parts     []string
	duration  time.Duration
	byteRange bool
	variant   *Kind // of the EXT-X-STREAM-INF that waits for its URI
}

func (s *scanner) line(line string) error {
	switch {
	case line == "":
		return nil
	case line[0] != '#':
		return s.uri(line)
	case !strings.HasPrefix(line, "#EXT"):
		return nil
	}
	tag, value, _ := strings.Cut(line, ":")
	switch tag {
	case "#EXT-X-TARGETDURATION":
		s.out.TargetDuration = seconds(value)
	case "#EXT-X-MEDIA-SEQUENCE":
		s.out.MediaSequence, _ = strconv.ParseUint(strings.TrimSpace(value), 10, 64)
	case "#EXT-X-ENDLIST":
		s.out.EndList = true
	case "#EXT-X-SERVER-CONTROL":
		s.out.Blocks = attribute(value, "CAN-BLOCK-RELOAD") == "YES"
	case "#EXTINF":
		duration, _, _ := strings.Cut(value, ",")
		s.duration = seconds(duration)
	case "#EXT-X-BYTERANGE":
		s.byteRange = true
	case "#EXT-X-MAP":
		s.initMap = attribute(value, "URI")
	case "#EXT-X-PART-INF":
		s.out.PartTarget = seconds(attribute(value, "PART-TARGET"))
	case "#EXT-X-PART":
		if uri := attribute(value, "URI"); uri != "" {
			s.parts = append(s.parts, uri)
		}
	case "#EXT-X-PRELOAD-HINT":
		if uri := attribute(value, "URI"); uri != "" {
			s.out.Hints = append(s.out.Hints, uri)
		}
	case "#EXT-X-RENDITION-REPORT":
		if uri := attribute(value, "URI"); uri != "" {
			s.out.RenditionReport = append(s.out.RenditionReport, uri)
		}
	case "#EXT-X-STREAM-INF":
		kind := kindOfCodecs(attribute(value, "CODECS"))
		if kind == Unknown && attribute(value, "RESOLUTION") != "" {
			kind = Video
		}
		s.out.Master, s.variant = true, &kind
	case "#EXT-X-I-FRAME-STREAM-INF":
		return s.child(attribute(value, "URI"), Video)
	case "#EXT-X-MEDIA":
		s.out.Master = true
		kind := Unknown
		switch attribute(value, "TYPE") {
		case "VIDEO":
			kind = Video
		case "AUDIO":
			kind = Audio
		case "SUBTITLES":
			kind = Text
		}
		// Without a URI the rendition is inside the variant's own playlist.
		return s.child(attribute(value, "URI"), kind)
	}
	return nil
}

func (s *scanner) child(uri string, kind Kind) error {
	s.out.Master = true
	if uri == "" {
		return nil
	}
	if len(s.out.Children) == s.limits.Tracks {
		return tooLarge("child playlists", s.limits.Tracks)
	}
	s.out.Children = append(s.out.Children, Child{URI: uri, Kind: kind})
	return nil
}

func (s *scanner) uri(uri string) error {
	if s.variant != nil {
		kind := *s.variant
		s.variant = nil
		return s.child(uri, kind)
	}
	s.out.Segments = append(s.out.Segments, Segment{
		URI: uri, Map: s.initMap, Parts: s.parts, Duration: s.duration, ByteRange: s.byteRange,
	})
	s.parts, s.duration, s.byteRange = nil, 0, false
	return nil
}

// seconds reads a decimal number of seconds; what is none, negative or beyond a
// day is 0.
func seconds(s string) time.Duration {
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > 86400 {
		return 0
	}
	return time.Duration(f * float64(time.Second))
}

// attribute returns the value of one attribute of an attribute list (RFC 8216,
// 4.2) without its quotes, "" if there is none.
func attribute(list, name string) string {
	for list != "" {
		key, rest, ok := strings.Cut(list, "=")
		if !ok {
			return ""
		}
		var value string
		if strings.HasPrefix(rest, `"`) {
			value, rest, ok = strings.Cut(rest[1:], `"`)
			if !ok {
				return ""
			}
			_, rest, _ = strings.Cut(rest, ",")
		} else {
			value, rest, _ = strings.Cut(rest, ",")
		}
		if strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
		list = rest
	}
	return ""
}
