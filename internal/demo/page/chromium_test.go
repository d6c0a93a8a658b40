package page_test

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/clip"
	"github.com/treedn/treedn/internal/clip/cliptest"
	"github.com/treedn/treedn/internal/demo/page"
	"github.com/treedn/treedn/internal/demo/page/chromiumtest"
)

// fake is a state that moves with time.
func fake(base string, begin time.Time) page.State {
	s := time.Since(begin).Seconds() + 60
	n := func(perSecond float64) uint64 { return uint64(perSecond * s) }
	return page.State{
		Source: page.SourceState{
			Kind: page.ClipSource, Since: begin,
			IngestURL:     "http://127.0.0.1:8090/publish/demo/",
			FFmpegCommand: "ffmpeg -re -f lavfi -i testsrc2=size=640x360:rate=25 -f lavfi -i sine=frequency=440:sample_rate=48000 -c:v libx264 -preset veryfast -bf 0 -g 50 -c:a aac -f dash -method PUT -http_persistent 1 -seg_duration 2 -frag_type every_frame -streaming 1 -ldash 1 -hls_playlist 1 -use_template 1 -use_timeline 0 -window_size 8 http://127.0.0.1:8090/publish/demo/manifest.mpd",
		},
		Channels: []page.Channel{{Name: "demo", Path: "master.m3u8"}},
		Beacons:  []page.Beacon{{Name: "BEACON 1", URL: base + "b1/"}, {Name: "BEACON 2", URL: base + "b2/"}},
		Nodes: []page.NodeState{
			{Name: "CAST", Role: page.Cast, Packets: n(90), OctetsIn: n(88e3), OctetsOut: n(118e3), Objects: n(2.2), CacheOctets: min(n(88e3), 6_100_000), CacheLimit: 64 << 20, CacheObjects: min(n(2), 140)},
			{Name: "RELAY", Role: page.Relay, Parent: "CAST", Address: "127.0.0.2 → 232.4.7.11:5004", Packets: n(90), OctetsIn: n(118e3), OctetsOut: n(236e3), MulticastOctets: n(88e3), Objects: n(2.2), CacheOctets: min(n(88e3), 6_100_000), CacheLimit: 64 << 20, CacheObjects: 137, Latency: page.Latency{P50: 3.1, P99: 8.2}},
			{Name: "BEACON 1", Role: page.BeaconRole, Parent: "RELAY", Packets: n(90), OctetsIn: n(118e3), OctetsOut: n(88e3), MulticastOctets: n(88e3), Objects: n(2.2), CacheOctets: min(n(88e3), 6_100_000), CacheLimit: 64 << 20, CacheObjects: 137, Latency: page.Latency{P50: 5.6, P99: 14.9}},
			{Name: "BEACON 2", Role: page.BeaconRole, Parent: "RELAY", InjectedLoss: 0.1, Packets: n(81), PacketsLost: n(9), OctetsIn: n(107e3), OctetsOut: n(0), MulticastOctets: n(79e3), FECOctets: n(8.7e3), RepairOctets: n(300), FallbackOctets: 0, Objects: n(2.2), CacheOctets: min(n(88e3), 6_100_000), CacheLimit: 64 << 20, CacheObjects: 137, Latency: page.Latency{P50: 9.9, P99: 21.3}},
		},
	}
}

// The page plays the built-in clip from each of two BEACONs, shows the tree, and
// says so when the source is gone.
func TestPageInChromium(t *testing.T) {
	file, err := exec.LookPath("chromium")
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("TREEDN_REQUIRE"), ","), "chromium") {
			t.Fatal(err)
		}
		t.Skip(err)
	}

	var origin cliptest.Origin
	media := httptest.NewServer(&origin)
	t.Cleanup(media.Close)
	ctx, cancel := context.WithCancel(context.Background())
	pushed := make(chan error, 1)
	begin := time.Now().Add(-time.Minute)
	go func() {
		pushed <- clip.Push(ctx, media.URL+"/push/", clip.PushConfig{Source: clip.Config{Start: begin}})
	}()
	t.Cleanup(func() { cancel(); <-pushed })

	var gone atomic.Bool
	server := httptest.NewServer(page.Handler(func() page.State {
		s := fake(media.URL+"/", begin)
		if gone.Load() {
			s.Source.Kind, s.Source.Since, s.Source.Reason = page.NoSource, time.Now(), "<b>FFmpeg</b> closed its connection"
			s.Nodes[3].Problem = "no packets for 3 s"
		}
		return s
	}))
	t.Cleanup(server.Close)

	browser := chromiumtest.Start(t, file)
	require.Eventually(t, func() bool {
		_, video := origin.Body("media_0.m3u8")
		_, audio := origin.Body("media_2.m3u8")
		return video && audio
	}, 20*time.Second, 10*time.Millisecond)
	const ready = `document.getElementById('video').readyState >= 3 && !document.getElementById('video').paused && document.getElementById('overlay').hidden`

	// Without Media Source Extensions the browser does it all.
	native := browser.Open(t, server.URL+"/", `delete window.MediaSource; delete window.ManagedMediaSource`)
	native.WaitFor(20*time.Second, ready)
	advance(t, native, 1)
	require.Empty(t, native.Errors())
	require.NoError(t, native.Close())

	p := browser.Open(t, server.URL+"/?hold=2")
	p.WaitFor(20*time.Second, ready)
	advance(t, p, 1.5)
	for before, end := picture(t, p), time.Now().Add(20*time.Second); picture(t, p) == before; {
		require.True(t, time.Now().Before(end), "the picture does not move")
	}
	p.WaitFor(20*time.Second, `document.querySelectorAll('#graph .node').length == 4 && document.querySelectorAll('#rows tr').length == 4`)
	p.WaitFor(20*time.Second, `/^[0-9.]+ s$/.test(document.getElementById('fact-latency').textContent)`)
	p.WaitFor(20*time.Second, `document.querySelector('#graph .playing .name').textContent == 'BEACON 1'`)
	shoot(t, p, "page")

	var command string
	require.NoError(t, p.Eval(`document.getElementById('command').textContent`, &command))
	require.Equal(t, fake("", begin).Source.FFmpegCommand, command)

	require.NoError(t, p.Eval(`document.querySelector('input[value="BEACON 2"]').click()`, nil))
	p.WaitFor(20*time.Second, `document.querySelector('#graph .playing .name').textContent == 'BEACON 2'`)
	p.WaitFor(20*time.Second, ready)
	advance(t, p, 0.6)
	require.NoError(t, p.Eval(`(q => { q.value = 180; q.dispatchEvent(new Event('change')); })(document.getElementById('quality'))`, nil))
	p.WaitFor(20*time.Second, `document.getElementById('video').videoHeight == 180`)
	p.WaitFor(20*time.Second, ready)

	require.NoError(t, p.Resize(420, 2100))
	p.WaitFor(20*time.Second, `document.documentElement.scrollWidth <= 420`)
	p.WaitFor(20*time.Second, `document.querySelector('#graph svg').clientWidth < 420`)
	shoot(t, p, "narrow")
	require.NoError(t, p.Resize(1320, 1450))

	gone.Store(true)
	cancel()
	p.WaitFor(20*time.Second, `document.getElementById('source-reason').textContent == '<b>FFmpeg</b> closed its connection'`)
	p.WaitFor(20*time.Second, `document.getElementById('overlay').textContent.startsWith('No source: <b>')`)
	shoot(t, p, "gone")
	require.Empty(t, p.Errors())
}

// advance waits until the picture has moved on by some seconds.
func advance(t *testing.T, p *chromiumtest.Page, seconds float64) {
	t.Helper()
	var from float64
	require.NoError(t, p.Eval(`document.getElementById('video').currentTime`, &from))
	p.WaitFor(20*time.Second, fmt.Sprintf(`document.getElementById('video').currentTime > %g`, from+seconds))
}

// picture returns a small copy of the picture half a second from now.
func picture(t *testing.T, p *chromiumtest.Page) (data string) {
	t.Helper()
	time.Sleep(500 * time.Millisecond)
	require.NoError(t, p.Eval(`(() => { const c = document.createElement('canvas'); c.width = 64; c.height = 36;
		c.getContext('2d').drawImage(document.getElementById('video'), 0, 0, 64, 36); return c.toDataURL(); })()`, &data))
	require.Greater(t, len(data), 500, "more than one colour")
	return data
}

// shoot keeps a screenshot if TREEDN_SCREENSHOTS names a folder.
func shoot(t *testing.T, p *chromiumtest.Page, name string) {
	t.Helper()
	b, err := p.Screenshot()
	require.NoError(t, err)
	_, err = png.Decode(bytes.NewReader(b))
	require.NoError(t, err)
	if dir := os.Getenv("TREEDN_SCREENSHOTS"); dir != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".png"), b, 0o644))
	}
}
