package fdt_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/fdt"
)

func full() *fdt.Instance {
	return &fdt.Instance{
		Version: 2, Expires: 4004201570, Complete: true, FullFDT: true, ContentType: "video/mp4", ContentEncoding: "gzip",
		FEC:    fdt.FEC{EncodingID: 6, HasEncodingID: true, InstanceID: 1, MaxSourceBlockLength: 2, EncodingSymbolLength: 3, MaxEncodingSymbols: 4, SchemeSpecific: []byte{5}},
		Groups: []string{"g"}, SessionIdentityExpiries: []fdt.SessionIdentityExpiry{{Identity: 7, Expiry: 4004201570}},
		BaseURL1: "http://one/?a&b", BaseURL2: "http://two/",
		HasEFDTVersion: true, EFDTVersion: 9, MaxExpiresDelta: 60, MaxTransportSize: 1 << 20, FileTemplate: "a$$b$TOI$\"<>\t",
		AppContextIDs: []string{"urn:a", "urn:b"}, FilterCodes: []uint32{1, 2}, Generation: 1<<64 - 1,
		Files: []fdt.File{
			{TOI: 1, ContentLocation: "a&b\"<ü>\r\n\t'"},
			{
				TOI: 2, ContentLocation: "b", HasContentLength: true, TransferLength: 1 << 40, HasTransferLength: true,
				ContentType: "a/b", ContentEncoding: "deflate", ContentMD5: []byte("0123456789abcdef"),
				FEC: fdt.FEC{HasEncodingID: true}, ETag: `W/"x"`, CacheControl: fdt.CacheControl{Expires: 7},
				AlternateLocations: []fdt.AlternateLocation{
					{Set: 1, URLs: []string{"x", "y"}},
					{Set: 2, Until: time.Date(2026, 11, 20, 1, 2, 3, 4, time.UTC)},
				},
				AppContextIDs: []string{"urn:c"}, FilterCodes: []uint32{3}, Generation: 5,
				Groups: []string{"a", "b c"}, SessionIdentities: []uint8{0, 255}, DecryptionKeyURI: "urn:k?a&b",
				FECRedundancyLevel: 30, IndependentUnitPositions: []uint64{0, 1 << 40},
				ContentDigest: fdt.Digests{SHA256: []byte(strings.Repeat("x", 32))},
				ReprDigest:    fdt.Digests{SHA256: []byte(strings.Repeat("y", 32)), SHA512: []byte(strings.Repeat("z", 64))},
				Signatures: []fdt.Signature{
					{Value: []byte("s"), Scope: []string{"@@TOI", "@@Content-Digest"}, Created: "1", Expires: "2", Algorithm: "hmac-sha256", KeyURI: "urn:k", KeyID: []byte{1, 0xff}},
					{Value: []byte("t")},
				},
			},
		},
	}
}

func TestAppend(t *testing.T) {
	for _, version := range []uint8{1, 2} {
		want := full()
		want.Version, want.SchemaVersion = version, 3*uint32(version-1)
		b, err := want.Append([]byte("before"))
		require.NoError(t, err)
		require.Equal(t, "before", string(b[:6]))
		got, err := fdt.Parse(b[6:])
		require.NoError(t, err, "%s", b)
		require.Equal(t, want, got)
	}
}

func TestAppendRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*fdt.Instance){
		"version":                    func(in *fdt.Instance) { in.Version = 3 },
		"no Expires":                 func(in *fdt.Instance) { in.Expires = 0 },
		"nothing described":          func(in *fdt.Instance) { in.Files, in.FileTemplate = nil, "" },
		"template without a bound":   func(in *fdt.Instance) { in.MaxTransportSize = 0 },
		"TOI 0":                      func(in *fdt.Instance) { in.Files[0].TOI = 0 },
		"no name":                    func(in *fdt.Instance) { in.Files[0].ContentLocation = "" },
		"MD5 of 3 octets":            func(in *fdt.Instance) { in.Files[0].ContentMD5 = []byte("abc") },
		"SHA-256 of 3 octets":        func(in *fdt.Instance) { in.Files[0].ContentDigest.SHA256 = []byte("abc") },
		"SHA-512 of 3 octets":        func(in *fdt.Instance) { in.Files[0].ReprDigest.SHA512 = []byte("abc") },
		"two cache directives":       func(in *fdt.Instance) { in.Files[1].CacheControl.NoCache = true },
		"empty signature":            func(in *fdt.Instance) { in.Files[1].Signatures[0].Value = nil },
		"scope with a blank":         func(in *fdt.Instance) { in.Files[1].Signatures[0].Scope = []string{"a b"} },
		"third set of locations":     func(in *fdt.Instance) { in.Files[1].AlternateLocations[0].Set = 3 },
		"control character":          func(in *fdt.Instance) { in.Files[0].ContentLocation = "a\x01" },
		"octets that are not UTF-8":  func(in *fdt.Instance) { in.Files[0].ContentLocation = "a\xff" },
		"list item with a blank":     func(in *fdt.Instance) { in.AppContextIDs = []string{"a b"} },
		"list item without contents": func(in *fdt.Instance) { in.Files[1].AppContextIDs = []string{""} },
	} {
		in := full()
		spoil(in)
		b, err := in.Append([]byte("before"))
		require.ErrorIs(t, err, fdt.ErrIncomplete, name)
		require.Equal(t, "before", string(b), name)
	}
	in := full()
	in.FileTemplate = "$x$"
	_, err := in.AppendEmbedded(nil)
	require.ErrorIs(t, err, fdt.ErrTemplate)
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"libflute-etag.pcap", "libflute-gzip.pcap", "gpac-mabr-flute.pcap", "atsc3-ateme-lls-esg.pcap"} {
		for _, b := range instances(f, name) {
			f.Add(b)
		}
	}
	b, err := full().Append(nil)
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := fdt.Parse(b)
		if err != nil {
			return
		}
		b, err = in.Append(nil)
		if errors.Is(err, fdt.ErrIncomplete) || errors.Is(err, fdt.ErrTemplate) {
			return // reading is lenient, writing is not
		}
		require.NoError(t, err)
		again, err := fdt.Parse(b)
		require.NoError(t, err, "%s", b)
		require.Equal(t, in, again)
	})
}

func BenchmarkParse(b *testing.B) {
	doc, err := full().Append(nil)
	require.NoError(b, err)
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fdt.Parse(doc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	in := full()
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = in.Append(dst[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

// The elements of 3GPP come in the order of its schema, with its marks.
func TestAppendOrder(t *testing.T) {
	in := full()
	in.Version, in.SchemaVersion, in.FileTemplate = 1, 3, ""
	b, err := in.Append(nil)
	require.NoError(t, err)
	at := -1
	for _, element := range []string{
		"<File", "<sv:delimiter", "<sv:delimiter", "<File", "<mbms2007:Cache-Control", "<sv:delimiter", "<mbms2012:Alternate-Content-Location-1",
		"<mbms2012:Alternate-Content-Location-2", "<sv:delimiter", "<dvb:Signature", "<Group", "<MBMS-Session-Identity", "<sv:schemaVersion",
		"<mbms2012:Base-URL-1", "<mbms2012:Base-URL-2", "<sv:delimiter", "<Group", "<MBMS-Session-Identity-Expiry",
	} {
		i := strings.Index(string(b[at+1:]), element)
		require.GreaterOrEqual(t, i, 0, "%s after %s", element, b[:at+1])
		at += 1 + i
	}
}
