// Package cast is the root of a tree: it takes live channels from encoders over HTTP, sends them by multicast, and gives
// its children what multicast did not bring them.
package cast

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/flute/repair"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/depot"
	"github.com/treedn/treedn/internal/edge"
	"github.com/treedn/treedn/internal/emission"
	"github.com/treedn/treedn/internal/ingest"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
)

// Options are what a configuration file does not hold.
type Options struct {
	Logger *slog.Logger // required
	// Standby reports whether a push comes from a publisher that gives way to any other. Default: none does.
	Standby func(*http.Request) bool
}

// Node is a running CAST. Its methods are safe for concurrent use.
type Node struct {
	log     *slog.Logger
	now     func() time.Time
	via     string // stands for this node in Via fields
	started time.Time
	store   *cache.Store
	depot   *depot.Depot
	ingest  *ingest.Server
	repairs *repair.Handler

	ingestServer, repairServer, adminServer *node.Server

	life  node.Life[config.Cast]
	self  config.Node
	pulls map[string]*pull // by channel; see pull

	mu       sync.RWMutex // guards below
	channels map[string]*channel
}

// channel is one live channel.
type channel struct {
	cfg   config.Channel // replaced with its channel
	svc   *service.Service
	out   *emission.Emission
	delay *telemetry.Latency // from taking a chunk in to its last packet
	rate  *telemetry.Rate    // of what is taken in

	key    ed25519.PrivateKey // nil: the channel is unsigned
	sealer *sealing.Sealer    // likewise
	stop   context.CancelFunc // ends the sealer
	done   chan struct{}      // it has
}

// New opens the node's servers and sockets. The configuration must be complete, as config.Complete returns it. Close the
// node, or Run it.
func New(cfg *config.Cast, o Options) (*Node, error) {
	n := &Node{log: o.Logger, now: node.Clock(cfg.Node.ClockOffset), via: node.Pseudonym(cfg.Node.Name), self: cfg.Node, channels: make(map[string]*channel)}
	n.started = n.now()
	n.life.Begin(cfg)
	if err := n.open(cfg, o); err != nil {
		_ = n.Close(node.AtOnce())
		return nil, err
	}
	return n, nil
}

func (n *Node) open(cfg *config.Cast, o Options) (err error) {
	if n.store, err = cache.Open(cache.Config{MaxObject: node.MaxObject, Now: n.now, Logger: n.log}); err != nil {
		return err
	}
	n.depot = depot.New(n.store)
	for _, c := range cfg.Channels {
		if err := n.add(c); err != nil {
			return err
		}
	}
	state := ""
	if cfg.Node.StateDir != "" {
		state = filepath.Join(string(cfg.Node.StateDir), "ingest")
	}
	n.ingest, err = ingest.New(ingest.Config{
		Sink: sink{n}, Channels: ingestChannels(cfg.Channels), RequireKey: !cfg.Ingest.Listen.Loopback(),
		MaxObject: node.MaxObject,
		StateDir:  state, Standby: o.Standby, Logger: n.log, Now: n.now,
	})
	if err != nil {
		return err
	}
	n.pull(cfg.Channels)
	n.repairs = &repair.Handler{Backend: n.depot, NodeID: n.via, RetryAfter: node.RetryAfter, Logger: n.log}
	objects := http.NewServeMux()
	objects.Handle(repair.PathPrefix, n.repairs)
	objects.Handle(sealing.PathPrefix, &sealing.Handler{Store: n.store, Newest: n.seals, Services: n.Service})
	objects.Handle(sealing.SignallingPrefix, &sealing.SignallingHandler{Lookup: n.signalling})
	objects.Handle("/", edge.New(edge.Config{Store: n.store, Services: n.Service, Node: cfg.Node.Name, Via: n.via}))
	if n.ingestServer, err = node.OpenIngest(cfg.Ingest.Listen, cfg.Ingest.TLS, n.ingest, n.log); err != nil {
		return err
	}
	if n.repairServer, err = node.Open(cfg.Repair.Listen, config.TLS{}, objects, n.log); err != nil {
		return err
	}
	n.tune(cfg)
	n.adminServer, err = node.Open(cfg.Admin.Listen, config.TLS{}, telemetry.NewHandler(telemetry.Config{Status: n.Status, Pprof: cfg.Admin.Pprof, Log: n.log}), n.log)
	return err
}

// tune bounds the servers as a configuration says.
func (n *Node) tune(cfg *config.Cast) {
	n.ingestServer.SetLimits(cfg.Ingest.Limits)
	n.repairServer.SetLimits(cfg.Repair.Limits)
}

func ingestChannels(channels []config.Channel) map[string]ingest.Channel {
	m := make(map[string]ingest.Channel, len(channels))
	for _, c := range channels {
		// Who pushes faster than the multicast may go waits: what it has sent would be too late for everybody.
		ic := ingest.Channel{MaxRate: int64(c.Multicast.Rate) / 8}
		if !c.Pull.IsZero() {
			// It takes no pushes: nobody knows a key with this hash.
			ic.Keys = []ingest.KeyHash{{}}
		}
		for _, k := range c.Keys {
			ic.Keys = append(ic.Keys, ingest.KeyHash(k.Sum()))
		}
		m[c.Name] = ic
	}
	return m
}

// add starts a channel.
func (n *Node) add(c config.Channel) error {
	if err := n.keep(c); err != nil {
		return err
	}
	x := &channel{
		cfg: c, delay: new(telemetry.Latency), rate: new(telemetry.Rate),
		svc: service.New(service.Config{Name: c.Name, Store: n.store, Runs: true, Now: n.now, Logger: n.log}),
	}
	state, err := node.SealState(n.self, c.Name+".hop")
	if err != nil {
		return fmt.Errorf("channel %s: %w", c.Name, err)
	}
	x.out = emission.New(emission.Config{Service: x.svc, Depot: n.depot, Delay: x.delay, SealState: state, Now: n.now, Logger: n.log})
	if x.key, err = n.key(x, c); err == nil && x.key != nil {
		err = n.seal(x)
	}
	if err == nil {
		err = x.out.Change(c.Multicast, x.key)
	}
	if err != nil {
		x.end(node.AtOnce())
		n.store.RemoveService(c.Name)
		return fmt.Errorf("channel %s: %w", c.Name, err)
	}
	n.set(x)
	return nil
}

// key returns the key that a channel is to be sealed with: the one that it has if the configuration has not changed, nil if
// it is unsigned.
func (n *Node) key(x *channel, c config.Channel) (ed25519.PrivateKey, error) {
	if c.Unsigned {
		n.log.Warn("channel is unsigned: receivers cannot tell forged packets", "channel", c.Name)
		return nil, nil
	}
	if x.key != nil && reflect.DeepEqual(c.SealKey, x.cfg.SealKey) {
		return x.key, nil
	}
	return node.SealKey(n.self, c.SealKey, c.Name, n.log)
}

// seal begins to seal the channel with its key.
func (n *Node) seal(x *channel) error {
	state, err := node.SealState(n.self, x.cfg.Name)
	if err != nil {
		return err
	}
	sealer, err := sealing.NewSealer(sealing.SealerConfig{Service: x.svc, Store: n.store, Key: x.key, State: state, Now: n.now, Logger: n.log})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	x.sealer, x.stop, x.done = sealer, cancel, done
	go func() {
		defer close(done)
		sealer.Run(ctx)
	}()
	return nil
}

func (x *channel) unseal() {
	if x.sealer != nil {
		x.stop()
		<-x.done
	}
	x.key, x.sealer = nil, nil
}

// end ends what the channel sends. What has begun may be sent until ctx ends.
func (x *channel) end(ctx context.Context) {
	x.out.Close(ctx)
	x.unseal()
}

// seals returns the newest seals of a channel, for children at their first contact.
func (n *Node) seals(name string) (datagrams [][]byte, ok bool) {
	x := n.channel(name)
	if x == nil || x.sealer == nil {
		return nil, false
	}
	for _, b := range [][]byte{x.sealer.Newest(), x.out.NewestSeal()} {
		if b != nil {
			datagrams = append(datagrams, b)
		}
	}
	return datagrams, true
}

// signalling returns what a channel announces, for children who do not get it by multicast.
func (n *Node) signalling(channel, name string) (s sealing.Signalling, ok bool) {
	if x := n.channel(channel); x != nil {
		return x.out.Signalling(name)
	}
	return s, false
}

// keep tells the store how long a channel's objects stay.
func (n *Node) keep(c config.Channel) error {
	if err := n.store.SetService(c.Name, cache.ServiceConfig{Retention: c.Retention}); err != nil {
		return fmt.Errorf("channel %s: %w", c.Name, err)
	}
	return nil
}

// change applies a channel's configuration. If any of it cannot be applied, nothing is.
func (n *Node) change(_, c config.Channel) error {
	have := n.channel(c.Name)
	x := *have
	var err error
	if x.key, err = n.key(have, c); err != nil {
		return fmt.Errorf("channel %s: %w", c.Name, err)
	}
	if err := n.keep(c); err != nil {
		return err
	}
	x.cfg = c
	if have.sealer == nil && x.key != nil {
		err = n.seal(&x)
	}
	if err == nil {
		err = x.out.Change(c.Multicast, x.key)
	}
	if err == nil && have.sealer != nil && x.key != nil && !x.key.Equal(have.key) {
		if err = x.sealer.Rotate(x.key); err != nil {
			_ = x.out.Change(have.cfg.Multicast, have.key) // it could be before
		}
	}
	if err != nil {
		if x.sealer != have.sealer {
			x.unseal()
		}
		_ = n.keep(have.cfg) // likewise
		return fmt.Errorf("channel %s: %w", c.Name, err)
	}
	if x.key == nil {
		x.unseal()
	}
	n.set(&x)
	return nil
}

func (n *Node) remove(c config.Channel) {
	x := n.channel(c.Name)
	n.mu.Lock()
	delete(n.channels, c.Name)
	n.mu.Unlock()
	x.end(node.AtOnce())
	n.store.RemoveService(c.Name)
}

func (n *Node) set(x *channel) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.channels[x.cfg.Name] = x
}

func (n *Node) channel(name string) *channel {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.channels[name]
}

// Service finds the service of a channel; nil if there is none.
func (n *Node) Service(name string) *service.Service {
	if x := n.channel(name); x != nil {
		return x.svc
	}
	return nil
}

// IngestURL, RepairURL and AdminURL are the base URLs of the node's servers, empty for one that is off.
func (n *Node) IngestURL() string { return n.ingestServer.URL() }
func (n *Node) RepairURL() string { return n.repairServer.URL() }
func (n *Node) AdminURL() string  { return n.adminServer.URL() }

// Via is what stands for this node in Via fields.
func (n *Node) Via() string { return n.via }

// Addresses are the base URLs of the node's servers.
func (n *Node) Addresses() []slog.Attr {
	return []slog.Attr{slog.String("ingest", n.IngestURL()), slog.String("repair", n.RepairURL()), slog.String("admin", n.AdminURL())}
}

// Apply changes the running node to another configuration and touches only what differs. What cannot change without a
// restart is named in the error, and then nothing is changed. A channel that cannot be changed stays as it is, one that
// cannot be added stays away, until the configuration is applied again.
func (n *Node) Apply(next *config.Cast) error { return n.life.Change(next, n.apply) }

func (n *Node) apply(have, next *config.Cast) (*config.Cast, error) {
	if err := node.Fixed(
		node.Value{Key: "node", Old: have.Node, New: next.Node},
		node.Value{Key: "ingest.listen", Old: have.Ingest.Listen, New: next.Ingest.Listen},
		node.Value{Key: "ingest.tls", Old: have.Ingest.TLS.Enabled(), New: next.Ingest.TLS.Enabled()},
		node.Value{Key: "repair.listen", Old: have.Repair.Listen, New: next.Repair.Listen},
		node.Value{Key: "admin", Old: have.Admin, New: next.Admin},
		node.Value{Key: "log.format", Old: have.Log.Format, New: next.Log.Format},
	); err != nil {
		return nil, err
	}
	if err := n.ingestServer.Renew(next.Ingest.TLS); err != nil {
		return nil, err
	}
	n.tune(next)
	applied := *next
	var err error
	applied.Channels, err = node.ApplyEach(have.Channels, next.Channels, node.Actions[config.Channel]{
		Add: n.add, Change: n.change, Remove: n.remove,
	})
	err = errors.Join(err, n.ingest.SetChannels(ingestChannels(applied.Channels)))
	n.pull(applied.Channels)
	return &applied, err
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
			return node.Drain(ctx, n.Close)
		}
	}
}

// Close ends the node. Requests under way may go on until ctx ends. It may be called more than once.
func (n *Node) Close(ctx context.Context) error {
	return n.life.End(func() error { return n.close(ctx) })
}

func (n *Node) close(ctx context.Context) error {
	n.pull(nil)
	err := n.ingestServer.Shutdown(ctx)
	if n.ingest != nil {
		err = errors.Join(err, n.ingest.Close())
	}
	n.mu.RLock()
	channels := maps.Clone(n.channels)
	n.mu.RUnlock()
	var ends sync.WaitGroup
	for _, x := range channels {
		ends.Go(func() { x.end(ctx) })
	}
	ends.Wait()
	err = errors.Join(err, n.repairServer.Shutdown(ctx), n.adminServer.Shutdown(ctx))
	if n.store != nil {
		err = errors.Join(err, n.store.Close())
	}
	return err
}
