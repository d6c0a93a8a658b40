package gmp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/gmp"
)

var linkNumber atomic.Int32

// link is a pair of interfaces: there is where the kernel or another program is,
// here is ours, on which the kernel does nothing.
type link struct {
	t           *testing.T
	there, here string
	fd          int
	index       int
	buf         [4096]byte
	record      *json.Encoder
}

// vector is a packet of another implementation, as it was recorded.
type vector struct {
	From string `json:"from"`
	What string `json:"what"` // the test that it comes from
	Hex  string `json:"hex"`
}

// newLink makes a link and listens at its end.
func newLink(t *testing.T) *link {
	n := linkNumber.Add(1)
	l := &link{t: t, there: fmt.Sprintf("there%d", n), here: fmt.Sprintf("here%d", n)}
	run(t, "ip", "link", "add", l.there, "type", "veth", "peer", "name", l.here)
	t.Cleanup(func() { run(t, "ip", "link", "del", l.there) })
	// No reports of the kernel's own from our end.
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+l.here+"/disable_ipv6", []byte("1"), 0))
	run(t, "ip", "link", "set", l.here, "up")
	ifi, err := net.InterfaceByName(l.here)
	require.NoError(t, err)
	l.index = ifi.Index
	l.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(networkOrder(unix.ETH_P_ALL)))
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(l.fd) })
	require.NoError(t, unix.Bind(l.fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: l.index}))
	if path := os.Getenv("GMP_RECORD"); path != "" {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		l.record = json.NewEncoder(f)
	}
	return l
}

func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func run(t *testing.T, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	require.NoError(t, err, "%v: %s", command, out)
	return string(out)
}

// up brings the far end up, with an address of each family.
func (l *link) up(address string) {
	run(l.t, "ip", "address", "add", address+"/24", "dev", l.there)
	run(l.t, "ip", "link", "set", l.there, "up")
	l.waitFor("a link-local address", func() bool {
		out := run(l.t, "ip", "-6", "address", "show", "dev", l.there, "scope", "link")
		return strings.Contains(out, "fe80::") && !strings.Contains(out, "tentative")
	})
}

func (l *link) sysctl(family, name, value string) {
	require.NoError(l.t, os.WriteFile("/proc/sys/net/"+family+"/conf/"+l.there+"/"+name, []byte(value), 0))
}

func (l *link) waitFor(what string, done func() bool) {
	l.t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			require.FailNow(l.t, "no "+what)
		}
	}
}

// send sends an IP packet to the far end.
func (l *link) send(packet []byte) {
	to := &unix.SockaddrLinklayer{Ifindex: l.index, Halen: 6}
	if packet[0]>>4 == 4 {
		to.Protocol = networkOrder(unix.ETH_P_IP)
		copy(to.Addr[:], []byte{1, 0, 0x5e, packet[17] & 0x7f, packet[18], packet[19]})
	} else {
		to.Protocol = networkOrder(unix.ETH_P_IPV6)
		copy(to.Addr[:], append([]byte{0x33, 0x33}, packet[36:40]...))
	}
	require.NoError(l.t, unix.Sendto(l.fd, packet, 0, to))
}

// receive waits up to a time for a packet of the far end, and reports whether m
// is one of IGMP or MLD.
func (l *link) receive(wait time.Duration, m *gmp.Message) bool {
	poll := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, int(max(0, wait).Milliseconds())+1); n <= 0 || err != nil {
		return false
	}
	n, from, err := unix.Recvfrom(l.fd, l.buf[:], 0)
	require.NoError(l.t, err)
	if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
		return false
	}
	p := bytes.Clone(l.buf[:n])
	if err := m.Parse(p); err != nil {
		require.True(l.t, notOurs(p), "%v: %x", err, p)
		return false
	}
	if m.Type != gmp.TypeQuery { // Linux asks for groups at the address for all
		require.NoError(l.t, m.Validate(), "%x", p)
	}
	if l.record != nil {
		require.NoError(l.t, l.record.Encode(vector{From: origin(), What: l.t.Name(), Hex: hex.EncodeToString(p)}))
	}
	return true
}

func origin() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	return "Linux " + release
}

// notOurs reports whether a packet is of another protocol.
func notOurs(p []byte) bool {
	switch p[0] >> 4 {
	case 4:
		return p[9] != 2
	case 6:
		// Neighbour discovery is ICMPv6 without a hop-by-hop header.
		return p[6] != 0
	}
	return true
}

// routerOn is our router on a link, in real time.
type routerOn struct {
	*link
	router *gmp.Router
	id     gmp.Link
	heard  []gmp.Message
	sent   int
}

func newRouterOn(l *link, config gmp.RouterConfig, on gmp.LinkConfig) *routerOn {
	now := time.Now()
	r := &routerOn{link: l, router: gmp.NewRouter(now, config)}
	r.id = r.router.AddSharedLink(now, on)
	return r
}

// step does what is due and takes one packet if there is one soon.
func (r *routerOn) step() {
	r.router.HandleTimeout(time.Now())
	for {
		p, _, ok := r.router.PollQuery(nil)
		if !ok {
			break
		}
		r.send(p)
		r.sent++
	}
	var m gmp.Message
	if r.receive(min(20*time.Millisecond, time.Until(r.router.NextTimeout())), &m) {
		r.heard = append(r.heard, m)
		if m.Type == gmp.TypeQuery {
			_ = r.router.HandleQuery(time.Now(), r.id, &m)
		} else {
			// While its address is tentative the kernel reports from the unspecified one,
			// which routers discard (RFC 3590 section 4).
			if err := r.router.HandleReport(time.Now(), r.id, &m).Err; err != nil {
				require.True(r.t, m.IPv6() && m.Header.Source.IsUnspecified(), err)
			}
		}
	}
	for {
		if _, ok := r.router.PollEvent(); !ok {
			return
		}
	}
}

func (r *routerOn) run(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		r.step()
	}
}

// forwards reports whether packets are forwarded to the link.
func (r *routerOn) forwards(source, group string) bool {
	return len(r.router.AppendLinks(nil, netip.MustParseAddr(source), netip.MustParseAddr(group))) > 0
}

// settles runs the router until it forwards exactly these sources of a group
// among all those named.
func (r *routerOn) settles(group string, all []string, wanted ...string) {
	r.t.Helper()
	state := func() (list []string) {
		for _, s := range all {
			if r.forwards(s, group) {
				list = append(list, s)
			}
		}
		return list
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); r.step() {
		if fmt.Sprint(state()) == fmt.Sprint(wanted) {
			return
		}
	}
	require.Equal(r.t, wanted, state(), group)
}

// hostOn is our host on a link, in real time.
type hostOn struct {
	*link
	host  *gmp.Host
	heard []gmp.Message
}

func newHostOn(l *link, config gmp.HostConfig) *hostOn {
	return &hostOn{link: l, host: gmp.NewHost(config)}
}

func (h *hostOn) set(group string, mode gmp.FilterMode, sources ...string) {
	h.t.Helper()
	require.NoError(h.t, h.host.SetFilter(time.Now(), netip.MustParseAddr(group), gmp.Filter{Mode: mode, Sources: addrs(sources...)}))
}

func (h *hostOn) step() {
	h.host.HandleTimeout(time.Now())
	for {
		p, ok := h.host.Poll(nil)
		if !ok {
			break
		}
		h.send(p)
	}
	wait := 20 * time.Millisecond
	if at := h.host.NextTimeout(); !at.IsZero() {
		wait = min(wait, time.Until(at))
	}
	var m gmp.Message
	if h.receive(wait, &m) {
		h.heard = append(h.heard, m)
		if m.Type == gmp.TypeQuery {
			_ = h.host.HandleQuery(time.Now(), &m)
		} else {
			h.host.HandleReport(time.Now(), &m)
		}
	}
}

// until runs the host until done, which is asked a few times a second.
func (h *hostOn) until(what string, done func() bool) {
	h.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		for next := time.Now().Add(100 * time.Millisecond); time.Now().Before(next); {
			h.step()
		}
		if done() {
			return
		}
		if time.Now().After(end) {
			require.FailNow(h.t, what)
		}
	}
}
