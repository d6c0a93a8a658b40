package amtrelay

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/treedn/treedn/driad/dns"
)

// RelayType says in which form a record has its relay (RFC 8777 section 4.2.3).
// There are seven bits of it.
type RelayType uint8

// Types of relay.
const (
	// None: no relay should be used for the source.
	None RelayType = iota
	// IPv4 and IPv6: the relay's address.
	IPv4
	IPv6
	// Name: a domain name with the addresses.
	Name
)

// String returns the name of the type.
func (t RelayType) String() string {
	switch t {
	case None:
		return "none"
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	case Name:
		return "name"
	}
	return "relay type " + strconv.Itoa(int(t))
}

const (
	discoveryOptional = 0x80
	maxRelayType      = 0x7f
)

// Record is the data of an AMTRELAY record (RFC 8777 section 4.2). The zero value
// says that there is no relay. It is 300 octets large; functions take pointers.
type Record struct {
	// Precedence: relays of lower values are tried first.
	Precedence uint8
	// DiscoveryOptional is the D bit: the address is that of a relay, which a Request
	// may be sent to. Without it, a Relay Discovery comes first (section 4.2.2).
	DiscoveryOptional bool
	Type              RelayType
	Address           netip.Addr // of types IPv4 and IPv6
	Host              dns.Name   // of type Name
	// Unknown is the relay field of other types. Unmarshal makes it alias its
	// argument.
	Unknown []byte
}

// ErrRecord is matched by errors about the data of records.
var ErrRecord = errors.New("amtrelay: invalid record")

// Known reports whether the type is one that RFC 8777 defines. Records of others
// should be ignored (section 4.2.3).
func (r *Record) Known() bool { return r.Type <= Name }

// Unmarshal reads the whole of a record's data. It allocates nothing.
func (r *Record) Unmarshal(data []byte) error {
	*r = Record{}
	if len(data) < 2 {
		return fmt.Errorf("%w: %d octets, at least 2 are needed", ErrRecord, len(data))
	}
	r.Precedence = data[0]
	r.DiscoveryOptional = data[1]&discoveryOptional != 0
	r.Type = RelayType(data[1] & maxRelayType)
	relay := data[2:]
	switch r.Type {
	case None:
		if len(relay) > 0 {
			return fmt.Errorf("%w: %d octets after type none", ErrRecord, len(relay))
		}
	case IPv4, IPv6:
		want := 4
		if r.Type == IPv6 {
			want = 16
		}
		if len(relay) != want {
			return fmt.Errorf("%w: %s address of %d octets", ErrRecord, r.Type, len(relay))
		}
		r.Address, _ = netip.AddrFromSlice(relay)
	case Name:
		end, err := r.Host.Unmarshal(relay)
		if err != nil {
			return fmt.Errorf("%w: relay: %w", ErrRecord, err)
		}
		if end != len(relay) {
			return fmt.Errorf("%w: %d octets after the name", ErrRecord, len(relay)-end)
		}
	default:
		r.Unknown = relay
	}
	return nil
}

// valid reports whether the fields fit the type.
func (r *Record) valid() error {
	switch {
	case r.Type > maxRelayType:
		return fmt.Errorf("%w: relay type %d is above 127", ErrRecord, r.Type)
	case r.Type == IPv4 && !r.Address.Is4(), r.Type == IPv6 && (!r.Address.Is6() || r.Address.Zone() != ""):
		return fmt.Errorf("%w: %v is no %s address", ErrRecord, r.Address, r.Type)
	case !r.Known() && len(r.Unknown) > dns.MaxMessage-2:
		return fmt.Errorf("%w: %d octets of relay", ErrRecord, len(r.Unknown))
	}
	return nil
}

// Len returns the octets of the data.
func (r *Record) Len() int {
	switch r.Type {
	case None:
		return 2
	case IPv4:
		return 6
	case IPv6:
		return 18
	case Name:
		return 2 + r.Host.Len()
	}
	return 2 + len(r.Unknown)
}

// AppendTo appends the data. Names are not compressed (RFC 8777 section 4.2.4).
func (r *Record) AppendTo(b []byte) ([]byte, error) {
	if err := r.valid(); err != nil {
		return b, err
	}
	kind := byte(r.Type)
	if r.DiscoveryOptional {
		kind |= discoveryOptional
	}
	b = append(b, r.Precedence, kind)
	switch r.Type {
	case None:
	case IPv4:
		a := r.Address.As4()
		b = append(b, a[:]...)
	case IPv6:
		a := r.Address.As16()
		b = append(b, a[:]...)
	case Name:
		b = r.Host.AppendTo(b)
	default:
		b = append(b, r.Unknown...)
	}
	return b, nil
}
