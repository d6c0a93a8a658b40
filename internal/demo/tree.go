// Package demo runs a whole tree in one process: CAST, RELAY and two BEACONs over real multicast on the loopback
// interface, with a built-in clip or FFmpeg as the source. It can show the tree on a page or check it.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/internal/beacon"
	"github.com/treedn/treedn/internal/cast"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/relay"
	"github.com/treedn/treedn/internal/telemetry"
)

// channel is the name of the demonstration's one channel.
const channel = "live"

// TreeOptions say how the tree is built.
type TreeOptions struct {
	// Listen is the address for all servers, default 127.0.0.1.
	Listen netip.Addr
	// IngestPort and BeaconPorts are those of CAST's ingest and of the BEACONs' servers for players; 0 is a free one, as
	// all others are.
	IngestPort  uint16
	BeaconPorts [2]uint16
	// Groups are the groups and ports to which CAST and RELAY send; the zero value draws free ones.
	Groups [2]netip.AddrPort
	// Loss is what the second BEACON loses.
	Loss lossy.Config
	// NoUnicast turns repair and fallback off.
	NoUnicast bool
	// StreamKey is demanded of publishers, needed when Listen is not on loopback.
	StreamKey string
	Logger    *slog.Logger
}

// Tree is four nodes in one process.
type Tree struct {
	Cast    *cast.Node
	Relay   *relay.Node
	Beacons [2]*beacon.Node
	// Channels are the multicast sessions: from CAST, and from RELAY.
	Channels [2]ssm.Channel
	// Keys seal: the content and what CAST sends, and what RELAY sends.
	Keys [2]config.SealKey
}

// BeaconName names the BEACONs.
func BeaconName(i int) string { return fmt.Sprintf("beacon-%d", i+1) }

// loopbackSource draws a source address. Packets from it leave by the loopback interface alone.
func loopbackSource() netip.Addr {
	// Any address in 127/8 is ours. One of its own keeps the session apart from those of other programs.
	return netip.AddrFrom4([4]byte{127, byte(1 + rand.IntN(250)), byte(rand.IntN(256)), byte(1 + rand.IntN(250))})
}

// NewTree probes whether multicast works on loopback, and starts the nodes.
func NewTree(ctx context.Context, o TreeOptions) (*Tree, error) {
	if !o.Listen.IsValid() {
		o.Listen = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	t := &Tree{}
	for i := range t.Channels {
		source := loopbackSource()
		if i == 0 {
			if err := ssm.Probe(ctx, "", source); err != nil {
				return nil, fmt.Errorf("multicast on the loopback interface does not work here: %w", err)
			}
		}
		var err error
		if g := o.Groups[i]; g.IsValid() {
			t.Channels[i] = ssm.Channel{Source: source, Group: g.Addr(), Port: g.Port()}
			err = t.Channels[i].Validate()
		} else {
			t.Channels[i], err = ssm.RandomChannel(source)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := t.start(o); err != nil {
		t.Close(context.Background())
		return nil, err
	}
	return t, nil
}

func session(ch ssm.Channel) config.Session {
	return config.Session{Source: ch.Source, Group: ch.Group, Port: ch.Port}
}

func (t *Tree) start(o TreeOptions) error {
	on := func(port uint16) config.Listen { return config.ListenOn(netip.AddrPortFrom(o.Listen, port)) }
	listen := on(0)
	log := func(name string) *slog.Logger { return o.Logger.With("node", name) }

	t.Keys = [2]config.SealKey{config.GenerateSealKey(), config.GenerateSealKey()}
	root, hop := t.Keys[0], t.Keys[1]
	anchors, hopAnchors := []config.Anchor{config.AnchorOf(root)}, []config.Anchor{config.AnchorOf(hop)}
	c := config.Cast{
		Node:   config.Node{Name: "cast"},
		Ingest: config.Ingest{Listen: on(o.IngestPort)}, Repair: config.Repair{Listen: listen}, Admin: config.Admin{Listen: listen},
		Channels: []config.Channel{{Name: channel, SealKey: root, Multicast: config.Downstream{Session: session(t.Channels[0])}}},
	}
	if o.StreamKey != "" {
		c.Channels[0].Keys = []config.StreamKey{config.NewStreamKey(o.StreamKey)}
	}
	cc, err := config.Complete(c)
	if err != nil {
		return err
	}
	if t.Cast, err = cast.New(cc, cast.Options{Logger: log("cast"), Standby: isClip}); err != nil {
		return err
	}
	parents := func(u string) []config.URL {
		if o.NoUnicast {
			return nil
		}
		p, err := config.ParseURL(u)
		if err != nil {
			panic(err) // the URL of a listener of our own
		}
		return []config.URL{p}
	}
	rc, err := config.Complete(config.Relay{
		Node: config.Node{Name: "relay"},
		HTTP: config.HTTP{Listen: listen}, Repair: config.Repair{Listen: listen}, Admin: config.Admin{Listen: listen},
		Services: []config.RelayService{{
			Service: config.Service{Name: channel, Upstream: config.Upstream{
				Session: session(t.Channels[0]), Parents: parents(t.Cast.RepairURL()), Anchors: anchors,
				TrustFirst: o.NoUnicast,
			}},
			Downstream: config.Downstream{Session: session(t.Channels[1])}, SealKey: hop,
		}},
	})
	if err != nil {
		return err
	}
	if t.Relay, err = relay.New(rc, relay.Options{Logger: log("relay")}); err != nil {
		return err
	}
	for i := range t.Beacons {
		bc, err := config.Complete(config.Beacon{
			Node: config.Node{Name: BeaconName(i)},
			HTTP: config.HTTP{Listen: on(o.BeaconPorts[i])}, Admin: config.Admin{Listen: listen},
			Services: []config.Service{{Name: channel, Upstream: config.Upstream{
				Session: session(t.Channels[1]), Parents: parents(t.Relay.RepairURL()),
				Anchors: anchors, HopAnchors: hopAnchors, TrustFirst: o.NoUnicast,
			}}},
		})
		if err != nil {
			return err
		}
		bo := beacon.Options{Logger: log(BeaconName(i))}
		if i == 1 {
			bo.Loss = o.Loss
		}
		if t.Beacons[i], err = beacon.New(bc, bo); err != nil {
			return err
		}
	}
	return nil
}

// Nodes returns the status of all nodes, from the root to the leaves.
func (t *Tree) Nodes() []telemetry.Status {
	return []telemetry.Status{t.Cast.Status(), t.Relay.Status(), t.Beacons[0].Status(), t.Beacons[1].Status()}
}

// Close ends the nodes, leaves first, so that none misses its parent. It may be called more than once.
func (t *Tree) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var errs []error
	var leaves sync.WaitGroup
	var mu sync.Mutex
	for _, b := range t.Beacons {
		if b == nil {
			continue
		}
		leaves.Go(func() {
			err := b.Close(ctx)
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
		})
	}
	leaves.Wait()
	if t.Relay != nil {
		errs = append(errs, t.Relay.Close(ctx))
	}
	if t.Cast != nil {
		errs = append(errs, t.Cast.Close(ctx))
	}
	if err := errors.Join(errs...); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
