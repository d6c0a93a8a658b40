package raptorq

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec/internal/gf256"
)

// eachKernel runs a test with every kernel of this processor.
func eachKernel(t *testing.T, test func(t *testing.T)) {
	names := gf256.Kernels()
	t.Cleanup(func() { gf256.Select(names[len(names)-1]) })
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			gf256.Select(name)
			test(t)
		})
	}
}

// symbolSizes are those that the paths must agree on.
func symbolSizes() []int {
	var sizes []int
	for t := 1; t <= 300; t++ {
		sizes = append(sizes, t)
	}
	return append(sizes, 1280, 1316, 9000)
}

// All kernels and all regimes give the same symbols, for any T and any alignment
// of the source in memory.
func TestRegimesAgree(t *testing.T) {
	want := make(map[int][]byte)
	eachKernel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 1))
		codecs := []*Codec{{Regime: Dense}, {Regime: Sparse}, {}}
		for _, size := range symbolSizes() {
			const lost, more = 5, 2
			k := 10 + size%37
			at := size % 64
			source := append(make([]byte, at), splitmix(uint64(size), k*size-size/3)...)[at:]
			for _, codec := range codecs {
				e, err := codec.NewEncoder(source, size)
				require.NoError(t, err)
				repair := e.AppendRepair(nil, uint32(k), lost+more)
				if want[size] == nil {
					want[size] = repair
				}
				require.True(t, bytes.Equal(want[size], repair), "T = %d", size)
				for i := range lost + more {
					s := e.AppendSymbol(nil, uint32(k+i))
					require.True(t, bytes.Equal(want[size][i*size:(i+1)*size], s), "T = %d", size)
				}
				d, err := codec.NewDecoder(k, size)
				require.NoError(t, err)
				if size%2 == 0 {
					d.Expect(lost)
				}
				missing := rng.Perm(k)[:lost]
				for i := range k {
					if !contains(missing, i) {
						d.Add(uint32(i), e.AppendSymbol(nil, uint32(i)))
					}
				}
				for i := range lost + more {
					d.Add(uint32(k+i), repair[i*size:(i+1)*size])
				}
				require.True(t, d.Decode())
				requireSource(t, d, source)
				require.True(t, d.Consistent())
			}
		}
	})
}

func contains(s []int, x int) bool {
	for _, v := range s {
		if v == x {
			return true
		}
	}
	return false
}

// The coefficients are what encoding a block of unit symbols gives, for symbols
// right behind the source and for those with far ISIs.
func TestGenerate(t *testing.T) {
	eachKernel(t, func(t *testing.T) {
		for _, k := range []int{10, 26, 49, 101} {
			p := lookup(k)
			unit := make([]byte, p.kp*p.kp)
			for i := range p.kp {
				unit[i*p.kp+i] = 1
			}
			codec := &Codec{Regime: Sparse}
			e, err := codec.NewEncoder(unit, p.kp)
			require.NoError(t, err)
			var isis []uint32
			for i := range uint32(batch) {
				isis = append(isis, uint32(p.kp)+i*i*4001)
			}
			coef := make([]byte, p.kp*batch)
			codec.code(&p).plan.generate(coef, isis, new(scratch))
			for j, x := range isis {
				for i, c := range e.AppendSymbol(nil, x) {
					require.Equal(t, c, coef[i*batch+j], "K' = %d, ISI %d, source %d", p.kp, x, i)
				}
			}
		}
	})
}

// What a decoder is told to expect changes nothing but the time of the work:
// with symbols that it does not expect, with others late or in any order.
func TestExpect(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 1))
	codec := &Codec{Regime: Dense}
	d := Decoder{codec: codec}
	for trial := range 300 {
		k, size := 1+rng.IntN(150), 1+rng.IntN(200)
		source := splitmix(rng.Uint64(), k*size)
		e, err := codec.NewEncoder(source, size)
		require.NoError(t, err)
		require.NoError(t, d.Reset(k, size))
		order := rng.Perm(k + 20)
		for at, esi := range order {
			if at == trial%20 {
				d.Expect(rng.IntN(150))
			}
			if rng.IntN(50) == 0 {
				esi += 100000
			}
			_, err := d.Add(uint32(esi), e.AppendSymbol(nil, uint32(esi)))
			require.NoError(t, err)
			if d.Need() == 0 && d.Decode() {
				break
			}
		}
		require.Zero(t, d.Need())
		requireSource(t, &d, source)
	}
}

// A failed attempt costs nothing but one symbol more, of any kind.
func TestDecodeContinues(t *testing.T) {
	bad := loadInternals(t).Singular
	for _, regime := range []Regime{Auto, Dense, Sparse} {
		for k, set := range map[int][][2]uint32{10: bad.K10.Bad, 32: bad.K32.Bad} {
			codec := &Codec{Regime: regime}
			source := splitmix(1, k*100)
			e, err := codec.NewEncoder(source, 100)
			require.NoError(t, err)
			for _, b := range set {
				for _, more := range []uint32{b[0] + uint32(k), 3} { // repair, source
					d, err := codec.NewDecoder(k, 100)
					require.NoError(t, err)
					if b[0] > 3 {
						d.Expect(12)
						for i := range uint32(k) {
							d.Add(b[0]+i, e.AppendSymbol(nil, b[0]+i))
						}
						require.Zero(t, d.Need())
						require.False(t, d.Decode())
						require.Equal(t, 1, d.Need())
						require.Nil(t, d.Symbol(0))
						require.False(t, d.Decode())
						d.Add(more, e.AppendSymbol(nil, more))
						if d.Decode() {
							requireSource(t, d, source)
						} else {
							require.NotEqual(t, b[0]+uint32(k), more)
						}
					}
				}
			}
		}
	}
}

// Blocks that follow each other in one encoder and one decoder allocate nothing.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget at random")
	}
	for _, c := range []struct {
		k, lost int
		regime  Regime
	}{{10, 2, Auto}, {32, 8, Auto}, {250, 13, Auto}, {250, 13, Sparse}, {1000, 50, Auto}, {1000, 50, Sparse}, {1000, 300, Auto}} {
		t.Run(fmt.Sprintf("K=%d/%d lost/%d", c.k, c.lost, c.regime), func(t *testing.T) {
			const size = 1316
			codec := &Codec{Regime: c.regime}
			source := splitmix(1, c.k*size)
			e, err := codec.NewEncoder(source, size)
			require.NoError(t, err)
			d, err := codec.NewDecoder(c.k, size)
			require.NoError(t, err)
			repair := make([]byte, 0, c.lost*size)
			rng := rand.New(rand.NewPCG(1, 1))
			perm := make([]int, c.k)
			for i := range perm {
				perm[i] = i
			}
			block := func() {
				if e.Reset(source, size) != nil || d.Reset(c.k, size) != nil {
					t.Error("reset")
				}
				repair = e.AppendRepair(repair[:0], uint32(c.k), c.lost)
				rng.Shuffle(c.k, func(i, j int) { perm[i], perm[j] = perm[j], perm[i] })
				for _, i := range perm[c.lost:] {
					d.Add(uint32(i), source[i*size:(i+1)*size])
				}
				for i := range c.lost {
					d.Add(uint32(c.k+i), repair[i*size:(i+1)*size])
				}
				d.Decode()
			}
			// Plans differ in size by a little with what is lost.
			for range 20 {
				block()
			}
			require.LessOrEqual(t, testing.AllocsPerRun(20, block), 0.5)
		})
	}
}

// Symbols that come after one another take memory only for themselves, never
// more than announced.
func TestDecoderMemory(t *testing.T) {
	for _, c := range [][2]int{{1, 1}, {10, 1344}, {100, 65535}, {3000, 64}} {
		k, size := c[0], c[1]
		d, err := NewDecoder(k, size)
		require.NoError(t, err)
		held := func() (n int) {
			for _, p := range d.store.pieces {
				n += len(p)
			}
			return n
		}
		require.Zero(t, held())
		symbol := make([]byte, size)
		for i := range 3 * k {
			d.Add(uint32(k+5*i), symbol)
			require.LessOrEqual(t, held(), (i+1)*slotSize(size)*3/2+2*max(slabSize, slotSize(size)))
		}
		for i := range k {
			d.Add(uint32(i), symbol)
		}
		require.Zero(t, d.Need())
		require.LessOrEqual(t, int64(held()), DecoderMemory(k, size))
	}
}

func TestAppendMissing(t *testing.T) {
	d, err := NewDecoder(5, 1)
	require.NoError(t, err)
	require.Equal(t, []uint32{9, 0, 1, 2, 3, 4}, d.AppendMissing([]uint32{9}))
	for _, esi := range []uint32{3, 1, 7} {
		d.Add(esi, []byte{0})
	}
	require.Equal(t, []uint32{0, 2, 4}, d.AppendMissing(nil))
	for esi := range uint32(10) {
		d.Add(5+esi, []byte{0})
	}
	require.True(t, d.Decode())
	require.Empty(t, d.AppendMissing(nil))
}

// A matrix beside the identity turns into its inverse, or the rank tells that
// it has none.
func TestReduce(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	for trial := range 400 {
		rows := 1 + rng.IntN(40)
		columns := 1 + rng.IntN(rows)
		stride := (rows + columns + 63) &^ 63
		m := make([]byte, rows*stride)
		sparse := trial%3 == 0
		for r := range rows {
			for c := range columns {
				if !sparse || rng.IntN(columns) < 2 {
					m[r*stride+c] = byte(rng.Uint32())
				}
			}
			m[r*stride+columns+r] = 1
		}
		before := bytes.Clone(m)
		rank := reduce(m, rows, columns, stride, new(scratch))
		if rank < columns {
			require.True(t, sparse || rows-columns < 2)
		}
		// Each row is the combination of the former rows that it says.
		for r := range rows {
			for c := range columns {
				sum := byte(0)
				for i := range rows {
					sum ^= gf256.Mul(m[r*stride+columns+i], before[i*stride+c])
				}
				require.Equal(t, sum, m[r*stride+c])
				if rank == columns && r < columns && r != c || r >= rank {
					require.Zero(t, sum)
				}
			}
			if rank == columns && r < columns {
				require.EqualValues(t, 1, m[r*stride+r])
			}
		}
	}
}

// Blocks beyond the caches are worked on in other strips.
func TestFarBlocks(t *testing.T) {
	for _, c := range [][2]int{{7000, 1316}, {30000, 321}} {
		k, size := c[0], c[1]
		p := lookup(k)
		require.True(t, p.far(size))
		source := splitmix(1, k*size-100)
		dense, sparse := &Codec{Regime: Dense}, &Codec{Regime: Sparse}
		e, err := dense.NewEncoder(source, size)
		require.NoError(t, err)
		want := e.AppendRepair(nil, uint32(k), 5)
		e, err = sparse.NewEncoder(source, size)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, e.AppendRepair(nil, uint32(k), 5)))
		require.True(t, bytes.Equal(want[:size], e.AppendSymbol(nil, uint32(k))))
		for _, codec := range []*Codec{dense, sparse} {
			d, err := codec.NewDecoder(k, size)
			require.NoError(t, err)
			for i := 3; i < k; i++ {
				d.Add(uint32(i), e.AppendSymbol(nil, uint32(i)))
			}
			for i := range 5 {
				d.Add(uint32(k+i), want[i*size:(i+1)*size])
			}
			require.True(t, d.Decode())
			require.True(t, d.Consistent())
			for i := range 3 {
				require.Equal(t, source[i*size:(i+1)*size], d.Symbol(i))
			}
		}
	}
}
