package gmp_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const namespaceEnv = "GMP_TEST_IN_NAMESPACE"

// TestInNamespace runs the tests that need links in a network namespace of their
// own. It needs the commands of iproute2, and user namespaces if it is not run by
// root. Where something is missing it fails if TREEDN_REQUIRE lists root.
func TestInNamespace(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it waits for the timers of kernels and routers")
	}
	// Where FRRouting runs is no room for a second multicast router.
	for _, pattern := range []string{"TestLive", "TestFRR$/IGMPv3", "TestFRR$/IGMPv2",
		"TestFRRElection$/10.77.0.4", "TestFRRElection$/10.77.0.6"} {
		t.Run(pattern, func(t *testing.T) {
			t.Parallel()
			runInNamespace(t, "^"+pattern)
		})
	}
}

func runInNamespace(t *testing.T, pattern string) {
	cmd := exec.Command(os.Args[0], "-test.run="+pattern, "-test.v", "-test.parallel=32")
	cmd.Env = append(os.Environ(), namespaceEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "---") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if cmd.ProcessState == nil {
		if required("root") {
			t.Fatal(err)
		}
		t.Skipf("this system gives no namespace: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s\nrerun with: unshare -Urn env %s=1 go test -run '%s' -v", err, out, namespaceEnv, pattern)
	}
}

func required(what string) bool {
	return slices.Contains(strings.Split(os.Getenv("TREEDN_REQUIRE"), ","), what)
}

// inNamespace lets the test go on inside TestInNamespace only, beside the others.
func inNamespace(t *testing.T, commands ...string) {
	if os.Getenv(namespaceEnv) == "" {
		t.Skip("run by TestInNamespace")
	}
	for _, c := range append(commands, "ip") {
		if _, err := exec.LookPath(c); err != nil {
			if required("root") {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	t.Parallel()
}
