package ssm

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Laid out by hand after ws2ipdef.h and ws2def.h: interface, padding, family,
// port, then the IPv4 address, or flow information and the IPv6 address.
func TestGroupSourceRequest(t *testing.T) {
	zeros := func(n int) string { return strings.Repeat("00", n) }
	for _, c := range []struct {
		source, group, want string
	}{
		{"192.0.2.10", "232.1.1.1", "07000000" + zeros(4) +
			"0200" + "0000" + "e8010101" + zeros(120) +
			"0200" + "0000" + "c000020a" + zeros(120)},
		{"2001:db8::a", "ff3e::8000:1", "07000000" + zeros(4) +
			"1700" + "0000" + "00000000" + "ff3e0000000000000000000080000001" + zeros(104) +
			"1700" + "0000" + "00000000" + "20010db800000000000000000000000a" + zeros(104)},
	} {
		b := groupSourceRequest(Channel{Source: netip.MustParseAddr(c.source), Group: netip.MustParseAddr(c.group)}, 7)
		require.Equal(t, c.want, hex.EncodeToString(b[:]))
	}
}
