package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func sample() *Datagram {
	return &Datagram{
		Key: 7, Time: 1790000000000000,
		Records: []Record{
			{Generation: 3, End: 48213, Sum: sha256.Sum256([]byte("a")), ID: ObjectIDOf("demo", "video")},
			{Flags: Final | Named | Current, Generation: 1 << 60, End: 0, Sum: emptySum, Name: []byte("live.mpd")},
			{Flags: Aborted, Generation: 5, End: 63, Sum: sha256.Sum256([]byte("b")), ID: 1},
		},
	}
}

// vector is the sample as put together from the layout by a script in another
// language, with another implementation of Ed25519 (Python, cryptography 48).
const vector = "5ea12a97516c000700065bfeda25e000030000000000000000038000bc55ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb3de13540073d963a0d100000000000000000e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85500086c6976652e6d70640200000000000000053f3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d000000000000000113bdce3a637eedca472ae0aa5fdffb608878fda7f11047b2784fa9a3f5c0cae212a0aa4e5e72c1f43923027c71e19efcf072472bdc9096486866ea9e7a6c8f03"

func TestVector(t *testing.T) {
	b, err := sample().Append(nil, "demo", testKey(1))
	require.NoError(t, err)
	require.Equal(t, vector, hex.EncodeToString(b))

	var d Datagram
	require.NoError(t, d.Unmarshal(b))
	want := sample()
	want.Service = ServiceIDOf("demo")
	want.Records[1].ID = 0
	require.Equal(t, want, &d)
	public := testKey(1).Public().(ed25519.PublicKey)
	require.EqualValues(t, 0xd2dd, KeyIDOf(Content, public))
	require.EqualValues(t, 0x0aaa, KeyIDOf(Hop, public))
}

func TestUnmarshalErrors(t *testing.T) {
	good, err := hex.DecodeString(vector)
	require.NoError(t, err)
	edit := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	// Where the records of the vector begin.
	const first, second, third = 17, 17 + 53, 17 + 53 + 52
	for _, c := range []struct {
		name string
		raw  []byte
		err  error
	}{
		{"empty", nil, ErrShort},
		{"one octet", good[:1], ErrShort},
		{"half a label", []byte{0x5e}, ErrShort},
		{"another label", edit(func(b []byte) { b[1] = 0xa2 }), ErrLabel},
		{"another label, short", []byte("GET"), ErrLabel},
		{"shorter than any", good[:minLen-1], ErrShort},
		{"cut", good[:len(good)-1], ErrShort},
		{"an octet behind", append(bytes.Clone(good), 0), ErrLong},
		{"longer than any", append(bytes.Clone(good), make([]byte, MaxDatagram)...), ErrLong},
		{"no records", edit(func(b []byte) { b[16] = 0 }), ErrRecord},
		{"a record too many", edit(func(b []byte) { b[16]++ }), ErrShort},
		{"a record too few", edit(func(b []byte) { b[16]-- }), ErrLong},
		{"unknown flag", edit(func(b []byte) { b[first] |= 16 }), ErrRecord},
		{"final and aborted", edit(func(b []byte) { b[first] |= 3 }), ErrRecord},
		{"an end of 0 that is none", edit(func(b []byte) { b[second] &^= 1 }), ErrRecord},
		{"an end in a long form", edit(func(b []byte) { copy(b[first+9:], []byte{0x80, 0, 0, 1}) }), ErrRecord},
		{"a name of 0 octets", edit(func(b []byte) { b[third-9] = 0 }), ErrRecord},
		{"a name of 513 octets", edit(func(b []byte) { b[third-10], b[third-9] = 2, 1 }), ErrRecord},
		{"a name beyond the end", edit(func(b []byte) { b[third-10], b[third-9] = 2, 0 }), ErrShort},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Datagram
			err := d.Unmarshal(c.raw)
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.err == ErrShort, err == ErrShort)
			require.Equal(t, c.err, rejectFormat(err).err)
		})
	}
	require.ErrorIs(t, ErrShort, io.ErrUnexpectedEOF)
}

func TestAppendErrors(t *testing.T) {
	edit := func(f func(d *Datagram)) *Datagram {
		d := sample()
		f(d)
		return d
	}
	for _, c := range []struct {
		name    string
		service string
		d       *Datagram
	}{
		{"no service", "", sample()},
		{"service with a zero octet", "a\x00b", sample()},
		{"long service", strings.Repeat("s", 256), sample()},
		{"no records", "s", &Datagram{}},
		{"too many records", "s", &Datagram{Records: make([]Record, 256)}},
		{"too many octets", "s", edit(func(d *Datagram) {
			for range 30 {
				d.Records = append(d.Records, d.Records[0])
			}
		})},
		{"unknown flag", "s", edit(func(d *Datagram) { d.Records[0].Flags = 16 })},
		{"final and aborted", "s", edit(func(d *Datagram) { d.Records[0].Flags = 3 })},
		{"an end of 0 that is none", "s", edit(func(d *Datagram) { d.Records[0].End = 0 })},
		{"end", "s", edit(func(d *Datagram) { d.Records[0].End = 1 << 62 })},
		{"no name", "s", edit(func(d *Datagram) { d.Records[1].Name = nil })},
		{"long name", "s", edit(func(d *Datagram) { d.Records[1].Name = make([]byte, 513) })},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := c.d.Append([]byte("x"), c.service, testKey(1))
			require.ErrorIs(t, err, ErrEncode)
			require.Equal(t, "x", string(b))
		})
	}
	long := &Datagram{Records: []Record{{Flags: Named, End: maxEnd, Name: make([]byte, MaxName)}}}
	b, err := long.Append(nil, strings.Repeat("s", 255), testKey(1))
	require.NoError(t, err)
	require.NoError(t, new(Datagram).Unmarshal(b))
}

func TestVarint(t *testing.T) {
	for _, v := range []uint64{0, 63, 64, 1<<14 - 1, 1 << 14, 1<<30 - 1, 1 << 30, maxEnd} {
		require.Len(t, appendVarint(nil, v), varintLen(v))
	}
	// RFC 9000, appendix A.1.
	require.Equal(t, []byte{0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c}, appendVarint(nil, 151288809941952652))
	require.Equal(t, []byte{0x9d, 0x7f, 0x3e, 0x7d}, appendVarint(nil, 494878333))
	require.Equal(t, []byte{0x7b, 0xbd}, appendVarint(nil, 15293))
}

func TestNames(t *testing.T) {
	name := SignallingName(netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("232.1.2.3"), 6000, 0, "s-tsid")
	require.Equal(t, "sls:192.0.2.1/232.1.2.3/6000/0/s-tsid", name)
	require.Equal(t, Hop, KindOf(name))
	require.Equal(t, Content, KindOf("live.mpd"))
	require.NotEqual(t, ObjectIDOf("a", "bc"), ObjectIDOf("ab", "c"))
	for k, s := range map[Kind]string{Content: "content", Hop: "hop", 9: "unknown"} {
		require.Equal(t, s, k.String())
	}
}

func TestFrames(t *testing.T) {
	b := AppendFrame(AppendFrame(nil, []byte("one")), []byte("three"))
	d, rest, err := Frame(b)
	require.NoError(t, err)
	require.Equal(t, "one", string(d))
	_, _, err = Frame(rest[:6])
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, _, err = Frame(rest[:1])
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	d, rest, err = Frame(rest)
	require.NoError(t, err)
	require.Equal(t, "three", string(d))
	_, _, err = Frame(rest)
	require.Equal(t, io.EOF, err)
	_, _, err = Frame(binary.BigEndian.AppendUint16(nil, MaxDatagram+1))
	require.ErrorIs(t, err, ErrLong)
}

// FuzzDatagram: what can be read is written the same, octet by octet.
func FuzzDatagram(f *testing.F) {
	b, err := hex.DecodeString(vector)
	require.NoError(f, err)
	f.Add(b)
	f.Add(b[:90])
	one := &Datagram{Time: math.MaxUint64, Records: []Record{{Generation: math.MaxUint64, End: maxEnd}}}
	b, err = one.Append(nil, "s", testKey(2))
	require.NoError(f, err)
	f.Add(b)
	var d Datagram // reused, as a Verifier does
	f.Fuzz(func(t *testing.T, b []byte) {
		err := d.Unmarshal(b)
		require.LessOrEqual(t, cap(d.Records), 2*maxRecords)
		if err != nil {
			require.Contains(t, []error{ErrShort, ErrLabel, ErrRecord, ErrLong}, err)
			return
		}
		require.LessOrEqual(t, len(b), MaxDatagram)
		again, err := d.Append(nil, "s", testKey(2))
		require.NoError(t, err)
		binary.BigEndian.PutUint32(again[2:], uint32(d.Service))
		body := len(b) - ed25519.SignatureSize
		require.Equal(t, b[:body], again[:body])
	})
}

// FuzzFrame: all octets come out again, as far as they make frames.
func FuzzFrame(f *testing.F) {
	f.Add(AppendFrame(AppendFrame(nil, []byte("one")), nil))
	f.Add([]byte{4, 0xb1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		for rest := b; ; {
			d, r, err := Frame(rest)
			if err != nil {
				require.True(t, bytes.Equal(b, append(again, rest...)))
				return
			}
			again, rest = AppendFrame(again, d), r
		}
	})
}
