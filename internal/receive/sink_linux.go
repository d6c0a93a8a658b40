package receive

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is the most that Linux lets an ordinary user have.
const pipeSize = 1 << 20

// widen gives a pipe room for what comes while a player starts: a second of 8 Mbit/s instead of a sixteenth of that.
func widen(w io.Writer) {
	f, ok := w.(*os.File)
	if !ok {
		return
	}
	if c, err := f.SyscallConn(); err == nil {
		// It fails for what is no pipe.
		_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}
