package gmp

import (
	"iter"
	"net/netip"
)

// Sources is a list of source addresses, all of one family, as it stands in a
// message. A parsed list aliases the packet.
type Sources struct {
	b []byte
	n int
}

// SourcesOf returns the list of the addresses, which must be of one family.
func SourcesOf(addrs ...netip.Addr) Sources {
	var s Sources
	for _, a := range addrs {
		s.b = append(s.b, a.AsSlice()...)
	}
	s.n = len(addrs)
	return s
}

// Len returns the number of addresses.
func (s Sources) Len() int { return s.n }

// At returns address i.
func (s Sources) At(i int) netip.Addr {
	switch size := len(s.b) / s.n; size {
	case 4:
		return netip.AddrFrom4([4]byte(s.b[i*size:]))
	default:
		return netip.AddrFrom16([16]byte(s.b[i*size:]))
	}
}

// All iterates over the addresses.
func (s Sources) All() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for i := range s.n {
			if !yield(s.At(i)) {
				return
			}
		}
	}
}

// Contains reports whether a is in the list.
func (s Sources) Contains(a netip.Addr) bool {
	for i := range s.n {
		if s.At(i) == a {
			return true
		}
	}
	return false
}

// slice returns the addresses i to j-1.
func (s Sources) slice(i, j int) Sources {
	if s.n == 0 {
		return s
	}
	size := len(s.b) / s.n
	return Sources{s.b[i*size : j*size], j - i}
}
