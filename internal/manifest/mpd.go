package manifest

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// An MPD is a DASH media presentation description with the inheritance of its
// elements resolved.
type MPD struct {
	Static            bool
	AvailabilityStart time.Time     // zero if absent
	Duration          time.Duration // mediaPresentationDuration
	TimeShiftBuffer   time.Duration
	MaxSegment        time.Duration
	MinimumUpdate     time.Duration // minimumUpdatePeriod; -1 if absent
	Representations   []Representation
}

// A Representation is one encoding of one period.
type Representation struct {
	ID             string
	Kind           Kind
	Bandwidth      uint64
	PeriodStart    time.Duration
	PeriodDuration time.Duration // 0 if unknown
	// BaseURLs are the references to resolve in order, one after the other.
	BaseURLs []string

	Initialization string // reference of the init segment; "" without one
	Media          Pattern
	List           []string // references of a SegmentList
	Timeline       []Run

	Timescale          uint64 // ticks per second, at least 1
	SegmentDuration    uint64 // ticks; 0 with a timeline
	StartNumber        uint64
	EndNumber          uint64 // 0 if open
	AvailabilityOffset time.Duration
	PresentationOffset uint64 // ticks; media time of the period's beginning
}

// A Run is one S element of a SegmentTimeline: Repeat+1 segments of Duration
// ticks, the first at Time. Repeat is -1 for "until the next or the end".
type Run struct {
	Time, Duration uint64
	Repeat         int64
}

// ParseMPD reads a DASH MPD. Attributes that cannot be read count as absent;
// only broken XML, another root element or a limit is refused.
func ParseMPD(body []byte, limits Limits) (*MPD, error) {
	limits = limits.withDefaults()
	if len(body) > limits.Octets {
		return nil, tooLarge("octets", limits.Octets)
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	// MPDs are UTF-8 in practice; others are read as such, which harms text only.
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	var x mpdXML
	err := xml.NewTokenDecoder(&bounded{decoder: d, limits: limits}).Decode(&x)
	switch {
	case errors.Is(err, ErrTooLarge):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return x.resolve(limits)
}

// bounded ends a token stream that is too deep or too long.
type bounded struct {
	decoder *xml.Decoder
	limits  Limits
	depth   int
	count   int
}

func (b *bounded) Token() (xml.Token, error) {
	t, err := b.decoder.Token()
	switch t.(type) {
	case xml.StartElement:
		b.depth++
		b.count++
		if b.depth > b.limits.Depth {
			return nil, tooLarge("levels", b.limits.Depth)
		}
		if b.count > b.limits.Entries {
			return nil, tooLarge("elements", b.limits.Entries)
		}
	case xml.EndElement:
		b.depth--
	}
	return t, err
}

// The elements that matter, as they are written. All values are strings so that
// one malformed attribute does not lose the rest.
type mpdXML struct {
	XMLName           xml.Name    `xml:"MPD"`
	Type              string      `xml:"type,attr"`
	AvailabilityStart string      `xml:"availabilityStartTime,attr"`
	Duration          string      `xml:"mediaPresentationDuration,attr"`
	TimeShiftBuffer   string      `xml:"timeShiftBufferDepth,attr"`
	MaxSegment        string      `xml:"maxSegmentDuration,attr"`
	MinimumUpdate     string      `xml:"minimumUpdatePeriod,attr"`
	BaseURLs          []string    `xml:"BaseURL"`
	Periods           []periodXML `xml:"Period"`
}

type periodXML struct {
	Start    string          `xml:"start,attr"`
	Duration string          `xml:"duration,attr"`
	BaseURLs []string        `xml:"BaseURL"`
	Template *segmentsXML    `xml:"SegmentTemplate"`
	List     *segmentsXML    `xml:"SegmentList"`
	Sets     []adaptationXML `xml:"AdaptationSet"`
}

type adaptationXML struct {
	ContentType     string              `xml:"contentType,attr"`
	MimeType        string              `xml:"mimeType,attr"`
	Codecs          string              `xml:"codecs,attr"`
	BaseURLs        []string            `xml:"BaseURL"`
	Template        *segmentsXML        `xml:"SegmentTemplate"`
	List            *segmentsXML        `xml:"SegmentList"`
	Representations []representationXML `xml:"Representation"`
}

type representationXML struct {
	ID        string       `xml:"id,attr"`
	MimeType  string       `xml:"mimeType,attr"`
	Codecs    string       `xml:"codecs,attr"`
	Bandwidth string       `xml:"bandwidth,attr"`
	BaseURLs  []string     `xml:"BaseURL"`
	Template  *segmentsXML `xml:"SegmentTemplate"`
	List      *segmentsXML `xml:"SegmentList"`
}

// segmentsXML is a SegmentTemplate or a SegmentList.
type segmentsXML struct {
	Media          string `xml:"media,attr"`
	Initialization string `xml:"initialization,attr"`
	Timescale      string `xml:"timescale,attr"`
	Duration       string `xml:"duration,attr"`
	StartNumber    string `xml:"startNumber,attr"`
	EndNumber      string `xml:"endNumber,attr"`
	Offset         string `xml:"availabilityTimeOffset,attr"`
	MediaOffset    string `xml:"presentationTimeOffset,attr"`
	InitElement    *struct {
		SourceURL string `xml:"sourceURL,attr"`
	} `xml:"Initialization"`
	Timeline *struct {
		S []struct {
			T string `xml:"t,attr"`
			D string `xml:"d,attr"`
			R string `xml:"r,attr"`
		} `xml:"S"`
	} `xml:"SegmentTimeline"`
	URLs []struct {
		Media string `xml:"media,attr"`
	} `xml:"SegmentURL"`
}

// inherit fills what s leaves out from the level above (ISO/IEC 23009-1,
// 5.3.9.1).
func (s *segmentsXML) inherit(from *segmentsXML) *segmentsXML {
	if s == nil {
		return from
	}
	if from == nil {
		return s
	}
	out := *s
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&out.Media, from.Media},
		{&out.Initialization, from.Initialization},
		{&out.Timescale, from.Timescale},
		{&out.Duration, from.Duration},
		{&out.StartNumber, from.StartNumber},
		{&out.EndNumber, from.EndNumber},
		{&out.Offset, from.Offset},
		{&out.MediaOffset, from.MediaOffset},
	} {
		if *f.to == "" {
			*f.to = f.from
		}
	}
	if out.InitElement == nil {
		out.InitElement = from.InitElement
	}
	if out.Timeline == nil {
		out.Timeline = from.Timeline
	}
	if out.URLs == nil {
		out.URLs = from.URLs
	}
	return &out
}

func (x *mpdXML) resolve(limits Limits) (*MPD, error) {
	m := &MPD{
		Static:            x.Type != "dynamic",
		AvailabilityStart: timestamp(x.AvailabilityStart),
		Duration:          isoDuration(x.Duration),
		TimeShiftBuffer:   isoDuration(x.TimeShiftBuffer),
		MaxSegment:        isoDuration(x.MaxSegment),
		MinimumUpdate:     -1,
	}
	if x.MinimumUpdate != "" {
		m.MinimumUpdate = isoDuration(x.MinimumUpdate)
	}
	var start time.Duration
	for i := range x.Periods {
		p := &x.Periods[i]
		if p.Start != "" {
			start = isoDuration(p.Start)
		}
		duration := isoDuration(p.Duration)
		if duration == 0 && i+1 < len(x.Periods) {
			if next := isoDuration(x.Periods[i+1].Start); next > start {
				duration = next - start
			}
		}
		if duration == 0 && i == len(x.Periods)-1 && m.Duration > start {
			duration = m.Duration - start
		}
		for j := range p.Sets {
			a := &p.Sets[j]
			for k := range a.Representations {
				if len(m.Representations) == limits.Tracks {
					return nil, tooLarge("representations", limits.Tracks)
				}
				r, err := a.Representations[k].resolve(a, p, x.BaseURLs)
				if err != nil {
					continue // one unreadable representation does not lose the others
				}
				r.PeriodStart, r.PeriodDuration = start, duration
				m.Representations = append(m.Representations, r)
			}
		}
		// A period without a start begins where the one before it ends.
		start += duration
	}
	return m, nil
}

func (x *representationXML) resolve(a *adaptationXML, p *periodXML, base []string) (Representation, error) {
	mimeType := x.MimeType
	if mimeType == "" {
		mimeType = a.MimeType
	}
	codecs := x.Codecs
	if codecs == "" {
		codecs = a.Codecs
	}
	r := Representation{
		ID:          x.ID,
		Kind:        kindOf(a.ContentType, mimeType, codecs),
		Bandwidth:   unsigned(x.Bandwidth, 0),
		Timescale:   1,
		StartNumber: 1,
	}
	for _, level := range [][]string{base, p.BaseURLs, a.BaseURLs, x.BaseURLs} {
		if ref, ok := relative(level); ok {
			r.BaseURLs = append(r.BaseURLs, ref)
		}
	}
	segments := x.Template.inherit(a.Template).inherit(p.Template)
	if segments == nil {
		segments = x.List.inherit(a.List).inherit(p.List)
	}
	if segments == nil {
		return r, nil
	}
	r.Timescale = max(1, unsigned(segments.Timescale, 1))
	r.SegmentDuration = unsigned(segments.Duration, 0)
	r.StartNumber = unsigned(segments.StartNumber, 1)
	r.EndNumber = unsigned(segments.EndNumber, 0)
	r.AvailabilityOffset = seconds(segments.Offset)
	r.PresentationOffset = unsigned(segments.MediaOffset, 0)
	if segments.Media != "" {
		var err error
		if r.Media, err = compilePattern(segments.Media, x.ID, r.Bandwidth); err != nil {
			return r, err
		}
	}
	switch {
	case segments.Initialization != "":
		init, err := compilePattern(segments.Initialization, x.ID, r.Bandwidth)
		if err != nil {
			return r, err
		}
		r.Initialization = init.Expand(0, 0)
	case segments.InitElement != nil:
		r.Initialization = segments.InitElement.SourceURL
	}
	for _, u := range segments.URLs {
		if u.Media != "" {
			r.List = append(r.List, u.Media)
		}
	}
	if segments.Timeline != nil {
		r.Timeline = make([]Run, 0, len(segments.Timeline.S))
		var next uint64
		for _, s := range segments.Timeline.S {
			run := Run{Time: unsigned(s.T, next), Duration: unsigned(s.D, 0), Repeat: signed(s.R)}
			if run.Duration == 0 {
				return r, fmt.Errorf("%w: S element without a duration", ErrFormat)
			}
			r.Timeline = append(r.Timeline, run)
			next = run.end()
		}
	}
	return r, nil
}

// end is the time after the run; of an open one, after its first segment. It
// saturates.
func (r Run) end() uint64 {
	count := uint64(1)
	if r.Repeat > 0 {
		count += uint64(r.Repeat)
	}
	if count > (math.MaxUint64-r.Time)/r.Duration {
		return math.MaxUint64
	}
	return r.Time + count*r.Duration
}

// relative returns the first of a level's alternative BaseURLs that stays on
// this host, else the first.
func relative(level []string) (string, bool) {
	for _, ref := range level {
		if ref = strings.TrimSpace(ref); !hasScheme(ref) && !strings.HasPrefix(ref, "/") {
			return ref, true
		}
	}
	if len(level) > 0 {
		return strings.TrimSpace(level[0]), true
	}
	return "", false
}
