package e2e

import (
	"bufio"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/flute/flutetest"
)

// capture reads the packets to one destination.
func capture(t testing.TB, name string, to netip.AddrPort) []flutetest.Packet {
	t.Helper()
	packets := slices.DeleteFunc(flutetest.Capture(t, name), func(p flutetest.Packet) bool { return p.Dst != to })
	require.NotEmpty(t, packets)
	return packets
}

// listed is an object of a capture: SHA-256 by TSI and TOI, of those that are complete.
func listed(t testing.TB, name string, to netip.AddrPort) map[[2]uint32]string {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	objects := make(map[[2]uint32]string)
	for s := bufio.NewScanner(f); s.Scan(); {
		col := strings.Split(s.Text(), "\t")
		if strings.HasPrefix(s.Text(), "#") || col[0]+":"+col[1] != to.String() || col[10] != "1" {
			continue
		}
		tsi, err := strconv.ParseUint(col[2], 10, 32)
		require.NoError(t, err)
		toi, err := strconv.ParseUint(col[3], 10, 32)
		require.NoError(t, err)
		objects[[2]uint32{uint32(tsi), uint32(toi)}] = col[12]
	}
	require.NotEmpty(t, objects)
	return objects
}

// replay sends a capture to a session of the test's own, faster than it was taken.
func replay(ctx context.Context, t testing.TB, packets []flutetest.Packet, ch ssm.Channel, speed float64) {
	t.Helper()
	s, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	defer s.Close()
	begun := time.Now()
	for _, p := range packets {
		due := begun.Add(time.Duration(float64(p.At.Sub(packets[0].At)) / speed))
		select {
		case <-ctx.Done():
			require.NoError(t, ctx.Err())
		case <-time.After(time.Until(due)):
		}
		_, err := s.WriteBatch([][]byte{p.Payload}, ch.Destination())
		require.NoError(t, err)
	}
}

// Sessions that other senders made, re-streamed from another source to another group, go through RELAY, which sends them
// on, and BEACON to a reader with not an octet changed.
func TestThirdPartyCaptures(t *testing.T) {
	t.Parallel()
	gpac := map[uint32]string{10: "clip_dash_track1_", 20: "clip_dash_track2_"}
	dash := func(tsi, toi uint32) string {
		if toi == 0xffffffff {
			return gpac[tsi] + "init.mp4"
		}
		return gpac[tsi] + strconv.Itoa(int(toi)) + ".m4s"
	}
	esg := map[[2]uint32]string{
		{1, 1244}: "sgdd_1244",
		{2, 3229}: "sgdu_short_3229", {2, 4487}: "sgdu_service_schedule_4487",
		{3, 2227}: "sgdu_long_2227", {3, 2228}: "sgdu_long_2228", {3, 2230}: "sgdu_long_2230", {3, 4488}: "sgdu_service_schedule_4488",
		{4, 5638}: "x37E-PAuwH1nVIsqjRuJw70c6-tbAOR6OVpiT6Ktsf0.png",
	}
	routeData := filepath.Join("..", "..", "route", "testdata")
	for _, c := range []struct {
		dir, name, to string
		nameOf        func(tsi, toi uint32) string
		objects       int
		manifest      string // if a player understands it
	}{
		{routeData, "gpac-route-dash", "232.1.1.1:6000", dash, 16, "manifest.mpd"},
		{routeData, "gpac-route-ll", "232.1.1.2:6000", dash, 16, "manifest.mpd"},
		{"testdata", "gpac-atsc", "225.1.1.0:6000", dash, 16, "live.mpd"},
		{routeData, "atsc3-ateme-lls-esg", "239.255.20.9:52009", func(tsi, toi uint32) string { return esg[[2]uint32{tsi, toi}] }, 8, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			to := netip.MustParseAddrPort(c.to)
			packets := capture(t, filepath.Join(c.dir, c.name+".pcap"), to)
			want := listed(t, filepath.Join(c.dir, c.name+".tsv"), to)
			ch := ssmtest.Channel(t)
			x := newTree(t, treeOptions{noCast: true, upstream: ch})
			replay(t.Context(), t, packets, ch, 2)

			client, n := newClient(t), 0
			for key, sha := range want {
				if key[0] == 0 || key[1] == 0 {
					continue // signalling, which RELAY makes anew
				}
				name := c.nameOf(key[0], key[1])
				require.NotEmpty(t, name, "TSI %d, TOI %d", key[0], key[1])
				require.Equal(t, sha, sum(waitFor(t, client, x.relayURL(name))), name)
				require.Equal(t, sha, sum(waitFor(t, client, x.beaconURL(0, name))), name)
				n++
			}
			require.Equal(t, c.objects, n)
			x.printCounters(t)
			if c.manifest == "" {
				return
			}
			requireMulticast(t, x)
			t.Run("FFmpeg", func(t *testing.T) {
				// Without a limit it asks for one segment too many.
				p := play(t, x.beaconURL(0, c.manifest), "-t", "13")
				p.finishQuietly(t, "DASH player", 13*time.Second+patience)
				require.InDelta(t, 13*frameRate, len(frames(t, p, "0")), 2)
				require.InDelta(t, 13*48000/1024, len(frames(t, p, "1")), 3)
			})
		})
	}
}
