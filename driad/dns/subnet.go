package dns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// ClientSubnet is the EDNS option by which a resolver says for whom it asks, and a
// server for whom its answer holds (RFC 7871 section 6).
type ClientSubnet struct {
	// Prefix is the client's network; of length 0 if it does not want to be known.
	Prefix netip.Prefix
	// Scope is the length of the prefix of the same address for which the answer
	// holds; 0 in queries.
	Scope uint8
}

const optionClientSubnet = 8

// ParseClientSubnet looks for the option in the data of an OPT record.
func ParseClientSubnet(options []byte) (s ClientSubnet, ok bool, err error) {
	for len(options) > 0 {
		if len(options) < 4 {
			return s, false, fmt.Errorf("%w: ends within an EDNS option", ErrMessage)
		}
		code, n := binary.BigEndian.Uint16(options), int(binary.BigEndian.Uint16(options[2:]))
		if options = options[4:]; n > len(options) {
			return s, false, fmt.Errorf("%w: EDNS option of %d octets, %d are there", ErrMessage, n, len(options))
		}
		if code == optionClientSubnet {
			err := s.unmarshal(options[:n])
			return s, err == nil, err
		}
		options = options[n:]
	}
	return s, false, nil
}

func (s *ClientSubnet) unmarshal(b []byte) error {
	if len(b) < 4 {
		return fmt.Errorf("%w: client subnet of %d octets", ErrMessage, len(b))
	}
	family, bits := binary.BigEndian.Uint16(b), int(b[2])
	s.Scope = b[3]
	var a [16]byte
	octets := copy(a[:], b[4:])
	addr := netip.AddrFrom16(a)
	if family == 1 {
		addr = netip.AddrFrom4([4]byte(a[:4]))
	}
	s.Prefix = netip.PrefixFrom(addr, bits)
	// As many octets as the prefix has, and no bits beyond it.
	if family != 1 && family != 2 || !s.Prefix.IsValid() || len(b)-4 != octets || octets != (bits+7)/8 || s.Prefix != s.Prefix.Masked() {
		return fmt.Errorf("%w: client subnet %x", ErrMessage, b)
	}
	return nil
}

// AppendTo appends the option to the data of an OPT record.
func (s *ClientSubnet) AppendTo(b []byte) []byte {
	n := (max(s.Prefix.Bits(), 0) + 7) / 8
	b = binary.BigEndian.AppendUint16(b, optionClientSubnet)
	b = binary.BigEndian.AppendUint16(b, uint16(4+n))
	family := uint16(2)
	octets := s.Prefix.Masked().Addr().As16()
	from := octets[:]
	if s.Prefix.Addr().Is4() {
		family, from = 1, octets[12:]
	}
	b = binary.BigEndian.AppendUint16(b, family)
	b = append(b, byte(s.Prefix.Bits()), s.Scope)
	return append(b, from[:n]...)
}
