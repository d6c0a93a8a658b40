// Package ssmtest gives tests multicast channels on the loopback interface that
// no other test uses, also not one in another process.
package ssmtest

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/treedn/treedn/amt/ssm"
)

// Interface is the name of the loopback interface on Linux.
const Interface = "lo"

// Source draws a source address in 127/8. On Linux all of them can be bound
// without preparation.
func Source() netip.Addr {
	r := rand.Uint32()
	return netip.AddrFrom4([4]byte{127, byte(1 + r%254), byte(r >> 8), byte(1 + (r>>16)%254)})
}

// Channel draws a source in 127/8, a group in 232/8 and a free UDP port.
func Channel(tb testing.TB) ssm.Channel {
	tb.Helper()
	return ChannelFrom(tb, Source())
}

// ChannelFrom draws a group and a free port for the given source.
func ChannelFrom(tb testing.TB, source netip.Addr) ssm.Channel {
	tb.Helper()
	ch, err := ssm.RandomChannel(source)
	if err != nil {
		tb.Fatal(err)
	}
	return ch
}
