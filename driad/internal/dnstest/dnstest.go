// Package dnstest runs other DNS programs for tests: BIND, NSD, Unbound, dig, kdig.
package dnstest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/driad/dns"
)

// Tool finds a program. Without it the test is skipped, or fails if TREEDN_REQUIRE
// lists dns.
func Tool(t testing.TB, name string) string {
	t.Helper()
	for _, n := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(n); err == nil {
			return path
		}
	}
	if required() {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func required() bool { return slices.Contains(strings.Split(os.Getenv("TREEDN_REQUIRE"), ","), "dns") }

// Run runs a program and returns what it prints.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, Tool(t, name), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s %s: %s%s", name, args, out, &stderr)
	return string(out)
}

// Address returns one of the loopback interface whose port is free for UDP and TCP.
func Address(t testing.TB) netip.AddrPort {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		a := l.Addr().(*net.TCPAddr).AddrPort()
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(a))
		_ = l.Close()
		if err == nil {
			_ = u.Close()
			return a
		}
	}
	t.Fatal("no free port")
	return netip.AddrPort{}
}

// Exchange sends a message by UDP and returns the first answer with its ID.
func Exchange(server netip.AddrPort, msg []byte, wait time.Duration) ([]byte, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(msg); err != nil {
		return nil, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	b := make([]byte, dns.MaxMessage)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return nil, err
		}
		if n > 2 && bytes.Equal(b[:2], msg[:2]) {
			return b[:n], nil
		}
	}
}

// Program is a server that runs until the test ends.
type Program struct {
	Dir string
	log *os.File
}

// Start writes files to a directory of their own, in which {dir} is replaced by it,
// runs a program there, and waits until the server answers.
func Start(t testing.TB, server netip.AddrPort, files map[string]string, name string, args ...string) *Program {
	t.Helper()
	path := Tool(t, name)
	p := &Program{Dir: t.TempDir()}
	for f, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(p.Dir, f), []byte(strings.ReplaceAll(content, "{dir}", p.Dir)), 0o600))
	}
	var err error
	p.log, err = os.Create(filepath.Join(p.Dir, "log"))
	require.NoError(t, err)
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.Dir, p.log, p.log
	require.NoError(t, cmd.Start())
	exited := make(chan struct{})
	go func() { defer close(exited); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		_ = p.log.Close()
		if t.Failed() {
			b, _ := os.ReadFile(p.log.Name())
			t.Logf("%s: %s", name, b)
		}
	})
	q := dns.Query{ID: 1, Question: dns.Question{Name: dns.MustParseName("ready.test"), Type: dns.TypeA}}
	for end := time.Now().Add(30 * time.Second); ; {
		if _, err := Exchange(server, q.AppendTo(nil), 200*time.Millisecond); err == nil {
			return p
		}
		select {
		case <-exited:
			if b, _ := os.ReadFile(p.log.Name()); bytes.Contains(bytes.ToLower(b), []byte("permission denied")) && !required() {
				t.Skipf("%s may not read its files in %s (AppArmor?)", name, p.Dir)
			}
			t.Fatalf("%s has ended", name)
		case <-time.After(50 * time.Millisecond):
		}
		require.True(t, time.Now().Before(end), "%s does not answer", name)
	}
}

// Certificate returns a certificate for dns.test and 127.0.0.1 and its key as PEM, and
// a pool that has it.
func Certificate(t testing.TB) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"dns.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	require.NoError(t, err)
	b, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	pool = x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(cert)))
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})), pool
}

// BIND is a name server with zones, on addresses for plain DNS, TLS and HTTPS.
type BIND struct {
	Plain, TLS, HTTPS netip.AddrPort
	Pool              *x509.CertPool
}

// StartBIND runs named with zones, whose files are by their names, as authority and
// as recursive resolver, and forwards zones in forward to other servers.
func StartBIND(t testing.TB, zones map[string]string, forward map[string]netip.AddrPort) *BIND {
	t.Helper()
	b := &BIND{Plain: Address(t), TLS: Address(t), HTTPS: Address(t)}
	files := make(map[string]string)
	files["cert.pem"], files["key.pem"], b.Pool = Certificate(t)
	conf := fmt.Sprintf(`
tls t { cert-file "{dir}/cert.pem"; key-file "{dir}/key.pem"; };
http h { endpoints { "/dns-query"; }; };
options {
	directory "{dir}"; pid-file "{dir}/named.pid"; session-keyfile "{dir}/session.key";
	listen-on port %d { 127.0.0.1; };
	listen-on port %d tls t { 127.0.0.1; };
	listen-on port %d tls t http h { 127.0.0.1; };
	listen-on-v6 { none; };
	recursion yes; allow-recursion { 127.0.0.0/8; }; allow-query { 127.0.0.0/8; };
	dnssec-validation no; empty-zones-enable no; minimal-responses yes;
};
controls { };
zone "." { type primary; file "root.zone"; };
`, b.Plain.Port(), b.TLS.Port(), b.HTTPS.Port())
	files["root.zone"] = "$TTL 300\n. IN SOA a. b. 1 7200 900 1209600 60\n. IN NS a.\na. IN A 127.0.0.1\n"
	for name, content := range zones {
		files[name+".zone"] = content
		conf += fmt.Sprintf("zone %q { type primary; file %q; };\n", name, name+".zone")
	}
	for name, server := range forward {
		files["root.zone"] += name + ". IN NS a.\n" // what is delegated can be forwarded
		conf += fmt.Sprintf("zone %q { type forward; forward only; forwarders { %s port %d; }; };\n", name, server.Addr(), server.Port())
	}
	files["named.conf"] = conf
	Start(t, b.Plain, files, "named", "-g", "-n", "1", "-c", "named.conf")
	return b
}

// StartBINDSecondary runs named at an address as a secondary of zones.
func StartBINDSecondary(t testing.TB, at, primary netip.AddrPort, zones ...string) {
	t.Helper()
	conf := fmt.Sprintf(`
options {
	directory "{dir}"; pid-file "{dir}/named.pid"; session-keyfile "{dir}/session.key";
	listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; };
	recursion no; dnssec-validation no; minimal-responses yes; minimal-any no;
};
controls { };
`, at.Port())
	for _, z := range zones {
		conf += fmt.Sprintf("zone %q { type secondary; file %q; primaries port %d { %s; }; notify no; };\n", z, z+".zone", primary.Port(), primary.Addr())
	}
	Start(t, at, map[string]string{"named.conf": conf}, "named", "-g", "-n", "1", "-c", "named.conf")
}

// StartNSDSecondary runs NSD at an address as a secondary of zones.
func StartNSDSecondary(t testing.TB, at, primary netip.AddrPort, zones ...string) {
	t.Helper()
	conf := fmt.Sprintf(nsdServer, at.Port())
	for _, z := range zones {
		conf += fmt.Sprintf("zone:\n\tname: %q\n\tzonefile: %q\n\trequest-xfr: %s@%d NOKEY\n\tallow-notify: %s NOKEY\n",
			z, z+".zone", primary.Addr(), primary.Port(), primary.Addr())
	}
	Start(t, at, map[string]string{"nsd.conf": conf}, "nsd", "-d", "-c", "nsd.conf")
}

const nsdServer = `
server:
	ip-address: 127.0.0.1@%d
	username: ""
	chroot: ""
	zonesdir: "{dir}"
	pidfile: ""
	zonelistfile: "{dir}/zone.list"
	xfrdfile: ""
	xfrdir: "{dir}"
	database: ""
	rrl-ratelimit: 0
remote-control:
	control-enable: no
`

// StartNSD runs NSD with zones, whose files are by their names.
func StartNSD(t testing.TB, zones map[string]string) netip.AddrPort {
	t.Helper()
	a := Address(t)
	files := make(map[string]string)
	conf := fmt.Sprintf(nsdServer, a.Port())
	for name, content := range zones {
		files[name+".zone"] = content
		conf += fmt.Sprintf("zone:\n\tname: %q\n\tzonefile: %q\n", name, name+".zone")
	}
	files["nsd.conf"] = conf
	Start(t, a, files, "nsd", "-d", "-c", "nsd.conf")
	return a
}

// StartUnbound runs unbound, which asks other servers about zones. Options are more
// lines of its configuration's section server, of which the last of a kind counts.
func StartUnbound(t testing.TB, stubs map[string]netip.AddrPort, options ...string) netip.AddrPort {
	t.Helper()
	a := Address(t)
	conf := fmt.Sprintf(`
server:
	interface: 127.0.0.1@%d
	access-control: 127.0.0.0/8 allow
	do-daemonize: no
	use-syslog: no
	logfile: ""
	username: ""
	chroot: ""
	directory: "{dir}"
	pidfile: ""
	module-config: "iterator"
	do-not-query-localhost: no
	root-hints: ""
	local-zone: "." static
	local-data: "ready.test. A 127.0.0.1"
remote-control:
	control-enable: no
`, a.Port())
	for _, o := range options {
		conf = strings.Replace(conf, "remote-control:", "\t"+o+"\nremote-control:", 1)
	}
	for name, server := range stubs {
		conf = strings.Replace(conf, "remote-control:", fmt.Sprintf("\tlocal-zone: %q transparent\nremote-control:", name), 1)
		conf += fmt.Sprintf("stub-zone:\n\tname: %q\n\tstub-addr: %s@%d\n", name, server.Addr(), server.Port())
	}
	Start(t, a, map[string]string{"unbound.conf": conf}, "unbound", "-d", "-c", "unbound.conf")
	return a
}
