//go:build openbsd || netbsd || dragonfly || aix

package ssm

// What the system can do. OpenBSD, NetBSD and DragonFly have no source filters
// (RFC 3678); AIX has, but golang.org/x/net does not know them.
const (
	multicast     = true
	sourceFilters = false
)
