package players

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/telemetry"
)

// Players stay three segments of 2 s behind the end of an HLS playlist, which is up to one behind itself, and the clip's
// MPD asks for 4 s. All in seconds.
const (
	hlsLatency  = 10
	dashLatency = 6
)

// within demands that the viewer is behind live by no more than some seconds, and what the machine took to begin and to
// play: a player that looks for the live edge has it behind itself when its first picture comes.
func within(t *testing.T, v *viewing, seconds float64) {
	t.Helper()
	require.Greater(t, v.Latency, 0.0)
	require.Less(t, v.Latency, seconds+(v.FirstFrame+v.Behind)/1000)
}

func TestHLSJS(t *testing.T) {
	need(t)
	t.Parallel()
	v := play(t, "hls", hls(clipTree(t).Beacons[0].URL()))
	within(t, v, hlsLatency)
}

func TestDashJS(t *testing.T) {
	need(t)
	t.Parallel()
	v := play(t, "dash", dash(clipTree(t).Beacons[0].URL()))
	within(t, v, dashLatency)
}

func TestShakaDASH(t *testing.T) {
	need(t)
	t.Parallel()
	v := play(t, "shaka", dash(clipTree(t).Beacons[0].URL()))
	within(t, v, dashLatency)
}

func TestShakaHLS(t *testing.T) {
	need(t)
	t.Parallel()
	v := play(t, "shaka", hls(clipTree(t).Beacons[0].URL()))
	within(t, v, hlsLatency)
}

func TestNativeHLS(t *testing.T) {
	need(t)
	t.Parallel()
	play(t, "native", hls(clipTree(t).Beacons[0].URL()))
}

// A BEACON with a certificate serves players over HTTP/2, and one that joins late is a BEACON like any other.
func TestTLS(t *testing.T) {
	need(t)
	t.Parallel()
	leaf := secureLeaf(t, clipTree(t))
	v := play(t, "hls", hls(leaf.URL()), "--insecure")
	require.Equal(t, []string{"h2"}, v.Protocols)
}

// The viewer of a BEACON that loses a tenth of its packets sees nothing of it, whether the player reads whole segments or
// those under way.
func TestLoss(t *testing.T) {
	need(t)
	for _, c := range []struct {
		player   string
		manifest func(base string) string
	}{{"hls", hls}, {"dash", dash}} {
		t.Run(c.player, func(t *testing.T) {
			t.Parallel()
			lossy := clipTree(t).Beacons[1]
			dropped, before := lossy.Injected(), recovered(lossy.Status())
			play(t, c.player, c.manifest(lossy.URL()))
			require.Greater(t, lossy.Injected(), dropped)
			require.Greater(t, recovered(lossy.Status()), before)
		})
	}
}

// recovered returns the octets that came in another way than as they were sent.
func recovered(st telemetry.Status) uint64 {
	s := &st.Services[0]
	return s.FECOctets + s.RepairOctets + s.FallbackOctets
}

// FFmpeg's own manifests and segments, the players that make most of them.
func TestFFmpeg(t *testing.T) {
	need(t)
	tree := ffmpegTree(t)
	t.Run("hls", func(t *testing.T) {
		t.Parallel()
		play(t, "hls", hls(tree.Beacons[0].URL()))
	})
	t.Run("dash", func(t *testing.T) {
		t.Parallel()
		play(t, "dash", dash(tree.Beacons[1].URL()))
	})
}
