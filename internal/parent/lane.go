package parent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/treedn/treedn/internal/manifest"
	"github.com/treedn/treedn/internal/service"
)

// lane is one request to one parent. Its goroutine tells the transfer what happens; all else belongs to the transfer.
type lane struct {
	up      *upstream
	from    int64 // first octet asked for
	started time.Time
	stop    context.CancelFunc
	release chan struct{} // the transfer has done with an event

	// Of the transfer.
	alive   time.Time // last sign of life
	answers bool      // the head of the answer is here
	off     int64     // the next octet
	end     int64     // where the answer ends; -1: with the object
	total   int64     // length of the object, -1 while unknown
}

// event is something that happened on a lane.
type event struct {
	lane *lane
	kind eventKind
	head head   // of answered
	data []byte // of brought; valid until the event is released
	err  error  // of ended; nil at the end of the answer
}

type eventKind uint8

const (
	lives    eventKind = iota // an interim response has come
	answered                  // the head of the answer has come
	brought                   // octets have come
	ended                     // nothing more comes
)

// head is what the head of an answer says.
type head struct {
	meta  service.Meta
	etag  string
	first int64 // the octet that it begins with
	end   int64 // where it ends; -1: with the object
	total int64 // length of the object, -1 while unknown
}

// Errors that end a lane and say nothing against its parent.
var (
	errOther        = errors.New("parent: it has another generation")
	errNotNow error = &failure{"it has nothing for now", http.StatusServiceUnavailable}
)

// statusError is an answer that is of no use.
type statusError struct {
	host   string
	status string
}

func (e *statusError) Error() string { return fmt.Sprintf("parent: %s answered %s", e.host, e.status) }

// hasAll ends a lane that asked for what is behind the end of the object.
type hasAll struct{ length int64 }

func (e *hasAll) Error() string { return fmt.Sprintf("parent: the object has %d octets", e.length) }

// liveEnd is the last position of a range that goes on with the object (RFC 8673, section 2.2).
const liveEnd = 1<<53 - 1

// run makes the request. It ends after the event ended, or with ctx.
func (l *lane) run(ctx context.Context, t *transfer) {
	send := func(e event) bool {
		e.lane = l
		select {
		case t.events <- e:
		case <-ctx.Done():
			return false
		}
		select {
		case <-l.release:
			return true
		case <-ctx.Done():
			return false
		}
	}
	send(event{kind: ended, err: l.exchange(ctx, t, send)})
}

func (l *lane) exchange(ctx context.Context, t *transfer, send func(event) bool) error {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			if !send(event{kind: lives}) {
				return context.Canceled
			}
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, manifest.JoinURL(l.up.base, t.r.Service, t.r.Name).String(), nil)
	if err != nil {
		return err
	}
	t.header(req.Header, l.from)
	t.client.requests.Add(1)
	resp, err := l.up.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	h, err := l.read(t, resp)
	if err != nil {
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // a short body lets the connection be used again
		return err
	}
	if !send(event{kind: answered, head: h}) {
		return context.Cause(ctx)
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 && !send(event{kind: brought, data: buf[:n]}) {
			return context.Cause(ctx)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// header writes the fields of a request.
func (t *transfer) header(h http.Header, from int64) {
	h.Set("Accept-Encoding", "identity")
	via := t.via
	if via != "" {
		via += ", "
	}
	h.Set("Via", via+"1.1 "+t.client.node)
	if left, ok := service.Patience(t.ctx); ok {
		h.Set(WaitHeader, strconv.FormatInt(left.Milliseconds(), 10))
	}
	if from > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-%d", from, int64(liveEnd)))
	}
	if t.r.Generation != 0 {
		h.Set("If-Match", ETag(t.r.Generation))
	} else if t.r.After != 0 {
		h.Set("If-None-Match", ETag(t.r.After))
	}
}

// read reads the head of an answer.
func (l *lane) read(t *transfer, resp *http.Response) (head, error) {
	h := head{total: -1, end: -1, etag: resp.Header.Get("Etag")}
	host := l.up.base.Host
	switch resp.StatusCode {
	case http.StatusOK:
		if resp.ContentLength >= 0 {
			h.end, h.total = resp.ContentLength, resp.ContentLength
		}
	case http.StatusPartialContent:
		var ok bool
		if h.first, h.end, h.total, ok = parseContentRange(resp.Header.Get("Content-Range")); !ok || l.from == 0 || h.first != l.from {
			return h, &statusError{host, "another range"}
		}
	case http.StatusRequestedRangeNotSatisfiable:
		if n, ok := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes */"); ok {
			if total, err := strconv.ParseInt(n, 10, 64); err == nil {
				return h, &hasAll{total}
			}
		}
		return h, errNotNow
	case http.StatusNotModified:
		return h, service.ErrUnchanged
	case http.StatusNotFound, http.StatusGone:
		return h, service.ErrNotFound
	case http.StatusPreconditionFailed:
		return h, errOther
	case http.StatusTooEarly, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return h, errNotNow
	default:
		return h, &statusError{host, resp.Status}
	}
	generation, ok := ParseETag(h.etag)
	if !ok {
		return h, &statusError{host, "without a generation"}
	}
	if generation <= t.r.After {
		return h, service.ErrUnchanged // a parent that is behind this node
	}
	h.meta = service.Meta{
		Name: t.r.Name, ContentType: resp.Header.Get("Content-Type"), Generation: generation, Length: h.total, Fallback: true,
	}
	return h, nil
}

// parseContentRange reads the field Content-Range. The end is -1 where the range goes on with the object, total -1 where
// the length is unknown.
func parseContentRange(s string) (first, end, total int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	span, length, cut := strings.Cut(s, "/")
	a, b, dash := strings.Cut(span, "-")
	if !ok || !cut || !dash {
		return 0, 0, 0, false
	}
	first, err := strconv.ParseInt(a, 10, 64)
	last, err2 := strconv.ParseInt(b, 10, 64)
	if err != nil || err2 != nil || first < 0 || last < first {
		return 0, 0, 0, false
	}
	total, end = -1, last+1
	if length != "*" {
		if total, err = strconv.ParseInt(length, 10, 64); err != nil || total < end {
			return 0, 0, 0, false
		}
	} else if last >= liveEnd {
		end = -1
	}
	return first, end, total, true
}
