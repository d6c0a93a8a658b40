package fec

import (
	"github.com/treedn/treedn/fec/internal/kprime"
)

// Defaults of [Derivation].
const (
	DefaultMemory    = 10 << 20
	DefaultAlignment = 8
	DefaultSubSymbol = 8
)

// Derivation is how a sender of Raptor or RaptorQ turns limits into the parameters
// that it announces (RFC 6330 section 4.3, RFC 5053 section 4.2). Receivers do not
// care how it came by them.
type Derivation struct {
	// Payload is P' or P, the room for symbols in a packet, in octets. It is
	// rounded down to a multiple of Alignment.
	Payload int

	// Memory is WS or W, the size of a sub-block that receivers can decode in
	// working memory, in octets. Default DefaultMemory.
	Memory uint64

	// Alignment is Al in octets. Default DefaultAlignment; the RFCs recommend 4
	// and permit what suits the machine.
	Alignment uint8

	// SubSymbol is SS: sub-symbols shall not be shorter than SS*Al octets. Default
	// DefaultSubSymbol. Not used by Raptor.
	SubSymbol int
}

func (d Derivation) populate() Derivation {
	if d.Memory == 0 {
		d.Memory = DefaultMemory
	}
	if d.Alignment == 0 {
		d.Alignment = DefaultAlignment
	}
	if d.SubSymbol <= 0 {
		d.SubSymbol = DefaultSubSymbol
	}
	d.Payload = max(0, min(d.Payload, 0xffff))
	d.Payload -= d.Payload % int(d.Alignment)
	return d
}

// RaptorQ returns the OTI of an object of length octets, one symbol to a packet.
// An error that is [ErrInvalid] means that no parameters fit.
func (d Derivation) RaptorQ(length uint64) (ObjectInfo, error) {
	d = d.populate()
	al, t := uint64(d.Alignment), uint64(d.Payload)
	o := ObjectInfo{
		ID: RaptorQ, TransferLength: length, SymbolSize: uint16(t),
		SourceBlocks: 1, SubBlocks: 1, Alignment: d.Alignment,
	}
	if t == 0 {
		return ObjectInfo{}, o.invalid("payload shorter than Al")
	}
	if length > 0 {
		nMax := max(t/(uint64(d.SubSymbol)*al), 1)
		fits := func(n uint64) uint64 { // KL(n)
			return uint64(kprime.Floor(d.Memory / (al * ceilDiv(t, al*n))))
		}
		most := fits(nMax)
		if most == 0 {
			return ObjectInfo{}, o.invalid("no block fits %d octets of memory", d.Memory)
		}
		z := ceilDiv(o.symbols(), most)
		if z > 255 {
			return ObjectInfo{}, o.invalid("%d source blocks", z)
		}
		n := uint64(1)
		for ceilDiv(o.symbols(), z) > fits(n) {
			n++
		}
		o.SourceBlocks, o.SubBlocks = uint16(z), uint16(n)
	}
	return o, o.Validate()
}

// RFC 5053 section 4.2: Kmax, Kmin and Gmax.
const (
	raptorMaxBlock = 8192
	raptorMinBlock = 1024
	raptorMaxGroup = 10
)

// Raptor returns the OTI of an object of length octets, and how many symbols to put
// into a packet: small objects are cut into small symbols, since the code is better
// for many. An error that is [ErrInvalid] means that no parameters fit; an object
// needs four symbols.
func (d Derivation) Raptor(length uint64) (o ObjectInfo, group int, err error) {
	d = d.populate()
	al, p := uint64(d.Alignment), uint64(d.Payload)
	o = ObjectInfo{ID: Raptor, TransferLength: length, SourceBlocks: 1, SubBlocks: 1, Alignment: d.Alignment}
	if p == 0 {
		return ObjectInfo{}, 0, o.invalid("payload shorter than Al")
	}
	g := uint64(1)
	if length > 0 {
		g = min(ceilDiv(p*raptorMinBlock, length), p/al, raptorMaxGroup)
	}
	o.SymbolSize = uint16(p / (al * g) * al)
	t := uint64(o.SymbolSize)
	if length > 0 {
		z := ceilDiv(o.symbols(), raptorMaxBlock)
		n := min(ceilDiv(ceilDiv(o.symbols(), z)*t, d.Memory), t/al)
		if z > 0xffff || n > 255 {
			return ObjectInfo{}, 0, o.invalid("%d source blocks of %d sub-blocks", z, n)
		}
		o.SourceBlocks, o.SubBlocks = uint16(z), uint16(n)
	}
	return o, int(g), o.Validate()
}
