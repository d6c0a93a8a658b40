package rawip

import (
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
)

const (
	// networkOffset makes a load count from the network header, whatever the link
	// puts before it (SKF_NET_OFF).
	networkOffset = 0xfff00000
	outgoing      = 4 // PACKET_OUTGOING
	typeIPv4      = 0x0800
	typeIPv6      = 0x86dd

	acceptAll = 1 << 18 // octets of a packet
	// maxGroups bounds the groups that the kernel looks for. Programs are limited
	// to 4,096 instructions; with more groups all multicast is let through.
	maxGroups = 1500
	// leaf is the number of groups that are compared one by one.
	leaf = 8
)

// filter returns the program that the kernel runs on each packet of the
// interface. It is there to spare copies: what it lets through for the wrong
// address, since of IPv6 it compares the last 32 bits alone, the reader drops.
func filter(groups []netip.Addr, sending bool) []bpf.Instruction {
	var v4, v6 []uint32
	for _, g := range groups {
		b := g.As16()
		low := uint32(b[12])<<24 | uint32(b[13])<<16 | uint32(b[14])<<8 | uint32(b[15])
		if g.Is4() {
			v4 = append(v4, low)
		} else {
			v6 = append(v6, low)
		}
	}
	accept4 := search(v4)
	accept6 := search(v6)
	if len(v4)+len(v6) > maxGroups {
		accept4 = []bpf.Instruction{
			bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 28},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0xe, SkipFalse: 1},
			bpf.RetConstant{Val: acceptAll},
			bpf.RetConstant{},
		}
		accept6 = []bpf.Instruction{
			bpf.LoadAbsolute{Off: networkOffset + 24, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0xff, SkipFalse: 1},
			bpf.RetConstant{Val: acceptAll},
			bpf.RetConstant{},
		}
	}
	p := []bpf.Instruction{
		// Packets of a VLAN belong to the interface of that VLAN.
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{},
	}
	if !sending {
		p = append(p,
			bpf.LoadExtension{Num: bpf.ExtType},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: outgoing, SkipTrue: 1},
			bpf.RetConstant{})
	}
	p = append(p,
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeIPv4, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeIPv6, SkipTrue: 2},
		bpf.RetConstant{},
		bpf.Jump{Skip: 2},
		bpf.LoadAbsolute{Off: networkOffset + 24 + 12, Size: 4},
		bpf.Jump{Skip: uint32(1 + len(accept4))},
		bpf.LoadAbsolute{Off: networkOffset + 16, Size: 4},
	)
	p = append(p, accept4...)
	return append(p, accept6...)
}

// Port returns the program that lets UDP datagrams from or to a port through, as
// far as they are no later fragments.
func Port(port uint16) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeIPv4, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeIPv6, SkipTrue: 10},
		bpf.RetConstant{},
		// IPv4: protocol, offset of the fragment, length of the header.
		bpf.LoadAbsolute{Off: networkOffset + 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 17, SkipTrue: 13},
		bpf.LoadAbsolute{Off: networkOffset + 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 11},
		bpf.LoadMemShift{Off: networkOffset},
		bpf.LoadIndirect{Off: networkOffset, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port), SkipTrue: 9},
		bpf.LoadIndirect{Off: networkOffset + 2, Size: 2},
		bpf.Jump{Skip: 5},
		// IPv6 without extension headers.
		bpf.LoadAbsolute{Off: networkOffset + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 17, SkipTrue: 4},
		bpf.LoadAbsolute{Off: networkOffset + 40, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port), SkipTrue: 3},
		bpf.LoadAbsolute{Off: networkOffset + 42, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port), SkipTrue: 1},
		bpf.RetConstant{},
		bpf.RetConstant{Val: acceptAll},
	}
}

// search returns instructions that accept the packet if A is one of the values,
// and drop it otherwise.
func search(values []uint32) []bpf.Instruction {
	slices.Sort(values)
	return tree(slices.Compact(values))
}

func tree(sorted []uint32) (p []bpf.Instruction) {
	if len(sorted) <= leaf {
		for i, v := range sorted {
			p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(sorted) - i)})
		}
		return append(p, bpf.RetConstant{}, bpf.RetConstant{Val: acceptAll})
	}
	middle := len(sorted) / 2
	low, high := tree(sorted[:middle]), tree(sorted[middle:])
	p = append(p,
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: sorted[middle], SkipFalse: 1},
		bpf.Jump{Skip: uint32(len(low))})
	return append(append(p, low...), high...)
}
