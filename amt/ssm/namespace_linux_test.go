package ssm_test

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

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

	err = ssm.Probe(context.Background(), "lo", netip.IPv6Loopback())
	require.ErrorAs(t, err, &e)
	require.Contains(t, e.Remedy, "ip -6 route add ff00::/8 dev lo table local")

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
