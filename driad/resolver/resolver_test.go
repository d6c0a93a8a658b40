package resolver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/authority"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/resolver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var question = dns.Question{Name: dns.MustParseName("10.95.25.69.in-addr.arpa"), Type: dns.TypeAMTRELAY}

// newAuthority has n relays for the question's source.
func newAuthority(t testing.TB, n int) *authority.Authority {
	a, err := authority.New(authority.Config{MaxRecords: 200, Rate: -1, Zones: []authority.Zone{{
		Name: dns.MustParseName("69.in-addr.arpa"), NameServers: []dns.Name{dns.MustParseName("ns.example")}}}})
	require.NoError(t, err)
	var list []authority.Relay
	for i := range n {
		list = append(list, authority.Relay{Coverage: []netip.Prefix{netip.MustParsePrefix("69.0.0.0/8")}, Record: amtrelay.Record{
			Type: amtrelay.IPv4, Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), DiscoveryOptional: true}})
	}
	require.NoError(t, a.SetRelays(list))
	return a
}

// serve runs an authority's server on the loopback interface.
func serve(t testing.TB, a *authority.Authority) netip.AddrPort {
	s, err := authority.Listen(authority.ServerConfig{Authority: a, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}})
	require.NoError(t, err)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
	return s.Addrs()[0]
}

func records(t testing.TB, r dns.Response) int {
	a, err := dns.ParseAnswer(r.Message, question)
	require.NoError(t, err)
	return len(a.Records)
}

func TestPlain(t *testing.T) {
	for _, c := range []struct {
		n   int
		tcp bool
	}{{3, false}, {3, true}, {200, false}} { // 200 do not fit in a datagram
		p := &resolver.Plain{Servers: []netip.AddrPort{serve(t, newAuthority(t, c.n))}, TCPOnly: c.tcp}
		for range 3 {
			r, err := p.Resolve(t.Context(), question)
			require.NoError(t, err)
			require.Equal(t, c.n, records(t, r))
			require.False(t, r.Trusted, "whatever is on this machine may ask others")
		}
		require.NoError(t, p.Close())
	}
}

func TestPlainNextServer(t *testing.T) {
	// The first refuses, the second's port is closed, the third answers.
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	dead := closed.LocalAddr().(*net.UDPAddr).AddrPort()
	require.NoError(t, closed.Close())
	other, err := authority.New(authority.Config{Rate: -1})
	require.NoError(t, err)
	good := serve(t, newAuthority(t, 1))
	for _, tcp := range []bool{false, true} {
		p := &resolver.Plain{Servers: []netip.AddrPort{serve(t, other), dead, good}, TCPOnly: tcp, Timeout: 10 * time.Second}
		r, err := p.Resolve(t.Context(), question)
		require.NoError(t, err)
		require.Equal(t, 1, records(t, r))
		require.NoError(t, p.Close())
	}
	p := &resolver.Plain{Servers: []netip.AddrPort{dead}}
	_, err = p.Resolve(t.Context(), question)
	require.ErrorIs(t, err, dns.ErrTimeout)
	_, err = new(resolver.Plain).Resolve(t.Context(), question)
	require.ErrorIs(t, err, dns.ErrServers)
}

func TestPlainRotate(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		var all []*authority.Authority
		p := &resolver.Plain{Rotate: true, TCPOnly: tcp, Timeout: 10 * time.Second}
		for range 3 {
			a := newAuthority(t, 1)
			all = append(all, a)
			p.Servers = append(p.Servers, serve(t, a))
		}
		for range 6 {
			_, err := p.Resolve(t.Context(), question)
			require.NoError(t, err)
		}
		for _, a := range all {
			require.EqualValues(t, 2, a.Stats().Queries)
		}
		require.NoError(t, p.Close())
	}
}

// fake answers by UDP with what answer returns, and by TCP as the authority does.
func fake(t testing.TB, a *authority.Authority, answer func(query []byte) [][]byte) netip.AddrPort {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := server.Addr().(*net.TCPAddr).AddrPort()
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	require.NoError(t, err)
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		b := make([]byte, 2048)
		for {
			n, from, err := udp.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			for _, m := range answer(b[:n]) {
				_, _ = udp.WriteToUDPAddrPort(m, from)
			}
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			serveStream(conn, a)
		}
	}()
	t.Cleanup(func() {
		_ = udp.Close()
		_ = server.Close()
		<-done
		<-done
	})
	return at
}

// serveStream answers one question and closes the connection.
func serveStream(conn net.Conn, a *authority.Authority) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	msg := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, msg); err != nil {
		return
	}
	msg = a.Respond(time.Now(), netip.MustParseAddr("127.0.0.1"), false, msg, nil)
	_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
}

func TestPlainForgers(t *testing.T) {
	a := newAuthority(t, 1)
	evil := newAuthority(t, 66)
	for name, f := range map[string]func(q []byte) [][]byte{
		"guesses IDs, then the truth": func(q []byte) (out [][]byte) {
			for i := range 5 {
				b := evil.Respond(time.Now(), netip.Addr{}, true, q, nil)
				b[0] ^= byte(i + 1)
				out = append(out, b)
			}
			return append(out, a.Respond(time.Now(), netip.Addr{}, true, q, nil))
		},
		"guesses many IDs": func(q []byte) (out [][]byte) {
			for i := range 50 {
				b := evil.Respond(time.Now(), netip.Addr{}, true, q, nil)
				b[0] ^= byte(i + 1)
				out = append(out, b)
			}
			return out
		},
		"knows the ID, not the case": func(q []byte) [][]byte {
			b := evil.Respond(time.Now(), netip.Addr{}, true, q, nil)
			for i := range b[12:38] {
				if c := b[12+i]; 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
					b[12+i] ^= 0x20
				}
			}
			return [][]byte{b}
		},
		"answers another question": func(q []byte) [][]byte {
			b := evil.Respond(time.Now(), netip.Addr{}, true, q, nil)
			b[13] = '7'
			return [][]byte{b, a.Respond(time.Now(), netip.Addr{}, true, q, nil)}
		},
		"sends noise": func(q []byte) [][]byte {
			return [][]byte{{}, {1}, q, a.Respond(time.Now(), netip.Addr{}, true, q, nil)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &resolver.Plain{Servers: []netip.AddrPort{fake(t, a, f)}, Timeout: 20 * time.Second}
			r, err := p.Resolve(t.Context(), question)
			require.NoError(t, err)
			require.Equal(t, 1, records(t, r))
			require.NoError(t, p.Close())
		})
	}
}

// A server that changes the case of names, and does not speak TCP.
func TestKeepCase(t *testing.T) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	require.NoError(t, err)
	a := newAuthority(t, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			msg := a.Respond(time.Now(), from.Addr(), true, b[:n], nil)
			copy(msg[12:], strings.ToLower(string(msg[12:38])))
			_, _ = conn.WriteToUDPAddrPort(msg, from)
		}
	}()
	p := &resolver.Plain{Servers: []netip.AddrPort{conn.LocalAddr().(*net.UDPAddr).AddrPort()}}
	for _, p.KeepCase = range []bool{false, true} {
		r, err := p.Resolve(t.Context(), question)
		require.NoError(t, err)
		require.Equal(t, 1, records(t, r))
	}
	require.NoError(t, conn.Close())
	<-done
}

func TestContext(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	got := make(chan struct{})
	silent := fake(t, newAuthority(t, 1), func([]byte) [][]byte { cancel(cause); close(got); return nil })
	p := &resolver.Plain{Servers: []netip.AddrPort{silent}, Timeout: time.Minute}
	_, err := p.Resolve(ctx, question)
	require.ErrorIs(t, err, cause)
	<-got
}

// certificate returns one for 127.0.0.1 and dns.test, and a pool with it.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"dns.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	cert, pool := certificate(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"dot"}})
	require.NoError(t, err)
	a := newAuthority(t, 200)
	var conns, queries, padded atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			for range 2 { // then the server closes it
				var length [2]byte
				if _, err := io.ReadFull(conn, length[:]); err != nil {
					break
				}
				msg := make([]byte, binary.BigEndian.Uint16(length[:]))
				_, _ = io.ReadFull(conn, msg)
				queries.Add(1)
				if len(msg)%128 == 0 {
					padded.Add(1)
				}
				msg = a.Respond(time.Now(), netip.MustParseAddr("127.0.0.1"), false, msg, nil)
				_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
			}
			_ = conn.Close()
		}
	}()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	for _, name := range []string{"", "dns.test"} {
		r := &resolver.TLS{Servers: []netip.AddrPort{at}, Name: name, Config: &tls.Config{RootCAs: pool}}
		for range 4 {
			m, err := r.Resolve(t.Context(), question)
			require.NoError(t, err)
			require.Equal(t, 200, records(t, m))
			require.True(t, m.Trusted)
		}
		require.NoError(t, r.Close())
	}
	require.EqualValues(t, 8, queries.Load())
	require.EqualValues(t, 8, padded.Load())
	require.EqualValues(t, 4, conns.Load(), "connections are used again")
	for _, bad := range []*resolver.TLS{
		{Servers: []netip.AddrPort{at}, Name: "other.test", Config: &tls.Config{RootCAs: pool}},
		{Servers: []netip.AddrPort{at}, Name: "dns.test", Config: &tls.Config{RootCAs: x509.NewCertPool()}},
	} {
		_, err := bad.Resolve(t.Context(), question)
		var invalid *tls.CertificateVerificationError
		require.ErrorAs(t, err, &invalid)
	}
	require.NoError(t, l.Close())
	<-done
}

func TestHTTPS(t *testing.T) {
	a := newAuthority(t, 200)
	var version atomic.Value
	mux := http.NewServeMux()
	mux.HandleFunc("/dns-query", func(w http.ResponseWriter, r *http.Request) {
		version.Store(r.Proto)
		var msg []byte
		if r.Method == http.MethodGet {
			msg, _ = base64.RawURLEncoding.DecodeString(r.URL.Query().Get("dns"))
		} else if r.Header.Get("Content-Type") == resolver.MediaType {
			msg, _ = io.ReadAll(r.Body)
		}
		if len(msg) < 12 || msg[0] != 0 || msg[1] != 0 || r.Header.Get("Accept") != resolver.MediaType {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", resolver.MediaType)
		w.Header().Set("Cache-Control", "public, max-age=250")
		w.Header().Set("Age", "200")
		_, _ = w.Write(a.Respond(time.Now(), netip.MustParseAddr("127.0.0.1"), false, msg, nil))
	})
	mux.HandleFunc("/text", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "no") })
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", resolver.MediaType)
		_, _ = w.Write(make([]byte, 70000))
	})
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	for _, get := range []bool{false, true} {
		h := &resolver.HTTPS{URL: server.URL + "/dns-query{?dns}", GET: get, Client: server.Client()}
		r, err := h.Resolve(t.Context(), question)
		require.NoError(t, err)
		require.Equal(t, 200, records(t, r))
		require.Equal(t, dns.Response{Message: r.Message, Trusted: true, Age: 200 * time.Second, Fresh: 50 * time.Second, HasFresh: true}, r)
		require.Equal(t, "HTTP/2.0", version.Load())
	}
	clear := httptest.NewServer(mux)
	defer clear.Close()
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, server.URL+"/dns-query", http.StatusPermanentRedirect)
	})
	mux.HandleFunc("/downgrade", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, clear.URL+"/moved", http.StatusPermanentRedirect)
	})
	for url, trusted := range map[string]bool{server.URL + "/moved": true, clear.URL + "/dns-query": false, clear.URL + "/moved": false} {
		r, err := (&resolver.HTTPS{URL: url, Client: server.Client()}).Resolve(t.Context(), question)
		require.NoError(t, err)
		require.Equal(t, 200, records(t, r))
		require.Equal(t, trusted, r.Trusted, url)
	}
	for path, want := range map[string]string{"/none": "404", "/text": "type", "/long": "longer", "/downgrade": "without TLS"} {
		_, err := (&resolver.HTTPS{URL: server.URL + path, Client: server.Client()}).Resolve(t.Context(), question)
		require.ErrorContains(t, err, want)
	}
	var status *resolver.HTTPError
	_, err := (&resolver.HTTPS{URL: server.URL + "/none", Client: server.Client()}).Resolve(t.Context(), question)
	require.ErrorAs(t, err, &status)
	require.Equal(t, 404, status.Status)
	h := &resolver.HTTPS{URL: server.URL + "/dns-query"}
	_, err = h.Resolve(t.Context(), question)
	var invalid *tls.CertificateVerificationError
	require.ErrorAs(t, err, &invalid)
	require.NoError(t, h.Close())
}

func TestParseConf(t *testing.T) {
	p, search, err := resolver.ParseConf(strings.NewReader(`# comment
domain old.example
nameserver 192.0.2.53 ; comment
nameserver 2001:db8::53
nameserver fe80::1%eth0
nameserver 192.0.2.54
nameserver x
search Example.COM. lab.example.com
options ndots:2 timeout:3 attempts:2 trust-ad use-vc rotate edns0
`))
	require.NoError(t, err)
	require.Equal(t, []dns.Name{dns.MustParseName("Example.COM"), dns.MustParseName("lab.example.com")}, search)
	require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("[2001:db8::53]:53"),
		netip.MustParseAddrPort("[fe80::1%eth0]:53")}, p.Servers)
	require.Equal(t, 3*time.Second, p.Timeout)
	require.Equal(t, 2, p.Rounds)
	require.True(t, p.TCPOnly)
	require.True(t, p.Rotate)
	require.True(t, p.TrustAD)
}
