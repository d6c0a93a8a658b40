package overload

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The header fields that tell a client when to come back. Retry-After (RFC 9110 section 10.2.3) has whole seconds, which
// are long for media; retryAfterMs is the same in milliseconds, for clients that know it.
const (
	retryAfter   = "Retry-After"
	retryAfterMs = "Retry-After-Ms"
)

// Ask asks a client to wait for a time and a part of it.
func Ask(header http.Header, wait time.Duration, part float64) {
	wait = max(wait+time.Duration(part*float64(wait)), time.Millisecond)
	header.Set(retryAfter, strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	header.Set(retryAfterMs, strconv.FormatInt(int64((wait+time.Millisecond-1)/time.Millisecond), 10))
}

// Asked returns the wait that an answer asks for, of which the finer one counts, and 0 if there is none. A date is of no use
// for media.
func Asked(header http.Header) time.Duration {
	if n, err := strconv.ParseUint(strings.TrimSpace(header.Get(retryAfterMs)), 10, 32); err == nil {
		return time.Duration(n) * time.Millisecond
	}
	if n, err := strconv.ParseUint(strings.TrimSpace(header.Get(retryAfter)), 10, 16); err == nil {
		return time.Duration(n) * time.Second
	}
	return 0
}

// Sleep waits for d or until ctx ends, and returns the cause then.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// maxText bounds what an answer says of an error, in octets.
const maxText = 512

// Fail answers with a status and what err says, which no cache keeps.
func Fail(w http.ResponseWriter, status int, err error) {
	text := err.Error()
	if status == http.StatusInternalServerError {
		text = http.StatusText(status) // what failed is nobody else's business
	}
	if len(text) > maxText {
		text = text[:maxText] + "..." // it quotes the request, which may be long
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}
