// Package players plays from a BEACON with the players that people have: hls.js, dash.js, Shaka and Chromium's own HLS,
// each unmodified and with its defaults, in a headless Chromium. play.mjs does the playing, also by hand.
package players

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// viewing is what play.mjs prints: what a viewer would have seen.
type viewing struct {
	OK           bool     `json:"ok"`
	Problems     []string `json:"problems"`
	FirstFrame   float64  `json:"firstFrameMs"`
	Played       float64  `json:"played"`   // s
	Behind       float64  `json:"behindMs"` // less than time has passed since the first frame
	Stalls       int      `json:"stalls"`
	StallTime    float64  `json:"stallMs"`
	LongestFrame float64  `json:"longestFrameMs"`
	Dropped      int      `json:"dropped"`
	Latency      float64  `json:"latency"` // s; 0 if the player cannot tell
	Width        int      `json:"width"`
	Protocols    []string `json:"protocols"`
	HTTP         []string `json:"http"` // requests that were refused
}

// playTime is how long each player plays.
const playTime = 11 * time.Second

// The allowances for a loaded machine, where several browsers decode without a graphics card. A player without octets
// stalls; one without processor time begins late and plays slowly.
const (
	maxStart  = 15 * time.Second
	maxStalls = 1
	maxStall  = 500 * time.Millisecond
	minPlayed = 6 * time.Second
	patience  = 15 * time.Second
)

// play lets a player play the URL. The test fails if that does not go well.
func play(t *testing.T, player, url string, args ...string) *viewing {
	t.Helper()
	chromium := tool(t, "chromium")
	args = append([]string{
		"play.mjs", "--player", player, "--url", url, "--live", "--chromium", chromium,
		"--seconds", fmt.Sprint(playTime.Seconds()), "--min-played", fmt.Sprint(minPlayed.Seconds()),
		"--max-start", fmt.Sprint(maxStart.Milliseconds()), "--patience", fmt.Sprint(patience.Seconds()),
		"--max-stalls", strconv.Itoa(maxStalls), "--max-stall", fmt.Sprint(maxStall.Milliseconds()),
		"--screenshots", filepath.Join(screenshots(t), strings.ReplaceAll(t.Name(), "/", "-")),
	}, args...)
	cmd := exec.CommandContext(t.Context(), tool(t, "node"), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it ends Chromium
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var v viewing
	if json.Unmarshal(stdout.Bytes(), &v) != nil {
		t.Fatalf("play.mjs: %v\n%s%s", err, &stdout, &stderr)
	}
	t.Logf("%s: first frame %.0f ms, played %.1f s and fell behind by %.0f ms, %d stalls of %.0f ms, longest frame %.0f ms, %d dropped, %.1f s behind live, %d px wide, %s",
		player, v.FirstFrame, v.Played, v.Behind, v.Stalls, v.StallTime, v.LongestFrame, v.Dropped, v.Latency, v.Width, strings.Join(v.Protocols, " "))
	if err != nil || !v.OK || len(v.HTTP) > 0 {
		t.Fatalf("%s: %s; refused: %q (%v)\n%s", player, strings.Join(v.Problems, "; "), v.HTTP, err, &stdout)
	}
	return &v
}

// screenshots is the folder that TREEDN_SCREENSHOTS names, or one that goes with the test.
func screenshots(t *testing.T) string {
	if dir := os.Getenv("TREEDN_SCREENSHOTS"); dir != "" {
		return dir
	}
	return t.TempDir()
}

// need skips tests that play, or fails them where the tools are required.
func need(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("plays in real time")
	}
	tool(t, "chromium")
	tool(t, "node")
	if err := install(); err != nil {
		lacking(t, "chromium", err)
	}
}

// tool finds an external program. Node belongs to Chromium, in what TREEDN_REQUIRE lists.
func tool(t *testing.T, name string) string {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil {
		if name == "node" {
			name = "chromium"
		}
		lacking(t, name, err)
	}
	return file
}

func lacking(t *testing.T, name string, err error) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("TREEDN_REQUIRE"), ","), name) {
		t.Fatal(err)
	}
	t.Skip(err)
}

// install gets the players from the npm registry unless they are here.
var install = sync.OnceValue(func() error {
	// What Node reads is named here so that a change of it is not missed by the cache of test results.
	for _, file := range []string{"play.mjs", "chromium.mjs", "viewer.html", "package-lock.json"} {
		if _, err := os.Stat(file); err != nil {
			return err
		}
	}
	if _, err := os.Stat("node_modules"); err == nil {
		return installed()
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return err
	}
	// Another run of this test may do the same: it is done elsewhere and moved here at once.
	dir, err := os.MkdirTemp(".", ".install-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, file := range []string{"package.json", "package-lock.json", ".npmrc"} {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), b, 0o666); err != nil {
			return err
		}
	}
	cmd := exec.Command(npm, "ci", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err := os.Rename(filepath.Join(dir, "node_modules"), "node_modules"); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return installed()
})

// installed checks that the players are those of package.json.
func installed() error {
	var want struct{ Dependencies map[string]string }
	if err := readJSON("package.json", &want); err != nil {
		return err
	}
	for name, version := range want.Dependencies {
		var have struct{ Version string }
		if err := readJSON(filepath.Join("node_modules", name, "package.json"), &have); err != nil {
			return fmt.Errorf("%w: run npm ci in test/players", err)
		}
		if have.Version != version {
			return fmt.Errorf("%s %s is installed and %s wanted: run npm ci in test/players", name, have.Version, version)
		}
	}
	return nil
}

func readJSON(file string, v any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// The lock file names packages by their hashes, and no registry: which one is used is for each machine to say.
func TestLockFileNamesNoRegistry(t *testing.T) {
	var lock struct {
		Packages map[string]struct{ Resolved, Integrity string }
	}
	require.NoError(t, readJSON("package-lock.json", &lock))
	require.Greater(t, len(lock.Packages), 3)
	for name, p := range lock.Packages {
		require.Empty(t, p.Resolved, name)
		if name != "" {
			require.NotEmpty(t, p.Integrity, name)
		}
	}
}
