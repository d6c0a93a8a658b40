package amtrelay

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/telemetry"
)

// Node is an AMT relay that runs alone, with its server for operators.
type Node struct {
	log     *slog.Logger
	now     func() time.Time
	started time.Time
	relay   *Relay
	admin   *node.Server
	closing sync.Once

	applying sync.Mutex // guards below; held while a configuration is applied
	cfg      *config.AMTRelay
	ended    bool
}

// New opens the sockets. The configuration must be complete, as config.Complete returns it. Close the node, or Run it.
func New(cfg *config.AMTRelay, log *slog.Logger) (*Node, error) {
	n := &Node{log: log, now: node.Clock(cfg.Node.ClockOffset), cfg: cfg}
	n.started = n.now()
	var err error
	if n.relay, err = Open(cfg.AMT, log); err != nil {
		return nil, err
	}
	n.admin, err = node.Open(cfg.Admin.Listen, config.TLS{}, telemetry.NewHandler(telemetry.Config{Status: n.Status, Pprof: cfg.Admin.Pprof, Log: log}), log)
	if err != nil {
		_ = n.Close(node.AtOnce())
		return nil, err
	}
	return n, nil
}

// Apply changes the running node to another configuration. What cannot change without a restart is named in the error,
// and then nothing is changed.
func (n *Node) Apply(next *config.AMTRelay) error {
	n.applying.Lock()
	defer n.applying.Unlock()
	if n.ended {
		return net.ErrClosed
	}
	if err := node.Fixed(
		node.Value{Key: "node", Old: n.cfg.Node, New: next.Node},
		node.Value{Key: "admin", Old: n.cfg.Admin, New: next.Admin},
		node.Value{Key: "log.format", Old: n.cfg.Log.Format, New: next.Log.Format},
	); err != nil {
		return err
	}
	if err := n.relay.Apply(next.AMT); err != nil {
		return err
	}
	n.cfg = next
	return nil
}

// Addresses are where the node is reached.
func (n *Node) Addresses() []slog.Attr {
	var amt []string
	for _, a := range n.relay.Addrs() {
		amt = append(amt, a.String())
	}
	return []slog.Attr{slog.String("amt", strings.Join(amt, " ")), slog.String("admin", n.AdminURL())}
}

// AdminURL is the base URL of the operators' server, empty if it is off.
func (n *Node) AdminURL() string { return n.admin.URL() }

// Status returns what the node does now.
func (n *Node) Status() telemetry.Status {
	n.applying.Lock()
	name := n.cfg.Node.Name
	n.applying.Unlock()
	st := telemetry.Status{Node: telemetry.NewNode(name, "amt-relay", n.started, n.now()), Services: []telemetry.Service{}, AMT: n.relay.Status()}
	st.Readiness = telemetry.NotReadyFor(n.relay.NotReady())
	return st
}

// Run waits until ctx ends, lets the gateways go elsewhere, and closes the node.
func (n *Node) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-n.relay.failures():
		err := n.relay.failed
		return errors.Join(err, n.Close(node.AtOnce()))
	}
	n.relay.Drain(context.WithoutCancel(ctx))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), node.DrainTime)
	defer cancel()
	return n.Close(ctx)
}

// Close ends the node. It may be called more than once.
func (n *Node) Close(ctx context.Context) (err error) {
	n.closing.Do(func() {
		n.applying.Lock()
		n.ended = true
		n.applying.Unlock()
		err = errors.Join(n.relay.Close(), n.admin.Shutdown(ctx))
	})
	return err
}
