package amt_test

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
)

// vector is a message that another program sent.
type vector struct {
	Impl, Type, Outer, Hex string

	raw []byte
}

// vectors reads testdata/vectors.jsonl; see the README beside it.
func vectors(tb testing.TB) []vector { return readVectors(tb, "testdata/vectors.jsonl", 54) }

func readVectors(tb testing.TB, name string, n int) []vector {
	f, err := os.Open(name)
	require.NoError(tb, err)
	defer f.Close()
	var list []vector
	for s := bufio.NewScanner(f); s.Scan(); {
		var v vector
		require.NoError(tb, json.Unmarshal(s.Bytes(), &v))
		v.raw, err = hex.DecodeString(v.Hex)
		require.NoError(tb, err)
		list = append(list, v)
	}
	require.Len(tb, list, n)
	return list
}

var typeNames = map[string]amt.Type{
	"discovery": amt.TypeDiscovery, "advertisement": amt.TypeAdvertisement, "request": amt.TypeRequest,
	"query": amt.TypeQuery, "update": amt.TypeUpdate, "data": amt.TypeData, "teardown": amt.TypeTeardown,
}

func TestVectors(t *testing.T) {
	seen := make(map[amt.Type]int)
	for i, v := range vectors(t) {
		var m amt.Message
		require.NoError(t, m.Unmarshal(v.raw), "line %d", i+1)
		require.Equal(t, typeNames[v.Type], m.Type, "line %d", i+1)
		require.Equal(t, len(v.raw), m.Len(), "line %d", i+1)
		again, err := m.AppendTo(nil)
		require.NoError(t, err)
		require.Equal(t, v.raw, again, "line %d", i+1)
		seen[m.Type]++
	}
	require.Len(t, seen, 7, "a message of each type")
}

func unhex(tb testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(tb, err)
	return b
}

var (
	packet = []byte{0x45, 1, 2, 3}

	messages = []struct {
		name string
		hex  string
		m    amt.Message
	}{
		{"discovery", "01000000aabbccdd", amt.Message{Type: amt.TypeDiscovery, Nonce: 0xaabbccdd}},
		{"advertisement of IPv4", "02000000aabbccdd0a0b0002",
			amt.Message{Type: amt.TypeAdvertisement, Nonce: 0xaabbccdd, Relay: netip.MustParseAddr("10.11.0.2")}},
		{"advertisement of IPv6", "02000000aabbccdd20010db8000000000000000000000001",
			amt.Message{Type: amt.TypeAdvertisement, Nonce: 0xaabbccdd, Relay: netip.MustParseAddr("2001:db8::1")}},
		{"request for IGMP", "0300000001020304", amt.Message{Type: amt.TypeRequest, Nonce: 0x01020304}},
		{"request for MLD", "0301000001020304",
			amt.Message{Type: amt.TypeRequest, Flags: amt.FlagP, Nonce: 0x01020304}},
		{"request with ECN", "0302000001020304",
			amt.Message{Type: amt.TypeRequest, Flags: amt.FlagE, Nonce: 0x01020304}},
		{"query", "040201020304050600000007" + "45010203",
			amt.Message{Type: amt.TypeQuery, Flags: amt.FlagL, MAC: amt.MAC{1, 2, 3, 4, 5, 6}, Nonce: 7, Packet: packet}},
		{"query with IPv4 endpoint", "040101020304050600000007" + "45010203" + "c738" + "000000000000000000000000" + "c0000201",
			amt.Message{Type: amt.TypeQuery, Flags: amt.FlagG, MAC: amt.MAC{1, 2, 3, 4, 5, 6}, Nonce: 7,
				Packet: packet, Gateway: netip.MustParseAddrPort("192.0.2.1:51000")}},
		{"query with IPv6 endpoint", "040301020304050600000007" + "45010203" + "08dc" + "20010db8000000000000000000000001",
			amt.Message{Type: amt.TypeQuery, Flags: amt.FlagG | amt.FlagL, MAC: amt.MAC{1, 2, 3, 4, 5, 6}, Nonce: 7,
				Packet: packet, Gateway: netip.MustParseAddrPort("[2001:db8::1]:2268")}},
		{"update", "050001020304050600000007" + "45010203",
			amt.Message{Type: amt.TypeUpdate, MAC: amt.MAC{1, 2, 3, 4, 5, 6}, Nonce: 7, Packet: packet}},
		{"data", "060045010203", amt.Message{Type: amt.TypeData, Packet: packet}},
		{"teardown", "070001020304050600000007" + "c738" + "000000000000000000000000" + "c0000201",
			amt.Message{Type: amt.TypeTeardown, MAC: amt.MAC{1, 2, 3, 4, 5, 6}, Nonce: 7,
				Gateway: netip.MustParseAddrPort("192.0.2.1:51000")}},
		{"teardown of loopback", "070001020304050600000007" + "c738" + "000000000000000000000000" + "00000001",
			amt.Message{Type: amt.TypeTeardown, MAC: amt.MAC{1, 2, 3, 4, 5, 6}, Nonce: 7,
				Gateway: netip.MustParseAddrPort("[::1]:51000")}},
	}
)

func TestMessages(t *testing.T) {
	for _, c := range messages {
		t.Run(c.name, func(t *testing.T) {
			raw := unhex(t, c.hex)
			var m amt.Message
			require.NoError(t, m.Unmarshal(raw))
			require.Equal(t, c.m, m)
			require.Equal(t, len(raw), m.Len())
			b, err := m.AppendTo([]byte{0xff})
			require.NoError(t, err)
			require.Equal(t, append([]byte{0xff}, raw...), b)
		})
	}
}

// Every message, cut anywhere before its last fixed field, is too short.
func TestShortMessages(t *testing.T) {
	for _, c := range messages {
		raw := unhex(t, c.hex)
		fixed := len(raw)
		switch c.m.Type {
		case amt.TypeUpdate, amt.TypeData:
			fixed -= len(packet)
		case amt.TypeQuery:
			fixed -= len(packet)
		}
		for n := range fixed {
			var m amt.Message
			err := m.Unmarshal(raw[:n])
			var parse *amt.ParseError
			require.ErrorAs(t, err, &parse, "%s of %d octets", c.name, n)
			if c.m.Type == amt.TypeAdvertisement && n >= 8 {
				if n != 12 { // then it is an advertisement of IPv4
					require.ErrorIs(t, err, amt.ErrAddressLength)
				}
				continue
			}
			require.ErrorIs(t, err, amt.ErrShort, "%s of %d octets", c.name, n)
		}
		if c.m.Type == amt.TypeAdvertisement {
			break // the longer one contains the shorter one
		}
	}
}

func TestMalformedMessages(t *testing.T) {
	var m amt.Message
	require.ErrorIs(t, m.Unmarshal(nil), amt.ErrShort)
	require.ErrorIs(t, m.Unmarshal(unhex(t, "1300000001020304")), amt.ErrVersion)
	for _, typ := range []string{"00", "08", "0f"} {
		require.ErrorIs(t, m.Unmarshal(unhex(t, typ+"000000aabbccdd")), amt.ErrType)
	}
	require.EqualError(t, m.Unmarshal(unhex(t, "02000000aabbccdd0a0b00")),
		"amt: Relay Advertisement: address is neither 4 nor 16 octets long")

	for _, m := range []amt.Message{
		{}, {Type: 8},
	} {
		b, err := m.AppendTo([]byte{1})
		require.ErrorIs(t, err, amt.ErrType)
		require.Equal(t, []byte{1}, b)
	}
	for _, m := range []amt.Message{
		{Type: amt.TypeAdvertisement},
		{Type: amt.TypeAdvertisement, Relay: netip.MustParseAddr("::ffff:192.0.2.1")},
		{Type: amt.TypeQuery, Flags: amt.FlagG},
		{Type: amt.TypeTeardown},
	} {
		b, err := m.AppendTo([]byte{1})
		require.ErrorIs(t, err, amt.ErrAddress)
		require.Equal(t, []byte{1}, b)
	}
}

// VLC sends Requests of 9 octets.
func TestLongRequest(t *testing.T) {
	var m amt.Message
	require.NoError(t, m.Unmarshal(unhex(t, "030000000102030400")))
	require.Equal(t, uint32(0x01020304), m.Nonce)
}

func TestMessageAllocates(t *testing.T) {
	list := vectors(t)
	buf := make([]byte, 0, 2048)
	var m amt.Message
	require.Zero(t, testing.AllocsPerRun(10, func() {
		for i := range list {
			_ = m.Unmarshal(list[i].raw[:1])
			_ = m.Unmarshal(list[i].raw)
			buf, _ = m.AppendTo(buf[:0])
		}
	}))
}

func FuzzMessage(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.raw)
	}
	for _, c := range messages {
		f.Add(unhex(f, c.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again amt.Message
		if err := m.Unmarshal(b); err != nil {
			var parse *amt.ParseError
			require.ErrorAs(t, err, &parse)
			return
		}
		out, err := m.AppendTo(nil)
		if m.Relay.Is4In6() {
			require.ErrorIs(t, err, amt.ErrAddress)
			return
		}
		require.NoError(t, err)
		require.Len(t, out, m.Len())
		require.LessOrEqual(t, len(out), len(b))
		require.NoError(t, again.Unmarshal(out))
		if len(m.Packet) == 0 {
			m.Packet, again.Packet = nil, nil
		}
		require.Equal(t, m, again)
	})
}

func BenchmarkMessageUnmarshal(b *testing.B) {
	list := vectors(b)
	var octets int
	for _, v := range list {
		octets += len(v.raw)
	}
	b.SetBytes(int64(octets))
	b.ReportAllocs()
	var m amt.Message
	for b.Loop() {
		for i := range list {
			if err := m.Unmarshal(list[i].raw); err != nil {
				b.Fatal(err)
			}
		}
	}
}
