package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/treedn/treedn/cache/internal/byterange"
)

// Defaults of ServeOptions.
const (
	DefaultMaxAge       = time.Second
	DefaultWait         = 10 * time.Second
	DefaultWriteTimeout = 30 * time.Second
)

// ServeOptions says how objects are served. The zero value is useful.
type ServeOptions struct {
	// MaxAge is the freshness of objects that are no playlists from the answer
	// on, in whole seconds; less than one means no-cache. As a name stands for
	// its object until another one has it, it is on top of Age: without that
	// every object older than MaxAge would be stale for a cache in front
	// (RFC 9111, section 4.2). Set it to one segment duration
	// at most: an encoder that restarts uses its names again. Zero:
	// DefaultMaxAge. Negative: no-cache. Playlists are no-cache always.
	// Meta.CacheControl takes precedence.
	MaxAge time.Duration
	// Wait is how long a request waits for the first octet that it needs of a
	// growing object before it is answered with 503. Zero: DefaultWait.
	Wait time.Duration
	// WriteTimeout is how long a client may take no octet before it is cut
	// off. Zero: DefaultWriteTimeout. Negative: never.
	WriteTimeout time.Duration
	// Node names this node in Cache-Status (RFC 9211). Empty: no such field.
	Node string
	// Status is the rest of Cache-Status. Empty: "hit".
	Status string
}

// ServeObject answers r with the object: GET, HEAD and OPTIONS, conditions,
// ranges. What grows is sent as it grows. If the object is aborted or cannot
// be read to its end, the connection breaks (panic with http.ErrAbortHandler)
// rather than that a short answer looks complete.
func ServeObject(w http.ResponseWriter, r *http.Request, o *Object, opts ServeOptions) {
	if err := serveObject(w, r, o, &opts); err != nil {
		ServeError(w, r, err)
	}
}

// serveObject returns an error only if nothing has been written.
func serveObject(w http.ResponseWriter, r *http.Request, o *Object, opts *ServeOptions) error {
	h := w.Header()
	setCommon(h)
	if !allowed(w, r) {
		return nil
	}
	etag := o.ETag()
	h.Set("Etag", etag)
	age := max(0, o.store.cfg.Now().Sub(o.meta.Created)).Truncate(time.Second)
	h.Set("Cache-Control", o.cacheControl(opts, age))
	h.Set("Age", strconv.FormatInt(int64(age/time.Second), 10))
	if opts.Node != "" {
		h.Set("Cache-Status", cacheStatus(opts))
	}
	if status := precondition(r.Header, etag); status != 0 {
		w.WriteHeader(status)
		return nil
	}
	h.Set("Content-Type", o.contentType())
	if _, final, _ := o.Size(); final {
		// What grows is not announced as seekable, though ranges of it are
		// answered: FFmpeg would first read a seekable input to its end.
		h.Set("Accept-Ranges", "bytes")
	}
	if r.Method == http.MethodHead {
		_, _, err := o.Size()
		if err != nil {
			return err
		}
		if total := o.total(); total >= 0 {
			h.Set("Content-Length", strconv.FormatInt(total, 10))
		}
		w.WriteHeader(http.StatusOK)
		return nil
	}
	rd, err := o.NewReader(r.Context(), 0)
	if err != nil {
		return err
	}
	defer rd.Close()
	a := answer{w: w, r: r, rd: rd, obj: o, opts: opts, rc: http.NewResponseController(w)}
	var specs []byterange.Spec
	if f := r.Header["Range"]; len(f) == 1 && ifRange(r.Header, etag) {
		var few [2]byterange.Spec
		specs, _ = byterange.Parse(few[:0], f[0])
	}
	return a.run(specs)
}

// total returns the length of the whole object, or -1 while nobody knows it.
func (o *Object) total() int64 {
	if n, final, _ := o.Size(); final {
		return n
	}
	if o.meta.Length > 0 {
		return o.meta.Length
	}
	return -1
}

func (o *Object) contentType() string {
	if o.meta.ContentType != "" {
		return o.meta.ContentType
	}
	return ContentType(o.key.Name)
}

func (o *Object) cacheControl(opts *ServeOptions, age time.Duration) string {
	if o.meta.CacheControl != "" {
		return o.meta.CacheControl
	}
	fresh := opts.MaxAge
	if fresh == 0 {
		fresh = DefaultMaxAge
	}
	if fresh < time.Second || isManifest(o.contentType()) {
		return "no-cache"
	}
	return "max-age=" + strconv.FormatInt(int64((age+fresh)/time.Second), 10)
}

// answer is the answer to one GET.
type answer struct {
	w    http.ResponseWriter
	r    *http.Request
	rc   *http.ResponseController
	rd   *Reader
	obj  *Object
	opts *ServeOptions
}

func (a *answer) run(specs []byterange.Spec) error {
	specs, err := a.await(specs)
	if err != nil {
		return err
	}
	n, final, _ := a.rd.size()
	total := a.rd.total()
	if !final && total < 0 && len(specs) == 1 && live(specs[0]) {
		return a.live(specs[0])
	}
	if len(specs) == 0 || total == 0 {
		// Section 14.2: nothing of an empty representation is a range.
		return a.whole(total)
	}
	limit := total
	if total < 0 {
		limit = n
	}
	ranges, few := byterange.Fit(specs, limit)
	switch {
	case !few:
		return a.whole(total)
	case len(ranges) == 0:
		return a.unsatisfiable(total)
	case len(ranges) == 1:
		return a.single(ranges[0], total)
	}
	return a.multi(ranges, total)
}

// await waits for the first octet that the answer needs, so that what dies
// before it still gets a proper status. It returns the ranges that count.
//
// Of a growing object, "bytes=0-", which FFmpeg and browsers send by habit, is
// answered with the whole: with 206 and no length they would take it for ended
// at today's last octet, and with a length for seekable. A suffix has no place
// before the length is known. Both are ignored, as section 14.2 allows.
func (a *answer) await(specs []byterange.Spec) ([]byterange.Spec, error) {
	if _, final, _ := a.rd.size(); !final && slices.ContainsFunc(specs, func(s byterange.Spec) bool {
		return s == byterange.Spec{First: 0, Last: -1} || (s.First < 0 && a.rd.total() < 0)
	}) {
		specs = nil
	}
	first := int64(0)
	if len(specs) > 0 {
		first = math.MaxInt64
		for _, s := range specs {
			if s.First < 0 {
				s.First = max(0, a.rd.total()-s.Last)
			}
			first = min(first, s.First)
		}
	}
	if total := a.rd.total(); total >= 0 && first >= total {
		return specs, nil
	}
	if a.rd.body == nil {
		// A sealed file that does not open is a miss, not a broken answer.
		_, err := a.rd.peek(first, 1)
		return specs, err
	}
	n := first + 1
	if !a.r.ProtoAtLeast(1, 1) && a.rd.total() < 0 && (len(specs) == 0 || slices.ContainsFunc(specs, live)) {
		n = math.MaxInt64 // without chunked coding an end and an abort look the same
	}
	size, final, err := a.rd.size()
	if size >= n || final || err != nil {
		return specs, err
	}
	wait := a.opts.Wait
	if wait == 0 {
		wait = DefaultWait
	}
	ctx, cancel := context.WithTimeout(a.r.Context(), wait)
	defer cancel()
	if err := a.rd.body.waitPrefix(ctx, n); err != nil && err != io.EOF {
		return nil, err
	}
	return specs, nil
}

// veryLarge is the least last position that asks for what is still to come: 2^53-1, the one that RFC 8673 recommends.
const veryLarge = 1<<53 - 1

// live tells whether a range goes on with the object (RFC 8673, section 2.2).
func live(s byterange.Spec) bool { return s.First >= 0 && s.Last >= veryLarge }

// live answers a range of an object that grows with what it has from there on, and with all that comes until its end
// (RFC 8673, section 2.2). Whoever was cut off goes on so from its last octet.
func (a *answer) live(s byterange.Spec) error {
	h := a.w.Header()
	h.Set("Content-Range", contentRange(byterange.Range{Offset: s.First, Length: s.Last - s.First + 1}, -1))
	a.w.WriteHeader(http.StatusPartialContent)
	a.copy(s.First, -1)
	a.end()
	return nil
}

// whole answers 200. While the length is unknown it is chunked.
func (a *answer) whole(total int64) error {
	if total >= 0 {
		a.w.Header().Set("Content-Length", strconv.FormatInt(total, 10))
	}
	a.w.WriteHeader(http.StatusOK)
	a.copy(0, total)
	a.end()
	return nil
}

func (a *answer) single(r byterange.Range, total int64) error {
	h := a.w.Header()
	h.Set("Content-Range", contentRange(r, total))
	h.Set("Content-Length", strconv.FormatInt(r.Length, 10))
	a.w.WriteHeader(http.StatusPartialContent)
	a.copy(r.Offset, r.Length)
	a.end()
	return nil
}

// multi answers multipart/byteranges (section 14.6).
func (a *answer) multi(ranges []byterange.Range, total int64) error {
	h := a.w.Header()
	boundary := rand.Text()
	head := make([]string, len(ranges))
	tail := "\r\n--" + boundary + "--\r\n"
	length := int64(len(tail))
	for i, r := range ranges {
		head[i] = "--" + boundary + "\r\nContent-Type: " + h.Get("Content-Type") +
			"\r\nContent-Range: " + contentRange(r, total) + "\r\n\r\n"
		if i > 0 {
			head[i] = "\r\n" + head[i]
		}
		length += int64(len(head[i])) + r.Length
	}
	h.Set("Content-Type", "multipart/byteranges; boundary="+boundary)
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	a.w.WriteHeader(http.StatusPartialContent)
	for i, r := range ranges {
		a.write([]byte(head[i]))
		a.copy(r.Offset, r.Length)
	}
	a.write([]byte(tail))
	a.end()
	return nil
}

// unsatisfiable answers 416. Without a known length Content-Range has no form
// (section 14.4).
func (a *answer) unsatisfiable(total int64) error {
	h := a.w.Header()
	h.Del("Content-Type")
	if total >= 0 {
		h.Set("Content-Range", "bytes */"+strconv.FormatInt(total, 10))
	}
	h.Set("Content-Length", "0")
	a.w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
	return nil
}

func contentRange(r byterange.Range, total int64) string {
	b := make([]byte, 0, 64)
	b = append(b, "bytes "...)
	b = strconv.AppendInt(b, r.Offset, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, r.Offset+r.Length-1, 10)
	b = append(b, '/')
	if total < 0 {
		return string(append(b, '*'))
	}
	return string(strconv.AppendInt(b, total, 10))
}

// copy sends n octets from off on; n < 0: up to the end of the object. Octets
// in memory are written from where they lie.
func (a *answer) copy(off, n int64) {
	for n != 0 {
		want := n
		if n < 0 {
			want = diskBuffer
		}
		p, err := a.rd.peek(off, want)
		if err == io.EOF && n < 0 {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if len(p) == 0 {
			// All there is leaves before the wait for more.
			a.deadline()
			if err := a.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
				panic(http.ErrAbortHandler)
			}
			if err := a.rd.await(off); err != nil {
				panic(http.ErrAbortHandler)
			}
			continue
		}
		if n > 0 {
			p = p[:min(int64(len(p)), n)]
			n -= int64(len(p))
		}
		off += int64(len(p))
		a.write(p)
	}
}

func (a *answer) write(p []byte) {
	a.deadline()
	if _, err := a.w.Write(p); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// deadline gives the client its time for what is written next.
func (a *answer) deadline() {
	t := a.opts.WriteTimeout
	if t == 0 {
		t = DefaultWriteTimeout
	}
	if t > 0 {
		_ = a.rc.SetWriteDeadline(time.Now().Add(t)) // a recorder has none
	}
}

// end takes the deadline off a connection that other requests will use. What
// is buffered has to leave first, while the deadline holds.
func (a *answer) end() {
	if a.r.ProtoMajor != 1 || a.opts.WriteTimeout < 0 {
		return
	}
	_ = a.rc.Flush()
	_ = a.rc.SetWriteDeadline(time.Time{})
}
