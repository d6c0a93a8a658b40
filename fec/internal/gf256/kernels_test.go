package gf256

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// eachKernel runs a test with every implementation of this processor.
func eachKernel(t *testing.T, test func(t *testing.T)) {
	names := Kernels()
	t.Cleanup(func() { Select(names[len(names)-1]) })
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			Select(name)
			test(t)
		})
	}
}

func fill(rng *rand.Rand, b []byte) []byte {
	for i := range b {
		b[i] = uint8(rng.Uint32())
	}
	return b
}

// sizes are the lengths of vectors that the implementations must agree on.
func sizes() []int {
	var n []int
	for i := 1; i <= 300; i++ {
		n = append(n, i)
	}
	return append(n, 1280, 1316, 9000, 65535)
}

// Every length, every start and the octets around are treated right.
func TestAddMul(t *testing.T) {
	eachKernel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 1))
		for _, n := range sizes() {
			at, from := rng.IntN(65), rng.IntN(65)
			buf, src := fill(rng, make([]byte, n+130)), fill(rng, make([]byte, n+130))
			c, d := uint8(rng.IntN(256)), uint8(rng.IntN(256))
			want := slices.Clone(buf)
			for i := range n {
				want[at+i] = Mul(d, want[at+i]) ^ Mul(c, src[from+i]) ^ src[from+i]
			}
			Scale(buf[at:at+n], d)
			AddMul(buf[at:at+n], src[from:from+n], c)
			Add(buf[at:at+n], src[from:from+n])
			require.True(t, bytes.Equal(want, buf), "%d octets", n)
		}
	})
}

func TestAddMulConstants(t *testing.T) {
	eachKernel(t, func(t *testing.T) {
		var all, dst, want [256]byte
		for i := range all {
			all[i] = uint8(i)
		}
		for c := range 256 {
			AddMul(dst[:], all[:], uint8(c))
			for i := range want {
				want[i] ^= Mul(uint8(c), uint8(i))
			}
			require.Equal(t, want, dst)
			Scale(dst[:], uint8(c))
			for i := range want {
				want[i] = Mul(uint8(c), want[i])
			}
			require.Equal(t, want, dst)
		}
	})
}

func TestAddWords(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for n := range 40 {
		dst, src, want := make([]uint64, n), make([]uint64, n), make([]uint64, n)
		for i := range dst {
			dst[i], src[i] = rng.Uint64(), rng.Uint64()
			want[i] = dst[i] ^ src[i]
		}
		AddWords(dst, src)
		require.Equal(t, want, dst)
	}
}

func TestProduct(t *testing.T) {
	eachKernel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(2, 1))
		for trial := range 400 {
			outputs, inputs := trial%27, rng.IntN(20)
			size := Unit * (1 + rng.IntN(1+rng.IntN(22)))
			off := rng.IntN(200)
			stride := outputs + rng.IntN(5)
			coef := fill(rng, make([]byte, inputs*stride+outputs))
			vectors := func(n int) (p []*byte, b [][]byte) {
				for range n {
					v := fill(rng, make([]byte, off+size+64+rng.IntN(64)))
					b, p = append(b, v), append(p, &v[0])
				}
				return p, b
			}
			in, inOctets := vectors(inputs)
			out, outOctets := vectors(outputs)
			add := rng.IntN(2) == 0
			var want [][]byte
			for j, b := range outOctets {
				w := slices.Clone(b)
				for k := off; k < off+size; k++ {
					if !add {
						w[k] = 0
					}
					for i := range in {
						w[k] ^= Mul(coef[i*stride+j], inOctets[i][k])
					}
				}
				want = append(want, w)
			}
			Product(out, in, coef, stride, off, size, add)
			for j, w := range want {
				require.True(t, bytes.Equal(w, outOctets[j]), "%d outputs, %d inputs, %d octets", outputs, inputs, size)
			}
		}
	})
}

func TestProgram(t *testing.T) {
	eachKernel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 1))
		for _, width := range []int{64, 128, 256} {
			const columns, values = 50, 20
			for range 50 {
				slab := fill(rng, make([]byte, columns*width))
				off := rng.IntN(3) * 5
				vals, valOctets := make([]*byte, values), make([][]byte, values)
				for i := range vals {
					valOctets[i] = fill(rng, make([]byte, off+width))
					vals[i] = &valOctets[i][0]
				}
				want := slices.Clone(slab)
				b := NewBuilder(nil)
				n := rng.IntN(14)
				for range 100 {
					if rng.IntN(3) == 0 {
						n = rng.IntN(14)
					}
					dst, value := uint16(rng.IntN(columns)), rng.IntN(values+5)-5
					var cols []uint16
					sum := make([]byte, width)
					if value >= 0 {
						copy(sum, valOctets[value][off:])
					}
					for range n {
						c := uint16(rng.IntN(columns))
						cols = append(cols, c)
						Add(sum, column(want, c, width))
					}
					copy(column(want, dst, width), sum)
					b.Add(dst, value, cols)
				}
				b.Program().Run(slab, width, vals, off)
				require.True(t, bytes.Equal(want, slab))
			}
		}
	})
}

func TestProgramOps(t *testing.T) {
	b := NewBuilder(nil)
	want := []Op{
		{Dst: 3, Value: 7, Cols: []uint16{1, 2}}, {Dst: 4, Value: 0, Cols: []uint16{5, 6}},
		{Dst: 3, Value: -1, Cols: []uint16{1, 2}}, {Dst: 1, Value: -1, Cols: []uint16{}},
	}
	for _, op := range want {
		b.Add(op.Dst, int(op.Value), op.Cols)
	}
	var got []Op
	b.Program().Ops(func(op Op) { got = append(got, op) })
	require.Equal(t, want, got)

	long := NewBuilder(nil)
	for range 70000 {
		long.Add(1, -1, []uint16{2})
	}
	n := 0
	long.Program().Ops(func(Op) { n++ })
	require.Equal(t, 70000, n)
}

func TestGatherScatter(t *testing.T) {
	eachKernel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(4, 1))
		for _, width := range []int{64, 128, 256} {
			slab := fill(rng, make([]byte, 40*width))
			for n := 1; n < 20; n++ {
				cols := make([]uint16, n)
				sum := make([]byte, width)
				for i := range cols {
					cols[i] = uint16(rng.IntN(40))
					Add(sum, column(slab, cols[i], width))
				}
				dst := fill(rng, make([]byte, width+3))
				tail := slices.Clone(dst[width:])
				Gather(dst, slab, cols, width)
				require.True(t, bytes.Equal(append(sum, tail...), dst))

				want := slices.Clone(slab)
				for _, c := range cols {
					Add(column(want, c, Unit), dst[:Unit])
				}
				Scatter(slab, dst, cols)
				require.True(t, bytes.Equal(want, slab))
			}
		}
	})
}

func TestCollect(t *testing.T) {
	eachKernel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(6, 1))
		for _, width := range []int{64, 128, 256} {
			for n := range 40 {
				off := rng.IntN(100)
				var vals []*byte
				var want []byte
				for range n {
					b := fill(rng, make([]byte, off+width))
					vals = append(vals, &b[0])
					want = append(want, b[off:]...)
				}
				dst := fill(rng, make([]byte, n*width+5))
				want = append(want, dst[n*width:]...)
				Collect(dst, vals, off, width)
				require.True(t, bytes.Equal(want, dst))
			}
		}
	})
}

func TestStream(t *testing.T) {
	eachKernel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(5, 1))
		for _, width := range []int{64, 128, 256} {
			for n := range 30 {
				slab := fill(rng, make([]byte, (n+1+16+1)*width))
				pairs := make([]uint8, 2*n)
				for i := range pairs {
					pairs[i] = uint8(rng.IntN(16))
				}
				want := slices.Clone(slab)
				y := make([]byte, width)
				for i := range n + 1 {
					for k := range y {
						y[k] = Mul(2, y[k]) ^ want[i*width+k]
					}
					if i < n {
						Add(column(want, uint16(n+1)+uint16(pairs[2*i]), width), y)
						Add(column(want, uint16(n+1)+uint16(pairs[2*i+1]), width), y)
					}
				}
				copy(column(want, uint16(n+17), width), y)
				Stream(slab, width, n+1, pairs, n+17)
				require.True(t, bytes.Equal(want, slab))
			}
		}
	})
}

// All implementations give the octets of the plain one.
func FuzzKernels(f *testing.F) {
	f.Add(uint64(1), uint16(1280), uint8(8), uint8(20))
	f.Add(uint64(2), uint16(63), uint8(13), uint8(3))
	names := Kernels()
	f.Cleanup(func() { Select(names[len(names)-1]) })
	f.Fuzz(func(t *testing.T, seed uint64, length uint16, outputs, inputs uint8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n, at := int(length)%4097, rng.IntN(64)
		dst, src := fill(rng, make([]byte, n+64)), fill(rng, make([]byte, n+64))
		width := Unit << rng.IntN(3)
		columns, sums := 4+int(inputs)%60, int(outputs)%30
		slab := fill(rng, make([]byte, columns*width))
		coef := fill(rng, make([]byte, columns*max(sums, 1)))
		b := NewBuilder(nil)
		for range sums {
			cols := make([]uint16, rng.IntN(12))
			for i := range cols {
				cols[i] = uint16(rng.IntN(columns))
			}
			b.Add(uint16(rng.IntN(columns)), rng.IntN(columns+1)-1, cols)
		}
		prog := b.Program()
		var want [][]byte
		for i, name := range names {
			Select(name)
			a, s, out := slices.Clone(dst), slices.Clone(slab), make([]byte, sums*width)
			AddMul(a[at:at+n], src[at:at+n], uint8(seed))
			Scale(a[at:at+n], uint8(seed>>8))
			var in, sum []*byte
			for c := range columns {
				in = append(in, &slab[c*width])
			}
			for j := range sums {
				sum = append(sum, &out[j*width])
			}
			Product(sum, in, coef, sums, 0, width, seed&1 == 0)
			prog.Run(s, width, in, 0)
			if i == 0 {
				want = [][]byte{a, s, out}
			} else {
				for k, b := range [][]byte{a, s, out} {
					require.True(t, bytes.Equal(want[k], b), "%s, part %d", name, k)
				}
			}
		}
	})
}

func BenchmarkProduct(b *testing.B) {
	for _, name := range Kernels() {
		for _, shape := range [][2]int{{32, 8}, {100, 20}, {250, 12}} {
			b.Run(fmt.Sprintf("%s/%dx%d", name, shape[0], shape[1]), func(b *testing.B) {
				Select(name)
				const size = 1280
				vectors := func(n int) (p []*byte) {
					buf := make([]byte, n*size)
					for i := range n {
						p = append(p, &buf[i*size])
					}
					return p
				}
				in, out := vectors(shape[0]), vectors(shape[1])
				coef := fill(rand.New(rand.NewPCG(1, 1)), make([]byte, shape[0]*shape[1]))
				b.SetBytes(int64(shape[0] * size))
				for b.Loop() {
					Product(out, in, coef, shape[1], 0, size, false)
				}
			})
		}
	}
}

func BenchmarkAddMul(b *testing.B) {
	for _, name := range Kernels() {
		for _, size := range []int{16, 64, 1280, 1316} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				Select(name)
				dst, src := make([]byte, size), make([]byte, size)
				b.SetBytes(int64(size))
				for b.Loop() {
					AddMul(dst, src, 77)
				}
			})
		}
	}
}
