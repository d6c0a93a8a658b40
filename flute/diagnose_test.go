package flute_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute"
	"github.com/treedn/treedn/flute/alc"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
)

func TestDiagnose(t *testing.T) {
	for want, happen := range map[string]func(h *hand){
		"No packet came":                func(h *hand) {},
		"are not LCT":                   func(h *hand) { require.Error(t, h.r.Push(h.now, source, []byte("x"))) },
		"no FDT Instance has come in 1": func(h *hand) { require.NoError(t, h.push(data(1, 0, 0, nil))) },
		"this may be ROUTE":             func(h *hand) { require.Error(t, h.push(data(0, 0, 0, nil))) },
		"the last one FEC Encoding ID 99": func(h *hand) {
			require.Error(t, h.r.Push(h.now, source, []byte{0x10, 0x10, 3, 99, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0}))
		},
		"no FDT Instance could be used": func(h *hand) { require.NoError(t, h.push(instance(t, 0, []byte("<x/>")))) },
		"had expired when it came": func(h *hand) {
			h.wait(time.Hour)
			require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 10)))))
		},
		"all FDT Instances have expired": func(h *hand) {
			require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 10)))))
			h.wait(time.Hour)
		},
		"contradicts an earlier one": func(h *hand) {
			require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 10)))))
			require.NoError(t, h.push(instance(t, 1, describe(t, described(1, "b", 10)))))
		},
		"never described": func(h *hand) {
			require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 10)))))
			require.NoError(t, h.push(data(2, 0, 0, []byte("x"))))
			h.wait(5 * time.Second)
		},
		"another digest": func(h *hand) {
			f := described(1, "a", 10)
			f.ContentMD5 = make([]byte, 16)
			require.NoError(t, h.push(instance(t, 0, describe(t, f))))
			require.NoError(t, h.push(data(1, 0, 0, make([]byte, 10))))
			h.events()
		},
		"has closed": func(h *hand) {
			require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 10)))))
			require.NoError(t, h.push(alc.Packet{Header: lct.Header{TSI: 1, CloseSession: true}}))
			h.wait(3 * time.Second)
		},
		"beyond the limit": func(h *hand) {
			f := described(1, "a", 1<<30)
			f.FEC = fdt.FEC{HasEncodingID: true, EncodingID: uint8(fec.CompactNoCode), EncodingSymbolLength: 60000, MaxSourceBlockLength: 60000}
			require.NoError(t, h.push(instance(t, 0, describe(t, f))))
			require.Error(t, h.push(data(1, 0, 0, make([]byte, 10))))
		},
	} {
		h := newHand(t, flute.ReceiverConfig{})
		happen(h)
		require.Contains(t, strings.Join(h.r.Diagnose(h.now), "\n"), want)
	}
	h := newHand(t, flute.ReceiverConfig{})
	require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 10)))))
	require.NoError(t, h.push(data(1, 0, 0, make([]byte, 10))))
	require.Empty(t, h.r.Diagnose(h.now), "all is well")
}
