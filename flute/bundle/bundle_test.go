package bundle_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/bundle"
	"github.com/treedn/treedn/flute/gunzip"
	"github.com/treedn/treedn/flute/xmllimit"
)

// announcement has the form in which a Rohde & Schwarz BM-SC announces services:
// a boundary that ends in two hyphens, and no other end; line feeds only; the
// header fields of a mail.
const announcement = "MIME-Version: 1.0\n" +
	"Content-Type: multipart/related; boundary=\"++++Rohde&Schwarz-BSCC++++--\"; type=\"application/mbms-envelope+xml\"\n" +
	"Content-Description: LTE MBMS Service Announcement\n" +
	"\n" +
	"--++++Rohde&Schwarz-BSCC++++--\n" +
	"Content-Type: application/mbms-envelope+xml \n" +
	"Content-Transfer-Encoding: 7bit\n" +
	"Content-Location: file:///envelope.xml\n" +
	"\n" +
	"<?xml version=\"1.0\" encoding=\"utf-8\"?>\n" +
	"<metadataEnvelope xmlns=\"urn:3gpp:metadata:2005:MBMS:envelope\">\n" +
	"  <item contentType=\"application/sdp\" metadataURI=\"file:///one.sdp\" validFrom=\"2021-10-12T10:59:43Z\" validUntil=\"2051-10-05T10:59:43Z\" version=\"1\"/>\n" +
	"  <item contentType=\"application/vnd.apple.mpegurl\" metadataURI=\"file:///one.m3u8\" version=\"x\"/>\n" +
	"</metadataEnvelope>\n" +
	"--++++Rohde&Schwarz-BSCC++++--\n" +
	"Content-Type: application/sdp\n" +
	"Content-Location: file:///one.sdp\n" +
	"\n" +
	"v=0\n" +
	"\n" +
	"--++++Rohde&Schwarz-BSCC++++--\n" +
	"Content-Type: application/vnd.apple.mpegurl\n" +
	"Content-Transfer-Encoding: 7bit\n" +
	"Content-Location: file:///one.m3u8\n" +
	"\n" +
	"#EXTM3U\n" +
	"--++++Rohde&Schwarz-BSCC++++--"

func TestParseAnnouncement(t *testing.T) {
	for _, end := range []string{"", "\n", "--", "--\n", "\n\n"} {
		b, err := bundle.Parse([]byte(announcement + end))
		require.NoError(t, err, "%q", end)
		require.Equal(t, []bundle.Part{
			{ContentType: "application/sdp", Location: "file:///one.sdp", Body: []byte("v=0\n")},
			{ContentType: "application/vnd.apple.mpegurl", Location: "file:///one.m3u8", Body: []byte("#EXTM3U")},
		}, b.Parts, "%q", end)
		item, ok := b.Item("file:///one.sdp")
		require.True(t, ok)
		require.Equal(t, bundle.Item{
			URI: "file:///one.sdp", ContentType: "application/sdp", Version: 1, HasVersion: true,
			ValidFrom: time.Date(2021, 10, 12, 10, 59, 43, 0, time.UTC), ValidUntil: time.Date(2051, 10, 5, 10, 59, 43, 0, time.UTC),
		}, item)
		require.True(t, item.Valid(item.ValidFrom))
		require.False(t, item.Valid(item.ValidUntil))
		item, ok = b.Item("file:///one.m3u8")
		require.True(t, ok)
		require.False(t, item.HasVersion)
		require.True(t, item.Valid(time.Time{}))
		_, ok = b.Item("")
		require.False(t, ok)
	}
	_, err := bundle.Parse([]byte(announcement[:len(announcement)-10]))
	require.Error(t, err, "cut off inside a part")
}

func TestParseEmbedded(t *testing.T) {
	const envelope = `<metadataEnvelope xmlns="urn:3gpp:metadata:2005:MBMS:envelope" xmlns:a="urn:a" a:nextURL="http://x/next" a:availAt="2026-01-02T03:04:05Z">
 <item metadataURI="one.sdp" contentType="application/sdp" version="7"><metadataFragment><![CDATA[
v=0 <&>
]]></metadataFragment></item></metadataEnvelope>`
	b, err := bundle.Parse([]byte("Content-Type: application/mbms-envelope+xml\r\n\r\n" + envelope))
	require.NoError(t, err)
	require.Equal(t, []bundle.Part{{ContentType: "application/sdp", Location: "one.sdp", Body: []byte("v=0 <&>")}}, b.Parts)
	require.Equal(t, "http://x/next", b.Envelope.Items[0].NextURL)
	require.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), b.Envelope.Items[0].AvailableAt)
	_, err = bundle.ParseEnvelope([]byte(`<x/>`))
	require.ErrorIs(t, err, bundle.ErrRoot)
	_, err = bundle.ParseEnvelope([]byte(`<!DOCTYPE x><metadataEnvelope/>`))
	require.ErrorIs(t, err, xmllimit.ErrDTD)
}

func example() bundle.Bundle {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return bundle.Bundle{
		Envelope: &bundle.Envelope{Items: []bundle.Item{
			{URI: "a", ContentType: "x/y", Version: 0, HasVersion: true, ValidFrom: at, ValidUntil: at.Add(time.Hour), NextURL: "http://n/?a&b", AvailableAt: at},
			{URI: "b"},
		}},
		Parts: []bundle.Part{
			{ContentType: "x/y; charset=utf-8", Location: "a", Extra: []bundle.Field{{Name: "X-One", Value: "1"}}, Body: []byte("\r\n--x")},
			{ContentType: "x/z", Location: "b", Body: []byte{}},
		},
	}
}

func TestRoundTrip(t *testing.T) {
	want := example()
	plain, err := want.Append([]byte("before"))
	require.NoError(t, err)
	require.Equal(t, "before", string(plain[:6]))
	packed, err := gunzip.Append(nil, plain[6:])
	require.NoError(t, err)
	for _, b := range [][]byte{plain[6:], packed} {
		got, err := bundle.Parse(b)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestAppendRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*bundle.Bundle){
		"no parts":              func(b *bundle.Bundle) { b.Parts = nil },
		"no Content-Type":       func(b *bundle.Bundle) { b.Parts[0].ContentType = "" },
		"header injection":      func(b *bundle.Bundle) { b.Parts[0].Location = "x\r\nX: 9" },
		"injection by a field":  func(b *bundle.Bundle) { b.Parts[0].Extra[0].Value = "x\n" },
		"injection by a name":   func(b *bundle.Bundle) { b.Parts[0].Extra[0].Name = "x: y\nz" },
		"second Content-Type":   func(b *bundle.Bundle) { b.Parts[0].Extra[0].Name = "content-type" },
		"one name twice":        func(b *bundle.Bundle) { b.Parts[0].Location = "b" },
		"envelope as a part":    func(b *bundle.Bundle) { b.Parts[0].ContentType = bundle.MediaTypeEnvelope },
		"name of the envelope":  func(b *bundle.Bundle) { b.Parts[0].Location = bundle.EnvelopeLocation },
		"item without name":     func(b *bundle.Bundle) { b.Envelope.Items[0].URI = "" },
		"fragment in an item":   func(b *bundle.Bundle) { b.Envelope.Items[0].Fragment = []byte("x") },
		"text that is not UTF8": func(b *bundle.Bundle) { b.Envelope.Items[0].NextURL = "\xff" },
	} {
		b := example()
		spoil(&b)
		out, err := b.Append([]byte("before"))
		require.ErrorIs(t, err, bundle.ErrIncomplete, name)
		require.Equal(t, "before", string(out), name)
	}
}

func TestParseBounds(t *testing.T) {
	many := "Content-Type: multipart/related; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\n\r\n", 9) + "--b--"
	_, err := bundle.Limits{Parts: 8}.Parse([]byte(many))
	require.ErrorIs(t, err, bundle.ErrParts)
	_, err = bundle.Limits{Octets: 8}.Parse([]byte(many))
	require.ErrorIs(t, err, bundle.ErrSize)
	_, err = bundle.Limits{Header: 8}.Parse([]byte(many))
	require.ErrorIs(t, err, bundle.ErrHeader)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(announcement))
	e := example()
	b, err := e.Append(nil)
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := bundle.Limits{Octets: 1 << 20}.Parse(b)
		if err != nil {
			return
		}
		total := 0
		for _, p := range in.Parts {
			total += len(p.Body)
		}
		require.LessOrEqual(t, total, 2<<20, "bodies and the fragments of an envelope")
		if in.Envelope != nil {
			for i := range in.Envelope.Items {
				in.Envelope.Items[i].Fragment = nil
			}
		}
		b, err = in.Append(nil)
		if errors.Is(err, bundle.ErrIncomplete) {
			return // reading is lenient, writing is not
		}
		require.NoError(t, err)
		again, err := bundle.Parse(b)
		require.NoError(t, err)
		require.Equal(t, len(in.Parts), len(again.Parts))
		for i := range in.Parts {
			require.Equal(t, string(in.Parts[i].Body), string(again.Parts[i].Body))
			require.Equal(t, in.Parts[i].Extra, again.Parts[i].Extra)
		}
		require.Equal(t, in.Envelope, again.Envelope)
	})
}

func Example() {
	b, err := bundle.Parse([]byte(announcement))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, part := range b.Parts {
		item, _ := b.Item(part.Location)
		fmt.Println(part.Location, bundle.MediaType(part.ContentType), item.Version)
	}
	// Output:
	// file:///one.sdp application/sdp 1
	// file:///one.m3u8 application/vnd.apple.mpegurl 0
}
