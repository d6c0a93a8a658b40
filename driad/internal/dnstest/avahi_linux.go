package dnstest

import (
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Namespace is the name of a network namespace as ip(8) knows it.
type Namespace string

// Command returns one that runs in the namespace.
func (n Namespace) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", string(n), name}, args...)...)
}

// StartAvahi runs Avahi in a namespace as the host of AMT relays, whose ports are by
// the names of their instances, and returns what stops it. Its configuration is below
// /etc/netns, so that the file system has to be the test's own.
func StartAvahi(t testing.TB, in Namespace, host string, relays map[string]int) (stop func()) {
	t.Helper()
	path := Tool(t, "avahi-daemon")
	etc := filepath.Join("/etc/netns", string(in), "avahi")
	require.NoError(t, os.MkdirAll(filepath.Join(etc, "services"), 0o755))
	conf := fmt.Sprintf("[server]\nhost-name=%s\nuse-ipv4=yes\nuse-ipv6=yes\nenable-dbus=no\n[wide-area]\nenable-wide-area=no\n"+
		"[publish]\npublish-hinfo=no\npublish-workstation=no\n", host)
	require.NoError(t, os.WriteFile(filepath.Join(etc, "avahi-daemon.conf"), []byte(conf), 0o644))
	for name, port := range relays {
		var b strings.Builder
		fmt.Fprintf(&b, "<?xml version=\"1.0\"?><!DOCTYPE service-group SYSTEM \"avahi-service.dtd\"><service-group><name>%s</name>"+
			"<service><type>_amt._udp</type><port>%d</port></service></service-group>", html.EscapeString(name), port)
		require.NoError(t, os.WriteFile(filepath.Join(etc, "services", fmt.Sprintf("%d.service", port)), []byte(b.String()), 0o644))
	}
	run := t.TempDir() // one directory for the file with the process's number each
	cmd := in.Command("unshare", "-m", "sh", "-c", `mount --bind "$0" /run && exec "$@"`, run, path,
		"--no-drop-root", "--no-chroot", "--no-rlimits", "--no-proc-title")
	log := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill() // no goodbye
			_ = cmd.Wait()
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("avahi-daemon in %s: %s", in, log)
		}
	})
	return stop
}
