package flute

import (
	"fmt"
	"io"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/reassembly"
)

// Range is the half-open interval [Start, End) of octets of an object. An End of -1 stands for the end of the object,
// which is not known yet.
type Range struct {
	Start, End int64
}

type objectKey struct {
	s        *Session
	toi      uint64
	instance uint32 // of an FDT Instance: its ID and 1; else 0
}

// kind tells what to do with an object.
type kind uint8

const (
	kindUndescribed kind = iota // no FDT Instance for it, yet
	kindFile
	kindInstance // an FDT Instance
)

// Object is a file on its way in. It belongs to its Receiver's goroutine; its octets stay readable until the Receiver's
// Release.
//
// Octets are as they came, before content decoding.
type Object struct {
	r    *Receiver
	s    *Session
	key  objectKey
	kind kind

	entry *fdt.Entry // of a file; the newest description

	scheme   fec.EncodingID // by the codepoint of the first packet
	info     fec.ObjectInfo
	hasInfo  bool
	fti      []byte   // EXT_FTI that was taken
	raw      bool     // packets do not tell where their symbols belong, but to a decoder
	plain    bool     // there is no code
	cenc     lct.CENC // of an FDT Instance
	counted  int64    // octets among those without description
	earliest []earlyPacket
	early    reassembly.Buffer // symbols that came before the OTI
	earlyLen int64

	held   reassembly.Set
	data   octets
	asked  bool  // for a Store
	broken error // of the Store
	blocks map[uint32]*block
	noFEC  bool // no block is small enough to be decoded

	slot      int  // in Receiver.active
	mapped    bool // packets find it
	pending   bool // counted as incomplete
	complete  bool
	verifying bool
	released  bool
	notified  bool
	prefix    int64
	busy      int // Works that read its memory
	decoding  int
	started   time.Time
	lastNew   time.Time
	lastPkt   time.Time
	endedAt   time.Time
	closeAt   time.Time
	askAgain  time.Time
	backoff   time.Duration
	wake      time.Time
	recovered int64
	supplied  int64
	digest    Digest
}

// Session is the session that the object belongs to.
func (o *Object) Session() *Session { return o.s }

// TOI is the Transport Object Identifier.
func (o *Object) TOI() uint64 { return o.key.toi }

// Entry is what the FDT Instances say of the file.
func (o *Object) Entry() *fdt.Entry { return o.entry }

// Location is the Content-Location, a hostile string.
func (o *Object) Location() string {
	if o.entry == nil {
		return ""
	}
	return o.entry.File.ContentLocation
}

// Info is the FEC Object Transmission Information, and false while it is not known.
func (o *Object) Info() (fec.ObjectInfo, bool) { return o.info, o.hasInfo }

// Length is the length of the object in octets, as transferred; -1 while it is not known.
func (o *Object) Length() int64 {
	if !o.hasInfo {
		return -1
	}
	return int64(o.info.TransferLength)
}

// Prefix is the number of octets from the start on that have arrived without a hole.
func (o *Object) Prefix() int64 { return o.held.Prefix() }

// Held is the number of octets that have arrived.
func (o *Object) Held() int64 { return o.held.Total() }

// Complete tells whether all octets have arrived.
func (o *Object) Complete() bool { return o.complete }

// Recovered and Supplied are the octets that came by FEC and by Supply.
func (o *Object) Recovered() int64 { return o.recovered }
func (o *Object) Supplied() int64  { return o.supplied }

// Digest tells what the digest of a complete file says.
func (o *Object) Digest() Digest { return o.digest }

// Bytes returns octets from off on without copying them: as many as have arrived and lie in one piece of memory, none
// where there is a hole, and none of an object in a Store. The slice is valid until Release.
func (o *Object) Bytes(off int64) []byte {
	if off < 0 || o.data.store != nil {
		return nil
	}
	return o.data.mem.Bytes(off, o.heldEnd(off))
}

// heldEnd is the end of what has arrived from off on.
func (o *Object) heldEnd(off int64) int64 { return max(off, o.held.Missing(off)) }

// ReadAt reads octets that have arrived, wherever they are. It returns io.EOF at the end of the object and ErrNotHeld at
// a hole.
func (o *Object) ReadAt(p []byte, off int64) (n int, err error) {
	if o.released {
		return 0, ErrReleased
	}
	if off < 0 {
		return 0, fmt.Errorf("flute: offset %d", off)
	}
	for n < len(p) {
		at := off + int64(n)
		if o.data.store != nil {
			m := int(min(int64(len(p)-n), o.heldEnd(at)-at))
			if m > 0 {
				if err := o.data.read(p[n:n+m], at); err != nil {
					return n, fmt.Errorf("%w: %w", ErrStore, err)
				}
				n += m
				continue
			}
		}
		b := o.Bytes(at)
		if len(b) == 0 {
			if o.hasInfo && at >= o.Length() {
				return n, io.EOF
			}
			return n, ErrNotHeld
		}
		n += copy(p[n:], b)
	}
	return n, nil
}

// Reader returns a reader of the object from its start that may be used while it grows: at a hole, or where nothing has
// come yet, Read returns ErrNotHeld and may be called again later.
func (o *Object) Reader() io.Reader { return &prefixReader{o: o} }

type prefixReader struct {
	o   *Object
	off int64
}

func (p *prefixReader) Read(b []byte) (int, error) {
	n, err := p.o.ReadAt(b, p.off)
	p.off += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// Content returns the file behind the content encoding, of a complete object. Reading gives ErrExpansion beyond limit
// octets; zero is for a hundred times the length of the object, at least 1 MiB.
func (o *Object) Content(limit int64) (io.Reader, error) {
	if o.released {
		return nil, ErrReleased
	}
	if limit <= 0 {
		limit = max(1<<20, expansion*o.Length())
	}
	encoding := ""
	if o.entry != nil {
		encoding = o.entry.File.ContentEncoding
	}
	return Decode(o.Reader(), encoding, limit)
}

// AppendMissing appends the ranges of octets that have not arrived.
func (o *Object) AppendMissing(dst []Range) []Range {
	if !o.hasInfo {
		return append(dst, Range{0, -1})
	}
	for _, m := range o.held.AppendMissing(nil, 0, o.Length()) {
		dst = append(dst, Range(m))
	}
	return dst
}

// MissingSymbols is what a source block lacks.
type MissingSymbols struct {
	SBN uint32
	// ESIs are the source symbols that are missing. Any Need other symbols of the block serve as well, most likely; of
	// blocks without a code Need is their number.
	ESIs []uint32
	Need int
}

// AppendMissingSymbols appends what blocks lack, at most limit of them, for repair by symbols.
func (o *Object) AppendMissingSymbols(dst []MissingSymbols, limit int) []MissingSymbols {
	if !o.hasInfo {
		return dst
	}
	for off := o.held.Missing(0); limit > 0 && off < o.Length(); limit-- {
		sbn := o.blockAt(off)
		k, start, length := o.info.Block(sbn)
		m := MissingSymbols{SBN: sbn}
		b := o.blocks[sbn]
		for i := range k {
			if b != nil && o.raw {
				if _, found := b.find(uint32(i)); found {
					continue
				}
			} else if s, e := o.symbolRange(start, length, i); o.held.Contains(s, e) {
				continue
			}
			m.ESIs = append(m.ESIs, uint32(i))
		}
		m.Need = len(m.ESIs)
		if b != nil {
			m.Need = max(1, k-o.known(sbn, b))
		}
		dst = append(dst, m)
		off = o.held.Missing(int64(start + length))
	}
	return dst
}

// symbolRange is where source symbol i of a block lies in an object without sub-blocks.
func (o *Object) symbolRange(start, length uint64, i int) (from, to int64) {
	t := uint64(o.info.SymbolSize)
	return int64(start + min(length, uint64(i)*t)), int64(start + min(length, uint64(i+1)*t))
}

// blockAt is the source block that an offset is in.
func (o *Object) blockAt(off int64) uint32 {
	t := uint64(o.info.SymbolSize)
	symbols := (o.info.TransferLength + t - 1) / t
	large, small, first, _ := fec.Partition(symbols, o.info.Blocks())
	i := uint64(off) / t
	if i < large*first || small == 0 {
		return uint32(i / large)
	}
	return uint32(first + (i-large*first)/small)
}

// visible tells whether the object is one that events report.
func (o *Object) visible() bool { return o.kind == kindFile }

// full tells whether every octet is there.
func (o *Object) full() bool { return o.hasInfo && o.held.Total() == o.Length() }

// memory is what the object takes of the pool, in octets.
func (o *Object) memory() int64 {
	n := o.data.mem.Held() + o.early.Held()
	for _, b := range o.blocks {
		n += b.data.Held()
	}
	return n
}
