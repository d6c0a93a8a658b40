package amtr

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt"
)

// network is two hosts with a link between them, each a thread in a namespace of
// its own that runs what it is given.
type network struct {
	relay, gateway chan func()
}

func newNetwork(t *testing.T) *network {
	if os.Geteuid() != 0 {
		t.Skip("it needs root: network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("it needs ip (iproute2)")
	}
	n := &network{make(chan func()), make(chan func())}
	host := func(do chan func()) (tid int) {
		started := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocks it: the thread ends here
			tid = unix.Gettid()
			started <- unix.Unshare(unix.CLONE_NEWNET)
			for f := range do {
				f()
			}
		}()
		require.NoError(t, <-started)
		t.Cleanup(func() { close(do) })
		return tid
	}
	host(n.relay)
	tid := host(n.gateway)
	n.on(n.relay, func() {
		ip(t, "link add a0 type veth peer name b0 netns %d", tid)
		ip(t, "addr add 10.9.0.1/24 dev a0")
		ip(t, "-6 addr add fd09::1/64 dev a0 nodad")
		ip(t, "link set a0 up")
	})
	n.on(n.gateway, func() {
		ip(t, "addr add 10.9.0.2/24 dev b0")
		ip(t, "-6 addr add fd09::2/64 dev b0 nodad")
		ip(t, "link set b0 up")
	})
	return n
}

func ip(t *testing.T, format string, args ...any) {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(fmt.Sprintf(format, args...))...).CombinedOutput()
	if err != nil {
		t.Errorf("ip %s: %s", fmt.Sprintf(format, args...), out)
	}
}

func (n *network) on(host chan func(), f func()) {
	done := make(chan struct{})
	host <- func() { defer close(done); f() }
	<-done
}

func (n *network) listen(t *testing.T, host chan func(), address string) (c *net.UDPConn) {
	n.on(host, func() {
		var err error
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
		if err != nil {
			t.Errorf("%s: %v", address, err)
		}
	})
	require.NotNil(t, c)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Both back ends see the same: messages of gateways of both families, and data,
// also those that leave as one message.
func TestTracker(t *testing.T) {
	for _, backend := range []Backend{BPF, Socket} {
		t.Run(backend.String(), func(t *testing.T) {
			n := newNetwork(t)
			var x *Tracker
			var err error
			n.on(n.relay, func() {
				x, err = Open(Config{Interface: "a0", Backend: backend, Table: TableConfig{MembershipInterval: time.Second}})
			})
			if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EPERM) {
				t.Skip("this kernel does not do it: ", err)
			}
			require.NoError(t, err)
			require.Equal(t, backend, x.Backend())
			var mu sync.Mutex
			var happened []string
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() {
				done <- x.Run(ctx, func(e Event) {
					mu.Lock()
					defer mu.Unlock()
					happened = append(happened, e.Type.String()+" "+e.Gateway.Addr().String())
				})
			}()
			counters := func(gateway netip.Addr) (c Counters) {
				for _, g := range x.Gateways() {
					if g.Address.Addr() == gateway {
						c = g.Counters
					}
				}
				return c
			}
			for _, family := range [][2]string{{"10.9.0.1", "10.9.0.2"}, {"fd09::1", "fd09::2"}} {
				relay := n.listen(t, n.relay, netip.AddrPortFrom(netip.MustParseAddr(family[0]), amt.Port).String())
				gateway := n.listen(t, n.gateway, netip.AddrPortFrom(netip.MustParseAddr(family[1]), 0).String())
				to, from := relay.LocalAddr().(*net.UDPAddr).AddrPort(), gateway.LocalAddr().(*net.UDPAddr).AddrPort()
				write := func(m amt.Message) {
					b, err := m.AppendTo(nil)
					require.NoError(t, err)
					other := relay // has to have a message before it answers
					if m.Type == amt.TypeQuery || m.Type == amt.TypeAdvertisement || m.Type == amt.TypeData {
						other = gateway
						_, err = relay.WriteToUDPAddrPort(b, from)
					} else {
						_, err = gateway.WriteToUDPAddrPort(b, to)
					}
					require.NoError(t, err)
					require.NoError(t, other.SetReadDeadline(time.Now().Add(10*time.Second)))
					_, err = other.Read(make([]byte, 2000))
					require.NoError(t, err)
				}
				for _, m := range []amt.Message{discovery, advertisement, request, query, update} {
					write(m)
				}
				require.Eventually(t, func() bool { return counters(from.Addr()).Updates == 1 }, 10*time.Second, time.Millisecond)
				for range 5 {
					write(data)
				}
				// 4 datagrams of 1,346 octets that the system cuts up.
				raw, err := relay.SyscallConn()
				require.NoError(t, err)
				require.NoError(t, raw.Control(func(fd uintptr) {
					require.NoError(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1346))
				}))
				one, err := data.AppendTo(nil)
				require.NoError(t, err)
				_, err = relay.WriteToUDPAddrPort([]byte(strings.Repeat(string(one), 4)), from)
				require.NoError(t, err)
				want := Counters{Discoveries: 1, Advertisements: 1, Requests: 1, Queries: 1, Updates: 1, DataPackets: 9, DataOctets: 9 * 1344}
				require.Eventually(t, func() bool { return counters(from.Addr()) == want }, 10*time.Second, time.Millisecond,
					"%+v", counters(from.Addr()))
				if family[0] == "10.9.0.1" {
					write(amt.Message{Type: amt.TypeTeardown, Nonce: 2, Gateway: from})
				} // the other one falls silent
			}
			expected := []string{"attempt 10.9.0.2", "up 10.9.0.2", "down 10.9.0.2", "attempt fd09::2", "up fd09::2", "down fd09::2"}
			require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(happened) == 6 }, 10*time.Second, 10*time.Millisecond)
			require.Equal(t, expected, happened)
			require.Zero(t, x.Stats().Lost)
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
			require.NoError(t, x.Close())
			require.NoError(t, x.Close())
		})
	}
	_, err := Open(Config{Interface: "nowhere"})
	require.Error(t, err)
}

// The objects are those of the source: go generate writes its hash beside them.
func TestObjectsAreOfTheSource(t *testing.T) {
	source, err := os.ReadFile("watch.c")
	require.NoError(t, err)
	sum := sha256.Sum256(source)
	written, err := os.ReadFile("watch.sum")
	require.NoError(t, err)
	require.Equal(t, hex.EncodeToString(sum[:]), strings.Fields(string(written))[0], "run go generate")
}

func FuzzParse(f *testing.F) {
	f.Add(amt.AppendUDP(nil, netip.MustParseAddrPort("10.0.0.1:2268"), netip.MustParseAddrPort("10.0.0.2:1"), 9, []byte{3, 0, 0, 0, 0, 0, 0, 1}))
	f.Add(amt.AppendUDP(nil, netip.MustParseAddrPort("[fd09::1]:7"), netip.MustParseAddrPort("[fd09::2]:2268"), 9, []byte{4, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, ok := parse(b); ok && len(m.Payload) > m.Length {
			t.Fatal("more than there is")
		}
	})
}
