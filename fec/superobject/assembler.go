package superobject

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/fec/raptorq"
)

// DefaultMaxMemory is the default of [Config.MaxMemory], in octets.
const DefaultMaxMemory = 64 << 20

// Config has the choices of an assembler. The zero value is useful.
type Config struct {
	// MaxMemory bounds what the assembler holds, in octets. Default
	// DefaultMaxMemory.
	MaxMemory int

	// Codec shares memory between assemblers; nil means a new one.
	Codec *raptorq.Codec
}

// Piece is octets of a member that were recovered.
type Piece struct {
	Member int
	Offset uint64 // in the FEC object
	Data   []byte // the caller's to keep
}

// Assembler recovers what source packets did not bring. It is not safe for concurrent
// use.
type Assembler struct {
	info    fec.ObjectInfo
	members []Member
	begin   []uint64 // of each member, in octets of the super-object; one more for the end
	known   []bool   // Length is known
	config  Config

	blocks map[uint32]*rxBlock
	done   map[uint32]bool
	used   int
	out    []Piece

	// pending has recovered symbols that may or may not be the end of an object of
	// which the length is not known yet.
	pending map[int]Piece
}

// rxBlock is a source block that is not complete.
type rxBlock struct {
	k        int
	first    uint64 // its first symbol's number in the super-object
	code     *raptorq.Decoder
	symbols  int
	reserved int
	partial  map[int]*partial // by ESI
}

// partial is a symbol of which some octets are known.
type partial struct {
	data  []byte
	known []bool
	left  int
}

// NewAssembler prepares to recover a super-object. Members come with Symbols, and with
// a Length if it is known already; then it is not zero, or [Assembler.SetLength] says
// so.
func NewAssembler(info fec.ObjectInfo, members []Member, config Config) (*Assembler, error) {
	if err := info.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLayout, err)
	}
	if config.MaxMemory <= 0 {
		config.MaxMemory = DefaultMaxMemory
	}
	if config.Codec == nil {
		config.Codec = new(raptorq.Codec)
	}
	a := &Assembler{
		info: info, config: config,
		members: append([]Member(nil), members...),
		known:   make([]bool, len(members)),
		blocks:  make(map[uint32]*rxBlock),
		done:    make(map[uint32]bool),
		pending: make(map[int]Piece),
	}
	at := uint64(0)
	for i := range a.members {
		m := &a.members[i]
		if m.Symbols == 0 {
			m.Symbols = Symbols(m.Length, info.SymbolSize)
		}
		a.begin = append(a.begin, at)
		at += uint64(m.Symbols) * uint64(info.SymbolSize)
	}
	a.begin = append(a.begin, at)
	if info.ID != fec.RaptorQ || info.SubBlocks != 1 || info.SymbolSize < lengthField || len(members) == 0 || at != info.TransferLength {
		return nil, fmt.Errorf("%w: %d members of %d octets, OTI of %v for %d", ErrLayout, len(members), at, info.ID, info.TransferLength)
	}
	for i, m := range members {
		if m.Length > 0 {
			if err := a.SetLength(i, m.Length); err != nil {
				return nil, err
			}
		}
	}
	return a, nil
}

// SetLength tells the length of a member's FEC object, once it is known from elsewhere:
// that makes the padding and the length field of its last symbol known.
func (a *Assembler) SetLength(member int, length uint32) error {
	if member < 0 || member >= len(a.members) || Symbols(length, a.info.SymbolSize) != a.members[member].Symbols {
		return fmt.Errorf("%w: length %d of member %d", ErrPacket, length, member)
	}
	m := &a.members[member]
	if a.known[member] {
		if m.Length != length {
			return fmt.Errorf("%w: length %d of member %d, which has %d", ErrPacket, length, member, m.Length)
		}
		return nil
	}
	a.learn(member, length)
	size := a.begin[member+1] - a.begin[member]
	tail := make([]byte, size-uint64(length))
	binary.BigEndian.PutUint32(tail[len(tail)-lengthField:], length)
	return a.add(a.begin[member]+uint64(length), tail)
}

// Source takes octets of a member's FEC object. Octets may overlap others; what arrived
// first stays.
func (a *Assembler) Source(member int, offset uint64, data []byte) error {
	if member < 0 || member >= len(a.members) {
		return fmt.Errorf("%w: member %d", ErrPacket, member)
	}
	room := a.begin[member+1] - a.begin[member] - lengthField
	if a.known[member] {
		room = uint64(a.members[member].Length)
	}
	if offset > room || uint64(len(data)) > room-offset {
		return fmt.Errorf("%w: octets %d to %d of member %d", ErrPacket, offset, offset+uint64(len(data)), member)
	}
	return a.add(a.begin[member]+offset, data)
}

// add takes octets of the super-object, symbol by symbol.
func (a *Assembler) add(at uint64, data []byte) error {
	t := uint64(a.info.SymbolSize)
	for len(data) > 0 {
		n := min(t-at%t, uint64(len(data)))
		if err := a.addToSymbol(at/t, int(at%t), data[:n]); err != nil {
			return err
		}
		at += n
		data = data[n:]
	}
	return nil
}

func (a *Assembler) addToSymbol(symbol uint64, from int, data []byte) error {
	sbn, esi := a.locate(symbol)
	if a.done[sbn] {
		return nil
	}
	b, err := a.open(sbn)
	if err != nil {
		return err
	}
	if b.code.Symbol(esi) != nil {
		return nil
	}
	p := b.partial[esi]
	if p == nil {
		if len(data) == b.code.SymbolSize() {
			return a.give(sbn, b, uint32(esi), data)
		}
		p = &partial{data: make([]byte, b.code.SymbolSize()), known: make([]bool, b.code.SymbolSize()), left: b.code.SymbolSize()}
		b.partial[esi] = p
	}
	for i, x := range data {
		if !p.known[from+i] {
			p.known[from+i] = true
			p.data[from+i] = x
			p.left--
		}
	}
	if p.left > 0 {
		return nil
	}
	delete(b.partial, esi)
	return a.give(sbn, b, uint32(esi), p.data)
}

// locate returns the source block and the ESI of a symbol of the super-object
// (RFC 6330 section 4.4.1.2).
func (a *Assembler) locate(symbol uint64) (sbn uint32, esi int) {
	kl, ks, zl, _ := fec.Partition(a.info.TransferLength/uint64(a.info.SymbolSize), uint64(a.info.SourceBlocks))
	if symbol < kl*zl {
		return uint32(symbol / kl), int(symbol % kl)
	}
	symbol -= kl * zl
	return uint32(zl + symbol/ks), int(symbol % ks)
}

// open returns a block that is not done, and begins it if need be.
func (a *Assembler) open(sbn uint32) (*rxBlock, error) {
	if b := a.blocks[sbn]; b != nil {
		return b, nil
	}
	k, offset, _ := a.info.Block(sbn)
	t := int(a.info.SymbolSize)
	// Partial symbols take twice their size.
	need := object.BlockMemory(&a.info, k) + 2*uint64(k)*uint64(t)
	if need > uint64(a.config.MaxMemory-a.used) {
		return nil, fmt.Errorf("%w: source block %d takes %d octets", ErrBudget, sbn, need)
	}
	code, err := a.config.Codec.NewDecoder(k, t)
	if err != nil {
		return nil, fmt.Errorf("superobject: source block %d: %w", sbn, err)
	}
	b := &rxBlock{k: k, first: offset / uint64(t), code: code, reserved: int(need), partial: make(map[int]*partial)}
	a.blocks[sbn] = b
	a.used += b.reserved
	return b, nil
}

// Repair takes the FEC Payload ID and the repair symbols of a repair packet.
func (a *Assembler) Repair(packet []byte) error {
	id, err := fec.ParsePayloadID(fec.RaptorQ, packet)
	if err != nil {
		return err
	}
	symbols := packet[fec.RaptorQ.PayloadIDLen():]
	k, _, _ := a.info.Block(id.SBN)
	t := int(a.info.SymbolSize)
	count := len(symbols) / t
	if k == 0 || int(id.ESI) < k || count == 0 || len(symbols)%t != 0 || int(id.ESI)+count > raptorq.MaxESI+1 {
		return fmt.Errorf("%w: source block %d, ESI %d, %d octets", ErrPacket, id.SBN, id.ESI, len(symbols))
	}
	for i := range count {
		if a.done[id.SBN] {
			return nil
		}
		b, err := a.open(id.SBN)
		if err != nil {
			return err
		}
		if b.symbols > k+k/8+64 {
			return fmt.Errorf("%w: %d symbols do not decode source block %d", ErrBudget, b.symbols, id.SBN)
		}
		if err := a.give(id.SBN, b, id.ESI+uint32(i), symbols[i*t:(i+1)*t]); err != nil {
			return err
		}
	}
	return nil
}

// give gives a symbol to the code, and recovers what is missing if it can.
func (a *Assembler) give(sbn uint32, b *rxBlock, esi uint32, symbol []byte) error {
	fresh, err := b.code.Add(esi, symbol)
	if err != nil {
		return fmt.Errorf("superobject: source block %d: %w", sbn, err)
	}
	if fresh {
		b.symbols++
	}
	if b.code.Need() > 0 {
		return nil
	}
	var missing []int
	for i := range b.k {
		if b.code.Symbol(i) == nil {
			missing = append(missing, i)
		}
	}
	if !b.code.Decode() {
		return nil
	}
	a.used -= b.reserved
	delete(a.blocks, sbn)
	if err := a.check(b, missing); err != nil {
		return fmt.Errorf("%w: source block %d", err, sbn)
	}
	a.done[sbn] = true
	for _, esi := range missing {
		a.deliver(b, esi)
	}
	return nil
}

// check compares decoded symbols with the octets of them that arrived, looks at padding
// and lengths, and learns lengths.
func (a *Assembler) check(b *rxBlock, missing []int) error {
	t := uint64(a.info.SymbolSize)
	lengths := make(map[int]uint32)
	for _, esi := range missing {
		at := (b.first + uint64(esi)) * t
		if m := a.memberAt(at); at+t == a.begin[m+1] {
			length := binary.BigEndian.Uint32(b.code.Symbol(esi)[t-lengthField:])
			if Symbols(length, a.info.SymbolSize) != a.members[m].Symbols || a.known[m] && length != a.members[m].Length {
				return ErrPoisoned
			}
			lengths[m] = length
		}
	}
	for _, esi := range missing {
		symbol := b.code.Symbol(esi)
		if p := b.partial[esi]; p != nil {
			for i, known := range p.known {
				if known && p.data[i] != symbol[i] {
					return ErrPoisoned
				}
			}
		}
		at := (b.first + uint64(esi)) * t
		m := a.memberAt(at)
		length, ok := lengths[m]
		if a.known[m] {
			length, ok = a.members[m].Length, true
		}
		if ok {
			padding := symbol[min(t, max(a.begin[m]+uint64(length), at)-at):min(t, a.begin[m+1]-lengthField-at)]
			if bytes.Count(padding, []byte{0}) != len(padding) {
				return ErrPoisoned
			}
		}
	}
	for m, length := range lengths {
		a.learn(m, length)
	}
	return nil
}

// learn notes the length of a member.
func (a *Assembler) learn(member int, length uint32) {
	a.known[member] = true
	a.members[member].Length = length
	if p, ok := a.pending[member]; ok {
		delete(a.pending, member)
		a.queue(p)
	}
}

// memberAt returns the member that an octet of the super-object belongs to.
func (a *Assembler) memberAt(at uint64) int {
	low, high := 0, len(a.members)
	for high-low > 1 {
		if mid := (low + high) / 2; a.begin[mid] <= at {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// deliver queues the octets of a FEC object that a decoded symbol has.
func (a *Assembler) deliver(b *rxBlock, esi int) {
	t := uint64(a.info.SymbolSize)
	at := (b.first + uint64(esi)) * t
	m := a.memberAt(at)
	p := Piece{Member: m, Offset: at - a.begin[m], Data: b.code.Symbol(esi)}
	// Padding may begin in the last symbol but one, if the length field alone is in
	// the last. Only the length tells; the last symbol itself makes it known.
	if !a.known[m] && at+2*t == a.begin[m+1] {
		a.pending[m] = p
		return
	}
	a.queue(p)
}

// queue queues what of a piece is the object's.
func (a *Assembler) queue(p Piece) {
	if n := uint64(len(p.Data)); a.known[p.Member] {
		length := uint64(a.members[p.Member].Length)
		n = min(n, max(length, p.Offset)-p.Offset)
		p.Data = p.Data[:n:n]
	}
	if len(p.Data) > 0 {
		a.out = append(a.out, p)
	}
}

// Length returns the length of a member's FEC object, if it is known by now.
func (a *Assembler) Length(member int) (uint32, bool) {
	if member < 0 || member >= len(a.members) {
		return 0, false
	}
	return a.members[member].Length, a.known[member]
}

// Next returns the next recovered piece.
func (a *Assembler) Next() (Piece, bool) {
	if len(a.out) == 0 {
		return Piece{}, false
	}
	p := a.out[0]
	if a.out = a.out[1:]; len(a.out) == 0 {
		a.out = nil
	}
	return p, true
}

// Done reports whether every source block is complete: all objects are there, from
// source packets or from what Next returned.
func (a *Assembler) Done() bool { return uint64(len(a.done)) == a.info.Blocks() }

// Need returns a lower bound of the symbols that source block sbn still needs.
func (a *Assembler) Need(sbn uint32) int {
	if a.done[sbn] {
		return 0
	}
	if b := a.blocks[sbn]; b != nil {
		return max(b.code.Need(), 1)
	}
	k, _, _ := a.info.Block(sbn)
	return k
}

// Memory returns the octets that are reserved.
func (a *Assembler) Memory() int { return a.used }
