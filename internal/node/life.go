package node

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"github.com/treedn/treedn/internal/config"
)

// Life is what the nodes of all roles have in common: a configuration that changes under way, and an end that comes once.
// Its methods are safe for concurrent use.
type Life[T config.Role] struct {
	closing  sync.Once
	draining atomic.Bool
	closed   error

	applying sync.Mutex // guards below; held while a configuration is applied
	cfg      *T
	ended    bool
}

// Begin is called with the first configuration.
func (l *Life[T]) Begin(cfg *T) { l.cfg = cfg }

// Change applies a configuration, one at a time and none once the node has ended. apply returns what the node has then;
// nil: what it had.
func (l *Life[T]) Change(next *T, apply func(have, next *T) (*T, error)) error {
	l.applying.Lock()
	defer l.applying.Unlock()
	if l.ended {
		return net.ErrClosed
	}
	applied, err := apply(l.cfg, next)
	if applied != nil {
		l.cfg = applied
	}
	return err
}

// End closes the node when it is called first: no configuration is being applied then, nor will be.
func (l *Life[T]) End(close func() error) error {
	l.closing.Do(func() {
		l.draining.Store(true)
		l.applying.Lock()
		l.ended = true
		l.applying.Unlock()
		l.closed = close()
	})
	return l.closed
}

// Draining tells whether the node is being ended.
func (l *Life[T]) Draining() bool { return l.draining.Load() }

// Drain closes a node that was told to end by ctx: what is under way may go on for DrainTime.
func Drain(ctx context.Context, close func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), DrainTime)
	defer cancel()
	return close(ctx)
}
