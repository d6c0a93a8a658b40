//go:build unix && !linux

package ssm

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// reuseAddress lets several receivers share a port. The BSDs want SO_REUSEPORT
// for that, which also delivers multicast to all of them.
func reuseAddress(raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		for _, option := range reuseOptions() {
			if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, 1); err != nil {
				failed = os.NewSyscallError("setsockopt", err)
			}
		}
	})
	if err != nil {
		return err
	}
	return failed
}
