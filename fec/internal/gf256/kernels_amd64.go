//go:build !purego

package gf256

import "github.com/klauspost/cpuid/v2"

func detect() []kernel {
	have := []kernel{generic}
	if cpuid.CPU.Supports(cpuid.AVX2) {
		have = append(have, avx2)
	}
	if cpuid.CPU.Supports(cpuid.AVX2, cpuid.AVX512F, cpuid.GFNI) {
		have = append(have, avx512)
	}
	return have
}

// matrices[c] is multiplication by c as a matrix of bits for GF2P8AFFINEQB,
// which works in any field: row i gives bit 7-i.
var matrices = makeMatrices()

func makeMatrices() (t [256]uint64) {
	for c := range t {
		for in := range 8 {
			p := Mul(uint8(c), 1<<in)
			for out := range 8 {
				t[c] |= uint64(p>>out&1) << (8*(7-out) + in)
			}
		}
	}
	return t
}

// maxOutputs is the most outputs that product forms at once.
func maxOutputs() int {
	if active == avx512 {
		return 12
	}
	return 8
}

func product(outputs int, in **byte, n int, coef *byte, stride int, out **byte, off, size, add int) {
	if active == avx512 {
		switch outputs {
		case 1:
			product1AVX512(in, n, coef, stride, out, off, size, add)
		case 2:
			product2AVX512(in, n, coef, stride, out, off, size, add)
		case 3:
			product3AVX512(in, n, coef, stride, out, off, size, add)
		case 4:
			product4AVX512(in, n, coef, stride, out, off, size, add)
		case 5:
			product5AVX512(in, n, coef, stride, out, off, size, add)
		case 6:
			product6AVX512(in, n, coef, stride, out, off, size, add)
		case 7:
			product7AVX512(in, n, coef, stride, out, off, size, add)
		case 8:
			product8AVX512(in, n, coef, stride, out, off, size, add)
		case 9:
			product9AVX512(in, n, coef, stride, out, off, size, add)
		case 10:
			product10AVX512(in, n, coef, stride, out, off, size, add)
		case 11:
			product11AVX512(in, n, coef, stride, out, off, size, add)
		case 12:
			product12AVX512(in, n, coef, stride, out, off, size, add)
		}
		return
	}
	switch outputs {
	case 1:
		product1AVX2(in, n, coef, stride, out, off, size, add)
	case 2:
		product2AVX2(in, n, coef, stride, out, off, size, add)
	case 3:
		product3AVX2(in, n, coef, stride, out, off, size, add)
	case 4:
		product4AVX2(in, n, coef, stride, out, off, size, add)
	case 5:
		product5AVX2(in, n, coef, stride, out, off, size, add)
	case 6:
		product6AVX2(in, n, coef, stride, out, off, size, add)
	case 7:
		product7AVX2(in, n, coef, stride, out, off, size, add)
	case 8:
		product8AVX2(in, n, coef, stride, out, off, size, add)
	}
}

func mul(dst, src *byte, size int, c uint8, add bool) {
	if active == avx512 {
		if add {
			addMulAVX512(dst, src, size, c)
		} else {
			mulAVX512(dst, src, size, c)
		}
		return
	}
	if add {
		addMulAVX2(dst, src, size, c)
	} else {
		mulAVX2(dst, src, size, c)
	}
}

func run(prog *uint16, slab *byte, vals **byte, off, width int) {
	if active == avx512 {
		switch width {
		case 64:
			program64AVX512(prog, slab, vals, off)
		case 128:
			program128AVX512(prog, slab, vals, off)
		case 256:
			program256AVX512(prog, slab, vals, off)
		}
		return
	}
	switch width {
	case 64:
		program64AVX2(prog, slab, vals, off)
	case 128:
		program128AVX2(prog, slab, vals, off)
	case 256:
		program256AVX2(prog, slab, vals, off)
	}
}

func gather(dst, slab *byte, cols *uint16, n, width int) {
	if active == avx512 {
		switch width {
		case 64:
			gather64AVX512(dst, slab, cols, n)
		case 128:
			gather128AVX512(dst, slab, cols, n)
		case 256:
			gather256AVX512(dst, slab, cols, n)
		}
		return
	}
	switch width {
	case 64:
		gather64AVX2(dst, slab, cols, n)
	case 128:
		gather128AVX2(dst, slab, cols, n)
	case 256:
		gather256AVX2(dst, slab, cols, n)
	}
}

func collect(dst *byte, vals **byte, n, off, width int) {
	if active == avx512 {
		switch width {
		case 64:
			collect64AVX512(dst, vals, n, off)
		case 128:
			collect128AVX512(dst, vals, n, off)
		case 256:
			collect256AVX512(dst, vals, n, off)
		}
		return
	}
	switch width {
	case 64:
		collect64AVX2(dst, vals, n, off)
	case 128:
		collect128AVX2(dst, vals, n, off)
	case 256:
		collect256AVX2(dst, vals, n, off)
	}
}

func stream(slab, acc *byte, pairs *uint8, n int, last *byte, width int) {
	if active == avx512 {
		switch width {
		case 64:
			stream64AVX512(slab, acc, pairs, n, last)
		case 128:
			stream128AVX512(slab, acc, pairs, n, last)
		case 256:
			stream256AVX512(slab, acc, pairs, n, last)
		}
		return
	}
	switch width {
	case 64:
		stream64AVX2(slab, acc, pairs, n, last)
	case 128:
		stream128AVX2(slab, acc, pairs, n, last)
	case 256:
		stream256AVX2(slab, acc, pairs, n, last)
	}
}

func scatter(src, slab *byte, cols *uint16, n int) {
	if active == avx512 {
		scatter64AVX512(src, slab, cols, n)
		return
	}
	scatter64AVX2(src, slab, cols, n)
}

//go:noescape
func product1AVX2(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product2AVX2(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product3AVX2(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product4AVX2(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product5AVX2(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product6AVX2(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product7AVX2(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product8AVX2(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func addMulAVX2(dst, src *byte, size int, c uint8)

//go:noescape
func mulAVX2(dst, src *byte, size int, c uint8)

//go:noescape
func program64AVX2(prog *uint16, slab *byte, vals **byte, off int)

//go:noescape
func collect64AVX2(dst *byte, vals **byte, n, off int)

//go:noescape
func gather64AVX2(dst, slab *byte, cols *uint16, n int)

//go:noescape
func stream64AVX2(slab, acc *byte, pairs *uint8, n int, last *byte)

//go:noescape
func program128AVX2(prog *uint16, slab *byte, vals **byte, off int)

//go:noescape
func collect128AVX2(dst *byte, vals **byte, n, off int)

//go:noescape
func gather128AVX2(dst, slab *byte, cols *uint16, n int)

//go:noescape
func stream128AVX2(slab, acc *byte, pairs *uint8, n int, last *byte)

//go:noescape
func program256AVX2(prog *uint16, slab *byte, vals **byte, off int)

//go:noescape
func collect256AVX2(dst *byte, vals **byte, n, off int)

//go:noescape
func gather256AVX2(dst, slab *byte, cols *uint16, n int)

//go:noescape
func stream256AVX2(slab, acc *byte, pairs *uint8, n int, last *byte)

//go:noescape
func scatter64AVX2(src, slab *byte, cols *uint16, n int)

//go:noescape
func product1AVX512(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product2AVX512(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product3AVX512(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product4AVX512(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product5AVX512(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product6AVX512(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product7AVX512(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product8AVX512(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product9AVX512(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product10AVX512(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product11AVX512(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product12AVX512(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func addMulAVX512(dst, src *byte, size int, c uint8)

//go:noescape
func mulAVX512(dst, src *byte, size int, c uint8)

//go:noescape
func program64AVX512(prog *uint16, slab *byte, vals **byte, off int)

//go:noescape
func collect64AVX512(dst *byte, vals **byte, n, off int)

//go:noescape
func gather64AVX512(dst, slab *byte, cols *uint16, n int)

//go:noescape
func stream64AVX512(slab, acc *byte, pairs *uint8, n int, last *byte)

//go:noescape
func program128AVX512(prog *uint16, slab *byte, vals **byte, off int)

//go:noescape
func collect128AVX512(dst *byte, vals **byte, n, off int)

//go:noescape
func gather128AVX512(dst, slab *byte, cols *uint16, n int)

//go:noescape
func stream128AVX512(slab, acc *byte, pairs *uint8, n int, last *byte)

//go:noescape
func program256AVX512(prog *uint16, slab *byte, vals **byte, off int)

//go:noescape
func collect256AVX512(dst *byte, vals **byte, n, off int)

//go:noescape
func gather256AVX512(dst, slab *byte, cols *uint16, n int)

//go:noescape
func stream256AVX512(slab, acc *byte, pairs *uint8, n int, last *byte)

//go:noescape
func scatter64AVX512(src, slab *byte, cols *uint16, n int)
