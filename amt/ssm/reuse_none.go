//go:build !unix && !windows

package ssm

import "syscall"

func reuseAddress(syscall.RawConn) error { return nil }
