package cmaf

import (
	"encoding/binary"
	"fmt"
	"io"
)

// TrackKind is the kind of media in a track, from its handler (8.4.3).
type TrackKind uint8

// The kinds of tracks.
const (
	Unknown TrackKind = iota
	Video
	Audio
	Text
)

// String returns "video", "audio", "text" or "unknown".
func (k TrackKind) String() string {
	return [...]string{"unknown", "video", "audio", "text"}[k&3]
}

// Init is what an initialization segment says of its tracks.
type Init struct {
	Tracks []Track
}

// Track describes one trak box.
type Track struct {
	ID        uint32
	Kind      TrackKind
	Timescale uint32 // ticks per second of all decode times

	// Codec is the RFC 6381 codecs parameter, as in "avc1.4d401e". It is the
	// bare sample entry type where the package does not know the codec.
	Codec string

	Width, Height uint16 // video, in pixels
	Channels      uint16 // audio, as the sample entry says: often 2 for mono
	SampleRate    uint32 // audio, in Hz

	// DefaultSampleFlags are those of trex.
	DefaultSampleFlags uint32
}

const (
	// maxTracks bounds the tracks of an initialization segment; CMAF allows one.
	maxTracks = 64

	maxTrakDepth = 4 // trak, mdia, minf, stbl
)

// ParseInit reads an initialization segment. b must hold the whole moov; boxes
// around it are passed over.
func ParseInit(b []byte) (*Init, error) {
	r := boxes{rest: b}
	for {
		x, ok, err := r.next()
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, &Error{Offset: r.off, Box: boxMoov, Err: io.ErrUnexpectedEOF}
		case x.typ == boxMoov:
			return parseMoov(&x)
		}
	}
}

// each calls f for every box within x.
func (x *box) each(f func(*box) error) error {
	for r := x.boxes(); ; {
		x, ok, err := r.next()
		if err != nil || !ok {
			return err
		}
		if err := f(&x); err != nil {
			return err
		}
	}
}

func parseMoov(moov *box) (*Init, error) {
	in := &Init{}
	defaults := make(map[uint32]uint32)
	err := moov.each(func(x *box) error {
		switch x.typ {
		case boxTrak:
			if len(in.Tracks) == maxTracks {
				return x.fail(ErrLimit)
			}
			var tr Track
			if err := parseTrak(&tr, x, 1); err != nil {
				return err
			}
			in.Tracks = append(in.Tracks, tr)
		case boxMvex:
			return x.each(func(x *box) error {
				if x.typ != boxTrex {
					return nil
				}
				if len(x.body) < 24 {
					return x.fail(ErrSize)
				}
				if len(defaults) < maxTracks {
					defaults[binary.BigEndian.Uint32(x.body[4:])] = binary.BigEndian.Uint32(x.body[20:])
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range in.Tracks {
		in.Tracks[i].DefaultSampleFlags = defaults[in.Tracks[i].ID]
	}
	return in, nil
}

// parseTrak reads the boxes of x, one of trak, mdia, minf, stbl.
func parseTrak(tr *Track, x *box, depth int) error {
	return x.each(func(x *box) error {
		body := x.body
		switch x.typ {
		case boxMdia, boxMinf, boxStbl:
			if depth == maxTrakDepth {
				return x.fail(ErrLimit)
			}
			return parseTrak(tr, x, depth+1)
		case boxTkhd, boxMdhd:
			// Version, flags, creation and modification time come first.
			n := 12
			if len(body) > 0 && body[0] != 0 {
				n = 20
			}
			if len(body) < n+4 {
				return x.fail(ErrSize)
			}
			if v := binary.BigEndian.Uint32(body[n:]); x.typ == boxTkhd {
				tr.ID = v
			} else {
				tr.Timescale = v
			}
		case boxHdlr:
			if len(body) < 12 {
				return x.fail(ErrSize)
			}
			switch string(body[8:12]) {
			case "vide":
				tr.Kind = Video
			case "soun":
				tr.Kind = Audio
			case "text", "subt", "sbtl":
				tr.Kind = Text
			}
		case boxStsd:
			if len(body) < 8 {
				return x.fail(ErrSize)
			}
			r := boxes{rest: body[8:], off: x.off + 8, inner: true}
			entry, ok, err := r.next()
			if err != nil {
				return err
			}
			if !ok {
				return x.fail(ErrSize)
			}
			return parseEntry(tr, &entry)
		}
		return nil
	})
}

// parseEntry reads a sample entry (8.5.2). Its layout depends on the handler,
// which comes before it: hdlr precedes minf.
func parseEntry(tr *Track, entry *box) error {
	tr.Codec = entry.typ.String()
	b := entry.body
	var fixed int
	switch tr.Kind {
	case Video:
		fixed = 78
	case Audio:
		fixed = 28
	default:
		return nil
	}
	if len(b) < fixed {
		return entry.fail(ErrSize)
	}
	if tr.Kind == Video {
		tr.Width = binary.BigEndian.Uint16(b[24:])
		tr.Height = binary.BigEndian.Uint16(b[26:])
	} else {
		tr.Channels = binary.BigEndian.Uint16(b[16:])
		tr.SampleRate = binary.BigEndian.Uint32(b[24:]) >> 16
	}
	inner := box{body: b[fixed:], off: entry.off + uint64(fixed)}
	return inner.each(func(x *box) error {
		codec, ok := tr.Codec, true
		switch x.typ.String() {
		case "avcC":
			codec, ok = avcCodec(entry.typ, x.body)
		case "hvcC":
			codec, ok = hevcCodec(entry.typ, x.body)
		case "av1C":
			codec, ok = av1Codec(entry.typ, x.body)
		case "vpcC":
			codec, ok = vpCodec(entry.typ, x.body)
		case "esds":
			codec, ok = aacCodec(x.body)
		case "dOps":
			codec = "opus"
		case "dfLa":
			codec = "flac"
		}
		if !ok {
			return x.fail(ErrSize)
		}
		tr.Codec = codec
		return nil
	})
}

// avcCodec reads AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3).
func avcCodec(entry BoxType, b []byte) (string, bool) {
	if len(b) < 4 {
		return "", false
	}
	return fmt.Sprintf("%s.%02x%02x%02x", entry, b[1], b[2], b[3]), true
}

// hevcCodec reads HEVCDecoderConfigurationRecord; the text form is in ISO/IEC
// 14496-15, annex E.3.
func hevcCodec(entry BoxType, b []byte) (string, bool) {
	if len(b) < 13 {
		return "", false
	}
	space := [...]string{"", "A", "B", "C"}[b[1]>>6]
	tier := "L"
	if b[1]&0x20 != 0 {
		tier = "H"
	}
	compat := binary.BigEndian.Uint32(b[2:])
	var rev uint32
	for i := range 32 {
		rev |= compat >> i & 1 << (31 - i)
	}
	s := fmt.Sprintf("%s.%s%d.%x.%s%d", entry, space, b[1]&0x1f, rev, tier, b[12])
	constraints := b[6:12]
	for len(constraints) > 0 && constraints[len(constraints)-1] == 0 {
		constraints = constraints[:len(constraints)-1]
	}
	for _, c := range constraints {
		s += fmt.Sprintf(".%x", c)
	}
	return s, true
}

// av1Codec reads AV1CodecConfigurationRecord (AV1 in ISOBMFF, section 5).
func av1Codec(entry BoxType, b []byte) (string, bool) {
	if len(b) < 4 {
		return "", false
	}
	tier, depth := "M", 8
	if b[2]&0x80 != 0 {
		tier = "H"
	}
	switch profile := b[1] >> 5; {
	case b[2]&0x40 != 0 && profile == 2 && b[2]&0x20 != 0:
		depth = 12
	case b[2]&0x40 != 0:
		depth = 10
	}
	return fmt.Sprintf("%s.%d.%02d%s.%02d", entry, b[1]>>5, b[1]&0x1f, tier, depth), true
}

// vpCodec reads VPCodecConfigurationRecord, after version and flags.
func vpCodec(entry BoxType, b []byte) (string, bool) {
	if len(b) < 7 {
		return "", false
	}
	return fmt.Sprintf("%s.%02d.%02d.%02d", entry, b[4], b[5], b[6]>>4), true
}

// aacCodec reads the object type indication and, for MPEG-4 audio, the audio
// object type from an ES descriptor (ISO/IEC 14496-1, 7.2.6.5).
func aacCodec(b []byte) (string, bool) {
	if len(b) < 4 {
		return "", false
	}
	body, ok := descriptor(b[4:], 3)
	if !ok || len(body) < 3 {
		return "", false
	}
	n, flags := 3, body[2]
	if flags&0x80 != 0 { // depends on another stream
		n += 2
	}
	if flags&0x40 != 0 { // URL
		if len(body) <= n {
			return "", false
		}
		n += 1 + int(body[n])
	}
	if flags&0x20 != 0 { // OCR stream
		n += 2
	}
	if len(body) < n {
		return "", false
	}
	config, ok := descriptor(body[n:], 4)
	if !ok || len(config) < 13 {
		return "", false
	}
	oti := config[0]
	if oti != 0x40 {
		return fmt.Sprintf("mp4a.%02x", oti), true
	}
	specific, ok := descriptor(config[13:], 5)
	if !ok || len(specific) < 2 {
		return "", false
	}
	aot := int(specific[0] >> 3)
	if aot == 31 {
		aot = 32 + int(specific[0]&7)<<3 + int(specific[1]>>5)
	}
	return fmt.Sprintf("mp4a.40.%d", aot), true
}

// descriptor returns the body of the MPEG-4 descriptor with the given tag at
// the start of b.
func descriptor(b []byte, tag byte) ([]byte, bool) {
	if len(b) == 0 || b[0] != tag {
		return nil, false
	}
	size := 0
	for i := 1; i < len(b) && i <= 4; i++ {
		size = size<<7 | int(b[i]&0x7f)
		if b[i]&0x80 == 0 {
			if size > len(b)-i-1 {
				return nil, false
			}
			return b[i+1 : i+1+size], true
		}
	}
	return nil, false
}
