package route

import (
	"errors"
	"net/netip"
	"unicode/utf8"

	"github.com/treedn/treedn/route/sls"
)

// Session names the multicast channel of one ROUTE session: packets from
// Source to Group, at one UDP port (RFC 9223, section 2).
type Session struct {
	Source, Group netip.Addr
	Port          uint16
}

// maxObject is the most that start_offset, 32 bits wide, lets an object have.
const maxObject = 1<<32 - 1

// Codepoints that the Sender uses (RFC 9223, table 2).
const (
	cpFile    = sls.CPFile
	cpPackage = sls.CPPackage
	cpInit    = sls.CPInitNew
	cpMedia   = sls.CPMedia
	cpRepair  = 0 // left to the session
)

// The Protocol-Specific Indication of source and repair packets: bit X is SPI.
const (
	psiSource = 2
	psiRepair = 0
)

var (
	// ErrClosed is returned by methods of a transmission that has ended.
	ErrClosed = errors.New("route: transmission has ended")
	// ErrTooLarge is returned for an object beyond MaxObject.
	ErrTooLarge = errors.New("route: object exceeds MaxObject")
	// ErrBacklog is returned when MaxBuffered octets wait to be sent.
	ErrBacklog = errors.New("route: too many octets wait to be sent")
	// ErrName is returned for a name, or another announced string, that is
	// too long or cannot be written in XML. One such string would silence
	// the signalling of the whole session.
	ErrName = errors.New("route: name is empty, longer than 512 octets, or no text")
)

// maxName bounds a Content-Location, in octets.
const maxName = 512

func announceable(s string) bool {
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == 0xfffe || r == 0xffff {
			return false
		}
	}
	return utf8.ValidString(s)
}

// TrackKind is the kind of media in a track.
type TrackKind uint8

// Kinds of media.
const (
	Unknown TrackKind = iota
	Video
	Audio
	Text
)

// String returns the value of MediaInfo@contentType.
func (k TrackKind) String() string {
	switch k {
	case Video:
		return "video"
	case Audio:
		return "audio"
	case Text:
		return "subtitles"
	}
	return ""
}

func trackKind(contentType string) TrackKind {
	for _, k := range []TrackKind{Video, Audio, Text} {
		if k.String() == contentType {
			return k
		}
	}
	return Unknown
}

// A Work is a FEC computation that takes long enough to delay packets. Run it
// on any goroutine, then give it back to the Sender or Receiver that handed it
// out. A Work that is never given back leaks the memory of its object.
type Work struct {
	run    func()
	encode *encodeJob
	decode *decodeJob
	block  *blockJob
	grown  *blockDecode
	pool   *poolJob
	joint  *jointDecode
}

// Run does the computation. It touches no state of the Sender or Receiver.
func (w *Work) Run() { w.run() }
