//go:build unix

package resolver

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/treedn/treedn/driad/dns"
)

const confPath = "/etc/resolv.conf"

// System returns a resolver that asks the servers of /etc/resolv.conf, and the
// domains to search. Without servers there it asks this machine.
func System() (*Plain, []dns.Name, error) {
	f, err := os.Open(confPath)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrSystem, err)
	}
	defer func() { _ = f.Close() }()
	p, search, err := ParseConf(f)
	if err != nil {
		return nil, nil, err
	}
	if len(p.Servers) == 0 {
		p.Servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")} // resolv.conf(5)
	}
	return p, search, nil
}
