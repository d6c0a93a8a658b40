package gateway

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/treedn/treedn/amt"
)

// networkInterval is how often the machine's network is looked at.
const networkInterval = 5 * time.Second

// watchNetwork calls changed when look returns something else than before, and the same again after the interval: what
// comes and goes, as addresses do one after the other, counts once. stop ends it and waits for that.
func watchNetwork(look func() string, changed func()) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	told := look()
	go func() {
		defer close(ended)
		tick := time.NewTicker(networkInterval)
		defer tick.Stop()
		last := told
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			now := look()
			if now == last && now != told {
				told = now
				changed()
			}
			last = now
		}
	}()
	return sync.OnceFunc(func() {
		close(end)
		<-ended
	})
}

// network tells one network from another by the machine's addresses and those of them from which packets to the anycast
// addresses of relays leave. Of IPv6 the prefixes count, since hosts change the rest by themselves (RFC 8981).
func network() string {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	var prefixes []netip.Prefix
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().IsGlobalUnicast() {
			if p.Addr().Is6() {
				p = p.Masked()
			}
			prefixes = append(prefixes, p)
		}
	}
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	prefixes = slices.Compact(prefixes)
	texts := make([]string, 0, len(prefixes)+2)
	for _, p := range prefixes {
		texts = append(texts, p.String())
	}
	for _, to := range []netip.Addr{amt.DiscoveryIPv4, amt.DiscoveryIPv6} {
		texts = append(texts, sourceTo(to, prefixes))
	}
	return strings.Join(texts, " ")
}

// sourceTo returns which of the prefixes has the address that packets to an address leave from. None is sent.
func sourceTo(to netip.Addr, prefixes []netip.Prefix) string {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, amt.Port)))
	if err != nil {
		return "-"
	}
	defer c.Close()
	from := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	for _, p := range prefixes {
		if p.Contains(from) && (from.Is6() || p.Addr() == from) {
			return "via " + p.String()
		}
	}
	return "-"
}
