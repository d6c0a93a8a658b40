package reception

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/telemetry"
)

// Options are what a Base needs besides the configuration.
type Options struct {
	Loss lossy.Config
	// Children says that other nodes ask this one for objects and seals, and that it sends on.
	Children bool
	Now      func() time.Time
	Logger   *slog.Logger
}

// Base is a receiving node without its servers: cache, memberships and services.
type Base struct {
	Store    *cache.Store
	Services *Set

	// Via stands for this node in Via fields.
	Via string

	role, name string
	started    time.Time
	host       *ssm.Host
}

// OpenBase opens the cache. Services are added by the role.
func OpenBase(role string, n config.Node, c config.Cache, o Options) (*Base, error) {
	store, err := cache.Open(cache.Config{
		Dir: string(c.Disk.Dir), Memory: cache.Limit{Octets: int64(c.Memory)}, Disk: cache.Limit{Octets: int64(c.Disk.Size)},
		MaxObject: node.MaxObject,
		Now:       o.Now, Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	b := &Base{Store: store, Via: node.Pseudonym(n.Name), role: role, name: n.Name, started: o.Now(), host: ssm.NewHost(ssm.Config{Logger: o.Logger})}
	b.Services = NewSet(Config{Via: b.Via, Store: store, Host: b.host, Loss: o.Loss, Children: o.Children, Now: o.Now, Logger: o.Logger})
	return b, nil
}

// Status returns what the node does now, but for its servers.
func (b *Base) Status(now time.Time) telemetry.Status {
	st := telemetry.Status{
		Node:  telemetry.NewNode(b.name, b.role, b.started, now),
		Cache: node.CacheStatus(b.Store.Stats()),
	}
	var reasons []string
	for _, x := range b.Services.All() {
		s, _ := x.Status()
		if s.State != telemetry.StateRunning {
			reasons = append(reasons, "service "+s.Name+": "+s.Source.Why)
		}
		st.Services = append(st.Services, s)
		st.Sockets = append(st.Sockets, x.Sockets()...)
	}
	st.Readiness = telemetry.NotReadyFor(reasons)
	return st
}

// Injected returns the packets that all services dropped on purpose.
func (b *Base) Injected() (n uint64) {
	for _, x := range b.Services.All() {
		_, injected := x.Status()
		n += injected
	}
	return n
}

// Sweep drops what retention took away, now and then, until ctx ends.
func (b *Base) Sweep(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			b.Store.Sweep()
		}
	}
}

// Close ends all services and the cache.
func (b *Base) Close() error {
	b.Services.Close()
	return errors.Join(b.host.Close(), b.Store.Close())
}
