package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/internal/telemetry"
)

// fromCast is what CAST sends.
var fromCast = ssm.Channel{Source: netip.MustParseAddr("10.77.1.2"), Group: netip.MustParseAddr("232.77.1.1"), Port: 6000}

const (
	ingestURL = "http://10.77.1.2:8090/publish/" + channel + "/manifest.mpd"
	// media matches what the senders of the suite multicast, not what routers
	// tell each other.
	media = "ip daddr 232.0.0.0/8"
)

func (l *lab) status(node string, port int) telemetry.Status {
	l.t.Helper()
	body, err := get(l.t.Context(), l.client(node), fmt.Sprintf("http://127.0.0.1:%d/status", port))
	require.NoError(l.t, err)
	var st telemetry.Status
	require.NoError(l.t, json.Unmarshal(body, &st))
	return st
}

// adminPort is the default of the role that runs on a node.
func adminPort(node string) int {
	switch {
	case node == "cast":
		return 9101
	case strings.HasPrefix(node, "relay"):
		return 9102
	}
	return 9103
}

// service returns what a node says of the channel.
func (l *lab) service(node string) telemetry.Service {
	l.t.Helper()
	st := l.status(node, adminPort(node))
	require.Len(l.t, st.Services, 1)
	return st.Services[0]
}

func (l *lab) services(nodes []string) map[string]telemetry.Service {
	l.t.Helper()
	m := make(map[string]telemetry.Service)
	for _, node := range nodes {
		m[node] = l.service(node)
	}
	return m
}

// runs waits until the program on a node runs.
func (l *lab) runs(node string) {
	l.t.Helper()
	client := l.client(node)
	eventually(l.t, 10*time.Second, node+" runs", func() bool {
		_, err := get(l.t.Context(), client, fmt.Sprintf("http://127.0.0.1:%d/healthz", adminPort(node)))
		return err == nil
	})
}

// ready waits until a node is ready, and has the manifest.
func (l *lab) ready(nodes ...string) {
	l.t.Helper()
	for _, node := range nodes {
		client := l.client(node)
		eventually(l.t, 15*time.Second, node+" is ready", func() bool {
			_, err := get(l.t.Context(), client, fmt.Sprintf("http://127.0.0.1:%d/readyz", adminPort(node)))
			return err == nil
		})
		if node != "cast" {
			eventually(l.t, 5*time.Second, node+" has the manifest", func() bool {
				_, err := get(l.t.Context(), client, playerURL(node)+"manifest.mpd")
				return err == nil
			})
		}
	}
}

// member joins a channel on a node and counts what comes.
func (l *lab) member(node string, ch ssm.Channel) (packets *atomic.Int64, leave func()) {
	l.t.Helper()
	host := ssm.NewHost(ssm.Config{})
	var rx *ssm.Receiver
	require.NoError(l.t, l.inside(node, func() (err error) {
		rx, err = host.Join(context.Background(), ch, "")
		return err
	}))
	packets = new(atomic.Int64)
	var group sync.WaitGroup
	group.Go(func() {
		messages := ssm.NewMessages(16)
		for {
			n, err := rx.ReadBatch(messages)
			if err != nil {
				return
			}
			packets.Add(int64(n))
		}
	})
	leave = func() { rx.Close(); group.Wait() }
	l.t.Cleanup(leave)
	return packets, leave
}

// watch lets FFmpeg play from a node, and fails the test unless it decodes
// that many seconds of picture and sound without a complaint.
func (l *lab) watch(node, manifest string, seconds int) (wait func()) {
	t := l.t
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds+20)*time.Second)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", l.name+"-"+node, "ffmpeg", "-nostdin", "-v", "error",
		"-i", playerURL(node)+manifest, "-map", "0:v:0", "-map", "0:a:0", "-t", strconv.Itoa(seconds),
		"-progress", "-", "-f", "null", "-")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Start())
	return func() {
		t.Helper()
		defer cancel()
		assert.NoError(t, cmd.Wait(), "FFmpeg at %s, %s", node, manifest)
		assert.Empty(t, stderr.String(), "FFmpeg at %s, %s", node, manifest)
		frames := 0
		for line := range strings.Lines(stdout.String()) {
			if v, ok := strings.CutPrefix(line, "frame="); ok {
				frames, _ = strconv.Atoi(strings.TrimSpace(v))
			}
		}
		assert.Equal(t, 25*seconds, frames, "frames that FFmpeg decoded at %s, %s", node, manifest)
		t.Logf("%-6s FFmpeg decoded %d frames of %s", node, frames, manifest)
	}
}

// TestTree proves the tree on separate hosts: nothing goes where nobody has
// asked for it, all objects arrive, loss is repaired, and all ends cleanly.
func TestTree(t *testing.T) {
	l := newLab(t)
	leafFirst := []*process{}
	start := func(node, program string) {
		leafFirst = append([]*process{l.start(node, program)}, leafFirst...)
	}
	for _, d := range [][2]string{{"cast", "r1"}, {"r1", "r2"}, {"r1", "relay"}, {"r2", "relay2"}, {"r2", "ba"}} {
		l.sh("count", d[0], d[1], media)
	}

	start("cast", "cast")
	l.runs("cast")
	s := l.push("cast", ingestURL)

	t.Log("--- nobody has joined")
	eventually(t, 10*time.Second, "CAST sends", func() bool { return l.counted("cast", "r1") > 200 })
	require.Zero(t, l.counted("r1", "r2"), "packets to where nobody is")
	require.Zero(t, l.counted("r1", "relay"))

	t.Log("--- somebody has joined the group of another source")
	wrong := fromCast
	wrong.Source = netip.MustParseAddr("10.77.1.77")
	strange, leave := l.member("relay2", wrong)
	eventually(t, 5*time.Second, "r1 knows of that membership", func() bool {
		return strings.Contains(l.sh("vtysh", "r1", "show ip pim upstream"), wrong.Source.String())
	})
	before := l.counted("cast", "r1")
	eventually(t, 5*time.Second, "CAST sends", func() bool { return l.counted("cast", "r1") > before+200 })
	require.Zero(t, strange.Load(), "packets from another source")
	require.Zero(t, l.counted("r1", "r2"))
	require.Zero(t, l.counted("r2", "relay2"))
	begun := time.Now()
	right, leaveRight := l.member("relay2", fromCast)
	eventually(t, 5*time.Second, "the true source's packets come", func() bool { return right.Load() > 0 })
	t.Logf("%-6s first packet %v after the join", "relay2", time.Since(begun).Round(time.Millisecond))
	require.Zero(t, strange.Load())
	require.Zero(t, l.counted("r1", "relay"))
	leave()
	leaveRight()

	t.Log("--- the tree on an undisturbed network")
	start("relay", "relay")
	start("ba", "beacon")
	start("relay4", "relay")
	start("bd", "beacon")
	start("bf", "beacon")
	nodes := []string{"relay", "ba", "relay4", "bd", "bf"}
	l.ready(nodes...)
	var readers []*reader
	for _, node := range nodes {
		readers = append(readers, l.read(node, s))
	}
	// What was under way when a node joined came in part, and was repaired.
	// FFmpeg needs a window of more than the delay that the MPD suggests.
	next := s.number() + 2
	require.NoError(t, s.wait(t.Context(), func() bool { return s.segment(0, max(next, 7)) != nil }))
	atFirst := l.services(nodes)
	from := time.Now()
	const seconds = 10
	var players []func()
	for _, p := range [][2]string{{"ba", "manifest.mpd"}, {"bd", "master.m3u8"}, {"bf", "master.m3u8"}} {
		players = append(players, l.watch(p[0], p[1], seconds))
	}
	for _, wait := range players {
		wait()
	}
	to := time.Now()
	for i, r := range readers {
		r.compare(t, from, to)
		l.compareInits(nodes[i], s)
		x := difference(l.service(nodes[i]), atFirst[nodes[i]])
		t.Log(figures(nodes[i], x))
		assert.Zero(t, x.PacketsLost, "%s: packets lost on an undisturbed network", nodes[i])
		assert.Zero(t, x.RepairOctets, "%s: unicast repair on an undisturbed network", nodes[i])
	}

	t.Log("--- loss on the last hops")
	lossless := l.services(nodes)
	l.sh("loss", "r2", "ba", "5")                    // of everything, requests of repair included
	l.sh("burst", "relay", "bd", "200", "50", media) // more than what FEC is made for
	l.sh("wire", "relay", "relay4", "-udp", "-delay", "20ms", "-jitter", "10ms", "-reorder", "-dup", "1", "-ge", "2,20,100")
	l.sh("loss", "relay4", "bf", "30", media)
	from = time.Now()
	time.Sleep(14 * time.Second)
	to = time.Now()
	for i, r := range readers {
		r.compare(t, from, to)
		x := difference(l.service(nodes[i]), lossless[nodes[i]])
		t.Log(figures(nodes[i], x))
		if nodes[i] != "relay" {
			assert.NotZero(t, x.PacketsLost, "%s", nodes[i])
			assert.NotZero(t, x.FECOctets, "%s: octets recovered by FEC", nodes[i])
		}
		if nodes[i] == "bd" || nodes[i] == "bf" {
			assert.NotZero(t, x.RepairOctets, "%s: octets repaired by unicast", nodes[i])
		}
		assert.Zero(t, x.ObjectsLost, "%s", nodes[i])
	}
	for _, d := range [][2]string{{"r2", "ba"}, {"relay", "bd"}, {"relay", "relay4"}, {"relay4", "bf"}} {
		if out := l.sh("clear", d[0], d[1]); out != "" {
			t.Logf("wire from %s to %s: %s", d[0], d[1], out)
		}
	}
	for _, r := range readers {
		r.cancel()
	}

	t.Log("--- SIGTERM")
	l.sh("count", "r2", "ba", media)
	for _, p := range leafFirst {
		took, err := p.terminate(8 * time.Second)
		assert.NoError(t, err, "%s after SIGTERM", p.name)
		t.Logf("%-6s ended %v after SIGTERM", p.name, took.Round(time.Millisecond))
		log, err := os.ReadFile(p.logFile())
		require.NoError(t, err)
		for _, bad := range []string{"level=ERROR", "panic", "goroutine "} {
			assert.NotContains(t, string(log), bad, "log of %s", p.name)
		}
		if p.name == "ba" {
			begun := time.Now()
			n := -1
			eventually(t, 10*time.Second, "r2 sends no more to ba", func() bool {
				last := n
				n = l.counted("r2", "ba")
				time.Sleep(300 * time.Millisecond)
				return n == last
			})
			t.Logf("%-6s gets no more packets %v after its end", p.name, time.Since(begun).Round(100*time.Millisecond))
		}
		if p.name == "relay" {
			s.stop() // before CAST ends under it
		}
	}
}

// compareInits fails the test unless a node has all initialization segments.
func (l *lab) compareInits(node string, s *source) {
	l.t.Helper()
	n := 0
	for _, o := range s.objectsBetween(time.Time{}, time.Now()) {
		if o.stream >= 0 {
			continue
		}
		body, err := get(l.t.Context(), l.client(node), playerURL(node)+o.name)
		require.NoError(l.t, err, "%s: %s", node, o.name)
		require.True(l.t, bytes.Equal(body, o.body), "%s: %s differs", node, o.name)
		n++
	}
	require.Equal(l.t, 3, n)
}

func difference(x, before telemetry.Service) telemetry.Service {
	x.Packets -= before.Packets
	x.PacketsLost -= before.PacketsLost
	x.SourceOctets -= before.SourceOctets
	x.FECOctets -= before.FECOctets
	x.RepairOctets -= before.RepairOctets
	x.FallbackOctets -= before.FallbackOctets
	x.ObjectsLost -= before.ObjectsLost
	return x
}

func figures(node string, x telemetry.Service) string {
	all := float64(max(1, x.SourceOctets+x.FECOctets+x.RepairOctets+x.FallbackOctets))
	share := func(n uint64) float64 { return 100 * float64(n) / all }
	return fmt.Sprintf("%-6s %5d packets, %4d lost; octets: source %.1f %%, FEC %.1f %%, repair %.1f %%, fallback %.1f %%; %d objects lost",
		node, x.Packets, x.PacketsLost, share(x.SourceOctets), share(x.FECOctets), share(x.RepairOctets), share(x.FallbackOctets), x.ObjectsLost)
}
