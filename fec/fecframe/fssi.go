package fecframe

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// AppendFSSI appends the FEC-Scheme-Specific Information as octets (RFC 6681 section
// 6.2.1.2, RFC 6816 and RFC 6865 section 5.1.1.2). The configuration must be valid.
func (c Config) AppendFSSI(b []byte) []byte {
	strict := byte(0)
	if c.Strict {
		strict = 1 << 7
	}
	switch c.Scheme {
	case LDPCStaircase:
		b = binary.BigEndian.AppendUint32(b, c.Seed)
		b = binary.BigEndian.AppendUint16(b, uint16(c.SymbolSize))
		return append(b, strict|c.N1m3)
	case ReedSolomon:
		b = binary.BigEndian.AppendUint16(b, uint16(c.SymbolSize))
		return append(b, strict|fieldBits)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(c.SymbolSize))
	b = binary.BigEndian.AppendUint16(b, uint16(c.MaxBlock))
	if c.FormatB { // else the octet should be omitted
		b = append(b, 1<<7)
	}
	return b
}

// fieldBits is m. RFC 6865 allows 2 to 16; everybody uses 8.
const fieldBits = 8

// ParseFSSI parses and validates what [Config.AppendFSSI] writes.
func ParseFSSI(scheme SchemeID, b []byte) (Config, error) {
	c := Config{Scheme: scheme}
	short := func(n int) error {
		if len(b) < n {
			return fmt.Errorf("fecframe: FSSI: %w", io.ErrUnexpectedEOF)
		}
		return fmt.Errorf("%w: FSSI of %d octets", ErrConfig, len(b))
	}
	switch {
	case scheme == LDPCStaircase:
		if len(b) != 7 {
			return Config{}, short(7)
		}
		c.Seed = binary.BigEndian.Uint32(b)
		c.SymbolSize = int(binary.BigEndian.Uint16(b[4:]))
		c.Strict, c.N1m3 = b[6]>>7 != 0, b[6]&7
	case scheme == ReedSolomon:
		if len(b) != 3 {
			return Config{}, short(3)
		}
		c.SymbolSize = int(binary.BigEndian.Uint16(b))
		c.Strict = b[2]>>7 != 0
		if m := b[2] & 0x7f; m != fieldBits {
			return Config{}, fmt.Errorf("%w: %v: m = %d", ErrConfig, scheme, m)
		}
	default:
		if len(b) != 4 && len(b) != 5 {
			return Config{}, short(4)
		}
		c.SymbolSize = int(binary.BigEndian.Uint16(b))
		c.MaxBlock = int(binary.BigEndian.Uint16(b[2:]))
		c.FormatB = len(b) == 5 && b[4]>>7 != 0
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// FSSI returns the FEC-Scheme-Specific Information as text, for the fssi parameter of
// SDP (RFC 6364 section 4.5): "Kmax:8192,T:128,P:A".
func (c Config) FSSI() string {
	strict := 0
	if c.Strict {
		strict = 1
	}
	switch c.Scheme {
	case LDPCStaircase:
		return fmt.Sprintf("seed:%d,E:%d,S:%d,n1m3:%d", c.Seed, c.SymbolSize, strict, c.N1m3)
	case ReedSolomon:
		return fmt.Sprintf("E:%d,S:%d,m:%d", c.SymbolSize, strict, fieldBits)
	}
	format := "A"
	if c.FormatB {
		format = "B"
	}
	return fmt.Sprintf("Kmax:%d,T:%d,P:%s", c.MaxBlock, c.SymbolSize, format)
}

// ParseFSSIText parses and validates what [Config.FSSI] returns, elements in any
// order.
func ParseFSSIText(scheme SchemeID, s string) (Config, error) {
	c := Config{Scheme: scheme}
	for element := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(element, ":")
		if err := c.setElement(name, value); err != nil {
			return Config{}, err
		}
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func (c *Config) setElement(name, value string) (err error) {
	number := func(bits int) (n uint64) {
		n, err = strconv.ParseUint(value, 10, bits)
		return n
	}
	raptor := c.Scheme.raptorFamily()
	switch {
	case name == "Kmax" && raptor:
		c.MaxBlock = int(number(16))
	case name == "T" && raptor:
		c.SymbolSize = int(number(16))
	case name == "P" && raptor && (value == "A" || value == "B"):
		c.FormatB = value == "B"
	case name == "E" && !raptor:
		c.SymbolSize = int(number(16))
	case name == "S" && !raptor:
		c.Strict = number(1) == 1
	case name == "m" && c.Scheme == ReedSolomon:
		if m := number(8); m != fieldBits && err == nil {
			return fmt.Errorf("%w: %v: m = %d", ErrConfig, c.Scheme, m)
		}
	case name == "seed" && c.Scheme == LDPCStaircase:
		c.Seed = uint32(number(32))
	case name == "n1m3" && c.Scheme == LDPCStaircase:
		c.N1m3 = uint8(number(3))
	default:
		return fmt.Errorf("%w: %v: FSSI element %.40q", ErrConfig, c.Scheme, name+":"+value)
	}
	if err != nil {
		return fmt.Errorf("%w: %v: FSSI element %.40q", ErrConfig, c.Scheme, name+":"+value)
	}
	return nil
}
