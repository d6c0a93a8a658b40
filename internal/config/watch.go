package config

import (
	"bytes"
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"slices"
	"time"
)

// Watcher loads a configuration again when it is told to or when one of its
// files has changed. The zero values of the optional fields are useful.
type Watcher[T Role] struct {
	// Source is what is loaded. Required.
	Source *Source[T]
	// Apply brings the node from the old to the new configuration. It is also
	// called when only a file beside the configuration has changed (a
	// certificate), with equal old and new. If it fails, the error is logged
	// and the new configuration counts as the present one: a node is where
	// Apply left it. Required.
	Apply func(ctx context.Context, old, new *T) error
	// Reload makes the watcher load at once, changed or not; the command
	// connects SIGHUP to it. Optional.
	Reload <-chan os.Signal
	// Interval is the time between two looks at the files. A change counts when
	// two looks in a row saw the same content, so that a file is not read
	// while it is written. Default 1s.
	Interval time.Duration
	// Log tells of loads and of refusals, with line and reason. Default: silent.
	Log *slog.Logger
}

// Run watches until ctx ends and returns its cause. current is what the node
// runs with.
func (w *Watcher[T]) Run(ctx context.Context, current *T) error {
	log := w.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	interval := w.Interval
	if interval <= 0 {
		interval = time.Second
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()

	loaded := fingerprint(w.Source.Files(current))
	seen := loaded
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.Reload:
			seen = fingerprint(w.Source.Files(current))
		case <-tick.C:
			now := fingerprint(w.Source.Files(current))
			settled := now == seen
			seen = now
			if !settled || seen == loaded {
				continue
			}
		}
		// What is refused is not tried again until it changes again.
		loaded = seen
		next, err := w.Source.Load()
		if err != nil {
			logRefused(ctx, log, err)
			continue
		}
		log.InfoContext(ctx, "configuration loaded", "changes", Differences(current, next))
		if err := w.Apply(ctx, current, next); err != nil {
			log.ErrorContext(ctx, "configuration not applied in full", "error", err)
		}
		// The new configuration may consist of other files. If not, the state
		// from before the load counts: a change during it is another one.
		if before := w.Source.Files(current); !slices.Equal(before, w.Source.Files(next)) {
			loaded = fingerprint(w.Source.Files(next))
			seen = loaded
		}
		current = next
	}
}

func logRefused(ctx context.Context, log *slog.Logger, err error) {
	if e, ok := err.(*Error); ok {
		for _, p := range e.Problems {
			log.ErrorContext(ctx, "configuration refused, the old one stays", "error", p.Error())
		}
		return
	}
	log.ErrorContext(ctx, "configuration refused, the old one stays", "error", err)
}

// fingerprint is a hash of the files' contents. They are small; sizes and times
// alone miss what is rewritten within the clock's grain.
func fingerprint(files []string) [sha256.Size]byte {
	h := sha256.New()
	for _, f := range files {
		b, err := readFile(f)
		if err != nil {
			b = []byte(err.Error())
		}
		sum := sha256.Sum256(b)
		h.Write(bytes.Join([][]byte{[]byte(f), sum[:]}, []byte{0}))
	}
	return [sha256.Size]byte(h.Sum(nil))
}
