package gf256

//go:generate env GOWORK=off go -C _gen run . -out ..

import (
	"crypto/subtle"
	"fmt"
	"slices"
	"unsafe"
)

// kernel names an implementation of the vector functions.
type kernel uint8

const (
	generic kernel = iota
	avx2
	avx512 // with GFNI
	neon
)

var kernelNames = map[kernel]string{generic: "go", avx2: "avx2", avx512: "avx512+gfni", neon: "neon"}

// available lists what this processor can run, the best last.
var available = detect()

var active = available[len(available)-1]

// Kernels returns the names of the implementations that this processor can
// run, the one used by default last.
func Kernels() []string {
	var names []string
	for _, k := range available {
		names = append(names, kernelNames[k])
	}
	return names
}

// Kernel returns the name of the implementation in use.
func Kernel() string { return kernelNames[active] }

// Select makes all functions use the named implementation, one of [Kernels].
// It is for tests and measurements and must not be called while another
// goroutine computes.
func Select(name string) {
	i := slices.Index(Kernels(), name)
	if i < 0 {
		panic(fmt.Sprintf("gf256: no kernel %q", name))
	}
	active = available[i]
}

// Unit is the granularity of strips: kernels work on multiples of Unit octets.
const Unit = 64

// nibbles[c] are the products of c with the 16 values of a low nibble and with
// those of a high one.
var nibbles = makeNibbles()

func makeNibbles() (t [256][32]uint8) {
	for c := range t {
		for i := range uint8(16) {
			t[c][i] = Mul(uint8(c), i)
			t[c][16+i] = Mul(uint8(c), i<<4)
		}
	}
	return t
}

// Add adds src to dst, which have one length.
func Add(dst, src []byte) {
	subtle.XORBytes(dst, dst, src)
}

// AddWords adds src to dst, which have one length.
func AddWords(dst, src []uint64) {
	if len(dst) < 8 {
		for i, x := range src[:len(dst)] {
			dst[i] ^= x
		}
		return
	}
	d := unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), 8*len(dst))
	s := unsafe.Slice((*byte)(unsafe.Pointer(&src[0])), 8*len(src))
	subtle.XORBytes(d, d, s)
}

// AddMul adds c*src to dst, which have one length.
func AddMul(dst, src []byte, c uint8) {
	switch c {
	case 0:
	case 1:
		Add(dst, src)
	default:
		multiply(dst, src, c, true)
	}
}

// Scale multiplies dst by c.
func Scale(dst []byte, c uint8) {
	if c != 1 {
		multiply(dst, dst, c, false)
	}
}

// multiply computes c*src, added to dst or in its place.
func multiply(dst, src []byte, c uint8, add bool) {
	src = src[:len(dst)]
	if active == generic {
		multiplyGeneric(dst, src, c, add)
		return
	}
	n := len(dst) &^ (Unit - 1)
	if n > 0 {
		mul(&dst[0], &src[0], n, c, add)
	}
	if n < len(dst) {
		var a, b [Unit]byte
		copy(a[:], dst[n:])
		copy(b[:], src[n:])
		mul(&a[0], &b[0], Unit, c, add)
		copy(dst[n:], a[:])
	}
}

func multiplyGeneric(dst, src []byte, c uint8, add bool) {
	low, high := (*[16]uint8)(nibbles[c][:16]), (*[16]uint8)(nibbles[c][16:])
	if add {
		for i, x := range src {
			dst[i] ^= low[x&15] ^ high[x>>4]
		}
		return
	}
	for i, x := range src {
		dst[i] = low[x&15] ^ high[x>>4]
	}
}

// Product multiplies a matrix with vectors of size octets, a multiple of Unit:
// out[j] becomes, or with add is increased by, the sum over i of
// coef[i*stride+j] * in[i]. All vectors start off octets behind the pointers.
// Outputs must not overlap inputs.
//
// All the sums of a few octets are formed in registers, so that an input is
// read once for many outputs and an output is written once.
func Product(out, in []*byte, coef []byte, stride, off, size int, add bool) {
	if len(out) == 0 || size == 0 {
		return
	}
	if len(in) == 0 {
		if !add {
			for _, p := range out {
				clear(Octets(p, off, size))
			}
		}
		return
	}
	_ = coef[(len(in)-1)*stride+len(out)-1]
	if active == generic {
		for j, p := range out {
			dst := Octets(p, off, size)
			if !add {
				clear(dst)
			}
			for i, q := range in {
				AddMul(dst, Octets(q, off, size), coef[i*stride+j])
			}
		}
		return
	}
	sum := 0
	if add {
		sum = 1
	}
	for j := 0; j < len(out); {
		// Groups of about one size load the inputs least often.
		groups := (len(out) - j + maxOutputs() - 1) / maxOutputs()
		n := (len(out) - j + groups - 1) / groups
		product(n, &in[0], len(in), &coef[j], stride, &out[j], off, size, sum)
		j += n
	}
}

// Octets returns the n octets that start off octets behind p.
func Octets(p *byte, off, n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(p), off)), n)
}

// Gather sets the first width octets of dst to the sum of columns of a slab,
// the strips of width octets, which is 64, 128 or 256. There must be a column.
func Gather(dst, slab []byte, cols []uint16, width int) {
	_, _ = dst[width-1], cols[0]
	if active == generic {
		dst = dst[:width]
		clear(dst)
		for _, c := range cols {
			Add(dst, column(slab, c, width))
		}
		return
	}
	gather(&dst[0], &slab[0], &cols[0], len(cols), width)
}

// Collect copies the strips of width octets that start off octets behind the
// pointers to lie one behind the other in dst.
func Collect(dst []byte, vals []*byte, off, width int) {
	if len(vals) == 0 {
		return
	}
	_ = dst[len(vals)*width-1]
	if active == generic {
		for i, p := range vals {
			copy(dst[i*width:], Octets(p, off, width))
		}
		return
	}
	collect(&dst[0], &vals[0], len(vals), off, width)
}

// Scatter adds the first 64 octets of src to columns of a slab of strips of 64
// octets.
func Scatter(slab, src []byte, cols []uint16) {
	src = src[:Unit]
	if len(cols) == 0 {
		return
	}
	if active == generic {
		for _, c := range cols {
			Add(column(slab, c, Unit), src)
		}
		return
	}
	scatter(&src[0], &slab[0], &cols[0], len(cols))
}

// Stream computes the running sum y = 2*y + column over the columns 0 to
// len(pairs)/2 of a slab with strips of width octets. After each column but
// the last it adds y to the two columns acc+pairs[2*i] and acc+pairs[2*i+1]; at
// the end it puts y in column last.
func Stream(slab []byte, width, acc int, pairs []uint8, last int) {
	if active == generic || len(pairs) == 0 {
		y := column(slab, uint16(last), width)
		clear(y)
		for i := range len(pairs)/2 + 1 {
			Scale(y, 2)
			Add(y, column(slab, uint16(i), width))
			if i < len(pairs)/2 {
				Add(column(slab, uint16(acc+int(pairs[2*i])), width), y)
				Add(column(slab, uint16(acc+int(pairs[2*i+1])), width), y)
			}
		}
		return
	}
	stream(&slab[0], &slab[acc*width], &pairs[0], len(pairs)/2, &slab[last*width], width)
}

func column(slab []byte, c uint16, width int) []byte {
	return slab[int(c)*width : (int(c)+1)*width]
}
