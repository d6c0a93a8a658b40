package raptorq

import (
	"flag"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var long = flag.Bool("long", false, "test at full length: minutes, not seconds")

// requireSource checks that the decoder holds exactly the source.
func requireSource(t *testing.T, d *Decoder, source []byte) {
	t.Helper()
	for i := range d.k {
		s := d.Symbol(i)
		require.Len(t, s, d.t)
		end := min((i+1)*d.t, len(source))
		require.Equal(t, source[i*d.t:end], s[:end-i*d.t])
		for _, x := range s[end-i*d.t:] {
			require.Zero(t, x)
		}
	}
}

func TestDecodeRandomLoss(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var codec Codec
	for range 200 {
		k := 1 + rng.IntN(1+rng.IntN(600))
		size := 1 + rng.IntN(40)
		source := splitmix(rng.Uint64(), (k-1)*size+1+rng.IntN(size))
		e, err := codec.NewEncoder(source, size)
		require.NoError(t, err)
		require.Equal(t, k, e.K())
		d, err := codec.NewDecoder(k, size)
		require.NoError(t, err)
		loss := rng.Float64()
		for esi := range uint32(k) {
			if rng.Float64() >= loss {
				_, err := d.Add(esi, e.AppendSymbol(nil, esi))
				require.NoError(t, err)
			}
		}
		for extra := 0; !d.Decode(); {
			require.Positive(t, d.Need())
			esi := uint32(k) + rng.Uint32N(MaxESI-uint32(k)+1)
			fresh, err := d.Add(esi, e.AppendSymbol(nil, esi))
			require.NoError(t, err)
			if fresh && d.missing < len(d.repair) {
				extra++
				require.Less(t, extra, 5)
			}
		}
		require.Zero(t, d.Need())
		requireSource(t, d, source)
	}
}

// The largest block, most of it lost.
func TestDecodeLargestBlock(t *testing.T) {
	const k = MaxK
	source := splitmix(1, k*2)
	e, err := NewEncoder(source, 2)
	require.NoError(t, err)
	d, err := NewDecoder(k, 2)
	require.NoError(t, err)
	for i := range uint32(k / 10) {
		_, err := d.Add(10*i, e.AppendSymbol(nil, 10*i))
		require.NoError(t, err)
	}
	for esi := uint32(MaxESI); !d.Decode(); esi-- {
		_, err := d.Add(esi, e.AppendSymbol(nil, esi))
		require.NoError(t, err)
	}
	requireSource(t, d, source)
}

// Every K' of the table can be encoded, or else a source block of that size
// could not be sent at all, and decoded.
func TestEveryBlockSize(t *testing.T) {
	var codec Codec
	e, d := Encoder{codec: &codec}, Decoder{codec: &codec}
	rng := rand.New(rand.NewPCG(1, 1))
	for i, row := range systematicTable {
		if !*long && i > 100 && i%40 != 0 {
			continue // large ones take longer and differ less
		}
		const size = 3
		k := int(row.kp)
		source := splitmix(uint64(k), k*size)
		require.NoError(t, e.Reset(source, size))
		require.NoError(t, d.Reset(k, size))
		lost := 1 + rng.IntN(min(k, 300))
		repair := e.AppendRepair(nil, uint32(k), lost+3)
		for esi := lost; esi < k; esi++ {
			_, err := d.Add(uint32(esi), source[esi*size:(esi+1)*size])
			require.NoError(t, err)
		}
		for i := range lost + 3 {
			_, err := d.Add(uint32(k+i), repair[i*size:(i+1)*size])
			require.NoError(t, err)
		}
		require.True(t, d.Decode(), "K' = %d", k)
		requireSource(t, &d, source)
	}
}

// The share of failures with random repair symbols alone is what the code
// promises: RFC 6330 section 5.8 allows 1e-2 and 1e-4 for none and one more.
func TestRecoveryLaw(t *testing.T) {
	counts := map[int]int{10: 20000, 26: 20000, 49: 10000, 101: 5000}
	allowed := 5
	if testing.Short() {
		counts = map[int]int{10: 2000}
	}
	if *long {
		allowed = 40
		counts = map[int]int{10: 200000, 26: 200000, 49: 200000, 101: 200000, 250: 200000, 1002: 200000}
	}
	var wg sync.WaitGroup
	for k, n := range counts {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(k), 1))
			p := lookup(k)
			var plans planner
			var failures [2]int
			var isis []uint32
			seen := make(map[uint32]bool)
			for range n {
				isis = isis[:0]
				for i := k; i < p.kp; i++ {
					isis = append(isis, uint32(i)) // padding
				}
				clear(seen)
				for len(isis) <= p.kp {
					if x := uint32(p.kp) + rng.Uint32N(1<<24-uint32(k)); !seen[x] {
						seen[x] = true
						isis = append(isis, x)
					}
				}
				for more := range failures {
					if pl, _ := plans.make(&p, isis[:p.kp+more]); pl != nil {
						break
					}
					failures[more]++
				}
			}
			t.Logf("K = %d: %v failures of %d", k, failures, n)
			if share := float64(failures[0]) / float64(n); share > 0.010 {
				t.Errorf("K = %d: %v of %d fail with K symbols", k, failures[0], n)
			}
			if failures[1] > allowed {
				t.Errorf("K = %d: %v of %d fail with K+1 symbols", k, failures[1], n)
			}
		})
	}
	wg.Wait()
}

func TestSizes(t *testing.T) {
	for _, c := range [][2]int{{0, 1}, {-1, 1}, {MaxK + 1, 1}, {1, 0}, {1, -1}, {1, MaxSymbolSize + 1}} {
		_, err := NewDecoder(c[0], c[1])
		require.ErrorIs(t, err, ErrSize)
		_, err = NewEncoder(make([]byte, max(c[0], 0)), c[1])
		require.ErrorIs(t, err, ErrSize)
	}
	// A large block costs nothing until symbols arrive.
	d, err := NewDecoder(MaxK, 8000)
	require.NoError(t, err)
	require.Equal(t, MaxK, d.Need())
	require.Equal(t, MaxK, d.K())
	require.Equal(t, 8000, d.SymbolSize())
	require.Empty(t, d.store.pieces)

	_, err = NewDecoder(MaxK, MaxSymbolSize)
	require.ErrorIs(t, err, ErrMemory)
	codec := Codec{MemoryLimit: DecoderMemory(1000, 1344)}
	_, err = codec.NewDecoder(1000, 1344)
	require.NoError(t, err)
	_, err = codec.NewDecoder(1001, 1344)
	require.ErrorIs(t, err, ErrMemory)
}

func TestAddRefuses(t *testing.T) {
	d, err := NewDecoder(3, 4)
	require.NoError(t, err)
	for _, c := range []struct {
		esi    uint32
		length int
	}{{0, 0}, {0, 3}, {0, 5}, {2, 0}, {2, 5}, {3, 3}, {MaxESI + 1, 4}, {1<<32 - 1, 4}} {
		_, err := d.Add(c.esi, make([]byte, c.length))
		require.ErrorIs(t, err, ErrSymbol)
	}
	require.Equal(t, 3, d.Need())

	fresh, err := d.Add(2, []byte{1, 2}) // the object's end, without padding
	require.NoError(t, err)
	require.True(t, fresh)
	require.Equal(t, []byte{1, 2, 0, 0}, d.Symbol(2))
	for esi, symbol := range map[uint32][]byte{2: {1, 2, 0, 0}, 7: {1, 2, 3, 4}} {
		_, err = d.Add(esi, symbol)
		require.NoError(t, err)
		fresh, err = d.Add(esi, symbol)
		require.NoError(t, err)
		require.False(t, fresh)
		_, err = d.Add(esi, []byte{9, 9, 9, 9})
		require.ErrorIs(t, err, ErrConflict)
	}
	require.Equal(t, 1, d.Need())
	require.Nil(t, d.Symbol(-1))
	require.Nil(t, d.Symbol(0))
	require.Nil(t, d.Symbol(3))
}

func TestAddBoundsRepair(t *testing.T) {
	d, err := NewDecoder(5, 1)
	require.NoError(t, err)
	for esi := range uint32(1000) {
		fresh, err := d.Add(5+esi, []byte{0})
		require.NoError(t, err)
		require.Equal(t, esi < 5+surplus, fresh)
	}
	require.True(t, d.Decode())
}

// A complete block needs no repair symbol and keeps none.
func TestKnownSource(t *testing.T) {
	d, err := NewDecoder(20, 4)
	require.NoError(t, err)
	source := splitmix(1, 80)
	for esi := range uint32(20) {
		require.False(t, d.Decode())
		_, err := d.Add(100+esi, []byte{1, 2, 3, 4})
		require.NoError(t, err)
		_, err = d.Add(esi, source[4*esi:4*esi+4])
		require.NoError(t, err)
		if len(d.repair)+20-d.missing >= 20 {
			break // enough of the wrong symbols would decode to nonsense
		}
	}
	for esi := uint32(10); esi < 20; esi++ {
		_, err := d.Add(esi, source[4*esi:4*esi+4])
		require.NoError(t, err)
	}
	require.True(t, d.Decode())
	requireSource(t, d, source)
	fresh, err := d.Add(5000, source[:4])
	require.NoError(t, err)
	require.False(t, fresh)
}

// Symbol sets that an adversary picks must not take cubic time: here only
// symbols of high degree, which peel badly.
func TestHeavySymbolsAreBounded(t *testing.T) {
	const k = 8000
	p := lookup(k)
	var isis []uint32
	for x := uint32(p.kp); len(isis) < p.kp; x++ {
		if p.tuple(x).d > 20 {
			isis = append(isis, x)
		}
	}
	pl, need := new(planner).make(&p, isis)
	require.Nil(t, pl)
	require.Equal(t, 1, need)
}

// With symbols to spare a corrupt one is noticed, wherever it is.
func TestConsistent(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, k := range []int{10, 26, 49, 120, 400} {
		source := splitmix(uint64(k), k*8)
		e, err := NewEncoder(source, 8)
		require.NoError(t, err)
		for more := range 20 {
			for _, corrupt := range []bool{false, true} {
				d, err := NewDecoder(k, 8)
				require.NoError(t, err)
				lost := 1 + rng.IntN(k)
				bad := rng.IntN(k + more)
				for i := range k + more {
					esi := uint32(lost + i)
					s := e.AppendSymbol(nil, esi)
					if corrupt && i == bad {
						s[rng.IntN(8)] ^= uint8(1 + rng.IntN(255))
					}
					_, err := d.Add(esi, s)
					require.NoError(t, err)
				}
				if !d.Decode() {
					require.Less(t, more, 2)
					continue
				}
				if more > 4 {
					require.Equal(t, corrupt, !d.Consistent(), "K = %d, %d more, %d lost, bad %d", k, more, lost, bad)
				}
				if !corrupt {
					require.True(t, d.Consistent())
					requireSource(t, d, source)
				}
			}
		}
	}
}

func TestAddDoesNotAllocatePerSymbol(t *testing.T) {
	const k = 2000
	d, err := NewDecoder(k, 64)
	require.NoError(t, err)
	symbol := make([]byte, 64)
	esi := uint32(0)
	allocs := testing.AllocsPerRun(1000, func() {
		d.Add(esi, symbol)
		d.Add(esi, symbol)
		esi++
	})
	require.Zero(t, allocs) // one piece of memory for 512 symbols
}

func FuzzDecoder(f *testing.F) {
	f.Add(uint16(10), uint16(4), uint8(0), uint64(1), []byte{0x10, 1, 2, 3, 0xff, 0xfe})
	f.Add(uint16(49), uint16(8), uint8(1), uint64(2), []byte{0})
	f.Add(uint16(49), uint16(70), uint8(2), uint64(2), []byte{1, 2, 200})
	f.Add(uint16(300), uint16(1), uint8(7), uint64(3), []byte{0x80, 0x80, 0x80, 0x01})
	var codecs [3]Codec
	for i := range codecs {
		codecs[i] = Codec{Regime: Regime(i), CacheSize: 1 << 20}
	}
	f.Fuzz(func(t *testing.T, blockSize, symbolSize uint16, options uint8, seed uint64, script []byte) {
		k, size := int(blockSize)%400+1, int(symbolSize)%150+1
		codec := &codecs[options%3]
		expect := int(options>>2) % 40
		rng := rand.New(rand.NewPCG(seed, 0))
		source := splitmix(seed, (k-1)*size+1+rng.IntN(size))
		e, err := codec.NewEncoder(source, size)
		require.NoError(t, err)

		// Symbols of any ESI, length and content do no harm beyond a wrong
		// block.
		d, err := codec.NewDecoder(k, size)
		require.NoError(t, err)
		d.Expect(expect)
		for i, b := range script {
			d.Add(uint32(b)*uint32(i*i+1), script[i:min(i+size, len(script))])
			if b&7 == 0 {
				done := d.Decode()
				require.Equal(t, done, d.Need() == 0 && d.missing == 0)
				require.Equal(t, done, len(d.AppendMissing(nil)) == 0)
				d.Consistent()
			}
		}
		for i := range k {
			if s := d.Symbol(i); s != nil {
				require.Len(t, s, size)
			}
		}

		// Whatever is lost, enough symbols give the source and nothing else.
		require.NoError(t, d.Reset(k, size))
		loss := rng.Float64()
		for esi := range uint32(k) {
			if rng.Float64() >= loss {
				d.Add(esi, e.AppendSymbol(nil, esi))
			}
		}
		for tries := 0; !d.Decode(); tries++ {
			require.Less(t, tries, k+10)
			esi := uint32(k) + uint32(tries) + rng.Uint32N(1<<rng.IntN(24))
			if fresh, _ := d.Add(esi, e.AppendSymbol(nil, esi)); !fresh {
				tries--
			}
		}
		requireSource(t, d, source)
		require.True(t, d.Consistent())
	})
}
