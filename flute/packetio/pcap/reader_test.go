package pcap

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/flutetest"
)

func readAll(r *Reader) (packets []Packet, err error) {
	for {
		p, err := r.Next()
		if err != nil {
			return packets, err
		}
		p.Payload = bytes.Clone(p.Payload)
		packets = append(packets, p)
	}
}

// The captures of other senders come out as the strict reader of the tests has them.
func TestCaptures(t *testing.T) {
	files, err := filepath.Glob("../../testdata/*.pcap")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		want := flutetest.Capture(t, file)
		for _, ng := range []bool{false, true} {
			if ng {
				b = toNG(b)
			}
			r, err := NewReader(bytes.NewReader(b))
			require.NoError(t, err)
			got, err := readAll(r)
			require.Equal(t, io.EOF, err)
			require.Len(t, got, len(want), file)
			for i, p := range got {
				require.True(t, want[i].At.Equal(p.At), "%v %v", want[i].At, p.At)
				require.Equal(t, want[i].Src, p.Src)
				require.Equal(t, want[i].Dst, p.Dst)
				require.True(t, bytes.Equal(want[i].Payload, p.Payload))
			}
			require.Equal(t, Stats{Frames: uint64(len(want)), Packets: uint64(len(want))}, r.Stats())
		}
	}
}

// toNG makes pcapng of pcap, with nanoseconds and the high octet first.
func toNG(b []byte) (out []byte) {
	be, le := binary.BigEndian, binary.LittleEndian
	block := func(kind uint32, body []byte) {
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		n := uint32(len(body) + 12)
		out = be.AppendUint32(be.AppendUint32(out, kind), n)
		out = be.AppendUint32(append(out, body...), n)
	}
	block(blockSection, []byte{0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255})
	block(blockInterface, []byte{0, 1, 0, 0, 0, 0, 0, 0, 0, optionTSResol, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0})
	block(5, []byte{0, 0, 0, 0, 1, 2, 3, 4}) // statistics
	for b = b[24:]; len(b) > 0; {
		n := le.Uint32(b[8:])
		ns := uint64(le.Uint32(b))*1e9 + uint64(le.Uint32(b[4:]))*1e3
		body := be.AppendUint64(be.AppendUint32(nil, 0), ns)
		body = be.AppendUint32(be.AppendUint32(body, n), le.Uint32(b[12:]))
		block(blockEnhanced, append(body, b[16:16+n]...))
		b = b[16+n:]
	}
	return out
}

// file makes a pcap of frames with nanoseconds.
func file(link uint32, frames ...[]byte) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, magicNano)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0)
	b = le.AppendUint32(b, link)
	for i, f := range frames {
		b = le.AppendUint32(b, 1000)
		b = le.AppendUint32(b, uint32(i))
		b = le.AppendUint32(b, uint32(len(f)))
		b = append(le.AppendUint32(b, uint32(len(f))), f...)
	}
	return b
}

func udpOf(payload string) []byte {
	b := []byte{0x13, 0x88, 0x17, 0x70, 0, byte(8 + len(payload)), 0, 0}
	return append(b, payload...)
}

func ip4(id byte, flags uint16, payload []byte) []byte {
	b := []byte{0x45, 0, 0, byte(20 + len(payload)), 0, id, byte(flags >> 8), byte(flags), 64, 17, 0, 0, 10, 0, 0, 1, 232, 1, 1, 1}
	return append(b, payload...)
}

func ip6(next byte, payload []byte) []byte {
	b := []byte{0x60, 0, 0, 0, 0, byte(len(payload)), next, 64}
	src, dst := netip.MustParseAddr("2001:db8::1").As16(), netip.MustParseAddr("ff3e::8000:1").As16()
	return append(append(append(b, src[:]...), dst[:]...), payload...)
}

func TestLinkTypes(t *testing.T) {
	v4, v6 := ip4(1, 0, udpOf("hello")), ip6(17, udpOf("hello"))
	mac := make([]byte, 12)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		link  uint32
		frame []byte
	}{
		"ethernet":        {1, join(mac, []byte{8, 0}, v4)},
		"with padding":    {1, join(mac, []byte{8, 0}, v4, make([]byte, 12))},
		"two VLAN tags":   {1, join(mac, []byte{0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0}, v4)},
		"ethernet, IPv6":  {1, join(mac, []byte{0x86, 0xdd}, v6)},
		"raw":             {101, v4},
		"raw, IPv6":       {101, v6},
		"null":            {0, join([]byte{2, 0, 0, 0}, v4)},
		"cooked":          {113, join(make([]byte, 14), []byte{8, 0}, v4)},
		"cooked, version": {276, join([]byte{0x86, 0xdd}, make([]byte, 18), v6)},
		"destination opt": {101, ip6(60, join([]byte{17, 0, 0, 0, 0, 0, 0, 0}, udpOf("hello")))},
		"old QinQ":        {1, join(mac, []byte{0x91, 0, 0, 1, 0x81, 0, 0, 2, 8, 0}, v4)},
		"cooked, VLAN":    {113, join(make([]byte, 14), []byte{0x81, 0, 0, 5, 8, 0}, v4)},
		"cooked 2, VLAN":  {276, join([]byte{0x81, 0}, make([]byte, 18), []byte{0, 5, 0x86, 0xdd}, v6)},
		"MPLS":            {1, join(mac, []byte{0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64}, v4)},
		"PPPoE":           {1, join(mac, []byte{0x88, 0x64, 0x11, 0, 0, 1, 0, byte(len(v4) + 2), 0, 0x21}, v4)},
		"PPP":             {9, join([]byte{0xff, 3, 0, 0x57}, v6)},
		"PPP, bare":       {9, join([]byte{0, 0x21}, v4)},
		"GRE":             {101, protocol(47, ip4(1, 0, join([]byte{0, 0, 8, 0}, v4)))},
		"GRE with a key":  {101, protocol(47, ip4(1, 0, join([]byte{0x30, 0, 0x86, 0xdd, 0, 0, 0, 1, 0, 0, 0, 2}, v6)))},
		"Ethernet in GRE": {101, protocol(47, ip4(1, 0, join([]byte{0, 0, 0x65, 0x58}, mac, []byte{8, 0}, v4)))},
		"IP in IP":        {101, protocol(4, ip4(1, 0, v4))},
		"IPv4 in IPv6":    {101, ip6(4, v4)},
		"atomic fragment": {101, ip6(44, join([]byte{17, 0, 0, 0, 0, 0, 0, 9}, udpOf("hello")))},
	} {
		r, err := NewReader(bytes.NewReader(file(c.link, c.frame)))
		require.NoError(t, err)
		p, err := r.Next()
		require.NoError(t, err, name)
		require.Equal(t, "hello", string(p.Payload), name)
		require.Equal(t, uint16(5000), p.Src.Port())
		require.Equal(t, uint16(6000), p.Dst.Port())
		require.True(t, p.Dst.Addr().IsMulticast())
		require.Equal(t, uint8(64), p.TTL)
		require.True(t, p.At.Equal(time.Unix(1000, 0)))
		_, err = r.Next()
		require.Equal(t, io.EOF, err)
	}
}

func protocol(n byte, ip []byte) []byte {
	ip[9] = n
	return ip
}

func TestTunnelsInTunnels(t *testing.T) {
	b := ip4(1, 0, udpOf("hello"))
	for range maxDepth + 1 {
		b = protocol(4, ip4(1, 0, b))
	}
	r, err := NewReader(bytes.NewReader(file(101, b)))
	require.NoError(t, err)
	_, err = r.Next()
	require.Equal(t, io.EOF, err)
	require.Equal(t, Stats{Frames: 1, Foreign: 1}, r.Stats())
}

func TestTunnelled(t *testing.T) {
	message := append([]byte{6, 0}, ip4(1, 0, udpOf("hello"))...)
	udp := append([]byte{2268 >> 8, 2268 & 0xff, 0x17, 0x70, 0, byte(8 + len(message)), 0, 0}, message...)
	r, err := NewReader(bytes.NewReader(file(101, ip4(1, 0, udp))))
	require.NoError(t, err)
	p, err := r.Next()
	require.NoError(t, err)
	inner, ok := r.Tunnelled(p)
	require.True(t, ok)
	require.Equal(t, "hello", string(inner.Payload))
	require.Equal(t, netip.MustParseAddrPort("232.1.1.1:6000"), inner.Dst)
	require.True(t, inner.At.Equal(p.At))
	_, ok = r.Tunnelled(inner)
	require.False(t, ok)
}

func TestUnknownLinks(t *testing.T) {
	r, err := NewReader(bytes.NewReader(file(147, []byte("what a user defines"))))
	require.NoError(t, err)
	_, err = r.Next()
	require.Equal(t, io.EOF, err)
	require.Equal(t, Stats{Frames: 1, Foreign: 1, UnknownLinks: 1, UnknownLink: 147}, r.Stats())
}

func TestCompressed(t *testing.T) {
	plain := file(101, ip4(1, 0, udpOf("hello")), ip4(1, 0, udpOf("world")))
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, err := w.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	for _, b := range [][]byte{z.Bytes(), z.Bytes()[:z.Len()-9]} {
		r, err := NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		packets, err := readAll(r)
		if len(b) == z.Len() {
			require.Equal(t, io.EOF, err)
			require.Len(t, packets, 2)
			continue
		}
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	wrong := bytes.Clone(z.Bytes())
	wrong[len(wrong)-5] ^= 1
	r, err := NewReader(bytes.NewReader(wrong))
	require.NoError(t, err)
	_, err = readAll(r)
	require.ErrorIs(t, err, ErrFormat)
	_, err = NewReader(bytes.NewReader([]byte("\x28\xb5\x2f\xfd and so on, for more than a head")))
	require.ErrorIs(t, err, ErrFormat)
	require.ErrorContains(t, err, "zstd")
}

func TestModified(t *testing.T) {
	plain := file(101, ip4(1, 0, udpOf("hello")))
	binary.LittleEndian.PutUint32(plain, magicModified)
	b := append(bytes.Clone(plain[:24+16]), make([]byte, 8)...)
	r, err := NewReader(bytes.NewReader(append(b, plain[24+16:]...)))
	require.NoError(t, err)
	p, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "hello", string(p.Payload))
}

func TestFragments(t *testing.T) {
	whole := udpOf("0123456789abcdefghijklmnopqrstuvwxyz")
	a, b, c := ip4(7, 0x2000, whole[:16]), ip4(7, 0x2002, whole[16:32]), ip4(7, 4, whole[32:])
	other := ip4(8, 0x2000, whole[:16])
	r, err := NewReader(bytes.NewReader(file(101, c, a, other, a, b)))
	require.NoError(t, err)
	p, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, string(whole[8:]), string(p.Payload))
	_, err = r.Next()
	require.Equal(t, io.EOF, err)
	require.Equal(t, Stats{Frames: 5, Packets: 1, Incomplete: 1}, r.Stats())

	six := func(off uint16, b []byte) []byte {
		return ip6(44, append([]byte{17, 0, byte(off >> 8), byte(off), 0, 0, 0, 1}, b...))
	}
	r, err = NewReader(bytes.NewReader(file(101, six(16, whole[16:]), six(1, whole[:16]))))
	require.NoError(t, err)
	p, err = r.Next()
	require.NoError(t, err)
	require.Equal(t, string(whole[8:]), string(p.Payload))
}

func TestWhatIsNoDatagram(t *testing.T) {
	tcp := ip4(1, 0, udpOf("x"))
	tcp[9] = 6
	long := ip4(1, 0, udpOf("x"))
	long[3] = 200
	r, err := NewReader(bytes.NewReader(file(101, tcp, long, []byte{1}, ip4(1, 0, []byte("short")))))
	require.NoError(t, err)
	_, err = r.Next()
	require.Equal(t, io.EOF, err)
	require.Equal(t, Stats{Frames: 4, Foreign: 2, CutOff: 2}, r.Stats())

	_, err = NewReader(bytes.NewReader([]byte("GIF89a, and more than twenty-four octets")))
	require.ErrorIs(t, err, ErrFormat)
	good := file(101, tcp)
	r, err = NewReader(bytes.NewReader(good[:len(good)-1]))
	require.NoError(t, err)
	_, err = r.Next()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// What a sender hands to the kernel as one (UDP GSO) is captured as one, and so it comes out.
func TestSegmentationOffload(t *testing.T) {
	frame := func(octets int) []byte {
		u := append(udpOf(""), make([]byte, octets)...)
		be.PutUint16(u[4:], uint16(len(u)))
		b := ip4(1, 0, u)
		be.PutUint16(b[2:], uint16(len(b)))
		return b
	}
	r, err := NewReader(bytes.NewReader(file(101, frame(1400), frame(9000), frame(45*1400))))
	require.NoError(t, err)
	packets, err := readAll(r)
	require.Equal(t, io.EOF, err)
	require.Len(t, packets, 3)
	require.Len(t, packets[2].Payload, 45*1400)
	require.Equal(t, Stats{Frames: 3, Packets: 3, Oversize: 1}, r.Stats())
}

func FuzzReader(f *testing.F) {
	whole := udpOf("0123456789abcdefghijklmnopqrstuvwxyz")
	plain := file(101, ip4(7, 0x2000, whole[:16]), ip4(7, 2, whole[16:]), ip6(17, whole))
	f.Add(plain)
	f.Add(toNG(plain))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		n := uint64(0)
		for {
			p, err := r.Next()
			if err != nil {
				if err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
					require.ErrorIs(t, err, ErrFormat)
				}
				break
			}
			n++
			require.LessOrEqual(t, len(p.Payload), maxFrame)
		}
		st := r.Stats()
		require.Equal(t, n, st.Packets)
		require.LessOrEqual(t, st.Packets+st.Foreign, st.Frames)
	})
}
