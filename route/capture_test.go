package route

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/flutetest"
)

// listed is a line of the list of a capture's objects.
type listed struct {
	key      objectKey
	length   int64
	complete bool
	sha256   string
}

func list(t testing.TB, name string, dst netip.AddrPort) (out []listed) {
	for _, x := range flutetest.List(t, name) {
		if x.Dst == dst {
			out = append(out, listed{objectKey{uint32(x.TSI), uint32(x.TOI)}, x.Length, x.Complete, x.SHA256})
		}
	}
	require.NotEmpty(t, out)
	return out
}

func testCapture(t *testing.T, name, to string) {
	const dir = "testdata"
	dst := netip.MustParseAddrPort(to)
	r := NewReceiver(ReceiverConfig{Session: Session{Group: dst.Addr(), Port: dst.Port()}})
	got := map[objectKey]string{}
	names := map[objectKey]string{}
	var now time.Time
	poll := func() {
		for {
			ev, ok := r.Poll()
			if !ok {
				return
			}
			switch ev.Kind {
			case Complete:
				o := ev.Object
				b := make([]byte, o.Length())
				_, err := o.ReadAt(b, 0)
				require.NoError(t, err)
				sum := sha256.Sum256(b)
				got[o.key], names[o.key] = hex.EncodeToString(sum[:]), o.Name()
				r.Release(now, o)
			case Signalling:
				if ev.Signal.TOI == 0 {
					sum := sha256.Sum256(ev.Signal.Body)
					got[objectKey{ev.Signal.TSI, 0}] = hex.EncodeToString(sum[:])
				}
			}
		}
	}
	for _, p := range flutetest.Capture(t, filepath.Join(dir, name+".pcap")) {
		if p.Dst != dst {
			continue
		}
		now = p.At
		r.HandleTimeout(now)
		require.NoError(t, r.Push(now, p.Src, p.Payload))
		poll()
	}
	for key, rec := range r.records.m {
		if rec.kind == kindPackage && rec.body != nil {
			sum := sha256.Sum256(rec.body)
			got[key] = hex.EncodeToString(sum[:])
		}
	}
	for _, want := range list(t, filepath.Join(dir, name+".tsv"), dst) {
		if want.complete {
			require.Equal(t, want.sha256, got[want.key], "%v %q", want.key, names[want.key])
		} else {
			require.NotContains(t, got, want.key)
		}
	}
}

func TestCaptures(t *testing.T) {
	for _, c := range []struct{ name, dst string }{
		{"gpac-route-dash", "232.1.1.1:6000"},
		{"gpac-route-ll", "232.1.1.2:6000"},
		{"atsc3-ateme-lls-esg", "239.255.20.9:52009"},
	} {
		t.Run(c.name, func(t *testing.T) { testCapture(t, c.name, c.dst) })
	}
}
