package ssm

import (
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// reuseAddress lets several receivers share a port.
func reuseAddress(raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = os.NewSyscallError("setsockopt",
			windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_REUSEADDR, 1))
	})
	if err != nil {
		return err
	}
	return failed
}
