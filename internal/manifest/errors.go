package manifest

import (
	"errors"
	"fmt"
)

var (
	// ErrTooLarge is returned for a manifest beyond one of its [Limits].
	ErrTooLarge = errors.New("manifest: beyond a limit")
	// ErrFormat is returned for what is neither an HLS playlist nor a DASH MPD,
	// or breaks their grammar beyond repair.
	ErrFormat = errors.New("manifest: unreadable")
	// ErrName is returned by [Index.Update] for a name that no object can have.
	ErrName = errors.New("manifest: bad name")
)

// Limits bound what one manifest may make a reader do. A zero field means its
// default.
type Limits struct {
	Octets  int // size of a manifest; default 1 MiB
	Entries int // lines of a playlist, elements of an MPD; default 32,768
	Depth   int // nesting of an MPD; default 24
	Tracks  int // representations of an MPD, children of a master playlist; default 256
}

func (l Limits) withDefaults() Limits {
	if l.Octets <= 0 {
		l.Octets = 1 << 20
	}
	if l.Entries <= 0 {
		l.Entries = 32768
	}
	if l.Depth <= 0 {
		l.Depth = 24
	}
	if l.Tracks <= 0 {
		l.Tracks = 256
	}
	return l
}

func tooLarge(what string, limit int) error {
	return fmt.Errorf("%w: more than %d %s", ErrTooLarge, limit, what)
}
