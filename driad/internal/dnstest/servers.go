package dnstest

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"testing"
)

// StartKnot runs Knot DNS with zones, whose files are by their names.
func StartKnot(t testing.TB, zones map[string]string) netip.AddrPort {
	t.Helper()
	a := Address(t)
	files := make(map[string]string)
	conf := fmt.Sprintf(`
server:
    listen: 127.0.0.1@%d
    rundir: "{dir}"
    udp-workers: 1
    tcp-workers: 2
    background-workers: 1
database:
    storage: "{dir}"
log:
  - target: stderr
    any: warning
template:
  - id: default
    storage: "{dir}"
    zonefile-sync: -1
    journal-content: none
zone:
`, a.Port())
	for name, content := range zones {
		files[name+".zone"] = content
		conf += fmt.Sprintf("  - domain: %q\n    file: %q\n", name, name+".zone")
	}
	files["knot.conf"] = conf
	Start(t, a, files, "knotd", "-c", "knot.conf")
	return a
}

// StartKnotSecondary runs Knot DNS at an address as a secondary of zones.
func StartKnotSecondary(t testing.TB, at, primary netip.AddrPort, zones ...string) {
	t.Helper()
	conf := fmt.Sprintf(`
server:
    listen: 127.0.0.1@%d
    rundir: "{dir}"
    udp-workers: 1
    tcp-workers: 2
    background-workers: 1
database:
    storage: "{dir}"
log:
  - target: stderr
    any: info
remote:
  - id: primary
    address: %s@%d
acl:
  - id: primary
    address: %s
    action: notify
template:
  - id: default
    storage: "{dir}"
zone:
`, at.Port(), primary.Addr(), primary.Port(), primary.Addr())
	for _, z := range zones {
		conf += fmt.Sprintf("  - domain: %q\n    master: primary\n    acl: primary\n", z)
	}
	Start(t, at, map[string]string{"knot.conf": conf}, "knotd", "-c", "knot.conf")
}

// StartPowerDNS runs PowerDNS's authoritative server with zones, whose files are by
// their names.
func StartPowerDNS(t testing.TB, zones map[string]string) netip.AddrPort {
	t.Helper()
	a := Address(t)
	files := make(map[string]string)
	files["pdns.conf"] = fmt.Sprintf(`
launch=bind
bind-config={dir}/zones.conf
local-address=127.0.0.1
local-port=%d
socket-dir={dir}
setuid=
setgid=
daemon=no
guardian=no
cache-ttl=0
query-cache-ttl=0
`, a.Port())
	for name, content := range zones {
		files[name+".zone"] = content
		files["zones.conf"] += fmt.Sprintf("zone %q { type master; file \"{dir}/%s.zone\"; };\n", name, name)
	}
	Start(t, a, files, "pdns_server", "--config-dir=.")
	return a
}

// StartDnsmasq runs dnsmasq, which asks another server about everything.
func StartDnsmasq(t testing.TB, server netip.AddrPort) netip.AddrPort {
	t.Helper()
	a := Address(t)
	Start(t, a, map[string]string{"dnsmasq.conf": fmt.Sprintf(`
port=%d
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
user=root
pid-file={dir}/pid
log-facility=-
server=%s#%d
`, a.Port(), server.Addr(), server.Port())}, "dnsmasq", "--keep-in-foreground", "--conf-file=dnsmasq.conf")
	return a
}

// DNSDist is a load balancer that is asked by plain DNS, TLS and HTTPS.
type DNSDist struct {
	Plain, TLS, HTTPS netip.AddrPort
	Pool              *x509.CertPool
}

// StartDNSDist runs dnsdist in front of another server.
func StartDNSDist(t testing.TB, server netip.AddrPort) *DNSDist {
	t.Helper()
	d := &DNSDist{Plain: Address(t), TLS: Address(t), HTTPS: Address(t)}
	files := make(map[string]string)
	files["cert.pem"], files["key.pem"], d.Pool = Certificate(t)
	files["dnsdist.conf"] = fmt.Sprintf(`
setLocal(%q)
addTLSLocal(%q, "{dir}/cert.pem", "{dir}/key.pem")
addDOHLocal(%q, "{dir}/cert.pem", "{dir}/key.pem", "/dns-query")
newServer({address=%q, healthCheckMode="up"})
`, d.Plain, d.TLS, d.HTTPS, server)
	Start(t, d.Plain, files, "dnsdist", "--supervised", "--disable-syslog", "-C", "dnsdist.conf")
	return d
}
