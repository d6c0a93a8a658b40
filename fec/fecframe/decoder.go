package fecframe

import (
	"bytes"
	"fmt"

	"github.com/treedn/treedn/fec/ldpc"
	"github.com/treedn/treedn/fec/rs"
)

// Limits bound what a decoder holds. The zero value has useful defaults.
type Limits struct {
	// Blocks is how many source blocks are waited for at once, the newest ones:
	// as many as are under way in a repair window, and one more. Default 4.
	Blocks int

	// Memory bounds all of them, in octets, if each is as large as the
	// configuration allows for. Default 256 MB.
	Memory int
}

func (l Limits) populate() Limits {
	if l.Blocks <= 0 {
		l.Blocks = 4
	}
	if l.Memory <= 0 {
		l.Memory = 256 << 20
	}
	return l
}

// ADU is a recovered application data unit.
type ADU struct {
	Flow uint8
	Data []byte // the caller's to keep

	// SBN and ESI tell its place. With schemes 5 and 6 Seq is its sequence number,
	// the lowest 16 bits of it, and SBN that of its block's first packet.
	SBN uint32
	ESI uint32
	Seq uint16
}

// Decoder recovers lost ADUs. It is not safe for concurrent use.
type Decoder struct {
	config Config
	limits Limits
	codecs *codecs

	blocks map[uint32]*rxBlock // by SBN; with schemes 5 and 6 by Initial Sequence Number
	newest uint32              // SBN
	begun  bool                // newest is valid
	order  []uint32            // Initial Sequence Numbers, the oldest first

	recent recent // packets of schemes 5 and 6 that may belong to a block

	out []ADU // recovered, not delivered yet
}

// NewDecoder returns a decoder. An error that is [ErrBudget] means that the limits do
// not allow for blocks of the configuration.
func NewDecoder(config Config, limits Limits) (*Decoder, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	d := &Decoder{
		config: config.populate(), limits: limits.populate(), codecs: new(codecs),
		blocks: make(map[uint32]*rxBlock),
	}
	if need := d.config.blockMemory() * uint64(d.limits.Blocks); need > uint64(d.limits.Memory) {
		return nil, fmt.Errorf("%w: %d blocks may take %d octets", ErrBudget, d.limits.Blocks, need)
	}
	return d, nil
}

// spare is how many symbols beyond k a block takes, in addition to an eighth of k.
const spare = 64

// blockMemory bounds the memory of one block, in octets.
func (c *Config) blockMemory() uint64 {
	k, t := uint64(c.MaxBlock), uint64(c.SymbolSize)
	const each = 400 // octets of bookkeeping for a symbol, while planning
	switch {
	case c.Scheme == ReedSolomon:
		return k*t + 2*rs.MaxSymbols*t
	case c.Scheme == LDPCStaircase:
		n := uint64(c.MaxSymbols)
		return k*t + n*(t+each) + min(n*n/4, 64<<20)
	}
	n := k + k/8 + 2*spare // received, or intermediate
	return 2*k*t + 2*n*(t+each)
}

// rxBlock is a source block of which some packets have arrived.
type rxBlock struct {
	k, n, t int // source symbols, encoding symbols, size; zero until known
	group   int // symbols of an ADU, schemes 5 and 6

	// source has the ADU information of packets that arrived, without its padding
	// and under its first ESI; nil once it is with the code.
	source map[uint32][]byte

	code    blockCode
	symbols int // accepted by the code, padding symbols included
	done    bool

	// recovered has the first ESIs of ADUs that were recovered.
	recovered map[uint32]struct{}

	free []byte // memory for source
}

// pieceSize is how many octets of memory a block takes at once for its source packets.
const pieceSize = 16 << 10

// keep returns the ADU information of a source packet.
func (b *rxBlock) keep(flow uint8, adu []byte) []byte {
	n := aduiHeader + len(adu)
	if len(b.free) < n {
		b.free = make([]byte, max(n, pieceSize))
	}
	adui := AppendADUI(b.free[:0:n], flow, uint16(len(adu)), adu, 0)
	b.free = b.free[n:]
	return adui
}

// blockCode is the decoder of a code.
type blockCode interface {
	Add(esi uint32, symbol []byte) (fresh bool, err error)
	Need() int
	Decode() bool
	Symbol(i int) []byte
}

// Config returns the configuration, defaults filled in.
func (d *Decoder) Config() Config { return d.config }

// Next returns the next recovered ADU, in the order of their blocks' completion and of
// their places in the blocks.
func (d *Decoder) Next() (ADU, bool) {
	if len(d.out) == 0 {
		return ADU{}, false
	}
	adu := d.out[0]
	d.out[0] = ADU{}
	if d.out = d.out[1:]; len(d.out) == 0 {
		d.out = nil
	}
	return adu, true
}

// Reset forgets all blocks, as is right when a sender begins anew.
func (d *Decoder) Reset() {
	clear(d.blocks)
	d.begun, d.order, d.recent, d.out = false, nil, recent{}, nil
}

// Source takes a source packet of schemes 1 to 4, 7 and 8, and returns the ADU in it,
// which is part of the packet and good whatever the error: that only tells why the
// packet is of no use to others, or that the ADU has been recovered already.
func (d *Decoder) Source(flow uint8, packet []byte) (adu []byte, err error) {
	adu, id, err := d.config.CutSourceID(packet)
	if err != nil {
		return nil, err
	}
	if d.config.Scheme.sequenced() {
		return adu, fmt.Errorf("%w: no sequence number", ErrConfig)
	}
	n, k := 1, int(id.SBL)
	if d.config.Scheme.raptorFamily() {
		n, k = d.config.symbolsOf(len(adu)), d.config.MaxBlock
	}
	if len(adu) > 0xffff || int(id.ESI)+n > k || k > d.config.MaxBlock || !d.config.Scheme.raptorFamily() && len(adu) > d.config.SymbolSize-aduiHeader {
		return adu, fmt.Errorf("%w: ADU of %d octets, ESI %d, block of %d", ErrPacket, len(adu), id.ESI, k)
	}
	b, err := d.block(id.SBN)
	if err != nil {
		return adu, err
	}
	if b.done {
		return adu, b.late(id.ESI)
	}
	if !d.config.Scheme.raptorFamily() {
		if b.k != 0 && b.k != k {
			return adu, fmt.Errorf("%w: source block %d of %d and %d symbols", ErrConflict, id.SBN, b.k, k)
		}
		b.k = k
	}
	return adu, d.addSource(id.SBN, b, id.ESI, b.keep(flow, adu))
}

// block returns the block of a number, which it begins if it is new.
func (d *Decoder) block(sbn uint32) (*rxBlock, error) {
	shift := 32 - d.config.sbnBits()
	age := int32((d.newest-sbn)<<shift) >> shift
	switch {
	case !d.begun || age < 0:
		d.newest, d.begun = sbn, true
		for other := range d.blocks {
			if int32((sbn-other)<<shift)>>shift >= int32(d.limits.Blocks) || int32((sbn-other)<<shift) < 0 {
				delete(d.blocks, other)
			}
		}
	case int(age) >= d.limits.Blocks:
		return nil, fmt.Errorf("%w: source block %d", ErrOld, sbn)
	}
	b := d.blocks[sbn]
	if b == nil {
		b = &rxBlock{source: make(map[uint32][]byte)}
		d.blocks[sbn] = b
	}
	return b, nil
}

// addSource gives the ADU information of a source packet to its block.
func (d *Decoder) addSource(sbn uint32, b *rxBlock, esi uint32, adui []byte) error {
	if have, ok := b.source[esi]; ok {
		if have != nil && !bytes.Equal(have, adui) {
			return fmt.Errorf("%w: source block %d, ESI %d", ErrConflict, sbn, esi)
		}
		return nil
	}
	b.source[esi] = adui
	if b.code == nil {
		if !d.config.Scheme.raptorFamily() && len(b.source) == b.k {
			b.finish() // all are there, and none needs repair
		}
		return nil
	}
	if err := d.feed(b, esi, adui); err != nil {
		return fmt.Errorf("%w: source block %d, ESI %d: %w", ErrConflict, sbn, esi, err)
	}
	return d.decode(sbn, b)
}

// feed gives ADU information to the code.
func (d *Decoder) feed(b *rxBlock, esi uint32, adui []byte) error {
	n := (len(adui) + b.t - 1) / b.t
	if b.group > 0 {
		n = b.group
	}
	if len(adui) > n*b.t || int(esi)+n > b.k || b.group == 0 && n > 1 && !d.config.Scheme.raptorFamily() {
		return fmt.Errorf("%w: %d octets in a block of %d symbols of %d", ErrPacket, len(adui), b.k, b.t)
	}
	b.source[esi] = nil
	for i := range n {
		symbol := adui[min(i*b.t, len(adui)):min((i+1)*b.t, len(adui))]
		if len(symbol) < b.t {
			symbol = append(make([]byte, 0, b.t), symbol...)[:b.t]
		}
		fresh, err := b.code.Add(esi+uint32(i), symbol)
		if err != nil {
			return err
		}
		if fresh {
			b.symbols++
		}
	}
	return nil
}

// Repair takes a repair packet.
func (d *Decoder) Repair(packet []byte) error {
	symbols, id, err := d.config.CutRepairID(packet)
	if err != nil {
		return err
	}
	shape, err := d.shape(id, symbols)
	if err != nil {
		return err
	}
	var b *rxBlock
	if d.config.Scheme.sequenced() {
		b, err = d.sequencedBlock(id.SBN)
	} else {
		b, err = d.block(id.SBN)
	}
	if err != nil || b.done {
		return err
	}
	switch {
	case b.code != nil:
		if b.k != shape.k || b.n != shape.n || b.t != shape.t || b.group != shape.group {
			return fmt.Errorf("%w: source block %d has %d symbols, not %d", ErrConflict, id.SBN, b.k, shape.k)
		}
	case b.k != 0 && b.k != shape.k:
		return fmt.Errorf("%w: source block %d has %d symbols, not %d", ErrConflict, id.SBN, b.k, shape.k)
	default:
		if err := d.open(id.SBN, b, shape); err != nil {
			return err
		}
	}
	k := d.config.codeLength(b.k)
	if b.symbols > k+k/8+spare && d.config.Scheme != LDPCStaircase {
		return fmt.Errorf("%w: %d symbols do not decode source block %d", ErrBudget, b.symbols, id.SBN)
	}
	for i := 0; i < len(symbols); i += b.t {
		fresh, err := b.code.Add(id.ESI+uint32(i/b.t), symbols[i:i+b.t])
		if err != nil {
			return fmt.Errorf("%w: source block %d: %w", ErrConflict, id.SBN, err)
		}
		if fresh {
			b.symbols++
		}
	}
	return d.decode(id.SBN, b)
}

// shape checks a repair packet and returns what it tells of its block.
func (d *Decoder) shape(id PayloadID, symbols []byte) (b rxBlock, err error) {
	c := &d.config
	b = rxBlock{k: int(id.SBL), t: c.SymbolSize, n: c.endESI()}
	if !c.Scheme.raptorFamily() && !c.Strict {
		b.t = len(symbols)
	}
	refuse := func() (rxBlock, error) {
		return rxBlock{}, fmt.Errorf("%w: ESI %d, block of %d, %d octets of symbols", ErrPacket, id.ESI, id.SBL, len(symbols))
	}
	if b.t == 0 || len(symbols) == 0 || len(symbols)%b.t != 0 || b.k < 1 || b.k > c.MaxBlock {
		return refuse()
	}
	count := len(symbols) / b.t
	switch {
	case c.Scheme.sequenced():
		b.group = count
		if b.k%count != 0 {
			return refuse()
		}
	case c.Scheme == LDPCStaircase:
		if b.n = int(id.N); b.n > c.MaxSymbols {
			return refuse()
		}
	}
	if !c.Scheme.raptorFamily() && (count != 1 || b.t > c.SymbolSize || b.t < aduiHeader) {
		return refuse()
	}
	if int(id.ESI) < c.codeLength(b.k) || int(id.ESI)+count > b.n {
		return refuse()
	}
	return b, nil
}

// open makes the code of a block and gives it what has arrived.
func (d *Decoder) open(sbn uint32, b *rxBlock, shape rxBlock) (err error) {
	c := &d.config
	k := c.codeLength(shape.k)
	var code blockCode
	switch {
	case c.Scheme.raptorQ():
		code, err = d.codecs.raptorQ.NewDecoder(k, shape.t)
	case c.Scheme.raptorFamily():
		code, err = d.codecs.raptor.NewDecoder(k, shape.t)
	case c.Scheme == LDPCStaircase:
		var matrix *ldpc.Code
		if matrix, err = d.codecs.ldpcCode(c, k, shape.n); err == nil {
			code, err = matrix.NewDecoder(shape.t)
		}
	default:
		code, err = rs.NewDecoder(c.Matrix, k, shape.t)
	}
	if err != nil {
		return fmt.Errorf("%w: source block %d: %w", ErrPacket, sbn, err)
	}
	b.k, b.n, b.t, b.group, b.code = shape.k, shape.n, shape.t, shape.group, code
	zero := make([]byte, b.t)
	for i := b.k; i < k; i++ { // padding symbols are known
		if _, err := code.Add(uint32(i), zero); err == nil {
			b.symbols++
		}
	}
	if c.Scheme.sequenced() {
		for i := range b.k / b.group {
			if adui, ok := d.recent.packets[uint16(sbn)+uint16(i)]; ok {
				b.source[uint32(i*b.group)] = adui
			}
		}
	}
	for esi, adui := range b.source {
		if err := d.feed(b, esi, adui); err != nil {
			// It cannot be of this block, or the repair packet is not: the
			// block is decoded from the others.
			delete(b.source, esi)
		}
	}
	return nil
}

// decode recovers what is missing, if it can.
func (d *Decoder) decode(sbn uint32, b *rxBlock) error {
	if b.code.Need() > 0 || !b.code.Decode() {
		return nil
	}
	source, code := b.source, b.code
	b.finish()
	uncounted := 0
	if d.config.RTP {
		uncounted = rtpHeader
	}
	first := len(d.out)
	for esi := 0; esi < b.k; {
		n := b.group
		if n == 0 {
			n = 1
			if d.config.Scheme.raptorFamily() {
				n = d.leading(b, code, esi)
			}
		}
		if esi+n > b.k {
			d.out = d.out[:first]
			return fmt.Errorf("%w: source block %d, ESI %d", ErrPoisoned, sbn, esi)
		}
		if _, have := source[uint32(esi)]; !have {
			adui := make([]byte, 0, n*b.t)
			for i := range n {
				adui = append(adui, code.Symbol(esi+i)...)
			}
			flow, adu, err := ParseADUI(adui, uncounted)
			if err != nil {
				d.out = d.out[:first]
				return fmt.Errorf("source block %d, ESI %d: %w", sbn, esi, err)
			}
			out := ADU{Flow: flow, Data: adu, SBN: sbn, ESI: uint32(esi)}
			if b.group > 0 {
				out.Seq = uint16(sbn) + uint16(esi/b.group)
			}
			d.out = append(d.out, out)
			if b.recovered == nil {
				b.recovered = make(map[uint32]struct{})
			}
			b.recovered[uint32(esi)] = struct{}{}
		}
		esi += n
	}
	return nil
}

// leading returns how many symbols the ADU takes whose information begins with the
// given one. Symbols may be shorter than its header.
func (d *Decoder) leading(b *rxBlock, code blockCode, esi int) int {
	var header [aduiHeader]byte
	for n := 0; n < len(header) && esi < b.k; esi++ {
		n += copy(header[n:], code.Symbol(esi))
	}
	return d.config.symbolsOf(int(header[1])<<8 | int(header[2]))
}

// late tells what to make of a source packet of a block that is done.
func (b *rxBlock) late(esi uint32) error {
	if _, ok := b.recovered[esi]; ok {
		return fmt.Errorf("%w: ESI %d", ErrRecovered, esi)
	}
	return nil
}

// finish frees the memory of a block.
func (b *rxBlock) finish() {
	b.done, b.code, b.source, b.free = true, nil, nil, nil
}
