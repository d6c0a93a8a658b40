package reassembly

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// model is the same set, octet by octet.
type model [256]bool

func (m *model) add(start, end int64) (n int64) {
	for i := start; i < end; i++ {
		if !m[i] {
			m[i] = true
			n++
		}
	}
	return n
}

func (m *model) ranges(from, to int64, want bool) (out []Range) {
	for i := from; i < to; i++ {
		if m[i] != want {
			continue
		}
		if n := len(out); n > 0 && out[n-1].End == i {
			out[n-1].End++
		} else {
			out = append(out, Range{i, i + 1})
		}
	}
	return out
}

func check(t *testing.T, s *Set, m *model, a, b int64) {
	t.Helper()
	require.Equal(t, append([]Range{}, m.ranges(0, 256, true)...), append([]Range{}, s.All()...))
	var total int64
	for _, r := range s.All() {
		total += r.Len()
	}
	require.Equal(t, total, s.Total())
	require.Equal(t, append([]Range{}, m.ranges(a, b, false)...), s.AppendMissing([]Range{}, a, b))
	require.Equal(t, len(m.ranges(a, b, false)) == 0, s.Contains(a, b))
	missing := a
	for missing < 256 && m[missing] {
		missing++
	}
	require.Equal(t, missing, s.Missing(a))
	next, ok := s.Next(a, b)
	in := m.ranges(a, b, true)
	require.Equal(t, len(in) > 0, ok)
	if ok {
		require.Equal(t, in[0], next)
	}
	var prefix int64
	for prefix < 256 && m[prefix] {
		prefix++
	}
	require.Equal(t, prefix, s.Prefix())
}

func script(t *testing.T, ops []byte) {
	var s Set
	var m model
	for len(ops) >= 3 {
		a, b := int64(min(ops[1], ops[2])), int64(max(ops[1], ops[2]))
		if ops[0] >= 200 && ops[0] < 220 {
			s.Remove(a, b)
			for i := a; i < b; i++ {
				m[i] = false
			}
		} else if ops[0] == 255 {
			s.Truncate(a)
			for i := a; i < 256; i++ {
				m[i] = false
			}
		} else {
			require.Equal(t, m.add(a, b), s.Add(a, b))
		}
		check(t, &s, &m, a, b)
		ops = ops[3:]
	}
}

func TestSet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		ops := make([]byte, 90)
		for i := range ops {
			ops[i] = byte(r.Uint32())
		}
		for i := 0; i < len(ops); i += 3 {
			if ops[i] != 255 { // mostly short ranges, so that holes remain
				ops[i+2] = min(255, ops[i+1]) + min(255-ops[i+1], ops[i+2]&15)
			}
		}
		script(t, ops)
	}
}

func FuzzSet(f *testing.F) {
	f.Add([]byte{0, 10, 90, 200, 20, 30, 201, 5, 12, 200, 0, 255})
	f.Add([]byte{0, 10, 20, 0, 30, 40, 0, 20, 30, 255, 25, 0})
	f.Fuzz(func(t *testing.T, ops []byte) {
		script(t, ops[:min(len(ops), 300)])
	})
}

func TestAddInOrderAllocatesOnce(t *testing.T) {
	var s Set
	s.Add(0, 1)
	next := int64(1)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		s.Add(next, next+1400)
		next += 1400
	}))
}
