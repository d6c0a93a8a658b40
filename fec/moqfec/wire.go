package moqfec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

var (
	// ErrPacket reports a packet that does not fit the configuration. It changed
	// nothing. A packet that is too short is io.ErrUnexpectedEOF.
	ErrPacket = errors.New("moqfec: packet does not fit the configuration")

	// ErrConflict reports a packet that contradicts another one of its block.
	ErrConflict = errors.New("moqfec: packets of a block contradict each other")

	// ErrPoisoned reports a block that was decoded to what no publisher encodes.
	ErrPoisoned = errors.New("moqfec: decoded block is corrupt")

	// ErrRecovered reports a source packet that was recovered before it arrived.
	ErrRecovered = errors.New("moqfec: packet was recovered before it arrived")

	// ErrOld reports a packet of a block that is no longer waited for.
	ErrOld = errors.New("moqfec: block is no longer waited for")

	// ErrBudget reports limits that do not allow for the blocks of a
	// configuration, or a block that does not decode with many more symbols than
	// it should need.
	ErrBudget = errors.New("moqfec: memory budget exceeded")

	// ErrFull reports a packet that does not fit into the block any more.
	ErrFull = errors.New("moqfec: block is full")
)

// The Object Property that carries an SS_ID of MoQ objects without trailer: a byte
// string of exactly four octets.
const PropertySourceID = 0x11

const (
	idLen        = 4  // Source FEC Payload ID, behind a source packet
	lengthLen    = 2  // in front of a packet in its symbol
	mmtpHeader   = 12 // of a repair packet: version 0 without options
	repairHeader = mmtpHeader + 13
	minPacket    = 12 // an MMTP header is the least that a symbol holds
)

// AppendSourceID appends an SS_ID, which belongs behind its packet.
func AppendSourceID(b []byte, id uint32) []byte { return binary.BigEndian.AppendUint32(b, id) }

// CutSourceID separates an MMTP packet from the SS_ID behind it.
func CutSourceID(b []byte) (packet []byte, id uint32, err error) {
	if len(b) < idLen+minPacket {
		return nil, 0, fmt.Errorf("moqfec: source packet: %w", io.ErrUnexpectedEOF)
	}
	at := len(b) - idLen
	return b[:at:at], binary.BigEndian.Uint32(b[at:]), nil
}

// Header is what the MMTP header of a repair packet varies in.
type Header struct {
	PacketID  uint16
	Timestamp uint32 // NTP short format
	Sequence  uint32 // packet_sequence_number
}

// Repair is a repair packet.
type Repair struct {
	Header
	Start  uint32 // SS_Start, SS_ID of the block's first source packet
	Total  uint32 // RSB_length, repair symbols of the block
	ID     uint32 // RS_ID
	Length uint32 // SSB_length, source packets of the block
	Symbol []byte
}

const (
	// repairFlags are version 0, no packet counter, FEC type 2, no extension.
	repairFlags = 2 << 3
	repairType  = 3
)

// Append appends the packet.
func (r *Repair) Append(b []byte) []byte {
	return append(r.appendHeader(b), r.Symbol...)
}

func (r *Repair) appendHeader(b []byte) []byte {
	b = append(b, repairFlags, repairType)
	b = binary.BigEndian.AppendUint16(b, r.PacketID)
	b = binary.BigEndian.AppendUint32(b, r.Timestamp)
	b = binary.BigEndian.AppendUint32(b, r.Sequence)
	b = binary.BigEndian.AppendUint32(b, r.Start)
	b = append(b, byte(r.Total>>16), byte(r.Total>>8), byte(r.Total))
	b = append(b, byte(r.ID>>16), byte(r.ID>>8), byte(r.ID))
	return append(b, byte(r.Length>>16), byte(r.Length>>8), byte(r.Length))
}

// ParseRepair parses a repair packet. Symbol aliases b.
func ParseRepair(b []byte) (r Repair, err error) {
	if len(b) < repairHeader {
		return Repair{}, fmt.Errorf("moqfec: repair packet: %w", io.ErrUnexpectedEOF)
	}
	// The RAP flag and reserved bits tell nothing.
	if b[0]&^5 != repairFlags || b[1]&0x3f != repairType {
		return Repair{}, fmt.Errorf("%w: MMTP header %02x %02x", ErrPacket, b[0], b[1])
	}
	u24 := func(at int) uint32 { return binary.BigEndian.Uint32(b[at-1:]) & 0xffffff }
	return Repair{
		Header: Header{
			PacketID:  binary.BigEndian.Uint16(b[2:]),
			Timestamp: binary.BigEndian.Uint32(b[4:]),
			Sequence:  binary.BigEndian.Uint32(b[8:]),
		},
		Start:  binary.BigEndian.Uint32(b[12:]),
		Total:  u24(16),
		ID:     u24(19),
		Length: u24(22),
		Symbol: b[repairHeader:],
	}, nil
}

// MaxPacket returns how long a source packet may be in octets, without SS_ID.
func (c *Config) MaxPacket() int {
	if c.Profile == LegacySSBG0 {
		return c.SymbolSize
	}
	return c.SymbolSize - lengthLen
}

// appendSymbol appends the source symbol of a packet, without its padding.
func (c *Config) appendSymbol(b, packet []byte) []byte {
	if c.Profile == SSBG1 {
		b = binary.BigEndian.AppendUint16(b, uint16(len(packet)))
	}
	return append(b, packet...)
}

// parseSymbol returns the packet of a recovered source symbol. With LegacySSBG0 padding
// cannot be told from the packet, and stays.
func (c *Config) parseSymbol(symbol []byte) ([]byte, error) {
	if c.Profile == LegacySSBG0 {
		return symbol, nil
	}
	n := int(binary.BigEndian.Uint16(symbol))
	if n < minPacket || n > c.MaxPacket() {
		return nil, fmt.Errorf("%w: packet of %d octets", ErrPoisoned, n)
	}
	for _, x := range symbol[lengthLen+n:] {
		if x != 0 {
			return nil, fmt.Errorf("%w: padding is not zero", ErrPoisoned)
		}
	}
	return symbol[lengthLen : lengthLen+n : lengthLen+n], nil
}

// GroupID returns the MoQ Group ID of a repair object: the SS_Start of its block, extended
// by how often it has wrapped.
func GroupID(wraps uint32, start uint32) uint64 { return uint64(wraps)<<32 | uint64(start) }

// SplitGroupID returns the parts of a Group ID. ok tells whether it is one: it has 62
// bits, and the packet in it must have the same SS_Start.
func SplitGroupID(group uint64) (wraps, start uint32, ok bool) {
	return uint32(group >> 32), uint32(group), group>>62 == 0
}

// FetchRange returns the repair groups to FETCH when a source packet is lost of which no
// repair packet has arrived: one of them has it. lost is its SS_ID, extended like a Group
// ID; previous is the Group ID of the last block that is known, if hasPrevious.
func (c *Config) FetchRange(lost, previous uint64, hasPrevious bool) (first, last uint64) {
	if back := uint64(c.MaxBlock - 1); lost > back {
		first = lost - back
	}
	if hasPrevious {
		first = max(first, previous+1)
	}
	return min(first, lost), lost
}
