package fdt_test

import (
	"encoding/binary"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/flutetest"
	"github.com/treedn/treedn/flute/lct"
)

// instances returns the objects with TOI 0 of a capture: FDT Instances. The
// packets must come in order and each object complete.
func instances(tb testing.TB, name string) (list [][]byte) {
	tb.Helper()
	type key struct {
		tsi uint64
		id  uint32
	}
	objects := map[key][]byte{}
	var order []key
	for _, p := range flutetest.Capture(tb, filepath.Join("..", "testdata", name)) {
		if !p.IsLCT() {
			continue
		}
		var h lct.Header
		n, err := h.Unmarshal(p.Payload)
		require.NoError(tb, err)
		if h.TOI != 0 || !h.HasTOI {
			continue
		}
		ext, isFLUTE := h.Extensions.FDT()
		if !isFLUTE && h.PSI == 0 {
			continue
		}
		k := key{h.TSI, ext.InstanceID}
		first := binary.BigEndian.Uint32(p.Payload[n:]) == 0 // start_offset, or SBN and ESI
		if _, seen := objects[k]; !seen {
			order = append(order, k)
		} else if first {
			objects[k] = nil // sent again
		}
		objects[k] = append(objects[k], p.Payload[n+4:]...)
	}
	for _, k := range order {
		list = append(list, objects[k])
	}
	return list
}
