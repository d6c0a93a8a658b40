package seal

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"github.com/stretchr/testify/require"
	"math/rand/v2"
	"testing"
	"time"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func testKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// memory is octets that have arrived, in pieces.
type memory struct {
	b        []byte
	complete bool
}

func (m *memory) Prefix() int64  { return int64(len(m.b)) }
func (m *memory) Complete() bool { return m.complete }
func (m *memory) Bytes(off int64) []byte {
	const piece = 1000
	return m.b[off:min(int64(len(m.b)), (off/piece+1)*piece)]
}

// desk drives a Verifier with datagrams that are made to order.
type desk struct {
	t   testing.TB
	v   *Verifier
	now time.Time
	key ed25519.PrivateKey
	id  KeyID
	at  uint64 // of the next seal

	begun []Event
}

func newDesk(t testing.TB, cfg VerifierConfig) *desk {
	d := &desk{t: t, now: start, key: testKey(1), id: 1, at: micro(start)}
	cfg.Service = "demo"
	if cfg.Anchors == nil {
		cfg.Anchors = []Anchor{
			{Kind: Content, Key: public(testKey(1)), ID: 1},
			{Kind: Content, Key: public(testKey(2)), ID: 2},
			{Kind: Hop, Key: public(testKey(3)), ID: 3},
		}
	}
	cfg.FirstContact = cmp.Or(cfg.FirstContact, -1)
	v, err := NewVerifier(cfg)
	require.NoError(t, err)
	d.v = v
	return d
}

// rec is a record of the first octets of b.
func rec(name string, generation uint64, b []byte, end int, f Flags) Record {
	r := Record{Flags: f, Generation: generation, End: uint64(end), Sum: sha256.Sum256(b[:end]), ID: ObjectIDOf("demo", name)}
	if f&Named != 0 {
		r.Name = []byte(name)
	}
	return r
}

// make signs a datagram, a millisecond after the one before.
func (d *desk) make(records ...Record) []byte {
	d.at += 1000
	b, err := (&Datagram{Key: d.id, Time: d.at, Records: records}).Append(nil, "demo", d.key)
	require.NoError(d.t, err)
	return b
}

// push makes a datagram and has it come by multicast.
func (d *desk) push(records ...Record) error {
	return d.v.Push(d.now, d.make(records...), Multicast)
}

func (d *desk) open(name string, generation uint64) *Object {
	o, err := d.v.Open(d.now, name, generation)
	require.NoError(d.t, err)
	return o
}

func (d *desk) advance(o *Object, m Octets) Verdict { return d.v.Advance(d.now, o, m) }

// wait lets time pass.
func (d *desk) wait(t time.Duration) {
	end := d.now.Add(t)
	for {
		next := d.v.NextTimeout()
		if next.IsZero() || next.After(end) {
			break
		}
		require.True(d.t, next.After(d.now) || next.Equal(d.now))
		d.now = next
		d.v.HandleTimeout(d.now)
	}
	d.now = end
	d.v.HandleTimeout(d.now)
}

func (d *desk) events() (all []Event) {
	for ev, ok := d.v.Poll(); ok; ev, ok = d.v.Poll() {
		if ev.Kind == Begun { // there is one for every object
			d.begun = append(d.begun, ev)
			continue
		}
		all = append(all, ev)
	}
	return all
}

// kinds are those of the events that wait.
func (d *desk) kinds() (all []EventKind) {
	for _, ev := range d.events() {
		all = append(all, ev.Kind)
	}
	return all
}

func octets(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 3))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// expect checks the events that wait.
func (d *desk) expect(want ...Event) {
	d.t.Helper()
	got := d.events()
	require.Equal(d.t, len(want), len(got), "events")
	for i := range want {
		require.Equal(d.t, want[i].Kind, got[i].Kind)
		require.Equal(d.t, want[i].Keys, got[i].Keys)
		require.True(d.t, want[i].Object == got[i].Object, "object of %v", got[i].Kind)
	}
}
