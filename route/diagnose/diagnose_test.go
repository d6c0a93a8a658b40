package diagnose_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/flutetest"
	"github.com/treedn/treedn/flute/gunzip"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/mbms"
	"github.com/treedn/treedn/flute/ntp"
	"github.com/treedn/treedn/route/diagnose"
	"github.com/treedn/treedn/route/lls"
	"github.com/treedn/treedn/route/mabr"
	"github.com/treedn/treedn/route/sls"
)

// received reads a capture of ROUTE without loss in TSI 0.
func received(t *testing.T, capture string, at netip.AddrPort) *diagnose.Input {
	t.Helper()
	in := &diagnose.Input{Destination: at, LLS: &diagnose.LLS{}}
	var tracker lls.Tracker
	channels := map[uint64]*diagnose.Channel{}
	objects := map[[2]uint64][]byte{}
	for _, p := range flutetest.Capture(t, filepath.Join("..", "testdata", capture)) {
		in.Now = p.At
		if !p.IsLCT() {
			updates, err := tracker.Push(p.Payload)
			require.NoError(t, err)
			for _, u := range updates {
				switch u.Table.ID {
				case lls.SLTID:
					in.LLS.SLT, err = lls.ParseSLT(u.Table.Body)
				case lls.SystemTimeID:
					in.LLS.SystemTime, err = lls.ParseSystemTime(u.Table.Body)
				}
				require.NoError(t, err)
			}
			continue
		}
		var h lct.Header
		n, err := h.Unmarshal(p.Payload)
		require.NoError(t, err)
		c := channels[h.TSI]
		if c == nil {
			c = &diagnose.Channel{Source: p.Src.Addr(), Destination: p.Dst, TSI: h.TSI, Protocol: diagnose.ProtocolROUTE}
			channels[h.TSI] = c
		}
		c.Packets++
		if !slices.Contains(c.Codepoints, h.Codepoint) {
			c.Codepoints = append(c.Codepoints, h.Codepoint)
		}
		if key := [2]uint64{h.TSI, h.TOI}; int(binary.BigEndian.Uint32(p.Payload[n:])) == len(objects[key]) {
			objects[key] = append(objects[key], p.Payload[n+4:]...)
		}
	}
	in.LLS.Datagrams = tracker.Stats().Datagrams
	if in.LLS.Datagrams == 0 {
		in.LLS = nil
	}
	for key, b := range objects {
		tsi, toi := key[0], key[1]
		switch {
		case toi == 0:
			instance, err := fdt.Parse(b)
			require.NoError(t, err)
			in.Instances = append(in.Instances, diagnose.Instance{TSI: tsi, Instance: instance})
		case tsi == 0:
			p, err := sls.ParsePackage(b)
			require.NoError(t, err)
			in.Package = &diagnose.Package{TOI: sls.TOI(toi), Gzip: gunzip.Is(b), Package: p}
			for i := range p.Parts {
				switch p.Parts[i].Kind() {
				case sls.KindSTSID:
					in.STSID, err = sls.ParseSTSID(p.Parts[i].Body)
				case sls.KindUSBD:
					in.USBD, err = sls.ParseUSBD(p.Parts[i].Body)
				}
				require.NoError(t, err)
			}
		default:
			channels[tsi].Objects = append(channels[tsi].Objects, diagnose.Object{TOI: toi, Complete: true, Name: "x"})
		}
	}
	for _, tsi := range []uint64{0, 1, 2, 3, 4, 10, 20} {
		if c := channels[tsi]; c != nil {
			in.Channels = append(in.Channels, *c)
		}
	}
	require.Len(t, in.Channels, len(channels))
	return in
}

func texts(findings []diagnose.Finding) (list []string) {
	for _, f := range findings {
		list = append(list, fmt.Sprintf("%s %s %s", f.Severity, f.Rule, f.Where))
	}
	return list
}

// What is wrong with real broadcasts.
func TestCaptures(t *testing.T) {
	findings := diagnose.Diagnose(received(t, "atsc3-ateme-lls-esg.pcap", netip.MustParseAddrPort("239.255.20.9:52009")))
	require.Equal(t, []string{
		"fault slt-source SLT: service 5009",
		"fault stsid-source S-TSID",
		"note systemtime-namespace SystemTime",
		"note slt-name SLT: service 1001",
		"note slt-name SLT: service 1002",
		"note slt-name SLT: service 1003",
		"note slt-name SLT: service 1004",
		"note codepoint-reserved S-TSID: LS 1",
		"note codepoint-reserved S-TSID: LS 2",
		"note codepoint-reserved S-TSID: LS 3",
		"note codepoint-reserved S-TSID: LS 4",
	}, texts(findings))
	require.Equal(t, "fault: S-TSID: it announces the source 172.16.200.1, the packets to 239.255.20.9:52009 come from 192.168.0.4: "+
		"receivers that join the announced source, or check it, get nothing (A/331 7.1.4)", findings[1].String())

	findings = diagnose.Diagnose(received(t, "gpac-route-dash.pcap", netip.MustParseAddrPort("232.1.1.1:6000")))
	require.Equal(t, []string{"note sls-envelope SLS: package 0x80060001"}, texts(findings))

	findings = diagnose.Diagnose(received(t, "gpac-atsc.pcap", netip.MustParseAddrPort("225.1.1.0:6000")))
	require.Equal(t, []string{
		"note systemtime-namespace SystemTime",
		"note sls-toi SLS: package 0x80060001",
	}, texts(findings))
}

var (
	now    = time.Date(2026, 11, 20, 22, 7, 0, 0, time.UTC)
	group  = netip.MustParseAddrPort("232.1.1.1:6000")
	source = netip.MustParseAddr("192.0.2.1")
)

// healthy is a session that nothing is wrong with.
func healthy() *diagnose.Input {
	stsid := &sls.STSID{RS: []sls.RS{{Source: source, LS: []sls.LS{
		{TSI: 10, SrcFlow: &sls.SrcFlow{
			RealTime: true, Media: &sls.MediaInfo{RepID: "v1"},
			EFDT: &fdt.Instance{
				Expires: ntp.Seconds(now.Add(time.Hour)), MaxTransportSize: 1 << 20, FileTemplate: "live/v1_$TOI%05d$.m4s",
				Files: []fdt.File{{TOI: 1 << 31, ContentLocation: "live/v1_init.mp4"}},
			},
		}},
		{TSI: 11, RepairFlow: &sls.RepairFlow{HasOTI: true, OTI: [12]byte{6: 5, 7: 0x78}, Protected: []sls.ProtectedObject{{TSI: 10}}}},
	}}}}
	return &diagnose.Input{
		Now: now, Destination: group, SenderTime: now, ReceivedAt: now.Add(time.Second),
		LLS: &diagnose.LLS{
			Datagrams: 5, SystemTime: &lls.SystemTime{Namespace: lls.NamespaceSystemTime, UTCOffset: 37},
			SLT: &lls.SLT{Namespace: lls.NamespaceSLT, Services: []lls.Service{{ID: 7, ShortName: "One", Signalling: &lls.Signalling{Protocol: lls.ProtocolROUTE, Destination: group, Source: source}}}},
		},
		Package: &diagnose.Package{TOI: 0x80070001, Gzip: true, Package: sls.Package{Parts: []sls.Part{
			{ContentType: sls.MediaTypeUSBD}, {ContentType: sls.MediaTypeSTSID}, {ContentType: sls.MediaTypeDASH},
		}}},
		STSID: stsid, USBD: &sls.USBD{ServiceID: "7"},
		Manifest: &diagnose.Manifest{Representations: []diagnose.Representation{
			{ID: "v1", Init: "$RepresentationID$_init.mp4", Media: "$RepresentationID$_$Number%05d$.m4s"},
		}},
		Channels: []diagnose.Channel{
			{Source: source, Destination: group, Protocol: diagnose.ProtocolROUTE, Packets: 5, Codepoints: []uint8{3}},
			{Source: source, Destination: group, TSI: 10, Protocol: diagnose.ProtocolROUTE, Packets: 5, Codepoints: []uint8{5, 8}, Objects: []diagnose.Object{
				{TOI: 1 << 31, Complete: true, Name: "live/v1_init.mp4"}, {TOI: 1, Complete: true, Name: "live/v1_00001.m4s"}, {TOI: 2, Name: "live/v1_00002.m4s"},
			}},
			{Source: source, Destination: group, TSI: 11, Protocol: diagnose.ProtocolROUTE, Packets: 5, Repair: 5},
		},
	}
}

func TestHealthy(t *testing.T) {
	require.Empty(t, diagnose.Diagnose(healthy()))
	require.Empty(t, diagnose.Diagnose(&diagnose.Input{}))
}

func TestRules(t *testing.T) {
	flow := func(in *diagnose.Input) *sls.SrcFlow { return in.STSID.RS[0].LS[0].SrcFlow }
	for rule, c := range map[string]struct {
		spoil    func(*diagnose.Input)
		severity diagnose.Severity
		text     string
	}{
		"packets-none":    {func(in *diagnose.Input) { in.LLS = nil; in.STSID = nil; in.Package = nil; in.Channels = nil }, diagnose.Fatal, "no packets"},
		"lls-none":        {func(in *diagnose.Input) { in.LLS.Datagrams = 0 }, diagnose.Fatal, "224.0.23.60:4937"},
		"lls-version":     {func(in *diagnose.Input) { in.LLS.SameVersion = true }, diagnose.Fault, "LLS_table_version"},
		"lls-signature":   {func(in *diagnose.Input) { in.LLS.Signed, in.LLS.Unverified = true, true }, diagnose.Note, "signed"},
		"slt-none":        {func(in *diagnose.Input) { in.LLS.SLT = nil }, diagnose.Fatal, "no SLT in 5 datagrams"},
		"slt-empty":       {func(in *diagnose.Input) { in.LLS.SLT.Services = nil }, diagnose.Fatal, "no service"},
		"slt-namespace":   {func(in *diagnose.Input) { in.LLS.SLT.Namespace = "" }, diagnose.Note, "it is in no namespace"},
		"slt-name":        {func(in *diagnose.Input) { in.LLS.SLT.Services[0].ShortName = "12345678" }, diagnose.Note, "7 characters"},
		"slt-signalling":  {func(in *diagnose.Input) { in.LLS.SLT.Services[0].Signalling = nil }, diagnose.Fault, "neither"},
		"slt-protocol":    {func(in *diagnose.Input) { in.LLS.SLT.Services[0].Signalling.Protocol = 2 }, diagnose.Fatal, "MMTP"},
		"slt-destination": {func(in *diagnose.Input) { in.Channels = nil }, diagnose.Fatal, "232.1.1.1:6000"},
		"slt-source": {func(in *diagnose.Input) {
			in.LLS.SLT.Services[0].Signalling.Source = netip.MustParseAddr("172.16.200.1")
		}, diagnose.Fault, "172.16.200.1"},
		"systemtime-none":      {func(in *diagnose.Input) { in.LLS.SystemTime = nil }, diagnose.Note, "5 s"},
		"systemtime-namespace": {func(in *diagnose.Input) { in.LLS.SystemTime.Namespace = "http://x" }, diagnose.Note, "A/331's is"},
		"systemtime-offset":    {func(in *diagnose.Input) { in.LLS.SystemTime.UTCOffset = 0 }, diagnose.Fault, "37"},
		"sls-none":             {func(in *diagnose.Input) { in.Package, in.STSID = nil, nil; in.Channels = in.Channels[1:] }, diagnose.Fatal, "no S-TSID"},
		"sls-incomplete":       {func(in *diagnose.Input) { in.Package, in.STSID = nil, nil }, diagnose.Fatal, "no package"},
		"sls-toi":              {func(in *diagnose.Input) { in.Package.TOI = 0x80060001 }, diagnose.Note, "a USBD"},
		"sls-envelope":         {func(in *diagnose.Input) { in.Package.Package.NoEnvelope = true }, diagnose.Note, "metadataEnvelope"},
		"sls-validity":         {func(in *diagnose.Input) { in.Package.Package.Parts[0].ValidUntil = now }, diagnose.Fault, "it is 2026-11-20T22:07:00Z"},
		"sls-manifest":         {func(in *diagnose.Input) { in.Manifest = nil; in.Package.Package.Parts = in.Package.Package.Parts[:2] }, diagnose.Fault, "no manifest"},
		"stsid-none":           {func(in *diagnose.Input) { in.STSID = nil }, diagnose.Fatal, "nothing names the objects"},
		"stsid-empty":          {func(in *diagnose.Input) { in.STSID.RS = nil }, diagnose.Fatal, "no channel"},
		"stsid-source":         {func(in *diagnose.Input) { in.STSID.RS[0].Source = netip.MustParseAddr("10.0.0.1") }, diagnose.Fault, "come from 192.0.2.1"},
		"stsid-packets":        {func(in *diagnose.Input) { in.Channels = in.Channels[:2] }, diagnose.Fault, "LCT channel 11 has no packets"},
		"stsid-unannounced":    {func(in *diagnose.Input) { in.Channels[2].TSI = 12 }, diagnose.Fault, "TSI 12"},
		"stsid-tsi":            {func(in *diagnose.Input) { in.STSID.RS[0].LS[1].TSI = 0 }, diagnose.Fault, "TSI 0"},
		"stsid-time":           {func(in *diagnose.Input) { in.STSID.RS[0].LS[0].End = now }, diagnose.Fault, "on air"},
		"stsid-flow":           {func(in *diagnose.Input) { in.STSID.RS[0].LS[1].RepairFlow = nil }, diagnose.Note, "neither"},
		"usbd-none":            {func(in *diagnose.Input) { in.USBD = nil }, diagnose.Fault, "no USBD"},
		"usbd-service":         {func(in *diagnose.Input) { in.USBD.ServiceID = "8" }, diagnose.Fault, "the SLT has 7"},
		"usbd-inactive":        {func(in *diagnose.Input) { in.USBD.Inactive = true }, diagnose.Fault, "not on air"},
		"unheard":              {func(in *diagnose.Input) { in.Received = []netip.AddrPort{group}; in.STSID.RS[0].Port = 9 }, diagnose.Note, "not listened to"},
		"sls-version":          {func(in *diagnose.Input) { in.Package.SameTOI = true }, diagnose.Fault, "keep the old one"},
		"payload-id": {func(in *diagnose.Input) {
			flow(in).Payloads = []sls.Payload{{Codepoint: 8, FormatID: 1, SrcFECPayloadID: 1}}
		}, diagnose.Fault, "start_offset"},
		"payload-format": {func(in *diagnose.Input) { flow(in).Payloads = []sls.Payload{{Codepoint: 8, FormatID: 7}} }, diagnose.Fault, "formatId 7"},
		"codepoint":      {func(in *diagnose.Input) { in.Channels[1].Codepoints = []uint8{200} }, diagnose.Fault, "codepoint 200"},
		"efdt-none":      {func(in *diagnose.Input) { flow(in).EFDT = nil }, diagnose.Fault, "nothing names its objects"},
		"efdt-template":  {func(in *diagnose.Input) { flow(in).EFDT.FileTemplate = "v1_$Number$.m4s" }, diagnose.Fault, "lacks $TOI$"},
		"efdt-size":      {func(in *diagnose.Input) { flow(in).EFDT.MaxTransportSize = 0 }, diagnose.Note, "maxTransportSize"},
		"efdt-init":      {func(in *diagnose.Input) { flow(in).EFDT.Files = nil }, diagnose.Fault, "init segment"},
		"init-none":      {func(in *diagnose.Input) { in.Channels[1].Objects = in.Channels[1].Objects[1:] }, diagnose.Fault, "never seen"},
		"fdt-expired":    {func(in *diagnose.Input) { flow(in).EFDT.Expires = ntp.Seconds(now) }, diagnose.Fault, "the FDT expired"},
		"repair-oti":     {func(in *diagnose.Input) { in.STSID.RS[0].LS[1].RepairFlow.OTI = [12]byte{} }, diagnose.Fault, "unknown FEC"},
		"repair-source":  {func(in *diagnose.Input) { in.STSID.RS[0].LS[1].RepairFlow.Protected[0].TSI = 99 }, diagnose.Fault, "protects the TSI 99"},
		"mpd-channel": {func(in *diagnose.Input) {
			in.Manifest.Representations = append(in.Manifest.Representations, diagnose.Representation{ID: "r2", Media: "r2_$Number$.m4s"})
		}, diagnose.Fault, `representation "r2" has no LCT channel`},
		"mpd-representation": {func(in *diagnose.Input) {
			in.Manifest.Representations[0] = diagnose.Representation{ID: "v9", Media: "live/v1_$Number%05d$.m4s"}
		}, diagnose.Note, `"v1"`},
		"mpd-template": {func(in *diagnose.Input) { in.Manifest.Representations[0].Media = "v1_$Time$.m4s" }, diagnose.Fault, "by time"},
		"mpd-init":     {func(in *diagnose.Input) { in.Manifest.Representations[0].Init = "other.mp4" }, diagnose.Fault, "other.mp4"},
		"loss":         {func(in *diagnose.Input) { in.Channels[1].Objects[2].Lost = true }, diagnose.Fault, "1 of 3 objects"},
		"nameless":     {func(in *diagnose.Input) { in.Channels[1].Objects[2].Name = "" }, diagnose.Fault, "named by nothing"},
		"digest":       {func(in *diagnose.Input) { in.Channels[1].Objects[2].Mismatch = "Content-MD5" }, diagnose.Fault, `v1_00002.m4s" is not what its Content-MD5 says`},
		"closed":       {func(in *diagnose.Input) { in.Channels[1].Closed = true }, diagnose.Note, "A flag"},
		"clock":        {func(in *diagnose.Input) { in.SenderTime = now.Add(-time.Minute) }, diagnose.Fault, "1m1s behind"},
		"malformed":    {func(in *diagnose.Input) { in.Malformed = []diagnose.Malformed{{"APD", errors.New("boom")}} }, diagnose.Fault, "boom"},
	} {
		in := healthy()
		c.spoil(in)
		findings := diagnose.Diagnose(in)
		i := slices.IndexFunc(findings, func(f diagnose.Finding) bool { return f.Rule == rule })
		require.GreaterOrEqual(t, i, 0, "%s: %v", rule, findings)
		require.Equal(t, c.severity, findings[i].Severity, rule)
		require.Contains(t, findings[i].Text, c.text, rule)
		require.True(t, slices.IsSortedFunc(findings, func(a, b diagnose.Finding) int { return int(a.Severity) - int(b.Severity) }))
	}
}

// What FLUTE alone can have.
func TestOddFLUTE(t *testing.T) {
	for rule, c := range map[string]struct {
		spoil func(*diagnose.Channel)
		text  string
	}{
		"fec-codepoint": {func(c *diagnose.Channel) { c.Codepoints = []uint8{0, 77} }, "codepoint 77"},
		"fdt-extension": {func(c *diagnose.Channel) { c.Unmarked = 3 }, "3 packets"},
		"fdt-reused":    {func(c *diagnose.Channel) { c.Reused = 2 }, "started again"},
		"digest": {func(c *diagnose.Channel) {
			c.Objects = append(c.Objects, diagnose.Object{TOI: 2, Complete: true, Name: "b", Mismatch: "Content-MD5"})
		}, `1 of 2 objects have other octets than their digest says, and receivers drop them: "b" is not what its Content-MD5 says`},
		"unfinished": {func(c *diagnose.Channel) { c.Objects[0].Complete = false }, "listen for longer"},
		"fdt-none":   {func(c *diagnose.Channel) { c.TSI = 2 }, "nothing names its 1 objects"},
	} {
		in := &diagnose.Input{
			Now: now, Destination: group,
			Instances: []diagnose.Instance{{TSI: 1, Instance: &fdt.Instance{Expires: ntp.Seconds(now.Add(time.Hour)), Files: []fdt.File{{TOI: 1, ContentLocation: "a"}}}}},
			Channels:  []diagnose.Channel{{Source: source, Destination: group, TSI: 1, Protocol: diagnose.ProtocolFLUTE, Packets: 5, Codepoints: []uint8{0}, Objects: []diagnose.Object{{TOI: 1, Complete: true, Name: "a"}}}},
		}
		require.Empty(t, diagnose.Diagnose(in))
		c.spoil(&in.Channels[0])
		findings := diagnose.Diagnose(in)
		require.Len(t, findings, 1, "%s: %v", rule, findings)
		require.Equal(t, rule, findings[0].Rule)
		require.Contains(t, findings[0].Text, c.text)
	}
}

// The init segments of several flows may come in another.
func TestInitElsewhere(t *testing.T) {
	in := healthy()
	flow := in.STSID.RS[0].LS[0].SrcFlow
	lone := &sls.SrcFlow{EFDT: &fdt.Instance{Expires: flow.EFDT.Expires, Files: flow.EFDT.Files}}
	flow.EFDT.Files = nil
	in.STSID.RS[0].LS = append(in.STSID.RS[0].LS, sls.LS{TSI: 12, SrcFlow: lone})
	in.Channels = append(in.Channels, diagnose.Channel{Source: source, Destination: group, TSI: 12, Protocol: diagnose.ProtocolROUTE, Packets: 1, Codepoints: []uint8{1}})
	require.Empty(t, diagnose.Diagnose(in))
	lone.EFDT.Files[0].ContentLocation = "other.mp4"
	require.Equal(t, []string{"fault efdt-init S-TSID: LS 10"}, texts(diagnose.Diagnose(in)))
}

// A fault that explains others is given alone.
func TestNothingArrives(t *testing.T) {
	in := healthy()
	in.Channels, in.Package, in.STSID, in.USBD, in.Manifest = nil, nil, nil, nil, nil
	require.Equal(t, []string{"fatal slt-destination SLT: service 7"}, texts(diagnose.Diagnose(in)))
}

func TestFLUTE(t *testing.T) {
	sdp := &mbms.SDP{HasTSI: true, TSI: 16, Source: source, Media: []mbms.Media{{Group: group.Addr(), Port: group.Port()}}}
	session := func() *diagnose.Input {
		return &diagnose.Input{
			Now: now, Destination: group, SDP: sdp,
			Channels: []diagnose.Channel{{Source: source, Destination: group, TSI: 16, Protocol: diagnose.ProtocolFLUTE, Packets: 9, Objects: []diagnose.Object{{TOI: 1, Name: "a", Complete: true}}}},
			Instances: []diagnose.Instance{
				{TSI: 16, Instance: &fdt.Instance{Expires: ntp.Seconds(now.Add(-time.Hour)), Files: []fdt.File{{TOI: 1, ContentLocation: "a"}}}},
				{TSI: 16, Instance: &fdt.Instance{Expires: ntp.Seconds(now.Add(time.Hour)), Files: []fdt.File{{TOI: 1, ContentLocation: "a"}}}},
			},
		}
	}
	require.Empty(t, diagnose.Diagnose(session()), "an older instance has expired, a newer has not")
	in := session()
	in.Instances = in.Instances[:1]
	require.Equal(t, []string{"fault fdt-expired FDT of TSI 16"}, texts(diagnose.Diagnose(in)))
	in = session()
	in.Instances = nil
	require.Equal(t, []string{"fatal fdt-none TSI 16 to 232.1.1.1:6000"}, texts(diagnose.Diagnose(in)))
	in = session()
	in.Instances[1].Instance.FEC = fdt.FEC{HasEncodingID: true, EncodingID: 99}
	in.Instances[1].Instance.Files[0].ContentEncoding = "br"
	in.Channels[0].TSI = 17
	require.Equal(t, []string{
		"fatal sdp-tsi SDP", "fatal fdt-none TSI 17 to 232.1.1.1:6000", "fault fdt-fec FDT of TSI 16", "fault fdt-encoding FDT of TSI 16",
	}, texts(diagnose.Diagnose(in)))
	in = session()
	in.Channels = nil
	require.Equal(t, []string{"fatal sdp-packets SDP"}, texts(diagnose.Diagnose(in)))
	in = session()
	in.SDP = &mbms.SDP{Stop: now, FEC: []mbms.FECDeclaration{{EncodingID: 77}}}
	require.Equal(t, []string{"fatal sdp-channels SDP", "fault sdp-time SDP", "fault sdp-tsi SDP", "fault sdp-fec SDP"}, texts(diagnose.Diagnose(in)))
}

func TestMABR(t *testing.T) {
	c := &mabr.Configuration{
		Edition: 2023, ValidityEnd: now,
		Carousels: []mabr.CarouselSession{{Transport: mabr.Transport{ProtocolID: mabr.ProtocolROUTE, Endpoints: []mabr.Endpoint{{Destination: group, TSI: 1, HasTSI: true}}}}},
		Sessions: []mabr.Session{{ServiceID: "urn:s", Transports: []mabr.TransportSession{{
			ID: "1", Start: now.Add(time.Hour), Components: []mabr.Component{{ManifestID: "m"}},
			Transport: mabr.Transport{
				ProtocolID: mabr.ProtocolFLUTE, FEC: []mabr.FEC{{Scheme: "urn:x"}},
				Endpoints: []mabr.Endpoint{{Source: netip.MustParseAddr("10.0.0.1"), Destination: group, TSI: 9, HasTSI: true}},
			},
		}}}},
	}
	in := &diagnose.Input{Now: now, MABR: c, Channels: []diagnose.Channel{{Source: source, Destination: group, TSI: 1, Protocol: diagnose.ProtocolFLUTE, Packets: 1}}}
	require.Equal(t, []string{
		"fatal mabr-expired session configuration",
		"fault mabr-protocol session configuration: carousel 1",
		`fault mabr-manifest session configuration: "urn:s"`,
		`fault mabr-time session configuration: "urn:s": session "1"`,
		`fault mabr-reference session configuration: "urn:s": session "1"`,
		`fault mabr-fec session configuration: "urn:s": session "1"`,
		`fault mabr-packets session configuration: "urn:s": session "1"`,
		"note mabr-namespace session configuration",
		`note mabr-idle session configuration: "urn:s": session "1"`,
	}, texts(diagnose.Diagnose(in)))
	in.MABR = &mabr.Configuration{Edition: 2024}
	require.Equal(t, []string{"fatal mabr-empty session configuration"}, texts(diagnose.Diagnose(in)))
}

// However much is wrong, the findings stay few.
func TestFindingsAreBounded(t *testing.T) {
	in := healthy()
	for i := range 5000 {
		in.STSID.RS[0].LS = append(in.STSID.RS[0].LS, sls.LS{TSI: uint32(i)})
	}
	require.LessOrEqual(t, len(diagnose.Diagnose(in)), 256)
}

func Example() {
	in := diagnose.Input{
		Destination: netip.MustParseAddrPort("232.1.1.1:6000"),
		STSID: &sls.STSID{RS: []sls.RS{{
			Source: netip.MustParseAddr("172.16.200.1"),
			LS:     []sls.LS{{TSI: 10, SrcFlow: &sls.SrcFlow{}}},
		}}},
		Channels: []diagnose.Channel{{
			Source: netip.MustParseAddr("192.168.0.4"), Destination: netip.MustParseAddrPort("232.1.1.1:6000"),
			TSI: 10, Protocol: diagnose.ProtocolROUTE, Packets: 100, Codepoints: []uint8{8},
		}},
	}
	for _, f := range diagnose.Diagnose(&in) {
		fmt.Println(strings.ReplaceAll(f.String(), ": ", ":\n  "))
	}
	// Output:
	// fault:
	//   S-TSID:
	//   it announces the source 172.16.200.1, the packets to 232.1.1.1:6000 come from 192.168.0.4:
	//   receivers that join the announced source, or check it, get nothing (A/331 7.1.4)
	// fault:
	//   S-TSID:
	//   LS 10:
	//   it has no EFDT, and none came with the TOI 0:
	//   nothing names its objects (A/331 A.3.3.2)
}
