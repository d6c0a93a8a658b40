//go:build !purego

package gf256

// Every arm64 has the vector instructions.
func detect() []kernel { return []kernel{generic, neon} }

// maxOutputs is the most outputs that product forms at once.
func maxOutputs() int { return 6 }

func product(outputs int, in **byte, n int, coef *byte, stride int, out **byte, off, size, add int) {
	switch outputs {
	case 1:
		product1NEON(in, n, coef, stride, out, off, size, add)
	case 2:
		product2NEON(in, n, coef, stride, out, off, size, add)
	case 3:
		product3NEON(in, n, coef, stride, out, off, size, add)
	case 4:
		product4NEON(in, n, coef, stride, out, off, size, add)
	case 5:
		product5NEON(in, n, coef, stride, out, off, size, add)
	case 6:
		product6NEON(in, n, coef, stride, out, off, size, add)
	}
}

func mul(dst, src *byte, size int, c uint8, add bool) {
	if add {
		addMulNEON(dst, src, size, c)
	} else {
		mulNEON(dst, src, size, c)
	}
}

func run(prog *uint16, slab *byte, vals **byte, off, width int) {
	switch width {
	case 64:
		program64NEON(prog, slab, vals, off)
	case 128:
		program128NEON(prog, slab, vals, off)
	case 256:
		program256NEON(prog, slab, vals, off)
	}
}

func gather(dst, slab *byte, cols *uint16, n, width int) {
	switch width {
	case 64:
		gather64NEON(dst, slab, cols, n)
	case 128:
		gather128NEON(dst, slab, cols, n)
	case 256:
		gather256NEON(dst, slab, cols, n)
	}
}

func collect(dst *byte, vals **byte, n, off, width int) {
	switch width {
	case 64:
		collect64NEON(dst, vals, n, off)
	case 128:
		collect128NEON(dst, vals, n, off)
	case 256:
		collect256NEON(dst, vals, n, off)
	}
}

func stream(slab, acc *byte, pairs *uint8, n int, last *byte, width int) {
	switch width {
	case 64:
		stream64NEON(slab, acc, pairs, n, last)
	case 128:
		stream128NEON(slab, acc, pairs, n, last)
	case 256:
		stream256NEON(slab, acc, pairs, n, last)
	}
}

func scatter(src, slab *byte, cols *uint16, n int) {
	scatter64NEON(src, slab, cols, n)
}

//go:noescape
func product1NEON(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product2NEON(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product3NEON(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product4NEON(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product5NEON(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func product6NEON(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)

//go:noescape
func addMulNEON(dst, src *byte, size int, c uint8)

//go:noescape
func mulNEON(dst, src *byte, size int, c uint8)

//go:noescape
func program64NEON(prog *uint16, slab *byte, vals **byte, off int)

//go:noescape
func collect64NEON(dst *byte, vals **byte, n, off int)

//go:noescape
func gather64NEON(dst, slab *byte, cols *uint16, n int)

//go:noescape
func stream64NEON(slab, acc *byte, pairs *uint8, n int, last *byte)

//go:noescape
func program128NEON(prog *uint16, slab *byte, vals **byte, off int)

//go:noescape
func collect128NEON(dst *byte, vals **byte, n, off int)

//go:noescape
func gather128NEON(dst, slab *byte, cols *uint16, n int)

//go:noescape
func stream128NEON(slab, acc *byte, pairs *uint8, n int, last *byte)

//go:noescape
func program256NEON(prog *uint16, slab *byte, vals **byte, off int)

//go:noescape
func collect256NEON(dst *byte, vals **byte, n, off int)

//go:noescape
func gather256NEON(dst, slab *byte, cols *uint16, n int)

//go:noescape
func stream256NEON(slab, acc *byte, pairs *uint8, n int, last *byte)

//go:noescape
func scatter64NEON(src, slab *byte, cols *uint16, n int)
