package lct_test

import (
	"path/filepath"
	"testing"

	"github.com/treedn/treedn/flute/flutetest"
)

// capture returns the LCT packets of a capture.
func capture(tb testing.TB, name string) (packets [][]byte) {
	tb.Helper()
	for _, p := range flutetest.Capture(tb, filepath.Join("..", "testdata", name)) {
		if p.IsLCT() {
			packets = append(packets, p.Payload)
		}
	}
	return packets
}

var captures = []string{
	"atsc3-ateme-lls-esg.pcap",
	"gpac-mabr-flute.pcap",
	"gpac-route-ll-heads.pcap",
	"libflute-etag.pcap",
	"libflute-gzip.pcap",
	"libflute-plain.pcap",
}
