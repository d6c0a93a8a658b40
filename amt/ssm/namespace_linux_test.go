package ssm_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

const namespaceEnv = "SSM_TEST_IN_NAMESPACE"

// TestInNamespace runs TestNamespace in a network namespace of its own, which
// starts with the loopback interface down and without routes, as some
// sandboxes do. It needs user namespaces, but no privilege; a system without
// them is a failure only where TREEDN_REQUIRE lists root.
func TestInNamespace(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestNamespace$", "-test.v")
	cmd.Env = append(os.Environ(), namespaceEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Start(); err != nil || cmd.Process == nil {
		if slices.Contains(strings.Split(os.Getenv("TREEDN_REQUIRE"), ","), "root") {
			t.Fatal(err)
		}
		t.Skipf("this system gives no namespace: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal("rerun with: unshare -Urn env "+namespaceEnv+"=1 go test -run '^TestNamespace$' -v: ", err)
	}
}

func TestNamespace(t *testing.T) {
	if os.Getenv(namespaceEnv) == "" {
		t.Skip("run by TestInNamespace")
	}
	source := netip.MustParseAddr("127.0.0.1")

	err := ssm.Probe(context.Background(), "", source)
	var e *ssm.Error
	require.ErrorAs(t, err, &e)
	require.ErrorIs(t, err, ssm.ErrInterface)
	require.Contains(t, e.Remedy, "ip link set lo up")

	_, err = newHost(t, ssm.Config{}).Join(context.Background(),
		ssm.Channel{Source: netip.MustParseAddr("192.0.2.1"), Group: netip.MustParseAddr("232.1.1.1"), Port: 5000}, "")
	require.ErrorContains(t, err, "no route to 192.0.2.1")

	setLoopback(t, 1500)
	require.NoError(t, ssm.Probe(context.Background(), "", source), "up, without any route")

	// A route of a type other than local takes the packets and loses them.
	for _, other := range []bool{false, true} {
		if other {
			ip(t, "-6", "route", "flush", "table", "local", "root", "ff00::/8")
			ip(t, "-6", "route", "add", "ff00::/8", "dev", "lo", "table", "local")
		}
		err = ssm.Probe(context.Background(), "lo", netip.IPv6Loopback())
		require.ErrorAs(t, err, &e)
		_, command, ok := strings.Cut(e.Remedy, "as root: ip ")
		require.True(t, ok, e.Remedy)
		ip(t, strings.Fields(command)...)
		require.NoError(t, ssm.Probe(context.Background(), "lo", netip.IPv6Loopback()), "after what the error says: %s", command)
	}

	// Packets larger than the MTU cannot be segmented by the kernel, but
	// fragmented.
	ch := ssmtest.ChannelFrom(t, source)
	rx := join(t, newHost(t, ssm.Config{}), ch)
	tx := newSender(t, source, nil)
	sent := numbered(append(repeat(10, 1400), repeat(10, 2000)...)...)
	for range 2 {
		n, err := tx.WriteBatch(sent, ch.Destination())
		require.NoError(t, err)
		require.Equal(t, len(sent), n)
		require.Equal(t, sent, collect(t, rx, len(sent)))
	}

	// Both ends are here, so that the kernel has to take packets from itself.
	ip(t, "link", "add", "ssm0", "type", "veth", "peer", "name", "ssm1")
	for _, path := range []string{"all/rp_filter", "ssm0/rp_filter"} {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/conf/"+path, []byte("0"), 0))
	}
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/conf/ssm0/accept_local", []byte("1"), 0))
	for i, name := range []string{"ssm0", "ssm1"} {
		ip(t, "address", "add", fmt.Sprintf("10.88.%d.1/24", i), "dev", name)
		ip(t, "address", "add", fmt.Sprintf("fd88:%d::1/64", i), "dev", name, "nodad")
		ip(t, "link", "set", name, "up")
	}
	testInterface(t, "10.88.0.1", "10.88.1.1", "232.1.1.1")
	ip(t, "address", "add", "fd88:0::1/64", "dev", "ssm0", "nodad") // it went when the link was down
	testInterface(t, "fd88::1", "fd88:1::1", "ff3e::8000:1")
	testFullBuffer(t, "10.88.1.1", "232.1.1.1")
	testFullBuffer(t, "fd88:1::1", "ff3e::8000:1")
}

// Over a link that is slow and keeps everything, so that what waits in it fills the
// send buffer, a sender waits for room and loses nothing; Close ends its waiting.
func testFullBuffer(t *testing.T, source, group string) {
	ch, err := ssm.RandomChannel(netip.MustParseAddr(source))
	require.NoError(t, err)
	ch.Group = netip.MustParseAddr(group)
	rx, err := newHost(t, ssm.Config{}).Join(context.Background(), ch, "ssm0")
	require.NoError(t, err)
	clear := func() { _ = exec.Command("tc", "qdisc", "del", "dev", "ssm1", "root").Run() } // and what is in it
	defer clear()
	slow := func(rate string) {
		clear()
		out, err := exec.Command("tc", "qdisc", "add", "dev", "ssm1", "root", "tbf", "rate", rate, "burst", "4000", "limit", "100000000").CombinedOutput()
		require.NoError(t, err, "tc: %s", out)
	}
	// Large ones leave as fragments, of which the second and later ones are refused in
	// another way (ENOBUFS); the small ones before them see to it that this happens.
	mixed := slices.Repeat([]int{1400, 1400, 1400, 1400, 12000}, 20)
	for _, sizes := range [][]int{repeat(200, 1400), mixed} {
		for _, noOffload := range []bool{false, true} {
			slow("40mbit")
			tx := newSender(t, ch.Source, &ssm.SenderConfig{
				Interface: "ssm1", NoLoopback: true, SendBuffer: 8 << 10, NoOffload: noOffload,
			})
			sent := numbered(sizes...)
			n, err := tx.WriteBatch(sent, ch.Destination())
			require.NoError(t, err)
			require.Equal(t, len(sent), n)
			require.Equal(t, sent, collect(t, rx, len(sent)))

			slow("8kbit") // minutes for all
			failed := make(chan error)
			go func() {
				n, err := tx.WriteBatch(sent, netip.AddrPortFrom(ch.Group, 9))
				if n == len(sent) {
					err = fmt.Errorf("nothing had to wait: %w", err)
				}
				failed <- err
			}()
			time.Sleep(20 * time.Millisecond) // most often it waits by then
			require.NoError(t, tx.Close())
			select {
			case err := <-failed:
				require.Equal(t, net.ErrClosed, err)
			case <-time.After(20 * time.Second):
				t.Fatal("Close does not end the waiting")
			}
		}
	}
}

// Over a link between two interfaces: the one given by its address, the other by
// its name. A membership survives that its interface goes down and comes back.
func testInterface(t *testing.T, at, source, group string) {
	ch, err := ssm.RandomChannel(netip.MustParseAddr(source))
	require.NoError(t, err)
	ch.Group = netip.MustParseAddr(group)
	rx, err := newHost(t, ssm.Config{}).Join(context.Background(), ch, at)
	require.NoError(t, err)
	require.Equal(t, "ssm0", rx.Interface())
	other := ch // of the same group and port, from another source
	other.Source = ch.Source.Next()
	rxOther, err := newHost(t, ssm.Config{}).Join(context.Background(), other, at)
	require.NoError(t, err)
	tx := newSender(t, ch.Source, &ssm.SenderConfig{Interface: "ssm1", NoLoopback: true})
	arrives := func() {
		ms := ssm.NewMessages(1)
		for end := time.Now().Add(20 * time.Second); ; {
			_, err := tx.WriteBatch(numbered(100), ch.Destination())
			require.NoError(t, err)
			require.NoError(t, rx.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
			if _, err = rx.ReadBatch(ms); err == nil {
				require.Equal(t, tx.Source(), ms[0].Source)
				require.Equal(t, ch.Group, ms[0].Destination)
				return
			}
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.True(t, time.Now().Before(end), "nothing arrives")
		}
	}
	arrives()
	ip(t, "link", "set", "ssm0", "down")
	_, _ = tx.WriteBatch(numbered(100), ch.Destination())
	ip(t, "link", "set", "ssm0", "up")
	arrives()
	requireNothing(t, rxOther)
	require.Zero(t, rxOther.Stats().Rejected, "the kernel filters")
}

func ip(t *testing.T, args ...string) {
	out, err := exec.Command("ip", args...).CombinedOutput()
	require.NoError(t, err, "ip %v: %s", args, out)
}

// setLoopback brings the loopback interface of the namespace up.
func setLoopback(t *testing.T, mtu uint32) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	require.NoError(t, err)
	req.SetUint32(mtu)
	require.NoError(t, unix.IoctlIfreq(fd, unix.SIOCSIFMTU, req))
	req.SetUint16(unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING)
	require.NoError(t, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req))
}
