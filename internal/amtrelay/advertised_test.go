package amtrelay

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/config"
)

// The log says what gateways are told, also if that is the default.
func TestAdvertised(t *testing.T) {
	for _, c := range []struct {
		listen, advertise []string
		want              string
	}{
		{[]string{"192.0.2.1:2268", "[2001:db8::1]:2268"}, nil, "192.0.2.1 2001:db8::1"},
		{[]string{"192.0.2.1:2268", "192.0.2.2:2268"}, nil, "192.0.2.1"},
		{[]string{"0.0.0.0:2268", "[2001:db8::1]:2268"}, []string{"203.0.113.1"}, "203.0.113.1 2001:db8::1"},
	} {
		var r Relay
		for _, a := range c.listen {
			r.cfg.Listen = append(r.cfg.Listen, config.AMTAddress{AddrPort: netip.MustParseAddrPort(a)})
		}
		for _, a := range c.advertise {
			r.cfg.Advertise = append(r.cfg.Advertise, netip.MustParseAddr(a))
		}
		require.Equal(t, c.want, texts(r.advertised()))
	}
}
