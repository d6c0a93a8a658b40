package route

import (
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/pacing"
)

// A flow is one LCT channel of the Sender: the metadata channel with a File
// entry for each object, or the channel of one run of a media track, whose
// template names all of its objects. A track's channel has no File entries: to
// a receiver that missed the newest S-TSID their TOIs would look like the
// template's, and it would give the object a wrong name.
type flow struct {
	tsi      uint32
	track    Track
	rev      uint64
	files    []*file         // of the metadata channel
	nextTOI  uint32          // likewise
	numbers  numbers         // of a track
	queue    []*Transmission // with packets to come, oldest first
	open     int             // transmissions that have not ended
	idle     time.Time       // since when there has been nothing to send
	entities bool            // of a track: objects of Entity Mode
	limit    int64           // bit/s, 0 for none
	bucket   pacing.Bucket   // of it
	pool     *poolFlow       // of a track: what protects its objects together with others
	gone     bool            // superseded by a newer run
	efdt     *fdt.Instance   // as announced last
	version  uint8           // of it

	// The rhythm of low-latency chunks.
	chunkAt    time.Time     // when the first octets of the latest chunk came
	chunkEnded bool          // it is complete
	perChunk   float64       // packets, on average
	interval   time.Duration // between chunks, on average; zero if there is none
}

// file is a File entry of the EFDT.
type file struct {
	tx       *Transmission
	name     string
	carousel bool
	every    time.Duration
	left     int       // repetitions, -1 without end
	next     time.Time // next repetition
	at       int       // its packet that is next, during a repetition
	expires  time.Time // when a lone file that is not repeated leaves the EFDT
}

// describe counts the versions of the channel's EFDT.
func (f *flow) describe(in *fdt.Instance) {
	if f.efdt == nil || !reflect.DeepEqual(f.efdt, in) {
		if f.efdt != nil {
			f.version++
		}
		c := *in
		f.efdt = &c
	}
	in.EFDTVersion, in.HasEFDTVersion = f.version, true
}

// numbers remembers which TOIs of a template were used: all up to the highest,
// except for some of the last 64.
type numbers struct {
	highest uint32
	late    uint64 // bit i: highest-i was used
}

// use marks n, which is not 0, and tells whether it was new.
func (u *numbers) use(n uint32) bool {
	switch d := int64(n) - int64(u.highest); {
	case u.highest == 0 || d >= 64:
		u.highest, u.late = n, 1
	case d > 0:
		u.highest, u.late = n, u.late<<d|1
	case d <= -64 || u.late&(1<<-d) != 0:
		return false
	default:
		u.late |= 1 << -d
	}
	return true
}

// templated tells whether a track's template names the object. TOI 0 is that of
// an EFDT, and 2^32-1 is what receivers take for an initialization segment.
func (o *Outgoing) templated() bool {
	if o.Track.Number == 0 || o.Track.Number == math.MaxUint32 {
		return false
	}
	t, err := fdt.ParseTemplate(o.Track.Stem)
	if err != nil {
		return false
	}
	n, ok := t.Match(o.Name)
	return ok && n == uint64(o.Track.Number)
}

// place finds the channel and the TOI of an object.
func (s *Sender) place(out *Outgoing) (f *flow, toi uint32, templated bool) {
	if out.templated() {
		if f := s.trackFlow(out.Track); f.numbers.use(out.Track.Number) {
			return f, out.Track.Number, true
		}
	}
	f = s.metaFlow()
	f.nextTOI++
	return f, f.nextTOI, false
}

// pendingIn returns the transmission of the flow whose packet goes first, the
// oldest if it makes no difference.
func (f *flow) pendingIn() (best *Transmission) {
	for _, t := range f.queue {
		if t.pending() && (best == nil || t.before(best)) {
			best = t
		}
	}
	return best
}

// before tells whether the next packet of t goes before that of u, who has the
// turn otherwise.
func (t *Transmission) before(u *Transmission) bool {
	if t.out.Priority != u.out.Priority {
		return t.out.Priority > u.out.Priority
	}
	return (t.out.Within > 0 || u.out.Within > 0) && t.due[t.next].Before(u.due[u.next])
}

// wait is how long the channel's own limit holds its packets back.
func (f *flow) wait(now time.Time) time.Duration {
	if f.limit <= 0 {
		return 0
	}
	return f.bucket.Wait(now, f.limit, channelBurst)
}

// spend counts a packet against the channel's limit.
func (f *flow) spend(now time.Time, octets int) {
	if f.limit > 0 {
		f.bucket.Take(now, octets+pacing.UDPOverhead, f.limit)
	}
}

// channelBurst is how much of a channel with a limit of its own may leave at once.
const channelBurst = 16 << 10

func (f *flow) removeFile(x *file) {
	if i := slices.Index(f.files, x); i >= 0 {
		f.files = slices.Delete(f.files, i, i+1)
	}
}

// metaFlow returns the channel of lone files.
func (s *Sender) metaFlow() *flow {
	if s.meta == nil {
		s.meta = s.newFlow(Track{})
	}
	return s.meta
}

// trackFlow returns the channel of a track's run. A new run takes a new TSI;
// the channel of the run before it stays announced until it has been idle for
// TrackLinger, since receivers may still repair its objects.
func (s *Sender) trackFlow(track Track) *flow {
	for _, f := range s.flows {
		if f.track.Stem == track.Stem && f != s.meta {
			if f.track.Run == track.Run {
				if f.track.Kind == Unknown && track.Kind != Unknown {
					f.track.Kind = track.Kind // what tells it has come late
					if f.track.Representation != "" {
						f.rev = s.announce()
					}
				}
				return f
			}
			f.gone = f.gone || f.track.Run < track.Run
		}
	}
	return s.newFlow(track)
}

func (s *Sender) newFlow(track Track) *flow {
	f := &flow{tsi: s.nextTSI, track: track}
	s.nextTSI++
	s.flows = append(s.flows, f)
	f.rev = s.announce()
	return f
}

// retire removes channels and File entries that nobody needs any more.
func (s *Sender) retire(now time.Time) {
	for i := 0; i < len(s.flows); i++ {
		f := s.flows[i]
		for j := 0; j < len(f.files); j++ {
			if x := f.files[j]; !x.expires.IsZero() && !now.Before(x.expires) {
				s.dropFile(now, x)
				j--
			}
		}
		if f == s.meta || f.open > 0 || len(f.queue) > 0 {
			continue
		}
		linger := s.cfg.TrackIdle
		if f.gone {
			linger = s.cfg.TrackLinger
		}
		if now.Sub(f.idle) >= linger {
			s.flows = slices.Delete(s.flows, i, i+1)
			s.leave(f)
			s.changed(now)
			i--
		}
	}
}

// nextRetire is when retire has something to do.
func (s *Sender) nextRetire() (next time.Time) {
	for _, f := range s.flows {
		for _, x := range f.files {
			next = sooner(next, x.expires)
		}
		if f != s.meta && f.open == 0 && len(f.queue) == 0 {
			if f.gone {
				next = sooner(next, f.idle.Add(s.cfg.TrackLinger))
			} else {
				next = sooner(next, f.idle.Add(s.cfg.TrackIdle))
			}
		}
	}
	return next
}

// sooner returns the earlier of two times, zero meaning never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
