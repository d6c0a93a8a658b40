package edge

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/treedn/treedn/internal/service"
)

// The delivery directives of a blocking playlist reload (RFC 8216bis, section 6.2.5.2).
const (
	directiveSequence = "_HLS_msn"
	directivePart     = "_HLS_part"
)

// reloadTargets is how many target durations a reload may wait before it is answered with 503.
const reloadTargets = 3

// refreshEvery is how often a reload that waits looks whether the parents have a newer playlist than multicast brings.
const refreshEvery = time.Second

// reload holds a request for a playlist back until the playlist has what the request names. The encoder's playlist promises
// that where it says CAN-BLOCK-RELOAD, and whoever serves it has to keep the promise: a player that is answered at once asks
// again at once. In other playlists the directives mean nothing.
func reload(ctx context.Context, s *service.Service, name string, query url.Values) error {
	if !query.Has(directiveSequence) && !query.Has(directivePart) {
		return nil
	}
	sum, generation, ok := s.Summary(name)
	if !ok || !sum.Blocks || sum.Ended || sum.Master {
		return nil
	}
	sequence, err := strconv.ParseUint(query.Get(directiveSequence), 10, 64)
	part := -1
	if err == nil && query.Has(directivePart) {
		var n uint64
		n, err = strconv.ParseUint(query.Get(directivePart), 10, 31)
		part = int(n)
	}
	if err != nil || sequence > sum.Next+1 { // the last one, and two
		return badReload{}
	}
	end := time.Now().Add(reloadTargets * max(sum.Target, time.Second))
	for !sum.Has(sequence, part) && !sum.Ended {
		left := time.Until(end)
		if left <= 0 {
			return lateReload{}
		}
		s.AwaitNewer(ctx, name, generation, min(left, refreshEvery))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.Refresh(ctx, name)
		if sum, generation, ok = s.Summary(name); !ok {
			return nil
		}
	}
	return nil
}

// badReload is the error of directives that are none, or name what is too far ahead.
type badReload struct{}

func (badReload) Error() string   { return "no such delivery directives" }
func (badReload) StatusCode() int { return http.StatusBadRequest }

// lateReload is the error of a reload that has waited in vain.
type lateReload struct{}

func (lateReload) Error() string   { return "the playlist has not changed" }
func (lateReload) StatusCode() int { return http.StatusServiceUnavailable }
