package raptor

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// splitmix returns n octets of the generator that the vectors are made with.
func splitmix(seed uint64, n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		seed += 0x9E3779B97F4A7C15
		z := seed
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		b = binary.LittleEndian.AppendUint64(b, z^z>>31)
	}
	return b[:n]
}

func TestVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/rfc5053_vectors.json")
	require.NoError(t, err)
	var f struct {
		Vectors []struct {
			K, T, S, H, L, Lprime, J int
			Seed                     uint64
			Triples                  [][3]uint32
			Repair                   map[uint32]string
		}
	}
	require.NoError(t, json.Unmarshal(b, &f))
	require.Len(t, f.Vectors, 6)
	for _, v := range f.Vectors {
		t.Run(fmt.Sprintf("K=%d", v.K), func(t *testing.T) {
			p := newParams(v.K)
			require.Equal(t, [4]int{v.S, v.H, v.L, v.Lprime}, [4]int{p.s, p.h, p.l, p.lp})
			require.EqualValues(t, v.J, systematicIndex[v.K-MinK])
			for i, x := range []int{0, 1, v.K, v.K + 1} {
				d, a, b := p.triple(uint32(x))
				require.Equal(t, v.Triples[i], [3]uint32{d, a, b})
			}
			source := splitmix(v.Seed, v.K*v.T)
			e, err := NewEncoder(source, v.T)
			require.NoError(t, err)
			require.Equal(t, v.K, e.K())
			require.Equal(t, v.T, e.SymbolSize())
			for esi, want := range v.Repair {
				require.Equal(t, want, hex.EncodeToString(e.AppendSymbol(nil, esi)))
			}
			// The code is systematic: the LT code yields the source symbols, too.
			for i := range v.K {
				symbol := make([]byte, v.T)
				p.encode(symbol, e.inter, uint32(i))
				require.Equal(t, source[i*v.T:(i+1)*v.T], symbol)
			}
		})
	}
}

// The systematic indices are those of RFC 5053 section 5.7: their CRC-32 was taken
// from the RFC's text.
func TestSystematicIndices(t *testing.T) {
	var b []byte
	for _, j := range systematicIndex {
		b = binary.LittleEndian.AppendUint16(b, j)
	}
	require.Equal(t, uint32(0x4796d055), crc32.ChecksumIEEE(b))
}

func TestParams(t *testing.T) {
	for _, c := range []struct{ k, s, h, l, lp int }{
		{4, 5, 5, 14, 17}, {10, 7, 6, 23, 23}, {32, 11, 8, 51, 53}, {100, 17, 9, 126, 127},
		{1024, 59, 13, 1096, 1097}, {8192, 211, 16, 8419, 8419},
	} {
		p := newParams(c.k)
		require.Equal(t, [4]int{c.s, c.h, c.l, c.lp}, [4]int{p.s, p.h, p.l, p.lp})
	}
}

// The source symbols determine the intermediate symbols for every K: that is what
// J(K) was chosen for.
func TestEveryBlockSizeEncodes(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 409
	}
	var codec Codec
	for k := MinK; k <= MaxK; k += step {
		if k > 300 && step == 1 && k%509 != 0 && k != MaxK {
			continue
		}
		source := splitmix(uint64(k), 2*k-1)
		e, err := codec.NewEncoder(source, 2)
		require.NoError(t, err)
		symbol := make([]byte, 2)
		for i := range k {
			e.params.encode(symbol, e.inter, uint32(i))
			want := source[2*i : min(2*i+2, len(source))]
			require.Equal(t, want, symbol[:len(want)], "K = %d, ESI %d", k, i)
		}
	}
}

func TestRandomLossDecodes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var codec Codec
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	for range rounds {
		k := MinK + rng.IntN(300)
		size := 1 + rng.IntN(40)
		source := splitmix(rng.Uint64(), (k-1)*size+1+rng.IntN(size))
		e, err := codec.NewEncoder(source, size)
		require.NoError(t, err)
		d, err := codec.NewDecoder(k, size)
		require.NoError(t, err)
		for i, esi := range rng.Perm(MaxESI + 1)[:k+40] {
			if i%3 > 0 { // a mix of source and repair symbols
				esi = rng.IntN(2 * k)
			}
			fresh, err := d.Add(uint32(esi), e.AppendSymbol(nil, uint32(esi)))
			require.NoError(t, err)
			if fresh && d.Need() == 0 && d.Decode() {
				break
			}
		}
		if !d.Decode() { // repeated symbols
			for esi := range uint32(k) {
				_, err := d.Add(esi, e.AppendSymbol(nil, esi))
				require.NoError(t, err)
			}
		}
		require.True(t, d.Decode())
		require.True(t, d.Consistent())
		for i := range k {
			require.Equal(t, e.AppendSymbol(nil, uint32(i)), d.Symbol(i))
		}
	}
}

// How often K and h more random symbols fail to decode: about 0.85 * 0.567^h.
func TestRecovery(t *testing.T) {
	const k = 100
	rounds := 600
	if testing.Short() {
		rounds = 150
	}
	var codec Codec
	source := splitmix(1, k)
	e, err := codec.NewEncoder(source, 1)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(3, 4))
	var failed [12]int
	for range rounds {
		d, err := codec.NewDecoder(k, 1)
		require.NoError(t, err)
		for n, esi := range rng.Perm(MaxESI - k)[:k+len(failed)] {
			if n >= k {
				if d.Decode() {
					break
				}
				failed[n-k]++
			}
			_, err := d.Add(uint32(k+esi), e.AppendSymbol(nil, uint32(k+esi)))
			require.NoError(t, err)
		}
	}
	t.Log(failed)
	require.Less(t, failed[0], rounds*90/100)
	require.Less(t, failed[5], rounds*8/100)
	require.Less(t, failed[10], rounds*2/100)
}

func TestCorruptSymbolShows(t *testing.T) {
	const k = 50
	source := splitmix(9, k*8)
	e, err := NewEncoder(source, 8)
	require.NoError(t, err)
	d, err := NewDecoder(k, 8)
	require.NoError(t, err)
	for esi := uint32(3); esi < k+30; esi++ {
		s := e.AppendSymbol(nil, esi)
		if esi == 60 {
			s[2] ^= 4
		}
		_, err := d.Add(esi, s)
		require.NoError(t, err)
	}
	require.True(t, d.Decode())
	require.False(t, d.Consistent())
}

func TestLimits(t *testing.T) {
	for _, c := range [][2]int{{3, 1}, {8193, 1}, {4, 0}, {4, 65536}, {-1, -1}} {
		_, err := NewDecoder(c[0], c[1])
		require.ErrorIs(t, err, ErrSize)
	}
	for _, c := range [][2]int{{0, 1}, {3, 1}, {8193, 1}, {6, 2}, {100, 0}, {100, 65536}} {
		_, err := NewEncoder(make([]byte, c[0]), c[1])
		require.ErrorIs(t, err, ErrSize)
	}
	e, err := NewEncoder(make([]byte, 4), 1)
	require.NoError(t, err)
	require.Len(t, e.AppendSymbol(nil, MaxESI), 1)
	require.Nil(t, e.AppendSymbol(nil, MaxESI+1))
}

func TestAddRefuses(t *testing.T) {
	d, err := NewDecoder(4, 4)
	require.NoError(t, err)
	require.Equal(t, 4, d.K())
	require.Equal(t, 4, d.SymbolSize())
	for _, c := range []struct {
		esi    uint32
		length int
	}{{0, 0}, {0, 3}, {0, 5}, {3, 0}, {3, 5}, {4, 3}, {65536, 4}, {1<<32 - 1, 4}} {
		_, err := d.Add(c.esi, make([]byte, c.length))
		require.ErrorIs(t, err, ErrSymbol)
	}
	fresh, err := d.Add(3, []byte{1, 2})
	require.NoError(t, err)
	require.True(t, fresh)
	require.Equal(t, []byte{1, 2, 0, 0}, d.Symbol(3))
	_, err = d.Add(3, []byte{1, 3})
	require.ErrorIs(t, err, ErrConflict)
	fresh, err = d.Add(70, []byte{1, 2, 0, 0})
	require.NoError(t, err)
	require.True(t, fresh)
	_, err = d.Add(70, []byte{1, 2, 0, 1})
	require.ErrorIs(t, err, ErrConflict)
	fresh, err = d.Add(70, []byte{1, 2, 0, 0})
	require.NoError(t, err)
	require.False(t, fresh)
	require.Nil(t, d.Symbol(-1))
	require.Nil(t, d.Symbol(4))
	require.Equal(t, 2, d.Need())
	require.False(t, d.Decode())
}

// A block that forged symbols keep from being decoded holds no more than promised.
func TestRepairIsBounded(t *testing.T) {
	d, err := NewDecoder(4, 1)
	require.NoError(t, err)
	for esi := uint32(4); esi <= MaxESI; esi++ {
		_, err := d.Add(esi, []byte{1})
		require.NoError(t, err)
	}
	require.Len(t, d.repair, 4+surplus)
}

func TestAppendSymbolDoesNotAllocate(t *testing.T) {
	e, err := NewEncoder(splitmix(1, 32*1344), 1344)
	require.NoError(t, err)
	buf := make([]byte, 0, 1344)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		e.AppendSymbol(buf, 40)
		e.AppendSymbol(buf, 4)
	}))
}

// FuzzDecoder feeds a decoder what the script says: good symbols, repeated ones,
// and ones of any ESI and length. Good symbols alone must give the source.
func FuzzDecoder(f *testing.F) {
	f.Add(uint8(4), uint8(3), []byte{9, 8, 7, 6, 0, 1})
	f.Add(uint8(60), uint8(1), bytes.Repeat([]byte{255, 0, 254, 17}, 30))
	var codec Codec
	f.Fuzz(func(t *testing.T, k, size uint8, script []byte) {
		n, length := max(int(k)%64, MinK), max(int(size)%32, 1)
		source := splitmix(uint64(k), n*length)
		e, err := codec.NewEncoder(source, length)
		require.NoError(t, err)
		good, err := codec.NewDecoder(n, length)
		require.NoError(t, err)
		hostile, err := codec.NewDecoder(n, length)
		require.NoError(t, err)
		for i, b := range script {
			esi := uint32(b)
			if i%5 == 4 {
				esi = uint32(b)<<8 | uint32(script[i-1])
			}
			_, err := good.Add(esi, e.AppendSymbol(nil, esi))
			require.NoError(t, err)
			good.Decode()
			hostile.Add(esi<<(i%24), script[i:min(len(script), i+length)])
			hostile.Decode()
		}
		if good.Decode() {
			require.True(t, good.Consistent())
			for i := range n {
				require.Equal(t, source[i*length:(i+1)*length], good.Symbol(i))
			}
		} else {
			require.Positive(t, good.Need())
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for _, k := range []int{32, 100, 1000, 8192} {
		b.Run(fmt.Sprintf("K=%d,r=%d", k, k/5), func(b *testing.B) {
			var codec Codec
			source := splitmix(1, k*1344)
			buf := make([]byte, 0, 1344)
			b.SetBytes(int64(len(source)))
			for b.Loop() {
				e, err := codec.NewEncoder(source, 1344)
				if err != nil {
					b.Fatal(err)
				}
				for j := range k / 5 {
					e.AppendSymbol(buf, uint32(k+j))
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, k := range []int{32, 100, 1000, 8192} {
		b.Run(fmt.Sprintf("K=%d,lost=%d", k, k/5), func(b *testing.B) {
			var codec Codec
			e, err := codec.NewEncoder(splitmix(1, k*1344), 1344)
			if err != nil {
				b.Fatal(err)
			}
			var symbols [][]byte
			for i := range k + 30 {
				symbols = append(symbols, e.AppendSymbol(nil, uint32(k/5+i)))
			}
			b.SetBytes(int64(k * 1344))
			for b.Loop() {
				d, err := codec.NewDecoder(k, 1344)
				if err != nil {
					b.Fatal(err)
				}
				for i, s := range symbols {
					d.Add(uint32(k/5+i), s)
					if d.Need() == 0 && d.Decode() {
						break
					}
				}
				if !d.Decode() {
					b.Fatal("not decoded")
				}
			}
		})
	}
}
