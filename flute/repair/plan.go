package repair

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// ErrTooLate: the deadline of a [Plan] is over.
var ErrTooLate = errors.New("repair: too late")

// PlanConfig says what one object lacks. All but Procedure and Start has a useful zero value.
type PlanConfig struct {
	Procedure Procedure
	// Missing are the octets of the object that are wanted; none means all. The last may go [ToEnd].
	Missing []Range
	// Partition is that of an object with Compact No-Code FEC: sources of symbols are asked for those that hold what is
	// missing, and what comes counts as octets.
	Partition Partition
	// Blocks are the symbols that are wanted of an object with another scheme, and Scheme says what they are like. Without
	// either, sources of symbols are not asked.
	Blocks []BlockSymbols
	Scheme Scheme
	// Start is when the back-off begins: when the transmission of the object ended, or the loss was found.
	Start time.Time
	// Deadline is when the object is of no use any more. Zero: never.
	Deadline time.Time

	// Retry spreads the requests to a source that fails in passing. Attempts is how often a source is asked in vain.
	// Default: 3.
	Retry    Retry
	Attempts int
	// MergeGap and MaxRanges are as in [Config].
	MergeGap  int64
	MaxRanges int
	// Rand returns a number in [0, 1). Default: math/rand/v2.
	Rand func() float64
}

// Plan decides when, where and what to ask for one object. It does no I/O and has no clock:
//
//	for !plan.Done() {
//		ask, ok := plan.Poll(now)
//		if !ok { wait until plan.Timeout(); continue }
//		... ask; plan.Received for what came ...
//		plan.Answered(now, outcome)
//	}
//
// [Fetcher] is that loop. A Plan is not safe for concurrent use.
type Plan struct {
	config  PlanConfig
	missing []Range
	sources []planned
	due     time.Time // of the first request
	asking  int       // index of the source, or -1
	before  int64     // octets missing when it was asked
	asks    int
	etag    string
	symbols bool // the symbols have come
	done    bool
	err     error
}

// planned is a source with what is known about it.
type planned struct {
	*Source
	failures int // in a row
	from     time.Time
	dropped  bool
}

// Ask is one HTTP request.
type Ask struct {
	URL  string
	Form Form
	// Ranges for the header field Range, in octets of what the source serves; none means all.
	Ranges []Range
	// ETag is the version that the answer has to be of, for If-Range if there are ranges, or empty if any will do.
	ETag string
	// Blocks and Scheme of a request for symbols.
	Blocks []BlockSymbols
	Scheme Scheme
}

// Outcome is how a request ended.
type Outcome struct {
	// Err is nil if the answer was as it should be, even if it holds less than was asked for. Otherwise it says whether the
	// source may be asked again: see [Client.Fetch].
	Err error
	// RetryAfter is what the source asked for, or 0.
	RetryAfter time.Duration
	// ETag is the version that answered, if it is a strong tag.
	ETag string
	// Length is the number of octets that the source has in all, or -1.
	Length int64
}

// maxAsks bounds the requests for one object: a source can always bring one more octet.
const maxAsks = 256

// NewPlan returns a plan. It fails with [ErrNoSource] if no source can be asked, or [ErrRequest] if a range is empty.
func NewPlan(config PlanConfig) (*Plan, error) {
	for _, r := range config.Missing {
		if r.Start < 0 || r.End <= r.Start {
			return nil, fmt.Errorf("repair: %w: range %d to %d", ErrRequest, r.Start, r.End)
		}
	}
	config.Attempts = orDefault(config.Attempts, 3)
	config.MaxRanges = orDefault(config.MaxRanges, 64)
	if config.MergeGap == 0 {
		config.MergeGap = 10_000
	}
	if config.Rand == nil {
		config.Rand = rand.Float64
	}
	p := &Plan{config: config, asking: -1, etag: config.Procedure.ETag}
	p.missing = []Range{{0, ToEnd}}
	if len(config.Missing) > 0 {
		p.missing = MergeRanges(slices.Clone(config.Missing), max(config.MergeGap, 0))
	}
	if part := config.Partition; part.valid() { // the length is known
		p.missing = subtract(p.missing, []Range{{part.Length, ToEnd}})
	}
	for i := range config.Procedure.Sources {
		s := &config.Procedure.Sources[i]
		if s.Form == Octets || config.Partition.valid() ||
			len(config.Blocks) > 0 && config.Scheme.esiBits() > 0 && config.Scheme.SymbolSize > 0 {
			p.sources = append(p.sources, planned{Source: s})
		}
	}
	if len(p.sources) == 0 {
		return nil, ErrNoSource
	}
	p.due = config.Start.Add(config.Procedure.Window.Draw(config.Rand()))
	p.settle()
	return p, nil
}

// Done reports whether there is no more to do; then Err tells how it ended.
func (p *Plan) Done() bool { return p.done }

// Err returns why the plan ended, nil if it has brought what was wanted or goes on. It is [ErrTooLate], or what the last
// source said.
func (p *Plan) Err() error {
	if !p.done {
		return nil
	}
	return p.err
}

// Missing returns the octets that are still wanted. The caller must not change them.
func (p *Plan) Missing() []Range {
	if p.symbols {
		return nil
	}
	return p.missing
}

// Timeout returns when Poll has something to do; ok is false while a request is under way and at the end.
func (p *Plan) Timeout() (at time.Time, ok bool) {
	if p.done || p.asking >= 0 {
		return time.Time{}, false
	}
	for i := range p.sources {
		if s := &p.sources[i]; !s.dropped && (!ok || s.from.Before(at)) {
			at, ok = s.from, true
		}
	}
	if p.due.After(at) {
		at = p.due
	}
	if d := p.config.Deadline; !d.IsZero() && at.After(d) {
		at = d
	}
	return at, ok
}

// Hurry ends the back-off: somebody waits for the object.
func (p *Plan) Hurry(now time.Time) {
	if now.Before(p.due) {
		p.due = now
	}
}

// Received tells that octets of the object have come, from a source or by multicast.
func (p *Plan) Received(r Range) {
	p.missing = subtract(p.missing, []Range{r})
	p.settle()
}

// Complete tells that the object is whole: FEC may have brought what no octets did.
func (p *Plan) Complete() {
	p.missing = nil
	p.settle()
}

// settle ends the plan if nothing is wanted and nothing is under way.
func (p *Plan) settle() {
	if p.asking < 0 && len(p.Missing()) == 0 {
		p.done = true
	}
}

// Poll returns the request to make now. After it, Answered has to be called before Poll returns another.
func (p *Plan) Poll(now time.Time) (Ask, bool) {
	if p.done || p.asking >= 0 {
		return Ask{}, false
	}
	if d := p.config.Deadline; !d.IsZero() && !now.Before(d) {
		p.fail(ErrTooLate)
		return Ask{}, false
	}
	if now.Before(p.due) {
		return Ask{}, false
	}
	if p.asking = p.choose(now); p.asking < 0 {
		return Ask{}, false
	}
	p.asks++
	s := p.sources[p.asking]
	p.before = octets(p.missing)
	if s.Form == Symbols {
		ask := Ask{Form: Symbols, Blocks: p.config.Blocks, Scheme: p.config.Scheme}
		if part := p.config.Partition; part.valid() {
			ask.Blocks = part.Symbols(p.missing[:min(len(p.missing), p.config.MaxRanges)])
			ask.Scheme = Scheme{EncodingID: CompactNoCode, SymbolSize: part.SymbolSize}
		}
		ask.URL = string(appendURL(nil, s.URL, ask.Blocks))
		return ask, true
	}
	ask := Ask{URL: s.URL, ETag: p.etag}
	offset := p.config.Procedure.Offset
	for _, r := range p.missing[:min(len(p.missing), p.config.MaxRanges)] {
		if r.Start += offset; r.End < ToEnd-offset {
			r.End += offset
		} else {
			r.End = ToEnd
		}
		ask.Ranges = append(ask.Ranges, r)
	}
	if len(ask.Ranges) == 1 && ask.Ranges[0] == (Range{0, ToEnd}) {
		ask.Ranges = nil
	}
	return ask, true
}

// choose draws one of the sources that can be asked now, in the lowest tier that has any, by weight. It drops those whose
// time is over.
func (p *Plan) choose(now time.Time) int {
	tier, sum, left := 0, 0, false
	for i := range p.sources {
		s := &p.sources[i]
		if !s.Until.IsZero() && !now.Before(s.Until) {
			s.dropped = true
		}
		if s.dropped {
			continue
		}
		left = true
		if now.Before(s.from) || sum > 0 && s.Tier > tier {
			continue
		}
		if sum == 0 || s.Tier < tier {
			tier, sum = s.Tier, 0
		}
		sum += max(s.Weight, 1)
	}
	if !left {
		if p.err == nil {
			p.err = ErrNoSource
		}
		p.done = true
		return -1
	}
	ticket := int(p.config.Rand() * float64(sum))
	for i := range p.sources {
		s := &p.sources[i]
		if s.dropped || now.Before(s.from) || s.Tier != tier {
			continue
		}
		if ticket -= max(s.Weight, 1); ticket < 0 {
			return i
		}
	}
	return -1
}

// Answered tells how the request ended that Poll returned. What it brought has been told to Received by then, but symbols
// come with Outcome.Err nil.
func (p *Plan) Answered(now time.Time, o Outcome) {
	if p.asking < 0 {
		return
	}
	s := &p.sources[p.asking]
	p.asking = -1
	err := o.Err
	if err == nil && s.Form == Symbols && !p.config.Partition.valid() {
		p.symbols = true
	} else if err == nil {
		if p.etag == "" {
			p.etag = strongTag(o.ETag)
		}
		if o.Length >= 0 {
			length := max(0, o.Length-p.config.Procedure.Offset)
			p.missing = MergeRanges(slices.Clone(bounded(p.missing, length)), 0) // an empty one goes
			if n := len(p.missing); n > 0 && p.missing[n-1].End > length {
				err = fmt.Errorf("%w: the object has only %d octets", ErrChanged, length)
			}
		}
		if err == nil && len(p.missing) > 0 && octets(p.missing) >= p.before {
			err = ErrNotReady // nothing new has come
		}
	}
	if p.settle(); p.done {
		p.err = nil
		return
	}
	if err == nil {
		s.failures = 0
		if p.asks >= maxAsks {
			p.fail(fmt.Errorf("repair: %w: %d requests for one object", ErrLimit, p.asks))
		}
		return
	}
	if p.err == nil || tells(err) {
		p.err = err
	}
	if s.failures++; s.failures >= p.config.Attempts || !inPassing(err) {
		s.dropped = true
	} else {
		s.from = now.Add(p.config.Retry.Draw(s.failures, o.RetryAfter, p.config.Rand()))
	}
	for i := range p.sources {
		if !p.sources[i].dropped {
			return
		}
	}
	p.done = true
}

func (p *Plan) fail(err error) { p.done, p.err = true, err }
