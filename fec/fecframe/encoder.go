package fecframe

import (
	"fmt"
	"slices"

	"github.com/treedn/treedn/fec/ldpc"
	"github.com/treedn/treedn/fec/raptor"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/fec/rs"
)

// codecs hold the plans and matrices of the codes in use.
type codecs struct {
	raptorQ raptorq.Codec
	raptor  raptor.Codec
	ldpc    *ldpc.Code // the latest: blocks tend to be of one size
}

// ldpcCode returns the code of a block of k ADUs with n encoding symbols.
func (x *codecs) ldpcCode(c *Config, k, n int) (*ldpc.Code, error) {
	if x.ldpc != nil && x.ldpc.K() == k && x.ldpc.N() == n {
		return x.ldpc, nil
	}
	code, err := ldpc.NewCode(ldpc.Params{K: k, N: n, N1: int(c.N1m3) + 3, Seed: c.Seed})
	if err == nil {
		x.ldpc = code
	}
	return code, err
}

// Encoder collects ADUs into source blocks. It is not safe for concurrent use; the
// blocks are.
type Encoder struct {
	// Group is the number of symbols in a repair packet with schemes 1 to 4.
	// Default 1. With small symbols, and in schemes 1 to 4 they should be a
	// fraction of an ADU, it is what makes repair packets as long as source
	// packets. It may be changed between blocks.
	Group int

	config  Config
	codecs  *codecs
	sbn     uint32
	adus    []sourceADU
	octets  []byte // of the ADUs, one after the other
	symbols int    // that they take; with schemes 5 and 6 the largest of an ADU
	longest int    // octets of the longest ADU
}

// sourceADU is an ADU of the block under construction.
type sourceADU struct {
	flow  uint8
	seq   uint16
	begin int // in octets
	end   int
	esi   uint32
}

// NewEncoder returns an encoder of which the first source block is number 0.
func NewEncoder(config Config) (*Encoder, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return &Encoder{config: config.populate(), codecs: new(codecs)}, nil
}

// Config returns the configuration, defaults filled in.
func (e *Encoder) Config() Config { return e.config }

// Len returns the number of ADUs in the source block so far.
func (e *Encoder) Len() int { return len(e.adus) }

// symbolsOf returns how many symbols an ADU of n octets takes.
func (c *Config) symbolsOf(n int) int {
	return (n + aduiHeader + c.SymbolSize - 1) / c.SymbolSize
}

// Add adds a copy of an ADU to the source block and returns its Explicit Source FEC
// Payload ID. With schemes 7 and 8 that lacks the block's length SBL, which the caller
// fills in or gets from [Block.SourceID] later. After an error that is [ErrFull], or
// [ErrTooLong], the block is as it was.
func (e *Encoder) Add(flow uint8, adu []byte) (PayloadID, error) {
	if e.config.Scheme.sequenced() {
		return PayloadID{}, fmt.Errorf("%w: no sequence number", ErrConfig)
	}
	n, used := 1, len(e.adus)
	if e.config.Scheme.raptorFamily() {
		n, used = e.config.symbolsOf(len(adu)), e.symbols
	}
	switch {
	case len(adu) > 0xffff, n > e.config.MaxBlock, !e.config.Scheme.raptorFamily() && len(adu) > e.config.SymbolSize-aduiHeader:
		return PayloadID{}, fmt.Errorf("%w: %d octets", ErrTooLong, len(adu))
	case used+n > e.config.MaxBlock:
		return PayloadID{}, ErrFull
	}
	a := e.keep(flow, adu)
	a.esi = uint32(used)
	e.symbols = used + n
	return PayloadID{SBN: e.sbn, ESI: a.esi}, nil
}

// AddSequenced adds a copy of a packet of the flow to the source block; schemes 5 and
// 6. The sequence number, of which the lowest 16 bits count, must be the next one.
func (e *Encoder) AddSequenced(flow uint8, seq uint16, packet []byte) error {
	if !e.config.Scheme.sequenced() {
		return fmt.Errorf("%w: the scheme has no sequence numbers", ErrConfig)
	}
	// All packets take as many symbols as the longest.
	n := max(e.symbols, e.config.symbolsOf(len(packet)))
	switch {
	case len(packet) > 0xffff, e.config.symbolsOf(len(packet)) > e.config.MaxBlock, e.config.RTP && len(packet) < rtpHeader:
		return fmt.Errorf("%w: %d octets", ErrTooLong, len(packet))
	case n*(len(e.adus)+1) > e.config.MaxBlock, len(e.adus) == 1<<16:
		return ErrFull
	case len(e.adus) > 0 && seq != e.adus[len(e.adus)-1].seq+1:
		return fmt.Errorf("%w: %d after %d", ErrGap, seq, e.adus[len(e.adus)-1].seq)
	}
	e.keep(flow, packet).seq = seq
	e.symbols = n
	return nil
}

func (e *Encoder) keep(flow uint8, adu []byte) *sourceADU {
	begin := len(e.octets)
	e.octets = append(e.octets, adu...)
	e.adus = append(e.adus, sourceADU{flow: flow, begin: begin, end: len(e.octets)})
	e.longest = max(e.longest, len(adu))
	return &e.adus[len(e.adus)-1]
}

// Close ends the source block and prepares r repair packets, which is where the time of
// encoding goes. The next ADU begins another block. The block is nil if there are no
// ADUs, and after an error: the codes have their limits, such as Raptor's of at least
// four symbols, and LDPC-Staircase's of at least three repair packets.
func (e *Encoder) Close(r int) (*Block, error) {
	if len(e.adus) == 0 {
		return nil, nil
	}
	b := &Block{
		config: e.config,
		sbn:    e.sbn,
		adus:   slices.Clone(e.adus),
		octets: slices.Clone(e.octets),
		t:      e.config.SymbolSize,
		group:  max(e.Group, 1),
		repair: r,
	}
	switch {
	case e.config.Scheme.sequenced():
		b.sbn = uint32(e.adus[0].seq)
		b.group = e.symbols
		b.k = e.symbols * len(e.adus)
		for i := range b.adus {
			b.adus[i].esi = uint32(i * e.symbols)
		}
	case e.config.Scheme.raptorFamily():
		b.k = e.symbols
	default:
		b.group, b.k = 1, len(e.adus)
		if !e.config.Strict {
			b.t = e.longest + aduiHeader
		}
	}
	e.sbn = (e.sbn + 1) & (1<<e.config.sbnBits() - 1)
	e.adus, e.octets, e.symbols, e.longest = e.adus[:0], e.octets[:0], 0, 0
	if err := b.encode(e.codecs); err != nil {
		return nil, err
	}
	return b, nil
}

// Block is a source block that is complete. It is safe for concurrent use.
type Block struct {
	config Config
	sbn    uint32
	adus   []sourceADU
	octets []byte
	k, t   int // source symbols, octets of each
	group  int // symbols in a repair packet
	repair int
	code   interface {
		AppendSymbol(dst []byte, esi uint32) []byte
	}
}

// encode makes the source symbols and the code.
func (b *Block) encode(codecs *codecs) (err error) {
	k := b.config.codeLength(b.k)
	end := k + b.repair*b.group
	if b.repair < 0 || end > b.config.endESI() || b.config.Scheme == LDPCStaircase && end > b.config.MaxSymbols {
		return fmt.Errorf("%w: %d repair packets of a block of %d symbols", ErrConfig, b.repair, b.k)
	}
	source := make([]byte, 0, k*b.t)
	for i, a := range b.adus {
		adu := b.octets[a.begin:a.end]
		length := len(adu)
		if b.config.RTP {
			length -= rtpHeader
		}
		next := b.k
		if i+1 < len(b.adus) {
			next = int(b.adus[i+1].esi)
		}
		source = AppendADUI(source, a.flow, uint16(length), adu, (next-int(a.esi))*b.t)
	}
	source = source[:k*b.t] // padding symbols are zero
	switch {
	case b.config.Scheme.raptorQ():
		b.code, err = codecs.raptorQ.NewEncoder(source, b.t)
	case b.config.Scheme.raptorFamily():
		b.code, err = codecs.raptor.NewEncoder(source, b.t)
	case b.config.Scheme == LDPCStaircase:
		var code *ldpc.Code
		if code, err = codecs.ldpcCode(&b.config, k, end); err == nil {
			b.code, err = code.NewEncoder(source, b.t)
		}
	default:
		var code *rs.Encoder
		if code, err = rs.NewEncoder(b.config.Matrix, source, b.t); err == nil {
			b.code = ready{k: k, t: b.t, symbols: code.AppendSymbols(nil, uint32(k), b.repair)}
		}
	}
	if err != nil {
		return fmt.Errorf("fecframe: source block %d: %w", b.sbn, err)
	}
	return nil
}

// ready are the repair symbols of a code that makes them faster all at once.
type ready struct {
	k, t    int
	symbols []byte
}

func (r ready) AppendSymbol(dst []byte, esi uint32) []byte {
	at := (int(esi) - r.k) * r.t
	return append(dst, r.symbols[at:at+r.t]...)
}

// Len returns the number of ADUs.
func (b *Block) Len() int { return len(b.adus) }

// Repair returns the number of repair packets.
func (b *Block) Repair() int { return b.repair }

// SourceID returns the Explicit Source FEC Payload ID of ADU i. With schemes 5 and 6
// there is none, and it tells what the receiver finds out: the block's first sequence
// number, length, and the ADU's ESI.
func (b *Block) SourceID(i int) PayloadID {
	return PayloadID{SBN: b.sbn, ESI: b.adus[i].esi, SBL: uint16(b.k)}
}

// AppendSource appends source packet i: ADU and Explicit Source FEC Payload ID.
func (b *Block) AppendSource(dst []byte, i int) []byte {
	a := b.adus[i]
	dst = append(dst, b.octets[a.begin:a.end]...)
	return b.config.AppendSourceID(dst, b.SourceID(i))
}

// AppendRepair appends repair packet i: Repair FEC Payload ID and symbols. It does not
// allocate when dst has room.
func (b *Block) AppendRepair(dst []byte, i int) ([]byte, error) {
	if i < 0 || i >= b.repair {
		return dst, fmt.Errorf("%w: repair packet %d of %d", ErrPacket, i, b.repair)
	}
	k := b.config.codeLength(b.k)
	id := PayloadID{SBN: b.sbn, ESI: uint32(k + i*b.group), SBL: uint16(b.k)}
	if b.config.Scheme == LDPCStaircase {
		id.N = uint16(k + b.repair)
	}
	dst = b.config.AppendRepairID(dst, id)
	for j := range uint32(b.group) {
		dst = b.code.AppendSymbol(dst, id.ESI+j)
	}
	return dst, nil
}
