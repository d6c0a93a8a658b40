package route

import (
	"reflect"
	"slices"
	"time"

	"github.com/treedn/treedn/flute/fdt"
)

// highTOI is where the TOIs of File entries begin in a track's channel. The
// template's numbers stay below it.
const highTOI = 1 << 31

// A flow is one LCT channel of the Sender: the metadata channel with a File
// entry for each object, or the channel of one run of a media track.
type flow struct {
	tsi     uint32
	track   Track
	tmpl    fdt.Template
	fits    bool // the Stem is a legal template
	rev     uint64
	files   []*file
	nextTOI uint32 // of the next File entry
	numbers numbers
	queue   []*Transmission // with packets to come, oldest first
	open    int             // transmissions that have not ended
	idle    time.Time       // since when there has been nothing to send
	gone    bool            // superseded by a newer run
	efdt    *fdt.Instance   // as announced last
	version uint8           // of it
}

// file is a File entry of the EFDT.
type file struct {
	tx       *Transmission
	name     string
	carousel bool
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

// use marks n and tells whether it was new.
func (u *numbers) use(n uint32) bool {
	switch d := int64(n) - int64(u.highest); {
	case n == 0 || n >= highTOI:
		return false
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

// place gives an object its TOI: the number if the template yields the name,
// else the next one for File entries.
func (f *flow) place(out *Outgoing) (toi uint32, templated bool) {
	if f.fits {
		n, ok := f.tmpl.Match(out.Name)
		if ok && n == uint64(out.Track.Number) && f.numbers.use(out.Track.Number) {
			return out.Track.Number, true
		}
	}
	toi = f.nextTOI
	f.nextTOI++
	return toi, false
}

// pendingIn returns the oldest transmission of the flow with a packet to send.
func (f *flow) pendingIn() *Transmission {
	for _, t := range f.queue {
		if t.pending() {
			return t
		}
	}
	return nil
}

func (f *flow) removeFile(x *file) {
	if i := slices.Index(f.files, x); i >= 0 {
		f.files = slices.Delete(f.files, i, i+1)
	}
}

// metaFlow returns the channel of lone files.
func (s *Sender) metaFlow() *flow {
	if s.meta == nil {
		s.meta = s.newFlow(Track{})
		s.meta.nextTOI = 1
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
				return f
			}
			f.gone = f.gone || f.track.Run < track.Run
		}
	}
	f := s.newFlow(track)
	f.nextTOI = highTOI
	tmpl, err := fdt.ParseTemplate(track.Stem)
	f.tmpl, f.fits = tmpl, err == nil
	return f
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
				f.removeFile(x)
				s.changed(now)
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
