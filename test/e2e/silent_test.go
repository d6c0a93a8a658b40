package e2e

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/clip"
	"github.com/treedn/treedn/internal/lossy"
)

// A BEACON that no packet of multicast reaches goes on by unicast: its playlist moves, and what the playlist names is
// there.
func TestSilentMulticast(t *testing.T) {
	t.Parallel()
	x := newTree(t, treeOptions{leaves: []leaf{{name: "deaf", loss: lossy.Config{Random: 1}}}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+patience)
	defer cancel()
	pushed := make(chan error, 1)
	go func() { pushed <- clip.Push(ctx, x.publish("manifest.mpd"), clip.PushConfig{}) }()

	c := newClient(t)
	segment := regexp.MustCompile(`chunk-stream0-\d+\.m4s`)
	seen := make(map[string]bool)
	for ctx.Err() == nil && len(seen) < 5 {
		body, err := get(ctx, c, x.beaconURL(0, "media_0.m3u8"))
		if err == nil {
			for _, name := range segment.FindAllString(string(body), -1) {
				if seen[name] {
					continue
				}
				b, err := get(ctx, c, x.beaconURL(0, name))
				require.NoError(t, err, name)
				require.True(t, strings.HasPrefix(string(b[4:]), "styp"), name)
				seen[name] = true
			}
		}
		time.Sleep(250 * time.Millisecond)
	}
	require.GreaterOrEqual(t, len(seen), 5)
	cancel()
	<-pushed
}
