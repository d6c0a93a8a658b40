package sls_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/route/sls"
)

const mpd = "<?xml version=\"1.0\"?>\r\n<MPD>\n\t<!-- \u00fc -- -->\r</MPD>\r\n\n"

func example() sls.Package {
	return sls.Package{
		Version: 7,
		Parts: []sls.Part{
			{ContentType: sls.MediaTypeSTSID, Location: "stsid.sls", Version: 3, Body: []byte("<S-TSID/>")},
			{ContentType: sls.MediaTypeDASH + "; charset=utf-8", Location: "live/manifest.mpd", Generation: 1<<64 - 1, Body: []byte(mpd)},
			{ContentType: sls.MediaTypeHLS, Location: "live/master.m3u8", Generation: 1, Body: nil},
		},
	}
}

func TestPackageRoundTrip(t *testing.T) {
	for _, noEnvelope := range []bool{false, true} {
		want := example()
		want.NoEnvelope = noEnvelope
		plain, err := want.Append([]byte("before"))
		require.NoError(t, err)
		require.Equal(t, "before", string(plain[:6]))
		packed, err := want.AppendGzip([]byte("before"))
		require.NoError(t, err)
		require.Equal(t, "before", string(packed[:6]))
		for _, b := range [][]byte{plain[6:], packed[6:]} {
			got, err := sls.ParsePackage(b)
			require.NoError(t, err)
			require.Equal(t, noEnvelope, got.NoEnvelope)
			require.Len(t, got.Parts, 3)
			for i, part := range got.Parts {
				require.Equal(t, want.Parts[i].ContentType, part.ContentType)
				require.Equal(t, want.Parts[i].Location, part.Location)
				require.Equal(t, want.Parts[i].Generation, part.Generation)
				require.Equal(t, string(want.Parts[i].Body), string(part.Body))
			}
			if !noEnvelope {
				require.Equal(t, uint32(3), got.Parts[0].Version)
				require.Equal(t, uint32(7), got.Parts[1].Version, "the version of the package")
			}
		}
		again, err := want.Append(nil)
		require.NoError(t, err)
		require.Equal(t, plain[6:], again)
	}
}

// The octets of a manifest survive, whatever they are.
func TestPackageKeepsBodies(t *testing.T) {
	first := example()
	b, err := first.Append(nil)
	require.NoError(t, err)
	_, after, _ := strings.Cut(string(b), `boundary="`)
	boundary, _, _ := strings.Cut(after, `"`)
	for _, body := range []string{
		"", "\r", "\n", "\r\n", "\r\n\r\n", "--", "\r\n--", "\x1f\x8b", "--" + boundary + "--",
		"\r\n--" + boundary + "\r\nContent-Type: a/b\r\n\r\n", string(b),
	} {
		p := sls.Package{Parts: []sls.Part{
			{ContentType: "a/b", Location: "x", Body: []byte(body)},
			{ContentType: "a/b", Location: "y", Body: []byte(mpd)},
		}}
		// The boundary of p is not the one above, and must not occur either.
		b, err := p.Append(nil)
		require.NoError(t, err)
		got, err := sls.ParsePackage(b)
		require.NoError(t, err)
		require.Len(t, got.Parts, 2)
		require.Equal(t, body, string(got.Parts[0].Body))
		require.Equal(t, mpd, string(got.Parts[1].Body))
	}
}

func TestPackageRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*sls.Package){
		"no parts":                func(p *sls.Package) { p.Parts = nil },
		"no Content-Type":         func(p *sls.Package) { p.Parts[0].ContentType = "" },
		"parameters only":         func(p *sls.Package) { p.Parts[0].ContentType = "; a=b" },
		"quote in a media type":   func(p *sls.Package) { p.Parts[0].ContentType = `a"b` },
		"no name":                 func(p *sls.Package) { p.Parts[0].Location = "" },
		"header injection":        func(p *sls.Package) { p.Parts[0].Location = "x\r\nX-Treedn-Generation: 9" },
		"blank around a name":     func(p *sls.Package) { p.Parts[0].Location = " x" },
		"octets that are no text": func(p *sls.Package) { p.Parts[0].Location = "\xff" },
		"one name twice":          func(p *sls.Package) { p.Parts[0].Location = p.Parts[1].Location },
		"name of the envelope":    func(p *sls.Package) { p.Parts[0].Location = "envelope.xml" },
		"envelope as a part":      func(p *sls.Package) { p.Parts[0].ContentType = "application/mbms-envelope+xml" },
	} {
		p := example()
		spoil(&p)
		b, err := p.Append([]byte("before"))
		require.ErrorIs(t, err, sls.ErrIncomplete, name)
		require.Equal(t, "before", string(b), name)
	}
}

// GPAC's reader of packages searches strings: this is its way of going about
// it, with the things that it insists on.
func TestPackageReadableByGPAC(t *testing.T) {
	p := example()
	b, err := p.Append(nil)
	require.NoError(t, err)
	s := string(b)
	require.True(t, strings.HasPrefix(s, "Content-Type: multipart/"))
	_, s, ok := strings.Cut(s, `boundary="`)
	require.True(t, ok)
	boundary, s, ok := strings.Cut(s, `"`)
	require.True(t, ok)
	type part struct{ contentType, location, body string }
	var parts []part
	for {
		_, after, ok := strings.Cut(s, boundary)
		if !ok {
			break
		}
		s = after[2:] // a line break or two hyphens
		section, _, ok := strings.Cut(s, boundary)
		if !ok {
			break
		}
		header, body, ok := strings.Cut(section, "\r\n\r\n")
		require.True(t, ok)
		body, _, ok = strings.Cut(body, "\r\n--")
		require.True(t, ok)
		q := part{body: body}
		for line := range strings.SplitSeq(header, "\r\n") {
			if v, ok := strings.CutPrefix(line, "Content-Type: "); ok {
				q.contentType = v
			}
			if v, ok := strings.CutPrefix(line, "Content-Location: "); ok {
				q.location = v
			}
		}
		parts = append(parts, q)
	}
	require.Less(t, len(s), 2, "octets after the package")
	require.Len(t, parts, 4)
	require.Equal(t, "application/mbms-envelope+xml", parts[0].contentType)
	require.Contains(t, parts[0].body, `<item metadataURI="stsid.sls" version="3" contentType="application/route-s-tsid+xml"/>`)
	require.Contains(t, parts[0].body, `<item metadataURI="live/manifest.mpd" version="7" contentType="application/dash+xml"/>`)
	require.Equal(t, part{"application/dash+xml; charset=utf-8", "live/manifest.mpd", mpd}, parts[2])
}

// What is written is MIME as the standard library knows it.
func TestPackageReadableByMIME(t *testing.T) {
	p := example()
	b, err := p.Append(nil)
	require.NoError(t, err)
	m, err := mail.ReadMessage(bytes.NewReader(b))
	require.NoError(t, err)
	mediaType, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "multipart/related", mediaType)
	require.Equal(t, "application/mbms-envelope+xml", params["type"])
	r := multipart.NewReader(m.Body, params["boundary"])
	envelope, err := r.NextRawPart()
	require.NoError(t, err)
	require.Equal(t, "envelope.xml", envelope.Header.Get("Content-Location"))
	for _, want := range p.Parts {
		part, err := r.NextRawPart()
		require.NoError(t, err)
		require.Equal(t, want.ContentType, part.Header.Get("Content-Type"))
		require.Equal(t, want.Location, part.Header.Get("Content-Location"))
		body, err := io.ReadAll(part)
		require.NoError(t, err)
		require.Equal(t, string(want.Body), string(body))
	}
	_, err = r.NextRawPart()
	require.ErrorIs(t, err, io.EOF)
}

func TestTOI(t *testing.T) {
	p := example()
	require.Equal(t, sls.TOI(0x80060007), p.TOI(true))
	require.Equal(t, sls.TOI(0x00060007), p.TOI(false))

	p = sls.Package{Version: 3}
	for _, m := range []string{"application/route-usd+xml", "application/S-TSID", "application/dash+xml;x=y", "application/atsc-held+xml", "text/plain"} {
		p.Parts = append(p.Parts, sls.Part{ContentType: m})
	}
	toi := p.TOI(true)
	require.Equal(t, sls.TOI(2152136707), toi)
	require.Equal(t, uint8(3), toi.Version())
	require.True(t, toi.Has(sls.TOIGzip|sls.TOIHELD))
	require.False(t, toi.Has(sls.TOIGzip|sls.TOIAPD))

	for m, bit := range map[string]sls.TOI{
		"application/route-apd+xml":                       sls.TOIAPD,
		"application/atsc-dwd+xml":                        sls.TOIDWD,
		"application/atsc-rsat+xml":                       sls.TOIRSAT,
		"audio/mpegurl":                                   sls.TOIMPD,
		"application/mbms-user-service-description+xml":   sls.TOIUSBD,
		"application/vnd.apple.mpegURL":                   sls.TOIMPD,
		"application/x-unknown; application/route-s-tsid": 0,
	} {
		p := sls.Package{Parts: []sls.Part{{ContentType: m}}}
		require.Equal(t, bit, p.TOI(false), m)
	}
}

func TestCodepoints(t *testing.T) {
	flow := sls.SrcFlow{Payloads: []sls.Payload{{Codepoint: 0, FormatID: 1}, {Codepoint: 128, FormatID: 2}}}
	for cp, want := range map[uint8]sls.Payload{
		0:   {Codepoint: 0, FormatID: 1},
		1:   {Codepoint: 1, FormatID: 1, Order: true},
		2:   {Codepoint: 2, FormatID: 2, Order: true},
		3:   {Codepoint: 3, FormatID: 3, Order: true},
		4:   {Codepoint: 4, FormatID: 4, Order: true},
		5:   {Codepoint: 5, FormatID: 1, Order: true},
		8:   {Codepoint: 8, FormatID: 1, Frag: 1, Order: true},
		9:   {Codepoint: 9, FormatID: 2, Frag: 1, Order: true},
		10:  {Codepoint: 10, FormatID: 1, Frag: 1, Order: true},
		128: {Codepoint: 128, FormatID: 2},
	} {
		got, ok := flow.Payload(cp)
		require.True(t, ok)
		require.Equal(t, want, got)
	}
	for _, cp := range []uint8{11, 127, 129, 255} {
		_, ok := flow.Payload(cp)
		require.False(t, ok)
	}
	_, ok := sls.BuiltinPayload(0)
	require.False(t, ok)
}

func FuzzParsePackage(f *testing.F) {
	for _, name := range captures {
		for _, c := range packages(f, name) {
			f.Add(c.body)
			p, err := sls.ParsePackage(c.body)
			require.NoError(f, err)
			p.Parts[0].Generation = 1
			b, err := p.Append(nil)
			require.NoError(f, err)
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := sls.ParsePackage(b)
		if err != nil {
			return
		}
		total := 0
		for _, part := range p.Parts {
			total += len(part.Body)
		}
		require.LessOrEqual(t, total, 4<<20)
		b, err = p.Append(nil)
		if errors.Is(err, sls.ErrIncomplete) {
			return // reading is lenient, writing is not
		}
		require.NoError(t, err)
		again, err := sls.ParsePackage(b)
		require.NoError(t, err)
		for i := range p.Parts {
			if p.Parts[i].Version == 0 && !p.NoEnvelope {
				p.Parts[i].Version = 256
			}
			require.True(t, bytes.Equal(p.Parts[i].Body, again.Parts[i].Body))
			p.Parts[i].Body, again.Parts[i].Body = nil, nil
		}
		require.Equal(t, p, again)
	})
}

func BenchmarkParsePackage(b *testing.B) {
	p := example()
	p.Parts[1].Body = bytes.Repeat([]byte(mpd), 100)
	for _, zip := range []bool{false, true} {
		doc, err := p.Append(nil)
		if zip {
			doc, err = p.AppendGzip(nil)
		}
		require.NoError(b, err)
		b.Run(fmt.Sprintf("gzip=%v", zip), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := sls.ParsePackage(doc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func Example() {
	stsid := sls.STSID{RS: []sls.RS{{LS: []sls.LS{{
		TSI: 10,
		SrcFlow: &sls.SrcFlow{
			RealTime: true,
			EFDT: &fdt.Instance{
				Expires: 4294967295, HasEFDTVersion: true, MaxTransportSize: 1 << 20,
				FileTemplate: "chunk-stream0-$TOI%05d$.m4s",
			},
			Media:    &sls.MediaInfo{ContentType: "video", RepID: "0"},
			Payloads: []sls.Payload{{Codepoint: sls.CPMedia, FormatID: sls.FormatFile, Frag: 1, Order: true}},
		},
	}}}}}
	fragment, err := stsid.Append(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	out := sls.Package{Version: 1, Parts: []sls.Part{
		{ContentType: sls.MediaTypeSTSID, Location: "stsid.sls", Body: fragment},
		{ContentType: sls.MediaTypeDASH, Location: "manifest.mpd", Generation: 5, Body: []byte("<MPD/>")},
	}}
	object, err := out.AppendGzip(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("TOI %#x\n", uint32(out.TOI(true)))

	in, err := sls.ParsePackage(object)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range in.Parts {
		part := &in.Parts[i]
		switch part.Kind() {
		case sls.KindSTSID:
			s, err := sls.ParseSTSID(part.Body)
			if err != nil {
				fmt.Println(err)
				return
			}
			fmt.Println(s.RS[0].LS[0].SrcFlow.EFDT.FileTemplate)
		case sls.KindManifest:
			fmt.Printf("%s, generation %d: %s\n", part.Location, part.Generation, part.Body)
		}
	}
	// Output:
	// TOI 0x80060001
	// chunk-stream0-$TOI%05d$.m4s
	// manifest.mpd, generation 5: <MPD/>
}
