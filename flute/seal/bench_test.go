package seal

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// typical is a datagram of a stream of two renditions and audio, with octets
// that they cover.
func typical(t testing.TB, i int) ([]byte, []byte) {
	d := &Datagram{Key: 1, Time: micro(start) + uint64(i)}
	b := octets(1, 100)
	for _, name := range []string{"video0", "video1", "audio"} {
		r := rec(name, 7, b, 100, 0)
		r.End = uint64(1000 + i)
		d.Records = append(d.Records, r)
	}
	raw, err := d.Append(nil, "demo", testKey(1))
	require.NoError(t, err)
	return raw, b
}

// check is a Verifier at work beside what it cannot do without: the check of
// the signature and the hash of the octets.
type check struct {
	d                *desk
	signed, messages [][]byte
	key              ed25519.PublicKey
	in               whole
	sum              [sha256.Size]byte
	i                int
}

func newCheck(t testing.TB, chunk int) *check {
	c := &check{key: public(testKey(1)), in: whole{octets(1, chunk)}}
	c.sum = sha256.Sum256(c.in.b)
	for i := range 256 {
		d := &Datagram{Key: 1, Time: micro(start) + uint64(i), Records: []Record{
			{Generation: uint64(1 + i), End: uint64(chunk), Sum: c.sum, ID: ObjectIDOf("demo", "video0")},
			{Generation: uint64(1 + i), End: uint64(chunk), Sum: c.sum, ID: ObjectIDOf("demo", "video1")},
			{Generation: uint64(1 + i), End: uint64(chunk), Sum: c.sum, ID: ObjectIDOf("demo", "audio")},
		}}
		raw, err := d.Append(nil, "demo", testKey(1))
		require.NoError(t, err)
		c.signed = append(c.signed, raw)
		c.messages = append(c.messages, append(appendContext(nil, "demo"), raw[:len(raw)-ed25519.SignatureSize]...))
	}
	c.d = newDesk(t, VerifierConfig{})
	return c
}

func (c *check) bare() bool {
	msg, raw := c.messages[c.i%len(c.signed)], c.signed[c.i%len(c.signed)]
	return ed25519.Verify(c.key, msg, raw[len(raw)-ed25519.SignatureSize:]) && sha256.Sum256(c.in.b) == c.sum
}

func (c *check) seal() bool {
	i := c.i % len(c.signed)
	if i == 0 {
		c.d = newDesk(c.d.t, VerifierConfig{})
	}
	c.i++
	o, err := c.d.v.Open(c.d.now, "video0", uint64(1+i))
	if err != nil || c.d.v.Push(c.d.now, c.signed[i], Parent) != nil {
		return false
	}
	v := c.d.v.Advance(c.d.now, o, &c.in)
	c.d.v.Release(o)
	for _, ok := c.d.v.Poll(); ok; _, ok = c.d.v.Poll() {
	}
	return v.Readable == int64(len(c.in.b))
}

// BenchmarkVerify is the cost of a datagram of three records and the octets of
// one of them. The ratio is to what no verifier can do without.
func BenchmarkVerify(b *testing.B) {
	for _, chunk := range []int{1344, 25_000} {
		b.Run(fmt.Sprint(chunk), func(b *testing.B) {
			c := newCheck(b, chunk)
			b.ReportAllocs()
			var bare, seal time.Duration
			for b.Loop() {
				t0 := time.Now()
				ok := c.bare()
				t1 := time.Now()
				ok = c.seal() && ok
				bare, seal = bare+t1.Sub(t0), seal+time.Since(t1)
				if !ok {
					b.Fatal("not verified")
				}
			}
			b.ReportMetric(float64(bare.Nanoseconds())/float64(b.N), "bare-ns/op")
			b.ReportMetric(float64(seal.Nanoseconds())/float64(b.N), "seal-ns/op")
			b.ReportMetric(float64(seal)/float64(bare), "ratio")
		})
	}
}

func TestVerifyCost(t *testing.T) {
	c := newCheck(t, 1344)
	best := func(f func() bool) time.Duration {
		t0 := time.Now()
		for range 10 {
			require.True(t, f())
		}
		return time.Since(t0)
	}
	bare, seal := best(c.bare), best(c.seal)
	for range 40 { // in turns, so that a busy machine is fair to both
		bare, seal = min(bare, best(c.bare)), min(seal, best(c.seal))
	}
	t.Logf("%v, bare %v: %.3f", seal/10, bare/10, float64(seal)/float64(bare))
	require.LessOrEqual(t, float64(seal)/float64(bare), 1.3)
}

// whole is octets in one piece.
type whole struct{ b []byte }

func (w *whole) Prefix() int64          { return int64(len(w.b)) }
func (w *whole) Complete() bool         { return false }
func (w *whole) Bytes(off int64) []byte { return w.b[off:] }

// BenchmarkHostile is the cost of datagrams that end before the signature.
func BenchmarkHostile(b *testing.B) {
	genuine, _ := typical(b, 5)
	random := octets(1, 300)
	old, _ := typical(b, 0)
	old[8+3]--
	for name, raw := range map[string][]byte{"random": random, "replay": genuine, "old": old} {
		b.Run(name, func(b *testing.B) {
			d := newDesk(b, VerifierConfig{})
			require.NoError(b, d.v.Push(d.now, genuine, Multicast))
			b.ReportAllocs()
			for b.Loop() {
				if d.v.Push(d.now, raw, Multicast) == nil {
					b.Fatal()
				}
			}
		})
	}
}

// BenchmarkSign is a datagram of three records, from the octets on.
func BenchmarkSign(b *testing.B) {
	for _, n := range []int{1000, 25_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := NewSigner(SignerConfig{Service: "demo", Key: testKey(1), MaxRate: 1e9})
			require.NoError(b, err)
			var all []*Sealing
			for i := range 3 {
				x, err := s.Begin(start, Outgoing{Name: fmt.Sprintf("chunk-stream%d-00001.m4s", i), Generation: 1})
				require.NoError(b, err)
				all = append(all, x)
			}
			body := make([]byte, n)
			b.ReportAllocs()
			now := start
			for b.Loop() {
				for _, x := range all {
					x.Append(body)
					_ = x.Cut(now)
				}
				now = now.Add(10 * ms)
				if _, ok := s.Poll(now); !ok {
					b.Fatal()
				}
			}
		})
	}
}

// BenchmarkChunk is the path of octets, with datagrams left out.
func BenchmarkChunk(b *testing.B) {
	for _, n := range []int{1344, 25_000} {
		body := make([]byte, n)
		b.Run(fmt.Sprintf("append/%d", n), func(b *testing.B) {
			s, err := NewSigner(SignerConfig{Service: "demo", Key: testKey(1)})
			require.NoError(b, err)
			x, err := s.Begin(start, Outgoing{Name: "v", Generation: 1})
			require.NoError(b, err)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				x.Append(body)
				_ = x.Cut(start)
			}
		})
		b.Run(fmt.Sprintf("advance/%d", n), func(b *testing.B) {
			const chunks = 200
			records := make([]Record, chunks)
			h := sha256.New()
			for i := range records {
				h.Write(body)
				records[i].End = uint64(n * (i + 1))
				h.Sum(records[i].Sum[:0])
			}
			d := newDesk(b, VerifierConfig{})
			seal := &Seal{}
			in := &endless{b: body}
			var o *Object
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%chunks == 0 {
					o = d.open("v", uint64(i+1))
					d.v.Release(o)
					o.open = true
				}
				o.add(&records[i%chunks], seal)
				in.n = int64(n * (i%chunks + 1))
				if d.v.verify(o, in).Readable != in.n {
					b.Fatal("not verified")
				}
			}
		})
	}
}

// endless is the same octets again and again.
type endless struct {
	b []byte
	n int64
}

func (e *endless) Prefix() int64          { return e.n }
func (e *endless) Complete() bool         { return false }
func (e *endless) Bytes(off int64) []byte { return e.b[off%int64(len(e.b)):] }

func TestOctetsCostNoMemory(t *testing.T) {
	s, err := NewSigner(SignerConfig{Service: "demo", Key: testKey(1)})
	require.NoError(t, err)
	x, err := s.Begin(start, Outgoing{Name: "v", Generation: 1})
	require.NoError(t, err)
	body := make([]byte, 3000)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		x.Append(body)
		_ = x.Cut(start)
	}))

	d := newDesk(t, VerifierConfig{})
	o := d.open("v", 1)
	in := &memory{b: octets(1, 100_000)}
	all := in.b
	for end := 1000; end <= 60_000; end += 1000 {
		require.NoError(t, d.v.Push(d.now, d.make(rec("v", 1, all, end, 0)), Own))
	}
	in.b = all[:0]
	require.Zero(t, testing.AllocsPerRun(58, func() {
		in.b = all[:len(in.b)+1000]
		d.v.Advance(d.now, o, in)
	}))
	require.EqualValues(t, 59_000, o.Readable())
	require.Zero(t, testing.AllocsPerRun(10, func() { d.v.Check(o, 58_000, all[58_000:59_900]) }))

	// Nor do datagrams that are dropped, but for what ed25519 takes to say no.
	genuine, _ := typical(t, 0)
	require.NoError(t, d.v.Push(d.now, genuine, Multicast))
	random := octets(2, 300)
	named := d.make(rec("a-name-that-does-not-fit-into-a-small-buffer-on-the-stack.m4s", 1, all, 100, Named))
	require.NoError(t, d.v.Push(d.now, named, Multicast))
	for name, raw := range map[string][]byte{"repeat": genuine, "named": named, "random": random, "cut": genuine[:150]} {
		require.Zero(t, testing.AllocsPerRun(20, func() {
			if d.v.Push(d.now, raw, Multicast) == nil {
				panic("accepted")
			}
		}), name)
	}
}
