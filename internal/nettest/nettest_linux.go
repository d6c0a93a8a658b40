// Package nettest gives a test a network namespace of its own, in which the loopback interface has public addresses: what
// is looked up in the DNS may not lead to 127/8. It needs root.
package nettest

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const inside = "TREEDN_NETTEST"

// Alone runs the calling test once more, in a process in a namespace whose loopback interface has the addresses, and
// returns true there. Where it returns false the test has been run so, or cannot be.
func Alone(t *testing.T, addresses ...string) bool {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		run(t, "ip", "link", "set", "lo", "up")
		for _, a := range addresses {
			run(t, "ip", "address", "add", a, "dev", "lo", "nodad")
		}
		return true
	}
	if os.Geteuid() != 0 {
		if slices.Contains(strings.Split(os.Getenv("TREEDN_REQUIRE"), ","), "root") {
			t.Fatal("this needs root, which TREEDN_REQUIRE demands, for a network namespace")
		}
		t.Skip("this needs root, for a network namespace")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is that of the thread
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	return false
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}
