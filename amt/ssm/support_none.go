//go:build !unix && !windows

package ssm

// What the system can do. Sockets of WebAssembly do not reach a network, and
// golang.org/x/net has no multicast for Plan 9.
const (
	multicast     = false
	sourceFilters = false
)
