package authority

import (
	"errors"
	"net"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/treedn/treedn/driad/dns"
)

// udpBatch is the number of datagrams that one system call reads or writes, at most.
const udpBatch = 32

// batchConn is what packages ipv4 and ipv6 have in common.
type batchConn interface {
	ReadBatch([]ipv4.Message, int) (int, error)
	WriteBatch([]ipv4.Message, int) (int, error)
}

// serveUDP answers what comes, as much at a time as is there.
func (s *Server) serveUDP(u *net.UDPConn) {
	var conn batchConn = ipv4.NewPacketConn(u)
	if u.LocalAddr().(*net.UDPAddr).IP.To4() == nil {
		conn = ipv6.NewPacketConn(u)
	}
	in, out := make([]ipv4.Message, udpBatch), make([]ipv4.Message, udpBatch)
	answers := make([][]byte, udpBatch)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, maxQuery)}
		out[i].Buffers = make([][]byte, 1)
		answers[i] = make([]byte, 0, dns.UDPSize)
	}
	for {
		n, err := conn.ReadBatch(in, 0)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // ICMP
		}
		now := time.Now()
		count := 0
		for i := range in[:n] {
			m := &in[i]
			from, ok := m.Addr.(*net.UDPAddr)
			if !ok {
				continue
			}
			msg := s.config.Authority.Respond(now, from.AddrPort().Addr().Unmap(), true, m.Buffers[0][:m.N], answers[count])
			if msg == nil {
				continue
			}
			answers[count] = msg[:0]
			out[count].Buffers[0], out[count].Addr = msg, from
			count++
		}
		for left := out[:count]; len(left) > 0; {
			sent, err := conn.WriteBatch(left, 0)
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				s.log.Debug("answering", "client", left[0].Addr, "err", err)
				sent = 1 // this one cannot be sent
			}
			left = left[sent:]
		}
	}
}
