package main

import "fmt"

func arm64(p *printer) {
	for n := 1; n <= 6; n++ {
		neonProduct(p, n)
	}
	neonAddMul(p)
	for _, strip := range []int{64, 128, 256} {
		neonProgram(p, strip)
		neonGather(p, strip)
		neonCollect(p, strip)
		neonStream(p, strip)
	}
	neonScatter(p)
}

// list names registers of 16 octets.
func list(from, n int) string {
	s := "["
	for i := range n {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("V%d.B16", from+i)
	}
	return s + "]"
}

func neonXor(p *printer, a, b, dst int) {
	p.op("VEOR V%d.B16, V%d.B16, V%d.B16", a, b, dst)
}

// neonMask sets V31 to the mask of low nibbles.
func neonMask(p *printer) {
	p.op("MOVD $15, R11")
	p.op("VDUP R11, V31.B16")
}

// neonSplit splits register a into low nibbles, in a, and high ones, in b.
func neonSplit(p *printer, a, b int) {
	p.op("VUSHR $4, V%d.B16, V%d.B16", a, b)
	p.op("VAND V31.B16, V%d.B16, V%d.B16", a, a)
}

// neonProduct is the product with n outputs, 32 octets at a time.
func neonProduct(p *printer, n int) {
	name := fmt.Sprintf("product%dNEON", n)
	p.text(name, 64, fmt.Sprintf("func %s(in **byte, n int, coef *byte, stride int, out **byte, off, size, add int)", name))
	p.op("MOVD in+0(FP), R0")
	p.op("MOVD coef+16(FP), R2")
	p.op("MOVD stride+24(FP), R3")
	p.op("MOVD out+32(FP), R4")
	p.op("MOVD off+40(FP), R5")
	p.op("MOVD size+48(FP), R6")
	p.op("MOVD add+56(FP), R7")
	p.op("MOVD $·nibbles(SB), R8")
	neonMask(p)
	p.label("chunk")
	p.op("MOVD n+8(FP), R1")
	p.op("MOVD R0, R9")
	p.op("MOVD R2, R10")
	p.op("CBNZ R7, load")
	for i := range 2 * n {
		neonXor(p, i, i, i)
	}
	p.op("B loop")
	p.label("load")
	for j := range n {
		p.op("MOVD %d(R4), R11", 8*j)
		p.op("ADD R5, R11, R11")
		p.op("VLD1 (R11), %s", list(2*j, 2))
	}
	p.label("loop")
	p.op("MOVD.P 8(R9), R11")
	p.op("ADD R5, R11, R11")
	p.op("VLD1 (R11), [V24.B16, V25.B16]")
	neonSplit(p, 24, 26)
	neonSplit(p, 25, 27)
	for j := range n {
		a := 12 + 6*(j%2)
		p.op("MOVBU %d(R10), R12", j)
		p.op("ADD R12<<5, R8, R12")
		p.op("VLD1 (R12), %s", list(a, 2))
		p.op("VTBL V24.B16, [V%d.B16], V%d.B16", a, a+2)
		p.op("VTBL V26.B16, [V%d.B16], V%d.B16", a+1, a+3)
		p.op("VTBL V25.B16, [V%d.B16], V%d.B16", a, a+4)
		p.op("VTBL V27.B16, [V%d.B16], V%d.B16", a+1, a+5)
		neonXor(p, a+2, 2*j, 2*j)
		neonXor(p, a+3, 2*j, 2*j)
		neonXor(p, a+4, 2*j+1, 2*j+1)
		neonXor(p, a+5, 2*j+1, 2*j+1)
	}
	p.op("ADD R3, R10, R10")
	p.op("SUBS $1, R1, R1")
	p.op("BNE loop")
	for j := range n {
		p.op("MOVD %d(R4), R11", 8*j)
		p.op("ADD R5, R11, R11")
		p.op("VST1 %s, (R11)", list(2*j, 2))
	}
	p.op("ADD $32, R5, R5")
	p.op("SUBS $32, R6, R6")
	p.op("BNE chunk")
	p.op("RET")
}

func neonAddMul(p *printer) {
	for _, add := range []bool{true, false} {
		name := "mulNEON"
		if add {
			name = "addMulNEON"
		}
		p.text(name, 25, fmt.Sprintf("func %s(dst, src *byte, size int, c uint8)", name))
		p.op("MOVD dst+0(FP), R0")
		p.op("MOVD src+8(FP), R1")
		p.op("MOVD size+16(FP), R2")
		p.op("MOVBU c+24(FP), R3")
		p.op("MOVD $·nibbles(SB), R4")
		p.op("ADD R3<<5, R4, R4")
		p.op("VLD1 (R4), [V29.B16, V30.B16]")
		neonMask(p)
		p.label("loop")
		p.op("VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]")
		if add {
			p.op("VLD1 (R0), [V16.B16, V17.B16, V18.B16, V19.B16]")
		}
		for i := range 4 {
			neonSplit(p, i, 4+i)
			p.op("VTBL V%d.B16, [V29.B16], V%d.B16", i, i)
			p.op("VTBL V%d.B16, [V30.B16], V%d.B16", 4+i, 4+i)
			neonXor(p, 4+i, i, i)
			if add {
				neonXor(p, 16+i, i, i)
			}
		}
		p.op("VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R0)")
		p.op("SUBS $64, R2, R2")
		p.op("BNE loop")
		p.op("RET")
	}
}

// neonAdd adds the strip at R13, which it moves on, to V0 and the following.
func neonAdd(p *printer, strip int) {
	for c := range strip / 64 {
		p.op("VLD1.P 64(R13), [V16.B16, V17.B16, V18.B16, V19.B16]")
		for i := range 4 {
			neonXor(p, 16+i, 4*c+i, 4*c+i)
		}
	}
}

func neonClear(p *printer, strip int) {
	for i := range strip / 16 {
		neonXor(p, i, i, i)
	}
}

// neonStore writes V0 and the following to R13, which it moves on.
func neonStore(p *printer, strip int) {
	for c := range strip / 64 {
		p.op("VST1.P %s, 64(R13)", list(4*c, 4))
	}
}

func neonProgram(p *printer, strip int) {
	name := fmt.Sprintf("program%dNEON", strip)
	p.text(name, 32, fmt.Sprintf("func %s(prog *uint16, slab *byte, vals **byte, off int)", name))
	p.op("MOVD prog+0(FP), R0")
	p.op("MOVD slab+8(FP), R1")
	p.op("MOVD vals+16(FP), R2")
	p.op("MOVD off+24(FP), R3")
	p.label("next")
	p.op("MOVHU.P 2(R0), R4") // sources
	p.op("MOVHU.P 2(R0), R5") // operations
	p.op("CBZ R5, done")
	p.op("AND $0x7fff, R4, R8")
	p.label("loop")
	p.op("MOVHU.P 2(R0), R6")
	p.op("TBNZ $15, R4, plain")
	p.op("MOVHU.P 2(R0), R7")
	p.op("MOVD (R2)(R7<<3), R13")
	p.op("ADD R3, R13, R13")
	for c := range strip / 64 {
		p.op("VLD1.P 64(R13), %s", list(4*c, 4))
	}
	p.op("B sources")
	p.label("plain")
	neonClear(p, strip)
	p.label("sources")
	p.op("MOVD R8, R9")
	p.op("CBZ R9, store")
	p.label("inner")
	p.op("MOVHU.P 2(R0), R13")
	p.op("ADD R13<<%d, R1, R13", shift(strip))
	neonAdd(p, strip)
	p.op("SUBS $1, R9, R9")
	p.op("BNE inner")
	p.label("store")
	p.op("ADD R6<<%d, R1, R13", shift(strip))
	neonStore(p, strip)
	p.op("SUBS $1, R5, R5")
	p.op("BNE loop")
	p.op("B next")
	p.label("done")
	p.op("RET")
}

func neonGather(p *printer, strip int) {
	name := fmt.Sprintf("gather%dNEON", strip)
	p.text(name, 32, fmt.Sprintf("func %s(dst, slab *byte, cols *uint16, n int)", name))
	p.op("MOVD dst+0(FP), R0")
	p.op("MOVD slab+8(FP), R1")
	p.op("MOVD cols+16(FP), R2")
	p.op("MOVD n+24(FP), R3")
	neonClear(p, strip)
	p.label("loop")
	p.op("MOVHU.P 2(R2), R13")
	p.op("ADD R13<<%d, R1, R13", shift(strip))
	neonAdd(p, strip)
	p.op("SUBS $1, R3, R3")
	p.op("BNE loop")
	p.op("MOVD R0, R13")
	neonStore(p, strip)
	p.op("RET")
}

func neonCollect(p *printer, strip int) {
	name := fmt.Sprintf("collect%dNEON", strip)
	p.text(name, 32, fmt.Sprintf("func %s(dst *byte, vals **byte, n, off int)", name))
	p.op("MOVD dst+0(FP), R13")
	p.op("MOVD vals+8(FP), R1")
	p.op("MOVD n+16(FP), R2")
	p.op("MOVD off+24(FP), R3")
	p.label("loop")
	p.op("MOVD.P 8(R1), R4")
	p.op("ADD R3, R4, R4")
	for c := range strip / 64 {
		p.op("VLD1.P 64(R4), %s", list(4*c, 4))
	}
	neonStore(p, strip)
	p.op("SUBS $1, R2, R2")
	p.op("BNE loop")
	p.op("RET")
}

func neonScatter(p *printer) {
	p.text("scatter64NEON", 32, "func scatter64NEON(src, slab *byte, cols *uint16, n int)")
	p.op("MOVD src+0(FP), R0")
	p.op("MOVD slab+8(FP), R1")
	p.op("MOVD cols+16(FP), R2")
	p.op("MOVD n+24(FP), R3")
	p.op("VLD1 (R0), [V0.B16, V1.B16, V2.B16, V3.B16]")
	p.label("loop")
	p.op("MOVHU.P 2(R2), R13")
	p.op("ADD R13<<6, R1, R13")
	p.op("VLD1 (R13), [V16.B16, V17.B16, V18.B16, V19.B16]")
	for i := range 4 {
		neonXor(p, i, 16+i, 16+i)
	}
	p.op("VST1 [V16.B16, V17.B16, V18.B16, V19.B16], (R13)")
	p.op("SUBS $1, R3, R3")
	p.op("BNE loop")
	p.op("RET")
}

func neonStream(p *printer, strip int) {
	name := fmt.Sprintf("stream%dNEON", strip)
	p.text(name, 40, fmt.Sprintf("func %s(slab, acc *byte, pairs *uint8, n int, last *byte)", name))
	p.op("MOVD slab+0(FP), R0")
	p.op("MOVD acc+8(FP), R1")
	p.op("MOVD pairs+16(FP), R2")
	p.op("MOVD n+24(FP), R3")
	p.op("MOVD last+32(FP), R5")
	p.op("MOVD $·nibbles(SB), R4")
	p.op("ADD $64, R4, R4") // the tables of alpha = 2
	p.op("VLD1 (R4), [V29.B16, V30.B16]")
	neonMask(p)
	neonClear(p, strip)
	step := func() {
		for c := range strip / 64 {
			p.op("VLD1.P 64(R0), [V16.B16, V17.B16, V18.B16, V19.B16]")
			for i := range 4 {
				y := 4*c + i
				neonSplit(p, y, 20+i)
				p.op("VTBL V%d.B16, [V29.B16], V%d.B16", y, y)
				p.op("VTBL V%d.B16, [V30.B16], V%d.B16", 20+i, 20+i)
				neonXor(p, 20+i, y, y)
				neonXor(p, 16+i, y, y)
			}
		}
	}
	p.op("CBZ R3, end")
	p.label("loop")
	step()
	for range 2 {
		p.op("MOVBU.P 1(R2), R13")
		p.op("ADD R13<<%d, R1, R13", shift(strip))
		for c := range strip / 64 {
			p.op("VLD1 (R13), [V16.B16, V17.B16, V18.B16, V19.B16]")
			for i := range 4 {
				neonXor(p, 4*c+i, 16+i, 16+i)
			}
			p.op("VST1.P [V16.B16, V17.B16, V18.B16, V19.B16], 64(R13)")
		}
	}
	p.op("SUBS $1, R3, R3")
	p.op("BNE loop")
	p.label("end")
	step()
	p.op("MOVD R5, R13")
	neonStore(p, strip)
	p.op("RET")
}
