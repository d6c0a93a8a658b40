package node

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/telemetry"
)

// Server is one HTTP listener of a node. HTTP/1.1 on plain connections; HTTP/2 and HTTP/1.1 by ALPN when it has a
// certificate.
type Server struct {
	ln     net.Listener
	bounds *bounds
	count  telemetry.Requests
	http   *http.Server
	cert   atomic.Pointer[tls.Certificate]
	done   chan struct{}
}

// Listen opens the address and serves until Shutdown. A nil certificate means plain HTTP.
func Listen(address string, cert *tls.Certificate, h http.Handler, log *slog.Logger) (*Server, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	b := newBounds(Limits{})
	return serve(boundedListener{ln, b}, b, cert, b.bodiless(h), nil, log), nil
}

func serve(ln net.Listener, b *bounds, cert *tls.Certificate, h http.Handler, connContext func(context.Context, net.Conn) context.Context, log *slog.Logger) *Server {
	s := &Server{ln: ln, bounds: b, done: make(chan struct{})}
	s.http = &http.Server{
		Handler: b.heard(s.count.Wrap(h)),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if connContext != nil {
				ctx = connContext(ctx, c)
			}
			return b.context(ctx, c)
		},
		ConnState:         b.state,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	serve := s.http.Serve
	if cert != nil {
		s.cert.Store(cert)
		s.http.TLSConfig = &tls.Config{
			MinVersion: tls.VersionTLS12,
			NextProtos: []string{"h2", "http/1.1"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				return s.cert.Load(), nil
			},
		}
		serve = func(ln net.Listener) error { return s.http.ServeTLS(ln, "", "") }
	}
	go func() {
		defer close(s.done)
		if err := serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("server ended", "address", ln.Addr().String(), "error", err)
		}
	}()
	return s
}

// Renew reads the certificate again, for connections made from now on. It has no effect on a plain server, nor on a nil
// one.
func (s *Server) Renew(t config.TLS) error {
	renew, err := s.Renewal(t)
	if err == nil {
		renew()
	}
	return err
}

// Renewal is Renew in two steps: what it returns makes the change, and cannot fail.
func (s *Server) Renewal(t config.TLS) (renew func(), err error) {
	if s == nil || !t.Enabled() || s.cert.Load() == nil {
		return func() {}, nil
	}
	cert, err := t.Certificate()
	if err != nil {
		return nil, err
	}
	return func() { s.cert.Store(&cert) }, nil
}

// SetLimits bounds the connections that come from now on. It has no effect on a nil server.
func (s *Server) SetLimits(l config.Limits) {
	if s != nil {
		s.bounds.set(l)
	}
}

// Status tells of the requests so far, and of the bounds on what the server's clients may take. A nil server has none.
func (s *Server) Status() *telemetry.Server {
	if s == nil {
		return new(telemetry.Requests).Server()
	}
	st := s.count.Server()
	st.Limits = s.bounds.status()
	return st
}

// Addr is the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// URL is the base URL of the server, without a final slash; empty for a nil server, one that is off.
func (s *Server) URL() string {
	if s == nil {
		return ""
	}
	scheme := "http"
	if s.cert.Load() != nil {
		scheme = "https"
	}
	return scheme + "://" + s.ln.Addr().String()
}

// ShutdownAll shuts servers down at the same time: none takes new connections while another one waits for its last requests.
func ShutdownAll(ctx context.Context, servers ...*Server) error {
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() { errs[i] = s.Shutdown(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Shutdown takes no new connections, lets requests end until ctx does, and then cuts them. It may be called more than
// once, and on a nil server.
func (s *Server) Shutdown(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.bounds.end()
	err := s.http.Shutdown(ctx)
	if ctx.Err() != nil {
		err = s.http.Close()
	}
	<-s.done
	return err
}
