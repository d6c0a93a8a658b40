package seal

import (
	"crypto/ed25519"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReadableAsRecordsCome(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b := octets(1, 5000)
	o := d.open("v", 1)
	require.Equal(t, Verdict{}, d.advance(o, &memory{b: b[:2000]}), "octets before the first record")
	require.NoError(t, d.push(rec("v", 1, b, 1500, Named)))
	d.expect(Event{Kind: Sealed, Object: o})
	require.Equal(t, Verdict{State: Growing, Readable: 1500}, d.advance(o, &memory{b: b[:2000]}))
	require.NoError(t, d.push(rec("v", 1, b, 2500, 0)))
	require.NoError(t, d.push(rec("v", 1, b, 3500, 0)))
	require.Equal(t, []EventKind{Sealed}, d.kinds(), "one for both")
	require.Equal(t, Verdict{State: Growing, Readable: 1500}, d.advance(o, &memory{b: b[:2499]}))
	require.Equal(t, Verdict{State: Growing, Readable: 3500}, d.advance(o, &memory{b: b[:4000]}))
	require.EqualValues(t, 3500, o.Sealed())
	require.EqualValues(t, -1, o.End())
	require.NoError(t, d.push(rec("v", 1, b, 5000, Final)))
	require.EqualValues(t, 5000, o.End())
	require.Equal(t, Verdict{State: Whole, Readable: 5000}, d.advance(o, &memory{b: b}))
	st := d.v.Stats()
	require.EqualValues(t, 5000, st.Verified)
	require.Zero(t, st.Pending)
	require.Zero(t, st.Unverified)
	require.EqualValues(t, 4, st.Records)
	d.v.Release(o)
	d.v.Release(o)
	require.Zero(t, d.v.Stats().Open)
}

func TestRecordsBeforeOctets(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b := octets(1, 5000)
	for _, end := range []int{3000, 1000, 2000, 1000, 500} {
		_ = d.push(rec("v", 1, b, end, 0))
	}
	require.NoError(t, d.push(rec("v", 1, b, 5000, Final)))
	require.Equal(t, 5, d.v.Stats().Pending)
	o := d.open("v", 1)
	require.Equal(t, Growing, o.State())
	require.EqualValues(t, 5000, o.End())
	require.Equal(t, Verdict{State: Growing, Readable: 1000}, d.advance(o, &memory{b: b[:1999]}))
	require.Equal(t, Verdict{State: Whole, Readable: 5000}, d.advance(o, &memory{b: b}))
}

func TestEndOfWhatIsReadable(t *testing.T) {
	// The last chunk's record comes first, then the one that says it was the last.
	d := newDesk(t, VerifierConfig{})
	b := octets(1, 100)
	o := d.open("v", 1)
	require.NoError(t, d.push(rec("v", 1, b, 100, 0)))
	require.Equal(t, Verdict{State: Growing, Readable: 100}, d.advance(o, &memory{b: b}))
	d.events()
	require.NoError(t, d.push(rec("v", 1, b, 100, Final)))
	require.Equal(t, []EventKind{Sealed}, d.kinds())
	require.Equal(t, Whole, o.State(), "no octet has to be looked at again")
	require.Same(t, d.v.Newest(Content), o.Seal())
	require.Equal(t, Verdict{State: Whole, Readable: 100}, d.advance(o, &memory{b: b}))
	var dg Datagram
	require.NoError(t, dg.Unmarshal(o.Seal().Bytes()))
	require.Equal(t, Final, dg.Records[0].Flags)
	require.Same(t, o.Seal(), d.v.Cover("v", 1))
	require.Nil(t, d.v.Cover("v", 2))
	require.Nil(t, d.v.Cover("w", 1))
}

func TestEmptyObjectIsWhole(t *testing.T) {
	for _, before := range []bool{false, true} {
		d := newDesk(t, VerifierConfig{})
		var o *Object
		if before {
			o = d.open("v", 1)
		}
		require.NoError(t, d.push(rec("v", 1, nil, 0, Final)))
		if !before {
			o = d.open("v", 1)
		}
		require.Equal(t, Verdict{State: Whole}, d.advance(o, &memory{complete: true}))
		require.NotNil(t, o.Seal())
	}
}

func TestBrokenObject(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b := octets(1, 2000)
	o := d.open("v", 1)
	require.NoError(t, d.push(rec("v", 1, b, 1000, 0)))
	require.NoError(t, d.push(rec("v", 1, b, 2000, Aborted)))
	require.Equal(t, Verdict{State: Broken, Readable: 1000}, d.advance(o, &memory{b: b[:1500]}))
	require.True(t, o.Broken())
	require.Equal(t, Verdict{State: Broken, Readable: 2000}, d.advance(o, &memory{b: b, complete: true}))
}

func TestForgedOctets(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b := octets(1, 10_000)
	forged := slices.Clone(b)
	forged[4500] ^= 1
	o := d.open("v", 1)
	for end := 1000; end <= 10_000; end += 1000 {
		var f Flags
		if end == 10_000 {
			f = Final
		}
		require.NoError(t, d.push(rec("v", 1, b, end, f)))
	}
	bad := Verdict{State: Growing, Readable: 4000, Forged: 5000}
	require.Equal(t, bad, d.advance(o, &memory{b: forged}))
	require.Equal(t, bad, d.advance(o, &memory{b: forged}), "as long as they are there")
	require.Equal(t, bad, d.v.Check(o, 4000, forged[4000:5000]), "a parent that lies, too")
	require.Equal(t, Verdict{State: Growing, Readable: 4000}, d.v.Check(o, 4001, b[4001:]), "a range that begins too late")
	require.Equal(t, Verdict{State: Growing, Readable: 4000}, d.v.Check(o, 3000, b[3000:4900]), "and one too short")
	require.Equal(t, Verdict{State: Growing, Readable: 5000}, d.v.Check(o, 3500, b[3500:5000]))
	require.Equal(t, Verdict{State: Whole, Readable: 10_000}, d.advance(o, &memory{b: b}))
	st := d.v.Stats()
	require.EqualValues(t, 3, st.Mismatches)
	require.EqualValues(t, 3000, st.MismatchOctets)
	require.EqualValues(t, 10_000, st.Verified)
}

func TestBody(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b := octets(1, 1000)
	require.NoError(t, d.push(rec("mpd", 1, b, 1000, Final|Current|Named)))
	require.Equal(t, Verdict{State: Whole, Readable: 1000}, d.advance(d.open("mpd", 1), Body(b)))
	o := d.open("master", 1)
	require.Equal(t, Verdict{}, d.advance(o, Body(b)))
	d.wait(200 * ms)
	d.expect(Event{Kind: NeedSeal, Object: o})
}

func TestForgedTail(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b := octets(1, 1000)
	o := d.open("v", 1)
	require.NoError(t, d.push(rec("v", 1, b, 1000, Final)))
	require.Equal(t, Verdict{State: Whole, Readable: 1000}, d.advance(o, &memory{b: append(slices.Clone(b), "tail"...)}))
	require.EqualValues(t, 1000, o.End())
}

// Each generation is reported once, as soon as its name is known, whether somebody has opened it or not.
func TestBegun(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b := octets(1, 1000)
	require.NoError(t, d.push(rec("v", 5, b, 500, 0)), "without its name")
	d.events()
	require.Empty(t, d.begun)
	require.NoError(t, d.push(rec("v", 5, b, 1000, Final|Named)))
	require.NoError(t, d.push(rec("v", 6, b, 500, Named), rec("w", 2, b, 10, Named)))
	require.NoError(t, d.push(rec("v", 6, b, 600, 0)))
	_ = d.push(rec("v", 5, b, 1000, Final|Named))
	d.events()
	var got []string
	for _, ev := range d.begun {
		got = append(got, fmt.Sprint(ev.Name, ev.Generation))
		require.NotNil(t, ev.Seal)
	}
	require.Equal(t, []string{"v5", "v6", "w2"}, got)
}

func TestGenerations(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b, c := octets(1, 1000), octets(2, 1000)
	old := d.open("v", 5)
	ahead := d.open("v", 6)
	require.NoError(t, d.push(rec("v", 5, b, 500, 0)))
	require.Equal(t, Verdict{State: Growing, Readable: 500}, d.advance(old, &memory{b: b}))
	require.Equal(t, Verdict{}, d.advance(ahead, &memory{b: c}), "a record of another generation is no mismatch")
	d.events()
	require.NoError(t, d.push(rec("v", 6, c, 500, 0)))
	d.expect(Event{Kind: Displaced, Object: old}, Event{Kind: Sealed, Object: ahead})
	require.Equal(t, Verdict{State: Superseded, Readable: 500}, d.advance(old, &memory{b: b}))
	require.Equal(t, Verdict{State: Growing, Readable: 500}, d.advance(ahead, &memory{b: c}))

	require.ErrorIs(t, d.push(rec("v", 5, b, 1000, Final)), ErrRepeat, "an older generation is refused")
	require.NoError(t, d.push(rec("v", 5, b, 1000, Final), rec("w", 1, b, 10, 0)))
	require.EqualValues(t, 1, d.v.Stats().Stale)
	require.EqualValues(t, 500, old.Readable())
	_, err := d.v.Open(d.now, "v", 4)
	require.ErrorIs(t, err, ErrStale)
	_, err = d.v.Open(d.now, "v", 6)
	require.ErrorIs(t, err, ErrOpen)
	late := d.open("v", 8)
	_, err = d.v.Open(d.now, "v", 8)
	require.ErrorIs(t, err, ErrOpen)
	require.NoError(t, d.push(rec("v", 9, b, 10, 0)))
	require.Equal(t, Superseded, late.State())
	for i := range maxAhead {
		d.open("v", uint64(20+i))
	}
	_, err = d.v.Open(d.now, "v", 30)
	require.ErrorIs(t, err, ErrLimit)
	_, err = d.v.Open(d.now, "", 1)
	require.ErrorIs(t, err, ErrEncode)
}

// Octets that come a second time are not believed because they were verified
// the first time.
func TestOpenAgain(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b := octets(1, 1000)
	for _, whole := range []bool{true, false} {
		name := fmt.Sprint(whole)
		require.NoError(t, d.push(rec(name, 1, b, 400, 0)))
		require.NoError(t, d.push(rec(name, 1, b, 1000, Final)))
		o := d.open(name, 1)
		in := &memory{b: b[:500]}
		if whole {
			in.b = b
		}
		d.advance(o, in)
		d.v.Release(o)
		require.ErrorIs(t, d.push(rec(name, 1, b, 1000, Final)), ErrRepeat)
		require.NotNil(t, d.v.Cover(name, 1))
		forged := slices.Clone(b)
		forged[7]++
		o = d.open(name, 1)
		require.Equal(t, Verdict{State: Growing, Forged: 1000}, d.advance(o, &memory{b: forged}))
		require.Equal(t, Verdict{State: Whole, Readable: 1000}, d.advance(o, &memory{b: b}))
		d.v.Release(o)
	}
	require.Zero(t, d.v.Stats().Pending)
}

func TestConflicts(t *testing.T) {
	b, c := octets(1, 1000), octets(2, 1000)
	for _, x := range []struct {
		name      string
		verified  int
		known     []Record
		conflicts Record
	}{
		{"digest", 0, []Record{rec("v", 1, b, 500, 0)}, rec("v", 1, c, 500, 0)},
		{"digest below the newest", 0, []Record{rec("v", 1, b, 500, 0), rec("v", 1, b, 600, 0)}, rec("v", 1, c, 500, 0)},
		{"digest of what is readable", 500, []Record{rec("v", 1, b, 500, 0), rec("v", 1, b, 600, 0)}, rec("v", 1, c, 500, 0)},
		{"behind the end", 0, []Record{rec("v", 1, b, 500, Final)}, rec("v", 1, b, 600, 0)},
		{"another end", 0, []Record{rec("v", 1, b, 500, Final)}, rec("v", 1, b, 400, Final)},
		{"broken after its end", 500, []Record{rec("v", 1, b, 500, Final)}, rec("v", 1, b, 500, Aborted)},
		{"an end before what there was", 0, []Record{rec("v", 1, b, 500, 0)}, rec("v", 1, b, 400, Final)},
		{"an end before what is readable", 500, []Record{rec("v", 1, b, 500, 0)}, rec("v", 1, b, 400, Aborted)},
		{"empty", 0, []Record{rec("v", 1, nil, 0, Final)}, rec("v", 1, b, 10, 0)},
	} {
		t.Run(x.name, func(t *testing.T) {
			d := newDesk(t, VerifierConfig{})
			o := d.open("v", 1)
			for _, r := range x.known {
				require.NoError(t, d.push(r))
			}
			d.advance(o, &memory{b: b[:x.verified]})
			d.events()
			before := *o
			require.NoError(t, d.push(x.conflicts))
			evs := d.events()
			require.Len(t, evs, 1)
			require.Equal(t, Conflict, evs[0].Kind)
			require.Equal(t, "v", evs[0].Name)
			require.EqualValues(t, 1, evs[0].Generation)
			require.EqualValues(t, 1, d.v.Stats().Conflicts)
			require.True(t, reflect.DeepEqual(before, *o), "it was refused")
		})
	}
	t.Run("names with one id", func(t *testing.T) {
		d := newDesk(t, VerifierConfig{})
		require.NoError(t, d.push(rec("v", 1, b, 500, Named)))
		d.v.names[nameKey{Content, ObjectIDOf("demo", "v")}].text = "w"
		require.NoError(t, d.push(rec("v", 1, b, 600, Named)))
		require.Equal(t, []EventKind{Conflict}, d.kinds())
		_, err := d.v.Open(d.now, "v", 1)
		require.ErrorIs(t, err, ErrCollision)
	})
}

func TestOctetsWithoutARecordAreReported(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b := octets(1, 1000)
	o := d.open("v", 1)
	d.advance(o, &memory{b: b[:100]})
	d.wait(199 * ms)
	require.Empty(t, d.kinds())
	require.Equal(t, 199*ms, o.Standing(d.now))
	d.wait(ms)
	d.expect(Event{Kind: NeedSeal, Object: o})
	d.wait(399 * ms)
	require.Empty(t, d.kinds())
	d.wait(ms)
	require.Equal(t, []EventKind{NeedSeal}, d.kinds())
	d.wait(10 * time.Second)
	require.Len(t, d.kinds(), 5, "800 ms, 1.6 s, then every 2 s")

	// As long as records come some time later, nothing is amiss.
	for n := 100; n < 1000; n += 100 {
		require.NoError(t, d.push(rec("v", 1, b, n, 0)))
		d.events()
		d.advance(o, &memory{b: b[:n+100]})
		d.wait(150 * ms)
	}
	require.Empty(t, d.kinds())
	// The end, too, has to be told.
	require.NoError(t, d.push(rec("v", 1, b, 1000, 0)))
	d.advance(o, &memory{b: b, complete: true})
	d.events()
	d.wait(200 * ms)
	require.Equal(t, []EventKind{NeedSeal}, d.kinds())
	require.NoError(t, d.push(rec("v", 1, b, 1000, Final)))
	d.advance(o, &memory{b: b, complete: true})
	require.Zero(t, o.Standing(d.now))
	d.events()
	d.wait(time.Minute)
	require.Empty(t, d.kinds())
}

func TestFirstContact(t *testing.T) {
	d := newDesk(t, VerifierConfig{FirstContact: 5 * time.Second})
	b := octets(1, 1000)
	o := d.open("v", 1)
	in := &memory{b: b}
	// The true stream of two minutes ago, and that of the present.
	d.at -= 120e6
	replay := d.make(rec("v", 1, b, 300, 0))
	old := d.make(rec("mpd", 1, b, 10, Final|Current|Named))
	d.at += 120e6
	require.NoError(t, d.v.Push(d.now, replay, Multicast))
	d.expect(Event{Kind: NeedContact, Keys: Content})
	require.NoError(t, d.v.Push(d.now, old, Multicast))
	require.ErrorIs(t, d.v.Push(d.now, replay, Multicast), ErrRepeat)
	require.NoError(t, d.push(rec("v", 1, b, 200, 0)))
	require.ErrorIs(t, d.v.Push(d.now, d.make(rec("v", 1, b, 300, 0))[:100], Multicast), ErrShort)
	require.Zero(t, d.advance(o, in).Readable)
	require.Nil(t, d.v.Newest(Content))
	d.wait(4999 * ms)
	require.Zero(t, d.advance(o, in).Readable)
	d.wait(ms)
	require.EqualValues(t, 200, d.advance(o, in).Readable)
	require.NotNil(t, d.v.Newest(Content))
	d.events()
	require.ErrorIs(t, d.v.Push(d.now, replay, Multicast), ErrOld)
	require.Equal(t, 1, d.v.Stats().Names)
	// Signalling has a signer of its own, with a clock of its own.
	d.key, d.id = testKey(3), 3
	require.NoError(t, d.push(rec("sls:x", 1, b, 200, Final)))
	d.expect(Event{Kind: NeedContact, Keys: Hop})
}

func TestFirstContactByAParent(t *testing.T) {
	d := newDesk(t, VerifierConfig{FirstContact: 5 * time.Second})
	b := octets(1, 1000)
	o := d.open("v", 1)
	d.at -= 120e6
	replay := d.make(rec("v", 1, b, 300, 0))
	d.at += 120e6
	require.NoError(t, d.v.Push(d.now, replay, Multicast))
	require.NoError(t, d.push(rec("v", 1, b, 200, 0)))
	require.NoError(t, d.v.Push(d.now, d.make(rec("v", 1, b, 100, 0), rec("w", 1, b, 100, 0)), Parent))
	require.Equal(t, Growing, d.open("w", 1).State())
	require.True(t, d.v.NextTimeout().IsZero())
	require.EqualValues(t, 200, d.advance(o, &memory{b: b}).Readable)
	require.ErrorIs(t, d.v.Push(d.now, replay, Multicast), ErrOld)
}

func TestFirstContactHoldsTheNewest(t *testing.T) {
	d := newDesk(t, VerifierConfig{FirstContact: 5 * time.Second, MaxChecks: 1e6})
	b := octets(1, 1000)
	for i := range maxHeld + 50 {
		require.NoError(t, d.push(rec(fmt.Sprint(i), 1, b, 100, 0)))
	}
	d.wait(5 * time.Second)
	require.Equal(t, maxHeld, d.v.Stats().Names)
	_, err := d.v.Open(d.now, "10", 0)
	require.NoError(t, err)
	_, err = d.v.Open(d.now, "60", 0)
	require.ErrorIs(t, err, ErrStale)
}

func TestAges(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b := octets(1, 1000)
	base := d.at
	require.NoError(t, d.push(rec("x", 1, b, 10, 0)))
	for _, c := range []struct {
		age time.Duration
		via Path
		f   Flags
		ok  bool
	}{
		{59 * time.Second, Multicast, Final, true},
		{61 * time.Second, Multicast, Final, false},
		{14 * time.Second, Parent, Final | Current, true},
		{16 * time.Second, Parent, Final | Current, false},
		{16 * time.Second, Parent, Final, true},
		{599 * time.Second, Parent, Final, true},
		{601 * time.Second, Parent, Final, false},
	} {
		name := fmt.Sprint(c.age, c.via, c.f)
		d.at = base - uint64(c.age/time.Microsecond)
		_ = d.v.Push(d.now, d.make(rec(name, 1, b, 10, c.f)), c.via)
		_, err := d.v.Open(d.now, name, 0)
		require.Equal(t, c.ok, err == ErrStale, name)
	}
	for _, h := range []time.Duration{-25, 25} {
		d.at = base + uint64(int64(h)*time.Hour.Microseconds())
		require.ErrorIs(t, d.v.Push(d.now, d.make(rec("y", 1, b, 10, 0)), Own), ErrClock)
	}
	d.at = base + uint64(time.Hour.Microseconds()) // the host is an hour late
	require.NoError(t, d.push(rec("y", 1, b, 10, 0)))
	require.Equal(t, time.UnixMicro(int64(d.at)), d.v.Stats().Newest)
}

func TestResealed(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b := octets(1, 1000)
	r := rec("init", 1, b, 1000, Final|Current|Named)
	require.NoError(t, d.push(r))
	o := d.open("init", 1)
	require.Equal(t, Whole, d.advance(o, &memory{b: b}).State)
	d.v.Release(o)
	d.events()
	first := d.v.Cover("init", 1)
	require.ErrorIs(t, d.push(r), ErrRepeat)
	d.at += 5e6
	require.NoError(t, d.push(r))
	evs := d.events()
	require.Len(t, evs, 1)
	require.Equal(t, Resealed, evs[0].Kind)
	require.Equal(t, "init", evs[0].Name)
	require.EqualValues(t, 1, evs[0].Generation)
	require.Same(t, evs[0].Seal, d.v.Cover("init", 1))
	require.Greater(t, evs[0].Seal.Time(), first.Time())
	require.True(t, d.v.Fresh(Content, first))
	require.Same(t, evs[0].Seal, d.v.Newest(Content))
	d.at += 6e6
	require.NoError(t, d.push(r))
	require.False(t, d.v.Fresh(Content, first))
	require.Nil(t, d.v.Newest(9))

	// Another name is nothing new, but the time is.
	require.ErrorIs(t, d.push(rec("init", 1, b, 1000, Final|Current)), ErrRepeat)
	d.at += 1e6
	require.NoError(t, d.push(rec("init", 1, b, 1000, Final)))
	require.EqualValues(t, d.at, d.v.Newest(Content).Time())
}

func TestRotation(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b, c := octets(1, 1000), octets(2, 1000)
	o := d.open("v", 7)
	require.NoError(t, d.push(rec("v", 7, b, 500, 0), rec("w", 7, b, 500, 0), rec("y", 7, b, 500, 0)))
	d.advance(d.open("y", 7), &memory{b: b})
	require.NoError(t, d.push(rec("v", 7, c, 600, 0)), "the old key was stolen")
	require.EqualValues(t, 500, d.advance(o, &memory{b: b[:500]}).Readable)
	d.events()
	old, at := d.key, d.at
	d.key, d.id, d.at = testKey(2), 2, d.at-3600e6 // the new one begins anew
	require.NoError(t, d.push(rec("v", 7, b, 700, 0), rec("w", 3, c, 500, 0)))
	evs := d.events()
	require.Equal(t, Rotated, evs[0].Kind)
	require.Equal(t, Sealed, evs[1].Kind)
	require.Equal(t, Verdict{State: Growing, Readable: 700}, d.advance(o, &memory{b: b}))
	require.Equal(t, Growing, d.open("w", 3).State())
	require.NoError(t, d.push(rec("x", 3, c, 500, 0)))
	require.Equal(t, Unsealed, d.open("y", 3).State(), "it may be the newest")
	d.key, d.id, d.at = old, 1, at
	require.ErrorIs(t, d.push(rec("x", 9, b, 700, 0)), ErrKey, "retired")

	// What was verified before is worth as much as before, under a new seal.
	d = newDesk(t, VerifierConfig{})
	require.NoError(t, d.push(rec("v", 7, b, 1000, Final), rec("w", 7, b, 1000, Final)))
	o = d.open("v", 7)
	d.advance(o, &memory{b: b})
	d.v.Release(o)
	d.events()
	before := d.v.Cover("v", 7)
	d.key, d.id = testKey(2), 2
	require.NoError(t, d.push(rec("v", 7, b, 1000, Final)))
	d.expect(Event{Kind: Rotated, Keys: Content}, Event{Kind: Resealed})
	require.NotSame(t, before, d.v.Cover("v", 7))
	require.Equal(t, 1, d.v.Stats().Names)

	// A generation of the old key's time that is higher is no newer.
	d = newDesk(t, VerifierConfig{})
	o = d.open("v", 7)
	require.NoError(t, d.push(rec("v", 7, b, 1000, Final)))
	d.events()
	d.key, d.id = testKey(2), 2
	require.NoError(t, d.push(rec("v", 5, c, 300, 0)))
	d.expect(Event{Kind: Rotated, Keys: Content, Seal: d.v.Newest(Content)}, Event{Kind: Displaced, Object: o})
	require.EqualValues(t, -1, o.End(), "what the old key said is forgotten")
}

func TestAnchors(t *testing.T) {
	d := newDesk(t, VerifierConfig{Anchors: []Anchor{
		{Kind: Content, Key: public(testKey(1)), ID: 1, NotBefore: start.Add(time.Second), NotAfter: start.Add(2 * time.Second)},
		{Kind: Hop, Key: public(testKey(3))},
	}})
	b := octets(1, 100)
	push := func(at time.Duration) error {
		d.at = micro(start) + uint64(at/time.Microsecond) - 1000
		return d.push(rec("v", uint64(at), b, 100, 0))
	}
	require.ErrorIs(t, push(999*ms), ErrValidity)
	require.NoError(t, push(1001*ms))
	require.NoError(t, push(1999*ms))
	require.ErrorIs(t, push(2001*ms), ErrValidity)
	d.at = micro(start)
	d.key, d.id = testKey(2), 2
	require.ErrorIs(t, d.push(rec("v", 1, b, 100, 0)), ErrKey)
	require.NoError(t, d.v.SetAnchors([]Anchor{
		{Kind: Content, Key: public(testKey(1)), ID: 1}, {Kind: Content, Key: public(testKey(2)), ID: 2},
	}))
	d.at = micro(start) + 2e6
	require.NoError(t, d.push(rec("v", 1e18, b, 100, 0)))
	require.Equal(t, []EventKind{Rotated}, d.kinds())

	for name, anchors := range map[string][]Anchor{
		"kind": {{Kind: 3, Key: public(testKey(1))}},
		"key":  {{Kind: Hop, Key: public(testKey(1))[:31]}},
		"id":   {{Kind: Hop, Key: public(testKey(1)), ID: 4}, {Kind: Content, Key: public(testKey(2)), ID: 4}},
	} {
		require.Error(t, d.v.SetAnchors(anchors), name)
		_, err := NewVerifier(VerifierConfig{Service: "demo", Anchors: anchors})
		require.Error(t, err, name)
	}
	_, err := NewVerifier(VerifierConfig{})
	require.Error(t, err)
}

func TestKindsOfKeys(t *testing.T) {
	d := newDesk(t, VerifierConfig{})
	b := octets(1, 100)
	require.ErrorIs(t, d.push(rec("sls:x", 1, b, 100, Named)), ErrNameKind)
	d.key, d.id = testKey(3), 3
	require.ErrorIs(t, d.push(rec("v", 1, b, 100, Named)), ErrNameKind)
	// Without the name the record is of a name that no hop key seals.
	o, s := d.open("v", 1), d.open("sls:x", 1)
	require.NoError(t, d.push(rec("v", 1, b, 100, 0), rec("sls:x", 1, b, 100, Final)))
	require.Equal(t, Verdict{}, d.advance(o, &memory{b: b}))
	require.Equal(t, Whole, d.advance(s, &memory{b: b}).State)
}

func TestOwnSealsAreBelieved(t *testing.T) {
	d := newDesk(t, VerifierConfig{FirstContact: time.Second})
	b := octets(1, 100)
	dg := d.make(rec("v", 1, b, 100, 0))
	dg[len(dg)-ed25519.SignatureSize]++
	require.NoError(t, d.v.Push(d.now, dg, Own))
	require.Zero(t, d.v.Stats().Checks)
	require.EqualValues(t, 100, d.advance(d.open("v", 1), &memory{b: b}).Readable)
}

func TestLimits(t *testing.T) {
	b := octets(1, 10_000)
	t.Run("checks", func(t *testing.T) {
		d := newDesk(t, VerifierConfig{})
		for i := range 3000 { // a second
			dg := d.make(rec(fmt.Sprint(i), 1, b, 10, 0))
			_ = d.v.Push(d.now, dg, Multicast)
			d.now = d.now.Add(time.Second / 3000)
		}
		require.LessOrEqual(t, d.v.Stats().Checks, uint64(300))
		require.Greater(t, d.v.Stats().Checks, uint64(290))
		require.EqualValues(t, 3000-d.v.Stats().Checks, d.v.Stats().Rejected[RejectLimit])
		require.NoError(t, d.v.Push(d.now, d.make(rec("x", 1, b, 10, 0)), Parent))
	})
	t.Run("records of an object", func(t *testing.T) {
		d := newDesk(t, VerifierConfig{MaxChecks: 1e6})
		for i := range 100 {
			_ = d.push(rec("v", 1, b, 10+i, 0))
		}
		require.Equal(t, maxPerObject, d.v.Stats().Pending)
		_ = d.push(rec("v", 1, b, 5, 0))
		o := d.open("v", 1)
		require.Zero(t, d.advance(o, &memory{b: b[:45]}).Readable)
		require.EqualValues(t, 46, d.advance(o, &memory{b: b[:46]}).Readable)
		require.EqualValues(t, 109, d.advance(o, &memory{b: b}).Readable)
	})
	t.Run("records", func(t *testing.T) {
		d := newDesk(t, VerifierConfig{MaxChecks: 1e6, MaxPending: 100})
		open := d.open("0", 1)
		for i := range 40 {
			for k := range 5 {
				_ = d.push(rec(fmt.Sprint(i), 1, b, 10+k, 0))
			}
			require.LessOrEqual(t, d.v.Stats().Pending, 100)
		}
		require.NotZero(t, d.v.Stats().Evicted)
		require.Zero(t, d.advance(open, &memory{b: b[:13]}).Readable, "the newest record is left of it")
		require.EqualValues(t, 14, d.advance(open, &memory{b: b}).Readable)
		late := d.open("1", 1)
		require.EqualValues(t, 14, d.advance(late, &memory{b: b}).Readable, "and of others")
		require.ErrorIs(t, d.push(rec("2", 1, b, 12, 0)), ErrRepeat)
	})
	t.Run("names", func(t *testing.T) {
		d := newDesk(t, VerifierConfig{MaxChecks: 1e6, MaxNames: 50})
		open := d.open("0", 1)
		for i := range 100 {
			require.NoError(t, d.push(rec(fmt.Sprint(i), 2, b, 10, 0)))
			require.LessOrEqual(t, d.v.Stats().Names, 50)
		}
		require.Equal(t, Superseded, open.State())
		_, err := d.v.Open(d.now, "99", 1)
		require.ErrorIs(t, err, ErrStale)
		_, err = d.v.Open(d.now, "5", 1)
		require.NoError(t, err, "forgotten")
		d.v.Release(open)
		d.wait(d.v.cfg.Retention + nameAge + time.Second)
		require.Equal(t, 1, d.v.Stats().Names)
		require.Zero(t, d.v.Stats().Pending)
		require.Equal(t, 1, d.v.order.Len())
		require.Zero(t, d.v.waiters.Len())
	})
	t.Run("open objects", func(t *testing.T) {
		d := newDesk(t, VerifierConfig{MaxOpen: 3})
		for i := range 3 {
			d.open(fmt.Sprint(i), 1)
		}
		_, err := d.v.Open(d.now, "3", 1)
		require.ErrorIs(t, err, ErrLimit)
	})
	t.Run("octets without a record", func(t *testing.T) {
		d := newDesk(t, VerifierConfig{MaxUnverified: 25_000})
		var all []*Object
		for i := range 3 {
			o := d.open(fmt.Sprint(i), 1)
			all = append(all, o)
			d.advance(o, &memory{b: b})
			d.now = d.now.Add(ms)
		}
		d.expect(Event{Kind: Overflow, Object: all[0]})
		require.EqualValues(t, 20_000, d.v.Stats().Unverified)
		d.advance(all[0], &memory{b: b})
		require.Empty(t, d.kinds(), "once is enough")
		d.v.Release(all[0])
		d.advance(d.open("3", 1), &memory{b: b})
		d.expect(Event{Kind: Overflow, Object: all[1]})
		d.v.Release(all[2])
		require.EqualValues(t, 10_000, d.v.Stats().Unverified)
	})
	t.Run("events", func(t *testing.T) {
		d := newDesk(t, VerifierConfig{MaxChecks: 1e6})
		require.NoError(t, d.push(rec("v", 1, b, 10, 0)))
		conflict := rec("v", 1, b[1:], 10, 0)
		for range maxEvents + 10 {
			require.NoError(t, d.v.Push(d.now, d.make(conflict), Own))
		}
		require.Len(t, d.events(), maxEvents)
	})
}

func TestNamesOfThings(t *testing.T) {
	for k := Sealed; k <= Rotated; k++ {
		require.NotEqual(t, "unknown", k.String())
	}
	for s := Unsealed; s <= Superseded; s++ {
		require.NotEqual(t, "unknown", s.String())
	}
	for r := range reasons {
		require.NotEqual(t, "unknown", r.String())
	}
	require.Equal(t, "unknown", EventKind(99).String())
	require.Equal(t, "unknown", State(99).String())
	require.Equal(t, "unknown", reasons.String())
}
