package sls_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/xmllimit"
	"github.com/treedn/treedn/route/sls"
)

// fragment returns the first fragment of a kind in a capture.
func fragment(tb testing.TB, capture string, kind sls.Kind) []byte {
	tb.Helper()
	for _, c := range packages(tb, capture) {
		p, err := sls.ParsePackage(c.body)
		require.NoError(tb, err)
		for i := range p.Parts {
			if p.Parts[i].Kind() == kind {
				return p.Parts[i].Body
			}
		}
	}
	tb.Fatalf("%s has no fragment of kind %d", capture, kind)
	return nil
}

func TestParseUSBDCaptures(t *testing.T) {
	u, err := sls.ParseUSBD(fragment(t, "gpac-atsc.pcap", sls.KindUSBD))
	require.NoError(t, err)
	require.Equal(t, &sls.USBD{
		ServiceID: "1",
		Names:     []sls.Name{{Lang: "eng", Text: "GPAC TV"}},
		Delivery:  []sls.DeliveryMethod{{Broadcast: []string{"clip_dash_track1_", "clip_dash_track2_"}}},
	}, u)
	u, err = sls.ParseUSBD(fragment(t, "atsc3-ateme-lls-esg.pcap", sls.KindUSBD))
	require.NoError(t, err)
	require.Equal(t, &sls.USBD{ServiceID: "5009"}, u)
}

func usbd() *sls.USBD {
	return &sls.USBD{
		ServiceID: "7", Inactive: true,
		Names:     []sls.Name{{Lang: "de", Text: "Erstes & Zweites"}, {Lang: "en", Text: ""}},
		Languages: []string{"de", "en"},
		Delivery:  []sls.DeliveryMethod{{Broadcast: []string{"a/", "b<"}, Unicast: []string{"http://x/"}}, {}},
	}
}

func held() *sls.HELD {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &sls.HELD{Packages: []sls.EntryPackage{
		{
			AppContextID: "tag:x,2026:a", RequiredCapabilities: "0x80", AppRendering: true, Default: true, AppID: "i", ClearCacheDate: at,
			BroadcastPackage: "p.mul", BroadcastPage: "index.html", BroadbandPage: "https://x/?a&b", ValidFrom: at, ValidUntil: at.Add(time.Hour),
			CoupledServices: []uint16{1, 65535}, TSIs: []uint32{1, 1<<32 - 1},
		},
		{AppContextID: "b"},
	}}
}

func dwd() *sls.DWD {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &sls.DWD{Windows: []sls.DistributionWindow{{
		Start: at, End: at.Add(time.Hour), TSIs: []uint32{1, 2}, ContentLabel: "x",
		AppContexts: []sls.AppContext{{ID: "a", FilterCodes: []uint32{1, 2}}, {ID: "b"}},
	}}}
}

func TestFragmentsRoundTrip(t *testing.T) {
	b, err := usbd().Append(nil)
	require.NoError(t, err)
	u, err := sls.ParseUSBD(b)
	require.NoError(t, err, "%s", b)
	require.Equal(t, usbd(), u)

	apd := &sls.APD{OffsetTime: 5 * time.Second, RandomPeriod: 10 * time.Second}
	b, err = apd.Append(nil)
	require.NoError(t, err)
	gotAPD, err := sls.ParseAPD(b)
	require.NoError(t, err, "%s", b)
	require.Equal(t, apd, gotAPD)

	b, err = held().Append(nil)
	require.NoError(t, err)
	gotHELD, err := sls.ParseHELD(b)
	require.NoError(t, err, "%s", b)
	require.Equal(t, held(), gotHELD)

	b, err = dwd().Append(nil)
	require.NoError(t, err)
	gotDWD, err := sls.ParseDWD(b)
	require.NoError(t, err, "%s", b)
	require.Equal(t, dwd(), gotDWD)
}

func TestFragmentForms(t *testing.T) {
	u, err := sls.ParseUSBD([]byte(`<x:UserServiceDescription xmlns:x="urn:wrong" serviceId="9" serviceStatus="0"/>`))
	require.NoError(t, err)
	require.Equal(t, &sls.USBD{ServiceID: "9", Inactive: true}, u, "without the bundle around it")
	a, err := sls.ParseAPD([]byte(`<AssociatedProcedureDescription/>`))
	require.NoError(t, err)
	require.Equal(t, &sls.APD{}, a)
	a, err = sls.ParseAPD([]byte(`<AssociatedProcedureDescription><PostFileRepair randomTimePeriod="18446744073709551615"/></AssociatedProcedureDescription>`))
	require.NoError(t, err)
	require.Positive(t, a.RandomPeriod, "bounded by what a Duration holds")
}

func TestFragmentsRefuse(t *testing.T) {
	var value *sls.ValueError
	_, err := sls.ParseUSBD([]byte(`<BundleDescriptionROUTE><UserServiceDescription/></BundleDescriptionROUTE>`))
	require.ErrorAs(t, err, &value)
	_, err = sls.ParseAPD([]byte(`<AssociatedProcedureDescription><PostFileRepair/></AssociatedProcedureDescription>`))
	require.ErrorAs(t, err, &value)
	_, err = sls.ParseAPD([]byte(`<AssociatedProcedureDescription><PostFileRepair randomTimePeriod="-1"/></AssociatedProcedureDescription>`))
	require.ErrorAs(t, err, &value)
	for _, parse := range []func([]byte) error{
		func(b []byte) error { _, err := sls.ParseUSBD(b); return err },
		func(b []byte) error { _, err := sls.ParseAPD(b); return err },
		func(b []byte) error { _, err := sls.ParseHELD(b); return err },
		func(b []byte) error { _, err := sls.ParseDWD(b); return err },
	} {
		require.ErrorIs(t, parse([]byte(`<MPD/>`)), sls.ErrRoot)
		require.ErrorIs(t, parse([]byte(`<HELD`)), io.ErrUnexpectedEOF)
		require.ErrorIs(t, parse([]byte(`<!DOCTYPE x><HELD/>`)), xmllimit.ErrDTD)
	}
	for name, a := range map[string]interface{ Append([]byte) ([]byte, error) }{
		"no serviceId":    &sls.USBD{},
		"no language":     &sls.USBD{ServiceID: "1", Names: []sls.Name{{Text: "x"}}},
		"no pattern":      &sls.USBD{ServiceID: "1", Delivery: []sls.DeliveryMethod{{Broadcast: []string{""}}}},
		"no text":         &sls.USBD{ServiceID: "\x00"},
		"parts of second": &sls.APD{RandomPeriod: time.Millisecond},
		"negative":        &sls.APD{RandomPeriod: -time.Second},
		"no application":  &sls.HELD{},
		"no context":      &sls.HELD{Packages: []sls.EntryPackage{{}}},
		"no window":       &sls.DWD{},
		"no TSI":          &sls.DWD{Windows: []sls.DistributionWindow{{Start: time.Now(), End: time.Now()}}},
	} {
		b, err := a.Append([]byte("before"))
		require.ErrorIs(t, err, sls.ErrIncomplete, name)
		require.Equal(t, "before", string(b), name)
	}
}

func TestPackageValidity(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := sls.Package{Version: 1, Parts: []sls.Part{{
		ContentType: sls.MediaTypeUSBD, Location: "usbd.xml", Version: 9, ValidFrom: at, ValidUntil: at.Add(time.Hour),
		NextURL: "http://x/next?a&b", AvailableAt: at, Body: []byte("<x/>"),
	}}}
	b, err := want.AppendGzip(nil)
	require.NoError(t, err)
	got, err := sls.ParsePackage(b)
	require.NoError(t, err)
	require.Equal(t, want.Parts, got.Parts)
	part := got.Parts[0]
	require.False(t, part.Valid(at.Add(-1)))
	require.True(t, part.Valid(at))
	require.False(t, part.Valid(at.Add(time.Hour)))
}

func FuzzParseFragments(f *testing.F) {
	f.Add(fragment(f, "gpac-atsc.pcap", sls.KindUSBD))
	for _, a := range []interface{ Append([]byte) ([]byte, error) }{usbd(), held(), dwd(), &sls.APD{}} {
		b, err := a.Append(nil)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, err := sls.ParseUSBD(b); err == nil {
			again(t, u, sls.ParseUSBD)
		}
		if a, err := sls.ParseAPD(b); err == nil {
			again(t, a, sls.ParseAPD)
		}
		if h, err := sls.ParseHELD(b); err == nil {
			again(t, h, sls.ParseHELD)
		}
		if d, err := sls.ParseDWD(b); err == nil {
			again(t, d, sls.ParseDWD)
		}
	})
}

func again[T interface{ Append([]byte) ([]byte, error) }](t *testing.T, v T, parse func([]byte) (T, error)) {
	b, err := v.Append(nil)
	if errors.Is(err, sls.ErrIncomplete) {
		return // reading is lenient, writing is not
	}
	require.NoError(t, err)
	got, err := parse(b)
	require.NoError(t, err, "%s", b)
	require.Equal(t, v, got)
}

func ExampleParseUSBD() {
	u, err := sls.ParseUSBD([]byte(`<BundleDescriptionROUTE xmlns="tag:atsc.org,2016:XMLSchemas/ATSC3/Delivery/ROUTEUSD/1.0/">
 <UserServiceDescription serviceId="1"><Name xml:lang="en">One</Name></UserServiceDescription></BundleDescriptionROUTE>`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(u.ServiceID, u.Names[0].Text)
	// Output: 1 One
}
