package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An encoder is killed in the middle of a segment. Its successor pushes another picture to the same URL under the same
// names. From then on a name stands for the successor's octets, at RELAY and at BEACON, and at no time does anyone get
// octets of both under one name, or half a segment as a whole one.
func TestEncoderKilledAndStartedAgain(t *testing.T) {
	tool(t, "ffmpeg")
	t.Parallel()
	const firstRun, secondRun = 7 * time.Second, 9 * time.Second
	x := newTree(t, treeOptions{})
	dirs := []string{t.TempDir(), t.TempDir()}
	var names []string
	for stream := range 2 {
		names = append(names, fmt.Sprintf("init-stream%d.m4s", stream))
		for n := range 4 {
			names = append(names, fmt.Sprintf("chunk-stream%d-%05d.m4s", stream, n+1))
		}
	}

	first := encode(t, picture, 0, dashTee(x.publish("manifest.mpd"), dirs[0]))
	waitFor(t, newClient(t), x.beaconURL(0, "manifest.mpd"))
	starts := func(ctx context.Context, c *http.Client, url string) string {
		b, _ := get(ctx, c, url)
		return string(regexp.MustCompile(`availabilityStartTime="[^"]*"`).Find(b))
	}
	firstStart := ""
	require.Eventually(t, func() bool { // FFmpeg's first one has none
		firstStart = starts(t.Context(), newClient(t), x.beaconURL(0, "manifest.mpd"))
		return firstStart != ""
	}, patience, 50*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var readers sync.WaitGroup
	var mu sync.Mutex // guards seen
	seen := make(map[string][]string)
	late := make(map[string]bool) // what was given out under a node's manifest of the second run: name and SHA-256
	for _, name := range names {
		for url, manifest := range map[string]string{
			x.relayURL(name): x.relayURL("manifest.mpd"), x.beaconURL(0, name): x.beaconURL(0, "manifest.mpd"),
		} {
			c := newClient(t)
			readers.Go(func() {
				for ctx.Err() == nil {
					start := starts(ctx, c, manifest)
					if b, err := get(ctx, c, url); err == nil {
						mu.Lock()
						if start != "" && start != firstStart {
							late[name+" "+sum(b)] = true
						}
						if s := sum(b); !slices.Contains(seen[name], s) {
							seen[name] = append(seen[name], s)
						}
						mu.Unlock()
					}
					select {
					case <-ctx.Done():
					case <-time.After(150 * time.Millisecond):
					}
				}
			})
		}
	}
	time.Sleep(firstRun)
	first.kill()
	killed := time.Now()
	second := encode(t, otherPicture, secondRun, dashTee(x.publish("manifest.mpd"), dirs[1]))
	second.finish(t, "second encoder", secondRun+patience)
	t.Logf("the second run ended %v after the first one", time.Since(killed).Round(time.Millisecond))
	for _, url := range []func(string) string{x.relayURL, func(name string) string { return x.beaconURL(0, name) }} {
		requireSegments(t, url, dirs[1])
		for _, name := range []string{"manifest.mpd", "master.m3u8", "media_0.m3u8", "media_1.m3u8"} {
			want, err := os.ReadFile(filepath.Join(dirs[1], name))
			require.NoError(t, err)
			c := newClient(t)
			require.Eventually(t, func() bool {
				b, err := get(t.Context(), c, url(name))
				return err == nil && string(b) == string(want)
			}, patience, 50*time.Millisecond, name)
		}
	}
	cancel()
	readers.Wait()

	runs := []map[string]string{witnessed(t, dirs[0]), witnessed(t, dirs[1])}
	for stream := range 2 { // the first run's last segments have no end
		files, err := filepath.Glob(filepath.Join(dirs[0], fmt.Sprintf("chunk-stream%d-*", stream)))
		require.NoError(t, err)
		delete(runs[0], filepath.Base(slices.Max(files)))
	}
	both := 0
	for _, name := range names {
		require.NotEmpty(t, seen[name], name)
		for _, s := range seen[name] {
			require.Contains(t, []string{runs[0][name], runs[1][name]}, s, name)
		}
		both += len(seen[name]) - 1
	}
	require.NotZero(t, both, "the readers have seen both runs")
	for stream := range 2 {
		// What the second run names first: the others it may not have named by then.
		name := fmt.Sprintf("chunk-stream%d-00001.m4s", stream)
		require.True(t, late[name+" "+runs[1][name]], name)
		require.False(t, late[name+" "+runs[0][name]], "%s of the first run behind the manifest of the second", name)
	}
	x.printCounters(t)
}
