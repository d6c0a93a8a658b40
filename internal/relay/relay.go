// Package relay is an inner node of a tree: it receives services by multicast, repairs them from its parents, serves
// players, sends services on by multicast with repair packets of its own, and gives its children what they miss.
package relay

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/treedn/treedn/flute/repair"
	"github.com/treedn/treedn/internal/amtrelay"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/depot"
	"github.com/treedn/treedn/internal/edge"
	"github.com/treedn/treedn/internal/emission"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/reception"
	"github.com/treedn/treedn/internal/sealing"
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
	amt     *amtrelay.Relay

	http, repairServer, admin *node.Server
	origins                   node.Origins

	life node.Life[config.Relay]
	self config.Node

	mu        sync.Mutex                    // guards below
	emissions map[string]*emission.Emission // by service
	keys      map[string]ed25519.PrivateKey // of the signalling that is sent, by service; none for unsigned ones
}

// New opens the node's servers and sockets. The configuration must be complete, as config.Complete returns it. Close the
// node, or Run it.
func New(cfg *config.Relay, o Options) (*Node, error) {
	n := &Node{log: o.Logger, now: node.Clock(cfg.Node.ClockOffset), self: cfg.Node, emissions: make(map[string]*emission.Emission), keys: make(map[string]ed25519.PrivateKey)}
	n.life.Begin(cfg)
	if err := n.open(cfg, o); err != nil {
		_ = n.Close(node.AtOnce())
		return nil, err
	}
	return n, nil
}

func (n *Node) open(cfg *config.Relay, o Options) (err error) {
	n.base, err = reception.OpenBase("relay", cfg.Node, cfg.Cache, reception.Options{Loss: o.Loss, Children: true, Now: n.now, Logger: n.log})
	if err != nil {
		return err
	}
	n.depot = depot.New(n.base.Store)
	for _, c := range cfg.Services {
		if err := n.add(c); err != nil {
			return err
		}
	}
	objects := edge.New(edge.Config{Store: n.base.Store, Services: n.base.Services.Lookup, Node: cfg.Node.Name, Via: n.base.Via})
	n.repairs = &repair.Handler{Backend: n.depot, NodeID: n.base.Via, RetryAfter: node.RetryAfter, Logger: n.log}
	children := http.NewServeMux()
	children.Handle(repair.PathPrefix, n.repairs)
	children.Handle(sealing.PathPrefix, &sealing.Handler{Store: n.base.Store, Newest: n.seals, Services: n.base.Services.Lookup})
	children.Handle(sealing.SignallingPrefix, &sealing.SignallingHandler{Lookup: n.signalling})
	children.Handle("/", objects)
	if n.http, err = node.Open(cfg.HTTP.Listen, cfg.HTTP.TLS, n.origins.Wrap(objects), n.log); err != nil {
		return err
	}
	if n.repairServer, err = node.Open(cfg.Repair.Listen, config.TLS{}, children, n.log); err != nil {
		return err
	}
	n.tune(cfg)
	if n.amt, err = amtrelay.Open(cfg.AMT, n.log); err != nil {
		return err
	}
	n.admin, err = node.Open(cfg.Admin.Listen, config.TLS{}, telemetry.NewHandler(telemetry.Config{Status: n.Status, Pprof: cfg.Admin.Pprof, Log: n.log}), n.log)
	return err
}

// tune makes the servers what a configuration says of them, but for what needs a restart.
func (n *Node) tune(cfg *config.Relay) {
	n.origins.Set(cfg.HTTP.CORS.Origins)
	n.http.SetLimits(cfg.HTTP.Limits)
	n.repairServer.SetLimits(cfg.Repair.Limits)
}

// add starts a service.
func (n *Node) add(c config.RelayService) error {
	x, err := n.base.Services.Add(c.Service)
	if err != nil {
		return err
	}
	state, err := node.SealState(n.self, c.Name+".hop")
	if err != nil {
		n.base.Services.Remove(c.Name)
		return fmt.Errorf("service %s: %w", c.Name, err)
	}
	e := emission.New(emission.Config{Service: x.Service, Depot: n.depot, SealState: state, Now: n.now, Logger: n.log})
	key, err := n.key(config.RelayService{}, c)
	if err == nil {
		err = e.Change(c.Downstream, key)
	}
	if err != nil {
		e.Close(node.AtOnce())
		n.base.Services.Remove(c.Name)
		return fmt.Errorf("service %s: %w", c.Name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.emissions[c.Name], n.keys[c.Name] = e, key
	return nil
}

// key returns the key that seals the signalling of what is sent.
func (n *Node) key(old, c config.RelayService) (ed25519.PrivateKey, error) {
	if c.Downstream.IsZero() || c.Upstream.Unsigned {
		return nil, nil
	}
	n.mu.Lock()
	key := n.keys[c.Name]
	n.mu.Unlock()
	if key != nil && reflect.DeepEqual(old.SealKey, c.SealKey) {
		return key, nil
	}
	return node.SealKey(n.self, c.SealKey, c.Name, n.log)
}

// seals returns the newest seals of a service, for children at their first contact.
func (n *Node) seals(name string) (datagrams [][]byte, ok bool) {
	x := n.base.Services.Get(name)
	if x == nil || !x.Sealed() {
		return nil, false
	}
	if b := x.NewestSeal(); b != nil {
		datagrams = append(datagrams, b)
	}
	if e := n.emission(name); e != nil {
		if b := e.NewestSeal(); b != nil {
			datagrams = append(datagrams, b)
		}
	}
	return datagrams, true
}

// signalling returns what a service announces, for children who do not get it by multicast.
func (n *Node) signalling(service, name string) (s sealing.Signalling, ok bool) {
	if e := n.emission(service); e != nil {
		return e.Signalling(name)
	}
	return s, false
}

func (n *Node) change(old, c config.RelayService) error {
	key, err := n.key(old, c)
	if err != nil {
		return fmt.Errorf("service %s: %w", c.Name, err)
	}
	commit, undo, err := n.base.Services.Prepare(c.Service)
	if err != nil {
		return err
	}
	if err := n.emission(c.Name).Change(c.Downstream, key); err != nil {
		undo()
		return fmt.Errorf("service %s: %w", c.Name, err)
	}
	commit()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keys[c.Name] = key
	return nil
}

func (n *Node) remove(c config.RelayService) {
	e := n.emission(c.Name)
	n.mu.Lock()
	delete(n.emissions, c.Name)
	delete(n.keys, c.Name)
	n.mu.Unlock()
	e.Close(node.AtOnce())
	n.base.Services.Remove(c.Name)
}

func (n *Node) emission(name string) *emission.Emission {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.emissions[name]
}

// URL, RepairURL and AdminURL are the base URLs of the node's servers, empty for one that is off.
func (n *Node) URL() string       { return n.http.URL() }
func (n *Node) RepairURL() string { return n.repairServer.URL() }
func (n *Node) AdminURL() string  { return n.admin.URL() }

// Via is what stands for this node in Via fields.
func (n *Node) Via() string { return n.base.Via }

// Addresses are the base URLs of the node's servers.
func (n *Node) Addresses() []slog.Attr {
	return []slog.Attr{slog.String("http", n.URL()), slog.String("repair", n.RepairURL()), slog.String("admin", n.AdminURL())}
}

// Apply changes the running node to another configuration and touches only what differs. What cannot change without a
// restart is named in the error, and then nothing is changed. A service that cannot be changed stays as it is, one that
// cannot be added stays away, until the configuration is applied again.
func (n *Node) Apply(next *config.Relay) error { return n.life.Change(next, n.apply) }

func (n *Node) apply(have, next *config.Relay) (*config.Relay, error) {
	if err := node.Fixed(
		node.Value{Key: "node", Old: have.Node, New: next.Node},
		node.Value{Key: "http.listen", Old: have.HTTP.Listen, New: next.HTTP.Listen},
		node.Value{Key: "http.tls", Old: have.HTTP.TLS.Enabled(), New: next.HTTP.TLS.Enabled()},
		node.Value{Key: "repair.listen", Old: have.Repair.Listen, New: next.Repair.Listen},
		node.Value{Key: "admin", Old: have.Admin, New: next.Admin},
		node.Value{Key: "log.format", Old: have.Log.Format, New: next.Log.Format},
		node.Value{Key: "cache", Old: have.Cache, New: next.Cache},
	); err != nil {
		return nil, err
	}
	renew, err := n.http.Renewal(next.HTTP.TLS)
	if err != nil {
		return nil, err
	}
	if err := n.amt.Apply(next.AMT); err != nil {
		return nil, err
	}
	renew()
	n.tune(next)
	applied := *next
	applied.Services, err = node.ApplyEach(have.Services, next.Services, node.Actions[config.RelayService]{
		Add: n.add, Change: n.change, Remove: n.remove,
	})
	return &applied, err
}

// Status returns what the node does now.
func (n *Node) Status() telemetry.Status {
	st := n.base.Status(n.now())
	st.HTTP, st.Repair = n.http.Status(), n.repairServer.Status()
	st.Repair.Symbols = n.repairs.Stats().Symbols
	st.AMT = n.amt.Status()
	for i := range st.Services {
		if e := n.emission(st.Services[i].Name); e != nil {
			e.Status(&st.Services[i])
		}
	}
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
	n.amt.Drain(context.WithoutCancel(ctx))
	return node.Drain(ctx, n.Close)
}

// Close ends the node. Requests under way may go on until ctx ends. It may be called more than once.
func (n *Node) Close(ctx context.Context) error {
	return n.life.End(func() error { return n.close(ctx) })
}

func (n *Node) close(ctx context.Context) error {
	err := errors.Join(node.ShutdownAll(ctx, n.http, n.repairServer), n.amt.Close(), n.admin.Shutdown(ctx))
	if n.base != nil {
		n.base.Services.Close()
	}
	n.mu.Lock()
	emissions := maps.Clone(n.emissions)
	n.mu.Unlock()
	var ends sync.WaitGroup
	for _, e := range emissions {
		ends.Go(func() { e.Close(ctx) })
	}
	ends.Wait()
	if n.base != nil {
		err = errors.Join(err, n.base.Close())
	}
	return err
}
