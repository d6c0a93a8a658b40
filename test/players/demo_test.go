package players

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/demo"
	"github.com/treedn/treedn/internal/demo/page/chromiumtest"
	"github.com/treedn/treedn/internal/lossy"
)

// What a newcomer sees: the page whose address the demonstration prints plays from either BEACON, and the tree's numbers
// move.
func TestDemoPage(t *testing.T) {
	need(t)
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	address := make(chan string, 1)
	done := make(chan error, 1)
	go func() {
		_, err := demo.Run(ctx, demo.Options{
			Tree: demo.TreeOptions{Loss: lossy.Config{Random: loss, Seed: 1}}, Logger: quiet(),
			Print: func(line string) {
				if m := regexp.MustCompile(`^ *Open +(http://\S+)`).FindStringSubmatch(line); m != nil {
					address <- m[1]
				}
			},
		})
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	var url string
	select {
	case url = <-address:
	case err := <-done:
		done <- err
		t.Fatalf("the demonstration has ended: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("no address was printed")
	}

	browser := chromiumtest.Start(t, tool(t, "chromium"))
	p := browser.Open(t, url)
	begun := time.Now()
	for i := range 2 {
		name := demo.BeaconName(i)
		if i > 0 {
			require.NoError(t, p.Eval(fmt.Sprintf(`document.querySelector('input[value="%s"]').click()`, name), nil))
		}
		p.WaitFor(15*time.Second, fmt.Sprintf(`document.querySelector('#graph .playing .name')?.textContent == '%s'`, name))
		p.WaitFor(15*time.Second, `document.getElementById('overlay').hidden && !document.getElementById('video').paused && document.getElementById('video').readyState >= 3`)
		t.Logf("%s plays after %v", name, time.Since(begun).Round(time.Millisecond))
		begun = time.Now()

		before, numbers := look(t, p, name), rows(t, p)
		require.Len(t, numbers, 4, "a row for each node")
		p.WaitFor(15*time.Second, fmt.Sprintf(`document.getElementById('video').currentTime > %g`, before.Time+0.5))
		after := look(t, p, name)
		require.Greater(t, min(before.Colours, after.Colours), 8)
		require.NotEqual(t, before.Picture, after.Picture)
		p.WaitFor(15*time.Second, `/^[0-9.]+ s$/.test(document.getElementById('fact-latency').textContent)`)
		for i, row := range numbers {
			p.WaitFor(15*time.Second, fmt.Sprintf(`document.querySelectorAll('#rows tr')[%d].textContent != %q`, i, row))
		}
	}
	// Packets are lost at the second BEACON, and repaired.
	p.WaitFor(15*time.Second, `/^[1-9]/.test(document.querySelector('#rows tr:nth-child(4) td:nth-child(5)').textContent)`)
	p.WaitFor(15*time.Second, `/^[1-9]/.test(document.querySelector('#rows tr:nth-child(4) td:nth-child(7)').textContent)`)
	require.Equal(t, []string{"0", "0"}, missing(t, p), "objects that a BEACON gave up")
	keep(t, p, "demo")
	require.Empty(t, p.Errors())
}

// view is the picture of the page.
type view struct {
	Time    float64
	Colours int
	Picture string
}

func look(t *testing.T, p *chromiumtest.Page, name string) (v view) {
	t.Helper()
	require.NoError(t, p.Eval(`(() => {
		const video = document.getElementById('video'), c = document.createElement('canvas'), g = c.getContext('2d');
		c.width = 64; c.height = 36;
		g.drawImage(video, 0, 0, 64, 36);
		const d = g.getImageData(0, 0, 64, 36).data, set = new Set();
		for (let i = 0; i < d.length; i += 4) set.add(d[i] >> 4 << 8 | d[i + 1] >> 4 << 4 | d[i + 2] >> 4);
		return {Time: video.currentTime, Colours: set.size, Picture: c.toDataURL()};
	})()`, &v), name)
	return v
}

// rows are the counters of the nodes as the page shows them.
func rows(t *testing.T, p *chromiumtest.Page) (rows []string) {
	t.Helper()
	require.NoError(t, p.Eval(`Array.from(document.querySelectorAll('#rows tr'), r => r.textContent)`, &rows))
	return rows
}

func missing(t *testing.T, p *chromiumtest.Page) (missing []string) {
	t.Helper()
	require.NoError(t, p.Eval(`Array.from(document.querySelectorAll('#rows tr:nth-child(n+3) td:nth-child(3)'), c => c.textContent)`, &missing))
	return missing
}

// keep keeps a screenshot if TREEDN_SCREENSHOTS names a folder.
func keep(t *testing.T, p *chromiumtest.Page, name string) {
	t.Helper()
	if dir := os.Getenv("TREEDN_SCREENSHOTS"); dir != "" {
		b, err := p.Screenshot()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".png"), b, 0o666))
	}
}
