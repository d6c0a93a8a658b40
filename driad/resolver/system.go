package resolver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/treedn/treedn/driad/dns"
)

// ErrSystem is matched by the error of [System] where the servers of the system
// cannot be found out.
var ErrSystem = errors.New("resolver: the system's DNS servers are not known; configure some")

const maxServers = 3 // as resolv.conf(5)

// ParseConf reads the format of resolv.conf(5): the servers, and the domains to
// search. It understands the options timeout, attempts, rotate, use-vc and trust-ad;
// edns0 is how all are asked.
func ParseConf(r io.Reader) (*Plain, []dns.Name, error) {
	p := new(Plain)
	var search []dns.Name
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil && len(p.Servers) < maxServers {
				p.Servers = append(p.Servers, netip.AddrPortFrom(a, 53))
			}
		case "domain", "search": // the last one counts
			search = nil
			for _, s := range f[1:] {
				if n, err := dns.ParseName(s); err == nil && !n.IsRoot() {
					search = append(search, n)
				}
			}
		case "options":
			for _, o := range f[1:] {
				name, value, _ := strings.Cut(o, ":")
				n, err := strconv.Atoi(value)
				switch {
				case name == "timeout" && err == nil && n > 0:
					p.Timeout = time.Duration(min(n, 30)) * time.Second
				case name == "attempts" && err == nil && n > 0:
					p.Rounds = min(n, 5)
				case name == "rotate":
					p.Rotate = true
				case name == "use-vc":
					p.TCPOnly = true
				case name == "trust-ad":
					p.TrustAD = true
				}
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, nil, fmt.Errorf("resolver: %w", err)
	}
	return p, search, nil
}
