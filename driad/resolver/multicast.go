package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/treedn/treedn/driad/dns"
)

// ErrLinks is returned where there is no link to ask on.
var ErrLinks = errors.New("resolver: no interface for multicast DNS")

// Multicast asks the hosts of the links that this machine is on, by multicast DNS (RFC
// 6762), about names below local. It asks from ports of its own, and so gets on with
// the multicast DNS of the system. Whoever is on a link can answer what he likes. It is
// safe for concurrent use.
type Multicast struct {
	// Interfaces are the names of those to ask on. Default: all that are up and have
	// multicast, without the loopback interface and those to one other machine.
	Interfaces []string
	// Window is the time after which a question is asked once more. Default, and least:
	// 1 s.
	Window time.Duration
}

// Resolve asks on all links. It takes up to 1.5 windows, and all of them where several
// hosts may have answers; silence is the answer then that there is no such record.
func (m *Multicast) Resolve(ctx context.Context, q dns.Question) (dns.Response, error) {
	links, err := m.open()
	if err != nil {
		return dns.Response{}, fmt.Errorf("resolver: %s: %w", q, err)
	}
	heard := make(chan heard)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for _, l := range links {
		readers.Go(func() { l.read(heard, done) })
	}
	defer func() {
		close(done)
		for _, l := range links {
			_ = l.conn.Close()
		}
		readers.Wait()
	}()
	x := dns.NewMulticastExchange(time.Now(), q, dns.MulticastConfig{Window: m.Window})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if b, ok := x.PollTransmission(); ok {
			if err := send(links, b); err != nil {
				return dns.Response{}, fmt.Errorf("resolver: %s: %w", q, err)
			}
		}
		if msg, over := x.Result(); over {
			return dns.Response{Message: msg}, nil
		}
		timer.Reset(time.Until(x.NextTimeout()))
		select {
		case <-ctx.Done():
			return dns.Response{}, fmt.Errorf("resolver: %s: %w", q, context.Cause(ctx))
		case <-timer.C:
			x.HandleTimeout(time.Now())
		case h := <-heard:
			x.HandleDatagram(h.from, h.link.prefixes, h.data)
		}
	}
}

// send fails if nothing could be sent anywhere.
func send(links []*link, b []byte) error {
	var failed error
	for _, l := range links {
		if _, err := l.conn.WriteToUDPAddrPort(b, l.group); err != nil {
			failed = err
			continue
		}
		l.sent = true
	}
	for _, l := range links {
		if l.sent {
			return nil
		}
	}
	return failed
}

// link is a socket for a family on an interface, of which it has an address: the
// answers by unicast that it takes came there, or were meant to.
type link struct {
	conn     *net.UDPConn
	group    netip.AddrPort
	prefixes []netip.Prefix // of the interface
	sent     bool
}

type heard struct {
	link *link
	from netip.AddrPort
	data []byte
}

// read ends when the socket is closed.
func (l *link) read(to chan<- heard, done <-chan struct{}) {
	b := make([]byte, dns.MaxMulticastMessage)
	for {
		n, from, err := l.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // ICMP, on some systems
		}
		select {
		case to <- heard{l, from, append([]byte(nil), b[:n]...)}:
		case <-done:
			return
		}
	}
}

// open opens the sockets.
func (m *Multicast) open() (links []*link, err error) {
	interfaces, err := m.interfaces()
	if err != nil {
		return nil, err
	}
	failed := ErrLinks
	for i := range interfaces {
		prefixes, err := prefixesOf(&interfaces[i])
		if err != nil {
			failed = err
			continue
		}
		for _, a := range sources(prefixes) {
			l, err := newLink(&interfaces[i], a)
			if err != nil {
				failed = err // an address that is not ready yet, or gone
				continue
			}
			l.prefixes = prefixes
			links = append(links, l)
		}
	}
	if len(links) == 0 {
		return nil, failed
	}
	return links, nil
}

func (m *Multicast) interfaces() ([]net.Interface, error) {
	if m.Interfaces == nil {
		all, err := net.Interfaces()
		var out []net.Interface
		for _, i := range all {
			const want = net.FlagUp | net.FlagMulticast
			if i.Flags&(want|net.FlagLoopback|net.FlagPointToPoint) == want {
				out = append(out, i)
			}
		}
		return out, err
	}
	var out []net.Interface
	for _, name := range m.Interfaces {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return nil, err
		}
		out = append(out, *i)
	}
	return out, nil
}

func prefixesOf(i *net.Interface) (out []netip.Prefix, err error) {
	addrs, err := i.Addrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				ones, _ := n.Mask.Size()
				out = append(out, netip.PrefixFrom(addr.Unmap(), ones))
			}
		}
	}
	return out, err
}

// sources are the addresses to ask from: the first of IPv4, and that of the link for
// IPv6.
func sources(prefixes []netip.Prefix) (out []netip.Addr) {
	var have4, have6 bool
	for _, p := range prefixes {
		switch a := p.Addr(); {
		case a.Is4() && !have4:
			have4 = true
			out = append(out, a)
		case a.Is6() && a.IsLinkLocalUnicast() && !have6:
			have6 = true
			out = append(out, a)
		}
	}
	return out
}

// newLink opens a socket that sends to the group on an interface. Queries have a TTL of
// 255 as answers have: some hosts want it.
func newLink(i *net.Interface, a netip.Addr) (*link, error) {
	network, l := "udp4", &link{group: netip.AddrPortFrom(dns.MulticastIPv4, dns.MulticastPort)}
	if a.Is6() {
		a = a.WithZone(i.Name)
		network, l.group = "udp6", netip.AddrPortFrom(dns.MulticastIPv6.WithZone(i.Name), dns.MulticastPort)
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return nil, err
	}
	l.conn = conn
	if a.Is4() {
		p := ipv4.NewPacketConn(conn)
		err = errors.Join(p.SetMulticastInterface(i), p.SetMulticastTTL(255))
	} else {
		p := ipv6.NewPacketConn(conn)
		err = errors.Join(p.SetMulticastInterface(i), p.SetMulticastHopLimit(255))
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return l, nil
}
