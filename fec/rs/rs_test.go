package rs

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/klauspost/reedsolomon"
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

type code struct {
	Matrix       []string `json:"parity_matrix"`
	MatrixSHA256 string   `json:"parity_matrix_sha256"`
	Parity       []string
	ParitySHA256 string `json:"parity_sha256"`
}

type vector struct {
	K, R, T   int
	Seed      uint64
	RFC5510   code
	Rizzo     code
	Backblaze code
}

func loadVectors(t testing.TB) []vector {
	b, err := os.ReadFile("testdata/rs_gf256_vectors.json")
	require.NoError(t, err)
	var f struct{ Vectors []vector }
	require.NoError(t, json.Unmarshal(b, &f))
	require.Len(t, f.Vectors, 12)
	return f.Vectors
}

func TestVectors(t *testing.T) {
	for _, v := range loadVectors(t) {
		source := splitmix(v.Seed, v.K*v.T)
		for m, want := range map[Matrix]code{RFC5510: v.RFC5510, Rizzo: v.Rizzo, Backblaze: v.Backblaze} {
			t.Run(fmt.Sprintf("%v k=%d r=%d", m, v.K, v.R), func(t *testing.T) {
				e, err := NewEncoder(m, source, v.T)
				require.NoError(t, err)
				require.Equal(t, v.K, e.K())
				rows, parity := sha256.New(), sha256.New()
				for j := range v.R {
					var c [MaxSymbols]uint8
					e.code.coefficients(&c, m.point(v.K+j))
					rows.Write(c[:v.K])
					s := e.AppendSymbol(nil, uint32(v.K+j))
					parity.Write(s)
					if j < len(want.Matrix) {
						require.Equal(t, want.Matrix[j], hex.EncodeToString(c[:v.K]))
					}
					if j < len(want.Parity) {
						require.Equal(t, want.Parity[j], hex.EncodeToString(s))
					}
				}
				require.Equal(t, want.MatrixSHA256, hex.EncodeToString(rows.Sum(nil)))
				require.Equal(t, want.ParitySHA256, hex.EncodeToString(parity.Sum(nil)))
			})
		}
	}
}

// The Backblaze matrix is what package reedsolomon does by default.
func TestBackblazeIsReedsolomon(t *testing.T) {
	const k, r, size = 20, 9, 100
	source := splitmix(3, k*size)
	theirs, err := reedsolomon.New(k, r)
	require.NoError(t, err)
	shards := make([][]byte, k+r)
	for i := range shards {
		shards[i] = make([]byte, size)
		if i < k {
			copy(shards[i], source[i*size:])
		}
	}
	require.NoError(t, theirs.Encode(shards))
	e, err := NewEncoder(Backblaze, source, size)
	require.NoError(t, err)
	for i, s := range shards {
		require.Equal(t, s, e.AppendSymbol(nil, uint32(i)))
	}
}

func TestAnyKSymbolsDecode(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, m := range []Matrix{RFC5510, Rizzo, Backblaze} {
		for range 150 {
			k := 1 + rng.IntN(60)
			n := k + rng.IntN(MaxSymbols-k+1)
			size := 1 + rng.IntN(40)
			source := splitmix(rng.Uint64(), (k-1)*size+1+rng.IntN(size))
			e, err := NewEncoder(m, source, size)
			require.NoError(t, err)
			d, err := NewDecoder(m, k, size)
			require.NoError(t, err)
			for i, esi := range rng.Perm(n) {
				require.Equal(t, max(0, k-i), d.Need())
				require.Equal(t, i >= k, d.Decode())
				fresh, err := d.Add(uint32(esi), e.AppendSymbol(nil, uint32(esi)))
				require.NoError(t, err)
				require.Equal(t, i < k, fresh)
			}
			require.True(t, d.Decode())
			for i := range k {
				require.Equal(t, e.AppendSymbol(nil, uint32(i)), d.Symbol(i))
			}
		}
	}
}

// Many symbols at once are those that come one by one, of any length.
func TestAppendSymbols(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		k, size := 1+rng.IntN(60), 1+rng.IntN(200)
		e, err := NewEncoder(Matrix(rng.IntN(3)), splitmix(rng.Uint64(), (k-1)*size+1+rng.IntN(size)), size)
		require.NoError(t, err)
		first, n := uint32(rng.IntN(260)), rng.IntN(40)-2
		want := []byte{1, 2, 3}
		for esi := first; int(esi) < int(first)+n; esi++ {
			want = e.AppendSymbol(want, esi)
		}
		require.Equal(t, want, e.AppendSymbols([]byte{1, 2, 3}, first, n))
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		m    Matrix
		k, t int
	}{{3, 1, 1}, {RFC5510, 0, 1}, {RFC5510, 256, 1}, {RFC5510, 1, 0}, {RFC5510, -1, -1}} {
		_, err := NewDecoder(c.m, c.k, c.t)
		require.ErrorIs(t, err, ErrSize)
		_, err = NewEncoder(c.m, make([]byte, max(c.k, 0)), c.t)
		require.ErrorIs(t, err, ErrSize)
	}
	e, err := NewEncoder(RFC5510, make([]byte, 255), 1)
	require.NoError(t, err)
	require.Len(t, e.AppendSymbol(nil, 254), 1)
	require.Nil(t, e.AppendSymbol(nil, 255))
	require.Nil(t, e.AppendSymbol(nil, 1<<32-1))
}

func TestAddRefuses(t *testing.T) {
	d, err := NewDecoder(RFC5510, 3, 4)
	require.NoError(t, err)
	require.Equal(t, 3, d.K())
	require.Equal(t, 4, d.SymbolSize())
	for _, c := range []struct {
		esi    uint32
		length int
	}{{0, 0}, {0, 3}, {0, 5}, {2, 0}, {2, 5}, {3, 3}, {255, 4}, {1<<32 - 1, 4}} {
		_, err := d.Add(c.esi, make([]byte, c.length))
		require.ErrorIs(t, err, ErrSymbol)
	}
	fresh, err := d.Add(2, []byte{1, 2})
	require.NoError(t, err)
	require.True(t, fresh)
	require.Equal(t, []byte{1, 2, 0, 0}, d.Symbol(2))
	fresh, err = d.Add(2, []byte{1, 2, 0, 0})
	require.NoError(t, err)
	require.False(t, fresh)
	_, err = d.Add(2, []byte{1, 3})
	require.ErrorIs(t, err, ErrConflict)
	require.Nil(t, d.Symbol(-1))
	require.Nil(t, d.Symbol(0))
	require.Nil(t, d.Symbol(3))
	require.Equal(t, 2, d.Need())
}

func TestAppendSymbolDoesNotAllocate(t *testing.T) {
	e, err := NewEncoder(RFC5510, splitmix(1, 32*1344), 1344)
	require.NoError(t, err)
	buf := make([]byte, 0, 1344)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		e.AppendSymbol(buf, 40)
		e.AppendSymbol(buf, 4)
	}))
}

// Symbols are kept in few pieces of memory.
func TestAddHardlyAllocates(t *testing.T) {
	symbol := make([]byte, 256)
	require.LessOrEqual(t, testing.AllocsPerRun(20, func() {
		d, err := NewDecoder(RFC5510, 100, len(symbol))
		if err != nil {
			panic(err)
		}
		for esi := range uint32(100) {
			if _, err := d.Add(esi, symbol); err != nil {
				panic(err)
			}
		}
	}), 3.0)
}

// FuzzDecoder feeds a decoder what the script says: good symbols, repeated ones,
// and ones of any ESI and length. Good symbols alone must give the source.
func FuzzDecoder(f *testing.F) {
	f.Add(uint8(0), uint8(4), uint8(3), []byte{9, 8, 7, 6, 0, 1})
	f.Add(uint8(1), uint8(200), uint8(1), []byte{255, 0, 255})
	f.Fuzz(func(t *testing.T, matrix, k, size uint8, script []byte) {
		m := Matrix(matrix % 3)
		n, length := max(int(k)%64, 1), max(int(size)%32, 1)
		source := splitmix(uint64(k), n*length)
		e, err := NewEncoder(m, source, length)
		require.NoError(t, err)
		good, err := NewDecoder(m, n, length)
		require.NoError(t, err)
		hostile, err := NewDecoder(m, n, length)
		require.NoError(t, err)
		for i, b := range script {
			if b < MaxSymbols {
				_, err := good.Add(uint32(b), e.AppendSymbol(nil, uint32(b)))
				require.NoError(t, err)
			}
			hostile.Add(uint32(b)<<(i%24), script[i:min(len(script), i+length)])
			hostile.Decode()
		}
		if good.Decode() {
			for i := range n {
				require.Equal(t, source[i*length:(i+1)*length], good.Symbol(i))
			}
		} else {
			require.Positive(t, good.Need())
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for _, c := range [][2]int{{32, 8}, {100, 20}, {200, 55}} {
		b.Run(fmt.Sprintf("k=%d,r=%d", c[0], c[1]), func(b *testing.B) {
			source := splitmix(1, c[0]*1344)
			buf := make([]byte, 0, c[1]*1344)
			b.SetBytes(int64(len(source)))
			for b.Loop() {
				e, err := NewEncoder(RFC5510, source, 1344)
				if err != nil {
					b.Fatal(err)
				}
				e.AppendSymbols(buf, uint32(c[0]), c[1])
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range [][2]int{{32, 8}, {100, 20}, {200, 55}} {
		b.Run(fmt.Sprintf("k=%d,lost=%d", c[0], c[1]), func(b *testing.B) {
			e, err := NewEncoder(RFC5510, splitmix(1, c[0]*1344), 1344)
			if err != nil {
				b.Fatal(err)
			}
			var symbols [][]byte
			for i := range c[0] {
				symbols = append(symbols, e.AppendSymbol(nil, uint32(c[1]+i)))
			}
			b.SetBytes(int64(c[0] * 1344))
			for b.Loop() {
				d, err := NewDecoder(RFC5510, c[0], 1344)
				if err != nil {
					b.Fatal(err)
				}
				for i, s := range symbols {
					d.Add(uint32(c[1]+i), s)
				}
				if !d.Decode() {
					b.Fatal("not decoded")
				}
			}
		})
	}
}
