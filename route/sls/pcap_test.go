package sls_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/flutetest"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/route/sls"
)

// A captured package, with the version that its TOI has.
type captured struct {
	toi  sls.TOI
	body []byte
}

// packages returns the objects of TSI 0 of a capture, which must be complete,
// and compares them with the list beside it.
func packages(tb testing.TB, name string) (list []captured) {
	tb.Helper()
	objects := map[uint64][]byte{}
	for _, p := range flutetest.Capture(tb, filepath.Join("..", "testdata", name)) {
		var h lct.Header
		hdr, err := h.Unmarshal(p.Payload)
		if err != nil || h.PSI != 2 || h.TSI != 0 {
			continue // LLS, FLUTE, media
		}
		offset := int(binary.BigEndian.Uint32(p.Payload[hdr:]))
		if offset == len(objects[h.TOI]) {
			objects[h.TOI] = append(objects[h.TOI], p.Payload[hdr+4:]...)
		}
	}
	sums := digests(tb, strings.Replace(strings.TrimSuffix(name, ".pcap"), "-sls", "", 1)+".tsv")
	for toi, object := range objects {
		if toi == 0 {
			continue // an Extended FDT
		}
		sum := sha256.Sum256(object)
		require.Equal(tb, sums[toi], hex.EncodeToString(sum[:]))
		list = append(list, captured{sls.TOI(toi), object})
	}
	require.NotEmpty(tb, list)
	return list
}

func digests(tb testing.TB, name string) map[uint64]string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name))
	require.NoError(tb, err)
	sums := map[uint64]string{}
	for line := range bytes.Lines(b) {
		f := strings.Split(string(line), "\t")
		if len(f) < 13 || f[2] != "0" || f[5] != "route" {
			continue
		}
		toi, err := strconv.ParseUint(f[3], 10, 64)
		require.NoError(tb, err)
		sums[toi] = f[12]
	}
	return sums
}

var captures = []string{
	"atsc3-ateme-lls-esg.pcap",
	"gpac-atsc.pcap",
	"gpac-mabr-route.pcap",
	"gpac-route-dash.pcap",
	"gpac-route-ll.pcap",
}
