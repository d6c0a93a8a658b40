package fdt_test

import (
	"encoding/base64"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/xmllimit"
)

func TestParseCaptures(t *testing.T) {
	md5 := func(s string) []byte {
		b, err := base64.StdEncoding.DecodeString(s)
		require.NoError(t, err)
		return b
	}
	for _, c := range []struct {
		capture   string
		instances int
		files     int // of all instances
		index     int // of the instance to look at
		want      func(*fdt.Instance)
	}{
		{"libflute-etag.pcap", 1, 1, 0, func(in *fdt.Instance) {
			require.Equal(t, &fdt.Instance{
				Version: 1, Expires: 4004201570,
				FEC: fdt.FEC{HasEncodingID: true, MaxSourceBlockLength: 64, EncodingSymbolLength: 1436},
				Files: []fdt.File{{
					TOI: 1, ContentLocation: "text.txt", ContentType: "application/octet-stream",
					ContentLength: 34292, HasContentLength: true, TransferLength: 34292, HasTransferLength: true,
					ContentMD5: md5("+OD3hMWBrRuRfh1u7zaDkQ=="), ETag: "DB1k1l+6zG1xzHD86jgVG2qSMkQ=",
					CacheControl: fdt.CacheControl{Expires: 4004201620},
				}},
			}, in)
			at, ok := in.ExpiresAt(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC))
			require.True(t, ok)
			require.Equal(t, 2026, at.Year())
		}},
		{"libflute-gzip.pcap", 1, 1, 0, func(in *fdt.Instance) {
			f := in.Resolve(in.Files[0])
			require.Equal(t, "gzip", f.ContentEncoding)
			require.Equal(t, uint32(1436), f.FEC.EncodingSymbolLength)
			length, ok := f.Length()
			require.True(t, ok)
			require.Equal(t, uint64(1196), length)
		}},
		{"gpac-mabr-flute.pcap", 15, 18, 0, func(in *fdt.Instance) {
			require.Equal(t, uint8(1), in.Version)
			require.Len(t, in.Files, 4)
			require.Equal(t, "application/xml+dvb-mabr-session-configuration", in.Files[0].ContentType)
			require.Equal(t, uint64(2670), in.Files[0].TransferLength)
			_, ok := in.ExpiresAt(time.Date(2036, 2, 7, 1, 0, 0, 0, time.UTC))
			require.False(t, ok, "a placeholder, not a time")
		}},
		{"atsc3-ateme-lls-esg.pcap", 5, 14, 0, func(in *fdt.Instance) {
			require.Equal(t, &fdt.Instance{
				Version: 2, Expires: 4294967295, HasEFDTVersion: true,
				Files: []fdt.File{{
					TOI: 196608, ContentLocation: "SLS", ContentType: "application/mbms-envelope+xml",
					ContentLength: 1720, HasContentLength: true, TransferLength: 1720, HasTransferLength: true,
				}},
			}, in)
		}},
		{"atsc3-ateme-lls-esg.pcap", 5, 14, 2, func(in *fdt.Instance) {
			require.Equal(t, uint8(252), in.EFDTVersion, "the EFDT element of a draft, without namespace")
			require.Equal(t, fdt.File{
				TOI: 1244, ContentLocation: "sgdd_1244", ContentType: "application/vnd.oma.bcast.sgdd+xml", ContentEncoding: "gzip",
				ContentLength: 38269, HasContentLength: true, TransferLength: 3048, HasTransferLength: true,
			}, in.Files[0])
		}},
	} {
		t.Run(c.capture, func(t *testing.T) {
			list := instances(t, c.capture)
			require.Len(t, list, c.instances)
			files := 0
			for i, b := range list {
				in, err := fdt.Parse(b)
				require.NoError(t, err, "%s", b)
				files += len(in.Files)
				if i == c.index {
					c.want(in)
				}
			}
			require.Equal(t, c.files, files)
		})
	}
}

func TestParseExtensions(t *testing.T) {
	in, err := fdt.Parse([]byte(`<?xml version="1.0" encoding="utf-8"?>
<f:FDT-Instance xmlns:f="urn:ietf:params:xml:ns:fdt" xmlns:m8="urn:3GPP:metadata:2008:MBMS:FLUTE:FDT_ext"
  xmlns:m7="urn:3GPP:metadata:2007:MBMS:FLUTE:FDT" xmlns:m12="urn:3GPP:metadata:2012:MBMS:FLUTE:FDT"
  xmlns:a="tag:atsc.org,2016:XMLSchemas/ATSC3/Delivery/ATSC-FDT/1.0" xmlns:t="urn:treedn:route:1" xmlns:x="urn:unknown"
  Expires=" 149504 " Complete="1" m8:FullFDT="true" Content-Type="video/mp4" x:Content-Type="no" generation="no" x:generation="no"
  a:efdtVersion="255" a:maxExpiresDelta="60" a:maxTransportSize="5000" a:fileTemplate="v$TOI%05d$.m4s"
  a:appContextIdList="urn:a urn:b" a:filterCodes="1 2 many" t:generation="18446744073709551615"
  FEC-OTI-FEC-Encoding-ID="6" FEC-OTI-Encoding-Symbol-Length="1400" FEC-OTI-Scheme-Specific-Info="AQABBA==">
 <x:Unknown><f:File TOI="9"/></x:Unknown>
 <f:File TOI="18446744073709551615" Content-Location="a&amp;b" t:generation="7" FEC-OTI-Encoding-Symbol-Length="100"
   Content-MD5="not base64" FEC-OTI-Transfer-Length="12">
  <m7:Cache-Control><m7:no-cache>true</m7:no-cache></m7:Cache-Control>
  <m12:Alternate-Content-Location-1 Availability-Time="2026-11-20T12:00:00+01:00">
   <m12:Alternate-Content-Location> one </m12:Alternate-Content-Location>
   <m12:Alternate-Content-Location>two</m12:Alternate-Content-Location>
  </m12:Alternate-Content-Location-1>
  <m12:Alternate-Content-Location-2 Availability-Time="soon"/>
  <x:Unknown/>
 </f:File>
 <m12:Base-URL-1>http://one/</m12:Base-URL-1><m12:Base-URL-2>http://two/</m12:Base-URL-2>
</f:FDT-Instance> trailing`))
	require.NoError(t, err)
	require.Equal(t, &fdt.Instance{
		Version: 2, Expires: 149504, Complete: true, FullFDT: true, ContentType: "video/mp4",
		FEC:      fdt.FEC{EncodingID: 6, HasEncodingID: true, EncodingSymbolLength: 1400, SchemeSpecific: []byte{1, 0, 1, 4}},
		BaseURL1: "http://one/", BaseURL2: "http://two/",
		EFDTVersion: 255, HasEFDTVersion: true, MaxExpiresDelta: 60, MaxTransportSize: 5000, FileTemplate: "v$TOI%05d$.m4s",
		AppContextIDs: []string{"urn:a", "urn:b"}, FilterCodes: []uint32{1, 2}, Generation: 1<<64 - 1,
		Files: []fdt.File{{
			TOI: 1<<64 - 1, ContentLocation: "a&b", Generation: 7, TransferLength: 12, HasTransferLength: true,
			FEC:          fdt.FEC{EncodingSymbolLength: 100},
			CacheControl: fdt.CacheControl{NoCache: true},
			AlternateLocations: []fdt.AlternateLocation{
				{Set: 1, Until: time.Date(2026, 11, 20, 11, 0, 0, 0, time.UTC), URLs: []string{"one", "two"}},
				{Set: 2},
			},
		}},
	}, in)

	f := in.Resolve(in.Files[0])
	require.Equal(t, fdt.FEC{EncodingID: 6, HasEncodingID: true, EncodingSymbolLength: 100, SchemeSpecific: []byte{1, 0, 1, 4}}, f.FEC)
	require.Equal(t, "video/mp4", f.ContentType)

	at, ok := in.ExpiresAt(time.Date(2036, 2, 7, 0, 0, 0, 0, time.UTC))
	require.True(t, ok)
	require.Equal(t, time.Date(2036, 2, 9, 0, 0, 0, 0, time.UTC), at)
}

func TestParseDraftOfATSC(t *testing.T) {
	in, err := fdt.Parse([]byte(`<EFDT version="3"><FileTemplate>a$TOI$</FileTemplate>
<FDTParameters><File TOI="1" Content-Location="init"/></FDTParameters></EFDT>`))
	require.NoError(t, err)
	require.Equal(t, &fdt.Instance{
		Version: 2, HasEFDTVersion: true, EFDTVersion: 3, FileTemplate: "a$TOI$",
		Files: []fdt.File{{TOI: 1, ContentLocation: "init"}},
	}, in)
}

func TestParseRefuses(t *testing.T) {
	const open = `<FDT-Instance xmlns="urn:ietf:params:xml:ns:fdt" Expires="1">`
	for _, c := range []struct{ name, doc, attribute string }{
		{"no TOI", open + `<File Content-Location="a"/></FDT-Instance>`, "TOI"},
		{"TOI 0", open + `<File TOI="0" Content-Location="a"/></FDT-Instance>`, "TOI"},
		{"TOI of 65 bits", open + `<File TOI="18446744073709551616" Content-Location="a"/></FDT-Instance>`, "TOI"},
		{"negative TOI", open + `<File TOI="-1" Content-Location="a"/></FDT-Instance>`, "TOI"},
		{"no name", open + `<File TOI="1"/></FDT-Instance>`, "Content-Location"},
		{"length", open + `<File TOI="1" Content-Location="a" Transfer-Length="1e3"/></FDT-Instance>`, "Transfer-Length"},
		{"FEC Encoding ID", open + `<File TOI="1" Content-Location="a" FEC-OTI-FEC-Encoding-ID="256"/></FDT-Instance>`, "FEC-OTI-FEC-Encoding-ID"},
		{"base64", open + `<File TOI="1" Content-Location="a" FEC-OTI-Scheme-Specific-Info="*"/></FDT-Instance>`, "FEC-OTI-Scheme-Specific-Info"},
		{"Expires", `<FDT-Instance Expires="tomorrow"/>`, "Expires"},
		{"generation", `<FDT-Instance Expires="1" xmlns:t="urn:treedn:route:1" t:generation="-1"/>`, "generation"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := fdt.Parse([]byte(c.doc))
			var value *fdt.ValueError
			require.ErrorAs(t, err, &value)
			require.Equal(t, c.attribute, value.Attribute)
		})
	}
	for _, c := range []struct {
		name, doc string
		err       error
	}{
		{"another root", `<MPD/>`, fdt.ErrRoot},
		{"nothing", ``, io.ErrUnexpectedEOF},
		{"cut off", open + `<File TOI="1" Content-Location="a"/>`, io.ErrUnexpectedEOF},
		{"DTD", `<!DOCTYPE FDT-Instance>` + open + `</FDT-Instance>`, xmllimit.ErrDTD},
		{"size", open + strings.Repeat(" ", 1<<20) + `</FDT-Instance>`, xmllimit.ErrSize},
		{"nested instances", strings.Repeat("<FDT-Instance>", 40) + strings.Repeat("</FDT-Instance>", 40), xmllimit.ErrDepth},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := fdt.Parse([]byte(c.doc))
			require.ErrorIs(t, err, c.err)
		})
	}
	two := open + strings.Repeat(`<File TOI="1" Content-Location="a"/>`, 2) + `</FDT-Instance>`
	_, err := fdt.Limits{Files: 1}.Parse([]byte(two))
	require.ErrorIs(t, err, fdt.ErrFiles)
	_, err = fdt.Limits{Files: 2}.Parse([]byte(two))
	require.NoError(t, err)
}

// In an S-TSID the FDT-Instance is in the namespace around it, File in its own.
func TestEmbedded(t *testing.T) {
	type document struct {
		EFDT *fdt.Instance `xml:"SrcFlow>EFDT"`
	}
	parse := func(s string) *fdt.Instance {
		var doc document
		require.NoError(t, xml.Unmarshal([]byte(s), &doc))
		return doc.EFDT
	}
	in := parse(`<LS xmlns="urn:stsid" xmlns:afdt="tag:atsc.org,2016:XMLSchemas/ATSC3/Delivery/ATSC-FDT/1.0/" xmlns:fdt="urn:ietf:params:xml:ns:fdt">
<SrcFlow><EFDT><FDT-Instance afdt:efdtVersion="0" afdt:fileTemplate="clip_$TOI$.m4s" Expires="4294944000" afdt:maxTransportSize="298592">
<fdt:File Content-Location="init.mp4" TOI="4294967295"/></FDT-Instance></EFDT></SrcFlow></LS>`)
	require.Equal(t, &fdt.Instance{
		Version: 2, Expires: 4294944000, HasEFDTVersion: true, FileTemplate: "clip_$TOI$.m4s", MaxTransportSize: 298592,
		Files: []fdt.File{{TOI: 4294967295, ContentLocation: "init.mp4"}},
	}, in)

	b, err := in.AppendEmbedded([]byte(`<LS xmlns="urn:stsid"><SrcFlow><EFDT>`))
	require.NoError(t, err)
	require.Equal(t, in, parse(string(b)+`</EFDT></SrcFlow></LS>`))

	var names []xml.Name
	d := xml.NewDecoder(strings.NewReader(string(b)))
	for {
		tok, err := d.Token()
		if err != nil {
			break
		}
		if e, ok := tok.(xml.StartElement); ok {
			names = append(names, e.Name)
		}
	}
	require.Equal(t, []xml.Name{
		{Space: "urn:stsid", Local: "LS"}, {Space: "urn:stsid", Local: "SrcFlow"}, {Space: "urn:stsid", Local: "EFDT"},
		{Space: "urn:stsid", Local: "FDT-Instance"}, {Space: fdt.NamespaceV2, Local: "File"},
	}, names)
}
