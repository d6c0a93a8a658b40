//go:build !linux

package authority

import (
	"errors"
	"net"
	"time"

	"github.com/treedn/treedn/driad/dns"
)

func (s *Server) serveUDP(u *net.UDPConn) {
	in := make([]byte, maxQuery)
	out := make([]byte, 0, dns.UDPSize)
	for {
		n, from, err := u.ReadFromUDPAddrPort(in)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // ICMP, on some systems
		}
		if msg := s.config.Authority.Respond(time.Now(), from.Addr().Unmap(), true, in[:n], out); msg != nil {
			out = msg[:0]
			if _, err := u.WriteToUDPAddrPort(msg, from); err != nil && !errors.Is(err, net.ErrClosed) {
				s.log.Debug("answering", "client", from, "err", err)
			}
		}
	}
}
