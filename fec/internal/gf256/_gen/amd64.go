package main

import "fmt"

// vector is an instruction set of amd64 as the kernels use it.
type vector struct {
	suffix  string
	reg     string // letter of a register's name
	width   int    // octets in a register
	outputs int    // most outputs of a product
	xor     string
	load    string
	gfni    bool
}

var (
	avx512 = vector{suffix: "AVX512", reg: "Z", width: 64, outputs: 12, xor: "VPXORQ", load: "VMOVDQU64", gfni: true}
	avx2   = vector{suffix: "AVX2", reg: "Y", width: 32, outputs: 8, xor: "VPXOR", load: "VMOVDQU"}
)

func amd64(p *printer) {
	for _, v := range []vector{avx512, avx2} {
		v.product(p)
		v.addMul(p)
		for _, strip := range []int{64, 128, 256} {
			v.program(p, strip)
			v.gather(p, strip)
			v.collect(p, strip)
			v.stream(p, strip)
		}
		v.scatter(p)
	}
}

func (v *vector) r(i int) string { return fmt.Sprintf("%s%d", v.reg, i) }

// clear zeroes a register.
func (v *vector) clear(p *printer, i int) {
	if v.gfni {
		p.op("VPXORD %s, %s, %s", v.r(i), v.r(i), v.r(i))
	} else {
		p.op("VPXOR %s, %s, %s", v.r(i), v.r(i), v.r(i))
	}
}

// constants loads what mul needs into DX (the table) and the registers behind
// from.
func (v *vector) constants(p *printer) {
	if v.gfni {
		p.op("LEAQ ·matrices(SB), DX")
		return
	}
	p.op("LEAQ ·nibbles(SB), DX")
	p.op("MOVQ $0x0f0f0f0f0f0f0f0f, R12")
	p.op("VMOVQ R12, X15")
	p.op("VPBROADCASTQ X15, Y15")
}

// product writes out[j] = sum over i of coef[i*stride+j] * in[i] for all
// numbers of outputs j.
func (v *vector) product(p *printer) {
	for n := 1; n <= v.outputs; n++ {
		name := fmt.Sprintf("product%d%s", n, v.suffix)
		p.text(name, 64, fmt.Sprintf("func %s(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)", name))
		p.op("MOVQ in+0(FP), SI")
		p.op("MOVQ coef+16(FP), R8")
		p.op("MOVQ stride+24(FP), R9")
		p.op("MOVQ out+32(FP), DI")
		p.op("MOVQ off+40(FP), R10")
		p.op("MOVQ size+48(FP), R11")
		v.constants(p)
		if v.gfni {
			p.label("wide")
			p.op("CMPQ R11, $128")
			p.op("JLT narrow")
			v.productChunk(p, n, 2, "wide")
			p.op("JMP wide")
			p.label("narrow")
			p.op("CMPQ R11, $64")
			p.op("JLT done")
			v.productChunk(p, n, 1, "narrow")
			p.op("JMP narrow")
		} else {
			p.label("narrow")
			p.op("CMPQ R11, $32")
			p.op("JLT done")
			v.productChunk(p, n, 1, "narrow")
			p.op("JMP narrow")
		}
		p.label("done")
		p.op("VZEROUPPER")
		p.op("RET")
	}
}

// productChunk handles width*chunk octets of all inputs and outputs.
func (v *vector) productChunk(p *printer, n, chunk int, label string) {
	p.op("MOVQ n+8(FP), CX")
	p.op("MOVQ SI, AX")
	p.op("MOVQ R8, BX")
	p.op("CMPQ add+56(FP), $0")
	p.op("JNE %sLoad", label)
	for i := range n * chunk {
		v.clear(p, i)
	}
	p.op("JMP %sLoop", label)
	p.label(label + "Load")
	for j := range n {
		p.op("MOVQ %d(DI), R12", 8*j)
		for c := range chunk {
			p.op("%s %d(R12)(R10*1), %s", v.load, c*v.width, v.r(j*chunk+c))
		}
	}
	p.label(label + "Loop")
	p.op("MOVQ (AX), R12")
	p.op("ADDQ $8, AX")
	if v.gfni {
		for c := range chunk {
			p.op("VMOVDQU64 %d(R12)(R10*1), Z%d", 64*c, 24+c)
		}
		for j := range n {
			p.op("MOVBLZX %d(BX), R13", j)
			p.op("VPBROADCASTQ (DX)(R13*8), Z%d", 26+j%2)
			for c := range chunk {
				t := 28 + (j%2)*2 + c
				p.op("VGF2P8AFFINEQB $0, Z%d, Z%d, Z%d", 26+j%2, 24+c, t)
				p.op("VPXORQ Z%d, Z%d, Z%d", t, j*chunk+c, j*chunk+c)
			}
		}
	} else {
		p.op("VMOVDQU (R12)(R10*1), Y8")
		p.op("VPSRLQ $4, Y8, Y9")
		p.op("VPAND Y15, Y8, Y8")
		p.op("VPAND Y15, Y9, Y9")
		for j := range n {
			a, b := 10+2*(j%2), 11+2*(j%2)
			p.op("MOVBLZX %d(BX), R13", j)
			p.op("SHLL $5, R13")
			p.op("VBROADCASTI128 (DX)(R13*1), Y%d", a)
			p.op("VBROADCASTI128 16(DX)(R13*1), Y%d", b)
			p.op("VPSHUFB Y8, Y%d, Y%d", a, a)
			p.op("VPSHUFB Y9, Y%d, Y%d", b, b)
			p.op("VPXOR Y%d, Y%d, Y%d", a, j, j)
			p.op("VPXOR Y%d, Y%d, Y%d", b, j, j)
		}
	}
	p.op("ADDQ R9, BX")
	p.op("DECQ CX")
	p.op("JNE %sLoop", label)
	for j := range n {
		p.op("MOVQ %d(DI), R12", 8*j)
		for c := range chunk {
			p.op("%s %s, %d(R12)(R10*1)", v.load, v.r(j*chunk+c), c*v.width)
		}
	}
	p.op("ADDQ $%d, R10", chunk*v.width)
	p.op("SUBQ $%d, R11", chunk*v.width)
}

// addMul writes the product of one input with the output added or not.
func (v *vector) addMul(p *printer) {
	for _, add := range []bool{true, false} {
		name := "mul" + v.suffix
		if add {
			name = "addMul" + v.suffix
		}
		p.text(name, 25, fmt.Sprintf("func %s(dst, src *byte, size int, c uint8)", name))
		p.op("MOVQ dst+0(FP), DI")
		p.op("MOVQ src+8(FP), SI")
		p.op("MOVQ size+16(FP), CX")
		p.op("MOVBLZX c+24(FP), R13")
		v.constants(p)
		if v.gfni {
			p.op("VPBROADCASTQ (DX)(R13*8), Z2")
			p.label("loop")
			p.op("VMOVDQU64 (SI), Z0")
			p.op("VGF2P8AFFINEQB $0, Z2, Z0, Z0")
			if add {
				p.op("VPXORQ (DI), Z0, Z0")
			}
			p.op("VMOVDQU64 Z0, (DI)")
		} else {
			p.op("SHLL $5, R13")
			p.op("VBROADCASTI128 (DX)(R13*1), Y10")
			p.op("VBROADCASTI128 16(DX)(R13*1), Y11")
			p.label("loop")
			for c := range 2 {
				p.op("VMOVDQU %d(SI), Y0", 32*c)
				p.op("VPSRLQ $4, Y0, Y1")
				p.op("VPAND Y15, Y0, Y0")
				p.op("VPAND Y15, Y1, Y1")
				p.op("VPSHUFB Y0, Y10, Y0")
				p.op("VPSHUFB Y1, Y11, Y1")
				p.op("VPXOR Y1, Y0, Y0")
				if add {
					p.op("VPXOR %d(DI), Y0, Y0", 32*c)
				}
				p.op("VMOVDQU Y0, %d(DI)", 32*c)
			}
		}
		p.op("ADDQ $64, SI")
		p.op("ADDQ $64, DI")
		p.op("SUBQ $64, CX")
		p.op("JNE loop")
		p.op("VZEROUPPER")
		p.op("RET")
	}
}

// loads sets the accumulators to a strip.
func (v *vector) loads(p *printer, strip int, addr string) {
	for c := range strip / v.width {
		p.op("%s %d%s, %s", v.load, c*v.width, addr, v.r(c))
	}
}

// xors adds a strip to the accumulators.
func (v *vector) xors(p *printer, strip int, addr string) {
	for c := range strip / v.width {
		p.op("%s %d%s, %s, %s", v.xor, c*v.width, addr, v.r(c), v.r(c))
	}
}

// stores writes the accumulators to a strip.
func (v *vector) stores(p *printer, strip int, addr string) {
	for c := range strip / v.width {
		p.op("%s %s, %d%s", v.load, v.r(c), c*v.width, addr)
	}
}

func shift(strip int) int {
	n := 0
	for 1<<n < strip {
		n++
	}
	return n
}

// unrolled is the number of sources up to which program has code of its own.
const unrolled = 8

// program runs a Program.
func (v *vector) program(p *printer, strip int) {
	name := fmt.Sprintf("program%d%s", strip, v.suffix)
	p.text(name, 32, fmt.Sprintf("func %s(prog *uint16, slab *byte, vals **byte, off int)", name))
	p.op("MOVQ prog+0(FP), SI")
	p.op("MOVQ slab+8(FP), DI")
	p.op("MOVQ vals+16(FP), R8")
	p.op("MOVQ off+24(FP), R9")
	p.label("next")
	p.op("MOVWLZX (SI), AX")
	p.op("MOVWLZX 2(SI), CX")
	p.op("ADDQ $4, SI")
	p.op("TESTL CX, CX")
	p.op("JEQ done")
	p.op("TESTL $0x8000, AX")
	p.op("JNE plain")
	for n := range unrolled + 1 {
		p.op("CMPL AX, $%d", n)
		p.op("JEQ run%d", n)
	}

	source := func(at int) {
		p.op("MOVWLZX %d(SI), R13", at)
		p.op("SHLQ $%d, R13", shift(strip))
		v.xors(p, strip, "(DI)(R13*1)")
	}
	value := func() {
		p.op("MOVWLZX (SI), R10")
		p.op("MOVWLZX 2(SI), R11")
		p.op("MOVQ (R8)(R11*8), R11")
		v.loads(p, strip, "(R11)(R9*1)")
	}
	store := func(loop string) {
		p.op("SHLQ $%d, R10", shift(strip))
		v.stores(p, strip, "(DI)(R10*1)")
		p.op("DECL CX")
		p.op("JNE %s", loop)
		p.op("JMP next")
	}

	p.label("many")
	value()
	p.op("ADDQ $4, SI")
	p.op("MOVL AX, R12")
	p.label("manyInner")
	source(0)
	p.op("ADDQ $2, SI")
	p.op("DECL R12")
	p.op("JNE manyInner")
	store("many")

	// Without a value: the first source is loaded.
	p.label("plain")
	p.op("ANDL $0x7fff, AX")
	p.label("plainLoop")
	p.op("MOVWLZX (SI), R10")
	p.op("ADDQ $2, SI")
	for c := range strip / v.width {
		v.clear(p, c)
	}
	p.op("MOVL AX, R12")
	p.op("TESTL R12, R12")
	p.op("JEQ plainStore")
	p.label("plainInner")
	source(0)
	p.op("ADDQ $2, SI")
	p.op("DECL R12")
	p.op("JNE plainInner")
	p.label("plainStore")
	store("plainLoop")

	for n := range unrolled + 1 {
		run := fmt.Sprintf("run%d", n)
		p.label(run)
		value()
		for i := range n {
			source(4 + 2*i)
		}
		p.op("ADDQ $%d, SI", 4+2*n)
		store(run)
	}
	p.label("done")
	p.op("VZEROUPPER")
	p.op("RET")
}

// gather sums strips to one elsewhere.
func (v *vector) gather(p *printer, strip int) {
	name := fmt.Sprintf("gather%d%s", strip, v.suffix)
	p.text(name, 32, fmt.Sprintf("func %s(dst, slab *byte, cols *uint16, n int)", name))
	p.op("MOVQ dst+0(FP), DI")
	p.op("MOVQ slab+8(FP), SI")
	p.op("MOVQ cols+16(FP), R8")
	p.op("MOVQ n+24(FP), CX")
	for c := range strip / v.width {
		v.clear(p, c)
	}
	p.label("loop")
	p.op("MOVWLZX (R8), R13")
	p.op("SHLQ $%d, R13", shift(strip))
	v.xors(p, strip, "(SI)(R13*1)")
	p.op("ADDQ $2, R8")
	p.op("DECQ CX")
	p.op("JNE loop")
	v.stores(p, strip, "(DI)")
	p.op("VZEROUPPER")
	p.op("RET")
}

// ahead is how many values collect fetches early.
const ahead = 16

// collect copies strips to lie one behind the other.
func (v *vector) collect(p *printer, strip int) {
	name := fmt.Sprintf("collect%d%s", strip, v.suffix)
	p.text(name, 32, fmt.Sprintf("func %s(dst *byte, vals **byte, n, off int)", name))
	p.op("MOVQ dst+0(FP), DI")
	p.op("MOVQ vals+8(FP), SI")
	p.op("MOVQ n+16(FP), CX")
	p.op("MOVQ off+24(FP), R9")
	move := func() {
		p.op("MOVQ (SI), R10")
		v.loads(p, strip, "(R10)(R9*1)")
		v.stores(p, strip, "(DI)")
		p.op("ADDQ $8, SI")
		p.op("ADDQ $%d, DI", strip)
	}
	p.op("CMPQ CX, $%d", ahead)
	p.op("JLE end")
	p.op("SUBQ $%d, CX", ahead)
	p.label("loop")
	p.op("MOVQ %d(SI), R11", 8*ahead)
	for o := 0; o < strip; o += 64 {
		p.op("PREFETCHT0 %d(R11)(R9*1)", o)
	}
	move()
	p.op("DECQ CX")
	p.op("JNE loop")
	p.op("MOVQ $%d, CX", ahead)
	p.label("end")
	move()
	p.op("DECQ CX")
	p.op("JNE end")
	p.op("VZEROUPPER")
	p.op("RET")
}

// scatter adds one strip of 64 octets to others.
func (v *vector) scatter(p *printer) {
	name := "scatter64" + v.suffix
	p.text(name, 32, fmt.Sprintf("func %s(src, slab *byte, cols *uint16, n int)", name))
	p.op("MOVQ src+0(FP), SI")
	p.op("MOVQ slab+8(FP), DI")
	p.op("MOVQ cols+16(FP), R8")
	p.op("MOVQ n+24(FP), CX")
	v.loads(p, 64, "(SI)")
	p.label("loop")
	p.op("MOVWLZX (R8), R13")
	p.op("SHLQ $6, R13")
	for c := range 64 / v.width {
		t := v.r(8 + c)
		p.op("%s %d(DI)(R13*1), %s, %s", v.xor, c*v.width, v.r(c), t)
		p.op("%s %s, %d(DI)(R13*1)", v.load, t, c*v.width)
	}
	p.op("ADDQ $2, R8")
	p.op("DECQ CX")
	p.op("JNE loop")
	p.op("VZEROUPPER")
	p.op("RET")
}

// stream is the running sum of the HDPC rows.
func (v *vector) stream(p *printer, strip int) {
	name := fmt.Sprintf("stream%d%s", strip, v.suffix)
	p.text(name, 40, fmt.Sprintf("func %s(slab, acc *byte, pairs *uint8, n int, last *byte)", name))
	p.op("MOVQ slab+0(FP), SI")
	p.op("MOVQ acc+8(FP), DI")
	p.op("MOVQ pairs+16(FP), R8")
	p.op("MOVQ n+24(FP), CX")
	regs := strip / v.width
	for c := range regs {
		v.clear(p, c)
	}
	if v.gfni {
		p.op("LEAQ ·matrices(SB), DX")
		p.op("VPBROADCASTQ 16(DX), Z31")
	} else {
		p.op("VPXOR Y15, Y15, Y15")
		p.op("MOVQ $0x1d1d1d1d1d1d1d1d, R12")
		p.op("VMOVQ R12, X14")
		p.op("VPBROADCASTQ X14, Y14")
	}
	step := func() {
		for c := range regs {
			if v.gfni {
				p.op("VGF2P8AFFINEQB $0, Z31, Z%d, Z%d", c, c)
				p.op("VPXORQ %d(SI), Z%d, Z%d", 64*c, c, c)
			} else {
				p.op("VPCMPGTB Y%d, Y15, Y13", c)
				p.op("VPADDB Y%d, Y%d, Y%d", c, c, c)
				p.op("VPAND Y14, Y13, Y13")
				p.op("VPXOR Y13, Y%d, Y%d", c, c)
				p.op("VPXOR %d(SI), Y%d, Y%d", 32*c, c, c)
			}
		}
		p.op("ADDQ $%d, SI", strip)
	}
	p.op("TESTQ CX, CX")
	p.op("JEQ end")
	p.label("loop")
	step()
	for i := range 2 {
		p.op("MOVBLZX %d(R8), R13", i)
		p.op("SHLQ $%d, R13", shift(strip))
		for c := range regs {
			t := v.r(8 + c%4)
			p.op("%s %d(DI)(R13*1), %s, %s", v.xor, c*v.width, v.r(c), t)
			p.op("%s %s, %d(DI)(R13*1)", v.load, t, c*v.width)
		}
	}
	p.op("ADDQ $2, R8")
	p.op("DECQ CX")
	p.op("JNE loop")
	p.label("end")
	step()
	p.op("MOVQ last+32(FP), DX")
	v.stores(p, strip, "(DX)")
	p.op("VZEROUPPER")
	p.op("RET")
}
