package gmp_test

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/gmp"
)

func unhex(tb testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(tb, err)
	return b
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func sources(list ...string) gmp.Sources { return gmp.SourcesOf(addrs(list...)...) }

func record(t gmp.RecordType, group string, list ...string) gmp.Record {
	return gmp.Record{Type: t, Group: netip.MustParseAddr(group), Sources: sources(list...)}
}

func records(m *gmp.Message) (list []gmp.Record) {
	for r := range m.Records {
		list = append(list, r)
	}
	return list
}

// requireRecords compares what the records say, not where it is kept.
func requireRecords(t *testing.T, want, have []gmp.Record) {
	t.Helper()
	require.Len(t, have, len(want))
	for i := range want {
		require.Equal(t, want[i].Type, have[i].Type)
		require.Equal(t, want[i].Group, have[i].Group)
		require.Equal(t, slices.Collect(want[i].Sources.All()), slices.Collect(have[i].Sources.All()))
	}
}

// The packets were made by an independent program and checked by tshark.
const (
	igmpQuery  = "46c00024000040000102041300000000e0000001940400001101ec8100000000027d0000"
	igmpReport = "46c0003c00004000010203e600000000e0000016940400002200e6cb00000002" +
		"01000002e80101010a0c00010a0c0002" + "06000001e80101020a0c0001"
	mldQuery = "6000000000240001fe800000000000000000000000000002ff0200000000000000000000000000013a0005020000010082007da4" +
		"0001000000000000000000000000000000000000027d0000"
	mldReport = "6000000000340001fe800000000000000000000000000001ff0200000000000000000000000000163a000502000001008f00c0ec" +
		"0000000105000001ff3e000000000000000000008000000d20010db800000000000000000000000a"
)

func TestQueries(t *testing.T) {
	var m gmp.Message
	raw := unhex(t, igmpQuery)
	require.NoError(t, m.Parse(raw))
	require.NoError(t, m.Validate())
	require.True(t, m.General())
	require.Equal(t, 3, m.Version)
	require.Equal(t, 100*time.Millisecond, m.Query.MaxResponse)
	require.Equal(t, uint8(2), m.Query.Robustness)
	require.Equal(t, 125*time.Second, m.Query.Interval)
	require.Equal(t, raw, gmp.AppendQuery(nil, netip.Addr{}, 3, &m.Query))

	raw = unhex(t, mldQuery)
	require.NoError(t, m.Parse(raw))
	require.NoError(t, m.Validate())
	require.True(t, m.General())
	require.Equal(t, 2, m.Version)
	require.Equal(t, time.Millisecond, m.Query.MaxResponse)
	require.Equal(t, 125*time.Second, m.Query.Interval)
	require.Equal(t, raw, gmp.AppendQuery(nil, netip.MustParseAddr("fe80::2"), 2, &m.Query))
}

func TestReports(t *testing.T) {
	var m gmp.Message
	raw := unhex(t, igmpReport)
	require.NoError(t, m.Parse(raw))
	require.NoError(t, m.Validate())
	want := []gmp.Record{
		record(gmp.ModeIsInclude, "232.1.1.1", "10.12.0.1", "10.12.0.2"),
		record(gmp.BlockOldSources, "232.1.1.2", "10.12.0.1"),
	}
	requireRecords(t, want, records(&m))
	require.Equal(t, raw, gmp.AppendReport(nil, netip.Addr{}, false, want...))

	raw = unhex(t, mldReport)
	require.NoError(t, m.Parse(raw))
	require.NoError(t, m.Validate())
	want = []gmp.Record{record(gmp.AllowNewSources, "ff3e::8000:d", "2001:db8::a")}
	requireRecords(t, want, records(&m))
	require.Equal(t, raw, gmp.AppendReport(nil, netip.MustParseAddr("fe80::1"), true, want...))
}

func TestOlderVersions(t *testing.T) {
	group4, group6 := netip.MustParseAddr("239.1.1.1"), netip.MustParseAddr("ff15::1")
	for _, c := range []struct {
		name    string
		version int
		typ     gmp.Type
		group   netip.Addr
		to      string
		record  gmp.RecordType
	}{
		{"IGMPv1 report", 1, gmp.TypeReport, group4, "239.1.1.1", gmp.ModeIsExclude},
		{"IGMPv2 report", 2, gmp.TypeReport, group4, "239.1.1.1", gmp.ModeIsExclude},
		{"IGMPv2 leave", 2, gmp.TypeLeave, group4, "224.0.0.2", gmp.ChangeToInclude},
		{"MLDv1 report", 1, gmp.TypeReport, group6, "ff15::1", gmp.ModeIsExclude},
		{"MLDv1 done", 1, gmp.TypeLeave, group6, "ff02::2", gmp.ChangeToInclude},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m gmp.Message
			require.NoError(t, m.Parse(gmp.AppendOlder(nil, netip.Addr{}, c.version, c.typ, c.group)))
			require.NoError(t, m.Validate())
			require.Equal(t, c.typ, m.Type)
			require.Equal(t, c.version, m.Version)
			require.Equal(t, netip.MustParseAddr(c.to), m.Header.Destination)
			require.Equal(t, []gmp.Record{{Type: c.record, Group: c.group}}, records(&m))
		})
	}
	for _, c := range []struct {
		version int
		group   netip.Addr
		max     time.Duration
	}{
		{1, netip.IPv4Unspecified(), 10 * time.Second},
		{2, netip.IPv4Unspecified(), 5 * time.Second},
		{2, group4, time.Second},
		{1, netip.IPv6Unspecified(), 5 * time.Second},
		{1, group6, time.Second},
	} {
		var m gmp.Message
		require.NoError(t, m.Parse(gmp.AppendQuery(nil, netip.Addr{}, c.version, &gmp.Query{Group: c.group, MaxResponse: c.max})))
		require.NoError(t, m.Validate())
		require.Equal(t, gmp.TypeQuery, m.Type)
		require.Equal(t, c.version, m.Version)
		require.Equal(t, c.group, m.Query.Group)
		require.Equal(t, c.max, m.Query.MaxResponse)
	}
}

// Every packet cut short, and every packet with one bit wrong, is refused,
// except for bits that no checksum covers.
func TestBrokenPackets(t *testing.T) {
	for _, s := range []string{igmpQuery, igmpReport, mldQuery, mldReport} {
		raw := unhex(t, s)
		var m gmp.Message
		for n := range raw {
			err := m.Parse(raw[:n])
			require.ErrorIs(t, err, gmp.ErrMalformed, "%d of %d octets", n, len(raw))
		}
		require.NoError(t, m.Parse(append(slices.Clone(raw), 1, 2, 3)), "octets behind the packet")
		covered := 0 // by the checksum of IPv4
		if raw[0]>>4 == 6 {
			covered = 48
		}
		for i := covered; i < len(raw); i++ {
			for bit := range 8 {
				raw[i] ^= 1 << bit
				require.ErrorIs(t, m.Parse(raw), gmp.ErrMalformed, "bit %d of octet %d", bit, i)
				raw[i] ^= 1 << bit
			}
		}
	}
}

// Reports that promise more than they hold.
func TestRecordsBeyondTheEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		at   int // octet in the IGMP message
		put  []byte
	}{
		{"records", 6, []byte{0xff, 0xff}},
		{"sources", 10, []byte{0xff, 0xff}},
		{"auxiliary data", 9, []byte{0xff}},
	} {
		raw := unhex(t, igmpReport)
		igmp := raw[24:]
		copy(igmp[c.at:], c.put)
		igmp[2], igmp[3] = 0, 0
		s := checksum(igmp)
		igmp[2], igmp[3] = byte(s>>8), byte(s)
		var m gmp.Message
		require.ErrorIs(t, m.Parse(raw), gmp.ErrShort, c.name)
		require.Zero(t, m.Len())
		require.Empty(t, records(&m))
	}
}

func checksum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// Auxiliary data are skipped, and records of unknown type are there to see.
func TestAuxiliaryData(t *testing.T) {
	raw := gmp.AppendReport(nil, netip.Addr{}, false,
		record(99, "232.1.1.1", "10.0.0.1", "10.0.0.2"), record(gmp.ModeIsInclude, "232.1.1.2", "10.0.0.3"))
	igmp := raw[24:]
	igmp[9] = 1 // of the two sources, one is auxiliary data
	igmp[11] = 1
	igmp[2], igmp[3] = 0, 0
	s := checksum(igmp)
	igmp[2], igmp[3] = byte(s>>8), byte(s)
	var m gmp.Message
	require.NoError(t, m.Parse(raw))
	requireRecords(t, []gmp.Record{
		record(99, "232.1.1.1", "10.0.0.1"), record(gmp.ModeIsInclude, "232.1.1.2", "10.0.0.3"),
	}, records(&m))
}

func TestValidate(t *testing.T) {
	raw := unhex(t, igmpReport)
	for _, c := range []struct {
		name   string
		change func(p []byte)
	}{
		{"TTL", func(p []byte) { p[8] = 2 }},
		{"router alert", func(p []byte) { copy(p[20:], []byte{0, 0, 0, 0}) }},
		{"destination", func(p []byte) { copy(p[16:], []byte{232, 1, 1, 1}) }},
	} {
		p := slices.Clone(raw)
		c.change(p)
		p[10], p[11] = 0, 0
		s := checksum(p[:24])
		p[10], p[11] = byte(s>>8), byte(s)
		var m gmp.Message
		require.NoError(t, m.Parse(p), c.name)
		require.ErrorIs(t, m.Validate(), gmp.ErrHeader, c.name)
		require.NotErrorIs(t, m.Validate(), gmp.ErrMalformed)
	}
}

// What four programs put into AMT messages.
func TestCaptured(t *testing.T) {
	list := captured(t)
	require.Len(t, list, 18)
	for _, p := range list {
		var m gmp.Message
		require.NoError(t, m.Parse(p))
		if m.Type == gmp.TypeQuery {
			require.True(t, m.General())
			q := gmp.AppendQuery(nil, m.Header.Source, m.Version, &m.Query)
			if m.Header.RouterAlert {
				// Linux pads the hop-by-hop header in another way.
				require.Equal(t, len(p), len(q))
				require.Equal(t, p[len(p)-24:], q[len(q)-24:])
			}
			continue
		}
		again := gmp.AppendReport(nil, m.Header.Source, m.IPv6(), records(&m)...)
		require.Equal(t, p[len(p)-16:], again[len(again)-16:])
	}
}

// captured returns the packets inside the queries and updates of amt/testdata.
func captured(tb testing.TB) (list [][]byte) {
	f, err := os.Open("../testdata/vectors.jsonl")
	require.NoError(tb, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var v struct{ Type, Hex string }
		require.NoError(tb, json.Unmarshal(s.Bytes(), &v))
		if v.Type == "query" || v.Type == "update" {
			list = append(list, unhex(tb, v.Hex)[12:])
		}
	}
	return list
}

func TestParseAllocates(t *testing.T) {
	list := captured(t)
	q := &gmp.Query{Group: netip.IPv4Unspecified(), MaxResponse: 100 * time.Millisecond, Robustness: 2}
	report := record(gmp.ModeIsInclude, "232.1.1.1", "10.12.0.1")
	buf := make([]byte, 0, 1500)
	var m gmp.Message
	var n int
	require.Zero(t, testing.AllocsPerRun(10, func() {
		for _, p := range list {
			_ = m.Parse(p)
			for r := range m.Records {
				for i := range r.Sources.Len() {
					n += r.Sources.At(i).BitLen()
				}
			}
			_ = m.Parse(p[:30])
		}
		buf = gmp.AppendQuery(buf[:0], netip.Addr{}, 3, q)
		buf = gmp.AppendReport(buf[:0], netip.Addr{}, false, report)
	}))
}

func FuzzParse(f *testing.F) {
	for _, p := range captured(f) {
		f.Add(p)
	}
	for _, s := range []string{igmpQuery, igmpReport, mldQuery, mldReport} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var m gmp.Message
		if err := m.Parse(p); err != nil {
			require.ErrorIs(t, err, gmp.ErrMalformed)
			require.Empty(t, records(&m))
			return
		}
		var again gmp.Message
		list := records(&m)
		require.Len(t, list, m.Len())
		total := 0
		for _, r := range list {
			total += r.Sources.Len() + 1
		}
		require.LessOrEqual(t, 4*total, len(p))
		v6 := m.IPv6()
		switch {
		case m.Type == gmp.TypeQuery:
			require.NoError(t, again.Parse(gmp.AppendQuery(nil, m.Header.Source, m.Version, &m.Query)))
			require.Equal(t, m.Query.Group, again.Query.Group)
			require.Equal(t, m.Query.MaxResponse, again.Query.MaxResponse)
			require.Equal(t, m.Query.Interval, again.Query.Interval)
			require.Equal(t, m.Query.Robustness, again.Query.Robustness)
			require.Equal(t, m.Query.Suppress, again.Query.Suppress)
			require.Equal(t, m.Query.Sources.Len(), again.Query.Sources.Len())
		case m.Version == 3 || v6 && m.Version == 2:
			require.NoError(t, again.Parse(gmp.AppendReport(nil, m.Header.Source, v6, list...)))
		default:
			require.NoError(t, again.Parse(gmp.AppendOlder(nil, m.Header.Source, m.Version, m.Type, m.Query.Group)))
		}
		require.Equal(t, m.Type, again.Type)
		require.Equal(t, m.Version, again.Version)
		requireRecords(t, list, records(&again))
	})
}

func BenchmarkParse(b *testing.B) {
	p := unhex(b, igmpReport)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	var m gmp.Message
	for b.Loop() {
		if err := m.Parse(p); err != nil {
			b.Fatal(err)
		}
	}
}
