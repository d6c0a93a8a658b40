package receive

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
)

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]string{
		"198.51.100.10,232.1.1.10:5000":         "(198.51.100.10,232.1.1.10):5000",
		"198.51.100.10,232.1.1.10":              "(198.51.100.10,232.1.1.10):0",
		"198.51.100.10@232.1.1.10:5000":         "(198.51.100.10,232.1.1.10):5000",
		"udp://198.51.100.10@232.1.1.10:5000":   "(198.51.100.10,232.1.1.10):5000",
		"amt://198.51.100.10@232.1.1.10":        "(198.51.100.10,232.1.1.10):0",
		"(198.51.100.10,232.1.1.10):5000":       "(198.51.100.10,232.1.1.10):5000",
		"(198.51.100.10, 232.1.1.10)":           "(198.51.100.10,232.1.1.10):0",
		"2001:db8::1,ff3e::8000:1":              "(2001:db8::1,ff3e::8000:1):0",
		"2001:db8::1,[ff3e::8000:1]:5000":       "(2001:db8::1,ff3e::8000:1):5000",
		"[2001:db8::1],[ff3e::8000:1]:5000":     "(2001:db8::1,ff3e::8000:1):5000",
		"udp://[2001:db8::1]@[ff3e::8000:1]:50": "(2001:db8::1,ff3e::8000:1):50",
	} {
		ch, err := ParseTarget(text)
		require.NoError(t, err, text)
		require.Equal(t, want, format(ch), text)
	}
	for _, text := range []string{
		"", "232.1.1.10:5000", "1.2.3.4,5.6.7.8:1", "1.2.3.4,232.1.1.1:0", "1.2.3.4,232.1.1.1:70000", "x,232.1.1.1:1",
		"1.2.3.4,y:1", "232.1.1.1,232.1.1.1:1", "1.2.3.4,ff3e::8000:1", "1.2.3.4,z",
	} {
		_, err := ParseTarget(text)
		require.Error(t, err, text)
	}
}

func format(ch ssm.Channel) string {
	port := "0"
	if ch.Port > 0 {
		port = ch.Destination().String()[len(ch.Destination().String())-len("5000"):]
		if port[0] == ':' || port[1] == ':' {
			port = port[len(port)-2:]
		}
	}
	return "(" + ch.Source.String() + "," + ch.Group.String() + "):" + port
}

func FuzzParseTarget(f *testing.F) {
	f.Add("198.51.100.10,232.1.1.10:5000")
	f.Add("udp://[2001:db8::1]@[ff3e::8000:1]:50")
	f.Fuzz(func(t *testing.T, s string) {
		ch, err := ParseTarget(s)
		if err != nil {
			return
		}
		again, err := ParseTarget(ch.Source.String() + "," + ch.Destination().String())
		if ch.Port == 0 {
			again, err = ParseTarget(ch.Source.String() + "," + ch.Group.String())
		}
		require.NoError(t, err)
		require.Equal(t, ch, again)
	})
}

// tsOf makes a packet of a transport stream.
func tsOf(pid int, counter uint8, payload, discontinuity bool) []byte {
	b := make([]byte, tsPacket)
	b[0], b[1], b[2], b[3] = tsSync, byte(pid>>8), byte(pid), counter&0xf
	if payload {
		b[3] |= 0x10
	}
	if discontinuity {
		b[3] |= 0x20
		b[4], b[5] = 1, 0x80
	}
	return b
}

func TestTransport(t *testing.T) {
	var tr transport
	for i := range uint8(40) {
		tr.add(append(tsOf(100, i, true, false), tsOf(200, i+7, true, false)...))
	}
	tr.add(tsOf(100, 39, true, false))  // once more
	tr.add(tsOf(100, 39, false, false)) // no payload: the counter stays
	tr.add(tsOf(0x1fff, 3, true, false))
	tr.add(tsOf(0x1fff, 9, true, false))
	tr.add(tsOf(200, 2, true, true)) // announced
	require.Zero(t, tr.gaps)
	require.Equal(t, uint64(85), tr.packets)
	tr.add(tsOf(100, 42, true, false))
	require.Equal(t, uint64(1), tr.gaps)
	tr.add([]byte("no transport stream"))
	tr.add(nil)

	rtp := func(seq uint16) []byte {
		return append([]byte{0x80, 33, byte(seq >> 8), byte(seq), 0, 0, 0, 0, 0, 0, 0, 0}, tsOf(300, uint8(seq), true, false)...)
	}
	tr = transport{}
	for _, seq := range []uint16{65534, 65535, 0, 1, 4} {
		tr.add(rtp(seq))
	}
	require.Equal(t, uint64(2), tr.lost())
	require.Equal(t, uint64(1), tr.gaps)
	for _, c := range []struct {
		sequence []uint16
		lost     uint64
	}{
		{[]uint16{10, 11, 13, 12, 14}, 0},         // in another order
		{[]uint16{10, 11, 11, 10, 12, 12, 13}, 0}, // twice
		{[]uint16{10, 14, 12, 12, 15}, 2},         // late, and that twice
		{[]uint16{10, 9, 8, 11}, 0},               // before the first
		{[]uint16{1000, 1001, 10, 11, 13}, 1},     // begun again
		{[]uint16{10, 310}, 299},
	} {
		tr = transport{}
		for _, seq := range c.sequence {
			tr.add(rtp(seq))
		}
		require.Equal(t, c.lost, tr.lost(), c.sequence)
	}
	other := rtp(500)
	other[8] = 1 // SSRC
	tr.add(other)
	require.Equal(t, uint64(299), tr.lost())
}

func FuzzTransport(f *testing.F) {
	f.Add(tsOf(1, 2, true, true))
	f.Add([]byte{0x90, 33, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var tr transport
		tr.add(b)
		if tr.packets > uint64(len(b)/tsPacket) || tr.got > tr.expected {
			t.Fatal("more packets than there are")
		}
	})
}
