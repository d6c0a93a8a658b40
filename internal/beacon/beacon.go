// Package beacon is the leaf of a tree, at a home or a venue: it receives services by multicast, repairs them from its
// parents, and serves players. It gives nothing to other nodes: no repair server, no transit.
package beacon

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/edge"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/reception"
	"github.com/treedn/treedn/internal/telemetry"
)

// Options are what a configuration file does not hold.
type Options struct {
	// Loss drops received packets on purpose.
	Loss   lossy.Config
	Logger *slog.Logger // required
}

// Node is a running BEACON. Its methods are safe for concurrent use.
type Node struct {
	log     *slog.Logger
	now     func() time.Time
	base    *reception.Base
	http    *node.Server
	admin   *node.Server
	origins node.Origins
	life    node.Life[config.Beacon]
}

// New opens the node's servers and sockets. The configuration must be complete, as config.Complete returns it. Close the
// node, or Run it.
func New(cfg *config.Beacon, o Options) (*Node, error) {
	n := &Node{log: o.Logger, now: node.Clock(cfg.Node.ClockOffset)}
	n.life.Begin(cfg)
	if err := n.open(cfg, o); err != nil {
		_ = n.Close(node.AtOnce())
		return nil, err
	}
	return n, nil
}

func (n *Node) open(cfg *config.Beacon, o Options) (err error) {
	n.base, err = reception.OpenBase("beacon", cfg.Node, cfg.Cache, reception.Options{Loss: o.Loss, Now: n.now, Logger: n.log})
	if err != nil {
		return err
	}
	for _, c := range cfg.Services {
		if _, err := n.base.Services.Add(c); err != nil {
			return err
		}
	}
	players := edge.New(edge.Config{Store: n.base.Store, Services: n.base.Services.Lookup, Node: cfg.Node.Name, Via: n.base.Via})
	if n.http, err = node.Open(cfg.HTTP.Listen, cfg.HTTP.TLS, n.origins.Wrap(players), n.log); err != nil {
		return err
	}
	n.tune(cfg)
	n.admin, err = node.Open(cfg.Admin.Listen, config.TLS{}, telemetry.NewHandler(telemetry.Config{Status: n.Status, Pprof: cfg.Admin.Pprof, Log: n.log}), n.log)
	return err
}

// tune makes the server for players what a configuration says of it, but for what needs a restart.
func (n *Node) tune(cfg *config.Beacon) {
	n.origins.Set(cfg.HTTP.CORS.Origins)
	n.http.SetLimits(cfg.HTTP.Limits)
}

// URL and AdminURL are the base URLs of the node's servers, empty for one that is off.
func (n *Node) URL() string      { return n.http.URL() }
func (n *Node) AdminURL() string { return n.admin.URL() }

// Addresses are the base URLs of the node's servers.
func (n *Node) Addresses() []slog.Attr {
	return []slog.Attr{slog.String("http", n.URL()), slog.String("admin", n.AdminURL())}
}

// Apply changes the running node to another configuration and touches only what differs. What cannot change without a
// restart is named in the error, and then nothing is changed. A service that cannot be changed stays as it is, one that
// cannot be added stays away, until the configuration is applied again.
func (n *Node) Apply(next *config.Beacon) error { return n.life.Change(next, n.apply) }

func (n *Node) apply(have, next *config.Beacon) (*config.Beacon, error) {
	if err := node.Fixed(
		node.Value{Key: "node", Old: have.Node, New: next.Node},
		node.Value{Key: "http.listen", Old: have.HTTP.Listen, New: next.HTTP.Listen},
		node.Value{Key: "http.tls", Old: have.HTTP.TLS.Enabled(), New: next.HTTP.TLS.Enabled()},
		node.Value{Key: "admin", Old: have.Admin, New: next.Admin},
		node.Value{Key: "log.format", Old: have.Log.Format, New: next.Log.Format},
		node.Value{Key: "cache", Old: have.Cache, New: next.Cache},
	); err != nil {
		return nil, err
	}
	if err := n.http.Renew(next.HTTP.TLS); err != nil {
		return nil, err
	}
	n.tune(next)
	applied := *next
	var err error
	applied.Services, err = node.ApplyEach(have.Services, next.Services, node.Actions[config.Service]{
		Add:    func(c config.Service) error { _, err := n.base.Services.Add(c); return err },
		Change: func(_, c config.Service) error { return n.base.Services.Change(c) },
		Remove: func(c config.Service) { n.base.Services.Remove(c.Name) },
	})
	return &applied, err
}

// Status returns what the node does now.
func (n *Node) Status() telemetry.Status {
	st := n.base.Status(n.now())
	st.HTTP = n.http.Status()
	if n.life.Draining() {
		st.Drain()
	}
	return st
}

// Injected returns the packets dropped on purpose.
func (n *Node) Injected() uint64 { return n.base.Injected() }

// Run waits until ctx ends, and then closes the node: requests under way may end.
func (n *Node) Run(ctx context.Context) error {
	n.base.Sweep(ctx)
	return node.Drain(ctx, n.Close)
}

// Close ends the node. Requests under way may go on until ctx ends. It may be called more than once.
func (n *Node) Close(ctx context.Context) error {
	return n.life.End(func() error { return n.close(ctx) })
}

func (n *Node) close(ctx context.Context) error {
	err := errors.Join(n.http.Shutdown(ctx), n.admin.Shutdown(ctx))
	if n.base != nil {
		err = errors.Join(err, n.base.Close())
	}
	return err
}
