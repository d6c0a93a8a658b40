package inspect_test

import (
	"testing"

	"github.com/stretchr/testify/require"

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
