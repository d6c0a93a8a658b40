package flute_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute"
	"github.com/treedn/treedn/flute/flutetest"
)

// object is what identifies one of a capture.
type object struct {
	tsi, toi uint64
	instance int64
}

// received is what a receiver made of the packets for one destination.
type received struct {
	sums      map[object]string
	locations map[object]string
	digests   map[object]flute.Digest
	faults    []error
	lost      int
	stats     flute.ReceiverStats
}

// collector drains a receiver into received.
type collector struct {
	t testing.TB
	r *flute.Receiver
	received
}

func newCollector(t testing.TB, cfg flute.ReceiverConfig) *collector {
	return &collector{t: t, r: flute.NewReceiver(cfg), received: received{
		sums: map[object]string{}, locations: map[object]string{}, digests: map[object]flute.Digest{},
	}}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func (c *collector) poll(now time.Time) {
	c.r.RunWork(now)
	for {
		ev, ok := c.r.Poll()
		if !ok {
			return
		}
		switch ev.Kind {
		case flute.Complete:
			o := ev.Object
			b, err := io.ReadAll(o.Reader())
			require.NoError(c.t, err)
			require.Len(c.t, b, int(o.Length()))
			key := object{ev.Session.TSI(), o.TOI(), -1}
			require.NotContains(c.t, c.sums, key, "delivered twice")
			c.sums[key], c.locations[key], c.digests[key] = sum(b), o.Location(), o.Digest()
			c.r.Release(now, o)
		case flute.FDT:
			if ev.Raw != nil {
				c.sums[object{ev.Session.TSI(), 0, int64(ev.Instance)}] = sum(ev.Raw)
			}
		case flute.Fault:
			c.faults = append(c.faults, ev.Err)
		case flute.Lost:
			c.lost++
		}
	}
}

// receive plays packets.
func receive(t testing.TB, packets []flutetest.Packet) received {
	c := newCollector(t, flute.ReceiverConfig{})
	var now time.Time
	for _, p := range packets {
		if p.At.After(now) {
			now = p.At
		}
		c.r.HandleTimeout(now)
		require.NoError(t, c.r.Push(now, p.Src, p.Payload))
		c.poll(now)
	}
	c.stats = c.r.Stats()
	return c.received
}

var captures = []string{
	"gpac-mabr-flute", "gpac-mabr-route-flute", "libflute-etag", "libflute-gzip", "libflute-new", "libflute-plain",
}

func testCaptures(t *testing.T, disturb func([]flutetest.Packet) []flutetest.Packet) {
	for _, name := range captures {
		t.Run(name, func(t *testing.T) {
			packets := map[netip.AddrPort][]flutetest.Packet{}
			for _, p := range flutetest.Capture(t, filepath.Join("testdata", name+".pcap")) {
				packets[p.Dst] = append(packets[p.Dst], p)
			}
			got := map[netip.AddrPort]received{}
			for dst, list := range packets {
				got[dst] = receive(t, disturb(list))
				require.Empty(t, got[dst].faults)
				require.Zero(t, got[dst].lost)
			}
			listed := 0
			for _, want := range flutetest.List(t, filepath.Join("testdata", name+".tsv")) {
				key := object{want.TSI, want.TOI, want.Instance}
				require.True(t, want.Complete)
				require.Equal(t, want.SHA256, got[want.Dst].sums[key], "%+v", want)
				require.Equal(t, want.Location, got[want.Dst].locations[key])
				listed++
			}
			for _, r := range got {
				listed -= len(r.sums)
			}
			require.Zero(t, listed, "objects that the list does not have")
		})
	}
}

func TestCaptures(t *testing.T) {
	testCaptures(t, func(packets []flutetest.Packet) []flutetest.Packet { return packets })
}

// Each packet comes up to 200 packets late, and 3% of them twice. The packets are a millisecond apart: it is networks
// that overtake, not the seconds between two segments.
func TestCapturesReordered(t *testing.T) {
	testCaptures(t, func(packets []flutetest.Packet) []flutetest.Packet {
		rnd := rand.New(rand.NewPCG(1, 2))
		type placed struct {
			at int
			p  flutetest.Packet
		}
		var out []placed
		for i, p := range packets {
			out = append(out, placed{i + rnd.IntN(200), p})
			if rnd.IntN(100) < 3 {
				out = append(out, placed{i + rnd.IntN(200), p})
			}
		}
		slices.SortStableFunc(out, func(a, b placed) int { return a.at - b.at })
		start := packets[0].At
		packets = nil
		for i, x := range out {
			x.p.At = start.Add(time.Duration(i) * time.Millisecond)
			packets = append(packets, x.p)
		}
		return packets
	})
}

func TestCaptureDigests(t *testing.T) {
	for name, want := range map[string]flute.Digest{
		"libflute-gzip": flute.DigestDecoded, "libflute-etag": flute.DigestEncoded,
	} {
		r := receive(t, flutetest.Capture(t, filepath.Join("testdata", name+".pcap")))
		require.Equal(t, want, r.digests[object{16, 1, -1}], name)
	}
}
