package amt

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/internal/checksum"
)

// Packets that the Linux kernel forwarded.
func TestCapturedPackets(t *testing.T) {
	for _, c := range []struct{ hex, source, destination string }{
		{"4500003ccf8b40000f11a90e0a0c0009e8010101aebd13880028e3da3030303030303030787878787878787878787878787878787878787878787878",
			"10.12.0.9:44733", "232.1.1.1:5000"},
		{"600e05e80028110ffd120000000000000000000000000001ff3e000000000000000000008000000da41313880028653a" +
			"3030303030303032787878787878787878787878787878787878787878787878", "[fd12::1]:42003", "[ff3e::8000:d]:5000"},
	} {
		raw, err := hex.DecodeString(c.hex)
		require.NoError(t, err)
		var p Packet
		require.NoError(t, p.Parse(append(raw, 1, 2, 3)))
		require.Equal(t, raw, p.Raw)
		require.NoError(t, p.ParseUDP())
		require.Equal(t, netip.MustParseAddrPort(c.source), p.Source)
		require.Equal(t, netip.MustParseAddrPort(c.destination), p.Destination)
		require.Equal(t, uint8(15), p.TTL)
		require.Len(t, p.Payload, 32)

		again := AppendUDP(nil, p.Source, p.Destination, p.TTL, p.Payload)
		require.Equal(t, raw[len(raw)-40:], again[len(again)-40:], "the UDP header with its checksum")
		var q Packet
		require.NoError(t, q.Parse(again))
		require.NoError(t, q.ParseUDP())
		require.Equal(t, p.Payload, q.Payload)

		for n := range raw {
			require.Error(t, p.Parse(raw[:n]))
		}
		raw[len(raw)-1] ^= 1
		require.NoError(t, p.Parse(raw))
		require.ErrorIs(t, p.ParseUDP(), ErrPacket, "the checksum")
	}
}

// The table of RFC 6040 section 4.2: rows are the inner field, columns the outer.
func TestDecapsulateECN(t *testing.T) {
	const drop = 0xff
	for inner, row := range [4][4]uint8{
		0b00: {0b00, 0b00, 0b00, drop},
		0b01: {0b01, 0b01, 0b01, 0b11},
		0b10: {0b10, 0b01, 0b10, 0b11},
		0b11: {0b11, 0b11, 0b11, 0b11},
	} {
		for outer, want := range row {
			for _, group := range []string{"232.1.1.1:2", "[ff3e::1]:2"} {
				to := netip.MustParseAddrPort(group)
				source := netip.MustParseAddrPort("10.0.0.1:1")
				if to.Addr().Is6() {
					source = netip.MustParseAddrPort("[2001:db8::1]:1")
				}
				b := AppendUDP(nil, source, to, 5, []byte("x"))
				if to.Addr().Is4() {
					b[1] |= uint8(inner)
					b[10], b[11] = 0, 0
					binary.BigEndian.PutUint16(b[10:], checksum.Of(b[:20]))
				} else {
					b[1] |= uint8(inner) << 4
				}
				ok := decapsulateECN(b, uint8(outer))
				require.Equal(t, want != drop, ok)
				if !ok {
					continue
				}
				have := b[1] & 3
				if to.Addr().Is6() {
					have = b[1] >> 4 & 3
				}
				require.Equal(t, want, have, "inner %02b, outer %02b", inner, outer)
				var p Packet
				require.NoError(t, p.Parse(b), "the header checksum is right")
				require.NoError(t, p.ParseUDP())
			}
		}
	}
}

func mayFragment(b []byte) []byte {
	b[6] = 0 // no DF
	binary.BigEndian.PutUint16(b[4:], 77)
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], checksum.Of(b[:20]))
	return b
}

func TestFragmentAndReassemble(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	from, to := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("232.1.1.1:2")
	payload := make([]byte, 5000)
	for i := range payload {
		payload[i] = byte(rng.Uint32())
	}
	packet := mayFragment(AppendUDP(nil, from, to, 5, payload))
	for _, mtu := range []int{68, 576, 1470, 5019} {
		var pieces [][]byte
		require.True(t, Fragment(packet, mtu, nil, func(b []byte) bool {
			require.LessOrEqual(t, len(b), mtu)
			pieces = append(pieces, bytes.Clone(b))
			return true
		}))
		rng.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
		var r reassembler
		var done int
		for i, b := range append(pieces[:1:1], pieces...) { // the first one twice
			var p Packet
			require.NoError(t, p.Parse(b))
			require.True(t, p.Fragment())
			require.ErrorIs(t, p.ParseUDP(), ErrFragment)
			if whole, ok := r.add(time.Unix(0, int64(i)), &p); ok {
				require.Equal(t, payload, whole.Payload)
				require.Equal(t, from, whole.Source)
				require.Equal(t, to, whole.Destination)
				done++
			}
		}
		require.Equal(t, 1, done, "MTU %d, %d pieces", mtu, len(pieces))
		require.Zero(t, r.octets)
	}
	require.False(t, Fragment(AppendUDP(nil, from, to, 5, payload), 1400, nil, nil), "DF is set")
	require.False(t, Fragment(AppendUDP(nil, netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[ff3e::1]:2"), 5, payload), 1400, nil, nil))

	// A fragment of a fragment, with options of which one is copied.
	with := append([]byte(nil), packet[:20]...)
	with = append(with, 0x94, 4, 0, 0, 7, 3, 4, 0)
	with = append(with, packet[20:]...)
	with[0] = 0x47
	binary.BigEndian.PutUint16(with[2:], uint16(len(with)))
	with[10], with[11] = 0, 0
	binary.BigEndian.PutUint16(with[10:], checksum.Of(with[:28]))
	var lengths []int
	total := 0
	require.True(t, Fragment(with, 1000, nil, func(b []byte) bool {
		var p Packet
		require.NoError(t, p.Parse(b))
		lengths = append(lengths, len(b)-len(p.Payload))
		require.Equal(t, total, p.offset)
		total += len(p.Payload)
		return Fragment(b, 500, nil, func(b []byte) bool { return p.Parse(b) == nil })
	}))
	require.Equal(t, 5008, total)
	require.Equal(t, []int{28, 24, 24, 24, 24, 24}, lengths)
}

// Fragments that overlap, never end, or are too many.
func TestHostileFragments(t *testing.T) {
	from, to := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("232.1.1.1:2")
	fragment := func(id uint32, offset, length int, more bool) *Packet {
		return &Packet{Source: from, Destination: to, protocol: 17, fragment: true, id: id, offset: offset, more: more,
			Payload: make([]byte, length)}
	}
	now := time.Unix(0, 0)
	var r reassembler
	for _, p := range []*Packet{
		fragment(1, 0, 16, true), fragment(1, 8, 16, true), fragment(1, 24, 8, false), fragment(1, 16, 8, true),
		fragment(2, 16, 8, false), fragment(2, 24, 8, true), fragment(3, 8, 7, true), fragment(4, 65528, 100, false),
		fragment(5, 8, 8, false), fragment(5, 8, 16, false),
	} {
		_, ok := r.add(now, p)
		require.False(t, ok)
	}
	for i := range 10_000 {
		_, ok := r.add(now, fragment(uint32(100+i), 0, 1400, true))
		require.False(t, ok)
		require.LessOrEqual(t, len(r.packets), maxPartials)
		require.LessOrEqual(t, r.octets, maxPartialOctets)
	}
	_, ok := r.add(now.Add(time.Minute), fragment(1, 0, 8, true))
	require.False(t, ok)
	require.Len(t, r.packets, 1, "the others are too old")
}

func TestTooBig(t *testing.T) {
	packet := AppendUDP(nil, netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("232.1.1.1:2"), 5, make([]byte, 3000))
	b, ok := AppendTooBig(nil, netip.MustParseAddr("192.0.2.1"), packet, 1470)
	require.True(t, ok)
	require.Len(t, b, 20+8+28)
	require.Zero(t, checksum.Of(b[:20]))
	require.Zero(t, checksum.Of(b[20:]))
	require.Equal(t, []byte{3, 4}, b[20:22])
	require.EqualValues(t, 1470, binary.BigEndian.Uint16(b[26:]))
	require.Equal(t, []byte{10, 0, 0, 1}, b[16:20])

	packet = AppendUDP(nil, netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[ff3e::1]:2"), 5, make([]byte, 3000))
	b, ok = AppendTooBig(nil, netip.MustParseAddr("2001:db8::9"), packet, 1450)
	require.True(t, ok)
	require.Len(t, b, 1280)
	require.EqualValues(t, 1450, binary.BigEndian.Uint32(b[44:]))
	require.Zero(t, checksum.Fold(checksum.Add(checksum.Add(uint64(58+len(b)-40), b[8:40]), b[40:])))
	_, ok = AppendTooBig(nil, netip.MustParseAddr("192.0.2.1"), packet, 1450)
	require.False(t, ok)
}

func FuzzReassemble(f *testing.F) {
	f.Add([]byte{0, 2, 1, 2, 2, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		var r reassembler
		now := time.Unix(0, 0)
		for len(script) >= 3 {
			p := Packet{
				Source: netip.MustParseAddrPort("10.0.0.1:0"), Destination: netip.MustParseAddrPort("232.1.1.1:0"),
				protocol: 17, fragment: true, id: uint32(script[2] >> 5), offset: int(script[0]) * 8,
				more: script[2]&1 == 1, Payload: make([]byte, int(script[1])*8),
			}
			if !p.more {
				p.Payload = append(p.Payload, 1, 2, 3)
			}
			now = now.Add(time.Duration(script[2]>>1&15) * time.Second)
			script = script[3:]
			if whole, ok := r.add(now, &p); ok {
				require.LessOrEqual(t, len(whole.Payload), maxFragmentPayload)
			}
			sum := 0
			for _, q := range r.packets {
				have := 0
				for _, piece := range q.pieces {
					have += len(piece.data)
				}
				require.Equal(t, q.have, have)
				sum += have
			}
			require.Equal(t, r.octets, sum)
			require.LessOrEqual(t, r.octets, maxPartialOctets+maxFragmentPayload)
		}
	})
}
