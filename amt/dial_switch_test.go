package amt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// channelRig is a switcher in virtual time between a native path and tunnels, which
// differ in delay, put packets out of order and lose some.
type channelRig struct {
	t   *testing.T
	rng *rand.Rand
	s   switcher

	now      time.Time
	interval time.Duration
	delays   [2]time.Duration // natively, by a tunnel
	jitter   time.Duration
	loss     [2]float64
	down     [2]bool // delivers nothing
	joining  time.Duration
	payload  func(i int) []byte

	natively bool
	nativeOf int // the packets of former memberships are gone
	tunnel   Path
	tunnelAt time.Time
	paths    Path

	sent      int
	want, got map[string]int
	arrivals  []arriving // in order
	decideAt  time.Time
	switches  []rigSwitch
	refusals  int
	joins     int // of tunnels
	beside    int // packets that a tunnel brought
}

type arriving struct {
	at       time.Time
	path     Path
	nativeOf int
	payload  []byte
}

type rigSwitch struct {
	at      time.Time
	to      Path
	planned bool
	gap     time.Duration
}

var rigSource = netip.MustParseAddrPort("198.51.100.10:9")

func newChannelRig(t *testing.T, mode Mode) *channelRig {
	r := &channelRig{
		t: t, rng: rand.New(rand.NewPCG(5, 6)), now: time.Unix(1e9, 0), interval: 2 * time.Millisecond,
		delays: [2]time.Duration{5 * time.Millisecond, 20 * time.Millisecond}, joining: 10 * time.Millisecond,
		want: make(map[string]int), got: make(map[string]int),
	}
	r.payload = func(i int) []byte {
		b := make([]byte, 64)
		switch r.rng.IntN(40) {
		case 0:
		case 1:
			b[8] = byte(r.rng.IntN(4))
		default:
			binary.BigEndian.PutUint64(b, uint64(i)+1)
		}
		return b
	}
	r.s = switcher{merger: newMerger(), mode: mode, timeout: 3 * time.Second, output: r, nativeAt: r.now}
	r.natively = mode != ModeTunnel
	r.poke()
	return r
}

func (r *channelRig) deliver(payload []byte, source netip.AddrPort) {
	require.Equal(r.t, rigSource, source)
	r.got[string(payload)]++
}

func (r *channelRig) started(Path) {}

func (r *channelRig) switched(_ time.Time, to Path, planned bool, gap time.Duration) {
	r.switches = append(r.switches, rigSwitch{r.now, to, planned, gap})
}

func (r *channelRig) refused(Path) { r.refusals++ }

func (r *channelRig) useTunnel(now time.Time, on bool) error {
	if r.tunnel = 0; on {
		r.paths++
		r.joins++
		r.tunnel, r.tunnelAt = r.paths, now.Add(r.joining)
	}
	return nil
}

func (r *channelRig) useNative(on bool) {
	if r.natively != on {
		r.natively = on
		r.nativeOf++
	}
}

func (r *channelRig) activePath() Path { return r.tunnel }

func (r *channelRig) poke() { r.decideAt = r.now }

// step sends a packet and lets time pass until the next.
func (r *channelRig) step() {
	p := r.payload(r.sent)
	r.sent++
	r.want[string(p)]++
	if r.natively {
		r.travel(0, nativePath, p)
	}
	if r.tunnel != 0 && !r.now.Before(r.tunnelAt) {
		r.travel(1, r.tunnel, p)
	}
	r.pass(r.interval)
}

func (r *channelRig) travel(way int, path Path, p []byte) {
	if r.down[way] || r.rng.Float64() < r.loss[way] {
		return
	}
	a := arriving{r.now.Add(r.delays[way]), path, r.nativeOf, p}
	if r.jitter > 0 {
		a.at = a.at.Add(time.Duration(r.rng.Int64N(int64(r.jitter))))
	}
	at, _ := slices.BinarySearchFunc(r.arrivals, a.at.Add(1), func(b arriving, t time.Time) int { return b.at.Compare(t) })
	r.arrivals = slices.Insert(r.arrivals, at, a)
}

func (r *channelRig) pass(d time.Duration) {
	for end := r.now.Add(d); ; {
		next := end
		if len(r.arrivals) > 0 && r.arrivals[0].at.Before(next) {
			next = r.arrivals[0].at
		}
		if !r.decideAt.IsZero() && r.decideAt.Before(next) {
			next = r.decideAt
		}
		if next.After(r.now) {
			r.now = next
		}
		switch {
		case isDue(r.decideAt, r.now):
			r.decideAt = time.Time{}
			at := r.s.decide(r.now)
			if !at.IsZero() && !at.After(r.now) {
				at = r.now.Add(time.Millisecond) // as uplink.run does
			}
			r.decideAt = sooner(at, r.decideAt)
		case len(r.arrivals) > 0 && !r.arrivals[0].at.After(r.now):
			a := r.arrivals[0]
			r.arrivals = r.arrivals[1:]
			switch {
			case a.path == nativePath && r.natively && a.nativeOf == r.nativeOf:
				r.s.fromNative(r.now, a.payload, rigSource)
			case a.path != nativePath && a.path == r.tunnel:
				r.beside++
				r.s.fromTunnel(r.now, a.path, a.payload, rigSource)
			}
		default:
			return
		}
	}
}

// until steps until something is so.
func (r *channelRig) until(limit time.Duration, what string, ok func() bool) {
	r.t.Helper()
	for end := r.now.Add(limit); !ok(); r.step() {
		require.True(r.t, r.now.Before(end), what)
	}
}

func (r *channelRig) run(d time.Duration) {
	for end := r.now.Add(d); r.now.Before(end); {
		r.step()
	}
}

// complete requires that everything has been delivered as often as it was sent.
func (r *channelRig) complete() {
	r.t.Helper()
	r.pass(r.delays[0] + r.delays[1] + r.jitter + time.Millisecond)
	lost, doubled := r.balance()
	require.Zero(r.t, lost, "lost")
	require.Zero(r.t, doubled, "doubled")
}

func (r *channelRig) balance() (lost, doubled int) {
	for p, n := range r.want {
		lost += max(0, n-r.got[p])
		doubled += max(0, r.got[p]-n)
	}
	return lost, doubled
}

// 1,000 planned switches in each direction, with 5 % identical payloads, packets out of
// order on both ways, and delays that differ by up to two seconds in either sense, lose
// and double nothing, and none of them has a gap.
func TestSwitchBothWays(t *testing.T) {
	for _, c := range []struct {
		native, tunnel, jitter time.Duration
		times                  int
	}{
		{10 * time.Millisecond, 10 * time.Millisecond, 0, 1000},
		{5 * time.Millisecond, 40 * time.Millisecond, 8 * time.Millisecond, 1000},
		{40 * time.Millisecond, 5 * time.Millisecond, 8 * time.Millisecond, 1000},
		{5 * time.Millisecond, 180 * time.Millisecond, 5 * time.Millisecond, 1000},
		{180 * time.Millisecond, 5 * time.Millisecond, 5 * time.Millisecond, 1000},
		{5 * time.Millisecond, 2 * time.Second, 8 * time.Millisecond, 100},
		{2 * time.Second, 5 * time.Millisecond, 8 * time.Millisecond, 100},
	} {
		t.Run(fmt.Sprint(c.native, " ", c.tunnel, " ", c.jitter), func(t *testing.T) {
			t.Parallel()
			times := c.times
			if testing.Short() {
				times /= 10
			}
			r := newChannelRig(t, ModeAuto)
			r.delays, r.jitter = [2]time.Duration{c.native, c.tunnel}, c.jitter
			r.until(time.Second*5, "the first packet", func() bool { return r.s.merger.started })
			clear(r.want) // what was sent before
			clear(r.got)
			r.arrivals = nil
			for i := range times {
				r.s.setMode(r.now, ModeTunnel)
				r.until(20*time.Second, fmt.Sprint("no tunnel ", i), func() bool { return !r.s.natively() })
				require.False(t, r.natively)
				r.run(time.Duration(r.rng.IntN(200)) * time.Millisecond)
				mode := ModeNative
				if i%2 == 0 {
					mode = ModeAuto
				}
				r.s.setMode(r.now, mode)
				r.until(20*time.Second, fmt.Sprint("not native ", i), r.s.natively)
				require.Zero(t, r.tunnel)
				r.run(time.Duration(r.rng.IntN(200)) * time.Millisecond)
			}
			r.complete()
			require.Len(t, r.switches, 2*times)
			for _, s := range r.switches {
				require.True(t, s.planned)
				require.Zero(t, s.gap)
			}
			require.Zero(t, r.refusals)
		})
	}
}

// Native reception that comes back, and loses one of 20 packets, is not taken, and tried
// again ever later; once it loses nothing it is.
func TestLossyNativeIsNotTaken(t *testing.T) {
	r := newChannelRig(t, ModeAuto)
	r.down[0] = true
	r.until(10*time.Second, "no tunnel", func() bool { return r.s.merger.started })
	r.down[0], r.loss[0] = false, 0.05
	r.run(10 * time.Minute)
	require.False(t, r.s.natively())
	require.Greater(t, r.refusals, 3)
	require.Less(t, r.refusals, 12)
	require.Empty(t, r.switches)
	r.loss[0] = 0
	r.until(6*time.Minute, "not native", r.s.natively)
	require.True(t, r.switches[0].planned)
	require.Zero(t, r.tunnel)
}

// Equal losses on both ways are no reason to stay.
func TestBothLossy(t *testing.T) {
	r := newChannelRig(t, ModeAuto)
	r.down[0], r.loss[1] = true, 0.02
	r.until(10*time.Second, "no tunnel", func() bool { return r.s.merger.started })
	r.down[0], r.loss[0] = false, 0.02
	r.until(time.Minute, "not native", r.s.natively)
	r.pass(time.Second)
	_, doubled := r.balance()
	require.Zero(t, doubled)
}

// Native reception that comes for 5 s and goes for 5 s makes ever fewer switches.
func TestFlapping(t *testing.T) {
	r := newChannelRig(t, ModeAuto)
	r.interval = 10 * time.Millisecond
	for range 360 { // an hour
		r.down[0] = !r.down[0]
		r.run(5 * time.Second)
		r.down[0] = !r.down[0]
		r.run(5 * time.Second)
	}
	require.Greater(t, len(r.switches), 2)
	require.Less(t, len(r.switches), 12)
	require.LessOrEqual(t, r.s.penalty, maxPenalty)
	// It is trusted again in the end.
	r.down[0] = false
	r.until(2*maxPenalty, "not native", r.s.natively)
	r.run(30 * time.Minute)
	r.down[0] = true
	r.until(10*time.Second, "no tunnel", func() bool { return !r.s.natively() })
	require.Zero(t, r.s.penalty)
}

// In adaptive mode, native reception that loses many packets, of which pauses tell, is
// left for a tunnel that does not, without a gap. A tunnel that is no better is not used
// for longer than it takes to find out, ever less often.
func TestAdaptive(t *testing.T) {
	for name, tunnel := range map[string]float64{"better": 0, "no better": 0.3} {
		t.Run(name, func(t *testing.T) {
			r := newChannelRig(t, ModeAdaptive)
			r.joining = 100 * time.Millisecond
			r.until(5*time.Second, "not native", r.s.natively)
			r.run(2 * time.Second)
			require.Zero(t, r.tunnel)
			r.loss = [2]float64{0.3, tunnel}
			end := 10 * time.Minute
			for range 60 {
				r.down[0] = true
				r.run(600 * time.Millisecond)
				r.down[0] = false
				if r.run(end / 60); name == "better" && !r.s.natively() {
					break
				}
			}
			_, doubled := r.balance()
			require.Zero(t, doubled)
			if name == "better" {
				require.False(t, r.s.natively())
				require.True(t, r.switches[len(r.switches)-1].planned)
				return
			}
			require.True(t, r.s.natively())
			require.Zero(t, r.tunnel)
			require.LessOrEqual(t, r.joins, 7)
			require.Less(t, r.beside, r.sent/20)
		})
	}
}

// Ways whose delays differ by more than can be bridged are not aligned: the switch takes
// place after maxOverlap, is not called planned, and what is held back has been bounded.
func TestDelaysBeyondBridging(t *testing.T) {
	for _, delays := range [][2]time.Duration{{0, 20 * time.Second}, {20 * time.Second, 0}} {
		r := newChannelRig(t, ModeAuto)
		r.delays = delays
		r.until(30*time.Second, "nothing", func() bool { return r.s.merger.started })
		r.until(40*time.Second, "not native", r.s.natively)
		n := len(r.switches)
		r.s.setMode(r.now, ModeTunnel)
		most := 0
		r.until(40*time.Second, "no tunnel", func() bool { most = max(most, r.s.merger.octets); return !r.s.natively() })
		require.Len(t, r.switches, n+1)
		require.False(t, r.switches[n].planned)
		require.LessOrEqual(t, most, heldOctets)
	}
}

// A channel of a packet every two seconds goes back to native reception, too.
func TestSlowChannelReturns(t *testing.T) {
	r := newChannelRig(t, ModeAuto)
	r.interval = 2 * time.Second
	r.payload = func(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }
	r.until(10*time.Second, "nothing", r.s.natively)
	clear(r.want)
	clear(r.got)
	r.s.setMode(r.now, ModeTunnel)
	r.until(2*time.Minute, "no tunnel", func() bool { return !r.s.natively() })
	r.s.setMode(r.now, ModeAuto)
	r.until(2*time.Minute, "not native", r.s.natively)
	r.complete()
	require.Len(t, r.switches, 2)
	require.True(t, r.switches[0].planned && r.switches[1].planned)
}

// A way that is asked for and does not deliver changes nothing; when the one in use fails
// then, the other one is taken as soon as it delivers, and the gap is told.
func TestSwitchToNothing(t *testing.T) {
	r := newChannelRig(t, ModeAuto)
	r.until(5*time.Second, "nothing", r.s.natively)
	clear(r.want)
	clear(r.got)
	r.down[1] = true
	r.s.setMode(r.now, ModeTunnel)
	r.run(time.Minute)
	require.True(t, r.s.natively())
	r.complete()
	r.down = [2]bool{true, false}
	r.until(10*time.Second, "no tunnel", func() bool { return !r.s.natively() })
	require.False(t, r.switches[0].planned)
	require.GreaterOrEqual(t, r.switches[0].gap, 3*time.Second)
	require.Less(t, r.switches[0].gap, 4*time.Second)
}

// When native reception has failed for a reason, a tunnel that delivers need not wait
// until the silence is long enough.
func TestNativeFailureIsNotWaitedFor(t *testing.T) {
	r := newChannelRig(t, ModeAuto)
	r.until(5*time.Second, "nothing", r.s.natively)
	r.down[0] = true
	r.s.failed = errors.New("the interface is down")
	r.poke()
	r.until(time.Second, "no tunnel", func() bool { return !r.s.natively() })
	require.Less(t, r.switches[0].gap, 200*time.Millisecond)
}

// A source with a zone is asked for without: packets do not say theirs.
func TestZoneOfTheSource(t *testing.T) {
	group := netip.MustParseAddrPort("[ff3e::8000:1]:5000")
	c, err := Dial(t.Context(), netip.MustParseAddr("fe80::1%7"), group, DialConfig{
		Mode: ModeTunnel, Gateway: GatewayConfig{Relays: []Candidate{{Address: netip.MustParseAddrPort("127.0.0.1:9"), Direct: true}}},
	})
	require.NoError(t, err)
	c.mu.Lock()
	sources := c.gateway.filters[group.Addr()].Sources
	c.mu.Unlock()
	require.Equal(t, []netip.Addr{netip.MustParseAddr("fe80::1")}, sources)
	require.NoError(t, c.Close())
}
