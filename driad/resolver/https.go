package resolver

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/treedn/treedn/driad/dns"
)

// MediaType is that of DNS messages (RFC 8484 section 6).
const MediaType = "application/dns-message"

const httpTimeout = 10 * time.Second

// HTTPS asks by DNS over HTTPS (RFC 8484). It is safe for concurrent use.
type HTTPS struct {
	// URL is the server's, such as https://dns.example/dns-query, with or without
	// {?dns} at its end. Unless Client does otherwise, the system looks its name up, unprotected, which is as well: the
	// certificate tells whether it is the right one. With an address nothing is looked up.
	URL string
	// GET uses that method, whose answers caches may keep, instead of POST.
	GET bool
	// Client sends the requests. Default: one that waits up to 10 s.
	Client *http.Client

	dial Dial        // in place of net.Dialer's, for tests
	tls  *tls.Config // as well

	mu     sync.Mutex   // guards below
	client *http.Client // the default one
}

// HTTPError is returned for answers of other status than 200 to 299.
type HTTPError struct{ Status int }

// Error implements error.
func (e *HTTPError) Error() string {
	return fmt.Sprintf("HTTP status %d %s", e.Status, http.StatusText(e.Status))
}

// Resolve asks the server.
func (h *HTTPS) Resolve(ctx context.Context, q dns.Question) (dns.Response, error) {
	r, err := h.resolve(ctx, q)
	if err != nil {
		return r, fmt.Errorf("resolver: %s: %w", q, err)
	}
	return r, nil
}

func (h *HTTPS) resolve(ctx context.Context, q dns.Question) (dns.Response, error) {
	query := dns.NewQuery(q, false, dns.NewRand())
	query.ID = 0 // for caches (RFC 8484 section 4.1)
	query.Pad = !h.GET
	req, err := h.request(ctx, query.AppendTo(nil))
	if err != nil {
		return dns.Response{}, err
	}
	client := h.current()
	resp, err := client.Do(req)
	if err != nil {
		h.failed(client, err)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return dns.Response{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	if req.URL.Scheme == "https" && !secure(resp.Request) {
		return dns.Response{}, errRedirected
	}
	if resp.StatusCode/100 != 2 { // RFC 8484 section 4.2.1
		_, _ = io.CopyN(io.Discard, resp.Body, 4096)
		return dns.Response{}, &HTTPError{resp.StatusCode}
	}
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t != MediaType {
		return dns.Response{}, fmt.Errorf("answer of type %q", resp.Header.Get("Content-Type"))
	}
	msg, err := io.ReadAll(io.LimitReader(resp.Body, dns.MaxMessage+1))
	if err != nil {
		h.failed(client, err)
		return dns.Response{}, err
	}
	if len(msg) > dns.MaxMessage {
		return dns.Response{}, fmt.Errorf("%w: longer than %d octets", dns.ErrMessage, dns.MaxMessage)
	}
	if err := query.Check(msg); err != nil {
		return dns.Response{}, err
	}
	if binary.BigEndian.Uint16(msg[2:])&dns.FlagTruncated != 0 {
		return dns.Response{}, errTruncated
	}
	out := dns.Response{Message: msg, Trusted: secure(resp.Request)}
	freshness(resp.Header, &out)
	return out, nil
}

// current returns the client to use.
func (h *HTTPS) current() *http.Client {
	if h.Client != nil {
		return h.Client
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.client == nil {
		// Not the default transport: Close closes idle connections.
		h.client = &http.Client{Timeout: httpTimeout, Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
			DialContext: h.dial, TLSClientConfig: h.tls,
		}}
	}
	return h.client
}

// failed makes later questions go by other connections than those of a client which an
// answer did not come by in time: HTTP/2 would send all on the one that it has, and learn
// only from TCP, after many minutes, that nobody is there any more.
func (h *HTTPS) failed(client *http.Client, err error) {
	if timeout := net.Error(nil); h.Client != nil || !errors.As(err, &timeout) || !timeout.Timeout() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.client == client {
		h.client = nil
	}
	client.CloseIdleConnections() // and the others when they are
}

func (h *HTTPS) request(ctx context.Context, msg []byte) (*http.Request, error) {
	u, err := url.Parse(strings.TrimSuffix(h.URL, "{?dns}"))
	if err != nil {
		return nil, err
	}
	method, body := http.MethodPost, io.Reader(bytes.NewReader(msg))
	if h.GET {
		method, body = http.MethodGet, nil
		v := u.Query()
		v.Set("dns", base64.RawURLEncoding.EncodeToString(msg))
		u.RawQuery = v.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", MediaType)
	if body != nil {
		req.Header.Set("Content-Type", MediaType)
	}
	return req, nil
}

var errRedirected = errors.New("redirected to HTTP without TLS")

// secure reports whether a request, and those that were redirected to it, went by TLS.
func secure(r *http.Request) bool {
	for ; r != nil; r = r.Response.Request {
		if r.URL.Scheme != "https" {
			return false
		}
		if r.Response == nil {
			return true
		}
	}
	return false
}

// freshness reads what HTTP says about the age of an answer (RFC 8484 section 5.1).
func freshness(header http.Header, r *dns.Response) {
	seconds := func(s string) (time.Duration, bool) {
		v, err := strconv.ParseUint(strings.Trim(s, `"`), 10, 31)
		return time.Duration(v) * time.Second, err == nil
	}
	r.Age, _ = seconds(strings.TrimSpace(header.Get("Age")))
	for _, v := range header.Values("Cache-Control") {
		for d := range strings.SplitSeq(v, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(d), "=")
			if strings.EqualFold(name, "max-age") {
				if t, ok := seconds(value); ok {
					r.Fresh, r.HasFresh = max(t-r.Age, 0), true
				}
			}
		}
	}
}

// Close closes idle connections of the default client.
func (h *HTTPS) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.client != nil {
		h.client.CloseIdleConnections()
	}
	return nil
}
