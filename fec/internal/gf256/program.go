package gf256

// Program is a list of sums of columns of a slab, which has one strip of 64,
// 128 or 256 octets for each column. It is made of runs, so that processors
// guess right how long the next sum is. A run is
//
//	number of sources | plain, number of operations, operations
//
// where an operation is
//
//	destination, value unless plain, sources
//
// A run of no operations ends the program.
type Program []uint16

const (
	plain  = 0x8000 // marks a run whose sums have no value
	maxRun = 0xffff
)

// Op is one sum: column Dst becomes the sum of a value, unless Value is
// negative, and of columns.
type Op struct {
	Dst   uint16
	Value int32
	Cols  []uint16
}

// Builder writes a Program.
type Builder struct {
	prog Program
	head int // start of the current run
}

// NewBuilder returns a builder that writes to the room that prog has.
func NewBuilder(prog Program) Builder { return Builder{prog: prog[:0], head: -1} }

// Add appends an operation.
func (b *Builder) Add(dst uint16, value int, cols []uint16) {
	kind := uint16(len(cols))
	if value < 0 {
		kind |= plain
	}
	if b.head < 0 || b.prog[b.head] != kind || b.prog[b.head+1] == maxRun {
		b.head = len(b.prog)
		b.prog = append(b.prog, kind, 0)
	}
	b.prog[b.head+1]++
	b.prog = append(b.prog, dst)
	if value >= 0 {
		b.prog = append(b.prog, uint16(value))
	}
	b.prog = append(b.prog, cols...)
}

// Program ends the program and returns it.
func (b *Builder) Program() Program {
	b.head = -1
	b.prog = append(b.prog, 0, 0)
	return b.prog
}

// Ops calls visit for each operation in order.
func (p Program) Ops(visit func(op Op)) {
	for len(p) > 1 {
		kind, count := p[0], int(p[1])
		p = p[2:]
		n := int(kind &^ plain)
		for range count {
			op := Op{Dst: p[0], Value: -1}
			p = p[1:]
			if kind&plain == 0 {
				op.Value = int32(p[0])
				p = p[1:]
			}
			op.Cols = p[:n:n]
			p = p[n:]
			visit(op)
		}
	}
}

// Run computes the program on a slab of strips of width octets. Value i is the
// strip that starts off octets behind vals[i].
func (p Program) Run(slab []byte, width int, vals []*byte, off int) {
	if len(p) <= 2 {
		return
	}
	if active != generic {
		var first **byte
		if len(vals) > 0 {
			first = &vals[0]
		}
		run(&p[0], &slab[0], first, off, width)
		return
	}
	var buf [256]byte
	sum := buf[:width] // a destination may be one of its sources
	p.Ops(func(op Op) {
		if op.Value >= 0 {
			copy(sum, Octets(vals[op.Value], off, width))
		} else {
			clear(sum)
		}
		for _, c := range op.Cols {
			Add(sum, column(slab, c, width))
		}
		copy(column(slab, op.Dst, width), sum)
	})
}
