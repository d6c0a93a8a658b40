package ingest

import (
	"fmt"
	"time"

	"github.com/treedn/treedn/internal/manifest"
)

// State is what there is to know of a channel's source.
type State struct {
	Channel string `json:"channel"`
	// Live is true while a publisher pushes, and through the gaps in which it
	// may reconnect.
	Live bool `json:"live"`
	// Since is when Live became what it is.
	Since time.Time `json:"since"`
	// Reason is why there is no source, for people to read; "" if Live.
	Reason    string `json:"reason,omitempty"`
	Publisher string `json:"publisher,omitempty"` // the last one; address and User-Agent

	// Refused counts publishers that were turned away; the last one follows.
	Refused       uint64    `json:"refused"`
	RefusedAt     time.Time `json:"refused_at,omitzero"`
	RefusedReason string    `json:"refused_reason,omitempty"`

	Objects   uint64 `json:"objects"`   // taken whole
	Octets    uint64 `json:"octets"`    // taken
	Broken    uint64 `json:"broken"`    // objects whose push broke off
	Malformed uint64 `json:"malformed"` // objects that are not well-formed CMAF
	Open      int    `json:"open"`      // requests under way

	Limits []Limit `json:"limits"`

	TargetDuration time.Duration `json:"target_duration"` // 0 if no manifest has told
	Tracks         []TrackState  `json:"tracks,omitempty"`
}

// TrackState is a numbered series of segments.
type TrackState struct {
	Template string        `json:"template"`
	Kind     manifest.Kind `json:"-"`
	KindName string        `json:"kind"`
	Newest   uint32        `json:"newest"`
	Run      uint64        `json:"run"`
}

// record is what a channel counts. It is guarded by the channel's mutex.
type record struct {
	since     time.Time // the channel exists, or the publisher began
	reason    string    // what broke last
	refusedAt time.Time
	refusal   string
	refusals  uint64
	logged    time.Time
	objects   uint64
	octets    uint64
	broken    uint64
	malformed uint64
	hits      map[string]uint64 // of limits, by name
}

// begin notes a new publisher.
func (r *record) begin(now time.Time) {
	r.since, r.reason = now, ""
}

// refuse counts a publisher that was turned away and tells whether to log it:
// one that comes back with every segment is worth a line per minute.
func (r *record) refuse(who publisher, now time.Time, reason string) bool {
	r.refusals++
	r.refusedAt, r.refusal = now, who.String()+": "+reason
	if now.Sub(r.logged) < time.Minute {
		return false
	}
	r.logged = now
	return true
}

// trouble notes why a pull does not get on.
func (c *channel) trouble(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.reason = reason
}

// end counts an object.
func (r *record) end(t *transfer, cause error, now time.Time) {
	if cause == nil {
		r.objects++
		r.reason = ""
		return
	}
	r.broken++
	r.hit(cause)
	r.reason = fmt.Sprintf("the push of %s broke off: %v", t.name, cause)
}

func (c *channel) state() State {
	now := c.config.Now()
	target := c.index.TargetDuration()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := State{
		Channel: c.name, TargetDuration: target,
		Refused: c.status.refusals, RefusedAt: c.status.refusedAt, RefusedReason: c.status.refusal,
		Objects: c.status.objects, Octets: c.status.octets, Broken: c.status.broken, Malformed: c.status.malformed,
		Open: len(c.transfers), Limits: c.limits(now),
	}
	for _, t := range c.tracks {
		if t.run != 0 {
			s.Tracks = append(s.Tracks, TrackState{Template: t.template.String(), Kind: t.kind, KindName: t.kind.String(), Newest: t.newest, Run: t.run})
		}
	}
	switch p := c.session; {
	case c.closed != nil:
		s.Since, s.Reason = now, c.closed.Error()
	case p == nil:
		s.Since, s.Reason = c.status.since, "nobody has published since the start"
		if c.status.reason != "" {
			s.Reason = c.status.reason
		}
		if c.status.refusal != "" {
			s.Reason += "; refused " + c.status.refusal
		}
	case !c.ended.IsZero() && len(c.transfers) == 0:
		s.Since, s.Reason = p.last, "the publisher ended the presentation"
	case now.Sub(p.last) >= c.hold() && len(c.transfers) == 0:
		s.Since = p.last
		if s.Reason = c.status.reason; s.Reason == "" {
			s.Reason = "the publisher went silent"
		}
	default:
		s.Live, s.Since = true, c.status.since
	}
	if c.session != nil {
		s.Publisher = c.session.who.String()
	}
	return s
}
