//go:build unix && !linux && !solaris

package ssm

import "golang.org/x/sys/unix"

func reuseOptions() []int { return []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} }
