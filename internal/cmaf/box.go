package cmaf

import (
	"encoding/binary"
	"io"
	"math"
)

// BoxType is the four-character code of a box (ISO/IEC 14496-12, 4.2), first
// character in the most significant octet.
type BoxType uint32

// The boxes that this package knows by name.
const (
	boxEmsg BoxType = 'e'<<24 | 'm'<<16 | 's'<<8 | 'g'
	boxFtyp BoxType = 'f'<<24 | 't'<<16 | 'y'<<8 | 'p'
	boxHdlr BoxType = 'h'<<24 | 'd'<<16 | 'l'<<8 | 'r'
	boxMdat BoxType = 'm'<<24 | 'd'<<16 | 'a'<<8 | 't'
	boxMdhd BoxType = 'm'<<24 | 'd'<<16 | 'h'<<8 | 'd'
	boxMdia BoxType = 'm'<<24 | 'd'<<16 | 'i'<<8 | 'a'
	boxMfhd BoxType = 'm'<<24 | 'f'<<16 | 'h'<<8 | 'd'
	boxMinf BoxType = 'm'<<24 | 'i'<<16 | 'n'<<8 | 'f'
	boxMoof BoxType = 'm'<<24 | 'o'<<16 | 'o'<<8 | 'f'
	boxMoov BoxType = 'm'<<24 | 'o'<<16 | 'o'<<8 | 'v'
	boxMvex BoxType = 'm'<<24 | 'v'<<16 | 'e'<<8 | 'x'
	boxPrft BoxType = 'p'<<24 | 'r'<<16 | 'f'<<8 | 't'
	boxSidx BoxType = 's'<<24 | 'i'<<16 | 'd'<<8 | 'x'
	boxStbl BoxType = 's'<<24 | 't'<<16 | 'b'<<8 | 'l'
	boxStsd BoxType = 's'<<24 | 't'<<16 | 's'<<8 | 'd'
	boxStyp BoxType = 's'<<24 | 't'<<16 | 'y'<<8 | 'p'
	boxTfdt BoxType = 't'<<24 | 'f'<<16 | 'd'<<8 | 't'
	boxTfhd BoxType = 't'<<24 | 'f'<<16 | 'h'<<8 | 'd'
	boxTkhd BoxType = 't'<<24 | 'k'<<16 | 'h'<<8 | 'd'
	boxTraf BoxType = 't'<<24 | 'r'<<16 | 'a'<<8 | 'f'
	boxTrak BoxType = 't'<<24 | 'r'<<16 | 'a'<<8 | 'k'
	boxTrex BoxType = 't'<<24 | 'r'<<16 | 'e'<<8 | 'x'
	boxTrun BoxType = 't'<<24 | 'r'<<16 | 'u'<<8 | 'n'
)

// String returns the four characters, with those outside printable ASCII as
// dots.
func (t BoxType) String() string {
	c := [4]byte{byte(t >> 24), byte(t >> 16), byte(t >> 8), byte(t)}
	for i := range c {
		if c[i] < 0x20 || c[i] > 0x7e {
			c[i] = '.'
		}
	}
	return string(c[:])
}

const (
	headerLen   = 8
	headerLen64 = 16 // with a 64-bit size
	toTheEnd    = math.MaxUint64
)

// header reads a box header from the start of h: its type, its own length and
// the box's size, toTheEnd if the box reaches to the end of the file. need is
// the number of octets to wait for if h is too short to tell.
func header(h []byte) (t BoxType, size uint64, n, need int) {
	if len(h) < headerLen {
		return 0, 0, 0, headerLen
	}
	t = BoxType(binary.BigEndian.Uint32(h[4:]))
	switch size = uint64(binary.BigEndian.Uint32(h)); size {
	case 0:
		return t, toTheEnd, headerLen, 0
	case 1:
		if len(h) < headerLen64 {
			return t, 0, 0, headerLen64
		}
		return t, binary.BigEndian.Uint64(h[headerLen:]), headerLen64, 0
	}
	return t, size, headerLen, 0
}

// boxes reads the boxes of a slice one after the other.
type boxes struct {
	rest []byte
	off  uint64 // of rest in the input
	// inner is true within a box. There a box that does not fit is wrong; at
	// the top level the input is merely short. A box without a size is allowed
	// at the top level only.
	inner bool
}

// box is one box of a slice.
type box struct {
	typ  BoxType
	at   uint64 // offset of the header in the input
	off  uint64 // offset of the body in the input
	body []byte
}

func (x *box) boxes() boxes { return boxes{rest: x.body, off: x.off, inner: true} }

func (x *box) fail(err error) error { return &Error{Offset: x.at, Box: x.typ, Err: err} }

// next takes the first box off r. ok is false, without an error, at the end.
func (r *boxes) next() (x box, ok bool, err error) {
	if len(r.rest) == 0 {
		return box{}, false, nil
	}
	t, size, n, need := header(r.rest)
	x = box{typ: t, at: r.off}
	if size == toTheEnd && !r.inner {
		size = uint64(len(r.rest))
	}
	switch short := need > 0 || size > uint64(len(r.rest)); {
	case short && r.inner, need == 0 && size < uint64(n):
		return x, false, x.fail(ErrSize)
	case short:
		return x, false, x.fail(io.ErrUnexpectedEOF)
	}
	x.off = r.off + uint64(n)
	x.body = r.rest[n:size:size]
	r.rest = r.rest[size:]
	r.off += size
	return x, true, nil
}
