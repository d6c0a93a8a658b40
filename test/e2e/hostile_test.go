package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/cast"
	"github.com/treedn/treedn/internal/clip"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/hostile"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/relay"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
	"github.com/treedn/treedn/internal/treetest"
	"github.com/treedn/treedn/route"
)

const (
	// attackRate is 65 times CAST's rate, in packets a second. A machine that is busy already could do nothing else; there
	// it is busyAttackRate, 13 times CAST's.
	attackRate, busyAttackRate = 10_000, 2_000
	// playDelay is how far the player is behind live. It asks for an object so much earlier than it needs it.
	playDelay, playAhead = 10 * time.Second, 4 * time.Second
	residentLimit        = 256 << 20
)

// Somebody sends forged packets of every kind to CAST's group, with CAST's address and ten times its rate, from before the
// receivers start. A player behind live does not stall, every object comes as CAST took it in, no forged octet goes
// anywhere, and the RELAY that is attacked stays small.
func TestHostileSender(t *testing.T) {
	up, down := treetest.Session(t), treetest.Session(t)
	past := recordPast(t, up)
	c := treetest.Cast(t, treetest.CastConfig(treetest.Channel(channel, up)))
	w := &witness{objects: map[string]*witnessedObject{}, seals: map[string]bool{}, start: time.Now()}
	c.Service(channel).AddSink(w)
	stopPush := pushClip(t, c)
	defer stopPush()

	evil := newAttack(t, up, past)
	defer evil.stop()
	time.Sleep(1500 * time.Millisecond)
	evil.listen(t)
	time.Sleep(500 * time.Millisecond)

	sent := listen(t, down)
	r := startRelay(t, relayProcess{Up: up, Down: down, Parent: c.RepairURL()})
	b := treetest.Beacon(t, treetest.BeaconConfig(treetest.Service(t, channel, down, r.repair)), lossy.Config{})

	p := &latePlayer{t: t, base: b.URL() + "/" + channel + "/", w: w, client: newClient(t)}
	p.play(t, 17*time.Second)
	rate := evil.stop()
	stopPush()

	// Nothing forged was sent on, and no seal but CAST's and the RELAY's own.
	packets := sent.stop()
	require.NotEmpty(t, packets)
	for _, x := range packets {
		require.False(t, bytes.Contains(x.Bytes, hostile.Mark), "a forged octet was sent on")
	}
	w.requireSeals(t, packets)
	for _, base := range []string{r.http, r.repair, r.admin, b.URL(), b.AdminURL()} {
		for _, path := range []string{"/status", "/metrics", "/" + channel + "/manifest.mpd", "/" + channel + "/master.m3u8", "/seal/v1/" + channel} {
			_, body := treetest.Get(t, base+path)
			require.False(t, bytes.Contains(body, hostile.Mark), "%s%s has a forged octet", base, path)
		}
	}
	var st telemetry.Status
	_, body := treetest.Get(t, r.admin+"/status")
	require.NoError(t, json.Unmarshal(body, &st))
	s := serviceOf(t, st)
	require.NotZero(t, s.RejectedOctets["packet"], "%s", body)
	require.NotZero(t, s.RejectedOctets["seal"], "%s", body)
	if promisedQuiet() { // of few packets none may hit an object under way
		require.NotZero(t, s.RejectedOctets["forged"], "%s", body)
	}
	for _, l := range s.Limits {
		require.LessOrEqual(t, l.Used, l.Max, l.Name)
		if !promisedQuiet() {
			continue // few packets reach no limit
		}
		if l.Name == "unsealed_objects" || l.Name == "seal_checks" {
			require.NotZero(t, l.Hits, "the status says which limit held: %s", l.Name)
		}
	}
	resident, peak := r.memory(t)
	t.Logf("%.0f forged packets a second, %.1f times CAST's rate; %d packets at the RELAY, %d of its sockets dropped, rejected octets %v",
		rate, evil.octets()/w.octets(), s.Packets, drops(st), s.RejectedOctets)
	t.Logf("the player has read %d objects, the slowest in %v; RELAY sent %d packets, fetched %d objects with %d octets, and took %d MiB, at most %d MiB",
		p.read, p.slowest, len(packets), s.ObjectsFallback, s.FallbackOctets, resident>>20, peak>>20)
	require.GreaterOrEqual(t, p.read, 12)
	if runtime.GOOS == "linux" && !raced() {
		require.LessOrEqual(t, peak, residentLimit)
	}
	require.Greater(t, rate, 0.5*float64(attackPace()), "the attack was too weak to show anything")
}

func attackPace() int {
	if promisedQuiet() {
		return attackRate
	}
	return busyAttackRate
}

// pushClip pushes the clip to a CAST until it is stopped.
func pushClip(t *testing.T, c *cast.Node) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	transport := &http.Transport{}
	go func() {
		defer close(done)
		defer transport.CloseIdleConnections()
		_ = clip.Push(ctx, c.IngestURL()+"/publish/"+channel+"/manifest.mpd", clip.PushConfig{
			Client: &http.Client{Transport: transport}, Logger: slog.New(slog.DiscardHandler),
		})
	}()
	return sync.OnceFunc(func() { cancel(); <-done })
}

// recordPast returns what a CAST sends whose clock is two minutes behind: the true stream as it was then.
func recordPast(t *testing.T, to config.Session) []hostile.Packet {
	cc := treetest.CastConfig(treetest.Channel(channel, to))
	cc.Node.ClockOffset = -2 * time.Minute
	full := treetest.Complete(t, cc)
	c, err := cast.New(full, cast.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	x := listen(t, to)
	stop := pushClip(t, c)
	time.Sleep(3 * time.Second)
	stop()
	require.NoError(t, c.Close(node.AtOnce()))
	packets := x.stop()
	require.Greater(t, len(packets), 50)
	return packets
}

// ear hears both ports of a session.
type ear struct {
	stop func() []hostile.Packet

	mu      sync.Mutex // guards below
	packets []hostile.Packet
	sources []netip.AddrPort
}

func listen(t *testing.T, s config.Session) *ear {
	x := &ear{}
	host := ssm.NewHost(ssm.Config{})
	var group sync.WaitGroup
	for _, isSeal := range []bool{false, true} {
		ch := ssm.Channel{Source: s.Source, Group: s.Group, Port: s.Port}
		if isSeal {
			ch.Port++
		}
		rx, err := host.Join(context.Background(), ch, "")
		require.NoError(t, err)
		group.Go(func() {
			messages := ssm.NewMessages(16)
			for {
				n, err := rx.ReadBatch(messages)
				if err != nil {
					return
				}
				x.mu.Lock()
				for i := range messages[:n] {
					for b := range messages[i].Segments {
						x.packets = append(x.packets, hostile.Packet{Bytes: bytes.Clone(b), Seal: isSeal})
						x.sources = append(x.sources, messages[i].Source)
					}
				}
				x.mu.Unlock()
			}
		})
	}
	end := sync.OnceFunc(func() { host.Close(); group.Wait() })
	t.Cleanup(end)
	x.stop = func() []hostile.Packet {
		end()
		return x.packets
	}
	return x
}

// attack sends forged packets.
type attack struct {
	evil *hostile.Attacker
	ear  *ear
	own  uint16 // port

	stop   func() (rate float64)
	sent   atomic.Uint64
	volume atomic.Uint64
}

// newAttack begins to attack a session. The attacker has not heard of it yet.
func newAttack(t *testing.T, s config.Session, past []hostile.Packet) *attack {
	a := &attack{evil: hostile.New(channel, route.Session{Source: s.Source, Group: s.Group, Port: s.Port}, 7), ear: listen(t, s)}
	a.evil.Past(past)
	out, err := ssm.NewSender(s.Source, nil)
	require.NoError(t, err)
	a.own = out.Source().Port()
	began, done := time.Now(), make(chan struct{})
	var over atomic.Bool
	go func() {
		defer close(done)
		defer out.Close()
		var batches [2][][]byte
		for next := began; !over.Load(); {
			const batch = 40
			for i := range batches {
				batches[i] = batches[i][:0]
			}
			for range batch {
				p := a.evil.Any()
				kind := 0
				if p.Seal {
					kind = 1
				}
				if len(p.Bytes) == 0 {
					continue
				}
				batches[kind] = append(batches[kind], p.Bytes)
				a.volume.Add(uint64(len(p.Bytes)))
			}
			for kind, list := range batches {
				_, _ = out.WriteBatch(list, netip.AddrPortFrom(s.Group, s.Port+uint16(kind)))
			}
			a.sent.Add(batch)
			next = next.Add(time.Second * batch / time.Duration(attackPace()))
			if wait := time.Until(next); wait > 0 {
				time.Sleep(wait)
			} else if wait < -100*time.Millisecond {
				next = time.Now() // the machine is busy
			}
		}
	}()
	rate := 0.0
	end := sync.OnceFunc(func() {
		over.Store(true)
		<-done
		rate = float64(a.sent.Load()) / time.Since(began).Seconds()
		a.ear.stop()
	})
	t.Cleanup(end)
	a.stop = func() float64 { end(); return rate }
	return a
}

func (a *attack) octets() float64 { return float64(a.volume.Load()) }

// listen makes the attacker hear what others send to the session from the beginning on, and from now on.
func (a *attack) listen(t *testing.T) {
	n := 0
	hear := func() {
		a.ear.mu.Lock()
		packets, sources := a.ear.packets[n:], a.ear.sources[n:]
		n += len(packets)
		a.ear.mu.Unlock()
		for i, p := range packets {
			if sources[i].Port() != a.own {
				a.evil.Hear(p)
			}
		}
	}
	hear()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			hear()
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// witness is a sink of CAST that notes what it took in and sealed.
type witness struct {
	start time.Time

	mu      sync.Mutex // guards below
	objects map[string]*witnessedObject
	order   []string
	seals   map[string]bool
	n       int
}

type witnessedObject struct {
	b     []byte
	began time.Time
	whole bool
}

func (w *witness) octets() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return float64(w.n)
}

func (w *witness) Begin(m service.Meta) service.ObjectSink {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := &witnessedObject{began: time.Now()}
	w.objects[m.Name] = o
	w.order = append(w.order, m.Name)
	return &witnessing{w, o}
}

func (w *witness) Manifest(service.Meta, []byte) {}

func (w *witness) Seal(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seals[string(b)] = true
}

// requireSeals fails unless the seals among packets are CAST's, or by the RELAY for its signalling.
func (w *witness) requireSeals(t *testing.T, packets []hostile.Packet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	hop, n := seal.KeyIDOf(seal.Hop, treetest.HopKey.Private().Public().(ed25519.PublicKey)), 0
	for _, x := range packets {
		var d seal.Datagram
		switch {
		case !x.Seal:
		case w.seals[string(x.Bytes)]:
			n++
		default:
			require.NoError(t, d.Unmarshal(x.Bytes))
			require.Equal(t, hop, d.Key, "a seal that is not CAST's")
		}
	}
	require.NotZero(t, n)
}

type witnessing struct {
	w *witness
	o *witnessedObject
}

func (x *witnessing) Write(p []byte, _ bool) {
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	x.o.b = append(x.o.b, p...)
	x.w.n += len(p)
}

func (x *witnessing) Commit() {
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	x.o.whole = true
}

func (x *witnessing) Abort(error) {}

// latePlayer reads every object some time after it began at CAST.
type latePlayer struct {
	t      *testing.T
	base   string
	w      *witness
	client *http.Client

	mu      sync.Mutex // guards below
	read    int
	slowest time.Duration
}

func (p *latePlayer) play(t *testing.T, length time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var group sync.WaitGroup
	defer group.Wait()
	asked := map[string]bool{}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		if i%10 == 0 {
			group.Go(func() {
				if body, err := get(ctx, p.client, p.base+"manifest.mpd"); err == nil && bytes.Contains(body, hostile.Mark) {
					t.Error("the manifest is forged")
				}
			})
		}
		p.w.mu.Lock()
		for _, name := range p.w.order {
			o := p.w.objects[name]
			if !asked[name] && o.whole && time.Since(o.began) > playDelay-playAhead {
				asked[name] = true
				want := o.b
				group.Go(func() { p.get(ctx, name, want) })
			}
		}
		p.w.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *latePlayer) get(ctx context.Context, name string, want []byte) {
	began := time.Now()
	got, err := get(ctx, p.client, p.base+name)
	took := time.Since(began)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case ctx.Err() != nil && took < playAhead:
		return // the test is over
	case err != nil:
		p.t.Errorf("%s: %v", name, err)
	case !bytes.Equal(got, want):
		p.t.Errorf("%s: %d octets differ from CAST's %d", name, len(got), len(want))
	case took > playAhead:
		p.t.Errorf("the player stalls: %s came after %v", name, took)
	}
	p.read++
	p.slowest = max(p.slowest, took)
}

// relayProcess is what a RELAY in a process of its own is told.
type relayProcess struct {
	Up, Down config.Session
	Parent   string
}

// relayVariable is the environment variable that makes this test binary a RELAY.
const relayVariable = "TREEDN_E2E_RELAY"

type relayChild struct {
	cmd                 *exec.Cmd
	http, repair, admin string
}

// startRelay starts a RELAY whose memory is its own.
func startRelay(t *testing.T, c relayProcess) *relayChild {
	t.Helper()
	b, err := json.Marshal(c)
	require.NoError(t, err)
	p := &relayChild{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), relayVariable+"="+string(b))
	in, err := p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	var log bytes.Buffer
	p.cmd.Stderr = &log
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		in.Close()
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("log of the RELAY:\n%s", log.String())
		}
	})
	lines := bufio.NewScanner(out)
	for _, u := range []*string{&p.http, &p.repair, &p.admin} {
		require.True(t, lines.Scan(), "the RELAY does not start")
		*u = lines.Text()
	}
	return p
}

// relayMain is the main function of such a process.
func relayMain(told string) error {
	var c relayProcess
	if err := json.Unmarshal([]byte(told), &c); err != nil {
		return err
	}
	parent, err := config.ParseURL(c.Parent)
	if err != nil {
		return err
	}
	rc, err := config.Complete(config.Relay{
		Node: config.Node{Name: "relay"}, Cache: config.Cache{Memory: 32 << 20},
		HTTP: config.HTTP{Listen: anyPort}, Repair: config.Repair{Listen: anyPort}, Admin: config.Admin{Listen: anyPort},
		Services: []config.RelayService{{
			Service: config.Service{Name: channel, Upstream: config.Upstream{
				Session: c.Up, Parents: []config.URL{parent},
				Anchors: []config.Anchor{config.AnchorOf(treetest.RootKey)}, HopAnchors: []config.Anchor{config.AnchorOf(treetest.RootKey)},
			}},
			Downstream: config.Downstream{Session: c.Down}, SealKey: treetest.HopKey,
		}},
	})
	if err != nil {
		return err
	}
	n, err := relay.New(rc, relay.Options{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	fmt.Println(n.URL())
	fmt.Println(n.RepairURL())
	fmt.Println(n.AdminURL())
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
	return n.Close(node.AtOnce())
}

// memory returns the resident memory of the process, now and at most, in octets.
func (p *relayChild) memory(t *testing.T) (now, most int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0 // not Linux
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 3 && (f[0] == "VmRSS:" || f[0] == "VmHWM:") {
			n, err := strconv.Atoi(f[1])
			require.NoError(t, err)
			if f[0] == "VmRSS:" {
				now = n << 10
			} else {
				most = n << 10
			}
		}
	}
	return now, most
}

// raced tells whether the race detector, which takes a multiple of the memory, is at work.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}
