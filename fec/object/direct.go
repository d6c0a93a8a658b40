package object

// direct is the decoder of a block without code: it writes symbols through to the
// target and remembers which.
type direct struct {
	d    *Decoder
	sbn  uint32
	b    *openBlock
	have []uint64
	left int
}

func newDirect(d *Decoder, sbn uint32, b *openBlock) *direct {
	return &direct{d: d, sbn: sbn, b: b, have: make([]uint64, (b.k+63)/64), left: b.k}
}

// written stands for a symbol that the target has.
var written = []byte{}

func (x *direct) Add(esi uint32, symbol []byte) (fresh bool, err error) {
	if x.Symbol(int(esi)) != nil {
		return false, nil
	}
	_, offset, length := x.d.info.Block(x.sbn)
	w := pieces{target: x.d.target, offset: int64(offset), end: int64(length)}
	w.write(int64(esi)*int64(x.d.info.SymbolSize), symbol)
	if w.err != nil {
		x.d.err = w.err
		return false, w.err
	}
	x.have[esi/64] |= 1 << (esi % 64)
	x.left--
	return true, nil
}

func (x *direct) Need() int    { return x.left }
func (x *direct) Decode() bool { return x.left == 0 }

func (x *direct) Symbol(i int) []byte {
	if x.have[i/64]>>(i%64)&1 != 0 {
		return written
	}
	return nil
}
