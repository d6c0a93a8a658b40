package seal

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// world is a signer, a parent that forgets nothing, and a receiver, in virtual
// time. A script says what happens.
type world struct {
	t   *testing.T
	now time.Time

	w      *workshop
	key    int // index of the signer's
	gen    uint64
	slots  [4]*source // growing
	truth  map[identity]*source
	parent map[identity]*Seal // the newest of each object
	newest *Seal
	past   [][]byte // all datagrams, for replays

	d       *desk
	readers map[identity]*reader
	order   []*reader
	held    [][]byte // on the wire
	holding bool
	loss    int
	lost    int // datagrams
	chance  *rand.Rand
}

type identity struct {
	name string
	gen  uint64
}

// source is an object as it is at the root.
type source struct {
	identity
	x       *Sealing
	body    []byte
	cuts    map[int]bool // lengths that were sealed
	ended   Flags
	sealed  Flags // ended, as far as anybody was told
	end     int   // newest sealed length
	key     int
	current bool
}

// reader is an object at the receiver.
type reader struct {
	s    *source
	o    *Object
	in   memory
	good int64
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, now: start, gen: 100,
		truth: map[identity]*source{}, parent: map[identity]*Seal{},
		chance: rand.New(rand.NewPCG(8, 8)),
	}
	w.w = newWorkshop(t, SignerConfig{Key: testKey(1), KeyID: 1, MaxObjects: 200})
	w.boot()
	return w
}

// boot starts the receiver, which knows nothing then.
func (w *world) boot() {
	w.d = newDesk(w.t, VerifierConfig{
		FirstContact: 5 * time.Second, MaxPending: 200, MaxNames: 300,
		Anchors: []Anchor{
			{Kind: Content, Key: public(testKey(1)), ID: 1},
			{Kind: Content, Key: public(testKey(2)), ID: 2},
			{Kind: Content, Key: public(testKey(3)), ID: 3},
		},
	})
	w.d.now = w.now
	w.readers, w.order = map[identity]*reader{}, nil
}

// restart replaces the signer. What grew there will never end.
func (w *world) restart() {
	w.w = newWorkshop(w.t, SignerConfig{
		Key: testKey(byte(w.key + 1)), KeyID: KeyID(w.key + 1), MaxObjects: 200, After: w.w.s.Time() + 10_000_000,
	})
	w.w.now = w.now
	w.slots = [4]*source{}
}

func (w *world) rotate() {
	if w.key < 2 {
		w.key++
		require.NoError(w.t, w.w.s.Rotate(w.now, testKey(byte(w.key+1)), KeyID(w.key+1)))
	}
}

// begin starts an object, under a name that was used before, perhaps.
func (w *world) begin(slot int, name string, current bool) *source {
	w.gen++
	s := &source{identity: identity{name, w.gen}, cuts: map[int]bool{0: true}, current: current}
	x, err := w.w.s.Begin(w.now, Outgoing{Name: name, Generation: s.gen, Follows: slot == 3, Current: current})
	if err != nil {
		require.ErrorIs(w.t, err, ErrLimit)
		return nil
	}
	s.x = x
	for i, old := range w.slots {
		if old != nil && old.name == name {
			w.slots[i] = nil
		}
	}
	w.truth[s.identity] = s
	return s
}

func (w *world) grow(s *source, n int) {
	b := octets(uint64(len(s.body))^s.gen<<20, n)
	s.body = append(s.body, b...)
	s.x.Append(b)
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	end := w.now.Add(d)
	for {
		w.step()
		next := sooner(w.w.s.NextTimeout(), w.d.v.NextTimeout())
		if next.IsZero() || next.After(end) {
			w.now = end
			w.step()
			return
		}
		require.True(w.t, next.After(w.now), "a timer that is not heard")
		w.now = next
	}
}

func (w *world) step() {
	w.w.now, w.d.now = w.now, w.now
	w.w.poll()
	for _, e := range w.w.take() {
		raw := e.seal.Bytes()
		w.past, w.newest = append(w.past, raw), e.seal
		for i, x := range e.x {
			s := w.truth[identity{x.Name, x.Generation}]
			require.Same(w.t, s.x, x)
			s.end, s.key = int(e.d.Records[i].End), w.key
			s.sealed = e.d.Records[i].Flags & endFlags
			s.cuts[s.end] = true
			w.parent[s.identity] = e.seal
		}
		w.lost++
		switch {
		case w.loss == 1 && w.chance.IntN(10) < 3, w.loss == 2, w.loss == 3 && w.lost%2 == 0:
			continue
		}
		if w.holding {
			w.held = append(w.held, raw)
			continue
		}
		_ = w.d.v.Push(w.now, raw, Multicast)
	}
	w.d.v.HandleTimeout(w.now)
	w.settle()
}

// settle does what a receiving role does.
func (w *world) settle() {
	for {
		ev, ok := w.d.v.Poll()
		if !ok {
			break
		}
		switch ev.Kind {
		case NeedContact:
			if w.loss != 2 && w.newest != nil {
				_ = w.d.v.Push(w.now, w.newest.Bytes(), Parent)
			}
		case NeedSeal:
			if s := w.parent[identity{ev.Object.Name(), ev.Object.Generation()}]; s != nil && w.loss != 2 {
				_ = w.d.v.Push(w.now, s.Bytes(), Parent)
			}
		case Conflict:
			require.Fail(w.t, "conflict")
		}
	}
	for _, r := range w.order {
		w.read(r)
	}
	st := w.d.v.Stats()
	require.LessOrEqual(w.t, st.Pending, 200)
	require.LessOrEqual(w.t, st.Names, 300+st.Open)
}

func (w *world) read(r *reader) {
	for {
		verdict := w.d.advance(r.o, &r.in)
		good := verdict.Readable
		require.Equal(w.t, good, r.o.Readable())
		require.GreaterOrEqual(w.t, good, r.good, "what is readable stays so")
		require.True(w.t, r.s.cuts[int(good)], "readable up to %d, which nobody sealed", good)
		require.True(w.t, bytes.Equal(r.in.b[:good], r.s.body[:good]), "what is readable is what was sealed")
		r.good = good
		switch verdict.State {
		case Whole:
			require.Equal(w.t, Final, r.s.ended)
			require.EqualValues(w.t, len(r.s.body), good)
		case Broken:
			require.Equal(w.t, Aborted, r.s.ended)
		case Superseded:
			require.True(w.t, w.outdated(r.s))
		case Unsealed:
			require.Zero(w.t, good)
		}
		if verdict.Forged == 0 {
			return
		}
		end := int(verdict.Forged)
		require.False(w.t, bytes.Equal(r.in.b[:end], r.s.body[:end]), "genuine octets were found forged")
		v := w.d.v.Check(r.o, good, r.s.body[good:end])
		require.Zero(w.t, v.Forged)
		require.GreaterOrEqual(w.t, v.Readable, int64(end))
		r.in.b = append(r.in.b[:good], r.s.body[good:v.Readable]...)
	}
}

// outdated tells whether the name has a newer generation.
func (w *world) outdated(s *source) bool {
	for id := range w.truth {
		if id.name == s.name && id.gen > s.gen {
			return true
		}
	}
	return false
}

// deliver brings all octets of an object to the receiver, which opens it first.
func (w *world) deliver(s *source) *reader {
	r := w.readers[s.identity]
	if r == nil {
		o, err := w.d.v.Open(w.now, s.name, s.gen)
		if err != nil {
			return nil
		}
		r = &reader{s: s, o: o}
		w.readers[s.identity] = r
		w.order = append(w.order, r)
	}
	if n := len(r.in.b); n < len(s.body) {
		r.in.b = append(r.in.b, s.body[n:]...)
	}
	r.in.complete = s.ended != 0
	return r
}

// play follows a script.
func (w *world) play(script []byte) {
	next := func() int {
		if len(script) == 0 {
			return 0
		}
		c := script[0]
		script = script[1:]
		return int(c)
	}
	for len(script) > 0 {
		op := next()
		slot := op >> 4 & 3
		s := w.slots[slot]
		switch op & 15 {
		case 0, 1:
			if s == nil {
				if s = w.begin(slot, fmt.Sprintf("s%d-%d", slot, next()%3), false); s == nil {
					break
				}
				w.slots[slot] = s
			}
			w.grow(s, 1+next()*16)
			if op&0x40 == 0 {
				require.NoError(w.t, s.x.Cut(w.now))
			}
		case 2, 3:
			if s == nil {
				break
			}
			w.slots[slot] = nil
			if s.ended = Final; op&1 != 0 {
				s.ended = Aborted
				require.NoError(w.t, s.x.Abort(w.now))
			} else {
				require.NoError(w.t, s.x.End(w.now))
			}
		case 4:
			w.pass(time.Duration(next()) * ms)
		case 5:
			w.pass(time.Duration(next()) * 20 * ms)
		case 6:
			w.loss = next() % 4
		case 7:
			if s != nil {
				w.deliver(s)
			}
		case 8: // an octet of those that came is forged
			if s == nil {
				break
			}
			if r := w.readers[s.identity]; r != nil && len(r.in.b) > int(r.good) {
				r.in.b[int(r.good)+next()*16%(len(r.in.b)-int(r.good))] ^= 1
			}
		case 9, 10: // a replay, or what an attacker makes of one
			if len(w.past) == 0 {
				break
			}
			raw := slices.Clone(w.past[next()%len(w.past)])
			if op&15 == 10 {
				raw[next()%len(raw)] ^= byte(1 + next()%255)
				if op&0x40 != 0 {
					raw = raw[:next()%len(raw)]
				}
				if op&0x80 != 0 {
					body := raw[:max(0, len(raw)-ed25519.SignatureSize)]
					raw = append(slices.Clone(body), ed25519.Sign(testKey(9), append(appendContext(nil, "demo"), body...))...)
				}
			}
			_ = w.d.v.Push(w.now, raw, Path(op>>6&1))
		case 11:
			w.restart()
		case 12:
			w.boot()
		case 13:
			w.rotate()
		case 14:
			if s := w.begin(0, "manifest", true); s != nil {
				w.grow(s, next())
				s.ended = Final
				require.NoError(w.t, s.x.End(w.now))
				w.deliver(s)
			}
		case 15: // the wire holds datagrams, and lets them go the other way round
			if w.holding = !w.holding; !w.holding {
				slices.Reverse(w.held)
				for _, raw := range w.held {
					_ = w.d.v.Push(w.now, raw, Multicast)
				}
				w.held = nil
			}
		}
		w.step()
	}
}

// calm lets everything come through, and checks that it is readable.
func (w *world) calm() {
	w.loss, w.holding = 0, false
	for _, s := range w.truth {
		w.deliver(s)
	}
	w.pass(20 * time.Second)
	for _, s := range w.truth {
		w.deliver(s) // what came behind octets that were found to be forged, and went with them
	}
	w.pass(time.Second)
	newest := w.d.v.Newest(Content)
	for _, r := range w.order {
		s := r.s
		seal := w.parent[s.identity]
		if w.outdated(s) || seal == nil || s.key != w.key {
			continue // replaced, never sealed, or by a key that is retired
		}
		age := w.d.v.cfg.Retention
		if s.current {
			age = w.d.v.cfg.CurrentAge
		}
		if newest == nil || seal.Time()+uint64(age/time.Microsecond) < newest.Time() {
			continue // of the past, and its signer is gone
		}
		require.EqualValues(w.t, s.end, r.o.Readable(), "%v of %d octets", s.identity, len(s.body))
		switch s.sealed {
		case Final:
			require.Equal(w.t, Whole, r.o.State())
		case Aborted:
			require.Equal(w.t, Broken, r.o.State())
		}
		w.d.v.Release(r.o)
	}
}

func FuzzSealing(f *testing.F) {
	f.Add([]byte{0, 1, 200, 7, 4, 40, 0, 100, 7, 4, 40, 2, 5, 100})
	f.Add([]byte{6, 2, 0, 1, 200, 7, 8, 9, 4, 40, 2, 12, 7, 6, 0, 5, 255})
	f.Add([]byte{14, 90, 5, 255, 14, 91, 11, 14, 92, 13, 5, 255, 9, 0, 74, 1, 20, 3, 9})
	f.Add([]byte{15, 0, 1, 10, 4, 20, 0, 10, 4, 20, 3, 15, 6, 1, 16, 1, 9, 13, 2, 18})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 400 {
			return
		}
		w := newWorld(t)
		w.play(script)
		w.calm()
	})
}

// TestSealing plays scripts that a live stream resembles more than chance does.
func TestSealing(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			var script []byte
			for range 250 {
				slot := byte(r.IntN(4)) << 4
				switch c := r.IntN(100); {
				case c < 45:
					script = append(script, 0|slot, byte(r.Uint32()), byte(r.Uint32()), 7|slot, 4, byte(r.IntN(50)))
				case c < 55:
					script = append(script, 7|slot, 2|slot, 4, 5)
				case c < 57:
					script = append(script, 3|slot)
				case c < 62:
					script = append(script, 14, byte(r.Uint32()))
				case c < 70:
					script = append(script, 7|slot, 8|slot, byte(r.Uint32()))
				case c < 85:
					script = append(script, 9, byte(r.Uint32()), 10|byte(r.Uint32()&0xf0), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()))
				case c < 90:
					script = append(script, 6, byte(r.Uint32()))
				case c < 94:
					script = append(script, 15)
				case c < 96:
					script = append(script, 5, byte(r.Uint32()))
				case c < 97:
					script = append(script, 11)
				case c < 99:
					script = append(script, 12)
				default:
					script = append(script, 13)
				}
			}
			w := newWorld(t)
			w.play(script)
			w.calm()
		})
	}
}
