package amtrelay

import (
	"net/netip"

	"github.com/treedn/treedn/driad/dns"
)

var (
	inAddr      = dns.MustParseName("in-addr.arpa")
	ip6         = dns.MustParseName("ip6.arpa")
	plainInAddr = dns.MustParseName("amt.in-addr.arpa")
	plainIP6    = dns.MustParseName("amt.ip6.arpa")
)

// ReverseName returns the name of a source in the reverse tree, such as
// 12.100.51.198.in-addr.arpa. for 198.51.100.12 (RFC 1035 section 3.5, RFC 3596
// section 2.5). IPv4 addresses in IPv6 notation count as IPv4; zones are left out.
func ReverseName(source netip.Addr) dns.Name { return reverse(source, &inAddr, &ip6) }

// PlainName returns the name of a source under amt.in-addr.arpa or amt.ip6.arpa,
// where A and AAAA records are addresses of relays, such as
// 10.95.25.69.amt.in-addr.arpa. for 69.25.95.10. These are not in the public tree;
// resolvers that know publishers answer for them.
func PlainName(source netip.Addr) dns.Name { return reverse(source, &plainInAddr, &plainIP6) }

const hexDigits = "0123456789abcdef"

func reverse(a netip.Addr, v4, v6 *dns.Name) dns.Name {
	a = a.Unmap()
	var wire [dns.MaxNameLen]byte
	b := wire[:0]
	switch {
	case a.Is4():
		octets := a.As4()
		for i := 3; i >= 0; i-- {
			at := len(b)
			b = append(b, 0)
			b = appendDecimal(b, octets[i])
			b[at] = byte(len(b) - at - 1)
		}
		b = v4.AppendTo(b)
	case a.Is6():
		octets := a.As16()
		for i := 15; i >= 0; i-- {
			b = append(b, 1, hexDigits[octets[i]&0xf], 1, hexDigits[octets[i]>>4])
		}
		b = v6.AppendTo(b)
	default:
		b = append(b, 0)
	}
	var n dns.Name
	if _, err := n.Unmarshal(b); err != nil {
		panic(err) // it is a name
	}
	return n
}

func appendDecimal(b []byte, v byte) []byte {
	if v >= 100 {
		b = append(b, '0'+v/100)
	}
	if v >= 10 {
		b = append(b, '0'+v/10%10)
	}
	return append(b, '0'+v%10)
}

// Source is what a name in the reverse tree, or in that of plain names, stands for.
type Source struct {
	// Prefix is that of the addresses at and below the name: of the full length for
	// the name of one address.
	Prefix netip.Prefix
	Plain  bool
	// Below: there are more labels than the address has, or such as no address has.
	// Prefix is that of the labels before them.
	Below bool
}

// ParseSource is the inverse of ReverseName and PlainName, also for the names above
// these; false if the name is not in those trees.
func ParseSource(n *dns.Name) (s Source, ok bool) {
	v4 := false
	var root *dns.Name
	switch {
	case n.In(&plainInAddr):
		root, v4, s.Plain = &plainInAddr, true, true
	case n.In(&plainIP6):
		root, s.Plain = &plainIP6, true
	case n.In(&inAddr):
		root, v4 = &inAddr, true
	case n.In(&ip6):
		root = &ip6
	default:
		return s, false
	}
	count := n.NumLabels() - root.NumLabels()
	digits, each, most := 0, 8, 4 // bits per label, labels
	if !v4 {
		each, most = 4, 32
	}
	var octets [16]byte
	i := 0
	// From the left, which is the address's end: label i is digit count-1-i.
	for label := range n.Labels {
		if i == count {
			break
		}
		at := count - 1 - i
		i++
		v, good := digit(label, v4)
		if at >= most || !good {
			s.Below = true
			digits = 0 // those to the left of this one do not count
			clear(octets[:])
			continue
		}
		if digits == 0 {
			digits = at + 1
		}
		if v4 {
			octets[at] = v
		} else {
			octets[at/2] |= v << (4 * (1 - at%2))
		}
	}
	addr := netip.AddrFrom16(octets)
	if v4 {
		addr = netip.AddrFrom4([4]byte(octets[:4]))
	}
	s.Prefix = netip.PrefixFrom(addr, digits*each)
	return s, true
}

// digit reads a label in its only valid form: no zeros in front.
func digit(label []byte, v4 bool) (byte, bool) {
	if !v4 {
		if len(label) != 1 {
			return 0, false
		}
		switch c := label[0]; {
		case '0' <= c && c <= '9':
			return c - '0', true
		case 'a' <= c && c <= 'f':
			return c - 'a' + 10, true
		case 'A' <= c && c <= 'F':
			return c - 'A' + 10, true
		}
		return 0, false
	}
	if len(label) == 0 || len(label) > 3 || label[0] == '0' && len(label) > 1 {
		return 0, false
	}
	v := 0
	for _, c := range label {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = 10*v + int(c-'0')
	}
	return byte(v), v <= 255
}
