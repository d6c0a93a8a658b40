package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/config"
)

// certificate writes a certificate for 127.0.0.1 that signs itself.
func certificate(t *testing.T, dir, name string) (config.TLS, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	c := config.TLS{Cert: config.Path(filepath.Join(dir, "cert.pem")), Key: config.Path(filepath.Join(dir, "key.pem"))}
	write(t, string(c.Cert), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, string(c.Key), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool.AddCert(parsed)
	return c, pool
}

var local = config.ListenOn(netip.MustParseAddrPort("127.0.0.1:0"))

func open(t *testing.T, c config.TLS, h http.HandlerFunc) *Server {
	t.Helper()
	s, err := Open(local, c, h, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Shutdown(AtOnce())) })
	return s
}

func TestServerWithCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, roots := certificate(t, dir, "one")
	s := open(t, cert, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	require.Regexp(t, `^https://127\.0\.0\.1:\d+$`, s.URL())

	get := func(roots *x509.CertPool, h2 bool) (proto, name string, err error) {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: h2}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr}).Get(s.URL())
		if err != nil {
			return "", "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return string(body), resp.TLS.PeerCertificates[0].Subject.CommonName, err
	}
	for h2, want := range map[bool]string{true: "HTTP/2.0", false: "HTTP/1.1"} {
		proto, name, err := get(roots, h2)
		require.NoError(t, err)
		require.Equal(t, want, proto)
		require.Equal(t, "one", name)
	}
	_, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11})
	require.Error(t, err)

	// A new certificate in the same files serves from the next connection on; a broken one leaves the old.
	_, more := certificate(t, dir, "two")
	require.NoError(t, s.Renew(cert))
	_, name, err := get(more, true)
	require.NoError(t, err)
	require.Equal(t, "two", name)
	write(t, string(cert.Cert), "broken")
	require.Error(t, s.Renew(cert))
	_, name, err = get(more, true)
	require.NoError(t, err)
	require.Equal(t, "two", name)

	_, err = Open(local, cert, nil, slog.New(slog.DiscardHandler))
	require.Error(t, err)
}

func TestServerThatIsOff(t *testing.T) {
	var off config.Listen
	require.NoError(t, off.UnmarshalText([]byte("off")))
	s, err := Open(off, config.TLS{}, nil, nil)
	require.NoError(t, err)
	require.Nil(t, s)
	require.Empty(t, s.URL())
	require.NoError(t, s.Renew(config.TLS{Cert: "none", Key: "none"}))
	require.NoError(t, s.Shutdown(t.Context()))
}

func TestServerTaken(t *testing.T) {
	s := open(t, config.TLS{}, nil)
	var same config.Listen
	require.NoError(t, same.UnmarshalText([]byte(s.Addr().String())))
	_, err := Open(same, config.TLS{}, nil, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, s.Addr().String())
}

func TestShutdownLetsRequestsEndAndCutsThemThen(t *testing.T) {
	begun, end := make(chan struct{}, 2), make(chan struct{})
	h := func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		select {
		case <-end:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "whole")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(s *Server) <-chan string {
		answer := make(chan string, 1)
		go func() {
			resp, err := client.Get(s.URL())
			if err != nil {
				answer <- "cut"
				return
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			answer <- string(body)
		}()
		<-begun
		return answer
	}
	s := open(t, config.TLS{}, h)
	answer := ask(s)
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(t.Context()) }()
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", s.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	}, 5*time.Second, time.Millisecond, "new connections are taken")
	close(end)
	require.Equal(t, "whole", <-answer)
	require.NoError(t, <-done)
	require.NoError(t, s.Shutdown(t.Context()))

	end = make(chan struct{})
	s = open(t, config.TLS{}, h)
	answer = ask(s)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.NoError(t, s.Shutdown(ctx), "cutting what takes too long is no failure")
	require.Equal(t, "cut", <-answer)
}

// Connections that clients have opened in store, as browsers and pools do, keep a server from ending no longer than those
// that wait for another request.
func TestShutdownDoesNotWaitForConnectionsInStore(t *testing.T) {
	cert, roots := certificate(t, t.TempDir(), "one")
	for _, c := range []config.TLS{{}, cert} {
		s := open(t, c, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "small") })
		conn, err := net.Dial("tcp", s.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		used, err := net.Dial("tcp", s.Addr().String())
		require.NoError(t, err)
		defer used.Close()
		if c.Enabled() {
			conn, used = tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}), tls.Client(used, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
			require.NoError(t, conn.(*tls.Conn).HandshakeContext(t.Context()))
		}
		require.True(t, served(used))
		require.Eventually(t, func() bool { return limitOf(t, s, "connections").Used == 2 }, 5*time.Second, time.Millisecond)
		begun := time.Now()
		require.NoError(t, s.Shutdown(t.Context()))
		require.Less(t, time.Since(begun), 4*time.Second, "five seconds are those of an http.Server")
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err = io.Copy(io.Discard, conn)
		require.False(t, errors.Is(err, os.ErrDeadlineExceeded))
	}
}
