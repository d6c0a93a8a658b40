package lab_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/ssm"
)

// Addresses of AMT relays: in front of the LAN of relay, and on relay2.
const (
	relayOne = "10.77.3.2"
	relayTwo = "10.77.4.2"
)

// TestAMT receives a channel natively, through relays, from behind a NAT, and
// while relays come and go. Times that have a limit may be longer by what the
// machine itself was late.
func TestAMT(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ch := ssm.Channel{Source: netip.MustParseAddr("10.77.1.2"), Group: netip.MustParseAddr("232.77.9.1"), Port: 7000}
	l.multicast(t, "cast", ch, 4*time.Millisecond)
	one := l.amtRelay("relay", "amt: {listen: ["+relayOne+"]}")
	l.amtRelay("relay2", "amt: {listen: ["+relayTwo+"]}")
	byOne, byTwo := "relay "+relayOne+":2268", "relay "+relayTwo+":2268"

	t.Run("join", func(t *testing.T) {
		l.machine.late()
		for _, what := range []string{"the tree has to be built", "the relay has the channel"} {
			d := l.dial(t, "bb", ch, "tunnel", relayOne)
			r := d.receives(byOne)
			late := l.machine.late()
			t.Logf("%s: first packet after %v (at most 1s; the machine was late by %v)", what, r.First.Round(time.Millisecond), late)
			require.LessOrEqual(t, r.First, time.Second+late)
			time.Sleep(300 * time.Millisecond)
			r = d.count()
			require.Zero(t, r.Lost)
			require.Zero(t, r.Doubled)
		}
	})

	t.Run("all ports", func(t *testing.T) {
		other := ch
		other.Port = 7777
		l.multicast(t, "cast", other, 20*time.Millisecond)
		l.dial(t, "bb", other, "tunnel", relayTwo).receives(byTwo)
	})

	t.Run("native and back", func(t *testing.T) {
		d := l.dial(t, "ba", ch, "auto", relayTwo)
		r := d.receives("native")
		t.Logf("native: first packet after %v", r.First.Round(time.Millisecond))
		for range 2 {
			d.count()
			l.sh("hole", "r2", "ba", "ip daddr 232.0.0.0/8")
			r = d.receives(byTwo)
			t.Logf("native reception fails: a pause of %v, with 1 s of waiting", r.Pause.Round(time.Millisecond))
			require.Len(t, r.Switch, 1)
			require.False(t, r.Switch[0].Planned)
			require.NotZero(t, r.Switch[0].Gap)
			time.Sleep(300 * time.Millisecond)
			d.count() // that pause is lost; what follows is not
			l.sh("clear", "r2", "ba")
			r = d.receives("native")
			require.Len(t, r.Switch, 1)
			require.True(t, r.Switch[0].Planned)
			time.Sleep(500 * time.Millisecond)
			r = d.count()
			require.Zero(t, r.Lost)
			require.Zero(t, r.Doubled)
		}
	})

	t.Run("NAT", func(t *testing.T) {
		// The router tells of each packet that it has no mapping for.
		l.sh("exec", "nat", "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0")
		l.nat(10000)
		d := l.dial(t, "bc", ch, "tunnel", relayOne)
		d.receives(byOne)
		beside := l.dial(t, "bc", ch, "tunnel", relayOne) // behind the same address
		beside.receives(byOne)
		require.Equal(t, uint64(2), l.status("relay", 9104).AMT.Tunnels)
		l.machine.late()
		d.ask()
		beside.ask()
		l.nat(20000) // all mappings are forgotten, and new ones have other ports
		for _, d := range []*dialer{d, beside} {
			var r reception
			eventually(t, 20*time.Second, "packets through the new mapping", func() bool {
				more := d.ask()
				r.Pause = max(r.Pause, more.Pause)
				return more.Packets > 5 && r.Pause > 200*time.Millisecond
			})
			late := l.machine.late()
			t.Logf("a new mapping: a pause of %v (at most 2s; the machine was late by %v)", r.Pause.Round(time.Millisecond), late)
			require.LessOrEqual(t, r.Pause, 2*time.Second+late)
		}
		eventually(t, 20*time.Second, "the old endpoints are gone", func() bool { return l.status("relay", 9104).AMT.Tunnels == 2 })
	})

	t.Run("moves", func(t *testing.T) {
		d := l.dial(t, "bb", ch, "tunnel", relayOne, relayTwo)
		d.receives(byOne)
		d.count()
		for i := range 6 {
			to := []string{relayTwo, relayOne}[i%2]
			eventually(t, 10*time.Second, "a move begins", func() bool { return d.say("move " + to).Moved })
			d.receives("relay " + to + ":2268")
		}
		time.Sleep(300 * time.Millisecond)
		r := d.count()
		require.Zero(t, r.Lost, "planned moves lose nothing")
		require.Zero(t, r.Doubled)
	})

	t.Run("relay killed", func(t *testing.T) {
		for _, how := range []string{"killed", "unreachable"} {
			d := l.dial(t, "bb", ch, "tunnel", relayOne, relayTwo)
			d.receives(byOne)
			time.Sleep(500 * time.Millisecond)
			d.count()
			l.machine.late()
			if how == "killed" {
				one.kill()
			} else {
				l.sh("hole", "r1", "relay")
			}
			r := d.receives(byTwo)
			late := l.machine.late()
			t.Logf("relay %s: a pause of %v (at most 2s; the machine was late by %v)", how, r.Pause.Round(time.Millisecond), late)
			require.LessOrEqual(t, r.Pause, 2*time.Second+late)
			if how == "killed" {
				one.run()
				l.answers("relay", 9104)
			} else {
				l.sh("clear", "r1", "relay")
			}
		}
	})

	t.Run("kernel", func(t *testing.T) { l.kernel(t, ch, one) })
	t.Run("bridge", func(t *testing.T) { l.bridge(t, ch) })
	t.Run("receive", func(t *testing.T) { l.receive(t, ch) })
}

// amtRelay starts an AMT relay on a node, and waits until it runs.
func (l *lab) amtRelay(node, text string) *process {
	l.t.Helper()
	conf := filepath.Join(l.conf, "amt-"+node+".yaml")
	require.NoError(l.t, os.WriteFile(conf, []byte("node: {name: "+node+"}\n"+text+"\n"), 0o600))
	p := &process{l: l, name: "amt-" + node, node: node, args: []string{filepath.Join(binaries, "treedn"), "amt-relay", "-config", conf}}
	p.run()
	l.t.Cleanup(func() {
		p.kill()
		l.report(p.logFile())
	})
	l.answers(node, 9104)
	return p
}

// answers waits until the AMT relay on a node runs.
func (l *lab) answers(node string, port int) {
	l.t.Helper()
	client := l.client(node)
	eventually(l.t, 20*time.Second, "the AMT relay on "+node, func() bool {
		_, err := get(l.t.Context(), client, fmt.Sprintf("http://127.0.0.1:%d/readyz", port))
		return err == nil
	})
}

// nat makes the home router forget all mappings and give out ports from first
// on.
func (l *lab) nat(first int) {
	l.t.Helper()
	ports := map[int]string{10000: "10000-19999", 20000: "20000-29999"}[first]
	l.sh("exec", "nat", "nft", "flush chain ip home post; add rule ip home post oifname to-inet meta l4proto udp masquerade to :"+ports)
	require.NoError(l.t, l.inside("nat", forgetMappings))
}

// forgetMappings empties the table of connections (nfnetlink, IPCTNL_MSG_CT_DELETE
// without a tuple).
func forgetMappings() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const length = 16 + 4
	message := []byte{length, 0, 0, 0, 2, unix.NFNL_SUBSYS_CTNETLINK, unix.NLM_F_REQUEST | unix.NLM_F_ACK, 0, 1, 0, 0, 0, 0, 0, 0, 0, unix.AF_UNSPEC, 0, 0, 0}
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n >= 20 && answer[16]|answer[17]|answer[18]|answer[19] != 0 {
		return unix.EINVAL
	}
	return nil
}

// kernel lets the relay copy in the kernel, to more and to fewer gateways.
func (l *lab) kernel(t *testing.T, ch ssm.Channel, relay *process) {
	// The other end of a virtual interface has to receive by NAPI.
	l.sh("exec", "wire", "ethtool", "-K", "relay.r1", "gro", "on")
	relay.kill()
	relay = l.amtRelay("relay", "amt: {listen: ["+relayOne+"], upstream: {interface: to-r1}, xdp: {egress: to-r1}}")
	defer relay.kill()
	by := "relay " + relayOne + ":2268"
	first := l.dial(t, "bb", ch, "tunnel", relayOne)
	first.receives(by)
	var more []*dialer
	for _, node := range []string{"bc", "ba", "bb"} {
		more = append(more, l.dial(t, node, ch, "tunnel", relayOne))
	}
	for _, d := range more {
		d.receives(by)
	}
	time.Sleep(200 * time.Millisecond)
	packets := l.status("relay", 9104).AMT.Packets
	for _, d := range append(more, first) {
		d.count()
	}
	time.Sleep(time.Second)
	for _, d := range append(more, first) {
		r := d.count()
		require.Greater(t, r.Packets, 200)
		require.Zero(t, r.Lost)
		require.Zero(t, r.Doubled)
	}
	// Hardly one of them came to the relay's sockets, and all were counted.
	st := l.status("relay", 9104).AMT
	require.Less(t, st.Packets, packets+20)
	require.Greater(t, st.Copies, uint64(4*200))
	for _, d := range more {
		require.NoError(t, d.in.Close())
	}
	eventually(t, 20*time.Second, "the relay was told", func() bool { return l.status("relay", 9104).AMT.Tunnels == 1 })
	packets = l.status("relay", 9104).AMT.Packets
	first.count()
	time.Sleep(time.Second)
	r := first.count()
	require.Greater(t, r.Packets, 200)
	require.Zero(t, r.Lost)
	require.Zero(t, r.Doubled)
	require.Less(t, l.status("relay", 9104).AMT.Packets, packets+20)
	first.receives(by)
}

// bridge brings the channel to where there is no multicast, and to a LAN that
// two bridges want to serve.
func (l *lab) bridge(t *testing.T, ch ssm.Channel) {
	const text = "amt: {bridge: {interface: %, relays: [" + relayTwo + "], channels: ['10.77.1.2,232.77.9.1']}}"
	on := func(ifi string) string { return strings.Replace(text, "%", ifi, 1) }

	island, leave := l.member("be", ch)
	defer leave()
	l.amtRelay("relay3", on("to-be"))
	eventually(t, 20*time.Second, "native packets on the island", func() bool { return island.Load() > 100 })
	st := l.status("relay3", 9104).AMT.Bridge
	require.Equal(t, relayTwo+":2268", st.Relay)
	require.Positive(t, st.Packets)
	require.Zero(t, st.StandingBy)

	// relay and relay4 are on one LAN. The node relay already has an AMT relay,
	// and a RELAY would have both in one; here they are two processes.
	lan, leaveLAN := l.member("bd", ch)
	defer leaveLAN()
	first := l.amtRelay("relay4", on("to-relay"))
	eventually(t, 20*time.Second, "native packets on the LAN", func() bool { return lan.Load() > 100 })
	second := &process{l: l, name: "amt-bridge", node: "relay", args: []string{
		filepath.Join(binaries, "treedn"), "amt-relay", "-admin", "127.0.0.1:9105", "-config", filepath.Join(l.conf, "amt-bridge.yaml"),
	}}
	require.NoError(t, os.WriteFile(filepath.Join(l.conf, "amt-bridge.yaml"), []byte(on("lan")), 0o600))
	second.run()
	t.Cleanup(func() { second.kill(); l.report(second.logFile()) })
	l.answers("relay", 9105)
	standing := func(node string, port int) uint64 { return l.status(node, port).AMT.Bridge.StandingBy }
	eventually(t, 20*time.Second, "one of two bridges stands by", func() bool {
		return standing("relay", 9105)+standing("relay4", 9104) == 1
	})
	before, begun := lan.Load(), time.Now()
	time.Sleep(2 * time.Second)
	rate := float64(lan.Load()-before) / time.Since(begun).Seconds()
	t.Logf("%.0f packets a second on the LAN with two bridges; 250 are sent", rate)
	require.InDelta(t, 250, rate, 60)

	// The one that sends ends; the other takes over.
	if standing("relay", 9105) == 1 {
		first.kill()
	} else {
		second.kill()
	}
	before = lan.Load()
	eventually(t, 20*time.Second, "the other bridge takes over", func() bool { return lan.Load() > before+200 })
}

// receive is what a user types, without a privilege.
func (l *lab) receive(t *testing.T, ch ssm.Channel) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(binaries, 0o755))
	treedn := filepath.Join(binaries, "treedn")
	run := func(node string, args ...string) (string, error) {
		cmd := exec.Command("./lab.sh", append([]string{"user", node, "timeout", "-s", "INT", "2", treedn, "receive"}, args...)...)
		cmd.Env = l.env
		out, err := cmd.CombinedOutput()
		t.Logf("%s: %s", node, out)
		return string(out), err
	}
	file := filepath.Join(dir, "out")
	out, _ := run("bb", "-relay", relayTwo, "-mode", "tunnel", "-to", file, "10.77.1.2,232.77.9.1")
	require.Contains(t, out, "packets are for UDP port 7000")
	require.Contains(t, out, "receiving, relay "+relayTwo)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Greater(t, info.Size(), int64(100*1316))

	out, err = run("ba", "-mode", "native", "10.77.1.2,232.77.9.1")
	require.Error(t, err)
	require.Contains(t, out, "either the UDP port is needed")
	require.Contains(t, out, "CAP_NET_RAW")
	out, _ = run("ba", "10.77.1.2,232.77.9.1:7000")
	require.Contains(t, out, "receiving, native")
	out, err = run("bb", "-mode", "tunnel", "-relay", "10.77.6.1", "-wait", "1s", "10.77.1.2,232.77.9.1:7000")
	require.Error(t, err)
	require.Contains(t, out, "is unreachable")
}
