// Package cast is the root of a tree: it takes live channels from encoders over HTTP, sends them by multicast, and gives
// its children what multicast did not bring them.
package cast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/flute/repair"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/depot"
	"github.com/treedn/treedn/internal/edge"
	"github.com/treedn/treedn/internal/egress"
	"github.com/treedn/treedn/internal/ingest"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
)

// Node is a running CAST. Its methods are safe for concurrent use.
type Node struct {
	log     *slog.Logger
	now     func() time.Time
	started time.Time
	store   *cache.Store
	depot   *depot.Depot
	ingest  *ingest.Server

	ingestServer, repairServer, adminServer *node.Server
	ingestCount, repairCount                telemetry.Requests
	repairs                                 *repair.Handler

	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.RWMutex // guards below
	cfg      *config.Cast
	channels map[string]*channel
	closed   bool
}

// channel is one live channel.
type channel struct {
	cfg     config.Channel
	svc     *service.Service
	out     *egress.Egress
	stop    context.CancelFunc
	pull    context.CancelFunc
	group   sync.WaitGroup
	rateOut telemetry.Rate
	lastOut uint64
	rateIn  telemetry.Rate
	lastIn  uint64
}

// New opens the node's servers and sockets. The configuration must be complete, as config.Complete returns it. Close the
// node, or Run it.
func New(cfg *config.Cast, log *slog.Logger) (*Node, error) {
	n := &Node{log: log, now: node.Clock(cfg.Node.ClockOffset), cfg: cfg, channels: make(map[string]*channel)}
	n.started = n.now()
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.open(); err != nil {
		n.Close(context.Background())
		return nil, err
	}
	return n, nil
}

func (n *Node) open() (err error) {
	cfg := n.cfg
	if n.store, err = cache.Open(cache.Config{Now: n.now, Logger: n.log}); err != nil {
		return err
	}
	n.depot = depot.New(n.store)
	n.mu.Lock()
	for _, c := range cfg.Channels {
		if err := n.add(c); err != nil {
			n.mu.Unlock()
			return err
		}
	}
	n.mu.Unlock()
	state := ""
	if cfg.Node.StateDir != "" {
		state = filepath.Join(string(cfg.Node.StateDir), "ingest")
	}
	n.ingest, err = ingest.New(ingest.Config{
		Sink: sink{n}, Channels: ingestChannels(cfg), RequireKey: !cfg.Ingest.Listen.Loopback(),
		StateDir: state, Logger: n.log, Now: n.now,
	})
	if err != nil {
		return err
	}
	n.repairs = &repair.Handler{Backend: n.depot, NodeID: cfg.Node.Name, Logger: n.log}
	objects := http.NewServeMux()
	objects.Handle(repair.PathPrefix, n.repairs)
	objects.Handle("/", edge.New(edge.Config{Store: n.store, Services: n.Service, Node: cfg.Node.Name}))
	if n.ingestServer, err = node.Open(cfg.Ingest.Listen, cfg.Ingest.TLS, n.ingestCount.Wrap(n.ingest), n.log); err != nil {
		return err
	}
	if n.repairServer, err = node.Open(cfg.Repair.Listen, config.TLS{}, n.repairCount.Wrap(objects), n.log); err != nil {
		return err
	}
	n.adminServer, err = node.Open(cfg.Admin.Listen, config.TLS{}, telemetry.NewHandler(telemetry.Config{Status: n.Status, Pprof: cfg.Admin.Pprof, Log: n.log}), n.log)
	return err
}

func ingestChannels(cfg *config.Cast) map[string]ingest.Channel {
	m := make(map[string]ingest.Channel, len(cfg.Channels))
	for _, c := range cfg.Channels {
		if !c.Pull.IsZero() {
			continue // takes no pushes
		}
		ic := ingest.Channel{}
		for _, k := range c.Keys {
			ic.Keys = append(ic.Keys, ingest.KeyHash(k.Sum()))
		}
		m[c.Name] = ic
	}
	return m
}

// add starts a channel. It is called with mu held.
func (n *Node) add(c config.Channel) error {
	if err := n.store.SetService(c.Name, cache.ServiceConfig{Retention: c.Retention}); err != nil {
		return err
	}
	x := &channel{cfg: c}
	x.svc = service.New(service.Config{Name: c.Name, Store: n.store, Now: n.now, Logger: n.log})
	if err := n.send(x, c.Multicast); err != nil {
		return fmt.Errorf("channel %s: %w", c.Name, err)
	}
	n.channels[c.Name] = x
	return nil
}

// send makes the channel leave by multicast.
func (n *Node) send(x *channel, d config.Downstream) error {
	out, err := egress.New(egress.FromConfig(d, n.now, n.log))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(n.ctx)
	x.out, x.stop = out, cancel
	x.group.Go(func() { _ = out.Run(ctx) })
	x.svc.AddSink(out)
	n.depot.Add(depot.Outlet{Service: x.cfg.Name, Sender: out})
	return nil
}

// linger is how long a session that was replaced goes on with the objects that it has begun, and is answered for by the
// repair server.
const linger = 10 * time.Second

// resend moves the channel to another session. What has begun ends on the old one; what begins goes to the new one.
func (n *Node) resend(x *channel, d config.Downstream) error {
	old, stop := x.out, x.stop
	x.svc.RemoveSink(old)
	if err := n.send(x, d); err != nil {
		x.svc.AddSink(old)
		x.out, x.stop = old, stop
		return err
	}
	x.group.Go(func() {
		select {
		case <-n.ctx.Done():
		case <-time.After(linger):
		}
		stop()
		if old.Session() != x.out.Session() {
			n.depot.Remove(old.Session())
		}
	})
	return nil
}

func (n *Node) remove(name string) {
	x := n.channels[name]
	if x == nil {
		return
	}
	delete(n.channels, name)
	x.end()
	n.depot.Remove(x.out.Session())
	n.store.RemoveService(name)
}

func (x *channel) end() {
	if x.pull != nil {
		x.pull()
	}
	x.stop()
	x.group.Wait()
}

// Service finds the service of a channel; nil if there is none.
func (n *Node) Service(name string) *service.Service {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if x := n.channels[name]; x != nil {
		return x.svc
	}
	return nil
}

// IngestURL, RepairURL and AdminURL are the base URLs of the node's servers, empty for one that is off.
func (n *Node) IngestURL() string { return n.ingestServer.URL() }
func (n *Node) RepairURL() string { return n.repairServer.URL() }
func (n *Node) AdminURL() string  { return n.adminServer.URL() }

// Apply changes the running node to another configuration and touches only what differs. What cannot change without a
// restart is named in the error, and then nothing is changed.
func (n *Node) Apply(next *config.Cast) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := node.Fixed(n.cfg.Node, next.Node, map[string][2]any{
		"ingest.listen": {n.cfg.Ingest.Listen, next.Ingest.Listen},
		"repair.listen": {n.cfg.Repair.Listen, next.Repair.Listen},
		"admin.listen":  {n.cfg.Admin.Listen, next.Admin.Listen},
	}); err != nil {
		return err
	}
	if next.Ingest.TLS.Enabled() {
		c, err := next.Ingest.TLS.Certificate()
		if err != nil {
			return err
		}
		n.ingestServer.SetCertificate(&c)
	}
	changes := config.Diff(n.cfg.Channels, next.Channels)
	for _, c := range changes.Removed {
		n.remove(c.Name)
	}
	var errs []error
	for _, c := range changes.Added {
		errs = append(errs, n.add(c))
	}
	for _, c := range changes.Changed {
		errs = append(errs, n.change(c.New))
	}
	errs = append(errs, n.ingest.SetChannels(ingestChannels(next)))
	n.cfg = next
	return errors.Join(errs...)
}

func (n *Node) change(c config.Channel) error {
	x := n.channels[c.Name]
	if x == nil {
		return n.add(c)
	}
	old := x.cfg
	x.cfg = c
	if err := n.store.SetService(c.Name, cache.ServiceConfig{Retention: c.Retention}); err != nil {
		return err
	}
	if old.Multicast != c.Multicast {
		return n.resend(x, c.Multicast)
	}
	return nil
}

// Run waits until ctx ends, and then closes the node: it takes no new publishers and lets what is under way end.
func (n *Node) Run(ctx context.Context) error {
	sweep := time.NewTicker(5 * time.Second)
	defer sweep.Stop()
	for {
		select {
		case <-sweep.C:
			n.store.Sweep()
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), node.DrainTime)
			defer cancel()
			return n.Close(ctx)
		}
	}
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
	var errs []error
	if n.ingest != nil {
		errs = append(errs, n.ingest.Close())
	}
	errs = append(errs, node.Shutdown(ctx, n.ingestServer))
	n.mu.Lock()
	for _, x := range n.channels {
		x.out.Drain(ctx)
		x.end()
	}
	n.mu.Unlock()
	errs = append(errs, node.Shutdown(ctx, n.repairServer), node.Shutdown(ctx, n.adminServer))
	n.cancel()
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}
