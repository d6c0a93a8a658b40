package route

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec/raptorq"
)

var (
	simStart = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	simSrc   = netip.MustParseAddrPort("127.0.7.1:5000")
)

// sim connects a Sender and a Receiver in virtual time by a wire that loses,
// delays and repeats packets.
type sim struct {
	t    testing.TB
	now  time.Time
	snd  *Sender
	rcv  *Receiver
	drop func(pkt []byte) bool // nil loses nothing
	// delay returns how long a packet takes; nil is no time.
	delay func() time.Duration
	// double is the share of packets that come twice.
	double float64
	// shuffle lets packets be overtaken by up to as many later ones.
	shuffle int
	sent    int
	wire    []flight

	chance *rand.Rand
	// keep leaves complete objects to onEvent.
	keep bool
	// clock is called at every step.
	clock func()

	started   map[*Object]bool
	got       map[string][]byte
	generated map[string]uint64
	progress  map[string]time.Time // when the prefix last grew
	lost      []*Object
	asked     map[string]int
	events    []Event
	onEvent   func(Event)
}

type flight struct {
	at    time.Time
	pkt   []byte
	after int  // shuffled: it arrives with this packet, if not at its time
	apart bool // it goes to the RepairSession
}

func newSim(t testing.TB, sc SenderConfig, rc ReceiverConfig) *sim {
	sc.Session = Session{Source: simSrc.Addr(), Group: netip.MustParseAddr("232.1.2.3"), Port: 5000}
	rc.Session = sc.Session
	return &sim{
		t: t, now: simStart, chance: rand.New(rand.NewPCG(6, 6)), snd: NewSender(sc), rcv: NewReceiver(rc),
		started: map[*Object]bool{}, got: map[string][]byte{}, generated: map[string]uint64{},
		progress: map[string]time.Time{}, asked: map[string]int{},
	}
}

// lossy drops each packet with probability p.
func lossy(seed uint64, p float64) func([]byte) bool {
	r := rand.New(rand.NewPCG(seed, 99))
	return func([]byte) bool { return r.Float64() < p }
}

// run lets everything happen until d has passed.
func (s *sim) run(d time.Duration) {
	end := s.now.Add(d)
	for {
		s.step()
		next := sooner(s.snd.NextTimeout(s.now), s.rcv.NextTimeout())
		for _, f := range s.wire {
			next = sooner(next, f.at)
		}
		if s.clock != nil {
			next = sooner(next, s.now.Add(time.Millisecond))
		}
		if next.IsZero() || next.After(end) {
			s.now = end
			return
		}
		if !next.After(s.now) {
			next = s.now.Add(time.Microsecond)
		}
		s.now = next
	}
}

func (s *sim) step() {
	if s.clock != nil {
		s.clock()
	}
	s.snd.RunWork(s.now)
	for {
		pkt, ok := s.snd.Poll(s.now, nil)
		apart := !ok
		if apart {
			if pkt, ok = s.snd.PollRepair(s.now, nil); !ok {
				break
			}
		}
		require.LessOrEqual(s.t, len(pkt), s.snd.cfg.MaxPayload)
		s.overtake()
		if s.drop != nil && s.drop(pkt) {
			continue
		}
		f := flight{at: s.now, pkt: pkt, apart: apart}
		if s.delay != nil {
			f.at = f.at.Add(s.delay())
		}
		f = s.hold(f)
		s.wire = append(s.wire, f)
		if s.double > 0 && s.chance.Float64() < s.double {
			f.at = f.at.Add(3 * time.Millisecond)
			f = s.hold(f)
			s.wire = append(s.wire, f)
		}
	}
	rest := s.wire[:0]
	for _, f := range s.wire {
		if f.at.After(s.now) {
			rest = append(rest, f)
			continue
		}
		if f.apart {
			s.pushApart(f.pkt)
		} else {
			_ = s.rcv.Push(s.now, simSrc, f.pkt)
		}
		s.rcv.RunWork(s.now)
		s.poll()
	}
	s.wire = rest
	s.rcv.HandleTimeout(s.now)
	s.rcv.RunWork(s.now)
	s.poll()
}

// pushApart lets a packet to the RepairSession arrive, if that has been joined.
func (s *sim) pushApart(pkt []byte) {
	to := s.snd.cfg.RepairSession
	if !to.Source.IsValid() {
		to.Source = simSrc.Addr()
	}
	if slices.Contains(s.rcv.OtherSessions(), to) {
		s.rcv.PushRun(s.now, netip.AddrPortFrom(to.Source, simSrc.Port()), netip.AddrPortFrom(to.Group, to.Port), pkt, 0)
	}
}

// hold shuffles a packet. The last ones before a pause arrive without others
// that overtake them.
func (s *sim) hold(f flight) flight {
	if n := s.chance.IntN(s.shuffle + 1); n > 0 {
		f.after = s.sent + n
		f.at = s.now.Add(100 * time.Millisecond)
	}
	return f
}

// overtake counts a packet and lets those arrive that waited for it.
func (s *sim) overtake() {
	s.sent++
	for i := range s.wire {
		if f := &s.wire[i]; f.after == s.sent && f.at.After(s.now) {
			f.at = s.now
		}
	}
}

func (s *sim) poll() {
	for {
		ev, ok := s.rcv.Poll()
		if !ok {
			return
		}
		s.events = append(s.events, ev)
		o := ev.Object
		if o != nil && ev.Kind != Started {
			require.True(s.t, s.started[o], "%v before started", ev.Kind)
		}
		switch ev.Kind {
		case Started:
			require.False(s.t, s.started[o])
			s.started[o] = true
		case Progress:
			s.progress[o.Name()] = s.now
		case Complete:
			if s.keep {
				break
			}
			b := make([]byte, o.Length())
			_, err := o.ReadAt(b, 0)
			require.NoError(s.t, err)
			_, dup := s.got[o.Name()]
			require.False(s.t, dup && s.generated[o.Name()] == o.Generation(), "%s twice", o.Name())
			s.got[o.Name()], s.generated[o.Name()] = b, o.Generation()
		case Lost:
			s.lost = append(s.lost, o)
		case NeedRepair:
			s.asked[o.Name()]++
		}
		if s.onEvent != nil {
			s.onEvent(ev)
		}
		if ev.Kind == Complete && !o.released && !s.keep {
			s.rcv.Release(s.now, o)
		}
	}
}

func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

const stem = "chunk-stream0-$TOI%05d$.m4s"

func media(n int, run uint64) Outgoing {
	return Outgoing{
		Name: fmt.Sprintf("chunk-stream0-%05d.m4s", n), Generation: run + uint64(n), ContentType: "video/mp4",
		Track: Track{Stem: stem, Number: uint32(n), Run: run, Kind: Video, Representation: "0"},
	}
}

// sendWhole sends an object at once.
func (s *sim) sendWhole(out Outgoing, b []byte) *Transmission {
	out.Length = int64(len(b))
	tx, err := s.snd.Begin(s.now, out)
	require.NoError(s.t, err)
	require.NoError(s.t, tx.Append(s.now, b))
	require.NoError(s.t, tx.End(s.now))
	return tx
}

func TestWholeObjects(t *testing.T) {
	s := newSim(t, SenderConfig{}, ReceiverConfig{})
	want := map[string][]byte{}
	for n := 1; n <= 5; n++ {
		b := randomBytes(uint64(n), n*50_001)
		out := media(n, 1000)
		want[out.Name] = b
		s.sendWhole(out, b)
		s.run(500 * time.Millisecond)
	}
	require.Empty(t, s.lost)
	require.Empty(t, s.asked)
	require.Equal(t, len(want), len(s.got))
	for name, b := range want {
		require.True(t, bytes.Equal(b, s.got[name]), name)
		require.Equal(t, uint64(1000), s.generated[name])
	}
	st := s.rcv.Stats()
	require.Zero(t, st.Lost)
	require.Zero(t, st.Rejected)
	require.Zero(t, st.Memory)
}

func newEncoder(t testing.TB, source []byte, y int) *raptorq.Encoder {
	e, err := raptorq.NewEncoder(source, y)
	require.NoError(t, err)
	return e
}
