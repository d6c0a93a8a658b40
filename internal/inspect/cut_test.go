package inspect_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute"
	"github.com/treedn/treedn/internal/inspect"
)

// Objects that the ends of a capture cut are not lost; what is missing inside of it is, also shortly before its end.
func TestCut(t *testing.T) {
	for _, file := range []string{"../../route/testdata/gpac-route-dash.pcap", "../../flute/testdata/gpac-mabr-flute.pcap"} {
		packets := packetsOf(t, file)
		cuts := map[inspect.Cut]int{}
		part := packets[len(packets)/3+10 : len(packets)*2/3+10]
		events := inspectAll(part, inspect.Config{})
		for _, o := range objects(events) {
			if !o.Complete {
				cuts[o.Cut]++
			}
		}
		require.NotContains(t, rules(events), "loss", file)
		require.NotContains(t, rules(events), "nameless", file)
		require.Positive(t, cuts[inspect.CutBegin], file)
		require.Positive(t, cuts[inspect.CutEnd], file)
		require.Zero(t, cuts[""], file)

		gap := append(append([]packet{}, part[:len(part)-20]...), part[len(part)-18:]...)
		require.Contains(t, rules(inspectAll(gap, inspect.Config{})), "loss", file)
	}
}

// A reception within one object says so.
func TestUnfinished(t *testing.T) {
	packets := packetsOf(t, "../../flute/testdata/libflute-plain.pcap")
	events := inspectAll(packets[10:60], inspect.Config{})
	require.Equal(t, []string{"unfinished"}, rules(events))
}

// The flows of a session may be on other groups and ports than its signalling, which describes them all.
func TestSplit(t *testing.T) {
	events := inspectAll(packetsOf(t, "../../route/testdata/gpac-route-split.pcap"), inspect.Config{})
	require.Equal(t, []string{"sls-envelope", "sls-toi"}, rules(events)) // as GPAC has it
	for _, o := range objects(events) {
		require.True(t, o.Location != nil || o.TSI == 0)
	}
}

func TestSameTOI(t *testing.T) {
	events := inspectAll(packetsOf(t, "../../route/testdata/gpac-route-nozip.pcap"), inspect.Config{})
	require.Equal(t, []string{"sls-envelope", "sls-version"}, rules(events))
}

// A session that is sent again under another address still has the old S-TSID. A backup on the same group has its own.
func TestSentAgain(t *testing.T) {
	packets := packetsOf(t, "../../route/testdata/gpac-route-dash.pcap")
	want := ids(objects(inspectAll(packets, inspect.Config{})))
	names := func(events []inspect.Event) (list []string) {
		for _, o := range objects(events) {
			if o.Location != nil {
				list = append(list, *o.Location)
			}
		}
		return list
	}
	location := names(inspectAll(packets, inspect.Config{}))
	moved := slices.Clone(packets)
	for i := range moved {
		moved[i].to = netip.MustParseAddrPort("[ff3e::8000:1]:7000")
	}
	events := inspectAll(moved, inspect.Config{})
	require.Equal(t, location, names(events))
	require.Contains(t, rules(events), "stsid-packets")

	var both []packet
	backup := packetsOf(t, "../../route/testdata/gpac-route-split.pcap")
	for i := range backup {
		backup[i].from, backup[i].to = netip.MustParseAddrPort("10.77.0.9:1"), packets[0].to
	}
	both = append(append(both, packets...), backup...)
	events = inspectAll(both, inspect.Config{})
	require.Subset(t, ids(objects(events)), want)
	require.Subset(t, names(events), location)
	for _, o := range objects(events) {
		if o.Location != nil {
			require.Equal(t, strings.HasPrefix(*o.Location, "clip_"), o.Source == packets[0].from.Addr(), *o.Location)
		}
	}
}

// What was not listened to is not missed; what brings nothing is.
func TestListening(t *testing.T) {
	packets := packetsOf(t, "../../route/testdata/gpac-atsc.pcap")
	lls := slices.DeleteFunc(slices.Clone(packets), func(p packet) bool { return p.to.Port() != 4937 })
	run := func(packets []packet, to ...string) []string {
		var events []inspect.Event
		in := inspect.New(inspect.Config{Emit: func(e inspect.Event) { events = append(events, e) }})
		for _, a := range to {
			in.Listening(netip.MustParseAddrPort(a))
		}
		for _, p := range packets {
			in.Push(p.at, p.from, p.to, p.b)
		}
		in.Finish()
		return rules(events)
	}
	const service = "225.1.1.0:6000"
	require.Contains(t, run(lls), "slt-destination")
	got := run(lls, "224.0.23.60:4937")
	require.NotContains(t, got, "slt-destination")
	require.Contains(t, got, "unheard")
	require.Contains(t, run(lls, "224.0.23.60:4937", service), "slt-destination")
	require.Equal(t, []string{"packets-none"}, run(nil, service))
	require.Equal(t, []string{"lls-none"}, run(nil, "224.0.23.60:4937"))
}

// Senders of FLUTE that are wrong, or were started again.
func TestOddFLUTE(t *testing.T) {
	packets := packetsOf(t, "../../flute/testdata/gpac-mabr-flute.pcap")
	want := ids(objects(inspectAll(packets, inspect.Config{})))
	spoil := func(f func([]byte)) []packet {
		list := slices.Clone(packets)
		for i := range list {
			list[i].b = slices.Clone(list[i].b)
			f(list[i].b)
		}
		return list
	}
	events := inspectAll(spoil(func(b []byte) { b[3] = 77 }), inspect.Config{}) // the codepoint
	require.Contains(t, rules(events), "fec-codepoint")
	require.Equal(t, want, ids(objects(events)))

	md5 := regexp.MustCompile(`Content-MD5="....`)
	events = inspectAll(spoil(func(b []byte) { copy(b, md5.ReplaceAll(b, []byte(`Content-MD5="AAAA`))) }), inspect.Config{})
	require.Contains(t, rules(events), "digest")
	require.NotContains(t, rules(inspectAll(packets, inspect.Config{})), "digest")

	// The same files in smaller symbols.
	both := append(sendFiles(t, 1000, noon), sendFiles(t, 700, noon.Add(10*time.Second))...)
	events = inspectAll(both, inspect.Config{})
	require.Contains(t, rules(events), "fdt-reused")
	for _, o := range objects(events) {
		require.True(t, o.Complete, "%+v", o)
	}
}

// sendFiles sends two files by a sender of its own.
func sendFiles(t *testing.T, payload int, now time.Time) (packets []packet) {
	t.Helper()
	s, err := flute.NewSender(flute.SenderConfig{TSI: 7, MaxPayload: payload})
	require.NoError(t, err)
	for i := range 2 {
		body := random(uint64(i), 20_000)
		_, err := s.Add(now, flute.File{Location: fmt.Sprintf("file%d", i), Body: bytes.NewReader(body), Length: int64(len(body))})
		require.NoError(t, err)
	}
	for end := now.Add(5 * time.Second); now.Before(end); {
		s.RunWork(now)
		b, ok := s.Poll(now, nil)
		if !ok {
			now = s.NextTimeout(now)
			continue
		}
		packets = append(packets, packet{now, source, group, bytes.Clone(b)})
	}
	return packets
}
