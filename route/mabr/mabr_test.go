package mabr_test

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/flutetest"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/xmllimit"
	"github.com/treedn/treedn/route/mabr"
)

// carousel returns the configuration that GPAC repeats in band: TOI 1 of TSI 1,
// by FLUTE with one source block of symbols of 1416 octets.
func carousel(tb testing.TB, capture, wantMD5 string) []byte {
	tb.Helper()
	symbols := map[int][]byte{}
	for _, p := range flutetest.Capture(tb, capture) {
		var h lct.Header
		n, err := h.Unmarshal(p.Payload)
		if err != nil || p.Dst.Port() != 6000 || h.TSI != 1 || h.TOI != 1 {
			continue
		}
		symbols[int(binary.BigEndian.Uint16(p.Payload[n+2:]))] = p.Payload[n+4:]
	}
	var b []byte
	for i := range len(symbols) {
		b = append(b, symbols[i]...)
	}
	return checked(tb, b, wantMD5)
}

func checked(tb testing.TB, b []byte, wantMD5 string) []byte {
	tb.Helper()
	sum := md5.Sum(b)
	require.Equal(tb, wantMD5, base64.StdEncoding.EncodeToString(sum[:]), "the digest in the FDT")
	return b
}

func gpacFLUTE(tb testing.TB) []byte {
	b, err := os.ReadFile(filepath.Join("testdata", "gpac-flute.xml"))
	require.NoError(tb, err)
	return checked(tb, b, "W1RQViSSb5SyTSWEZicVng==")
}

func gpacROUTE(tb testing.TB) []byte {
	return carousel(tb, filepath.Join("..", "testdata", "gpac-mabr-route.pcap"), "5rjoQ/16lNwg0oydnUasAQ==")
}

func TestParseGPAC(t *testing.T) {
	endpoint := func(group string, tsi uint64) []mabr.Endpoint {
		return []mabr.Endpoint{{Destination: netip.MustParseAddrPort(group), TSI: tsi, HasTSI: true}}
	}
	want := func(protocol, group, carousel, media string) *mabr.Configuration {
		session := func(id string, tsi, rate uint64, set uint32) mabr.TransportSession {
			return mabr.TransportSession{
				ID: id,
				Transport: mabr.Transport{
					ProtocolID: protocol, ProtocolVersion: 1, Security: media, IdleTimeout: time.Minute,
					Endpoints: endpoint(group+":6001", tsi), AverageRate: rate, MaximumRate: rate,
				},
				Components: []mabr.Component{{Kind: mabr.ComponentDASH, ManifestID: "gpac_mani_serv_0", Period: "1", AdaptationSet: set, Representation: id[:1]}},
			}
		}
		c := &mabr.Configuration{
			Edition: 2023,
			Carousels: []mabr.CarouselSession{{Transport: mabr.Transport{
				ProtocolID: protocol, ProtocolVersion: 1, Security: "integrity", Endpoints: endpoint(carousel, 1),
				AverageRate: 727621, MaximumRate: 727621, Carousel: &mabr.Carousel{TransportSize: 3279},
			}}},
			Sessions: []mabr.Session{{
				ServiceID: "gpac.io:dvb-mabr:service:0", PlaybackOffset: 4 * time.Second,
				Manifests: []mabr.Manifest{{
					ID: "gpac_mani_serv_0", ContentType: "application/dash+xml",
					ObjectURI: "tag:mabr.gpac.io.2025.services.4294967295/manifest.mpd",
				}},
				Transports: []mabr.TransportSession{session("10", 10, 656905, 1), session("20", 20, 70716, 2)},
			}},
		}
		return c
	}
	c, err := mabr.Parse(gpacFLUTE(t))
	require.NoError(t, err)
	require.Equal(t, want(mabr.ProtocolFLUTE, "232.1.1.3", "232.1.1.3:6000", "integrity"), c)
	require.Equal(t, "FLUTE", c.Sessions[0].Transports[0].Protocol())
	// GPAC announces its FLUTE carousel as ROUTE on the port of the media.
	c, err = mabr.Parse(gpacROUTE(t))
	require.NoError(t, err)
	require.Equal(t, want(mabr.ProtocolROUTE, "232.1.1.4", "232.1.1.4:6001", ""), c)
	_, until := c.ValidUntil(time.Unix(0, 0))
	require.False(t, until)
}

// The forms of the schema of 2019, with its spelling of the TSI.
func TestParse2019(t *testing.T) {
	c, err := mabr.Parse([]byte(`<?xml version="1.0" encoding="UTF-8"?>
<MulticastServerConfiguration xmlns="urn:dvb:metadata:MulticastSessionConfiguration:2019" xmlns:i="http://www.w3.org/2001/XMLSchema-instance" validityPeriod="P1D">
<MulticastSession serviceIdentifier="tag:example.com;2019#one" contentPlaybackAvailabilityOffset="PT3.84S">
<PresentationManifestLocator manifestId="m" contentType="application/vnd.apple.mpegURL">
 http://media.example.com/master.m3u8
</PresentationManifestLocator>
<MulticastGatewaySessionReporting><ReportingLocator proportion="0.3" period="PT5M" randomDelay="50">https://reporting.example.net/</ReportingLocator></MulticastGatewaySessionReporting>
<MulticastTransportSession id="low" start="2019-01-01T00:00:00" duration="PT2H" transmissionMode="chunked" contentIngestMethod="push" sessionIdleTimeout="3840" transportSecurity="none">
<TransportProtocol protocolIdentifier="urn:dvb:metadata:cs:MulticastTransportProtocolCS:2019:FLUTE" protocolVersion="1"/>
<EndpointAddress><NetworkSourceAddress>2001:DB8::1</NetworkSourceAddress><NetworkDestinationGroupAddress>FF3E::4950:4801</NetworkDestinationGroupAddress>
<TransportDestinationPort>9999</TransportDestinationPort><MediaTransportSessionIdentfier>7</MediaTransportSessionIdentfier></EndpointAddress>
<BitRate maximum="150000"/>
<ForwardErrorCorrectionParameters><SchemeIdentifier> urn:ietf:rmt:fec:encoding:6 </SchemeIdentifier><!-- RaptorQ --><OverheadPercentage>20</OverheadPercentage></ForwardErrorCorrectionParameters>
<UnicastRepairParameters transportObjectBaseURI="http://media.example.com/" transportObjectReceptionTimeout="500" fixedBackOffPeriod="10" randomBackOffPeriod="20">
<BaseURL relativeWeight="7">http://a.example.net/</BaseURL><BaseURL>http://b.example.net/</BaseURL></UnicastRepairParameters>
<ServiceComponentIdentifier i:type="x:HLSComponentIdentifierType" manifestIdRef="m" mediaPlaylistLocator="http://media.example.com/V1.m3u8"/>
</MulticastTransportSession></MulticastSession></MulticastServerConfiguration>`))
	require.NoError(t, err)
	start := time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC)
	require.Equal(t, &mabr.Configuration{
		Server: true, Edition: 2019, ValidityPeriod: 24 * time.Hour,
		Sessions: []mabr.Session{{
			ServiceID: "tag:example.com;2019#one", PlaybackOffset: 3840 * time.Millisecond,
			Manifests: []mabr.Manifest{{ID: "m", ContentType: "application/vnd.apple.mpegURL", URL: "http://media.example.com/master.m3u8"}},
			Reporting: []mabr.ReportingLocator{{URL: "https://reporting.example.net/", Proportion: 0.3, Period: 5 * time.Minute, RandomDelay: 50 * time.Millisecond}},
			Transports: []mabr.TransportSession{{
				ID: "low", Start: start, Duration: 2 * time.Hour, Push: true, Chunked: true,
				Transport: mabr.Transport{
					ProtocolID: mabr.ProtocolFLUTE, ProtocolVersion: 1, IdleTimeout: 3840 * time.Millisecond, MaximumRate: 150000,
					Endpoints: []mabr.Endpoint{{
						Source: netip.MustParseAddr("2001:db8::1"), Destination: netip.MustParseAddrPort("[ff3e::4950:4801]:9999"), TSI: 7, HasTSI: true,
					}},
					FEC: []mabr.FEC{{Scheme: mabr.FECScheme(6), Overhead: 20}},
					Repair: &mabr.Repair{
						BaseURI: "http://media.example.com/", ReceptionTimeout: 500 * time.Millisecond, FixedBackOff: 10 * time.Millisecond, RandomBackOff: 20 * time.Millisecond,
						BaseURLs: []mabr.BaseURL{{URL: "http://a.example.net/", Weight: 7}, {URL: "http://b.example.net/", Weight: 1}},
					},
				},
				Components: []mabr.Component{{Kind: mabr.ComponentHLS, ManifestID: "m", Playlist: "http://media.example.com/V1.m3u8"}},
			}},
		}},
	}, c)
	b, err := c.Append(nil)
	require.NoError(t, err)
	require.Contains(t, string(b), "<MediaTransportSessionIdentfier>7<")
	require.NotContains(t, string(b), "schemaVersion")
	again, err := mabr.Parse(b)
	require.NoError(t, err)
	require.Equal(t, uint32(0), again.SchemaVersion)
	require.Equal(t, c, again)

	s := &c.Sessions[0].Transports[0]
	require.False(t, s.ActiveAt(start.Add(-1)))
	require.True(t, s.ActiveAt(start))
	require.False(t, s.ActiveAt(start.Add(2*time.Hour)))
	id, ok := s.FEC[0].EncodingID()
	require.True(t, ok)
	require.Equal(t, uint8(6), id)
	until, ok := c.ValidUntil(start)
	require.True(t, ok)
	require.Equal(t, start.Add(24*time.Hour), until)
	c.ValidityEnd = start.Add(48 * time.Hour)
	until, _ = c.ValidUntil(start)
	require.Equal(t, c.ValidityEnd, until, "the later one")
}

func full() *mabr.Configuration {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	transport := mabr.Transport{
		ProtocolID: mabr.ProtocolROUTE, ProtocolVersion: 1, ServiceClass: "urn:x", Security: "integrityAndAuthenticity", IdleTimeout: time.Second,
		Endpoints: []mabr.Endpoint{
			{Source: netip.MustParseAddr("192.0.2.1"), Destination: netip.MustParseAddrPort("232.1.1.1:6000"), TSI: 1<<32 - 1, HasTSI: true},
			{Destination: netip.MustParseAddrPort("[ff3e::1]:6000")},
		},
		AverageRate: 1, MaximumRate: 2,
		FEC: []mabr.FEC{{Scheme: mabr.FECScheme(6), Overhead: 150, Endpoints: []mabr.Endpoint{{Destination: netip.MustParseAddrPort("232.1.1.2:6000")}}}},
		Repair: &mabr.Repair{
			BaseURI: "http://o/", ReceptionTimeout: time.Second, FixedBackOff: time.Millisecond, RandomBackOff: 2 * time.Millisecond,
			BaseURLs: []mabr.BaseURL{{URL: "$One$/", Weight: 1}, {URL: "http://b/?a&b", Weight: 0}},
		},
		Carousel: &mabr.Carousel{
			TransportSize: 1, ContentSize: 2,
			Manifests:    []mabr.CarouselItem{{TargetLatency: time.Second, Compress: true}},
			InitSegments: []mabr.CarouselItem{{}},
			Resources:    []mabr.CarouselItem{{URL: "$One$/x", Revalidation: time.Minute}},
		},
	}
	carousel := transport
	carousel.Carousel = &mabr.Carousel{
		Manifests: []mabr.CarouselItem{{ServiceID: "urn:s", TransportID: "1"}, {}},
	}
	reporting := []mabr.ReportingLocator{
		{URL: "https://r/", Proportion: 1, RandomDelay: time.Second, Running: true},
		{URL: "$One$/r", Proportion: 0.25, Period: time.Hour},
	}
	return &mabr.Configuration{
		Edition: 2024, SchemaVersion: 2, ValidityPeriod: time.Hour, ValidityEnd: at, Reporting: reporting,
		Carousels: []mabr.CarouselSession{{Transport: carousel, Tags: []string{"urn:a", "urn:b"}, Macros: []mabr.Macro{{Key: "One", Value: "http://one"}}}},
		Sessions: []mabr.Session{{
			ServiceID: "urn:s", PlaybackOffset: time.Second,
			Manifests: []mabr.Manifest{
				{ID: "m", ContentType: "application/dash+xml", URL: "$One$/m", ObjectURI: "urn:m", PathPattern: "/a/*/m$$?"},
				{ID: "n", ContentType: "application/x"},
			},
			Reporting: reporting[:1:1],
			Transports: []mabr.TransportSession{
				{
					Transport: transport, ID: "1", Start: at, Duration: time.Hour, Push: true, Chunked: true,
					Components: []mabr.Component{
						{Kind: mabr.ComponentDASH, ManifestID: "m", Period: "p 1", AdaptationSet: 3, Representation: "v1"},
						{Kind: mabr.ComponentGeneric, ManifestID: "n", ID: "c"},
					},
				},
			},
		}},
	}
}

func TestRoundTrip(t *testing.T) {
	want := full()
	b, err := want.Append([]byte("before"))
	require.NoError(t, err)
	got, err := mabr.Parse(b[6:])
	require.NoError(t, err, "%s", b)
	require.Equal(t, want, got)

	got.ExpandMacros(got.Carousels[0].Macros)
	s := got.Sessions[0]
	require.Equal(t, "http://one/m", s.Manifests[0].URL)
	require.Equal(t, "/a/*/m$$?", s.Manifests[0].PathPattern)
	require.Equal(t, "http://one/", s.Transports[0].Repair.BaseURLs[0].URL)
	require.Equal(t, "http://one/x", s.Transports[0].Carousel.Resources[0].URL)
	require.Equal(t, "http://one/r", got.Reporting[1].URL)
	m, ok := s.Manifest("n")
	require.True(t, ok)
	require.Equal(t, "application/x", m.ContentType)
	_, ok = s.Manifest("o")
	require.False(t, ok)

	server := full()
	server.Server, server.Macros = true, []mabr.Macro{{Key: "One", Value: "http://two"}}
	server.Sessions[0].Manifests = server.Sessions[0].Manifests[:1]
	server.Sessions[0].Transports[0].Components = server.Sessions[0].Transports[0].Components[:1]
	b, err = server.Append(nil)
	require.NoError(t, err)
	got, err = mabr.Parse(b)
	require.NoError(t, err)
	require.Equal(t, server, got)
}

func TestAppendRefuses(t *testing.T) {
	transport := func(c *mabr.Configuration) *mabr.TransportSession { return &c.Sessions[0].Transports[0] }
	for name, spoil := range map[string]func(*mabr.Configuration){
		"edition":               func(c *mabr.Configuration) { c.Edition = 2020 },
		"edition of 2019":       func(c *mabr.Configuration) { c.Edition = 2019 },
		"macros of a server":    func(c *mabr.Configuration) { c.Macros = []mabr.Macro{{Key: "x"}} },
		"no service":            func(c *mabr.Configuration) { c.Sessions[0].ServiceID = "" },
		"no manifest":           func(c *mabr.Configuration) { c.Sessions[0].Manifests = nil },
		"another manifest":      func(c *mabr.Configuration) { transport(c).Components[0].ManifestID = "x" },
		"no components":         func(c *mabr.Configuration) { transport(c).Components = nil },
		"kind of component":     func(c *mabr.Configuration) { transport(c).Components[0].Kind = 0 },
		"blank in an id":        func(c *mabr.Configuration) { transport(c).Components[0].Representation = "a b" },
		"no idle timeout":       func(c *mabr.Configuration) { transport(c).IdleTimeout = 0 },
		"parts of milliseconds": func(c *mabr.Configuration) { transport(c).IdleTimeout++ },
		"no protocol":           func(c *mabr.Configuration) { transport(c).ProtocolID = "" },
		"no endpoint":           func(c *mabr.Configuration) { transport(c).Endpoints = nil },
		"TSI 0":                 func(c *mabr.Configuration) { transport(c).Endpoints[0].TSI = 0 },
		"no port": func(c *mabr.Configuration) {
			transport(c).Endpoints[0].Destination = netip.MustParseAddrPort("232.1.1.1:0")
		},
		"no rate":           func(c *mabr.Configuration) { transport(c).MaximumRate = 0 },
		"security":          func(c *mabr.Configuration) { transport(c).Security = "some" },
		"no overhead":       func(c *mabr.Configuration) { transport(c).FEC[0].Overhead = 0 },
		"several manifests": func(c *mabr.Configuration) { transport(c).Carousel.Manifests = make([]mabr.CarouselItem, 2) },
		"reference":         func(c *mabr.Configuration) { transport(c).Carousel.Manifests[0].ServiceID = "urn:s" },
		"half a reference":  func(c *mabr.Configuration) { c.Carousels[0].Carousel.Manifests[0].ServiceID = "" },
		"proportion":        func(c *mabr.Configuration) { c.Reporting[0].Proportion = 1.5 },
		"negative":          func(c *mabr.Configuration) { c.ValidityPeriod = -1 },
	} {
		c := full()
		spoil(c)
		b, err := c.Append([]byte("before"))
		require.ErrorIs(t, err, mabr.ErrIncomplete, name)
		require.Equal(t, "before", string(b))
	}
	c := full()
	c.Sessions[0].Manifests[0].PathPattern = "/$x"
	_, err := c.Append(nil)
	require.ErrorIs(t, err, mabr.ErrPattern)
}

func TestParseRefuses(t *testing.T) {
	for _, doc := range []string{
		`<MulticastGatewayConfiguration validityPeriod="1 day"/>`,
		`<MulticastGatewayConfiguration validityPeriod="-P1D"/>`,
		`<MulticastGatewayConfiguration><MulticastSession><MulticastTransportSession><EndpointAddress/></MulticastTransportSession></MulticastSession></MulticastGatewayConfiguration>`,
		`<MulticastGatewayConfiguration><MulticastSession><MulticastTransportSession><EndpointAddress><NetworkDestinationGroupAddress>host</NetworkDestinationGroupAddress><TransportDestinationPort>1</TransportDestinationPort></EndpointAddress></MulticastTransportSession></MulticastSession></MulticastGatewayConfiguration>`,
		`<MulticastGatewayConfiguration><MulticastGatewaySessionReporting><ReportingLocator proportion="0"/></MulticastGatewaySessionReporting></MulticastGatewayConfiguration>`,
		`<MulticastGatewayConfiguration><MulticastSession><MulticastTransportSession sessionIdleTimeout="4294967296"/></MulticastSession></MulticastGatewayConfiguration>`,
	} {
		_, err := mabr.Parse([]byte(doc))
		var value *mabr.ValueError
		require.ErrorAs(t, err, &value, doc)
	}
	_, err := mabr.Parse([]byte(`<MPD/>`))
	require.ErrorIs(t, err, mabr.ErrRoot)
	_, err = mabr.Parse([]byte(`<MulticastGatewayConfiguration>`))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = mabr.Parse([]byte(`<!DOCTYPE x><MulticastGatewayConfiguration/>`))
	require.ErrorIs(t, err, xmllimit.ErrDTD)
	_, err = mabr.Parse([]byte(`<MulticastGatewayConfiguration>` + strings.Repeat(`<x/>`, 1<<17) + `</MulticastGatewayConfiguration>`))
	require.ErrorIs(t, err, xmllimit.ErrElements)
}

func TestRepairURL(t *testing.T) {
	r := &mabr.Repair{BaseURI: "http://o/", BaseURLs: []mabr.BaseURL{{"http://a/", 7}, {"http://off/", 0}, {"http://b/", 3}}}
	for random, want := range map[float64]string{0: "http://a/x/1", 0.69: "http://a/x/1", 0.71: "http://b/x/1", 0.999: "http://b/x/1"} {
		url, ok := r.URL("http://o/x/1", random)
		require.True(t, ok)
		require.Equal(t, want, url)
	}
	_, ok := r.URL("http://other/x", 0)
	require.False(t, ok)
	_, ok = (&mabr.Repair{BaseURLs: []mabr.BaseURL{{"http://off/", 0}}}).URL("x", 0.5)
	require.False(t, ok)
	url, ok := (&mabr.Repair{BaseURI: "http://o/"}).URL("http://o/x", 0)
	require.True(t, ok)
	require.Equal(t, "http://o/x", url, "the name of the object is where it is")
	r.FixedBackOff, r.RandomBackOff = time.Second, 2*time.Second
	require.Equal(t, 2*time.Second, r.BackOff(0.5))
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/a/m.mpd", "/a/m.mpd", true},
		{"/a/m.mpd", "/a/m.mpdx", false},
		{"/*/m.mpd", "/abc/m.mpd", true},
		{"/*/m.mpd", "/a/b/m.mpd", false},
		{"/*/m.mpd", "//m.mpd", true},
		{"/a?c*", "/abc", true},
		{"/a?c", "/a/c", false},
		{"/*a*a*b", "/aaaaab", true},
		{"/$*$?$$", "/*?$", true},
		{"/$*", "/x", false},
		{"", "", true},
		{"*", "/", false},
	} {
		p, err := mabr.ParsePattern(c.pattern)
		require.NoError(t, err)
		require.Equal(t, c.want, p.Match(c.path), "%s %s", c.pattern, c.path)
	}
	for _, s := range []string{"$", "/$x", strings.Repeat("*", 4097)} {
		_, err := mabr.ParsePattern(s)
		require.ErrorIs(t, err, mabr.ErrPattern)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(gpacFLUTE(f))
	f.Add(gpacROUTE(f))
	b, err := full().Append(nil)
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := mabr.Parse(b)
		if err != nil {
			return
		}
		b, err = c.Append(nil)
		if errors.Is(err, mabr.ErrIncomplete) || errors.Is(err, mabr.ErrPattern) {
			return // reading is lenient, writing is not
		}
		require.NoError(t, err)
		again, err := mabr.Parse(b)
		require.NoError(t, err, "%s", b)
		if c.Edition == 0 {
			c.Edition = 2024
		}
		c.SchemaVersion = again.SchemaVersion
		require.Equal(t, c, again)
	})
}

func Example() {
	c := mabr.Configuration{Sessions: []mabr.Session{{
		ServiceID: "urn:example:one",
		Manifests: []mabr.Manifest{{ID: "mpd", ContentType: "application/dash+xml", URL: "https://origin.example.com/one/m.mpd"}},
		Transports: []mabr.TransportSession{{
			ID: "video",
			Transport: mabr.Transport{
				ProtocolID: mabr.ProtocolROUTE, ProtocolVersion: 1, IdleTimeout: 10 * time.Second, MaximumRate: 5_000_000,
				Endpoints: []mabr.Endpoint{{Source: netip.MustParseAddr("192.0.2.1"), Destination: netip.MustParseAddrPort("232.1.1.1:6000"), TSI: 10, HasTSI: true}},
				Repair: &mabr.Repair{
					BaseURI: "https://origin.example.com/", ReceptionTimeout: 500 * time.Millisecond, RandomBackOff: time.Second,
					BaseURLs: []mabr.BaseURL{{URL: "https://cdn.example.net/", Weight: 1}},
				},
			},
			Components: []mabr.Component{{Kind: mabr.ComponentDASH, ManifestID: "mpd", Period: "1", AdaptationSet: 1, Representation: "v1"}},
		}},
	}}}
	document, err := c.Append(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	got, err := mabr.Parse(document)
	if err != nil {
		fmt.Println(err)
		return
	}
	t := got.Sessions[0].Transports[0]
	fmt.Println(t.Protocol(), t.Endpoints[0].Destination, t.Endpoints[0].TSI)
	fmt.Println(t.Repair.URL("https://origin.example.com/one/1.m4s", 0.5))
	// Output:
	// ROUTE 232.1.1.1:6000 10
	// https://cdn.example.net/one/1.m4s true
}

func TestRedirect(t *testing.T) {
	want := full()
	conf, err := want.Redirect()
	require.NoError(t, err)
	for _, s := range []string{conf, conf + "="} {
		got, err := mabr.ParseRedirect(s)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, s := range []string{"", "!", "AAAA", conf[:len(conf)/2]} {
		_, err := mabr.ParseRedirect(s)
		require.Error(t, err)
	}
	want.Sessions = nil
	_, err = want.Redirect()
	require.ErrorIs(t, err, mabr.ErrIncomplete)
}
