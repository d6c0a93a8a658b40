package sls_test

import (
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/xmllimit"
	"github.com/treedn/treedn/route/sls"
)

// stsids returns the S-TSID fragments of a capture.
func stsids(tb testing.TB, name string) (list [][]byte) {
	tb.Helper()
	for _, c := range packages(tb, name) {
		p, err := sls.ParsePackage(c.body)
		require.NoError(tb, err)
		for i := range p.Parts {
			if p.Parts[i].Kind() == sls.KindSTSID {
				list = append(list, p.Parts[i].Body)
			}
		}
	}
	require.NotEmpty(tb, list)
	return list
}

func TestParseSTSIDCaptures(t *testing.T) {
	s, err := sls.ParseSTSID(stsids(t, "gpac-route-dash.pcap")[0])
	require.NoError(t, err)
	flow := func(track, rep, contentType string, size uint32) *sls.SrcFlow {
		return &sls.SrcFlow{
			RealTime: true,
			EFDT: &fdt.Instance{
				Version: 2, Expires: 4294944000, HasEFDTVersion: true, MaxTransportSize: size,
				FileTemplate: "clip_dash_" + track + "_$TOI$.m4s",
				Files:        []fdt.File{{TOI: 4294967295, ContentLocation: "clip_dash_" + track + "_init.mp4"}},
			},
			Media:    &sls.MediaInfo{RepID: rep, ContentType: contentType},
			Payloads: []sls.Payload{{Codepoint: 128, FormatID: 1, Order: true}},
		}
	}
	require.Equal(t, &sls.STSID{RS: []sls.RS{{
		Source:      netip.MustParseAddr("10.77.0.1"),
		Destination: netip.MustParseAddr("232.1.1.1"),
		Port:        6000,
		LS: []sls.LS{
			{TSI: 10, Bandwidth: 656, SrcFlow: flow("track1", "1", "video", 298592)},
			{TSI: 20, Bandwidth: 70, SrcFlow: flow("track2", "2", "audio", 32144)},
		},
	}}}, s)

	s, err = sls.ParseSTSID(stsids(t, "atsc3-ateme-lls-esg.pcap")[0])
	require.NoError(t, err)
	require.Len(t, s.RS, 1)
	require.Len(t, s.RS[0].LS, 4)
	require.Equal(t, sls.LS{
		TSI:     1,
		Start:   time.Date(2018, 9, 1, 0, 0, 0, 0, time.UTC),
		End:     time.Date(2035, 12, 31, 23, 59, 59, 0, time.UTC),
		SrcFlow: &sls.SrcFlow{Payloads: []sls.Payload{{Codepoint: 0, FormatID: 1, Order: true}}},
	}, s.RS[0].LS[0])
}

func full() *sls.STSID {
	s := &sls.STSID{RS: []sls.RS{
		{
			Source: netip.MustParseAddr("192.0.2.1"), Destination: netip.MustParseAddr("ff3e::1"), Port: 65535,
			LS: []sls.LS{
				{
					TSI: 1, Bandwidth: 5000, Start: time.Date(2026, 11, 20, 1, 2, 3, 4, time.UTC), End: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
					SrcFlow: &sls.SrcFlow{
						RealTime: true, MinBufferSize: 8,
						EFDT: &fdt.Instance{
							Version: 2, Expires: 4004201570, HasEFDTVersion: true, EFDTVersion: 255, MaxExpiresDelta: 30, MaxTransportSize: 1 << 20,
							FileTemplate: "a$TOI%05d$", Generation: 1<<64 - 1,
							Files: []fdt.File{{TOI: 9, ContentLocation: "x", Generation: 3}},
						},
						Media: &sls.MediaInfo{
							Startup: true, Lang: "de", ContentType: "audio", RepID: "a&\"<1>",
							Ratings: []sls.ContentRating{{Scheme: "urn:x", Value: "1,'TV-PG',{0 'TV-PG'}"}, {}},
						},
						Payloads: []sls.Payload{
							{Codepoint: 8, FormatID: 1, Frag: 1, Order: true},
							{Codepoint: 255, FormatID: 4, Frag: 2, SrcFECPayloadID: 2, FECParams: []byte{1, 2}},
						},
					},
					RepairFlow: &sls.RepairFlow{
						MaximumDelay: 100, Overhead: 1000, MinBufferSize: 9, HasOTI: true, OTI: [12]byte{11: 4},
						GrowingTSI: 1<<31 | 1, GrowingDelay: 120,
						Protected: []sls.ProtectedObject{
							{TSI: 1},
							{Session: "dPort=6000,tsi=2", TSI: 2, ObjectSize: 1 << 40, PercentRepair: 150, Checksums: []string{"a1", "b2"}, SourceTOIs: []sls.SourceTOI{{X: 2, Y: 1}, {X: 0, Y: 20}}},
						},
					},
				},
				{TSI: 1<<32 - 1, SrcFlow: &sls.SrcFlow{AEAs: []string{"one", "t&wo"}}},
				{TSI: 3, RepairFlow: &sls.RepairFlow{}},
			},
		},
		{LS: []sls.LS{{TSI: 1}}},
	}}
	return s
}

func TestSTSIDRoundTrip(t *testing.T) {
	want := full()
	b, err := want.Append([]byte("before"))
	require.NoError(t, err)
	require.Equal(t, "before", string(b[:6]))
	got, err := sls.ParseSTSID(b[6:])
	require.NoError(t, err, "%s", b)
	require.Equal(t, want, got)
}

// Three namespaces in four lines, as the schema has it.
func TestSTSIDNamespaces(t *testing.T) {
	b, err := full().Append(nil)
	require.NoError(t, err)
	d := xml.NewDecoder(strings.NewReader(string(b)))
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		e, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		want := sls.NamespaceSTSID
		if e.Name.Local == "File" {
			want = fdt.NamespaceV2
		}
		require.Equal(t, want, e.Name.Space, e.Name.Local)
		for _, a := range e.Attr {
			switch a.Name.Local {
			case "efdtVersion", "fileTemplate", "maxTransportSize", "maxExpiresDelta":
				require.Equal(t, fdt.NamespaceATSC, a.Name.Space)
			case "generation", "growingTSI", "growingDelay":
				require.Equal(t, fdt.NamespaceTreeDN, a.Name.Space)
			}
		}
	}
}

func TestParseSTSIDForms(t *testing.T) {
	parse := func(ls string) sls.LS {
		s, err := sls.ParseSTSID([]byte(`<S-TSID xmlns="urn:wrong"><RS><LS tsi=" 1 ">` + ls + `</LS></RS></S-TSID>`))
		require.NoError(t, err)
		require.Len(t, s.RS[0].LS, 1)
		return s.RS[0].LS[0]
	}
	ls := parse(`<SrcFlow minBufferSize="7"><ContentInfo><MediaInfo repId="1" xml:lang="en"/><Payload formatId="1" order="0"/></ContentInfo></SrcFlow>`)
	require.Equal(t, &sls.SrcFlow{
		MinBufferSize: 7, Media: &sls.MediaInfo{RepID: "1", Lang: "en"}, Payloads: []sls.Payload{{FormatID: 1}},
	}, ls.SrcFlow)

	ls = parse(`<SrcFlow><EFDT version="3"><FileTemplate>a$TOI$</FileTemplate><FDTParameters><File TOI="5" Content-Location="init"/></FDTParameters></EFDT></SrcFlow>`)
	require.Equal(t, &fdt.Instance{
		Version: 2, HasEFDTVersion: true, EFDTVersion: 3, FileTemplate: "a$TOI$",
		Files: []fdt.File{{TOI: 5, ContentLocation: "init"}},
	}, ls.SrcFlow.EFDT)

	s, err := sls.ParseSTSID([]byte("\ufeff\n<?xml version='1.0' encoding='utf-8'?><!-- x --><x:S-TSID xmlns:x='urn:x'><x:RS><x:LS tsi='7'/></x:RS></x:S-TSID>\n\n"))
	require.NoError(t, err)
	require.Equal(t, uint32(7), s.RS[0].LS[0].TSI)

	ls = parse(`<RepairFlow><ProtectedObject tsi="1"/></RepairFlow>`)
	require.Equal(t, []sls.ProtectedObject{{TSI: 1}}, ls.RepairFlow.Protected)

	for form, want := range map[string]sls.SourceTOI{
		`sourceTOI="TOI"/>`:                                   {X: 1},
		`sourceTOI="20"/>`:                                    {Y: 20},
		`sourceTOI="2*TOI"/>`:                                 {X: 2},
		`sourceTOI=" 2 * TOI + 1 "/>`:                         {X: 2, Y: 1},
		`sourceTOI="TOI+4294967295"/>`:                        {X: 1, Y: 4294967295},
		`><SourceTOI/></ProtectedObject>`:                     {X: 1},
		`><SourceTOI x="2" y="1"/></ProtectedObject>`:         {X: 2, Y: 1},
		`><SourceTOI x="0" y="20"/></ProtectedObject>`:        {Y: 20},
		`><SourceTOI xmlns="urn:x" y="3"/></ProtectedObject>`: {X: 1, Y: 3},
	} {
		ls = parse(`<RepairFlow><FECParameters><ProtectedObject tsi="1" ` + form + `</FECParameters></RepairFlow>`)
		require.Equal(t, []sls.SourceTOI{want}, ls.RepairFlow.Protected[0].SourceTOIs, form)
	}
	require.Equal(t, uint64(41), sls.SourceTOI{X: 2, Y: 1}.Of(20))
}

func TestParseSTSIDRefuses(t *testing.T) {
	for _, c := range []struct{ name, rs, attribute string }{
		{"no TSI", `<RS><LS/></RS>`, "tsi"},
		{"TSI of 33 bits", `<RS><LS tsi="4294967296"/></RS>`, "tsi"},
		{"port", `<RS dPort="65536"><LS tsi="1"/></RS>`, "dPort"},
		{"address", `<RS sIpAddr="example.com"/>`, "sIpAddr"},
		{"address with a zone", `<RS dIpAddr="fe80::1%eth0"/>`, "dIpAddr"},
		{"Codepoint", `<RS><LS tsi="1"><SrcFlow><Payload codePoint="256"/></SrcFlow></LS></RS>`, "codePoint"},
		{"OTI of 11 octets", `<RS><LS tsi="1"><RepairFlow><FECParameters fecOTI="0000000000000000000000"/></RepairFlow></LS></RS>`, "fecOTI"},
		{"OTI not in hexadecimal", `<RS><LS tsi="1"><RepairFlow><FECParameters fecOTI="zz"/></RepairFlow></LS></RS>`, "fecOTI"},
		{"protected without TSI", `<RS><LS tsi="1"><RepairFlow><FECParameters><ProtectedObject/></FECParameters></RepairFlow></LS></RS>`, "tsi"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := sls.ParseSTSID([]byte(`<S-TSID>` + c.rs + `</S-TSID>`))
			var value *sls.ValueError
			require.ErrorAs(t, err, &value)
			require.Equal(t, c.attribute, value.Attribute)
		})
	}
	for _, s := range []string{"TOI*2", "2TOI", "TOI-1", "-TOI", "TOI+", "*TOI", "TOI+TOI", "system(1)", "0x10", "2*toi", "18446744073709551616"} {
		_, err := sls.ParseSTSID([]byte(`<S-TSID><RS><LS tsi="1"><RepairFlow><FECParameters><ProtectedObject tsi="1" sourceTOI="` + s + `"/></FECParameters></RepairFlow></LS></RS></S-TSID>`))
		var value *sls.ValueError
		require.ErrorAs(t, err, &value, s)
	}
	for _, c := range []struct {
		name, doc string
		err       error
	}{
		{"another root", `<MPD/>`, sls.ErrRoot},
		{"cut off", `<S-TSID><RS>`, io.ErrUnexpectedEOF},
		{"DTD", `<!DOCTYPE x><S-TSID/>`, xmllimit.ErrDTD},
		{"many elements", `<S-TSID>` + strings.Repeat(`<RS/>`, 1<<16) + `</S-TSID>`, xmllimit.ErrElements},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := sls.ParseSTSID([]byte(c.doc))
			require.ErrorIs(t, err, c.err)
		})
	}
	var value *fdt.ValueError
	_, err := sls.ParseSTSID([]byte(`<S-TSID><RS><LS tsi="1"><SrcFlow><EFDT><FDT-Instance Expires="x"/></EFDT></SrcFlow></LS></RS></S-TSID>`))
	require.ErrorAs(t, err, &value)
}

func TestSTSIDAppendRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*sls.STSID){
		"no RS":              func(s *sls.STSID) { s.RS = nil },
		"no LS":              func(s *sls.STSID) { s.RS[0].LS = nil },
		"TSI of the SLS":     func(s *sls.STSID) { s.RS[0].LS[0].TSI = 0 },
		"one TSI twice":      func(s *sls.STSID) { s.RS[0].LS[0].TSI = 3 },
		"no repId":           func(s *sls.STSID) { s.RS[0].LS[0].SrcFlow.Media.RepID = "" },
		"two kinds of media": func(s *sls.STSID) { s.RS[0].LS[1].SrcFlow.Media = &sls.MediaInfo{RepID: "1"} },
		"format":             func(s *sls.STSID) { s.RS[0].LS[0].SrcFlow.Payloads[0].FormatID = 0 },
		"frag":               func(s *sls.STSID) { s.RS[0].LS[0].SrcFlow.Payloads[0].Frag = 3 },
		"overhead":           func(s *sls.STSID) { s.RS[0].LS[0].RepairFlow.Overhead = 1001 },
		"zone":               func(s *sls.STSID) { s.RS[0].Source = netip.MustParseAddr("fe80::1%x") },
		"control character":  func(s *sls.STSID) { s.RS[0].LS[0].SrcFlow.Media.RepID = "\x00" },
	} {
		s := full()
		spoil(s)
		b, err := s.Append([]byte("before"))
		require.ErrorIs(t, err, sls.ErrIncomplete, name)
		require.Equal(t, "before", string(b), name)
	}
	s := full()
	s.RS[0].LS[0].SrcFlow.EFDT.Expires = 0
	_, err := s.Append(nil)
	require.ErrorIs(t, err, fdt.ErrIncomplete)
}

func TestSTSIDFECOTI(t *testing.T) {
	s, err := sls.ParseSTSID([]byte(`<S-TSID><RS><LS tsi="1"><RepairFlow><FECParameters fecOTI="000000000000057801000104"/></RepairFlow></LS></RS></S-TSID>`))
	require.NoError(t, err)
	oti := s.RS[0].LS[0].RepairFlow.OTI
	require.Equal(t, "000000000000057801000104", hex.EncodeToString(oti[:]))
}

func FuzzParseSTSID(f *testing.F) {
	for _, name := range captures {
		for _, b := range stsids(f, name) {
			f.Add(b)
		}
	}
	b, err := full().Append(nil)
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := sls.ParseSTSID(b)
		if err != nil {
			return
		}
		b, err = s.Append(nil)
		if errors.Is(err, sls.ErrIncomplete) || errors.Is(err, fdt.ErrIncomplete) || errors.Is(err, fdt.ErrTemplate) {
			return // reading is lenient, writing is not
		}
		require.NoError(t, err)
		again, err := sls.ParseSTSID(b)
		require.NoError(t, err, "%s", b)
		require.Equal(t, s, again)
	})
}

func BenchmarkParseSTSID(b *testing.B) {
	doc := stsids(b, "gpac-route-dash.pcap")[0]
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sls.ParseSTSID(doc); err != nil {
			b.Fatal(err)
		}
	}
}
