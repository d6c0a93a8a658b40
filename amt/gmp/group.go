package gmp

import "net/netip"

// SourceSpecific reports whether group lies in the range of source-specific
// multicast, 232.0.0.0/8 or ff3x::/32 (RFC 4607 section 1).
func SourceSpecific(group netip.Addr) bool {
	if group.Is4() {
		return group.As4()[0] == 232
	}
	b := group.As16()
	return b[0] == 0xff && b[1]>>4 == 3 && b[2] == 0 && b[3] == 0
}

// Routable reports whether packets to group are for routers to forward: a
// multicast address that is not confined to a link or a node.
func Routable(group netip.Addr) bool {
	switch {
	case !group.IsMulticast() || group.Is4In6():
		return false
	case group.Is4():
		b := group.As4()
		return b[0] != 224 || b[1] != 0 || b[2] != 0
	}
	scope := group.As16()[1] & 0xf // RFC 4291 section 2.7
	return scope > 2 && scope != 0xf
}

// FilterMode says what the sources of a [Filter] mean.
type FilterMode uint8

const (
	// Include: packets from the sources listed, and no others.
	Include FilterMode = iota
	// Exclude: packets from all sources but those listed.
	Exclude
)

// String returns the name that RFC 3376 gives m.
func (m FilterMode) String() string {
	if m == Exclude {
		return "EXCLUDE"
	}
	return "INCLUDE"
}

// Filter says which sources of a group are wanted (RFC 3376 section 2). The zero
// Filter wants none.
type Filter struct {
	Mode    FilterMode
	Sources []netip.Addr
}

// wants reports whether packets from source pass.
func (f *Filter) wants(source netip.Addr) bool {
	_, listed := find(f.Sources, source)
	return listed == (f.Mode == Include)
}
