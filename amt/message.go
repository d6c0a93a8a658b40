package amt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Port is the UDP port of relays (RFC 7450 section 7.2).
const Port = 2268

// Type is the type of an AMT message (RFC 7450 section 5.1).
type Type uint8

// The seven messages. A relay takes discoveries, requests, updates and
// teardowns, a gateway the other three.
const (
	TypeDiscovery     Type = 1 // Relay Discovery
	TypeAdvertisement Type = 2 // Relay Advertisement
	TypeRequest       Type = 3 // Request
	TypeQuery         Type = 4 // Membership Query
	TypeUpdate        Type = 5 // Membership Update
	TypeData          Type = 6 // Multicast Data
	TypeTeardown      Type = 7 // Teardown
)

// String returns the name that RFC 7450 gives the message.
func (t Type) String() string {
	switch t {
	case TypeDiscovery:
		return "Relay Discovery"
	case TypeAdvertisement:
		return "Relay Advertisement"
	case TypeRequest:
		return "Request"
	case TypeQuery:
		return "Membership Query"
	case TypeUpdate:
		return "Membership Update"
	case TypeData:
		return "Multicast Data"
	case TypeTeardown:
		return "Teardown"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Flags are the second octet of a Request and of a Membership Query, reserved
// bits included; receivers ignore those (RFC 7450 section 5.1).
type Flags uint8

const (
	// FlagP of a Request asks for MLDv2 in IPv6 instead of IGMPv3 in IPv4
	// (RFC 7450 section 5.1.3.4).
	FlagP Flags = 0x01
	// FlagE of a Request says that the gateway decapsulates the ECN field by
	// RFC 6040 (RFC 9601 section 6.1.4).
	FlagE Flags = 0x02
	// FlagLinuxP is where Linux has the P flag, by mistake: its gateway sends it
	// there and its relay looks for it there.
	FlagLinuxP Flags = 0x80

	// FlagG of a Membership Query says that it ends with the gateway's address
	// and port as the relay saw them (RFC 7450 section 5.1.4.5).
	FlagG Flags = 0x01
	// FlagL of a Membership Query says that the relay takes no new endpoints
	// (RFC 7450 section 5.1.4.4).
	FlagL Flags = 0x02
)

// MAC is the Response MAC, opaque to gateways.
type MAC [6]byte

// Message is any of the seven messages; the table says which fields its type
// has.
//
//	Relay Discovery      Nonce
//	Relay Advertisement  Nonce, Relay
//	Request              Flags, Nonce
//	Membership Query     Flags, MAC, Nonce, Packet, and Gateway if FlagG is set
//	Membership Update    MAC, Nonce, Packet
//	Multicast Data       Packet
//	Teardown             MAC, Nonce, Gateway
type Message struct {
	Type  Type
	Flags Flags
	MAC   MAC
	Nonce uint32
	// Relay is the unicast address of the relay.
	Relay netip.Addr
	// Gateway is the gateway's endpoint as its relay saw it.
	Gateway netip.AddrPort
	// Packet is the encapsulated IP packet with whatever follows it; it aliases
	// the datagram that was parsed.
	Packet []byte
}

// Sizes in octets.
const (
	sizeDiscovery     = 8
	sizeAdvertisement = 8 // without the address
	sizeRequest       = 8
	sizeQuery         = 12 // without the packet and the gateway's endpoint
	sizeUpdate        = 12 // without the packet
	sizeData          = 2  // without the packet
	sizeTeardown      = 30
	sizeEndpoint      = 18
)

// What can be wrong with a message; matched by errors of type [*ParseError].
var (
	// ErrVersion: not version 0, which is to be ignored (RFC 7450 section 5.2.3.2).
	ErrVersion = errors.New("version is not 0")
	// ErrType: none of the seven messages.
	ErrType = errors.New("unknown type")
	// ErrShort: it ends before its last field.
	ErrShort = errors.New("too short")
	// ErrAddressLength: an advertised address is neither 4 nor 16 octets long.
	ErrAddressLength = errors.New("address is neither 4 nor 16 octets long")
	// ErrAddress: a message cannot carry this address.
	ErrAddress = errors.New("invalid address")
)

// ParseError says which message is malformed and in which way.
type ParseError struct {
	Type Type // 0 where no type could be read
	Err  error
}

// Error returns the message's name and the cause.
func (e *ParseError) Error() string {
	if e.Type == 0 {
		return "amt: message: " + e.Err.Error()
	}
	return "amt: " + e.Type.String() + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *ParseError) Unwrap() error { return e.Err }

// Made once, so that hostile datagrams cost no allocation.
var (
	errEmpty              = &ParseError{0, ErrShort}
	errVersion            = &ParseError{0, ErrVersion}
	errType               = &ParseError{0, ErrType}
	errDiscoveryShort     = &ParseError{TypeDiscovery, ErrShort}
	errAdvertisementShort = &ParseError{TypeAdvertisement, ErrShort}
	errAdvertisementAddr  = &ParseError{TypeAdvertisement, ErrAddressLength}
	errRequestShort       = &ParseError{TypeRequest, ErrShort}
	errQueryShort         = &ParseError{TypeQuery, ErrShort}
	errUpdateShort        = &ParseError{TypeUpdate, ErrShort}
	errDataShort          = &ParseError{TypeData, ErrShort}
	errTeardownShort      = &ParseError{TypeTeardown, ErrShort}
)

// Unmarshal parses the payload of a UDP datagram into m, of which nothing
// remains. Reserved bits are ignored, and so are octets behind the last field
// of a message of fixed size, which some gateways send. The error is a
// [*ParseError]. It allocates nothing.
func (m *Message) Unmarshal(b []byte) error {
	*m = Message{}
	if len(b) == 0 {
		return errEmpty
	}
	if b[0]>>4 != 0 {
		return errVersion
	}
	m.Type = Type(b[0])
	switch m.Type {
	case TypeDiscovery:
		if len(b) < sizeDiscovery {
			return errDiscoveryShort
		}
		m.Nonce = binary.BigEndian.Uint32(b[4:])
	case TypeAdvertisement:
		if len(b) < sizeAdvertisement {
			return errAdvertisementShort
		}
		m.Nonce = binary.BigEndian.Uint32(b[4:])
		// The length of the datagram alone tells the family (section 5.1.2.5).
		switch len(b) - sizeAdvertisement {
		case 4:
			m.Relay = netip.AddrFrom4([4]byte(b[8:]))
		case 16:
			m.Relay = netip.AddrFrom16([16]byte(b[8:]))
		default:
			return errAdvertisementAddr
		}
	case TypeRequest:
		if len(b) < sizeRequest {
			return errRequestShort
		}
		m.Flags = Flags(b[1])
		m.Nonce = binary.BigEndian.Uint32(b[4:])
	case TypeQuery:
		if len(b) < sizeQuery {
			return errQueryShort
		}
		m.Flags = Flags(b[1])
		m.MAC = MAC(b[2:])
		m.Nonce = binary.BigEndian.Uint32(b[8:])
		m.Packet = b[sizeQuery:]
		if m.Flags&FlagG != 0 {
			// Found from the end (section 5.1.4.9).
			end := len(m.Packet) - sizeEndpoint
			if end < 0 {
				return errQueryShort
			}
			m.Gateway = parseEndpoint(m.Packet[end:])
			m.Packet = m.Packet[:end:end]
		}
	case TypeUpdate:
		if len(b) < sizeUpdate {
			return errUpdateShort
		}
		m.MAC = MAC(b[2:])
		m.Nonce = binary.BigEndian.Uint32(b[8:])
		m.Packet = b[sizeUpdate:]
	case TypeData:
		if len(b) < sizeData {
			return errDataShort
		}
		m.Packet = b[sizeData:]
	case TypeTeardown:
		if len(b) < sizeTeardown {
			return errTeardownShort
		}
		m.MAC = MAC(b[2:])
		m.Nonce = binary.BigEndian.Uint32(b[8:])
		m.Gateway = parseEndpoint(b[12:])
	default:
		m.Type = 0
		return errType
	}
	return nil
}

// Len returns the number of octets that AppendTo appends.
func (m *Message) Len() int {
	switch m.Type {
	case TypeDiscovery:
		return sizeDiscovery
	case TypeAdvertisement:
		if m.Relay.Is4() {
			return sizeAdvertisement + 4
		}
		return sizeAdvertisement + 16
	case TypeRequest:
		return sizeRequest
	case TypeQuery:
		if m.Flags&FlagG != 0 {
			return sizeQuery + len(m.Packet) + sizeEndpoint
		}
		return sizeQuery + len(m.Packet)
	case TypeUpdate:
		return sizeUpdate + len(m.Packet)
	case TypeData:
		return sizeData + len(m.Packet)
	case TypeTeardown:
		return sizeTeardown
	}
	return 0
}

// AppendTo appends the message to b. It fails with an error that matches
// [ErrType] or [ErrAddress] and then leaves b as it was.
func (m *Message) AppendTo(b []byte) ([]byte, error) {
	switch m.Type {
	case TypeDiscovery:
		b = append(b, byte(m.Type), 0, 0, 0)
		return binary.BigEndian.AppendUint32(b, m.Nonce), nil
	case TypeAdvertisement:
		if !m.Relay.IsValid() || m.Relay.Is4In6() {
			return b, &ParseError{m.Type, ErrAddress}
		}
		b = append(b, byte(m.Type), 0, 0, 0)
		b = binary.BigEndian.AppendUint32(b, m.Nonce)
		if m.Relay.Is4() {
			a := m.Relay.As4()
			return append(b, a[:]...), nil
		}
		a := m.Relay.As16()
		return append(b, a[:]...), nil
	case TypeRequest:
		b = append(b, byte(m.Type), byte(m.Flags), 0, 0)
		return binary.BigEndian.AppendUint32(b, m.Nonce), nil
	case TypeQuery:
		if m.Flags&FlagG != 0 && !m.Gateway.Addr().IsValid() {
			return b, &ParseError{m.Type, ErrAddress}
		}
		b = append(b, byte(m.Type), byte(m.Flags))
		b = append(b, m.MAC[:]...)
		b = binary.BigEndian.AppendUint32(b, m.Nonce)
		b = append(b, m.Packet...)
		if m.Flags&FlagG != 0 {
			b = appendEndpoint(b, m.Gateway)
		}
		return b, nil
	case TypeUpdate:
		b = append(b, byte(m.Type), 0)
		b = append(b, m.MAC[:]...)
		b = binary.BigEndian.AppendUint32(b, m.Nonce)
		return append(b, m.Packet...), nil
	case TypeData:
		b = append(b, byte(m.Type), 0)
		return append(b, m.Packet...), nil
	case TypeTeardown:
		if !m.Gateway.Addr().IsValid() {
			return b, &ParseError{m.Type, ErrAddress}
		}
		b = append(b, byte(m.Type), 0)
		b = append(b, m.MAC[:]...)
		b = binary.BigEndian.AppendUint32(b, m.Nonce)
		return appendEndpoint(b, m.Gateway), nil
	}
	return b, &ParseError{0, ErrType}
}

// parseEndpoint reads port and address. An IPv4 address comes with 96 zero bits
// before it (section 5.1.4.9.2), not as the mapped form of RFC 4291.
// The IPv6 addresses that look like that in 0.0.0.0/8 (:: and ::1 among them)
// stay what they are: no gateway has such an IPv4 address.
func parseEndpoint(b []byte) netip.AddrPort {
	port := binary.BigEndian.Uint16(b)
	a := [16]byte(b[2:sizeEndpoint])
	if [12]byte(a[:12]) == [12]byte{} && a[12] != 0 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[12:])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a), port)
}

func appendEndpoint(b []byte, e netip.AddrPort) []byte {
	b = binary.BigEndian.AppendUint16(b, e.Port())
	var a [16]byte
	if e.Addr().Is4() {
		v4 := e.Addr().As4()
		copy(a[12:], v4[:])
	} else {
		a = e.Addr().As16()
	}
	return append(b, a[:]...)
}
