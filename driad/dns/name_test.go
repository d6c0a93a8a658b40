package dns

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNameText(t *testing.T) {
	for _, c := range []struct{ in, out, wire string }{
		{".", ".", "\x00"},
		{"com", "com.", "\x03com\x00"},
		{"Example.COM.", "Example.COM.", "\x07Example\x03COM\x00"},
		{`Relay\.2\ b.x.`, `Relay\.2\032b.x.`, "\x09Relay.2 b\x01x\x00"},
		{`\001\255\\.`, `\001\255\\.`, "\x03\x01\xff\\\x00"},
		{strings.Repeat("a", 63), strings.Repeat("a", 63) + ".", "\x3f" + strings.Repeat("a", 63) + "\x00"},
	} {
		n, err := ParseName(c.in)
		require.NoError(t, err, c.in)
		require.Equal(t, c.out, n.String())
		require.Equal(t, c.wire, string(n.AppendTo(nil)))
		require.Equal(t, len(c.wire), n.Len())
		var m Name
		end, err := m.Unmarshal([]byte(c.wire + "rest"))
		require.NoError(t, err)
		require.Equal(t, len(c.wire), end)
		require.Equal(t, n.String(), m.String())
	}
	long := strings.TrimSuffix(strings.Repeat("a.", 127), ".") // 254 octets and the root
	n, err := ParseName(long)
	require.NoError(t, err)
	require.Equal(t, 255, n.Len())
	for _, s := range []string{"", "..", "a..b", ".a", `a\`, `a\1`, `a\300`, strings.Repeat("a", 64), "b." + long} {
		_, err := ParseName(s)
		require.ErrorIs(t, err, ErrName, s)
	}
}

func TestNameRelations(t *testing.T) {
	n := MustParseName("12.100.51.198.In-Addr.arpa.")
	zone, other := MustParseName("51.198.in-addr.arpa"), MustParseName("1.198.in-addr.arpa")
	require.True(t, n.In(&zone))
	require.True(t, n.In(&Name{}))
	require.True(t, zone.In(&zone))
	require.False(t, zone.In(&n))
	require.False(t, n.In(&other), "no border of labels")
	trap, com := MustParseName(`\003com`), MustParseName("com")
	require.False(t, trap.In(&com))
	low := n.Lower()
	require.True(t, low.Equal(&n))
	require.NotEqual(t, low, n)
	target := MustParseName("relays.example.com")
	got, err := n.Substitute(&zone, &target)
	require.NoError(t, err)
	require.Equal(t, "12.100.relays.example.com.", got.String())
	_, err = zone.Substitute(&zone, &target)
	require.ErrorIs(t, err, ErrName)
	got, err = n.Substitute(&zone, &Name{})
	require.NoError(t, err)
	require.Equal(t, MustParseName("12.100"), got)
	got, err = target.Under("_amt._udp")
	require.NoError(t, err)
	require.Equal(t, MustParseName("_amt._udp.relays.example.com"), got)
}

func TestNameRefusesWire(t *testing.T) {
	for _, s := range []string{"", "\x01", "\x01a", "\x40", "\x80\x00", "\xc0\x00", strings.Repeat("\x01a", 128) + "\x00"} {
		var n Name
		_, err := n.Unmarshal([]byte(s))
		require.ErrorIs(t, err, ErrName, "%q", s)
	}
	var n Name
	msg := []byte("\x01a\xc0\x05\x00\x01b\xc0\x00")
	_, err := n.unpack(msg, 5, true)
	require.ErrorIs(t, err, ErrName, "a loop")
	end, err := n.unpack([]byte("\x01a\x00\x01b\xc0\x00"), 3, true)
	require.NoError(t, err)
	require.Equal(t, 7, end)
	require.Equal(t, "b.a.", n.String())
}
