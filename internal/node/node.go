package node

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/telemetry"
)

// RetryAfter is how long a child waits until it asks again for octets that are about to come. Chunks of low latency are
// about as long.
const RetryAfter = 100 * time.Millisecond

// DrainTime is how long a node that ends lets requests under way go on.
const DrainTime = 5 * time.Second

// MaxObject bounds one object in octets. It is what senders and receivers of ROUTE take by default.
const MaxObject = 64 << 20

// Clock returns the node's clock: the system's, shifted.
func Clock(offset time.Duration) func() time.Time {
	if offset == 0 {
		return time.Now
	}
	return func() time.Time { return time.Now().Add(offset) }
}

// AtOnce is a context that has ended, for closing what has just been opened.
func AtOnce() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// Open listens as configured; it returns nil for a server that is off.
func Open(l config.Listen, t config.TLS, h http.Handler, log *slog.Logger) (*Server, error) {
	if !l.Enabled() {
		return nil, nil
	}
	cert, err := load(t)
	if err != nil {
		return nil, err
	}
	return Listen(l.AddrPort().String(), cert, h, log)
}

// IngestHandler is a handler that wants to know in which order connections were made: of two manifests that an encoder
// sends over two connections the later one counts.
type IngestHandler interface {
	http.Handler
	ConnContext(ctx context.Context, c net.Conn) context.Context
}

// OpenIngest is Open for a server whose clients push and leave without waiting for the answers: it takes all that has
// arrived.
func OpenIngest(l config.Listen, t config.TLS, h IngestHandler, log *slog.Logger) (*Server, error) {
	if !l.Enabled() {
		return nil, nil
	}
	cert, err := load(t)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", l.AddrPort().String())
	if err != nil {
		return nil, err
	}
	b := newBounds(Limits{})
	return serve(boundedListener{pushListener{ln}, b}, b, cert, h, h.ConnContext, log), nil
}

func load(t config.TLS) (*tls.Certificate, error) {
	if !t.Enabled() {
		return nil, nil
	}
	c, err := t.Certificate()
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// CacheStatus is the cache's part of a status.
func CacheStatus(s cache.Stats) *telemetry.Cache {
	return &telemetry.Cache{
		Objects:      uint64(s.Memory.Objects + s.Disk.Objects),
		MemoryOctets: uint64(s.Memory.Octets), MemoryLimit: uint64(s.Memory.Limit.Octets),
		DiskOctets: uint64(s.Disk.Octets), DiskLimit: uint64(s.Disk.Limit.Octets), DiskOK: !s.DiskFailed,
		Hits: s.Hits, Misses: s.Misses, Evictions: s.EvictedMemory + s.EvictedDisk,
	}
}
