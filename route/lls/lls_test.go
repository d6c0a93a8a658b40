package lls_test

import (
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/flutetest"
	"github.com/treedn/treedn/flute/xmllimit"
	"github.com/treedn/treedn/route/lls"
)

// datagrams returns the LLS of a capture.
func datagrams(tb testing.TB, file string) (list [][]byte) {
	tb.Helper()
	for _, p := range flutetest.Capture(tb, file) {
		if p.Dst == netip.AddrPortFrom(lls.Group(), lls.Port) {
			list = append(list, p.Payload)
		}
	}
	require.NotEmpty(tb, list)
	return list
}

var captures = []string{
	"testdata/ota-2019-lls.pcap",
	"testdata/atsc3-enensys-lls-signed.pcap",
	filepath.Join("..", "testdata", "gpac-atsc.pcap"),
	filepath.Join("..", "testdata", "atsc3-ateme-lls-esg.pcap"),
}

func ateme() *lls.SLT {
	s := &lls.SLT{Namespace: lls.NamespaceSLT, BSIDs: []uint16{50}}
	source := netip.MustParseAddr("172.16.200.1")
	for i := range uint16(4) {
		s.Services = append(s.Services, lls.Service{
			ID: 1001 + i, GlobalID: fmt.Sprintf("urn:atsc:serviceid:ateme_mmt_%d", i+1), Major: 10, Minor: i + 1,
			Category: lls.CategoryAV, ShortName: fmt.Sprintf("ATEME MMT %d", i+1),
			Signalling: &lls.Signalling{
				Protocol: lls.ProtocolMMTP, Major: 1, Source: source,
				Destination: netip.AddrPortFrom(netip.AddrFrom4([4]byte{239, 255, 10, byte(i + 1)}), 51001+i),
			},
		})
	}
	s.Services = append(s.Services, lls.Service{
		ID: 5009, GlobalID: "urn:atsc:serviceid:esg", Category: lls.CategoryGuide, ShortName: "ESG",
		Signalling: &lls.Signalling{Protocol: lls.ProtocolROUTE, Major: 1, Source: source, Destination: netip.MustParseAddrPort("239.255.20.9:52009")},
	})
	return s
}

func TestTrackerOverTheAir(t *testing.T) {
	for _, file := range []string{captures[0], captures[3]} {
		var tracker lls.Tracker
		var updates []lls.Update
		list := datagrams(t, file)
		for _, b := range list {
			u, err := tracker.Push(b)
			require.NoError(t, err)
			updates = append(updates, u...)
		}
		require.Len(t, updates, 2, file)
		require.Equal(t, lls.Stats{Datagrams: uint64(len(list)), Repeated: uint64(len(list) - 2)}, tracker.Stats())
		for _, u := range updates {
			require.False(t, u.Signed)
			require.Equal(t, uint8(1), u.Table.Group)
			require.Equal(t, uint16(1), u.Table.Groups)
			switch u.Table.ID {
			case lls.SLTID:
				require.Equal(t, uint8(2), u.Table.Version)
				s, err := lls.ParseSLT(u.Table.Body)
				require.NoError(t, err)
				require.Equal(t, ateme(), s)
				_, err = s.Append(nil)
				require.ErrorIs(t, err, lls.ErrIncomplete, "a name of 11 characters")
			case lls.SystemTimeID:
				s, err := lls.ParseSystemTime(u.Table.Body)
				require.NoError(t, err)
				require.Equal(t, &lls.SystemTime{
					Namespace: "http://www.atsc.org/XMLSchemas/ATSC3/Delivery/SYSTIME/1.0/",
					UTCOffset: 37, LocalOffset: -5 * time.Hour,
				}, s)
			default:
				t.Fatal(u.Table.ID)
			}
		}
	}
}

func TestTrackerGPAC(t *testing.T) {
	var tracker lls.Tracker
	got := map[lls.TableID]lls.Table{}
	for _, b := range datagrams(t, captures[2]) {
		updates, err := tracker.Push(b)
		require.NoError(t, err)
		for _, u := range updates {
			require.NotContains(t, got, u.Table.ID)
			got[u.Table.ID] = u.Table
		}
	}
	require.Len(t, got, 2)
	slt, err := lls.ParseSLT(got[lls.SLTID].Body)
	require.NoError(t, err)
	require.Equal(t, &lls.SLT{Namespace: lls.NamespaceSLT, BSIDs: []uint16{800}, Services: []lls.Service{{
		ID: 1, GlobalID: "urn:atsc:gpac:800:1", Major: 2, Minor: 1, Category: lls.CategoryAV, ShortName: "GPAC", Configuration: "Broadcast",
		Signalling: &lls.Signalling{
			Protocol: lls.ProtocolROUTE, Major: 1, Source: netip.MustParseAddr("10.77.0.1"), Destination: netip.MustParseAddrPort("225.1.1.0:6000"),
		},
	}}}, slt)
	st, err := lls.ParseSystemTime(got[lls.SystemTimeID].Body)
	require.NoError(t, err)
	require.Equal(t, &lls.SystemTime{UTCOffset: 37}, st, "no namespace at all")
	require.Zero(t, got[lls.SLTID].Group)
}

// messageDigest finds the SHA-256 of what is signed in the signed attributes of
// a CMS message: an octet string of that length after the OID of messageDigest.
func messageDigest(t *testing.T, cms []byte) string {
	t.Helper()
	var whole asn1.RawValue
	rest, err := asn1.Unmarshal(cms, &whole)
	require.NoError(t, err)
	require.Empty(t, rest)
	_, after, found := strings.Cut(string(cms), "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04\x31\x22\x04\x20")
	require.True(t, found)
	return hex.EncodeToString([]byte(after[:32]))
}

func TestSignedMultiTable(t *testing.T) {
	b := datagrams(t, captures[1])[0]
	var octets, cms []byte
	tracker := lls.Tracker{RequireSigned: true, Verify: func(o, c []byte) error { octets, cms = o, c; return nil }}
	updates, err := tracker.Push(b)
	require.NoError(t, err)
	require.Len(t, updates, 2)
	require.Len(t, cms, 610)
	require.Equal(t, messageDigest(t, cms), hex.EncodeToString(sum(octets)), "the signer's own digest says which octets are signed")
	require.Equal(t, byte(2), octets[0])

	require.Equal(t, lls.SLTID, updates[0].Table.ID)
	require.Equal(t, uint8(2), updates[0].Table.Version)
	require.True(t, updates[0].Signed)
	slt, err := lls.ParseSLT(updates[0].Table.Body)
	require.NoError(t, err)
	require.Equal(t, &lls.SLT{Namespace: lls.NamespaceSLT, BSIDs: []uint16{0}, Services: []lls.Service{{
		ID: 1, GlobalID: "tag:enensys.com,2020:globalServiceID/1", Major: 77, Minor: 80, Category: lls.CategoryAV, ShortName: "BBD1",
		Signalling: &lls.Signalling{
			Protocol: lls.ProtocolROUTE, Major: 1, Source: netip.MustParseAddr("10.12.79.120"), Destination: netip.MustParseAddrPort("239.1.120.120:49152"),
		},
	}}}, slt)
	require.Equal(t, lls.SystemTimeID, updates[1].Table.ID)
	st, err := lls.ParseSystemTime(updates[1].Table.Body)
	require.NoError(t, err)
	require.Equal(t, &lls.SystemTime{Namespace: lls.NamespaceSystemTime, UTCOffset: 37, LocalOffset: time.Hour, DST: true}, st)

	updates, err = tracker.Push(b)
	require.NoError(t, err)
	require.Empty(t, updates)
	plain, err := (&lls.Table{ID: lls.SLTID, Groups: 1, Body: []byte("<SLT/>")}).Append(nil)
	require.NoError(t, err)
	updates, err = tracker.Push(plain)
	require.NoError(t, err)
	require.Empty(t, updates, "not signed")
	require.Equal(t, lls.Stats{Datagrams: 3, Repeated: 1, Unsigned: 1}, tracker.Stats())

	wrong := errors.New("wrong signature")
	tracker = lls.Tracker{Verify: func(_, _ []byte) error { return wrong }}
	updates, err = tracker.Push(b)
	require.ErrorIs(t, err, wrong)
	require.Empty(t, updates)
	for n := range len(b) {
		_, err := new(lls.Tracker).Push(b[:n])
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, n)
	}
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

func TestSignedRoundTrip(t *testing.T) {
	tables := []lls.Table{
		{ID: lls.SLTID, Version: 3, Group: 1, Groups: 2, Body: []byte("<SLT/>")},
		{ID: lls.UserDefinedID, Version: 255, Group: 1, Groups: 2, Body: []byte("<x/>")},
	}
	octets, err := lls.SignedOctets(tables)
	require.NoError(t, err)
	table, err := lls.SignedTable(octets, []byte("CMS"), 1, 2, 9)
	require.NoError(t, err)
	b, err := table.Append([]byte("before"))
	require.NoError(t, err)
	got, err := lls.Parse(b[6:])
	require.NoError(t, err)
	require.Equal(t, table, got)
	s, err := lls.Limits{}.ParseSigned(got)
	require.NoError(t, err)
	require.Equal(t, lls.Signed{Tables: tables, Octets: octets, CMS: []byte("CMS")}, s)

	_, err = lls.SignedOctets([]lls.Table{{ID: lls.SignedMultiTableID}})
	require.ErrorIs(t, err, lls.ErrTable)
	_, err = lls.SignedOctets(nil)
	require.ErrorIs(t, err, lls.ErrIncomplete)
	table.Body[1] = 0xfe
	_, err = lls.Limits{}.ParseSigned(table)
	require.ErrorIs(t, err, lls.ErrTable)
}

func TestTableRoundTrip(t *testing.T) {
	for id := lls.TableID(1); id != 0; id++ {
		if id == lls.SignedMultiTableID {
			continue
		}
		want := lls.Table{ID: id, Group: 2, Groups: 256, Version: 255, Body: []byte("<x/>")}
		b, err := want.Append(nil)
		require.NoError(t, err)
		got, err := lls.Parse(b)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.Equal(t, "AEAT", lls.AEATID.String())
	require.Equal(t, "table 0x07", lls.TableID(7).String())
	got, err := lls.Parse([]byte("\x01\x00\x00\x01<SLT/>"))
	require.NoError(t, err)
	require.Equal(t, "<SLT/>", string(got.Body), "not compressed")
	_, err = lls.Parse([]byte{0, 0, 0, 0})
	require.ErrorIs(t, err, lls.ErrTable)
	_, err = lls.Parse([]byte{1, 0, 0})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	bomb := lls.Table{ID: lls.SLTID, Groups: 1, Body: make([]byte, 1<<20)}
	b, err := bomb.Append(nil)
	require.NoError(t, err)
	_, err = lls.Parse(b)
	require.ErrorIs(t, err, lls.ErrSize)
	_, err = lls.Limits{Octets: 5}.Parse([]byte("\x01\x00\x00\x01<SLT/>"))
	require.ErrorIs(t, err, lls.ErrSize)
	for _, bad := range []lls.Table{{}, {ID: 1}, {ID: 1, Groups: 257}, {ID: 1, Group: 2, Groups: 2}, {ID: lls.SignedMultiTableID, Groups: 1, Body: make([]byte, lls.MaxDatagram)}} {
		_, err := bad.Append(nil)
		require.Error(t, err)
	}
}

func TestTrackerVersions(t *testing.T) {
	var tracker lls.Tracker
	push := func(version uint8, body string) []lls.Update {
		b, err := (&lls.Table{ID: lls.SLTID, Groups: 1, Version: version, Body: []byte(body)}).Append(nil)
		require.NoError(t, err)
		u, err := tracker.Push(b)
		require.NoError(t, err)
		return u
	}
	require.Len(t, push(255, "a"), 1)
	require.Empty(t, push(255, "a"))
	require.Len(t, push(0, "b"), 1, "the version wraps")
	u := push(0, "c")
	require.Len(t, u, 1)
	require.True(t, u[0].SameVersion)
	require.Len(t, push(1, "c"), 1)
	_, err := tracker.Push([]byte{1, 0, 0, 2, 0x1f, 0x8b})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, uint64(1), tracker.Stats().Malformed)
	require.Empty(t, push(1, "c"), "a malformed datagram changes nothing")
}

func full() *lls.SLT {
	return &lls.SLT{
		Namespace: lls.NamespaceSLT,
		BSIDs:     []uint16{1, 65535}, Capabilities: "050D 0001",
		URLs: []lls.InetURL{{Type: lls.URLSignalling, URL: "https://x/?a&b"}},
		Services: []lls.Service{
			{
				ID: 65535, GlobalID: "urn:x", SeqNum: 255, Major: 999, Minor: 1, Category: lls.CategoryAudio, ShortName: "\u00e4\u00f6\u00fc\u00df123",
				Protected: true, DRMSystems: []string{"urn:a", "urn:b"}, Hidden: true, BroadbandRequired: true, Essential: true,
				Configuration: "Broadband", Capabilities: "0x1",
				Simulcast:  &lls.Simulcast{TSID: 7, Major: 1, Minor: 2},
				Signalling: &lls.Signalling{Protocol: lls.ProtocolROUTE, Major: 2, Minor: 3, Destination: netip.MustParseAddrPort("[ff3e::1]:4"), Source: netip.MustParseAddr("2001:db8::1")},
				URLs:       []lls.InetURL{{Type: lls.URLGuide, URL: "https://y/"}},
				OtherBSIDs: []lls.OtherBSID{{Type: 1, BSIDs: []uint16{2, 3}}}, Codecs: []string{"hvc1,ac-4"},
			},
			{ID: 0, Category: 255, HideInGuide: true},
		},
	}
}

func TestSLTRoundTrip(t *testing.T) {
	b, err := full().Append([]byte("before"))
	require.NoError(t, err)
	s, err := lls.ParseSLT(b[6:])
	require.NoError(t, err, "%s", b)
	require.Equal(t, full(), s)
	for name, spoil := range map[string]func(*lls.SLT){
		"no bsid":       func(s *lls.SLT) { s.BSIDs = nil },
		"no services":   func(s *lls.SLT) { s.Services = nil },
		"one id twice":  func(s *lls.SLT) { s.Services[1].ID = 65535 },
		"no category":   func(s *lls.SLT) { s.Services[1].Category = 0 },
		"channel":       func(s *lls.SLT) { s.Services[0].Major = 1000 },
		"long name":     func(s *lls.SLT) { s.Services[0].ShortName = "12345678" },
		"no protocol":   func(s *lls.SLT) { s.Services[0].Signalling.Protocol = 0 },
		"no port":       func(s *lls.SLT) { s.Services[0].Signalling.Destination = netip.MustParseAddrPort("232.1.1.1:0") },
		"no source":     func(s *lls.SLT) { s.Services[0].Signalling.Source = netip.Addr{} },
		"empty URL":     func(s *lls.SLT) { s.URLs[0].URL = "" },
		"no other BSID": func(s *lls.SLT) { s.Services[0].OtherBSIDs[0].BSIDs = nil },
	} {
		s := full()
		spoil(s)
		b, err := s.Append([]byte("before"))
		require.ErrorIs(t, err, lls.ErrIncomplete, name)
		require.Equal(t, "before", string(b))
	}
}

func TestSystemTimeRoundTrip(t *testing.T) {
	want := &lls.SystemTime{
		Namespace: lls.NamespaceSystemTime, UTCOffset: -37, PTPPrepend: 1, Leap61: true,
		LocalOffset: -(3*time.Hour + 30*time.Minute), DST: true, DSTDay: 31, DSTHour: 24,
	}
	b, err := want.Append(nil)
	require.NoError(t, err)
	got, err := lls.ParseSystemTime(b)
	require.NoError(t, err)
	require.Equal(t, want, got)
	for _, bad := range []lls.SystemTime{{DSTDay: 32}, {DSTHour: 25}, {Leap59: true, Leap61: true}, {LocalOffset: 25 * time.Hour}} {
		_, err := bad.Append(nil)
		require.ErrorIs(t, err, lls.ErrIncomplete)
	}
}

func TestParseRefuses(t *testing.T) {
	for doc, attribute := range map[string]string{
		`<SLT><Service/></SLT>`:                                                                  "serviceId",
		`<SLT><Service serviceId="65536"/></SLT>`:                                                "serviceId",
		`<SLT><Service serviceId="1"><BroadcastSvcSignaling/></Service></SLT>`:                   "slsProtocol",
		`<SLT><Service serviceId="1"><BroadcastSvcSignaling slsProtocol="1"/></Service></SLT>`:   "slsDestinationIpAddress",
		`<SLT><Service serviceId="1"><BroadcastSvcSignaling slsProtocol="256"/></Service></SLT>`: "slsProtocol",
	} {
		_, err := lls.ParseSLT([]byte(doc))
		var value *lls.ValueError
		require.ErrorAs(t, err, &value, doc)
		require.Equal(t, attribute, value.Attribute)
	}
	for _, doc := range []string{`<SystemTime/>`, `<SystemTime currentUtcOffset="x"/>`, `<SystemTime currentUtcOffset="37" utcLocalOffset="5"/>`} {
		_, err := lls.ParseSystemTime([]byte(doc))
		var value *lls.ValueError
		require.ErrorAs(t, err, &value, doc)
	}
	_, err := lls.ParseOnscreen([]byte(`<OnscreenMessageNotification><KeepScreenClear bsid="x"/></OnscreenMessageNotification>`))
	var value *lls.ValueError
	require.ErrorAs(t, err, &value)
	for _, parse := range []func([]byte) error{
		func(b []byte) error { _, err := lls.ParseSLT(b); return err },
		func(b []byte) error { _, err := lls.ParseSystemTime(b); return err },
		func(b []byte) error { _, err := lls.ParseAEAT(b); return err },
		func(b []byte) error { _, err := lls.ParseOnscreen(b); return err },
	} {
		require.ErrorIs(t, parse([]byte(`<x/>`)), lls.ErrRoot)
		require.ErrorIs(t, parse([]byte(`<!DOCTYPE x><SLT/>`)), xmllimit.ErrDTD)
		require.ErrorIs(t, parse([]byte(``)), io.ErrUnexpectedEOF)
	}
}

func TestAlerts(t *testing.T) {
	a, err := lls.ParseAEAT([]byte(`<AEAT xmlns="tag:atsc.org,2016:XMLSchemas/ATSC3/Delivery/AEAT/1.0/">
<AEA aeaId="KWBA-TOR-1" issuer="KWBA" audience="public" aeaType="alert" priority="4" wakeup="true">
<Header effective="2019-01-22T00:00:00Z" expires="2019-01-22T00:30:00Z"><EventCode type="SAME"> TOR </EventCode><EventDesc xml:lang="en">Tornado</EventDesc></Header>
<AEAText xml:lang="en">Take shelter</AEAText></AEA><AEA priority="high"/></AEAT>`))
	require.NoError(t, err)
	require.Equal(t, &lls.AEAT{Alerts: []lls.Alert{
		{
			ID: "KWBA-TOR-1", Issuer: "KWBA", Audience: "public", Type: "alert", Priority: 4, WakeUp: true,
			Effective: time.Date(2019, 1, 22, 0, 0, 0, 0, time.UTC), Expires: time.Date(2019, 1, 22, 0, 30, 0, 0, time.UTC),
			EventCode: "TOR", Descriptions: []lls.Name{{Lang: "en", Text: "Tornado"}}, Texts: []lls.Name{{Lang: "en", Text: "Take shelter"}},
		},
		{},
	}}, a)
	o, err := lls.ParseOnscreen([]byte(`<OnscreenMessageNotification><KeepScreenClear bsid="50" serviceId="7" serviceIdRange="2" notificationDuration="PT5M" kscFlag="true" version="3"/><KeepScreenClear bsid="50" kscFlag="false"/></OnscreenMessageNotification>`))
	require.NoError(t, err)
	require.Equal(t, &lls.Onscreen{KeepClear: []lls.KeepScreenClear{
		{BSID: 50, FirstService: 7, Services: 3, For: 5 * time.Minute, Clear: true, Version: 3},
		{BSID: 50, For: time.Minute},
	}}, o)
}

func FuzzTracker(f *testing.F) {
	for _, file := range captures {
		for _, b := range datagrams(f, file)[:1] {
			f.Add(b)
		}
	}
	b, err := full().Append([]byte{1, 0, 0, 1})
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var tracker lls.Tracker
		updates, err := tracker.Push(b)
		if err != nil {
			return
		}
		again, err := tracker.Push(b)
		require.NoError(t, err)
		require.Empty(t, again)
		for _, u := range updates {
			require.LessOrEqual(t, len(u.Table.Body), 1<<20)
			if s, err := lls.ParseSLT(u.Table.Body); err == nil {
				b, err := s.Append(nil)
				if err == nil {
					got, err := lls.ParseSLT(b)
					require.NoError(t, err, "%s", b)
					s.Namespace = lls.NamespaceSLT
					require.Equal(t, s, got)
				}
			}
			if s, err := lls.ParseSystemTime(u.Table.Body); err == nil {
				b, err := s.Append(nil)
				if err == nil {
					got, err := lls.ParseSystemTime(b)
					require.NoError(t, err, "%s", b)
					s.Namespace = lls.NamespaceSystemTime
					require.Equal(t, s, got)
				}
			}
			_, _ = lls.ParseAEAT(u.Table.Body)
			_, _ = lls.ParseOnscreen(u.Table.Body)
		}
	})
}

func BenchmarkTrackerRepeated(b *testing.B) {
	var tracker lls.Tracker
	datagram := datagrams(b, captures[0])[0]
	if _, err := tracker.Push(datagram); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(datagram)))
	b.ReportAllocs()
	for b.Loop() {
		if u, err := tracker.Push(datagram); err != nil || u != nil {
			b.Fatal(u, err)
		}
	}
}

func Example() {
	slt := lls.SLT{BSIDs: []uint16{50}, Services: []lls.Service{{
		ID: 1, Category: lls.CategoryAV, ShortName: "One", Major: 10, Minor: 1,
		Signalling: &lls.Signalling{
			Protocol: lls.ProtocolROUTE, Major: 1,
			Destination: netip.MustParseAddrPort("239.255.20.9:52009"), Source: netip.MustParseAddr("192.0.2.1"),
		},
	}}}
	body, err := slt.Append(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	table := lls.Table{ID: lls.SLTID, Groups: 1, Version: 1, Body: body}
	datagram, err := table.Append(nil)
	if err != nil {
		fmt.Println(err)
		return
	}

	var t lls.Tracker
	for range 3 { // the sender repeats it
		updates, err := t.Push(datagram)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, u := range updates {
			got, err := lls.ParseSLT(u.Table.Body)
			if err != nil {
				fmt.Println(err)
				return
			}
			for _, s := range got.Services {
				fmt.Printf("%d.%d %s: %s from %s\n", s.Major, s.Minor, s.ShortName, s.Signalling.Destination, s.Signalling.Source)
			}
		}
	}
	// Output: 10.1 One: 239.255.20.9:52009 from 192.0.2.1
}
