package raptorq

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec/internal/gf256"
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

func load(t testing.TB, name string, v any) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, v))
}

type vector struct {
	K, T   int
	Seed   uint64
	Repair []struct {
		ESI uint32
		Hex string
	}
	SHA256 []struct {
		FirstESI uint32 `json:"first_esi"`
		Count    uint32
		SHA256   string
	}
	Params map[string]int
}

func loadVectors(t testing.TB) []vector {
	var f struct{ Vectors []vector }
	load(t, "rfc6330_vectors.json", &f)
	require.Len(t, f.Vectors, 45)
	return f.Vectors
}

type internals struct {
	Tuples       [][]any
	Intermediate block
	Padded       block    `json:"intermediate_padded"`
	A10          []string `json:"A_first_S_plus_H_rows_Kprime10"`
	A49          string   `json:"A_first_S_plus_H_rows_Kprime49_sha256"`
	Singular     struct {
		K10, K32 struct {
			Scanned [2]uint32
			Bad     [][2]uint32
		}
	}
	Checksums struct {
		V0   string `json:"V0_sha256_le_u32"`
		V1   string `json:"V1_sha256_le_u32"`
		V2   string `json:"V2_sha256_le_u32"`
		V3   string `json:"V3_sha256_le_u32"`
		SumK int    `json:"sum_Kprime"`
		SumJ int    `json:"sum_J"`
		SumS int    `json:"sum_S"`
		SumH int    `json:"sum_H"`
		SumW int    `json:"sum_W"`
	}
}

type block struct {
	K, T   int
	Source string
	C      []string
	Repair map[string]string
}

func loadInternals(t testing.TB) *internals {
	v := new(internals)
	load(t, "rfc6330_internals.json", v)
	return v
}

func TestTables(t *testing.T) {
	sums := loadInternals(t).Checksums
	for i, want := range []string{sums.V0, sums.V1, sums.V2, sums.V3} {
		var b []byte
		for _, v := range randTable[i] {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		h := sha256.Sum256(b)
		require.Equal(t, want, hex.EncodeToString(h[:]))
	}
	var k, j, s, h, w int
	for _, r := range systematicTable {
		k += int(r.kp)
		j += int(r.j)
		s += int(r.s)
		h += int(r.h)
		w += int(r.w)
	}
	require.Equal(t, []int{sums.SumK, sums.SumJ, sums.SumS, sums.SumH, sums.SumW}, []int{k, j, s, h, w})
}

func TestParams(t *testing.T) {
	for _, v := range loadVectors(t) {
		p := lookup(v.K)
		require.Equal(t, v.Params, map[string]int{
			"Kprime": p.kp, "J": int(p.j), "S": p.s, "H": p.h, "W": p.w, "L": p.l, "P": p.p, "P1": p.p1,
		})
	}
	require.Equal(t, 10, lookup(1).kp)
	require.Equal(t, MaxK, lookup(MaxK).kp)
}

// P1 is P itself when P is prime.
func TestFirstPrimeNotBelowP(t *testing.T) {
	equal := 0
	for _, r := range systematicTable {
		p := lookup(int(r.kp))
		require.True(t, prime(p.p1))
		require.GreaterOrEqual(t, p.p, p.h)
		if p.p1 == p.p {
			equal++
		}
	}
	require.Equal(t, 99, equal)
}

func TestTuples(t *testing.T) {
	for _, row := range loadInternals(t).Tuples {
		n := func(i int) uint32 { return uint32(row[i].(float64)) }
		p := lookup(int(n(0)))
		require.Equal(t, tuple{d: n(2), a: n(3), b: n(4), d1: n(5), a1: n(6), b1: n(7)}, p.tuple(n(1)))
		var want []uint16
		for _, c := range row[8].([]any) {
			want = append(want, uint16(c.(float64)))
		}
		require.ElementsMatch(t, want, p.appendColumns(nil, n(1)))
	}
}

// constraints returns the first S+H rows of the matrix A, one octet per entry.
func constraints(p *params) []byte {
	a := make([]byte, (p.s+p.h)*p.l)
	var m rows
	m.build(p, nil)
	for r := range p.s {
		for _, c := range m.row(r) {
			a[r*p.l+int(c)] ^= 1
		}
	}
	// Each HDPC column is alpha times its right neighbour plus MT's column.
	hdpc := func(h, c int) *byte { return &a[(p.s+h)*p.l+c] }
	last := p.kp + p.s - 1
	for h := range p.h {
		*hdpc(h, last) = gf256.Exp(h)
		*hdpc(h, p.kp+p.s+h) = 1
	}
	for c := last - 1; c >= 0; c-- {
		for h := range p.h {
			*hdpc(h, c) = gf256.Mul(2, *hdpc(h, c+1))
		}
		h1, h2 := p.hdpcPair(c)
		*hdpc(h1, c) ^= 1
		*hdpc(h2, c) ^= 1
	}
	return a
}

func TestConstraintMatrix(t *testing.T) {
	v := loadInternals(t)
	p := lookup(10)
	a := constraints(&p)
	for r, want := range v.A10 {
		require.Equal(t, want, hex.EncodeToString(a[r*p.l:(r+1)*p.l]), "row %d", r)
	}
	p = lookup(49)
	sum := sha256.Sum256(constraints(&p))
	require.Equal(t, v.A49, hex.EncodeToString(sum[:]))
}

func TestIntermediateSymbols(t *testing.T) {
	v := loadInternals(t)
	for _, b := range []block{v.Intermediate, v.Padded} {
		source, err := hex.DecodeString(b.Source)
		require.NoError(t, err)
		e, err := NewEncoder(source, b.T)
		require.NoError(t, err)
		require.Equal(t, b.K, e.K())
		var sc scratch
		all := new(Codec).code(&e.params).plan.intermediate(e.vals, b.T, &sc)
		for i, want := range b.C {
			require.Equal(t, want, hex.EncodeToString(all[i*gf256.Unit:i*gf256.Unit+b.T]), "C[%d]", i)
		}
		for key, want := range b.Repair {
			esi, err := strconv.Atoi(key)
			require.NoError(t, err)
			require.Equal(t, want, hex.EncodeToString(e.AppendSymbol(nil, uint32(esi))))
		}
	}
}

// Every way to the symbols gives those of the vectors.
func TestRepairVectors(t *testing.T) {
	codecs := []*Codec{{}, {Regime: Dense}, {Regime: Sparse}}
	best := gf256.Kernel()
	eachKernel(t, func(t *testing.T) {
		for _, v := range loadVectors(t) {
			if gf256.Kernel() != best && v.K > 1000 && !*long {
				continue
			}
			source := splitmix(v.Seed, v.K*v.T)
			for _, codec := range codecs {
				e, err := codec.NewEncoder(source, v.T)
				require.NoError(t, err)
				for _, r := range v.Repair {
					require.Equal(t, r.Hex, hex.EncodeToString(e.AppendSymbol(nil, r.ESI)), "K %d ESI %d", v.K, r.ESI)
				}
				for _, s := range v.SHA256 {
					require.NoError(t, e.Reset(source, v.T))
					sum := sha256.Sum256(e.AppendRepair(nil, s.FirstESI, int(s.Count)))
					require.Equal(t, s.SHA256, hex.EncodeToString(sum[:]), "K %d from ESI %d", v.K, s.FirstESI)
				}
			}
		}
	})
}

// The K consecutive repair symbols from some ESIs on do not determine the block:
// the decoder must ask for more, and one more must do.
func TestSingularSets(t *testing.T) {
	v := loadInternals(t).Singular
	for k, set := range map[int]struct {
		Scanned [2]uint32
		Bad     [][2]uint32
	}{10: v.K10, 32: v.K32} {
		source := splitmix(1, k*4)
		e, err := NewEncoder(source, 4)
		require.NoError(t, err)
		var bad [][2]uint32
		for first := set.Scanned[0]; first < set.Scanned[1]; first++ {
			d, err := NewDecoder(k, 4)
			require.NoError(t, err)
			esi := first
			for ; esi < first+uint32(k); esi++ {
				require.False(t, d.Decode())
				_, err := d.Add(esi, e.AppendSymbol(nil, esi))
				require.NoError(t, err)
			}
			if !d.Decode() {
				require.Equal(t, 1, d.Need())
				_, err := d.Add(esi, e.AppendSymbol(nil, esi))
				require.NoError(t, err)
				result := uint32(0)
				if d.Decode() {
					result = 1
				}
				bad = append(bad, [2]uint32{first, result})
			}
			for i := range k {
				require.Equal(t, source[4*i:4*i+4], d.Symbol(i))
			}
		}
		require.Equal(t, set.Bad, bad)
	}
}
