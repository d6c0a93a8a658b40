package ingest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/treedn/treedn/internal/manifest"
)

const (
	// bufferSize is the largest piece of a body that is handed on at once. It is
	// twice what FFmpeg writes.
	bufferSize = 64 << 10
	// farewell is how long a refused publisher may take to read why.
	farewell = 300 * time.Millisecond
	// maxIgnored bounds the bodies that nobody wants, such as those of DELETE.
	maxIgnored = 64 << 10
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// ServeHTTP takes PUT, POST and DELETE of one object.
//
// A refusal closes the connection, since FFmpeg does not look at the status. The
// http.Server needs no ReadTimeout, and its IdleTimeout, if set, should exceed
// the segment duration: FFmpeg's persistent connections rest that long.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t, ok := parsePath(r.URL.Path)
	switch r.Method {
	case http.MethodPut, http.MethodPost, http.MethodDelete:
	default:
		w.Header().Set("Allow", "PUT, POST, DELETE")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	c, hash, keyed, err := s.authorize(r, &t)
	if err == nil && !ok {
		if err = ErrName; len(t.name) > manifest.MaxName {
			c.refusedName()
		}
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	order := accepted(r)
	who := origin(r)
	who.standby = s.config.Standby != nil && s.config.Standby(r)
	if r.Method == http.MethodDelete {
		if err := c.remove(who, t.name); err != nil {
			s.refuse(w, r, err)
			return
		}
		_, _ = io.CopyN(io.Discard, r.Body, maxIgnored)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	tr := &transfer{
		name: t.name, contentType: r.Header.Get("Content-Type"), who: who,
		key: hash, keyed: keyed, pushed: true, order: order,
	}
	// FFmpeg closes a connection behind the last octet of a body. The object is
	// complete all the same, even if it has to wait; a body that breaks off shows
	// in reading.
	if err := c.open(context.WithoutCancel(r.Context()), tr); err != nil {
		s.refuse(w, r, err)
		return
	}
	if err := tr.finish(tr.receive(w, r.Body)); err != nil {
		s.refuse(w, r, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// connectionKey finds the time at which a connection was accepted.
type connectionKey struct{}

// acceptance is the time of one connection's acceptance, until its first request has
// taken it.
type acceptance struct {
	at    time.Time
	taken atomic.Bool
}

// ConnContext belongs into the field of http.Server of this name. FFmpeg opens a
// connection per request, and two that follow each other closely may be served
// in either order; the order in which they were accepted is the true one. Without
// it the older one of two manifests may stay.
func (s *Server) ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, &acceptance{at: s.config.Now()})
}

// accepted is when the connection of a request was accepted, if this is its
// first request; else zero.
func accepted(r *http.Request) time.Time {
	a, _ := r.Context().Value(connectionKey{}).(*acceptance)
	if a == nil || a.taken.Swap(true) {
		return time.Time{}
	}
	return a.at
}

// receive feeds the body to the transfer. It returns nil at its end.
func (t *transfer) receive(w http.ResponseWriter, body io.Reader) error {
	deadline := http.NewResponseController(w)
	// Who waits in Read learns of a cancellation by the deadline.
	release := context.AfterFunc(t.ctx, func() { _ = deadline.SetReadDeadline(time.Unix(1, 0)) })
	defer release()
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	var set time.Time
	for {
		idle := t.c.idle()
		if now := time.Now(); now.Sub(set) > idle/8 {
			_ = deadline.SetReadDeadline(now.Add(idle))
			set = now
			if t.ctx.Err() != nil {
				return context.Cause(t.ctx)
			}
		}
		n, err := body.Read(buf[:])
		if n > 0 {
			if err := t.write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err // finish knows of a cancellation behind it
		}
	}
}

// refuse answers with the reason and closes the connection.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	h := w.Header()
	code := status(err)
	if code == http.StatusUnauthorized {
		// FFmpeg sends a user name and password only after it was asked.
		h.Set("WWW-Authenticate", `Basic realm="treedn", charset="UTF-8"`)
	}
	h.Set("Connection", "close")
	control := http.NewResponseController(w)
	// Without full duplex the server would read the rest of the body before the
	// answer leaves, and a live body has no end.
	_ = control.EnableFullDuplex()
	http.Error(w, http.StatusText(code), code)
	_ = control.Flush()
	_ = control.SetReadDeadline(time.Now().Add(farewell))
	var broken *net.OpError
	if errors.As(err, &broken) || errors.Is(err, io.ErrUnexpectedEOF) || r.Context().Err() != nil {
		return // the publisher is gone; the channel's state tells of it
	}
	s.mu.Lock()
	now := time.Now()
	quiet := now.Sub(s.refusals) < time.Second
	if !quiet {
		s.refusals = now
	}
	s.mu.Unlock()
	if !quiet {
		s.config.Logger.Info("request refused", "remote", remote(r).String(), "status", code, "error", err)
	}
}

// authorize finds the channel of a request and checks its key, which it takes out
// of the name: names are published.
func (s *Server) authorize(r *http.Request, t *target) (c *channel, hash KeyHash, keyed bool, err error) {
	s.mu.Lock()
	c = s.channels[t.channel]
	anyKey := s.anyKey
	s.mu.Unlock()

	// The same work whether the channel exists or not, and whether it has keys.
	var ring keyring
	if c != nil {
		c.mu.Lock()
		ring = c.keys
		c.mu.Unlock()
	}
	if first, rest, ok := strings.Cut(t.name, "/"); ok && ring.find(HashKey(first)) {
		t.key, t.name = first, rest // a key without the prefix
	}
	key := presentedKey(r, t.key)
	hash = HashKey(key)
	valid := ring.find(hash) && key != ""
	open := !s.config.RequireKey && fromThisHost(r)
	switch {
	case c != nil && valid:
		return c, hash, true, nil
	case open && ring.n == 0 && c != nil:
		if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
			return nil, hash, false, ErrBrowser
		}
		return c, hash, false, nil
	case open && c == nil && !anyKey:
		return nil, hash, false, ErrUnknownChannel
	}
	return nil, hash, false, ErrUnauthorized
}

// fromThisHost is whether the connection cannot come from another host: both its
// ends are loopback addresses, and no proxy says that it passes on a request.
func fromThisHost(r *http.Request) bool {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return false
	}
	a, err := netip.ParseAddrPort(local.String())
	return err == nil && a.Addr().Unmap().IsLoopback() && remote(r).IsLoopback()
}

func remote(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// origin is who a request comes from. "localhost" has two addresses, and one
// process may use both.
func origin(r *http.Request) publisher {
	addr := remote(r)
	if addr.IsLoopback() {
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return publisher{addr: addr, agent: clip(r.UserAgent(), 128)}
}

// clip returns the first n octets of s without control characters, for logs and
// the page.
func clip(s string, n int) string {
	b := []byte(s[:min(n, len(s))])
	for i, c := range b {
		if c < 0x20 || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}
