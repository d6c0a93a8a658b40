package cmaf

import (
	"encoding/binary"
)

// walker holds the place within the boxes. It enters moof, traf, moov and mvex,
// collects the first octets of the boxes in them that matter and skips the rest.
type walker struct {
	mode  mode
	depth int
	open  [maxDepth]struct {
		typ        BoxType
		start, end uint64
	}

	// A header or the start of a field box may straddle calls of Next: have
	// holds its first nhave octets.
	have  [fieldLen]byte
	nhave int

	traf traf

	// The sample defaults of trex, by track.
	defaults  [maxDefaults]struct{ track, flags uint32 }
	ndefaults int
}

type mode uint8

const (
	inHeader mode = iota // collecting a box header
	inField              // collecting the start of the innermost box
	skipping             // passing over the rest of the innermost box
)

const (
	maxDepth = 3 // moof/traf/tfhd

	// fieldLen is what the largest field box needs: a trun to the end of its
	// first sample, a tfhd with all optional fields.
	fieldLen = 32

	// maxDefaults bounds the tracks whose trex is remembered.
	maxDefaults = 16
)

// traf is what the walker knows of the track fragment that it is in.
type traf struct {
	track    uint32
	flags    uint32
	hasFlags bool
	hasRun   bool
}

func (w *walker) addDefault(track, flags uint32) {
	for i := range w.defaults[:w.ndefaults] {
		if w.defaults[i].track == track {
			w.defaults[i].flags = flags
			return
		}
	}
	if w.ndefaults < maxDefaults {
		w.defaults[w.ndefaults].track = track
		w.defaults[w.ndefaults].flags = flags
		w.ndefaults++
	}
}

// header collects a box header and opens the box.
func (s *Splitter) header(b []byte) (n int, ev Kind, err error) {
	w := &s.walk
	need := headerLen
	if w.nhave >= headerLen {
		need = headerLen64
	}
	for {
		k := min(need-w.nhave, len(b)-n)
		copy(w.have[w.nhave:], b[n:n+k])
		n, w.nhave, s.off = n+k, w.nhave+k, s.off+uint64(k)
		if w.nhave < need {
			return n, None, nil
		}
		t, size, hlen, more := header(w.have[:w.nhave])
		if more > 0 {
			need = more
			continue
		}
		ev, err = s.openBox(t, size, uint64(hlen))
		w.nhave = 0
		return n, ev, err
	}
}

// openBox is called with s.off at the end of the box's header.
func (s *Splitter) openBox(t BoxType, size, hlen uint64) (ev Kind, err error) {
	w := &s.walk
	start := s.off - hlen
	fail := func(err error) (Kind, error) { return None, &Error{Offset: start, Box: t, Err: err} }
	if size < hlen {
		return fail(ErrSize)
	}
	end := start + size
	switch {
	case w.depth > 0:
		// Only the last box of the file may reach to its end (4.2), so size 0
		// within another box is an error like any other excess.
		if parent := w.open[w.depth-1].end; size == toTheEnd || end < start || end > parent {
			return fail(ErrSize)
		}
		if end-s.start > s.limit() { // the parent may have no end
			return fail(ErrLimit)
		}
	case size == toTheEnd:
		end = toTheEnd
		if ev, err = s.enter(t, start); err != nil {
			return None, err
		}
	default:
		if ev, err = s.enter(t, start); err != nil {
			return None, err
		}
		if end < start || end-s.start > s.limit() {
			return fail(ErrLimit)
		}
	}

	parent := BoxType(0)
	if w.depth > 0 {
		parent = w.open[w.depth-1].typ
	}
	o := &w.open[w.depth]
	o.typ, o.start, o.end = t, start, end
	w.depth++
	w.mode = skipping
	switch parent {
	case 0:
		if t == boxMoof || t == boxMoov {
			w.mode = inHeader
		}
	case boxMoov:
		if t == boxMvex {
			w.mode = inHeader
		}
	case boxMvex:
		if t == boxTrex {
			w.mode = inField
		}
	case boxMoof:
		switch t {
		case boxTraf:
			w.mode = inHeader
			w.traf = traf{}
			s.chunk.Tracks++
			if s.chunk.Tracks == 1 {
				s.chunk.Sync = true // until a track says otherwise
			}
		case boxMfhd:
			w.mode = inField
		}
	case boxTraf:
		if t == boxTfhd || t == boxTfdt || t == boxTrun {
			w.mode = inField
		}
	}
	return ev, nil
}

// skip passes over at most n octets of the innermost box.
func (s *Splitter) skip(n int) (int, error) {
	o := &s.walk.open[s.walk.depth-1]
	if o.end == toTheEnd {
		left := s.limit() - (s.off - s.start)
		if left == 0 {
			return 0, &Error{Offset: o.start, Box: o.typ, Err: ErrLimit}
		}
		n = int(min(uint64(n), left))
	} else {
		n = int(min(uint64(n), o.end-s.off))
	}
	s.off += uint64(n)
	return n, nil
}

// field collects the first octets of the innermost box and evaluates them.
func (s *Splitter) field(b []byte) (int, error) {
	w := &s.walk
	o := &w.open[w.depth-1]
	need := int(min(o.end-s.off+uint64(w.nhave), fieldLen))
	n := min(need-w.nhave, len(b))
	copy(w.have[w.nhave:], b[:n])
	w.nhave += n
	s.off += uint64(n)
	if w.nhave < need {
		return n, nil
	}
	if !s.evaluate(o.typ, w.have[:w.nhave]) {
		return n, &Error{Offset: o.start, Box: o.typ, Err: ErrSize}
	}
	w.nhave = 0
	w.mode = skipping
	return n, nil
}

// closeBoxes closes all boxes that end here.
func (s *Splitter) closeBoxes() Kind {
	w := &s.walk
	// A field box is only complete once its field has been evaluated.
	for w.mode != inField && w.nhave == 0 && w.depth > 0 && w.open[w.depth-1].end == s.off {
		w.depth--
		w.mode = inHeader
		t := w.open[w.depth].typ
		if w.depth == 0 {
			return s.leave(t)
		}
		if t == boxTraf && !w.traf.hasRun {
			s.chunk.Sync = false
		}
	}
	return None
}

// evaluate reads the fields of b, the start of the body of a box of type t. It
// returns false if b is too short for them.
func (s *Splitter) evaluate(t BoxType, b []byte) bool {
	if len(b) < 8 {
		return false
	}
	w := &s.walk
	flags := binary.BigEndian.Uint32(b) & 0xffffff
	first := s.chunk.Tracks == 1
	switch t {
	case boxMfhd:
		s.chunk.Sequence = binary.BigEndian.Uint32(b[4:])
	case boxTrex:
		if len(b) < 24 {
			return false
		}
		w.addDefault(binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[20:]))
	case boxTfhd:
		w.traf.track = binary.BigEndian.Uint32(b[4:])
		if first {
			s.chunk.TrackID = w.traf.track
		}
		f, at, ok := defaultFlags(flags, b)
		w.traf.flags, w.traf.hasFlags = f, at
		return ok
	case boxTfdt:
		v := uint64(binary.BigEndian.Uint32(b[4:]))
		if b[0] != 0 {
			if len(b) < 12 {
				return false
			}
			v = binary.BigEndian.Uint64(b[4:])
		}
		if first && !s.chunk.HasDecodeTime {
			s.chunk.BaseDecodeTime, s.chunk.HasDecodeTime = v, true
		}
	case boxTrun:
		if w.traf.hasRun || binary.BigEndian.Uint32(b[4:]) == 0 {
			return true // the first sample is in an earlier run, or a later one
		}
		w.traf.hasRun = true
		f, at, ok := firstSampleFlags(flags, b)
		if !ok {
			return false
		}
		if !at {
			f = w.sampleDefault()
		}
		if f&sampleIsNonSync != 0 {
			s.chunk.Sync = false
		}
	}
	return true
}

// sampleIsNonSync is sample_is_non_sync_sample of the sample flags (8.8.3.1).
const sampleIsNonSync = 0x00010000

// The flags that make optional fields of tfhd (8.8.7.1) and trun (8.8.8.1)
// present, in the order of the fields.
const (
	tfhdBaseDataOffset = 0x000001
	tfhdDescription    = 0x000002
	tfhdDuration       = 0x000008
	tfhdSize           = 0x000010
	tfhdFlags          = 0x000020

	trunDataOffset       = 0x000001
	trunFirstSampleFlags = 0x000004
	trunDuration         = 0x000100
	trunSize             = 0x000200
	trunFlags            = 0x000400
)

// defaultFlags reads default_sample_flags from the body of a tfhd.
func defaultFlags(flags uint32, b []byte) (f uint32, present, ok bool) {
	n := 8
	if flags&tfhdBaseDataOffset != 0 {
		n += 8
	}
	for _, bit := range [...]uint32{tfhdDescription, tfhdDuration, tfhdSize} {
		if flags&bit != 0 {
			n += 4
		}
	}
	if flags&tfhdFlags == 0 {
		return 0, false, len(b) >= n
	}
	if len(b) < n+4 {
		return 0, false, false
	}
	return binary.BigEndian.Uint32(b[n:]), true, true
}

// firstSampleFlags reads the flags of the first sample from the body of a trun:
// first_sample_flags if there, else those in the sample's own entry.
func firstSampleFlags(flags uint32, b []byte) (f uint32, present, ok bool) {
	n := 8
	if flags&trunDataOffset != 0 {
		n += 4
	}
	if flags&trunFirstSampleFlags == 0 {
		if flags&trunFlags == 0 {
			return 0, false, len(b) >= n
		}
		for _, bit := range [...]uint32{trunDuration, trunSize} {
			if flags&bit != 0 {
				n += 4
			}
		}
	}
	if len(b) < n+4 {
		return 0, false, false
	}
	return binary.BigEndian.Uint32(b[n:]), true, true
}

// sampleDefault returns the sample flags that hold where a trun has none: those
// of tfhd, else those of trex. Without either, 0: a sync sample.
func (w *walker) sampleDefault() uint32 {
	if w.traf.hasFlags {
		return w.traf.flags
	}
	for i := range w.defaults[:w.ndefaults] {
		if w.defaults[i].track == w.traf.track {
			return w.defaults[i].flags
		}
	}
	return 0
}
