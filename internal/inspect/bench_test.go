package inspect_test

import (
	"testing"

	"github.com/treedn/treedn/internal/inspect"
)

// BenchmarkInspector takes a whole capture; octets are those of UDP payloads.
func BenchmarkInspector(b *testing.B) {
	for _, name := range []string{"route/testdata/gpac-route-dash", "flute/testdata/gpac-mabr-flute"} {
		b.Run(name, func(b *testing.B) {
			packets := packetsOf(b, "../../"+name+".pcap")
			octets := 0
			for _, p := range packets {
				octets += len(p.b)
			}
			b.SetBytes(int64(octets))
			b.ReportAllocs()
			for b.Loop() {
				in := inspect.New(inspect.Config{Emit: func(inspect.Event) {}})
				for _, p := range packets {
					in.Push(p.at, p.from, p.to, p.b)
				}
				in.Finish()
			}
		})
	}
}
