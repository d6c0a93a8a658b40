//go:build purego || !(amd64 || arm64)

package gf256

func detect() []kernel { return []kernel{generic} }

func maxOutputs() int { return 1 }

// What follows is for kernels in assembly, of which there are none here.

func product(outputs int, in **byte, n int, coef *byte, stride int, out **byte, off, size, add int) {}

func mul(dst, src *byte, size int, c uint8, add bool) {}

func run(prog *uint16, slab *byte, vals **byte, off, width int) {}

func gather(dst, slab *byte, cols *uint16, n, width int) {}

func stream(slab, acc *byte, pairs *uint8, n int, last *byte, width int) {}

func scatter(src, slab *byte, cols *uint16, n int) {}

func collect(dst *byte, vals **byte, n, off, width int) {}
