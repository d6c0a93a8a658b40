package cmaf

import (
	"io"
)

// Config holds the limits of a Splitter. The zero value has the defaults.
type Config struct {
	// MaxInit bounds an initialization segment (ftyp to the end of moov), in
	// octets. Default 1 MiB.
	MaxInit uint64
	// MaxFragment bounds a chunk with all boxes before its moof, in octets.
	// Default 16 MiB.
	MaxFragment uint64
}

const (
	defaultMaxInit     = 1 << 20
	defaultMaxFragment = 16 << 20
)

// Kind says what Next has come to.
type Kind uint8

const (
	// None: the input ran out before the next boundary.
	None Kind = iota
	// SegmentStart: a styp box has begun and its header has been consumed;
	// Start is the segment's first octet. DASH and HLS packagers write one styp
	// per segment. Where a packager writes one per chunk, Chunk.Sync tells
	// which of them begins a segment.
	SegmentStart
	// InitEnd: an initialization segment is complete.
	InitEnd
	// MoofEnd: a moof is complete and its mdat comes next; Chunk is filled in.
	MoofEnd
	// ChunkEnd: a chunk's mdat is complete; Chunk is filled in.
	ChunkEnd
)

// String returns the name of the constant.
func (k Kind) String() string {
	switch k {
	case None:
		return "None"
	case SegmentStart:
		return "SegmentStart"
	case InitEnd:
		return "InitEnd"
	case MoofEnd:
		return "MoofEnd"
	case ChunkEnd:
		return "ChunkEnd"
	}
	return "Kind(?)"
}

// Event is a boundary. Start and End count octets from the first one given to
// the Splitter; End is where the Splitter stands now. Initialization segments
// and chunks leave no gap: each starts where the one before it ended, so boxes
// that CMAF does not know count to what follows them.
type Event struct {
	Kind  Kind
	Start uint64 // of the initialization segment, or of the chunk with its prefix
	End   uint64
	Chunk Chunk // for MoofEnd and ChunkEnd
}

// Chunk is what the boxes before mdat say.
type Chunk struct {
	// Prefix is the set of boxes before the moof.
	Prefix Boxes
	// Sequence is the sequence_number of mfhd.
	Sequence uint32
	// Tracks is the number of traf boxes. CMAF allows one; muxed streams, as
	// FFmpeg pushes them into one file, have more.
	Tracks int
	// TrackID and BaseDecodeTime are those of the first traf. HasDecodeTime is
	// false if that has no tfdt.
	TrackID        uint32
	BaseDecodeTime uint64
	HasDecodeTime  bool
	// Sync is true if the first sample of every track is a sync sample: a
	// player may start here. (Every audio sample is one, hence "every".)
	Sync bool
}

// Boxes is a set of the boxes that CMAF allows before a moof.
type Boxes uint8

// The members of Boxes.
const (
	Styp Boxes = 1 << iota
	Prft
	Emsg
	Sidx
	Other // unknown, or free, skip, uuid and the like
)

// A Splitter finds the boundaries in one CMAF byte stream: one HTTP request's
// body, say. The zero value has the default limits. It is not safe for
// concurrent use.
type Splitter struct {
	cfg   Config
	err   error
	phase phase
	off   uint64 // octets consumed
	start uint64 // of the current initialization segment or chunk
	chunk Chunk
	walk  walker
}

// NewSplitter returns a Splitter with the limits of cfg.
func NewSplitter(cfg Config) *Splitter {
	return &Splitter{cfg: cfg}
}

// phase is the place in the grammar
//
//	stream = *( [ftyp] moov / *prefix moof mdat ), unknown boxes anywhere
type phase uint8

const (
	atBoundary phase = iota
	inInit           // ftyp seen, moov to come
	inPrefix         // styp, prft, emsg or sidx seen, moof to come
	inChunk          // moof seen, mdat to come
)

// Reset makes s ready for another stream with the same limits. The defaults
// learnt from a moov or by UseInit stay.
func (s *Splitter) Reset() {
	*s = Splitter{cfg: s.cfg, walk: walker{defaults: s.walk.defaults, ndefaults: s.walk.ndefaults}}
}

// UseInit tells s the sample defaults of an initialization segment that came by
// another way. Packagers that state the sample flags in each fragment, FFmpeg
// among them, do not need it.
func (s *Splitter) UseInit(in *Init) {
	s.walk.ndefaults = 0
	for i := range in.Tracks {
		s.walk.addDefault(in.Tracks[i].ID, in.Tracks[i].DefaultSampleFlags)
	}
}

// Offset is the number of octets consumed so far.
func (s *Splitter) Offset() uint64 { return s.off }

// Next consumes b up to and including the next boundary, or all of it, and
// reports the boundary. n is the number of octets consumed; call it again with
// b[n:] while that is not empty. The boundaries do not depend on how the stream
// is cut into calls. b is not retained.
//
// An error is final: further calls return it until Reset. The n octets have
// been consumed then, too; the last of them lies in the header or in a field of
// the box that is wrong.
func (s *Splitter) Next(b []byte) (n int, ev Event, err error) {
	if s.err != nil {
		return 0, Event{}, s.err
	}
	w := &s.walk
	for n < len(b) {
		var k int // consumed by this step
		switch w.mode {
		case skipping:
			k, err = s.skip(len(b) - n)
		case inHeader:
			k, ev.Kind, err = s.header(b[n:])
		case inField:
			k, err = s.field(b[n:])
		}
		n += k
		if err != nil {
			s.err = err
			return n, Event{}, err
		}
		if ev.Kind == None {
			ev.Kind = s.closeBoxes()
		}
		if ev.Kind != None {
			return n, s.event(ev.Kind), nil
		}
	}
	return n, Event{}, nil
}

// Finish tells s that the stream has ended. It returns the last boundary if the
// last box is one that reaches to the end of the stream, and an error that
// matches io.ErrUnexpectedEOF if the stream is not complete: within a box or
// between moof and mdat.
func (s *Splitter) Finish() (Event, error) {
	if s.err != nil {
		return Event{}, s.err
	}
	w := &s.walk
	if w.depth == 1 && w.open[0].end == toTheEnd && (w.mode == skipping || w.mode == inHeader && w.nhave == 0) {
		w.open[0].end = s.off
		if k := s.closeBoxes(); k != None && k != MoofEnd {
			return s.event(k), nil
		}
	}
	if w.depth > 0 || w.nhave > 0 || s.phase == inInit || s.phase == inChunk {
		e := &Error{Offset: s.off - uint64(w.nhave), Err: io.ErrUnexpectedEOF}
		if w.depth > 0 {
			e.Offset, e.Box = w.open[0].start, w.open[0].typ
		}
		s.err = e
		return Event{}, e
	}
	return Event{}, nil
}

func (s *Splitter) event(k Kind) Event {
	ev := Event{Kind: k, Start: s.start, End: s.off}
	if k == MoofEnd || k == ChunkEnd {
		ev.Chunk = s.chunk
	}
	if k == InitEnd || k == ChunkEnd {
		s.start = s.off
		s.chunk = Chunk{}
	}
	return ev
}

// limit is the number of octets that the current unit may have.
func (s *Splitter) limit() uint64 {
	if s.phase == inInit {
		if s.cfg.MaxInit == 0 {
			return defaultMaxInit
		}
		return s.cfg.MaxInit
	}
	if s.cfg.MaxFragment == 0 {
		return defaultMaxFragment
	}
	return s.cfg.MaxFragment
}

// enter applies the grammar to a box that begins at the top level.
func (s *Splitter) enter(t BoxType, start uint64) (Kind, error) {
	fail := func() (Kind, error) { return None, &Error{Offset: start, Box: t, Err: ErrOrder} }
	switch t {
	case boxFtyp, boxMoov:
		if s.phase != atBoundary && (s.phase != inInit || t == boxFtyp) {
			return fail()
		}
		s.phase = inInit
	case boxStyp:
		if s.phase == inInit || s.phase == inChunk || s.chunk.Prefix&Styp != 0 {
			return fail()
		}
		s.phase = inPrefix
		s.chunk.Prefix |= Styp
		return SegmentStart, nil
	case boxPrft, boxEmsg, boxSidx:
		if s.phase == inInit || s.phase == inChunk {
			return fail()
		}
		s.phase = inPrefix
		switch t {
		case boxPrft:
			s.chunk.Prefix |= Prft
		case boxEmsg:
			s.chunk.Prefix |= Emsg
		default:
			s.chunk.Prefix |= Sidx
		}
	case boxMoof:
		if s.phase == inInit || s.phase == inChunk {
			return fail()
		}
		s.phase = inChunk
	case boxMdat:
		if s.phase != inChunk {
			return fail()
		}
	default:
		if s.phase == atBoundary || s.phase == inPrefix {
			s.chunk.Prefix |= Other
		}
	}
	return None, nil
}

// leave applies the grammar to a box that has ended at the top level.
func (s *Splitter) leave(t BoxType) Kind {
	switch t {
	case boxMoov:
		s.phase = atBoundary
		return InitEnd
	case boxMoof:
		return MoofEnd
	case boxMdat:
		s.phase = atBoundary
		return ChunkEnd
	}
	return None
}
