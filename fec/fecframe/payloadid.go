package fecframe

import (
	"encoding/binary"
	"fmt"
	"io"
)

// PayloadID is an Explicit Source FEC Payload ID or a Repair FEC Payload ID of any
// scheme.
type PayloadID struct {
	// SBN is the source block number; with schemes 5 and 6 it is the Initial
	// Sequence Number, that of the block's first packet.
	SBN uint32

	ESI uint32 // encoding symbol ID

	// SBL is the source block length in symbols, k with schemes 7 and 8. Source
	// packets of schemes 1 to 4 do not have it.
	SBL uint16

	N uint16 // encoding symbols of the block; repair packets of scheme 7 alone
}

// sbnBits returns the size of the source block number.
func (c *Config) sbnBits() int {
	switch {
	case c.Scheme == ReedSolomon:
		return 24
	case c.FormatB && !c.Scheme.sequenced():
		return 8
	}
	return 16
}

// SourceIDLen returns the length of the Explicit Source FEC Payload ID in octets,
// which is the tag-len of SDP; zero if there is none.
func (c *Config) SourceIDLen() int {
	switch {
	case c.Scheme.sequenced():
		return 0
	case c.Scheme.raptorFamily():
		return 4
	}
	return 6
}

// RepairIDLen returns the length of the Repair FEC Payload ID in octets.
func (c *Config) RepairIDLen() int {
	switch {
	case c.Scheme == LDPCStaircase:
		return 8
	case c.Scheme.sequenced() && c.FormatB:
		return 7
	}
	return 6
}

// AppendSourceID appends an Explicit Source FEC Payload ID, which belongs behind the
// ADU.
func (c *Config) AppendSourceID(b []byte, id PayloadID) []byte {
	if c.Scheme.sequenced() {
		return b
	}
	b = c.appendBlockAndSymbol(b, id)
	if !c.Scheme.raptorFamily() {
		b = binary.BigEndian.AppendUint16(b, id.SBL)
	}
	return b
}

// CutSourceID separates the ADU from the Explicit Source FEC Payload ID behind it.
func (c *Config) CutSourceID(packet []byte) (adu []byte, id PayloadID, err error) {
	at := len(packet) - c.SourceIDLen()
	if at < 0 {
		return nil, PayloadID{}, fmt.Errorf("fecframe: source packet: %w", io.ErrUnexpectedEOF)
	}
	adu, tail := packet[:at], packet[at:]
	if c.Scheme.sequenced() {
		return adu, PayloadID{}, nil
	}
	id = c.parseBlockAndSymbol(tail)
	if !c.Scheme.raptorFamily() {
		id.SBL = binary.BigEndian.Uint16(tail[4:])
	}
	return adu, id, nil
}

// AppendRepairID appends a Repair FEC Payload ID, which belongs in front of the
// repair symbols.
func (c *Config) AppendRepairID(b []byte, id PayloadID) []byte {
	if c.Scheme.sequenced() {
		b = binary.BigEndian.AppendUint16(b, uint16(id.SBN))
		b = binary.BigEndian.AppendUint16(b, id.SBL)
		if c.FormatB {
			b = append(b, byte(id.ESI>>16))
		}
		return binary.BigEndian.AppendUint16(b, uint16(id.ESI))
	}
	b = c.appendBlockAndSymbol(b, id)
	b = binary.BigEndian.AppendUint16(b, id.SBL)
	if c.Scheme == LDPCStaircase {
		b = binary.BigEndian.AppendUint16(b, id.N)
	}
	return b
}

// CutRepairID separates the repair symbols from the Repair FEC Payload ID in front of
// them.
func (c *Config) CutRepairID(packet []byte) (symbols []byte, id PayloadID, err error) {
	n := c.RepairIDLen()
	if len(packet) < n {
		return nil, PayloadID{}, fmt.Errorf("fecframe: repair packet: %w", io.ErrUnexpectedEOF)
	}
	if c.Scheme.sequenced() {
		id.SBN = uint32(binary.BigEndian.Uint16(packet))
		id.SBL = binary.BigEndian.Uint16(packet[2:])
		id.ESI = uint32(binary.BigEndian.Uint16(packet[4:]))
		if c.FormatB {
			id.ESI = id.ESI<<8 | uint32(packet[6])
		}
		return packet[n:], id, nil
	}
	id = c.parseBlockAndSymbol(packet)
	id.SBL = binary.BigEndian.Uint16(packet[4:])
	if c.Scheme == LDPCStaircase {
		id.N = binary.BigEndian.Uint16(packet[6:])
	}
	return packet[n:], id, nil
}

func (c *Config) appendBlockAndSymbol(b []byte, id PayloadID) []byte {
	return binary.BigEndian.AppendUint32(b, id.SBN<<(32-c.sbnBits())|id.ESI)
}

func (c *Config) parseBlockAndSymbol(b []byte) PayloadID {
	v := binary.BigEndian.Uint32(b)
	bits := c.sbnBits()
	return PayloadID{SBN: v >> (32 - bits), ESI: v & (1<<(32-bits) - 1)}
}
