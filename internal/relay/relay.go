// Package relay is an inner node of a tree: it receives services by multicast, repairs them from its parents, serves
// players, sends services on by multicast with repair packets of its own, and gives its children what they miss.
package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/treedn/treedn/flute/repair"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/depot"
	"github.com/treedn/treedn/internal/edge"
	"github.com/treedn/treedn/internal/egress"
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

// Node is a running RELAY. Its methods are safe for concurrent use.
type Node struct {
	log     *slog.Logger
	now     func() time.Time
	base    *reception.Base
	depot   *depot.Depot
	repairs *repair.Handler

	http, repairServer, admin *node.Server
	count, repairCount        telemetry.Requests

	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.RWMutex // guards below
	cfg    *config.Relay
	outs   map[string]*outlet // by service
	closed bool
}

// outlet sends one service on.
type outlet struct {
	out   *egress.Egress
	stop  context.CancelFunc
	group sync.WaitGroup
	rate  telemetry.Rate
	last  uint64
}

// New opens the node's servers and sockets. The configuration must be complete, as config.Complete returns it. Close the
// node, or Run it.
func New(cfg *config.Relay, o Options) (*Node, error) {
	n := &Node{log: o.Logger, now: node.Clock(cfg.Node.ClockOffset), cfg: cfg, outs: make(map[string]*outlet)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.open(o); err != nil {
		n.Close(context.Background())
		return nil, err
	}
	return n, nil
}

func (n *Node) open(o Options) (err error) {
	cfg := n.cfg
	n.base, err = reception.OpenBase("relay", cfg.Node, cfg.Cache, reception.Options{Loss: o.Loss, Now: n.now, Logger: n.log})
	if err != nil {
		return err
	}
	n.depot = depot.New(n.base.Store)
	n.mu.Lock()
	for _, c := range cfg.Services {
		if err := n.add(c); err != nil {
			n.mu.Unlock()
			return err
		}
	}
	n.mu.Unlock()
	objects := edge.New(edge.Config{Store: n.base.Store, Services: n.base.Services.Lookup, Node: cfg.Node.Name})
	n.repairs = &repair.Handler{Backend: n.depot, NodeID: cfg.Node.Name, Logger: n.log}
	children := http.NewServeMux()
	children.Handle(repair.PathPrefix, n.repairs)
	children.Handle("/", objects)
	if n.http, err = node.Open(cfg.HTTP.Listen, cfg.HTTP.TLS, n.count.Wrap(objects), n.log); err != nil {
		return err
	}
	if n.repairServer, err = node.Open(cfg.Repair.Listen, config.TLS{}, n.repairCount.Wrap(children), n.log); err != nil {
		return err
	}
	n.admin, err = node.Open(cfg.Admin.Listen, config.TLS{}, telemetry.NewHandler(telemetry.Config{Status: n.Status, Pprof: cfg.Admin.Pprof, Log: n.log}), n.log)
	return err
}

// add starts a service. It is called with mu held.
func (n *Node) add(c config.RelayService) error {
	x, err := n.base.Services.Add(n.ctx, c.Service)
	if err != nil {
		return err
	}
	if c.Downstream.IsZero() {
		return nil
	}
	if err := n.send(x, c.Downstream); err != nil {
		return fmt.Errorf("service %s: %w", c.Name, err)
	}
	return nil
}

// send makes a service leave by multicast.
func (n *Node) send(x *reception.Service, d config.Downstream) error {
	out, err := egress.New(egress.FromConfig(d, n.now, n.log))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(n.ctx)
	o := &outlet{out: out, stop: cancel}
	o.group.Go(func() { _ = out.Run(ctx) })
	x.AddSink(out)
	n.depot.Add(depot.Outlet{Service: x.Name(), Sender: out})
	n.outs[x.Name()] = o
	return nil
}

// linger is how long a session that was replaced goes on with the objects that it has begun.
const linger = 10 * time.Second

// unsend ends the multicast of a service: at once, or once what has begun has ended.
func (n *Node) unsend(x *reception.Service, o *outlet, at time.Duration) {
	if x != nil {
		x.RemoveSink(o.out)
	}
	end := func() {
		o.stop()
		n.mu.Lock()
		defer n.mu.Unlock()
		if now := n.outs[x.Name()]; now == nil || now.out.Session() != o.out.Session() {
			n.depot.Remove(o.out.Session())
		}
	}
	go func() {
		select {
		case <-n.ctx.Done():
		case <-time.After(at):
		}
		end()
	}()
}

// URL, RepairURL and AdminURL are the base URLs of the node's servers, empty for one that is off.
func (n *Node) URL() string       { return n.http.URL() }
func (n *Node) RepairURL() string { return n.repairServer.URL() }
func (n *Node) AdminURL() string  { return n.admin.URL() }

// Apply changes the running node to another configuration and touches only what differs. What cannot change without a
// restart is named in the error, and then nothing is changed.
func (n *Node) Apply(next *config.Relay) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := node.Fixed(n.cfg.Node, next.Node, map[string][2]any{
		"http.listen":   {n.cfg.HTTP.Listen, next.HTTP.Listen},
		"repair.listen": {n.cfg.Repair.Listen, next.Repair.Listen},
		"admin.listen":  {n.cfg.Admin.Listen, next.Admin.Listen},
		"cache":         {n.cfg.Cache, next.Cache},
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
		if o := n.outs[c.Name]; o != nil {
			delete(n.outs, c.Name)
			n.unsend(n.base.Services.Get(c.Name), o, 0)
		}
		n.base.Services.Remove(c.Name)
	}
	var errs []error
	for _, c := range changes.Added {
		errs = append(errs, n.add(c))
	}
	for _, c := range changes.Changed {
		errs = append(errs, n.change(c.Old, c.New))
	}
	n.cfg = next
	return errors.Join(errs...)
}

func (n *Node) change(old, c config.RelayService) error {
	if err := n.base.Services.Change(n.ctx, c.Service); err != nil {
		return err
	}
	if old.Downstream == c.Downstream {
		return nil
	}
	x := n.base.Services.Get(c.Name)
	if o := n.outs[c.Name]; o != nil {
		delete(n.outs, c.Name)
		n.unsend(x, o, linger)
	}
	if c.Downstream.IsZero() {
		return nil
	}
	return n.send(x, c.Downstream)
}

// Status returns what the node does now.
func (n *Node) Status() telemetry.Status {
	now := n.now()
	st := n.base.Status(now)
	st.HTTP = n.count.Server()
	st.Repair = n.repairCount.Server()
	st.Repair.Symbols = n.repairs.Stats().Symbols
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range st.Services {
		s := &st.Services[i]
		o := n.outs[s.Name]
		if o == nil {
			continue
		}
		sent := o.out.Stats()
		s.PacketsSent, s.OctetsSent, s.FECOctetsSent = sent.Packets, sent.Octets, sent.RepairOctets
		o.rate.Add(now, int(sent.Octets-o.last))
		o.last = sent.Octets
		s.RateOut = o.rate.Bits(now)
	}
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
	outs := n.outs
	n.mu.Unlock()
	err := errors.Join(node.Shutdown(ctx, n.http), node.Shutdown(ctx, n.repairServer), node.Shutdown(ctx, n.admin))
	if n.base != nil {
		n.base.Services.Close()
	}
	for _, o := range outs {
		o.out.Drain(ctx)
		o.stop()
		o.group.Wait()
	}
	n.cancel()
	if n.base != nil {
		err = errors.Join(err, n.base.Close())
	}
	return err
}
