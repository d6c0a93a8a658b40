package flute

import (
	"fmt"
	"math"
	"sort"

	"github.com/treedn/treedn/fec"
)

// plan is how an object is cut and protected.
type plan struct {
	info  fec.ObjectInfo
	group int // symbols in a packet
}

// repair is the number of repair packets of a block of k source packets.
func (f *FEC) repair(k int) int {
	if f.Scheme == fec.CompactNoCode {
		return 0
	}
	r := f.Loss.Plan(k).Repair
	if f.Overhead > 0 {
		r = int(math.Ceil(f.Overhead * float64(k)))
	}
	if f.Scheme == fec.LDPCStaircase {
		r += k/20 + 8 // such codes need more than k symbols
	}
	return r
}

const (
	defaultBlock = 1024
	// noCodeBlock is a block without a code, whose size is of no consequence, except that GPAC's receiver knows one block
	// only. It has the most symbols that an ESI counts.
	noCodeBlock = math.MaxUint16
	// derivationMemory keeps objects of Raptor in one sub-block.
	derivationMemory = 1 << 30
	ldpcSeed         = 1
	ldpcSymbols      = 4  // of an object, at least
	raptorQBlock     = 10 // symbols, the smallest one
)

// even is the number of symbols in a block if an object of n octets is cut into as few blocks as there can be, all alike:
// how many repair symbols a block has goes by the size of the largest one that may be.
func even(n uint64, room, block int) int {
	symbols := max(1, (n+uint64(room)-1)/uint64(room))
	blocks := (symbols + uint64(block) - 1) / uint64(block)
	return int((symbols + blocks - 1) / blocks)
}

// cut plans an object of length octets for packets with room octets.
func (f *FEC) cut(length int64, room int) (plan, error) {
	n := uint64(length)
	block := f.MaxBlock
	if block <= 0 {
		block = defaultBlock
	}
	p := plan{group: 1, info: fec.ObjectInfo{ID: f.Scheme, TransferLength: n, SymbolSize: uint16(min(room, math.MaxUint16))}}
	var err error
	switch f.Scheme {
	case fec.CompactNoCode:
		p.info.MaxBlock = noCodeBlock
		if f.MaxBlock > 0 {
			p.info.MaxBlock = uint32(min(f.MaxBlock, noCodeBlock))
		}
	case fec.RaptorQ:
		d := fec.Derivation{Payload: room, Alignment: 4, Memory: uint64(max(block, raptorQBlock) * room), SubSymbol: room}
		p.info, err = d.RaptorQ(n)
	case fec.Raptor:
		d := fec.Derivation{Payload: room, Alignment: 4, Memory: derivationMemory}
		if p.info, p.group, err = d.Raptor(n); err != nil && n < 4*uint64(room) {
			return (&FEC{}).cut(length, room) // too short for the code
		}
	case fec.ReedSolomonGF2M, fec.ReedSolomonGF256, fec.SmallBlockSystematic:
		// The largest block that has room for its repair: repair grows with it.
		block = max(1, sort.Search(min(block, 254), func(i int) bool { return i+1+f.repair(i+1) > 255 }))
		k := even(n, room, block)
		p.info.MaxBlock, p.info.MaxSymbols = uint32(k), uint32(min(255, k+f.repair(k)))
		if f.Scheme == fec.ReedSolomonGF2M {
			p.info.Group = 1
		}
	case fec.LDPCStaircase:
		if n < ldpcSymbols {
			return (&FEC{}).cut(length, room)
		}
		if n < uint64(room*ldpcSymbols) {
			p.info.SymbolSize = uint16((n + ldpcSymbols - 1) / ldpcSymbols) // there is no matrix for one symbol
		}
		k := even(n, int(p.info.SymbolSize), block)
		p.info.MaxBlock, p.info.MaxSymbols = uint32(k), uint32(k+f.repair(k))
		p.info.Group, p.info.N1m3, p.info.Seed = 1, 2, ldpcSeed
	default:
		return plan{}, fmt.Errorf("%w: %w: %v", ErrConfig, fec.ErrUnsupported, f.Scheme)
	}
	if err == nil {
		err = p.info.Validate()
	}
	if err != nil {
		return plan{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return p, nil
}
