package amt

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	logBurst    = 10          // lines of one message that come at once
	logInterval = time.Minute // between two of them from then on
	logMessages = 256         // different messages that are told apart
)

// LimitLog returns a logger that writes a line with one and the same message, whatever
// its attributes, 10 times at most and then once a minute, with the number of those that
// it left out as "suppressed". Thus who makes this program log, such as gateways that ask
// a relay for channels, cannot fill a disk with that. Lines below slog.LevelInfo are not
// limited: there is one for each tunnel.
//
// A [Server], a [Chain], a [Bridge] and a [Native] limit what they log that way.
func LimitLog(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	if _, ok := log.Handler().(*limitedLog); ok {
		return log
	}
	return slog.New(&limitedLog{log.Handler(), &logLines{lines: make(map[string]*logLine)}})
}

type limitedLog struct {
	slog.Handler
	shared *logLines // by all that With has made
}

type logLines struct {
	mu    sync.Mutex // guards below
	lines map[string]*logLine
}

// logLine is a token bucket.
type logLine struct {
	tokens     int
	at         time.Time // when tokens was right
	suppressed int
}

// take reports whether a line with a message may be written, and how many were not.
func (l *logLines) take(now time.Time, message string) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.lines[message]
	if k == nil {
		if len(l.lines) >= logMessages {
			message = "" // all others have one bucket
			k = l.lines[message]
		}
		if k == nil {
			k = &logLine{tokens: logBurst, at: now}
			l.lines[message] = k
		}
	}
	if n := int(now.Sub(k.at) / logInterval); n > 0 {
		k.tokens = min(k.tokens+n, logBurst)
		k.at = k.at.Add(time.Duration(n) * logInterval)
	} else if n < 0 {
		k.at = now // the clock was set back
	}
	if k.tokens == 0 {
		k.suppressed++
		return 0, false
	}
	k.tokens--
	suppressed, k.suppressed = k.suppressed, 0
	return suppressed, true
}

// Handle implements slog.Handler.
func (h *limitedLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		n, ok := h.shared.take(r.Time, r.Message)
		if !ok {
			return nil
		}
		if n > 0 {
			r = r.Clone()
			r.AddAttrs(slog.Int("suppressed", n))
		}
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *limitedLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limitedLog{h.Handler.WithAttrs(attrs), h.shared}
}

// WithGroup implements slog.Handler.
func (h *limitedLog) WithGroup(name string) slog.Handler {
	return &limitedLog{h.Handler.WithGroup(name), h.shared}
}
