package authority

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/treedn/treedn/driad/dns"
)

// notify tells a secondary of changes until the server is closed.
func (s *Server) notify(to netip.AddrPort) {
	log := s.log.With("secondary", to)
	conn, err := s.dialSecondary(to)
	if err != nil {
		log.Error("a secondary cannot be told of changes", "err", err)
		return
	}
	packets := make(chan []byte)
	var reading sync.WaitGroup
	defer func() { _ = conn.Close(); reading.Wait() }()
	reading.Go(func() {
		b := make([]byte, dns.MaxMessage)
		for {
			n, err := conn.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // ICMP; there is one for each message sent
			}
			select {
			case packets <- append([]byte(nil), b[:n]...):
			case <-s.ctx.Done():
				return
			}
		}
	})
	n := newNotices(s.config.Authority, dns.NewRand())
	changed := s.config.Authority.next()
	n.changed(time.Now()) // as after a restart nobody knows what they have
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		for {
			b := n.poll(time.Now())
			if b == nil {
				break
			}
			if _, err := conn.Write(b); err != nil {
				log.Debug("telling a secondary of a change", "err", err)
			}
		}
		wait := time.Hour
		if !n.at.IsZero() {
			wait = time.Until(n.at)
		}
		timer.Reset(wait)
		select {
		case <-s.ctx.Done():
			return
		case <-timer.C:
		case <-changed:
			changed = s.config.Authority.next()
			n.changed(time.Now())
		case b := <-packets:
			if err := n.handle(b); err != nil {
				log.Warn("telling a secondary of a change", "err", err)
			}
		}
	}
}

// dialSecondary connects from an address that questions go to: it is the one by which
// secondaries know their primary.
func (s *Server) dialSecondary(to netip.AddrPort) (*net.UDPConn, error) {
	probe, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, err
	}
	local := probe.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	_ = probe.Close()
	from := netip.Addr{}
	for _, a := range s.Addrs() {
		if a.Addr() == local || !from.IsValid() && a.Addr().Is4() == local.Is4() {
			from = a.Addr()
		}
	}
	if !from.IsValid() {
		return nil, errors.New("there is no address of its family to listen on")
	}
	return net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(to))
}
