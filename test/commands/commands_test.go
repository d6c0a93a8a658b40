// Package commands tests the three commands as an operator runs them: built programs, the example configurations, signals.
package commands

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/clip"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/treetest"
)

const streamKey = "0123456789abcdef0123456789abcdef"

// programs are the built commands, in a directory that TestMain removes.
var programs string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "treedn-commands-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "../../cmd/cast", "../../cmd/relay", "../../cmd/beacon")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
			return 1
		}
		programs = dir
		return m.Run()
	}())
}

func command(name string, args ...string) *exec.Cmd {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	cmd := exec.Command(filepath.Join(programs, name), args...)
	cmd.Env = append(os.Environ(), "LIVE_KEY="+streamKey)
	return cmd
}

// example is a configuration of examples/config with places of its own.
func example(t *testing.T, role, dir string, places ...string) (path string) {
	t.Helper()
	text, err := os.ReadFile("../../examples/config/" + role + ".yaml")
	require.NoError(t, err)
	for i := 0; i < len(places); i += 2 {
		require.Contains(t, string(text), places[i], "the example has changed")
	}
	for _, key := range []string{"live.key", "relay.key"} { // see the comments of the examples
		if _, err := config.KeepSealKey(filepath.Join(dir, key)); err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(dir, role+".yaml")
	write(t, path, strings.NewReplacer(places...).Replace(string(text)))
	return path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// process is a command that runs.
type process struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	ended  chan struct{}
	config string

	mu  sync.Mutex // guards below
	log []line
}

type line struct {
	Msg, Error, Level    string
	Ingest, Repair, HTTP string
	Admin                string
	Changes              []string
	raw                  string
}

func start(t *testing.T, name, path string) *process {
	t.Helper()
	p := &process{t: t, name: name, config: path, ended: make(chan struct{})}
	p.cmd = command(name, "-config", path, "-log-format", "json", "-admin", "127.0.0.1:0")
	stderr, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			l := line{raw: s.Text()}
			_ = json.Unmarshal(s.Bytes(), &l)
			p.mu.Lock()
			p.log = append(p.log, l)
			p.mu.Unlock()
		}
	}()
	go func() {
		<-read
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			for _, l := range p.log {
				t.Log(name + ": " + l.raw)
			}
		}
	})
	return p
}

// logged waits for a line that begins with a text, behind those that were there before.
func (p *process) logged(text string, after int) (l line) {
	p.t.Helper()
	treetest.Eventually(p.t, 20*time.Second, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, l = range p.log[after:] {
			if strings.HasPrefix(l.Msg, text) {
				return true
			}
		}
		return false
	}, p.name+" does not log "+text)
	return l
}

func (p *process) lines() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.log)
}

// reload gives a process another file and tells it.
func (p *process) reload(change func(text string) string) (after int) {
	p.t.Helper()
	text, err := os.ReadFile(p.config)
	require.NoError(p.t, err)
	after = p.lines()
	write(p.t, p.config, change(string(text)))
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGHUP))
	return after
}

func (p *process) exit(patience time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatal(p.name + " does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

func group(s config.Session) string {
	return "group: " + s.Group.String() + "\n      port: " + fmt.Sprint(s.Port)
}

// The tree of the README, in three processes.
func TestTree(t *testing.T) {
	dir := t.TempDir()
	up, down, news := treetest.Session(t), treetest.Session(t), treetest.Session(t)
	c := start(t, "cast", example(t, "cast", dir,
		"/var/lib/treedn/cast", filepath.Join(dir, "state"), "127.0.0.1:8090\n", "127.0.0.1:0\n\nrepair:\n  listen: 127.0.0.1:0\n",
		"source: 127.0.0.1\n      group: 232.1.1.1\n      port: 6000", "source: "+up.Source.String()+"\n      "+group(up),
		"source: 127.0.0.1\n      group: 232.1.1.2\n      port: 6000", "source: "+news.Source.String()+"\n      "+group(news),
		"http://origin.example/", "http://127.0.0.1:1/",
	))
	cast := c.logged("cast is running", 0)
	require.NotEmpty(t, cast.Ingest)
	r := start(t, "relay", example(t, "relay", dir,
		"127.0.0.1:8080", "127.0.0.1:0", "127.0.0.2:8081", "127.0.0.2:0", "http://127.0.0.1:8081", cast.Repair,
		"source: 127.0.0.1\n      group: 232.1.1.1\n      port: 6000", "source: "+up.Source.String()+"\n      "+group(up),
		"source: 127.0.0.2\n      group: 232.1.2.1\n      port: 6000", "source: "+down.Source.String()+"\n      "+group(down),
	))
	relay := r.logged("relay is running", 0)
	b := start(t, "beacon", example(t, "beacon", dir,
		"127.0.0.1:8088", "127.0.0.1:0", "http://127.0.0.2:8081", relay.Repair, "http://127.0.0.1:8081", cast.Repair,
		"source: 127.0.0.2\n      group: 232.1.2.1\n      port: 6000", "source: "+down.Source.String()+"\n      "+group(down),
	))
	beacon := b.logged("beacon is running", 0)

	// Everything that CAST has taken is read from BEACON, across the reloads below.
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var segments int
	var bad []string
	pushed := make(chan struct{})
	go func() {
		defer close(pushed)
		_ = clip.Push(ctx, cast.Ingest+"/publish/live/manifest.mpd", clip.PushConfig{
			Header: http.Header{"Authorization": {"Bearer " + streamKey}},
			Witness: func(name string, body []byte) {
				if !strings.HasSuffix(name, ".m4s") || ctx.Err() != nil {
					return
				}
				got, err := get(beacon.HTTP + "/live/" + name)
				mu.Lock()
				defer mu.Unlock()
				segments++
				if err != nil || !bytes.Equal(got, body) {
					bad = append(bad, fmt.Sprintf("%s: %d octets, not %d: %v", name, len(got), len(body), err))
				}
			},
		})
	}()
	defer func() { cancel(); <-pushed }()
	passed := func(n int) {
		t.Helper()
		mu.Lock()
		n += segments
		mu.Unlock()
		treetest.Eventually(t, 15*time.Second, func() bool { mu.Lock(); defer mu.Unlock(); return segments >= n }, "nothing comes through")
	}
	passed(5)
	for _, admin := range []string{cast.Admin, relay.Admin, beacon.Admin} {
		_, err := get(admin + "/metrics")
		require.NoError(t, err)
		_, err = get(admin + "/healthz")
		require.NoError(t, err)
	}
	_, err := get(beacon.Admin + "/readyz")
	require.NoError(t, err)

	// A reload of each, and a file with a mistake.
	after := c.reload(func(s string) string { return strings.Replace(s, "rate: 40Mbit/s", "rate: 60Mbit/s", 1) })
	require.Equal(t, []string{"channels"}, c.logged("configuration loaded", after).Changes)
	after = r.reload(func(s string) string { return strings.Replace(s, "loss: 0.2", "loss: 0.3", 1) })
	require.Equal(t, []string{"services"}, r.logged("configuration loaded", after).Changes)
	after = b.reload(func(s string) string { return s + "    retention: soon\n" })
	require.Regexp(t, `beacon\.yaml:\d+:16: services\[0\]\.retention: "soon"`, b.logged("configuration refused", after).Error)
	after = b.reload(func(s string) string { return strings.Replace(s, "retention: soon", "retention: 30s", 1) })
	b.logged("configuration loaded", after)
	after = b.reload(func(s string) string { return strings.Replace(s, "memory: 256MiB", "memory: 128MiB", 1) })
	require.Contains(t, b.logged("configuration not applied", after).Error, "a change of cache needs a restart")
	passed(4)
	mu.Lock()
	require.Empty(t, bad)
	mu.Unlock()

	// The end, while it still plays: the leaf first.
	for _, p := range []*process{b, r, c} {
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		require.Zero(t, p.exit(20*time.Second), p.name)
		p.logged(p.name+" has ended", 0)
	}
}

func get(url string) ([]byte, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 15 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", resp.Status)
	}
	return io.ReadAll(resp.Body)
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	write(t, bad, "services:\n  - name: live\n    upstream: {source: 127.0.0.1, group: 239.1.1.1, port: 6000}\n")
	for _, role := range []string{"cast", "relay", "beacon"} {
		example(t, role, dir)
	}
	examples := dir + "/"
	session := treetest.Session(t)
	flags := fmt.Sprintf("-service live -group %s:%d -source %s -unsigned -listen 127.0.0.1:0 -admin 127.0.0.1:0", session.Group, session.Port, session.Source)
	for _, c := range []struct {
		name, program, args string
		code                int
		stdout, stderr      string
	}{
		{"no arguments", "beacon", "", 2, "", "usage: beacon -config FILE"},
		{"unknown flag", "relay", "-colour red", 2, "", "-colour"},
		{"bad loss", "relay", flags + " -inject-loss 2", 2, "", "is not a share from 0 to 1"},
		{"bad file", "beacon", "-config " + bad, 2, "", "bad.yaml:3:42: services[0].upstream.group: 239.1.1.1 is outside"},
		{"check of a bad file", "beacon", "-check -config " + bad, 1, "", "bad.yaml:3:42"},
		{"check of cast", "cast", "-check -config " + examples + "cast.yaml", 0, "sends to 232.1.1.1 from 127.0.0.1", ""},
		{"check of relay", "relay", "-check -config " + examples + "relay.yaml", 0, "joins 232.1.1.1 from 127.0.0.1", ""},
		{"check of beacon", "beacon", "-check -config " + examples + "beacon.yaml", 0, "serves players at http://127.0.0.1:8088", ""},
		{"multicast that is impossible", "beacon", flags + " -interface none0", 1, "", "ssm: interface"},
		{"source that is not ours", "cast", "-channel x -group 232.9.9.9:6000 -source 198.51.100.77 -listen 127.0.0.1:0 -repair off -admin off", 1, "", "the source must be an address of this machine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := command(c.program, strings.Fields(c.args)...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			timer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
			defer timer.Stop()
			_ = cmd.Run()
			require.Equal(t, c.code, cmd.ProcessState.ExitCode(), stderr.String())
			require.Contains(t, stdout.String(), c.stdout)
			require.Contains(t, stderr.String(), c.stderr)
		})
	}
}
