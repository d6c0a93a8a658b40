package dns

import "encoding/binary"

// EDNS is what an OPT record says (RFC 6891 section 6.1).
type EDNS struct {
	UDPSize  uint16 // the longest message that its sender takes by UDP
	Extended uint8  // upper bits of the RCODE
	Version  uint8
	DO       bool // DNSSEC records are wanted
}

// UDPSize is the length of messages by UDP that is known not to be fragmented
// (DNS flag day 2020).
const UDPSize = 1232

// ParseEDNS reads r if it is an OPT record where one may be.
func ParseEDNS(r *Resource) (EDNS, bool) {
	if r.Type != TypeOPT || r.Section != SectionAdditional || !r.Name.IsRoot() {
		return EDNS{}, false
	}
	return EDNS{UDPSize: uint16(r.Class), Extended: uint8(r.TTL >> 24), Version: uint8(r.TTL >> 16), DO: r.TTL&0x8000 != 0}, true
}

// EDNS appends an OPT record with options.
func (b *Builder) EDNS(e EDNS, options []byte) {
	ttl := uint32(e.Extended)<<24 | uint32(e.Version)<<16
	if e.DO {
		ttl |= 0x8000
	}
	b.Record(SectionAdditional, &Name{}, TypeOPT, Class(e.UDPSize), ttl, options)
}

// EDNSLen is the length of an OPT record without options.
const EDNSLen = 11

const optionPadding = 12

// appendPadding appends the option that makes a message, which now has size
// octets without it, a multiple of block long (RFC 7830, RFC 8467 section 4.1).
func appendPadding(options []byte, size, block int) []byte {
	n := (block - (size+4)%block) % block
	options = binary.BigEndian.AppendUint16(options, optionPadding)
	options = binary.BigEndian.AppendUint16(options, uint16(n))
	return append(options, make([]byte, n)...)
}
