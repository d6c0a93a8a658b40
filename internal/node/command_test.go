package node

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// text is an output that is read while it is written.
type text struct {
	mu sync.Mutex // guards below
	b  strings.Builder
}

func (s *text) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *text) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// fake is a node that does nothing but note what it is told.
type fake struct {
	log     *slog.Logger
	applied chan *config.Beacon
	refuse  error
	ended   error
}

func (f *fake) Run(ctx context.Context) error { <-ctx.Done(); return f.ended }

func (f *fake) Apply(next *config.Beacon) error {
	f.applied <- next
	f.log.Debug("applied " + next.Services[0].Name)
	return f.refuse
}

func (f *fake) Addresses() []slog.Attr {
	return []slog.Attr{slog.String("http", "http://127.0.0.1:1"), slog.String("admin", "")}
}

func document(service, more string) string {
	return "log: {format: json}\nservices:\n  - name: " + service + "\n    upstream: {source: 127.0.0.1, group: 232.1.1.1, port: 6000, unsigned: true}\n" + more
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func TestCommandOnce(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	write(t, good, document("live", ""))
	write(t, bad, document("live", "    retention: soon\n    color: red\n"))
	for _, c := range []struct {
		name, args  string
		code        int
		out, errors []string
	}{
		{"nothing said", "", 2, nil, []string{"usage: beacon -config FILE", "-inject-x", "-check"}},
		{"help", "-h", 0, nil, []string{"beacon serves", "-inject-x"}},
		{"unknown flag", "-colour red", 2, nil, []string{"-colour"}},
		{"an argument", "-config " + good + " more", 2, nil, []string{`unexpected argument "more"`}},
		{"check", "-check -config " + good, 0, []string{"BEACON", "service live", "232.1.1.1"}, nil},
		{"check of flags", "-check -service tv -group 232.1.2.3:7000 -source 127.0.0.1 -unsigned", 0, []string{"service tv", "232.1.2.3"}, nil},
		{"check of a bad file", "-check -config " + bad, 1, nil, []string{"beacon: " + bad + ":5:16: services[0].retention:", bad + ":6:5: ", "color"}},
		{"bad file", "-config " + bad, 2, nil, []string{bad + ":5:16"}},
		{"no file", "-config " + bad + "x", 2, nil, []string{"no such file"}},
		{"bad flag value", "-config " + good + " -cache-memory 1", 2, nil, []string{"cache-memory"}},
		{"cannot start", "-config " + good, 1, nil, []string{"no multicast here (do this)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs text
			code := Command[config.Beacon]{
				Name: "beacon", Does: "serves",
				Flags: func(fs *flag.FlagSet) { fs.Bool("inject-x", false, "") },
				Open: func(*config.Beacon, *slog.Logger) (Role[config.Beacon], error) {
					return nil, errors.New("no multicast here (do this)")
				},
			}.run(t.Context(), strings.Fields(c.args), nil, &out, &errs)
			require.Equal(t, c.code, code, errs.String())
			for _, want := range c.out {
				require.Contains(t, out.String(), want)
			}
			for _, want := range c.errors {
				require.Contains(t, errs.String(), want)
			}
			if len(c.out) == 0 {
				require.Empty(t, out.String())
			}
			if len(c.errors) == 0 {
				require.Empty(t, errs.String())
			}
		})
	}
}

func TestCommandRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "beacon.yaml")
	write(t, path, document("live", ""))
	f := &fake{applied: make(chan *config.Beacon, 8)}
	ctx, cancel := context.WithCancelCause(t.Context())
	hangup := make(chan os.Signal, 1)
	var out, log text
	code := make(chan int, 1)
	go func() {
		code <- Command[config.Beacon]{
			Name: "beacon",
			Open: func(cfg *config.Beacon, log *slog.Logger) (Role[config.Beacon], error) {
				f.log = log
				return f, nil
			},
		}.run(ctx, []string{"-config", path, "-name", "flagged"}, hangup, &out, &log)
	}()
	logged := func(want string) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.Contains(log.String(), want) }, 5*time.Second, 5*time.Millisecond, want)
	}

	// The first line tells where to find the node.
	logged("is running")
	first, _, _ := strings.Cut(log.String(), "\n")
	var line struct {
		Msg, HTTP, Admin string
		PID              int
	}
	require.NoError(t, json.Unmarshal([]byte(first), &line), first)
	require.Equal(t, "beacon is running", line.Msg)
	require.Equal(t, "http://127.0.0.1:1", line.HTTP)
	require.Equal(t, os.Getpid(), line.PID)

	write(t, path, "log: {level: debug, format: json}\n"+strings.TrimPrefix(document("other", ""), "log: {format: json}\n"))
	hangup <- syscall.SIGHUP
	next := <-f.applied
	require.Equal(t, "other", next.Services[0].Name)
	require.Equal(t, "flagged", next.Node.Name, "flags go over each load")

	write(t, path, document("other", "    retention: soon\n"))
	hangup <- syscall.SIGHUP
	logged("configuration refused, the old one stays")
	logged(path + ":5:16: services[0].retention:")
	require.Empty(t, f.applied)

	// The level is that of the last configuration that was applied.
	require.NotContains(t, log.String(), "applied other")
	f.refuse = errors.New("http.listen needs a restart")
	write(t, path, document("third", ""))
	hangup <- syscall.SIGHUP
	require.Equal(t, "third", (<-f.applied).Services[0].Name)
	logged("applied third")
	logged("http.listen needs a restart")

	cancel(errors.New("terminated"))
	require.Equal(t, 0, <-code)
	logged(`"cause":"terminated"`)
	logged("beacon has ended")
	require.Empty(t, out.String())
}

func TestCommandFails(t *testing.T) {
	var out, log text
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code := Command[config.Beacon]{
		Name: "beacon",
		Open: func(_ *config.Beacon, log *slog.Logger) (Role[config.Beacon], error) {
			return &fake{ended: fmt.Errorf("disk is gone")}, nil
		},
	}.run(ctx, strings.Fields("-service live -group 232.1.1.1:6000 -source 127.0.0.1 -unsigned"), nil, &out, &log)
	require.Equal(t, 1, code)
	require.Contains(t, log.String(), "disk is gone")
}
