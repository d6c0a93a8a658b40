package gmp_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/gmp"
)

// member is a socket of the kernel, the host at the far end of a link.
type member struct {
	t   *testing.T
	ifi *net.Interface
	v4  *ipv4.PacketConn
	v6  *ipv6.PacketConn
}

func newMember(t *testing.T, l *link, v6 bool) *member {
	ifi, err := net.InterfaceByName(l.there)
	require.NoError(t, err)
	m := &member{t: t, ifi: ifi}
	network := "udp4"
	if v6 {
		network = "udp6"
	}
	conn, err := net.ListenPacket(network, ":0")
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	if v6 {
		m.v6 = ipv6.NewPacketConn(conn)
	} else {
		m.v4 = ipv4.NewPacketConn(conn)
	}
	return m
}

func udp(a string) net.Addr { return &net.UDPAddr{IP: net.ParseIP(a)} }

func (m *member) do(change, group, source string) {
	m.t.Helper()
	type groups interface {
		JoinGroup(*net.Interface, net.Addr) error
		LeaveGroup(*net.Interface, net.Addr) error
		JoinSourceSpecificGroup(*net.Interface, net.Addr, net.Addr) error
		LeaveSourceSpecificGroup(*net.Interface, net.Addr, net.Addr) error
		ExcludeSourceSpecificGroup(*net.Interface, net.Addr, net.Addr) error
		IncludeSourceSpecificGroup(*net.Interface, net.Addr, net.Addr) error
	}
	var c groups = m.v4
	if m.v4 == nil {
		c = m.v6
	}
	var err error
	switch change {
	case "join":
		err = c.JoinGroup(m.ifi, udp(group))
	case "leave":
		err = c.LeaveGroup(m.ifi, udp(group))
	case "join source":
		err = c.JoinSourceSpecificGroup(m.ifi, udp(group), udp(source))
	case "leave source":
		err = c.LeaveSourceSpecificGroup(m.ifi, udp(group), udp(source))
	case "exclude":
		err = c.ExcludeSourceSpecificGroup(m.ifi, udp(group), udp(source))
	case "include":
		err = c.IncludeSourceSpecificGroup(m.ifi, udp(group), udp(source))
	}
	require.NoError(m.t, err, "%s %s %s", change, group, source)
}

// quick makes a membership interval of five seconds, so that what is not
// refreshed by queries shows.
var quick = gmp.RouterConfig{
	QueryInterval:           2 * time.Second,
	QueryResponseInterval:   time.Second,
	LastMemberQueryInterval: 300 * time.Millisecond,
}

var ours = gmp.LinkConfig{IGMP: netip.MustParseAddr("10.77.0.9"), MLD: netip.MustParseAddr("fe80::9")}

// The kernel is the host, ours is the router: whatever sockets join, exclude and
// leave, the router forwards what they want.
func TestLiveKernelHost(t *testing.T) {
	inNamespace(t)
	for _, c := range []struct {
		name     string
		v6       bool
		ssm, asm string
		s        []string
	}{
		{"IGMPv3", false, "232.1.1.1", "239.1.1.1", []string{"10.9.0.1", "10.9.0.2", "10.9.0.3"}},
		{"MLDv2", true, "ff3e::8000:1", "ff15::1", []string{"2001:db8::1", "2001:db8::2", "2001:db8::3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLink(t)
			l.up("10.77.0.1")
			r := newRouterOn(l, quick, ours)
			a, b := newMember(t, l, c.v6), newMember(t, l, c.v6)

			a.do("join source", c.ssm, c.s[0])
			r.settles(c.ssm, c.s, c.s[0])
			a.do("join source", c.ssm, c.s[1])
			r.settles(c.ssm, c.s, c.s[0], c.s[1])
			b.do("join source", c.ssm, c.s[1])
			a.do("leave source", c.ssm, c.s[0])
			r.settles(c.ssm, c.s, c.s[1])
			a.do("leave source", c.ssm, c.s[1])
			r.run(6 * time.Second)
			require.True(t, r.forwards(c.s[1], c.ssm), "the other socket wants it, and answers queries")
			b.do("leave source", c.ssm, c.s[1])
			r.settles(c.ssm, c.s)

			a.do("join", c.asm, "")
			r.settles(c.asm, c.s, c.s...)
			a.do("exclude", c.asm, c.s[0])
			r.settles(c.asm, c.s, c.s[1], c.s[2])
			b.do("join source", c.asm, c.s[0]) // the two together want all
			r.settles(c.asm, c.s, c.s...)
			a.do("leave", c.asm, "") // to INCLUDE
			r.settles(c.asm, c.s, c.s[0])
			a.do("join", c.asm, "")
			r.settles(c.asm, c.s, c.s...)
			r.run(6 * time.Second)
			require.True(t, r.forwards(c.s[2], c.asm))
			b.do("leave source", c.asm, c.s[0])
			a.do("leave", c.asm, "")
			r.settles(c.asm, c.s)
			for _, m := range r.heard {
				require.Equal(t, map[bool]int{false: 3, true: 2}[m.IPv6()], m.Version)
			}
		})
	}
}

// The kernel as a host of the older versions: made so by a setting, or by queries
// of ours.
func TestLiveOlderKernelHost(t *testing.T) {
	inNamespace(t)
	for _, c := range []struct {
		name    string
		family  string
		setting string
		value   string
		on      gmp.LinkConfig
		group   string
		source  string
		version int
	}{
		{"IGMPv2", "ipv4", "force_igmp_version", "2", ours, "239.1.1.1", "10.9.0.1", 2},
		{"IGMPv1", "ipv4", "force_igmp_version", "1", ours, "239.1.1.1", "10.9.0.1", 1},
		{"MLDv1", "ipv6", "force_mld_version", "1", ours, "ff15::1", "2001:db8::1", 1},
		{"IGMPv2 by query", "", "", "", gmp.LinkConfig{IGMP: ours.IGMP, IGMPVersion: 2}, "239.1.1.1", "10.9.0.1", 2},
		{"IGMPv1 by query", "", "", "", gmp.LinkConfig{IGMP: ours.IGMP, IGMPVersion: 1}, "239.1.1.1", "10.9.0.1", 1},
		{"MLDv1 by query", "", "", "", gmp.LinkConfig{MLD: ours.MLD, MLDVersion: 1}, "ff15::1", "2001:db8::1", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLink(t)
			if c.setting != "" {
				l.sysctl(c.family, c.setting, c.value)
			}
			l.up("10.77.0.1")
			r := newRouterOn(l, quick, c.on)
			r.run(300 * time.Millisecond) // a query
			group := netip.MustParseAddr(c.group)
			a, b := newMember(t, l, group.Is6()), newMember(t, l, group.Is6())
			sources := []string{c.source}
			a.do("join", c.group, "")
			b.do("join", c.group, "")
			r.settles(c.group, sources, c.source)
			a.do("leave", c.group, "")
			wait := 6 * time.Second
			switch {
			case c.on.IGMPVersion == 1:
				wait = 16 * time.Second
			case c.version == 1 && !group.Is6():
				wait = time.Second // it takes 10 s for its answers, this querier gives it 1 s
			}
			r.run(wait)
			require.True(t, r.forwards(c.source, c.group), "the other socket answers queries")
			left := time.Now()
			b.do("leave", c.group, "")
			r.settles(c.group, sources)
			if c.version == 1 && !group.Is6() {
				require.Greater(t, time.Since(left), time.Second, "IGMPv1 has no leave")
			} else {
				require.Less(t, time.Since(left), 4*time.Second, "less than a membership interval")
			}
			for _, m := range r.heard {
				for rec := range m.Records {
					if rec.Group == group {
						require.Equal(t, c.version, m.Version)
					}
				}
			}
		})
	}
}

// IP_ADD_SOURCE_MEMBERSHIP and IP_MSFILTER, the older calls.
func TestLiveKernelFilter(t *testing.T) {
	inNamespace(t)
	l := newLink(t)
	l.up("10.78.0.1") // these calls name the interface by it, so that no other link may have it
	r := newRouterOn(l, quick, ours)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	const group = "239.1.1.2"
	all := []string{"10.9.0.1", "10.9.0.2", "10.9.0.3"}
	octets := func(list ...string) (b []byte) {
		for _, a := range list {
			b = append(b, netip.MustParseAddr(a).AsSlice()...)
		}
		return b
	}
	require.NoError(t, unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_ADD_SOURCE_MEMBERSHIP,
		string(octets(group, "10.78.0.1", all[0]))))
	r.settles(group, all, all[0])
	// struct ip_msfilter: group, interface, mode, number, sources.
	filter := func(mode byte, sources ...string) string {
		b := octets(group, "10.78.0.1")
		b = append(b, native32(uint32(mode))...)
		b = append(b, native32(uint32(len(sources)))...)
		return string(append(b, octets(sources...)...))
	}
	const include, exclude = 1, 0 // MCAST_INCLUDE, MCAST_EXCLUDE
	require.NoError(t, unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_MSFILTER, filter(exclude, all[0], all[1])))
	r.settles(group, all, all[2])
	require.NoError(t, unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_MSFILTER, filter(exclude, all[1])))
	r.settles(group, all, all[0], all[2])
	require.NoError(t, unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_MSFILTER, filter(include, all[1])))
	r.settles(group, all, all[1])
	require.NoError(t, unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_MSFILTER, filter(include)))
	r.settles(group, all)
}
