package seal

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

// workshop drives a Signer in virtual time.
type workshop struct {
	t   testing.TB
	s   *Signer
	now time.Time
	out []sent
}

// sent is a datagram and when it went.
type sent struct {
	at   time.Duration // since start
	seal *Seal
	d    Datagram
	x    []*Sealing
}

func (s *sent) has(name string) *Record {
	for i := range s.d.Records {
		r := &s.d.Records[i]
		if r.ID == ObjectIDOf("demo", name) || string(r.Name) == name {
			return r
		}
	}
	return nil
}

func newWorkshop(t testing.TB, cfg SignerConfig) *workshop {
	cfg.Service = "demo"
	if cfg.Key == nil {
		cfg.Key = testKey(1)
	}
	s, err := NewSigner(cfg)
	require.NoError(t, err)
	return &workshop{t: t, s: s, now: start}
}

func (w *workshop) poll() {
	for {
		seal, ok := w.s.Poll(w.now)
		if !ok {
			return
		}
		e := sent{at: w.now.Sub(start), seal: seal, x: append([]*Sealing(nil), w.s.Sealed()...)}
		require.NoError(w.t, e.d.Unmarshal(seal.Bytes()))
		require.Len(w.t, e.x, len(e.d.Records))
		require.LessOrEqual(w.t, len(seal.Bytes()), MaxDatagram)
		w.out = append(w.out, e)
	}
}

// run lets d pass.
func (w *workshop) run(d time.Duration) {
	end := w.now.Add(d)
	for {
		w.poll()
		next := w.s.NextTimeout()
		if next.IsZero() || next.After(end) {
			w.now = end
			return
		}
		require.True(w.t, next.After(w.now), "%v is not after %v", next, w.now)
		w.now = next
	}
}

// take returns what was sent, and forgets it.
func (w *workshop) take() []sent {
	out := w.out
	w.out = nil
	return out
}

func (w *workshop) begin(o Outgoing) *Sealing {
	x, err := w.s.Begin(w.now, o)
	require.NoError(w.t, err)
	return x
}

// rich lets the Signer seal so much that it need not save.
func (w *workshop) rich() {
	x := w.begin(Outgoing{Name: "rich", Generation: 1})
	x.Append(make([]byte, 200_000))
	require.NoError(w.t, x.End(w.now))
	w.run(time.Second)
	w.take()
}

func times(out []sent) (at []time.Duration) {
	for _, e := range out {
		at = append(at, e.at-out[0].at)
	}
	return at
}

func TestFirstRecordGoesAtOnceAndTheNextTogether(t *testing.T) {
	w := newWorkshop(t, SignerConfig{})
	w.rich()
	v0, v1 := w.begin(Outgoing{Name: "v0", Generation: 1}), w.begin(Outgoing{Name: "v1", Generation: 1})
	v2, a := w.begin(Outgoing{Name: "v2", Generation: 1}), w.begin(Outgoing{Name: "a", Generation: 1, Follows: true})
	at := w.now.Sub(start)
	for i, x := range []*Sealing{a, v0, v1, v2} {
		x.Append([]byte{byte(i)})
		require.NoError(t, x.Cut(w.now))
		w.run(ms)
	}
	w.run(10 * ms)
	out := w.take()
	require.Len(t, out, 2)
	require.Equal(t, at+ms, out[0].at)
	require.NotNil(t, out[0].has("a"), "audio goes with video")
	require.NotNil(t, out[0].has("v0"))
	require.Len(t, out[0].d.Records, 2)
	require.Equal(t, at+6*ms, out[1].at)
	require.NotNil(t, out[1].has("v1"))
	require.NotNil(t, out[1].has("v2"))
	require.Same(t, out[1].seal, v2.Seal())

	r := out[0].has("v0")
	require.Equal(t, Record{Flags: Named, Generation: 1, End: 1, Sum: sha256.Sum256([]byte{1}), Name: []byte("v0")}, *r)
}

func TestAudioWaitsFortyMilliseconds(t *testing.T) {
	w := newWorkshop(t, SignerConfig{})
	w.rich()
	w.begin(Outgoing{Name: "v", Generation: 1})
	a := w.begin(Outgoing{Name: "a", Generation: 1, Follows: true})
	at := w.now.Sub(start)
	for range 3 {
		a.Append([]byte("chunk"))
		require.NoError(t, a.Cut(w.now))
		w.run(15 * ms)
	}
	out := w.take()
	require.Len(t, out, 1)
	require.Equal(t, at+40*ms, out[0].at)
	require.EqualValues(t, 15, out[0].has("a").End, "a newer prefix replaces an older one")
}

func TestAudioAloneDoesNotWait(t *testing.T) {
	w := newWorkshop(t, SignerConfig{})
	w.rich()
	a := w.begin(Outgoing{Name: "a", Generation: 1, Follows: true})
	at := w.now.Sub(start)
	a.Append([]byte("chunk"))
	require.NoError(t, a.Cut(w.now))
	w.run(ms)
	require.Equal(t, at, w.take()[0].at)
}

func TestSavingJoinsTheFirstWithTheNext(t *testing.T) {
	w := newWorkshop(t, SignerConfig{}) // nothing sealed yet
	v0, v1 := w.begin(Outgoing{Name: "v0", Generation: 1}), w.begin(Outgoing{Name: "v1", Generation: 1})
	v0.Append([]byte("x"))
	require.NoError(t, v0.Cut(w.now))
	w.run(ms)
	v1.Append([]byte("x"))
	require.NoError(t, v1.Cut(w.now))
	w.run(10 * ms)
	out := w.take()
	require.Len(t, out, 1)
	require.Equal(t, 5*ms, out[0].at)
	require.Len(t, out[0].d.Records, 2)
}

func TestEndsAreRepeated(t *testing.T) {
	w := newWorkshop(t, SignerConfig{})
	w.rich()
	x := w.begin(Outgoing{Name: "x", Generation: 1})
	x.Append([]byte("octets"))
	require.NoError(t, x.End(w.now))
	require.ErrorIs(t, x.End(w.now), ErrEnded)
	require.ErrorIs(t, x.Cut(w.now), ErrEnded)
	require.ErrorIs(t, x.Abort(w.now), ErrEnded)
	w.run(3 * time.Second)
	out := w.take()
	require.Equal(t, []time.Duration{0, 20 * ms, 100 * ms, 500 * ms}, times(out))
	for i, e := range out {
		r := e.has("x")
		require.Equal(t, Final, r.Flags&^Named)
		require.Equal(t, i == 0, r.Flags&Named != 0)
		require.Equal(t, sha256.Sum256([]byte("octets")), r.Sum)
	}
	require.True(t, w.s.NextTimeout().IsZero())
	require.Equal(t, 2, w.s.Stats().Objects)
	w.now = w.now.Add(15 * time.Second)
	w.poll()
	require.Zero(t, w.s.Stats().Objects)
	require.Equal(t, out[3].seal, x.Seal())
	require.Equal(t, Final, x.Ended())
}

func TestEndsRideWithOthers(t *testing.T) {
	w := newWorkshop(t, SignerConfig{})
	w.rich()
	x := w.begin(Outgoing{Name: "x", Generation: 1})
	x.Append([]byte("octets"))
	require.NoError(t, x.Abort(w.now))
	w.poll()
	v := w.begin(Outgoing{Name: "v", Generation: 1})
	for range 25 {
		v.Append(make([]byte, 10_000))
		require.NoError(t, v.Cut(w.now))
		w.run(40 * ms)
	}
	n := 0
	for _, e := range w.take() {
		if r := e.has("x"); r != nil {
			n++
			require.Equal(t, Aborted, r.Flags&^Named)
		}
	}
	require.Equal(t, 1+len(rideDelays), n)
}

func TestGrowingObjectsAreRepeatedWhenIdle(t *testing.T) {
	w := newWorkshop(t, SignerConfig{})
	w.rich()
	v := w.begin(Outgoing{Name: "v", Generation: 1})
	v.Append([]byte("octets"))
	require.NoError(t, v.Cut(w.now))
	require.NoError(t, v.Cut(w.now), "nothing new")
	w.run(3 * time.Second)
	require.Equal(t, []time.Duration{0, 100 * ms, 500 * ms}, times(w.take()))
}

func TestNamesGoWithTheFirstAndTheLast(t *testing.T) {
	w := newWorkshop(t, SignerConfig{})
	w.rich()
	v := w.begin(Outgoing{Name: "v", Generation: 1})
	for i := range 4 {
		v.Append([]byte("chunk"))
		if i < 3 {
			require.NoError(t, v.Cut(w.now))
		} else {
			require.NoError(t, v.End(w.now))
		}
		w.run(40 * ms)
	}
	var named []bool
	for _, e := range w.take()[:4] {
		named = append(named, e.has("v").Flags&Named != 0)
	}
	require.Equal(t, []bool{true, false, false, true}, named)
}

func TestEmptyObject(t *testing.T) {
	w := newWorkshop(t, SignerConfig{})
	x := w.begin(Outgoing{Name: "x", Generation: 1})
	require.NoError(t, x.Cut(w.now))
	w.run(time.Second)
	require.Empty(t, w.take())
	require.NoError(t, x.End(w.now))
	w.run(10 * ms)
	r := w.take()[0].has("x")
	require.Zero(t, r.End)
	require.Equal(t, emptySum, r.Sum)
}

func TestManyObjectsTakeFurtherDatagrams(t *testing.T) {
	w := newWorkshop(t, SignerConfig{})
	w.rich()
	var all []*Sealing
	for i := range 60 {
		x := w.begin(Outgoing{Name: fmt.Sprintf("an-object-with-a-long-name-%02d", i), Generation: 1})
		x.Append([]byte{byte(i)})
		all = append(all, x)
	}
	for i, x := range all {
		if i%2 == 0 {
			require.NoError(t, x.End(w.now))
		} else {
			require.NoError(t, x.Cut(w.now))
		}
	}
	w.run(time.Second)
	out := w.take()
	seen := map[*Sealing]bool{}
	ended := false
	for _, e := range out {
		for i, x := range e.x {
			if !seen[x] {
				require.NotZero(t, e.d.Records[i].Flags&Named)
				if x.Ended() != 0 {
					ended = true
				} else {
					require.False(t, ended, "growing objects first")
				}
			}
			seen[x] = true
		}
		require.Less(t, e.d.Time, w.s.Time()+1)
	}
	require.Len(t, seen, 60)
	require.Equal(t, make([]time.Duration, rateBurst), times(out)[:rateBurst])
	require.Greater(t, len(out), 4)
}

func TestRate(t *testing.T) {
	w := newWorkshop(t, SignerConfig{})
	w.rich()
	v := w.begin(Outgoing{Name: "v", Generation: 1})
	for range 1000 { // every 3 ms
		v.Append(make([]byte, 10_000))
		require.NoError(t, v.Cut(w.now))
		w.run(3 * ms)
	}
	out := w.take()
	require.InDelta(t, 150, len(out), 6)
	for i := range out {
		n := 0
		for _, e := range out[i:] {
			if e.at-out[i].at < time.Second {
				n++
			}
		}
		require.LessOrEqual(t, n, 50+rateBurst)
	}
	w.run(100 * ms)
	require.EqualValues(t, v.Len(), v.record.End)
	require.False(t, v.fresh, "the last one goes")
}

func TestResealing(t *testing.T) {
	w := newWorkshop(t, SignerConfig{})
	w.rich()
	// One that broke off is nothing to be current.
	broken := w.begin(Outgoing{Name: "broken", Generation: 1, Current: true})
	require.NoError(t, broken.Abort(w.now))
	init := w.begin(Outgoing{Name: "init", Generation: 1, Current: true})
	init.Append([]byte("moov"))
	require.NoError(t, init.End(w.now))
	w.run(100 * ms)
	mpd := w.begin(Outgoing{Name: "mpd", Generation: 1, Current: true})
	mpd.Append([]byte("one"))
	require.NoError(t, mpd.End(w.now))
	w.run(time.Second)
	first := w.take()[0].d
	w.run(15 * time.Second)
	out := w.take()
	require.Len(t, out, 3, "both together")
	for i, e := range out {
		require.InDelta(t, 5+5*i, e.at.Seconds(), 1.6)
		require.Len(t, e.d.Records, 2)
		r := e.has("init")
		require.Equal(t, Final|Current|Named, r.Flags)
		require.Equal(t, first.Records[1].Sum, r.Sum)
		require.Greater(t, e.d.Time, first.Time)
	}
	next := w.begin(Outgoing{Name: "mpd", Generation: 2, Current: true})
	next.Append([]byte("two"))
	require.NoError(t, next.End(w.now))
	init.Forget()
	init.Forget()
	w.run(time.Second)
	w.take()
	w.run(5 * time.Second)
	out = w.take()
	require.Len(t, out, 1)
	require.Len(t, out[0].d.Records, 1)
	require.EqualValues(t, 2, out[0].has("mpd").Generation)
}

func TestTimesNeverFall(t *testing.T) {
	after := micro(start) + 7_000_000
	w := newWorkshop(t, SignerConfig{After: after})
	last := after
	for i := range 50 {
		x := w.begin(Outgoing{Name: fmt.Sprint(i), Generation: 1})
		require.NoError(t, x.End(w.now))
		w.run(10 * ms)
		for _, e := range w.take() {
			require.Greater(t, e.d.Time, last)
			last = e.d.Time
		}
		w.now = w.now.Add(-15 * ms) // steps back
	}
	require.Equal(t, last, w.s.Time())
}

func TestBeginErrors(t *testing.T) {
	w := newWorkshop(t, SignerConfig{MaxObjects: 2})
	_, err := w.s.Begin(w.now, Outgoing{})
	require.ErrorIs(t, err, ErrEncode)
	_, err = w.s.Begin(w.now, Outgoing{Name: strings.Repeat("n", 513)})
	require.ErrorIs(t, err, ErrEncode)
	_, err = w.s.Begin(w.now, Outgoing{Name: "sls:x"})
	require.ErrorIs(t, err, ErrNameKind)
	old := w.begin(Outgoing{Name: "x", Generation: 5})
	old.Append([]byte("old"))
	require.NoError(t, old.Cut(w.now))
	_, err = w.s.Begin(w.now, Outgoing{Name: "x", Generation: 5})
	require.ErrorIs(t, err, ErrGeneration)
	w.begin(Outgoing{Name: "x", Generation: 6}).Append([]byte("new"))
	w.begin(Outgoing{Name: "y", Generation: 1})
	_, err = w.s.Begin(w.now, Outgoing{Name: "z", Generation: 1})
	require.ErrorIs(t, err, ErrLimit)
	// The older one still may end; nobody hears of it.
	old.Append([]byte("er"))
	require.ErrorIs(t, old.End(w.now), ErrEnded)
	w.run(time.Second)
	require.Empty(t, w.take())
	// A collision takes 2^32 names to find.
	w.s.names[ObjectIDOf("demo", "w")] = w.s.names[ObjectIDOf("demo", "x")]
	_, err = w.s.Begin(w.now, Outgoing{Name: "w", Generation: 7})
	require.ErrorIs(t, err, ErrCollision)
}

func TestSignerConfig(t *testing.T) {
	good := SignerConfig{Service: "demo", Key: testKey(1)}
	for name, edit := range map[string]func(*SignerConfig){
		"no service":    func(c *SignerConfig) { c.Service = "" },
		"kind":          func(c *SignerConfig) { c.Kind = 3 },
		"no key":        func(c *SignerConfig) { c.Key = nil },
		"negative rate": func(c *SignerConfig) { c.MaxRate = -1 },
	} {
		c := good
		edit(&c)
		_, err := NewSigner(c)
		require.Error(t, err, name)
	}
	s, err := NewSigner(good)
	require.NoError(t, err)
	require.Equal(t, KeyIDOf(Content, testKey(1).Public().(ed25519.PublicKey)), s.keyID)
	require.True(t, s.NextTimeout().IsZero())
	require.Error(t, s.Rotate(start, nil, 0))
}

func TestRotationSealsAgain(t *testing.T) {
	w := newWorkshop(t, SignerConfig{KeyID: 1})
	w.rich()
	init, v := w.begin(Outgoing{Name: "init", Generation: 1, Current: true}), w.begin(Outgoing{Name: "v", Generation: 1})
	init.Append([]byte("moov"))
	require.NoError(t, init.End(w.now))
	v.Append([]byte("octets"))
	require.NoError(t, v.Cut(w.now))
	w.run(2 * time.Second)
	w.take()
	require.NoError(t, w.s.Rotate(w.now, testKey(2), 2))
	w.run(10 * ms)
	out := w.take()
	require.Len(t, out, 1)
	require.EqualValues(t, 2, out[0].d.Key)
	require.NotNil(t, out[0].has("init"))
	require.NotNil(t, out[0].has("v"))
}

func TestStandby(t *testing.T) {
	w := newWorkshop(t, SignerConfig{Standby: true})
	require.True(t, w.s.NextTimeout().IsZero())
	init := w.begin(Outgoing{Name: "init", Generation: 1, Current: true})
	init.Append([]byte("moov"))
	require.NoError(t, init.End(w.now))
	foreign := micro(w.now) + 60_000_000 // its clock is a minute ahead
	for i := range 30 {
		x := w.begin(Outgoing{Name: fmt.Sprint(i), Generation: 1})
		require.NoError(t, x.End(w.now))
		require.NoError(t, w.s.Heard(w.now, foreign+uint64(i)))
		w.run(time.Second)
	}
	require.Empty(t, w.take())
	require.Less(t, w.s.Stats().Objects, 20)
	at := w.now.Sub(start)
	w.run(3 * time.Second)
	out := w.take()
	require.NotEmpty(t, out)
	require.Equal(t, at+time.Second, out[0].at)
	require.Equal(t, foreign+29+1, out[0].d.Time)
	require.NotNil(t, out[0].has("init"))
	require.NotNil(t, out[0].has("29"), "the other one may have failed to")

	require.NoError(t, w.s.Heard(w.now, w.s.Time()), "its own")
	require.ErrorIs(t, w.s.Heard(w.now, w.s.Time()+1), ErrDeposed)
	require.ErrorIs(t, w.s.Heard(w.now, 0), ErrDeposed)
	w.run(10 * time.Second)
	require.Empty(t, w.take())
	require.True(t, w.s.NextTimeout().IsZero())
}
