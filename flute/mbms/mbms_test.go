package mbms_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/bundle"
	"github.com/treedn/treedn/flute/mbms"
	"github.com/treedn/treedn/flute/xmllimit"
)

// sample has the lines of a session description as a Rohde & Schwarz BM-SC
// announces it: the TSI after the media, seconds since 1900 of more than 32 bits,
// metrics of its own.
const sample = "v=0\n" +
	"o=ROHDE-SCHWARZ-BSCC 269087077 1634036383 IN IP4 11.11.11.11\n" +
	"s=HLS Streaming Session 0x1009f165\n" +
	"i=File Download Session\n" +
	"t=3843025183 4789105183\n" +
	"a=mbms-mode:broadcast-mbsfn 269087077\n" +
	"a=source-filter:incl IN IP4 * 10.0.0.1\n" +
	"c=IN IP4 238.1.1.111/127\n" +
	"b=AS:2000\n" +
	"m=application 40101 FLUTE/UDP 0\n" +
	"a=flute-tsi:0\n" +
	"a=flute-ch:1\n" +
	"a=3GPP-QoE-Metrics:metrics={Object_Loss};rate=null;resolution=10\n\n"

func TestParseSDP(t *testing.T) {
	s, err := mbms.ParseSDP([]byte(sample))
	require.NoError(t, err)
	require.Equal(t, &mbms.SDP{
		Username: "ROHDE-SCHWARZ-BSCC", SessionID: 269087077, Version: 1634036383, Origin: netip.MustParseAddr("11.11.11.11"),
		Name: "HLS Streaming Session 0x1009f165", Info: "File Download Session",
		// The times that the envelope of the same announcement has.
		Start: time.Date(2021, 10, 12, 10, 59, 43, 0, time.UTC), Stop: time.Date(2051, 10, 5, 10, 59, 43, 0, time.UTC),
		Mode: "broadcast-mbsfn", TMGI: 269087077, HasTMGI: true, Source: netip.MustParseAddr("10.0.0.1"),
		HasTSI: true, MaxChannels: 1, Bandwidth: 2000,
		Media: []mbms.Media{{
			Group: netip.MustParseAddr("238.1.1.111"), TTL: 127, Port: 40101, Protocol: "FLUTE/UDP",
			Attributes: []mbms.Attribute{{Name: "3GPP-QoE-Metrics", Value: "metrics={Object_Loss};rate=null;resolution=10"}},
		}},
	}, s)
	require.Equal(t, []mbms.Channel{{Source: netip.MustParseAddr("10.0.0.1"), Destination: netip.MustParseAddrPort("238.1.1.111:40101")}}, s.Channels())
}

func TestParseSDPForms(t *testing.T) {
	// As in TS 26.346, 7.3.4, with two channels and FEC; the section of another
	// protocol is skipped with all that belongs to it.
	s, err := mbms.ParseSDP([]byte("v=0\r\no=user123 2890844526 2890842807 IN IP6 2201:056D::112E:144A:1E24\r\ns=File delivery session example\r\n" +
		"t=2873397496 0\r\na=source-filter: incl IN IP6 * 2001:210:1:2:240:96FF:FE25:8EC9\r\na=flute-tsi:3\r\na=flute-ch:2\r\n" +
		"a=FEC-declaration:0 encoding-id=1\r\na=FEC-declaration:1 encoding-id=128; instance-id=7\r\n" +
		"m=video 4002 RTP/AVP 96\r\nc=IN IP6 FF1E::9\r\na=flute-tsi:99\r\na=FEC:x\r\n" +
		"m=application 12345 FLUTE/UDP 0\r\nc=IN IP6 FF1E:03AD::7F2E:172A:1E24/2\r\na=lang:EN\r\na=FEC:0\r\na=FEC:1\r\nb=AS:64\r\nb=TIAS:1\r\n" +
		"m=application 12347/2 flute/udp *\r\nc=IN IP4 232.1.1.1/1/2\r\n"))
	require.NoError(t, err)
	require.Equal(t, uint64(3), s.TSI)
	require.Zero(t, s.Stop)
	require.Equal(t, []mbms.FECDeclaration{{EncodingID: 1}, {Ref: 1, EncodingID: 128, InstanceID: 7, HasInstanceID: true}}, s.FEC)
	require.Len(t, s.Media, 2)
	require.Equal(t, mbms.Media{
		Group: netip.MustParseAddr("ff1e:3ad::7f2e:172a:1e24"), Groups: 2, Port: 12345, Protocol: "FLUTE/UDP", Bandwidth: 64, FEC: []uint32{0, 1}, Lang: "EN",
	}, s.Media[0])
	var channels []string
	for _, c := range s.Channels() {
		channels = append(channels, c.Destination.String())
	}
	require.Equal(t, []string{
		"[ff1e:3ad::7f2e:172a:1e24]:12345", "[ff1e:3ad::7f2e:172a:1e25]:12345",
		"232.1.1.1:12347", "232.1.1.1:12348", "232.1.1.2:12347", "232.1.1.2:12348",
	}, channels)

	many, err := mbms.ParseSDP([]byte("v=0\nm=application 65535/65535 FLUTE/UDP 0\nc=IN IP4 255.255.255.255/1/65535\n"))
	require.NoError(t, err)
	require.Len(t, many.Channels(), 1, "there is no port 0")
	many, err = mbms.ParseSDP([]byte("v=0\nm=application 1/65535 FLUTE/UDP 0\nc=IN IP4 232.1.1.1/1/65535\n"))
	require.NoError(t, err)
	require.Len(t, many.Channels(), 64)
}

func TestParseSDPRefuses(t *testing.T) {
	for _, c := range []struct {
		in   string
		line int
	}{
		{"", 0},
		{strings.Repeat("a", 65537), 0},
		{"s=x", 1},
		{"v=0\nxx=1", 2},
		{"v=0\nno type", 2},
		{"v=0\no=a b c", 2},
		{"v=0\nt=1", 2},
		{"v=0\nt=a 1", 2},
		{"v=0\nc=IN IP4", 2},
		{"v=0\nc=IN IP4 host/1", 2},
		{"v=0\nc=IN IP4 232.1.1.1/256", 2},
		{"v=0\nc=IN IP4 232.1.1.1/1/0", 2},
		{"v=0\nc=IN IP6 ff3e::1/1/1", 2},
		{"v=0\nm=application x FLUTE/UDP 0", 2},
		{"v=0\nm=application 65536 FLUTE/UDP 0", 2},
		{"v=0\nm=application", 2},
		{"v=0\na=flute-tsi:281474976710656", 2},
		{"v=0\na=flute-tsi:1\na=flute-tsi:2", 3},
		{"v=0\na=flute-ch:x", 2},
		{"v=0\na=source-filter: incl IN IP4 * host", 2},
		{"v=0\na=FEC-declaration:x", 2},
		{"v=0\na=FEC-declaration:0", 2},
		{"v=0\na=FEC-declaration:0 encoding-id=256", 2},
		{"v=0\na=FEC-declaration:0 encoding-id=128; instance-id=x", 2},
		{"v=0\na=FEC:x", 2},
		{"v=0\n" + strings.Repeat("a=x\n", 300), 258},
		{"v=0\n" + strings.Repeat("m=x 1 FLUTE/UDP 0\n", 65), 66},
	} {
		_, err := mbms.ParseSDP([]byte(c.in))
		require.ErrorIs(t, err, mbms.ErrSDP, "%.40q", c.in)
		var sdp *mbms.SDPError
		require.ErrorAs(t, err, &sdp)
		require.Equal(t, c.line, sdp.Line, "%.40q: %v", c.in, err)
	}
}

func sdp() *mbms.SDP {
	return &mbms.SDP{
		Username: "u", SessionID: 1, Version: 1<<64 - 1, Origin: netip.MustParseAddr("2001:db8::1"), Name: "n", Info: "i",
		Start: time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC), Stop: time.Date(2041, 1, 2, 3, 4, 5, 0, time.UTC),
		Mode: "broadcast", TMGI: 7, HasTMGI: true, Source: netip.MustParseAddr("192.0.2.1"), TSI: 1<<48 - 1, HasTSI: true, MaxChannels: 3, Bandwidth: 9,
		FEC: []mbms.FECDeclaration{{Ref: 0, EncodingID: 6}, {Ref: 2, EncodingID: 129, HasInstanceID: true}},
		Media: []mbms.Media{
			{Group: netip.MustParseAddr("232.1.1.1"), Groups: 2, Port: 1, Ports: 3, TTL: 5, Protocol: "FLUTE/UDP", Bandwidth: 8, FEC: []uint32{2}, Lang: "de", Attributes: []mbms.Attribute{{"x", "y:z"}, {"w", ""}}},
			{Group: netip.MustParseAddr("ff3e::1"), Port: 65535, Protocol: "FLUTE/UDP/ESP"},
		},
		Attributes: []mbms.Attribute{{"tool", "treedn 1"}},
	}
}

func TestSDPRoundTrip(t *testing.T) {
	b, err := sdp().Append([]byte("before"))
	require.NoError(t, err)
	got, err := mbms.ParseSDP(b[6:])
	require.NoError(t, err, "%s", b)
	require.Equal(t, sdp(), got)
	for name, spoil := range map[string]func(*mbms.SDP){
		"no TSI":            func(s *mbms.SDP) { s.HasTSI = false },
		"long TSI":          func(s *mbms.SDP) { s.TSI = 1 << 48 },
		"no media":          func(s *mbms.SDP) { s.Media = nil },
		"no origin":         func(s *mbms.SDP) { s.Origin = netip.Addr{} },
		"line injection":    func(s *mbms.SDP) { s.Name = "x\r\na=flute-tsi:9" },
		"blank in a name":   func(s *mbms.SDP) { s.Username = "a b" },
		"no group":          func(s *mbms.SDP) { s.Media[0].Group = netip.Addr{} },
		"no port":           func(s *mbms.SDP) { s.Media[0].Port = 0 },
		"another protocol":  func(s *mbms.SDP) { s.Media[0].Protocol = "RTP/AVP" },
		"no declaration":    func(s *mbms.SDP) { s.Media[0].FEC[0] = 1 },
		"two declarations":  func(s *mbms.SDP) { s.FEC[1].Ref = 0 },
		"own attribute":     func(s *mbms.SDP) { s.Attributes[0].Name = "Flute-TSI" },
		"attribute of none": func(s *mbms.SDP) { s.Attributes[0].Name = "a:b" },
		"TTL of IPv6":       func(s *mbms.SDP) { s.Media[1].TTL = 1 },
		"not UTF-8":         func(s *mbms.SDP) { s.Info = "\xff" },
	} {
		s := sdp()
		spoil(s)
		b, err := s.Append([]byte("before"))
		require.ErrorIs(t, err, mbms.ErrIncomplete, name)
		require.Equal(t, "before", string(b))
	}
}

const usdSample = `<?xml version="1.0" encoding="utf-8"?>
<bundleDescription xmlns="urn:3GPP:metadata:2005:MBMS:userServiceDescription" xmlns:sv="urn:3gpp:metadata:2009:MBMS:schemaVersion"
 xmlns:r7="urn:3GPP:metadata:2007:MBMS:userServiceDescription" xmlns:r9="urn:3GPP:metadata:2009:MBMS:userServiceDescription"
 xmlns:r12="urn:3GPP:metadata:2013:MBMS:userServiceDescription" xmlns:r14="urn:3GPP:metadata:2017:MBMS:userServiceDescription">
 <sv:schemaVersion>1</sv:schemaVersion>
 <userServiceDescription serviceId="urn:3gpp:rsservice1" r7:serviceClass="urn:oma:bcast:ext_bsc_3gpp:bscc:rsservice1" r14:romService="true">
  <name lang="EN-GB">Service1</name><name lang="DE-DE">Dienst1</name>
  <serviceLanguage>EN-GB</serviceLanguage>
  <requiredCapabilities><feature>23</feature><feature>27</feature></requiredCapabilities>
  <deliveryMethod sessionDescriptionURI="file:///one.sdp" associatedProcedureDescriptionURI="file:///adpd.xml">
   <sv:delimiter>0</sv:delimiter>
   <r12:broadcastAppService><r12:basePattern>file:///one.m3u8</r12:basePattern><r12:serviceArea>2</r12:serviceArea></r12:broadcastAppService>
   <r12:unicastAppService><r12:basePattern>http://localhost/hls/stream_0.m3u8</r12:basePattern></r12:unicastAppService>
   <sv:delimiter>0</sv:delimiter>
  </deliveryMethod>
  <r12:appService appServiceDescriptionURI="http://localhost/hls/manifest.m3u8" mimeType="application/vnd.apple.mpegurl">
   <r12:alternativeContent><r12:basePattern>file:///one.m3u8</r12:basePattern><r12:basePattern>http://localhost/hls/stream_1.m3u8</r12:basePattern></r12:alternativeContent>
   <r12:identicalContent><r12:basePattern>file:///one.m3u8</r12:basePattern><r12:basePattern>http://localhost/hls/stream_0.m3u8</r12:basePattern></r12:identicalContent>
  </r12:appService>
  <r9:schedule><r9:scheduleDescriptionURI>file:///schedule.xml</r9:scheduleDescriptionURI></r9:schedule>
 </userServiceDescription>
</bundleDescription>`

func usd() *mbms.USD {
	return &mbms.USD{Services: []mbms.UserService{{
		ID: "urn:3gpp:rsservice1", Class: "urn:oma:bcast:ext_bsc_3gpp:bscc:rsservice1", ReceiveOnly: true,
		Names:     []mbms.Name{{"EN-GB", "Service1"}, {"DE-DE", "Dienst1"}},
		Languages: []string{"EN-GB"}, Capabilities: []uint32{23, 27}, ScheduleURI: "file:///schedule.xml",
		Delivery: []mbms.DeliveryMethod{{
			SessionURI: "file:///one.sdp", ProceduresURI: "file:///adpd.xml",
			Broadcast: []string{"file:///one.m3u8"}, Unicast: []string{"http://localhost/hls/stream_0.m3u8"}, ServiceAreas: []uint16{2},
		}},
		Apps: []mbms.AppService{{
			URI: "http://localhost/hls/manifest.m3u8", MediaType: "application/vnd.apple.mpegurl",
			Alternative: [][]string{{"file:///one.m3u8", "http://localhost/hls/stream_1.m3u8"}},
			Identical:   [][]string{{"file:///one.m3u8", "http://localhost/hls/stream_0.m3u8"}},
		}},
	}}}
}

func schedule() *mbms.Schedule {
	at := time.Date(2021, 10, 12, 10, 59, 43, 0, time.UTC)
	return &mbms.Schedule{Update: at, Services: []mbms.ServiceSchedule{
		{
			ServiceID: "urn:x", Class: "c",
			Sessions: []mbms.SessionSchedule{
				{Start: at, Stop: at.Add(time.Hour), Recurrence: "daily", Times: 3, RecurrenceStop: at.Add(100 * time.Hour), HasIndex: true, SessionURI: "one.sdp", FDTInstanceURI: "http://x/fdt"},
				{Start: at.Add(1000 * time.Hour), Stop: at.Add(1001 * time.Hour), Index: 1, HasIndex: true},
			},
			Overrides: []mbms.SessionOverride{{Index: 1, Start: at.Add(2000 * time.Hour), Stop: at.Add(2001 * time.Hour)}, {Index: 7, Cancelled: true}},
			Files:     []mbms.FileSchedule{{URI: "http://x/f", Cancelled: true, UnicastOnly: true, MD5: "m", SessionID: "5", Times: []mbms.Period{{at, at.Add(time.Second)}, {}}}},
		},
		{},
	}}
}

func procedures() *mbms.Procedures {
	return &mbms.Procedures{
		Repair:           &mbms.RepairProcedure{Servers: []string{"http://repair0.example.com/path", "http://repair1.example.com/?a&b"}, Offset: 5 * time.Second, RandomPeriod: 10 * time.Second},
		RepairSessionURI: "http://www.example.com/session1.sdp",
		Report: &mbms.ReportProcedure{
			RepairProcedure: mbms.RepairProcedure{Servers: []string{"http://report.example.com/"}, RandomPeriod: time.Second},
			Type:            mbms.ReportStaRAll, Percentage: 12.5, ForceTimeIndependence: true, Interval: time.Minute,
		},
	}
}

func statistics() *mbms.Report {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &mbms.Report{Statistics: []mbms.Statistics{
		{
			ServiceID: "s", ClientID: "c", DeviceID: "d", ServiceURI: "http://x/",
			Files: []mbms.File{
				{URI: "http://x/1", MD5: []byte("0123456789abcdef")},
				{URI: "http://x/2", Failed: true, ReceivedSymbols: []uint64{9, 0}, TotalSymbols: []uint64{10, 7}},
			},
			Metrics: &mbms.Metrics{
				Start: at, Stop: at.Add(time.Hour), LostObjects: []uint64{1, 0}, ReceivedObjects: []uint64{5, 6}, SymbolCountUnderrun: []string{"="},
				NetworkResourceCells: []string{"240012AF134EA", "="}, RebufferingEvents: []uint64{0, 1}, RebufferingDurations: []float64{0, 1.23},
				InitialBuffering: 3.213, AccessDelay: 2.621,
			},
		},
		{Streaming: true},
	}}
}

func acknowledgement() *mbms.Report {
	return &mbms.Report{Received: []mbms.AcknowledgedFile{
		{File: mbms.File{URI: "http://www.example.com/mbms-files/file1.3gp"}, ClientID: "c", SessionID: "s", DeviceID: "d"},
		{File: mbms.File{URI: "http://www.example.com/mbms-files/file2.3gp"}},
	}}
}

func TestParseUSD(t *testing.T) {
	u, err := mbms.ParseUSD([]byte(usdSample))
	require.NoError(t, err)
	require.Equal(t, usd(), u)
}

type document interface{ Append([]byte) ([]byte, error) }

func again[T document](tb testing.TB, v T, parse func([]byte) (T, error)) {
	tb.Helper()
	b, err := v.Append(nil)
	if errors.Is(err, mbms.ErrIncomplete) {
		return // reading is lenient, writing is not
	}
	require.NoError(tb, err)
	got, err := parse(b)
	require.NoError(tb, err, "%s", b)
	require.Equal(tb, v, got)
}

func TestRoundTrips(t *testing.T) {
	u := usd()
	u.FECDescriptionURI = "fec.xml"
	u.Services[0].ManifestURI = "one.mpd"
	u.Services[0].Apps = append(u.Services[0].Apps, mbms.AppService{URI: "x", MediaType: "y"})
	u.Services[0].Delivery[0].ProtectionURI, u.Services[0].Delivery[0].InbandMetadata = "p", true
	u.Services[0].Delivery[0].UnicastAccess, u.Services[0].Delivery[0].Components = []string{"u"}, []string{"c"}
	for _, v := range []document{u, schedule(), procedures(), statistics(), acknowledgement()} {
		_, err := v.Append(nil)
		require.NoError(t, err, "%T", v)
	}
	again(t, u, mbms.ParseUSD)
	again(t, schedule(), mbms.ParseSchedule)
	again(t, procedures(), mbms.ParseProcedures)
	again(t, statistics(), mbms.ParseReport)
	again(t, acknowledgement(), mbms.ParseReport)
}

func TestAppendRefuses(t *testing.T) {
	one := func(f func(*mbms.Report)) *mbms.Report { r := statistics(); f(r); return r }
	for name, v := range map[string]document{
		"no services":           &mbms.USD{},
		"no serviceId":          &mbms.USD{Services: []mbms.UserService{{Delivery: []mbms.DeliveryMethod{{SessionURI: "x"}}}}},
		"no delivery":           &mbms.USD{Services: []mbms.UserService{{ID: "x"}}},
		"no session":            &mbms.USD{Services: []mbms.UserService{{ID: "x", Delivery: []mbms.DeliveryMethod{{}}}}},
		"one pattern":           &mbms.USD{Services: []mbms.UserService{{ID: "x", Delivery: []mbms.DeliveryMethod{{SessionURI: "x"}}, Apps: []mbms.AppService{{URI: "u", MediaType: "m", Identical: [][]string{{"a"}}}}}}},
		"empty schedule":        &mbms.Schedule{},
		"session without times": &mbms.Schedule{Services: []mbms.ServiceSchedule{{Sessions: []mbms.SessionSchedule{{}}}}},
		"no server":             &mbms.Procedures{Repair: &mbms.RepairProcedure{}},
		"parts of seconds":      &mbms.Procedures{Repair: &mbms.RepairProcedure{Servers: []string{"x"}, Offset: time.Millisecond}},
		"percentage":            &mbms.Procedures{Report: &mbms.ReportProcedure{Type: mbms.ReportRAck, Percentage: 101, RepairProcedure: mbms.RepairProcedure{Servers: []string{"x"}}}},
		"empty report":          &mbms.Report{},
		"both kinds":            one(func(r *mbms.Report) { r.Received = acknowledgement().Received }),
		"digest":                one(func(r *mbms.Report) { r.Statistics[0].Files[0].MD5 = []byte{1} }),
		"symbols":               one(func(r *mbms.Report) { r.Statistics[0].Files[1].TotalSymbols = nil }),
		"failed file":           &mbms.Report{Received: []mbms.AcknowledgedFile{{File: mbms.File{URI: "x", Failed: true}}}},
	} {
		b, err := v.Append([]byte("before"))
		require.ErrorIs(t, err, mbms.ErrIncomplete, name)
		require.Equal(t, "before", string(b), name)
	}
}

func TestParseRefuses(t *testing.T) {
	var value *mbms.ValueError
	for _, doc := range []string{
		`<bundleDescription><userServiceDescription/></bundleDescription>`,
		`<scheduleDescription><serviceSchedule><sessionSchedule><index>x</index></sessionSchedule></serviceSchedule></scheduleDescription>`,
		`<associatedProcedureDescription><postFileRepair/></associatedProcedureDescription>`,
		`<associatedProcedureDescription><postReceptionReport randomTimePeriod="1" samplePercentage="NaN"/></associatedProcedureDescription>`,
		`<associatedProcedureDescription><postReceptionReport randomTimePeriod="1" reportInterval="5"/></associatedProcedureDescription>`,
	} {
		errs := []error{}
		for _, parse := range parsers {
			errs = append(errs, parse([]byte(doc)))
		}
		require.ErrorAs(t, errors.Join(errs...), &value, doc)
	}
	for _, parse := range parsers {
		require.ErrorIs(t, parse([]byte(`<MPD/>`)), mbms.ErrRoot)
		require.ErrorIs(t, parse([]byte(`<x`)), io.ErrUnexpectedEOF)
		require.ErrorIs(t, parse([]byte(`<!DOCTYPE x><x/>`)), xmllimit.ErrDTD)
	}
}

var parsers = []func([]byte) error{
	func(b []byte) error { _, err := mbms.ParseUSD(b); return err },
	func(b []byte) error { _, err := mbms.ParseSchedule(b); return err },
	func(b []byte) error { _, err := mbms.ParseProcedures(b); return err },
	func(b []byte) error { _, err := mbms.ParseReport(b); return err },
}

func TestScheduleAt(t *testing.T) {
	s := schedule().Services[0]
	at := schedule().Update
	for offset, want := range map[time.Duration]bool{
		-1: false, 0: true, time.Hour - 1: true, time.Hour: false,
		24 * time.Hour: true, 48*time.Hour + 30*time.Minute: true, 72 * time.Hour: false, // three times
		1000 * time.Hour: false, 2000 * time.Hour: true, // overridden
	} {
		require.Equal(t, want, s.At(at.Add(offset)), offset)
	}
	require.True(t, (&mbms.ServiceSchedule{}).At(at))
	open := mbms.ServiceSchedule{Sessions: []mbms.SessionSchedule{{Start: at, Recurrence: "daily"}}}
	require.True(t, open.At(at.Add(30*time.Hour)))
}

func TestReports(t *testing.T) {
	p := procedures().Report
	require.True(t, p.Reports(0.1, false))
	require.False(t, p.Reports(0.125, true), "12.5 percent")
	p.Percentage = 100
	for kind, want := range map[mbms.ReportType][2]bool{
		mbms.ReportRAck: {true, false}, mbms.ReportStaR: {true, false}, mbms.ReportStaRAll: {true, true}, mbms.ReportStaROnly: {true, true}, "x": {true, false},
	} {
		p.Type = kind
		require.Equal(t, want, [2]bool{p.Reports(0.99, true), p.Reports(0.99, false)}, kind)
	}
	require.Equal(t, 10*time.Second, procedures().Repair.BackOff(0.5))
}

func announcement(tb testing.TB) []byte {
	adpd, err := procedures().Append(nil)
	require.NoError(tb, err)
	plan, err := schedule().Append(nil)
	require.NoError(tb, err)
	b := bundle.Bundle{
		Envelope: &bundle.Envelope{Items: []bundle.Item{{URI: "file:///one.sdp", Version: 1, HasVersion: true}}},
		Parts: []bundle.Part{
			{ContentType: mbms.MediaTypeSDP, Location: "file:///one.sdp", Body: []byte(sample)},
			{ContentType: mbms.MediaTypeUSD, Location: "file:///usd.xml", Body: []byte(usdSample)},
			{ContentType: mbms.MediaTypeProcedures, Location: "file:///adpd.xml", Body: adpd},
			{ContentType: mbms.MediaTypeSchedule + "; charset=utf-8", Location: "file:///schedule.xml", Body: plan},
			{ContentType: mbms.MediaTypeSDP, Location: "bad.sdp", Body: []byte("x")},
			{ContentType: "application/vnd.apple.mpegurl", Location: "file:///one.m3u8", Body: []byte("#EXTM3U")},
		},
	}
	out, err := b.Append(nil)
	require.NoError(tb, err)
	return out
}

func TestParseAnnouncement(t *testing.T) {
	a, err := mbms.ParseAnnouncement(announcement(t))
	require.NoError(t, err)
	require.Equal(t, usd(), a.USD)
	d := a.USD.Services[0].Delivery[0]
	require.Equal(t, uint16(40101), a.Sessions[d.SessionURI].Media[0].Port)
	require.Equal(t, procedures(), a.Procedures[d.ProceduresURI])
	require.Equal(t, schedule(), a.Schedules[a.USD.Services[0].ScheduleURI])
	require.Len(t, a.Problems, 1)
	require.ErrorIs(t, a.Problems[0], mbms.ErrSDP)
	require.Len(t, a.Bundle.Parts, 6)
	_, err = mbms.ParseAnnouncement([]byte("no header"))
	require.ErrorIs(t, err, bundle.ErrHeader)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(usdSample))
	for _, v := range []document{sdp(), schedule(), procedures(), statistics(), acknowledgement()} {
		b, err := v.Append(nil)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add(announcement(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := mbms.ParseSDP(b); err == nil {
			require.LessOrEqual(t, len(s.Channels()), 64)
			again(t, s, mbms.ParseSDP)
		}
		if v, err := mbms.ParseUSD(b); err == nil {
			again(t, v, mbms.ParseUSD)
		}
		if v, err := mbms.ParseSchedule(b); err == nil {
			again(t, v, mbms.ParseSchedule)
			for i := range v.Services {
				v.Services[i].At(time.Unix(1<<31, 0))
			}
		}
		if v, err := mbms.ParseProcedures(b); err == nil {
			again(t, v, mbms.ParseProcedures)
		}
		if v, err := mbms.ParseReport(b); err == nil {
			again(t, v, mbms.ParseReport)
		}
		_, _ = mbms.ParseAnnouncement(b)
	})
}

func Example() {
	s, err := mbms.ParseSDP([]byte(sample))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range s.Channels() {
		fmt.Println(c.Destination, "from", c.Source, "TSI", s.TSI)
	}
	report := mbms.Report{Received: []mbms.AcknowledgedFile{{File: mbms.File{URI: "http://example.com/file1.3gp"}}}}
	b, err := report.Append(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(b))
	// Output:
	// 238.1.1.111:40101 from 10.0.0.1 TSI 0
	// <?xml version="1.0" encoding="UTF-8"?>
	// <receptionReport xmlns="urn:3gpp:metadata:2008:MBMS:receptionreport">
	// <receptionAcknowledgement>
	// <fileURI receptionSuccess="true">http://example.com/file1.3gp</fileURI>
	// </receptionAcknowledgement>
	// </receptionReport>
}
