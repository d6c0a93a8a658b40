package ssm

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func channel(source, group string, port uint16) Channel {
	var ch Channel
	if source != "" {
		ch.Source = netip.MustParseAddr(source)
	}
	if group != "" {
		ch.Group = netip.MustParseAddr(group)
	}
	ch.Port = port
	return ch
}

func TestChannelValidate(t *testing.T) {
	for _, c := range []struct {
		name  string
		ch    Channel
		valid bool
	}{
		{"IPv4", channel("192.0.2.1", "232.1.1.1", 5000), true},
		{"IPv6", channel("2001:db8::1", "ff3e::8000:1", 5000), true},
		{"source outside 232/8", channel("192.0.2.1", "239.1.1.1", 5000), true},
		{"any source", channel("", "224.0.23.60", 4937), true},
		{"any source in 232/8", channel("", "232.1.1.1", 5000), false},
		{"any source in FF3x::/32", channel("", "ff35::8000:1", 5000), false},
		{"any source, IPv6", channel("", "ff02::1234", 5000), true},
		{"no group", channel("192.0.2.1", "", 5000), false},
		{"unicast group", channel("192.0.2.1", "192.0.2.2", 5000), false},
		{"no port", channel("192.0.2.1", "232.1.1.1", 0), false},
		{"families mixed", channel("2001:db8::1", "232.1.1.1", 5000), false},
		{"multicast source", channel("232.1.1.2", "232.1.1.1", 5000), false},
		{"unspecified source", channel("0.0.0.0", "232.1.1.1", 5000), false},
		{"IPv4 source in IPv6 form", channel("::ffff:192.0.2.1", "232.1.1.1", 5000), false},
		{"IPv4 group in IPv6 form", channel("::ffff:192.0.2.1", "::ffff:232.1.1.1", 5000), false},
		{"group with zone", channel("fe80::1", "ff32::8000:1%lo", 5000), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.ch.Validate(); c.valid {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, ErrChannel)
			}
		})
	}
}

func TestChannelString(t *testing.T) {
	require.Equal(t, "192.0.2.1→232.1.1.1:5000", channel("192.0.2.1", "232.1.1.1", 5000).String())
	require.Equal(t, "*→[ff02::1234]:5000", channel("", "ff02::1234", 5000).String())
}

func TestRandomChannel(t *testing.T) {
	for _, source := range []string{"127.0.0.1", "2001:db8::1"} {
		for range 100 {
			ch, err := RandomChannel(netip.MustParseAddr(source))
			require.NoError(t, err)
			require.NoError(t, ch.Validate())
			require.True(t, sourceSpecific(ch.Group))
			require.False(t, netip.MustParsePrefix("232.0.0.0/24").Contains(ch.Group))
			require.Less(t, ch.Port, uint16(32768), "a socket that asks for any port may get this one")
		}
	}
	_, err := RandomChannel(netip.Addr{})
	require.ErrorIs(t, err, ErrChannel)
}
