package amt_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
)

// kernelMode is the role that the Linux kernel's AMT module plays in a guest, to
// which testdata/kernel/test.sh has linked the network namespace that this test
// runs in.
const kernelMode = "AMT_KERNEL"

const (
	kernelHost  = "10.11.0.1" // ours, on the side of the tunnels
	kernelGuest = "10.11.0.2"
)

func requireKernel(t *testing.T, mode string) {
	if os.Getenv(kernelMode) != mode {
		t.Skipf("run by testdata/kernel/test.sh, with the kernel as %s", mode)
	}
}

// guest runs a command in the guest, whose shell takes one connection after the
// other and is not there between two.
func guest(t *testing.T, command string) string {
	for end := time.Now().Add(20 * time.Second); ; {
		out, err := guestOnce(command)
		if err == nil {
			return out
		}
		if time.Now().After(end) {
			t.Errorf("%s: %v", command, err)
			return ""
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func guestOnce(command string) (string, error) {
	c, err := net.DialTimeout("tcp", kernelGuest+":9999", 10*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return "", err
	}
	if _, err = io.WriteString(c, command+"\n"); err != nil {
		return "", err
	}
	out, err := io.ReadAll(c)
	return string(out), err
}

// sendNative sends numbered packets on the native side until the test ends.
func sendNative(t *testing.T, source, group string) {
	tx, err := ssm.NewSender(netip.MustParseAddr(source), &ssm.SenderConfig{Interface: "t1", TTL: 16})
	require.NoError(t, err)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1200)
		for i := uint64(0); ; i++ {
			binary.BigEndian.PutUint64(b, i)
			_, _ = tx.WriteBatch([][]byte{b}, netip.AddrPortFrom(netip.MustParseAddr(group), 5000))
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		_ = tx.Close()
	})
}

// Our gateway and the kernel's relay.
func TestKernelRelay(t *testing.T) {
	requireKernel(t, "relay")
	for i, c := range []struct{ source, other, group string }{
		{"10.12.0.1", "10.12.0.9", "232.1.1.1"},
		{"fd12::1", "fd12::9", "ff3e::8000:d"},
	} {
		t.Run(c.group, func(t *testing.T) {
			sendNative(t, c.source, c.group)
			sendNative(t, c.other, c.group)
			start := time.Now()
			ch := ssm.Channel{Source: netip.MustParseAddr(c.source), Group: netip.MustParseAddr(c.group), Port: 5000}
			conn := dial(t, ch, amt.DialConfig{
				Mode: amt.ModeTunnel,
				// The kernel has one tunnel per address: each test needs its own.
				Local:   []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.11.0.%d", 21+i))},
				Gateway: amt.GatewayConfig{Relays: candidates(kernelGuest + ":2268")},
				OnEvent: func(e amt.ConnEvent) { t.Logf("%v: %+v", time.Since(start), e) },
			})
			list := numbers(t, conn, 1)
			t.Log("first packet after", time.Since(start))
			list = append(list, numbers(t, conn, 400)...)
			requireConsecutive(t, list) // the other source would be in between
			st := conn.Stats().Gateway
			require.NotZero(t, st.Unwanted, "the kernel forwards all sources of a group")
			require.Zero(t, st.Malformed)
			require.Zero(t, st.Lost)
		})
	}
}

// Our relay and the kernel's gateway.
func TestKernelGateway(t *testing.T) {
	requireKernel(t, "gateway")
	up, err := amt.NewNative(amt.NativeConfig{Ports: []uint16{5000}, Interface: "t1"})
	require.NoError(t, err)
	s := serve(t, netip.MustParseAddrPort(kernelHost+":2268"), up, amt.RelayConfig{})
	for _, c := range []struct{ source, other, group string }{
		{"10.12.0.1", "10.12.0.9", "232.1.1.1"},
		{"fd12::1", "fd12::9", "ff3e::8000:d"},
	} {
		t.Run(c.group, func(t *testing.T) {
			sendNative(t, c.source, c.group)
			sendNative(t, c.other, c.group)
			guest(t, fmt.Sprintf("mc join amtg %s %s 5000 12 >/j 2>&1 &", c.group, c.source))
			var counts map[string]int
			require.Eventually(t, func() bool {
				counts = lastCounts(guest(t, "tail -n 1 /j"))
				return counts["packets"] >= 600
			}, 60*time.Second, 500*time.Millisecond, "the guest's receiver gets the packets; %+v", s.Stats())
			require.GreaterOrEqual(t, counts["new"], 100, "in the last second")
			require.Equal(t, 1, s.Stats().Tunnels)
			require.Equal(t, counts["bytes"], 1200*counts["packets"])
			// The receiver goes, and the kernel says so.
			require.Eventually(t, func() bool { return s.Stats().Tunnels == 0 }, 60*time.Second, 200*time.Millisecond)
		})
	}
	st := s.Stats()
	t.Logf("%+v", st)
	require.NotZero(t, st.LinuxP)
	require.Zero(t, st.Malformed)
	require.Zero(t, st.OddHeaders)
	require.Zero(t, st.BadMAC)
	require.Zero(t, st.Limited)
}

// lastCounts reads a line of mc's: "MC group source packets=1 bytes=2 …".
func lastCounts(line string) map[string]int {
	counts := make(map[string]int)
	for f := range strings.FieldsSeq(line) {
		if name, value, ok := strings.Cut(f, "="); ok {
			counts[name], _ = strconv.Atoi(value)
		}
	}
	return counts
}
