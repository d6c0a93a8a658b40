// Package beacon is the leaf of a tree, at a home or a venue: it receives services by multicast, repairs them from its
// parents, and serves players. It gives nothing to other nodes: no repair server, no transit.
package beacon

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
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
	log    *slog.Logger
	now    func() time.Time
	base   *reception.Base
	http   *node.Server
	admin  *node.Server
	count  telemetry.Requests
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.RWMutex // guards below
	cfg    *config.Beacon
	closed bool
}

// New opens the node's servers and sockets. The configuration must be complete, as config.Complete returns it. Close the
// node, or Run it.
func New(cfg *config.Beacon, o Options) (*Node, error) {
	n := &Node{log: o.Logger, now: node.Clock(cfg.Node.ClockOffset), cfg: cfg}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.open(o); err != nil {
		n.Close(context.Background())
		return nil, err
	}
	return n, nil
}

func (n *Node) open(o Options) (err error) {
	cfg := n.cfg
	n.base, err = reception.OpenBase("beacon", cfg.Node, cfg.Cache, reception.Options{Loss: o.Loss, Now: n.now, Logger: n.log})
	if err != nil {
		return err
	}
	for _, c := range cfg.Services {
		if _, err := n.base.Services.Add(n.ctx, c); err != nil {
			return err
		}
	}
	players := edge.New(edge.Config{Store: n.base.Store, Services: n.base.Services.Lookup, Node: cfg.Node.Name})
	if n.http, err = node.Open(cfg.HTTP.Listen, cfg.HTTP.TLS, n.count.Wrap(players), n.log); err != nil {
		return err
	}
	n.admin, err = node.Open(cfg.Admin.Listen, config.TLS{}, telemetry.NewHandler(telemetry.Config{Status: n.Status, Pprof: cfg.Admin.Pprof, Log: n.log}), n.log)
	return err
}

// URL and AdminURL are the base URLs of the node's servers, empty for one that is off.
func (n *Node) URL() string      { return n.http.URL() }
func (n *Node) AdminURL() string { return n.admin.URL() }

// Apply changes the running node to another configuration and touches only what differs. What cannot change without a
// restart is named in the error, and then nothing is changed.
func (n *Node) Apply(next *config.Beacon) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := node.Fixed(n.cfg.Node, next.Node, map[string][2]any{
		"http.listen":  {n.cfg.HTTP.Listen, next.HTTP.Listen},
		"admin.listen": {n.cfg.Admin.Listen, next.Admin.Listen},
		"cache":        {n.cfg.Cache, next.Cache},
	}); err != nil {
		return err
	}
	var cert *tls.Certificate
	if next.HTTP.TLS.Enabled() {
		c, err := next.HTTP.TLS.Certificate()
		if err != nil {
			return err
		}
		cert = &c
	}
	n.http.SetCertificate(cert)
	changes := config.Diff(n.cfg.Services, next.Services)
	for _, c := range changes.Removed {
		n.base.Services.Remove(c.Name)
	}
	var errs []error
	for _, c := range changes.Added {
		_, err := n.base.Services.Add(n.ctx, c)
		errs = append(errs, err)
	}
	for _, c := range changes.Changed {
		errs = append(errs, n.base.Services.Change(n.ctx, c.New))
	}
	n.cfg = next
	return errors.Join(errs...)
}

// Status returns what the node does now.
func (n *Node) Status() telemetry.Status {
	st := n.base.Status(n.now())
	st.HTTP = n.count.Server()
	return st
}

// Injected returns the packets dropped on purpose.
func (n *Node) Injected() uint64 { return n.base.Injected() }

// Run waits until ctx ends, and then closes the node: requests under way may end.
func (n *Node) Run(ctx context.Context) error {
	n.base.Sweep(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), node.DrainTime)
	defer cancel()
	return n.Close(ctx)
}

// Close ends the node. Requests under way may go on until ctx ends. It may be called more than once.
func (n *Node) Close(ctx context.Context) error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	n.mu.Unlock()
	err := errors.Join(node.Shutdown(ctx, n.http), node.Shutdown(ctx, n.admin))
	n.cancel()
	if n.base != nil {
		err = errors.Join(err, n.base.Close())
	}
	return err
}
