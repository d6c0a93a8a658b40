package xsd_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/xsd"
)

// Values and meanings of XML Schema part 2, sections 3.2.6 and 3.2.7, and what
// captures have.
func TestDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"PT4S": 4 * time.Second, "PT0S": 0, "PT3.84S": 3840 * time.Millisecond, "-PT5H": -5 * time.Hour, "PT0H": 0,
		"P1D": 24 * time.Hour, "P1DT2H3M4.5S": 26*time.Hour + 3*time.Minute + 4500*time.Millisecond,
		"P1Y2M": 425 * 24 * time.Hour, "P5M": 150 * 24 * time.Hour, "PT5M": 5 * time.Minute, " PT1S\n": time.Second, "P2W": 14 * 24 * time.Hour,
		"PT0.000000001S": 1,
	} {
		got, ok := xsd.Duration(s)
		require.True(t, ok, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "P", "PT", "1S", "PT1", "P1H", "PT1S2M", "PTS", "P-1D", "PT1e3S", "PT1D", "P999999999999Y", "PT1.1.1S", "P1DT", "PTInfS"} {
		_, ok := xsd.Duration(s)
		require.False(t, ok, s)
	}
	for _, d := range []time.Duration{0, 1, -1, time.Second, 90 * time.Second, -5 * time.Hour, 1234567890 * time.Nanosecond, 40 * 24 * time.Hour} {
		got, ok := xsd.Duration(xsd.FormatDuration(d))
		require.True(t, ok)
		require.Equal(t, d, got)
	}
	require.Equal(t, "PT0S", xsd.FormatDuration(0))
	require.Equal(t, "-PT5H", xsd.FormatDuration(-5*time.Hour))
	require.Equal(t, "PT1H1.5S", xsd.FormatDuration(time.Hour+1500*time.Millisecond))
	require.NotEmpty(t, xsd.FormatDuration(math.MinInt64))
}

func TestDateTime(t *testing.T) {
	want := time.Date(2021, 10, 12, 10, 59, 0, 0, time.UTC)
	for _, s := range []string{"2021-10-12T10:59:00Z", "2021-10-12T10:59:00", "2021-10-12T12:59:00+02:00", "2021-10-12T10:59", "2021-10-12T10:59:00.0"} {
		require.Equal(t, want, xsd.DateTime(s), s)
	}
	for _, s := range []string{"", "now", "0000-01-01T00:00:00Z", "2021-13-12T10:59:00Z"} {
		require.Zero(t, xsd.DateTime(s), s)
	}
}

func TestReader(t *testing.T) {
	r := xsd.Reader{Document: "x: doc"}
	require.Equal(t, uint64(7), r.Uint("e", "a", " 7 ", 8))
	require.Equal(t, int64(-7), r.Int("e", "a", "-7", 8))
	require.Equal(t, netip.MustParseAddr("ff3e::1"), r.Addr("e", "a", " ff3e::1\n"))
	require.Equal(t, netip.MustParseAddr("192.0.2.1"), r.Addr("e", "a", "::ffff:192.0.2.1"))
	require.Equal(t, []byte{0xab}, r.Hex("e", "a", "AB"))
	require.Equal(t, []byte("hi"), r.Base64("e", "a", "aG\nk="))
	require.Zero(t, r.Uint("e", "a", "", 8))
	require.NoError(t, r.Err)
	r.Uint("e", "a", "256", 8)
	r.Addr("e", "b", "example.com")
	var value *xsd.ValueError
	require.ErrorAs(t, r.Err, &value)
	require.Equal(t, "a", value.Attribute, "the first error is kept")
	require.EqualError(t, r.Err, `x: doc: e: a is "256"`)
	for _, f := range []func(*xsd.Reader){
		func(r *xsd.Reader) { r.Required("e", "a", " ") },
		func(r *xsd.Reader) { r.Int("e", "a", "x", 8) },
		func(r *xsd.Reader) { r.Addr("e", "a", "fe80::1%eth0") },
		func(r *xsd.Reader) { r.Hex("e", "a", "a") },
		func(r *xsd.Reader) { r.Base64("e", "a", "!") },
	} {
		var r xsd.Reader
		f(&r)
		require.Error(t, r.Err)
	}
	require.Equal(t, []uint16{1, 65535}, xsd.Uints[uint16]("1 65536 x 65535"))
	require.Equal(t, []string{"a", "b"}, xsd.List(" a  b\n"))
	require.Equal(t, []string{"a"}, xsd.Texts([]string{" ", "\na "}))
	require.True(t, xsd.Bool("1", false))
	require.True(t, xsd.Bool("", true))
	require.False(t, xsd.Bool("yes", true))
}

var errIncomplete = errors.New("incomplete")

// What is written is read by encoding/xml as it was.
func TestWriterEscapes(t *testing.T) {
	for _, s := range []string{"", "a", "<&>\"'", "\t\n\r ", "\u00fc\U0001f600", "\ufffd"} {
		w := xsd.NewWriter(errIncomplete)
		w.Raw("<x")
		w.Attr("a", s)
		w.Raw(">")
		w.Text(s)
		w.Raw("</x>")
		b, err := w.AppendTo([]byte{})
		require.NoError(t, err)
		var x struct {
			A string `xml:"a,attr"`
			S string `xml:",chardata"`
		}
		require.NoError(t, xml.Unmarshal(b, &x), "%s", b)
		require.Equal(t, s, x.A)
		require.Equal(t, s, x.S)
	}
	for _, s := range []string{"\x00", "\xff", "\uffff", "a\x1b"} {
		w := xsd.NewWriter(errIncomplete)
		w.Text(s)
		b, err := w.AppendTo([]byte("before"))
		require.ErrorIs(t, err, errIncomplete)
		require.Equal(t, "before", string(b))
	}
	w := xsd.NewWriter(errIncomplete)
	w.List("l", []string{"a b"})
	_, err := w.AppendTo(nil)
	require.ErrorIs(t, err, errIncomplete)
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"PT4S", "-P1Y2M3DT4H5M6.789S", "PT", "P1W"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := xsd.Duration(s)
		if !ok || d > 1000*time.Hour || d < -1000*time.Hour {
			return
		}
		again, ok := xsd.Duration(xsd.FormatDuration(d))
		require.True(t, ok)
		require.Equal(t, d, again)
	})
}

func Example() {
	r := xsd.Reader{Document: "example"}
	port := r.Uint("EndpointAddress", "TransportDestinationPort", "6001", 16)
	offset, _ := xsd.Duration("PT3.84S")
	fmt.Println(port, offset, r.Err)

	w := xsd.NewWriter(errIncomplete)
	w.Raw("<SystemTime")
	w.Attr("utcLocalOffset", xsd.FormatDuration(-5*time.Hour))
	w.Raw("/>")
	b, err := w.AppendTo(nil)
	fmt.Println(string(b), err)
	// Output:
	// 6001 3.84s <nil>
	// <?xml version="1.0" encoding="UTF-8"?>
	// <SystemTime utcLocalOffset="-PT5H"/> <nil>
}
