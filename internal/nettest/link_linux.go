package nettest

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// Beyond makes a network namespace that a link joins to this one, with an interface "here" and addresses in this one and
// "there" in the other, and calls open in the other. Sockets that open makes stay there; goroutines that it starts do
// not. The namespace goes with the last socket in it.
func Beyond(t *testing.T, here, there []string, open func() error) {
	t.Helper()
	linked, done := make(chan error, 1), make(chan error, 1)
	go func() {
		// Not unlocked, so that nothing else runs on the thread, which is in the other namespace from now on.
		runtime.LockOSThread()
		err := link(there)
		if linked <- err; err == nil {
			done <- open()
		}
	}()
	if err := <-linked; err != nil {
		t.Fatal(err)
	}
	for _, a := range here {
		run(t, "ip", "address", "add", a, "dev", "here", "nodad")
	}
	run(t, "ip", "link", "set", "here", "up")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// link takes the thread to a new namespace.
func link(addresses []string) error {
	before, err := syscall.Open("/proc/thread-self/ns/net", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(before) }()
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		return err
	}
	commands := []string{fmt.Sprintf("link add there type veth peer name here netns /proc/%d/fd/%d", syscall.Getpid(), before)}
	for _, a := range addresses {
		commands = append(commands, "address add "+a+" dev there nodad")
	}
	for _, c := range append(commands, "link set there up") {
		// A command runs where the thread is that starts it.
		if out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", c, err, out)
		}
	}
	return nil
}
