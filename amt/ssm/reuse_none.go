//go:build !unix && !windows

package ssm

import "syscall"

func reuseAddress(syscall.RawConn) error { return nil }

// sourceFilters: golang.org/x/net cannot join a source here.
const sourceFilters = false
