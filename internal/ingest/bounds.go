package ingest

import (
	"errors"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/treedn/treedn/internal/manifest"
)

// Limit is a bound on what the publisher of a channel may take, and how far it
// is used.
type Limit struct {
	Name string `json:"name"`
	Used uint64 `json:"used"`
	Max  uint64 `json:"max"`
	// Hits counts what was refused or cut off for it; of the rate, the waits.
	Hits uint64 `json:"hits"`
}

// A LimitError is an [ErrLimit] that tells which limit it was, by its name in
// [State].
type LimitError struct{ Limit string }

func (e *LimitError) Error() string { return ErrLimit.Error() + ": " + e.Limit }
func (e *LimitError) Unwrap() error { return ErrLimit }

// The names of the limits.
const (
	limitRequests   = "requests"
	limitTracks     = "tracks"
	limitObject     = "object_octets"
	limitObjectTime = "object_seconds"
	limitIdle       = "idle_seconds"
	limitManifest   = "manifest_octets"
	limitInit       = "init_octets"
	limitName       = "name_octets"
	limitRate       = "publish_rate"
)

func limitError(limit string) error { return &LimitError{limit} }

// hit counts what a limit has ended, if it was one.
func (r *record) hit(cause error) {
	var limit *LimitError
	switch {
	case errors.As(cause, &limit):
		r.count(limit.Limit)
	case errors.Is(cause, os.ErrDeadlineExceeded):
		r.count(limitIdle)
	}
}

func (r *record) count(limit string) {
	if r.hits == nil {
		r.hits = make(map[string]uint64)
	}
	r.hits[limit]++
}

// refusedName counts a name that is too long.
func (c *channel) refusedName() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.count(limitName)
}

// idle is how long a request may be silent, longest how long it may last.
func (c *channel) idle() time.Duration {
	return max(c.config.IdleTimeout, 2*c.index.TargetDuration())
}

func (c *channel) longest() time.Duration {
	return max(c.config.MaxObjectTime, 10*c.index.TargetDuration())
}

// limits lists the bounds. c.mu is held.
func (c *channel) limits(now time.Time) []Limit {
	hits := maps.Clone(c.status.hits)
	take := func(name string) uint64 {
		n := hits[name]
		delete(hits, name)
		return n
	}
	var octets int64
	var age time.Duration
	for t := range c.transfers {
		octets, age = max(octets, t.taken), max(age, now.Sub(t.opened))
	}
	list := []Limit{
		{limitRequests, uint64(len(c.transfers)), uint64(c.config.MaxRequests), take(limitRequests)},
		{limitTracks, uint64(len(c.tracks)), uint64(c.config.MaxTracks), take(limitTracks)},
		{limitObject, uint64(octets), uint64(c.config.MaxObject), take(limitObject)},
		{limitObjectTime, uint64(age.Seconds()), uint64(c.longest().Seconds()), take(limitObjectTime)},
	}
	if rate := uint64(c.rate.rate); rate > 0 {
		list = append(list, Limit{limitRate, min(rate, c.rate.used(now)), rate, take(limitRate)})
	}
	most := map[string]uint64{
		limitIdle: uint64(c.idle().Seconds()), limitManifest: uint64(c.config.MaxManifest), limitInit: uint64(c.config.MaxInit),
		limitName: manifest.MaxName, limitRate: uint64(c.rate.rate),
	}
	for _, name := range slices.Sorted(maps.Keys(hits)) {
		list = append(list, Limit{name, 0, most[name], hits[name]})
	}
	return list
}
