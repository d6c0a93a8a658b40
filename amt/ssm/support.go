//go:build linux || darwin || freebsd || solaris || windows

package ssm

// What the system can do: multicast at all, and joining a source.
const (
	multicast     = true
	sourceFilters = true
)
