package rawip

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// groupsPerSocket is below what igmp_max_memberships allows by default, 20.
const groupsPerSocket = 16

// Memberships joins channels for somebody who takes their packets elsewhere:
// its sockets have no port, so that nothing arrives there. It spreads them over
// as many sockets as it takes, each with a group once, since Linux limits the
// groups of a socket and the sources of a group. It is safe for concurrent use.
type Memberships struct {
	mu      sync.Mutex // guards below
	sockets []*membershipSocket
	where   map[membership]*membershipSocket
}

type membership struct {
	ifi           int
	source, group netip.Addr
}

type membershipSocket struct {
	v6     bool
	conn   net.PacketConn
	groups map[netip.Addr]bool
}

// Join joins a channel, or a group with all its sources if source is the zero
// address.
func (m *Memberships) Join(ifi *net.Interface, source, group netip.Addr) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := membership{ifi.Index, source, group}
	if m.where[key] != nil {
		return nil
	}
	for _, s := range m.sockets {
		if s.v6 != group.Is6() || len(s.groups) >= groupsPerSocket || s.groups[group] {
			continue
		}
		err := s.change(true, ifi, source, group)
		if errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM) {
			continue // lower limits than the default
		}
		return m.joined(key, s, err)
	}
	s, err := openMembershipSocket(group.Is6())
	if err != nil {
		return err
	}
	if err := s.change(true, ifi, source, group); err != nil {
		_ = s.conn.Close()
		return err
	}
	m.sockets = append(m.sockets, s)
	return m.joined(key, s, nil)
}

func (m *Memberships) joined(key membership, s *membershipSocket, err error) error {
	if err != nil {
		return err
	}
	if m.where == nil {
		m.where = make(map[membership]*membershipSocket)
	}
	m.where[key] = s
	s.groups[key.group] = true
	return nil
}

// Leave ends Join.
func (m *Memberships) Leave(ifi *net.Interface, source, group netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := membership{ifi.Index, source, group}
	s := m.where[key]
	if s == nil {
		return
	}
	delete(m.where, key)
	delete(s.groups, group)
	if len(s.groups) > 0 {
		_ = s.change(false, ifi, source, group) // the interface may have gone
		return
	}
	_ = s.conn.Close()
	for i := range m.sockets {
		if m.sockets[i] == s {
			m.sockets = append(m.sockets[:i], m.sockets[i+1:]...)
			break
		}
	}
}

// Close leaves everything.
func (m *Memberships) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sockets {
		_ = s.conn.Close()
	}
	m.sockets, m.where = nil, nil
	return nil
}

func openMembershipSocket(v6 bool) (*membershipSocket, error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "memberships")
	defer f.Close() // FilePacketConn duplicates it
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	return &membershipSocket{v6: v6, conn: conn, groups: make(map[netip.Addr]bool)}, nil
}

func (s *membershipSocket) change(join bool, ifi *net.Interface, source, group netip.Addr) error {
	g := &net.UDPAddr{IP: group.AsSlice()}
	from := &net.UDPAddr{IP: source.AsSlice()}
	if s.v6 {
		c := ipv6.NewPacketConn(s.conn)
		switch {
		case join && source.IsValid():
			return c.JoinSourceSpecificGroup(ifi, g, from)
		case join:
			return c.JoinGroup(ifi, g)
		case source.IsValid():
			return c.LeaveSourceSpecificGroup(ifi, g, from)
		}
		return c.LeaveGroup(ifi, g)
	}
	c := ipv4.NewPacketConn(s.conn)
	switch {
	case join && source.IsValid():
		return c.JoinSourceSpecificGroup(ifi, g, from)
	case join:
		return c.JoinGroup(ifi, g)
	case source.IsValid():
		return c.LeaveSourceSpecificGroup(ifi, g, from)
	}
	return c.LeaveGroup(ifi, g)
}
