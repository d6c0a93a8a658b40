package gf2

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// rows are the values of a system whose solution is known.
type rows [][]byte

func (r rows) Set(dst []byte, row, from int) { copy(dst, r[row][from:]) }

// system draws a matrix and the values that a solution gives to its rows.
func system(rng *rand.Rand, columns, sparse, dense, t int) (m *Matrix, values rows, solution []byte) {
	m = NewMatrix(columns, sparse+dense, 0)
	solution = make([]byte, columns*t)
	for i := range solution {
		solution[i] = byte(rng.Uint32())
	}
	add := func(n int) {
		row := make([]uint32, 0, n)
		for _, c := range rng.Perm(columns)[:n] {
			row = append(row, uint32(c))
		}
		m.Append(row...)
		sum := make([]byte, t)
		for _, c := range row {
			for i := range sum {
				sum[i] ^= solution[int(c)*t+i]
			}
		}
		values = append(values, sum)
	}
	for range sparse {
		add(min(columns, 1+rng.IntN(4)+rng.IntN(2)*rng.IntN(columns)/4))
	}
	if dense > 0 {
		m.StartDense()
	}
	for range dense {
		add((columns + 1) / 2)
	}
	return m, values, solution
}

// rank is the plain elimination that the plan has to agree with.
func rank(m *Matrix) (rank int) {
	words := (m.Columns() + 63) / 64
	var echelon [][]uint64
	for r := range m.Rows() {
		v := make([]uint64, words)
		for _, c := range m.Row(r) {
			v[c/64] ^= 1 << (c % 64)
		}
		for _, e := range echelon {
			if at := firstBit(e); v[at/64]>>(at%64)&1 != 0 {
				xorWords(v, e)
			}
		}
		if firstBit(v) >= 0 {
			echelon = append(echelon, v)
		}
	}
	return len(echelon)
}

func TestSolve(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	solved, open := 0, 0
	rounds := 1200
	if testing.Short() {
		rounds = 400
	}
	for range rounds {
		columns := 1 + rng.IntN(90)
		m, values, solution := system(rng, columns, rng.IntN(2*columns+1), rng.IntN(8), 1+rng.IntN(20))
		size := len(solution) / columns
		p, need := NewPlan(m, 1<<20)
		deficit := columns - rank(m)
		if p == nil {
			require.Positive(t, need)
			require.LessOrEqual(t, need, max(deficit, 1))
			require.Positive(t, deficit)
			open++
			continue
		}
		require.Zero(t, deficit)
		solved++
		require.Len(t, p.Surplus(), m.Rows()-columns)
		got := make([]byte, len(solution))
		scratch := make([]byte, p.Scratch(size))
		for i := range got {
			got[i] = 0xaa
		}
		p.Run(got, size, values, scratch)
		require.Equal(t, solution, got)
		require.Positive(t, p.Size())
	}
	require.Greater(t, solved, rounds/6)
	require.Greater(t, open, rounds/6)
}

// Dense rows that share their columns are summed together.
func TestSharedRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	shared := 0
	for range 60 {
		columns := 100 + rng.IntN(300)
		dense := 1 + rng.IntN(20)
		m, values, solution := system(rng, columns, columns-dense/2, dense, 1+rng.IntN(70))
		p, _ := NewPlan(m, 1<<20)
		if p == nil {
			continue
		}
		size := len(solution) / columns
		got := make([]byte, len(solution))
		p.Run(got, size, values, make([]byte, p.Scratch(size)))
		require.Equal(t, solution, got)
		if len(p.shared.steps) > 0 {
			shared++
		}
	}
	require.Greater(t, shared, 5)
}

// Symbols longer than a strip, and elimination of hundreds of columns.
func TestStrips(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const columns = 300
	m, values, solution := system(rng, columns, 2*columns, 10, 5001)
	p, _ := NewPlan(m, 1<<20)
	require.NotNil(t, p)
	require.Less(t, strip(columns, 5001), 5001)
	got := make([]byte, len(solution))
	p.Run(got, 5001, values, make([]byte, p.Scratch(5001)))
	require.True(t, bytes.Equal(solution, got))
	scratch := make([]byte, p.Scratch(5001))
	var v Values = values
	require.Zero(t, testing.AllocsPerRun(3, func() { p.Run(got, 5001, v, scratch) }))
}

// When the bits do not suffice, more rows are asked for.
func TestBitsAreBounded(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	m := NewMatrix(300, 320, 0)
	for range 320 {
		row := make([]uint32, 0, 61)
		for _, c := range rng.Perm(300)[:61] {
			row = append(row, uint32(c))
		}
		m.Append(row...)
	}
	p, need := NewPlan(m, 301*10)
	require.Nil(t, p)
	require.Equal(t, 1, need)
	p, _ = NewPlan(m, 1<<20)
	require.NotNil(t, p)
}
