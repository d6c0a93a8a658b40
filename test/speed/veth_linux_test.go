package speed

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/ssm"
)

var (
	sourceAddr = netip.MustParseAddr("10.99.0.1")
	channel    = ssm.Channel{Source: sourceAddr, Group: netip.MustParseAddr("232.9.9.9"), Port: 6000}
)

// link is a pair of interfaces in namespaces of their own, with a socket at either end.
type link struct {
	tx *ssm.Sender
	rx *ssm.Receiver
}

// newLink makes the pair. It lasts as long as the benchmark.
func newLink(tb testing.TB, offload bool) *link {
	if os.Getuid() != 0 {
		tb.Skip("network namespaces need root")
	}
	near, far := fmt.Sprintf("treedn-speed-%d-a", os.Getpid()), fmt.Sprintf("treedn-speed-%d-b", os.Getpid())
	ip := func(args ...string) {
		tb.Helper()
		out, err := exec.Command("ip", args...).CombinedOutput()
		require.NoError(tb, err, "ip %v: %s", args, out)
	}
	for _, name := range []string{near, far} {
		ip("netns", "add", name)
		tb.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	}
	ip("-n", near, "link", "add", "ta", "type", "veth", "peer", "name", "tb", "netns", far)
	ip("-n", near, "addr", "add", sourceAddr.String()+"/24", "dev", "ta")
	ip("-n", far, "addr", "add", "10.99.0.2/24", "dev", "tb")
	ip("-n", near, "link", "set", "ta", "up")
	ip("-n", far, "link", "set", "tb", "up")

	l := &link{}
	within(tb, far, func() {
		host := ssm.NewHost(ssm.Config{NoOffload: !offload, ReceiveBuffer: 64 << 20})
		tb.Cleanup(func() { _ = host.Close() })
		var err error
		l.rx, err = host.Join(context.Background(), channel, "tb")
		require.NoError(tb, err)
		require.Equal(tb, 64<<20, l.rx.ReceiveBuffer(), "the benchmark must not lose packets")
	})
	within(tb, near, func() {
		var err error
		l.tx, err = ssm.NewSender(sourceAddr, &ssm.SenderConfig{Interface: "ta", NoOffload: !offload, SendBuffer: 8 << 20})
		require.NoError(tb, err)
		tb.Cleanup(func() { _ = l.tx.Close() })
	})
	return l
}

// within runs f in a namespace. Its sockets stay there; the thread ends with it.
func within(tb testing.TB, name string, f func()) {
	tb.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is not used again
		fd, err := unix.Open("/run/netns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(fd)
			err = unix.Setns(fd, unix.CLONE_NEWNET)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	require.NoError(tb, <-done)
}

// cpu is what this thread has used.
func cpu() time.Duration {
	var u unix.Rusage
	const thread = 1 // RUSAGE_THREAD
	if err := unix.Getrusage(thread, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
