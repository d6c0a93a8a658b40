// Package lab_test runs the commands of the suite on hosts of their own, which
// network namespaces stand for, with real multicast routers between them:
// lab.sh builds the network. Run it by .ci/lab, as root.
package lab_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/internal/config"
)

// enable is the environment variable that switches these tests on. They need
// root and half a minute each, so that a plain go test leaves them out.
const enable = "TREEDN_LAB"

// streamKey is what the publisher shows to CAST.
const streamKey = "a-key-for-the-lab-only"

// binaries are built once for all tests.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if os.Getenv(dialVariable) != "" {
			return dialMain(os.Args[1:])
		}
		if os.Getenv(enable) == "" {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "treedn-lab-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		build := exec.Command("go", "build", "-buildvcs=false", "-o", dir,
			"../../cmd/cast", "../../cmd/relay", "../../cmd/beacon", "../../cmd/treedn", "./wire")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
			return 1
		}
		binaries = dir
		return m.Run()
	}())
}

// lab is one network with its processes. Everything goes down with the test,
// also with one that is killed.
type lab struct {
	t    *testing.T
	name string // prefix of the namespaces
	logs string // directory
	conf string // directory with the configurations and the keys
	env  []string

	machine *machine
}

func newLab(t *testing.T) *lab {
	if os.Getenv(enable) == "" {
		t.Skip("this is .ci/lab's: it needs root, and sets " + enable)
	}
	if os.Geteuid() != 0 {
		t.Fatal("the lab needs root")
	}
	l := &lab{t: t, name: "lab" + strconv.FormatUint(rand.Uint64N(36*36*36*36*36), 36)}
	l.logs = t.TempDir()
	if dir := os.Getenv("CI_LOGS"); dir != "" {
		l.logs = filepath.Join(dir, "lab-"+t.Name())
		require.NoError(t, os.MkdirAll(l.logs, 0o777))
	}
	l.conf = filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.CopyFS(l.conf, os.DirFS("config")))
	for _, node := range []string{"cast", "relay", "relay4"} {
		_, err := config.CreateSealKey(filepath.Join(l.conf, node+".key"))
		require.NoError(t, err)
	}
	l.env = append(os.Environ(), "LAB="+l.name, "LAB_WIRE="+filepath.Join(binaries, "wire"), "LIVE_KEY="+streamKey)

	// The lab is up as long as the script's standard input is open: the system
	// closes it when this process ends, in whatever way.
	hold := exec.Command("./lab.sh", "hold")
	hold.Env = l.env
	hold.Stderr = os.Stderr
	hold.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this process alone
	in, err := hold.StdinPipe()
	require.NoError(t, err)
	out, err := hold.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, hold.Start())
	t.Cleanup(func() {
		in.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := hold.Wait(); err != nil {
			t.Error("lab.sh hold:", err)
		}
	})
	var line [4096]byte
	n, err := out.Read(line[:])
	require.NoError(t, err, "the lab did not come up")
	require.Contains(t, string(line[:n]), "is up")
	l.machine = watchMachine(t)
	return l
}

// machine tells how late what runs on this machine gets its turn.
type machine struct{ latest atomic.Int64 }

func watchMachine(t *testing.T) *machine {
	m := &machine{}
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		const every = 5 * time.Millisecond
		for last := time.Now(); ; {
			select {
			case <-done:
				return
			case <-time.After(every):
			}
			now := time.Now()
			if late := int64(now.Sub(last) - every); late > m.latest.Load() {
				m.latest.Store(late)
			}
			last = now
		}
	}()
	t.Cleanup(func() { close(done); <-stopped })
	return m
}

// late is how late a turn came at most since it was called last.
func (m *machine) late() time.Duration { return time.Duration(m.latest.Swap(0)) }

// sh runs a verb of lab.sh.
func (l *lab) sh(args ...string) string {
	l.t.Helper()
	cmd := exec.Command("./lab.sh", args...)
	cmd.Env = l.env
	out, err := cmd.CombinedOutput()
	require.NoError(l.t, err, "lab.sh %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// counted returns how many packets have met the rule of lab.sh count.
func (l *lab) counted(a, b string) int {
	l.t.Helper()
	n, err := strconv.Atoi(l.sh("counted", a, b))
	require.NoError(l.t, err)
	return n
}

// process is a program in a node.
type process struct {
	l    *lab
	name string
	args []string
	node string

	mu   sync.Mutex // guards below
	cmd  *exec.Cmd
	err  error
	done chan struct{}
}

// start runs a program of the suite in a node, with the configuration of that
// node and some flags.
func (l *lab) start(node, program string, flags ...string) *process {
	l.t.Helper()
	p := &process{l: l, name: node, node: node, args: []string{
		filepath.Join(binaries, program), "-config", filepath.Join(l.conf, node+".yaml"),
	}}
	p.run(flags...)
	l.t.Cleanup(func() {
		p.kill()
		l.report(p.logFile())
	})
	return p
}

func (p *process) logFile() string { return filepath.Join(p.l.logs, p.name+".log") }

// run starts the program, for the first time or again.
func (p *process) run(flags ...string) {
	p.l.t.Helper()
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	require.NoError(p.l.t, err)
	defer log.Close()
	// ip replaces itself by the program, so that the process is the program's.
	cmd := exec.Command("ip", slices.Concat([]string{"netns", "exec", p.l.name + "-" + p.node}, p.args, flags)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.l.env, log, log
	require.NoError(p.l.t, cmd.Start())
	done := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.done = cmd, done
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(done)
	}()
}

// kill ends the process as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stop halts the process where it is, and resume lets it go on.
func (p *process) stop()   { require.NoError(p.l.t, p.cmd.Process.Signal(syscall.SIGSTOP)) }
func (p *process) resume() { require.NoError(p.l.t, p.cmd.Process.Signal(syscall.SIGCONT)) }

// terminate asks the process to end, and returns how long that took.
func (p *process) terminate(limit time.Duration) (time.Duration, error) {
	begun := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case <-p.done:
		p.mu.Lock()
		defer p.mu.Unlock()
		return time.Since(begun), p.err
	case <-time.After(limit):
		return time.Since(begun), fmt.Errorf("%s still runs after %v", p.name, limit)
	}
}

// report shows the end of a log if the test has failed.
func (l *lab) report(file string) {
	if !l.t.Failed() {
		return
	}
	b, _ := os.ReadFile(file)
	const limit = 3000
	if len(b) > limit {
		b = b[len(b)-limit:]
	}
	l.t.Logf("%s:\n%s", filepath.Base(file), b)
}

// client returns an HTTP client inside a node.
func (l *lab) client(node string) *http.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = l.inside(node, func() error {
				conn, err = (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		},
		MaxIdleConnsPerHost:   16,
		ResponseHeaderTimeout: 10 * time.Second,
	}
	l.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// inside calls f in the network namespace of a node. A socket stays in the
// namespace in which it was made.
func (l *lab) inside(node string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- l.enter(node, f) }()
	return <-done
}

func (l *lab) enter(node string, f func() error) error {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		// The process counts as one of the namespace that its first thread is
		// in. While this goroutine holds that thread, another gets another one.
		defer runtime.UnlockOSThread()
		return l.inside(node, f)
	}
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + l.name + "-" + node)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	defer func() {
		// A thread that cannot return ends with its goroutine.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// get fetches a URL inside a node.
func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(body))
	}
	return body, err
}

// eventually waits until f holds.
func eventually(t *testing.T, limit time.Duration, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !f(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v not yet: %s", limit, what)
		}
	}
}
