package clip

import (
	"time"

	"github.com/treedn/treedn/internal/cmaf"
)

// Config describes the channel. The zero value has the defaults.
type Config struct {
	// Start is the instant at which segment 1 begins. It may lie in the past:
	// the source then joins its time line at the segment of the present, as one
	// that has been running since. Times are kept to the millisecond. Default:
	// the time of the first Poll.
	Start time.Time
	// Window is the number of complete segments that the manifests offer.
	// Default 8.
	Window int
	// UTCTiming is a URL that answers with the time in ISO 8601, for the MPD. Default: none; players trust the clock of their own machine.
	UTCTiming string
}

// Part is some octets of one object. The parts of an object come in order;
// those of different objects interleave.
type Part struct {
	Name        string // as FFmpeg would call it, without a path
	ContentType string
	// Stream and Number tell media segments apart: Number counts from 1, and
	// is 0 for all else. Stream is -1 for manifests.
	Stream int
	Number uint64
	// Body holds the next octets. It is valid until the next call of Poll.
	Body []byte
	// First and Last mark the beginning and the end of the object. Initialization
	// segments and manifests come as one part with both.
	First, Last bool
	// Abort says that the rest of the object will never come. Body is empty.
	Abort bool
}

// A Source is the clip as an endless live channel, without sockets and without
// a clock of its own. The zero value is ready to use. It is not safe for
// concurrent use.
type Source struct {
	cfg    Config
	start  time.Time // zero until the first Poll
	tracks []liveTrack
	queue  []Part // initialization segments and manifests, ahead of media
	buf    []byte
}

// liveTrack is a track with its place on the time line.
type liveTrack struct {
	*track
	stream int
	number uint64 // of the segment under way, from 1
	next   int    // part of it that is next: 0 is styp, i is chunk i-1
	name   string

	// Complete segments from first up to number-1 may be offered.
	first uint64
}

// NewSource returns a source for cfg.
func NewSource(cfg Config) *Source {
	return &Source{cfg: cfg}
}

// maxLag is how far the source may fall behind before it skips to the present.
const maxLag = 2 * segmentDuration

// Poll returns the next part that is due at now. ok is false if there is none
// before NextTimeout.
func (s *Source) Poll(now time.Time) (p Part, ok bool) {
	now = now.Round(0) // the wall clock is what players compare with
	if s.start.IsZero() {
		s.begin(now)
	}
	t := s.earliest()
	switch due := s.due(t); {
	case now.Sub(due) > maxLag:
		s.skip(now)
	case due.Sub(now) > maxLag && s.started():
		// The clock was set back. Media time must not, so it starts earlier.
		s.start = s.start.Add(now.Sub(due))
	}
	if len(s.queue) > 0 {
		p, s.queue = s.queue[0], s.queue[1:]
		return p, true
	}
	if t = s.earliest(); s.due(t).After(now) {
		return Part{}, false
	}
	return s.emit(t, now), true
}

// NextTimeout is when the next part is due; the zero time stands for at once.
func (s *Source) NextTimeout() time.Time {
	if s.start.IsZero() || len(s.queue) > 0 {
		return time.Time{}
	}
	return s.due(s.earliest())
}

// Announce makes Poll return all initialization segments and manifests next,
// for a receiver that may have lost them.
func (s *Source) Announce(now time.Time) {
	if s.start.IsZero() {
		return // the first Poll announces them anyway
	}
	for i := range s.tracks {
		t := &s.tracks[i]
		s.enqueue(initName(i), t.contentType, i, t.init)
	}
	s.enqueue(masterName, hlsType, -1, s.appendMaster(nil))
	s.enqueue(mpdName, dashType, -1, s.appendMPD(nil, now))
	for i := range s.tracks {
		s.enqueueMedia(&s.tracks[i])
	}
}

// Lost tells the source that a media segment has not reached its receiver. The
// playlists no longer offer it, nor, since they have no holes, any before it.
func (s *Source) Lost(stream int, number uint64) {
	if stream >= 0 && stream < len(s.tracks) {
		t := &s.tracks[stream]
		t.first = max(t.first, number+1)
	}
}

func (s *Source) begin(now time.Time) {
	tracks, err := load()
	if err != nil {
		panic(err) // the embedded files are broken; the tests read them all
	}
	s.start = s.cfg.Start
	if s.start.IsZero() {
		s.start = now
	}
	s.start = s.start.Round(0).Truncate(time.Millisecond).UTC()
	s.tracks = make([]liveTrack, len(tracks))
	for i := range tracks {
		s.tracks[i] = liveTrack{track: &tracks[i], stream: i}
	}
	s.join(now)
	s.Announce(now)
}

// started reports whether any media has been emitted since begin.
func (s *Source) started() bool {
	for i := range s.tracks {
		if t := &s.tracks[i]; t.next > 0 || t.number > t.first {
			return true
		}
	}
	return false
}

// join puts every track at the start of its segment of now.
func (s *Source) join(now time.Time) {
	elapsed := max(now.Sub(s.start), 0)
	loops := uint64(elapsed / loopDuration)
	for i := range s.tracks {
		t := &s.tracks[i]
		n := 0
		for n+1 < segmentsPerLoop && t.duration(t.segments[n+1].start) <= elapsed%loopDuration {
			n++
		}
		t.number = loops*segmentsPerLoop + uint64(n) + 1
		t.next = 0
		t.first = t.number
	}
}

// skip breaks off all segments under way and joins anew.
func (s *Source) skip(now time.Time) {
	for i := range s.tracks {
		if t := &s.tracks[i]; t.next > 0 {
			s.queue = append(s.queue, Part{Name: t.name, ContentType: t.contentType, Stream: i, Number: t.number, Abort: true})
		}
	}
	s.join(now)
}

// earliest is the track whose next part is due first.
func (s *Source) earliest() *liveTrack {
	t := &s.tracks[0]
	for i := range s.tracks[1:] {
		if u := &s.tracks[i+1]; s.due(u).Before(s.due(t)) {
			t = u
		}
	}
	return t
}

// segment is segment n with the number of loops before it.
func (t *liveTrack) segment(n uint64) (*segment, uint64) {
	return &t.segments[(n-1)%segmentsPerLoop], (n - 1) / segmentsPerLoop
}

// due is when the next part of t is due.
func (s *Source) due(t *liveTrack) time.Time {
	seg, loops := t.segment(t.number)
	ticks := seg.start
	if t.next > 0 {
		ticks = seg.chunks[t.next-1].end
	}
	return s.start.Add(time.Duration(loops)*loopDuration + t.duration(ticks))
}

// emit returns the next part of t.
func (s *Source) emit(t *liveTrack, now time.Time) Part {
	seg, loops := t.segment(t.number)
	p := Part{ContentType: t.contentType, Stream: t.stream, Number: t.number}
	if t.next == 0 {
		t.name = segmentName(t.stream, t.number)
		p.Name, p.Body, p.First = t.name, seg.styp, true
		t.next++
		return p
	}
	c := &seg.chunks[t.next-1]
	p.Name = t.name
	p.Body = append(s.buf[:0], c.data...)
	s.buf = p.Body
	base := loops * uint64(loopDuration/time.Second) * uint64(t.Timescale)
	sequence := loops*uint64(t.chunks) + uint64(c.index) + 1
	if err := cmaf.Rebase(p.Body, uint32(sequence), base+c.start); err != nil {
		panic(err) // as above
	}
	if t.next++; t.next > len(seg.chunks) {
		p.Last = true
		t.next = 0
		t.number++
		if t.stream == 0 {
			s.enqueue(mpdName, dashType, -1, s.appendMPD(nil, now))
			s.enqueue(masterName, hlsType, -1, s.appendMaster(nil))
		}
		s.enqueueMedia(t)
	}
	return p
}

func (s *Source) enqueue(name, contentType string, stream int, body []byte) {
	s.queue = append(s.queue, Part{Name: name, ContentType: contentType, Stream: stream, Body: body, First: true, Last: true})
}

// enqueueMedia adds the media playlist of t, once that has a segment.
func (s *Source) enqueueMedia(t *liveTrack) {
	if from, to := s.window(t); from < to {
		s.enqueue(mediaName(t.stream), hlsType, -1, s.appendMedia(nil, t, from, to))
	}
}

// window is the half-open range of segments to offer.
func (s *Source) window(t *liveTrack) (from, to uint64) {
	from, to = t.first, t.number
	if n := uint64(s.windowLen()); to > from+n {
		from = to - n
	}
	return from, to
}

func (s *Source) windowLen() int {
	if s.cfg.Window > 0 {
		return s.cfg.Window
	}
	return 8
}

const (
	hlsType  = "application/vnd.apple.mpegurl"
	dashType = "application/dash+xml"
)
