package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/internal/beacon"
	"github.com/treedn/treedn/internal/cast"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/relay"
	"github.com/treedn/treedn/internal/telemetry"
	"github.com/treedn/treedn/internal/treetest"
)

// channel is the name of a tree's one channel.
const channel = "live"

// leaf is one BEACON at the end of a tree.
type leaf struct {
	name      string
	loss      lossy.Config
	noUnicast bool
}

type treeOptions struct {
	// noCast leaves the root out: the first RELAY receives from upstream, a third party's session.
	noCast   bool
	upstream ssm.Channel
	// relays is the number of RELAYs between the root and the BEACONs, one after the other. Default 1.
	relays int
	// leaves are the BEACONs, all below the last RELAY. Default: one that loses nothing.
	leaves []leaf
	// noUnicast leaves out all parents.
	noUnicast bool
	// unsigned leaves out the seals.
	unsigned bool
}

// tree is a whole tree in this process.
type tree struct {
	cast    *cast.Node
	relays  []*relay.Node
	beacons []*beacon.Node
	names   []string    // of the beacons
	session ssm.Channel // of the root
}

// newTree starts the nodes, from the root to the leaves, and ends them with the test.
func newTree(t testing.TB, o treeOptions) *tree {
	t.Helper()
	if o.relays == 0 {
		o.relays = 1
	}
	if o.leaves == nil {
		o.leaves = []leaf{{name: "beacon"}}
	}
	x := &tree{}
	logs := newLogs(t)
	t.Cleanup(func() { x.close(t) })
	session, parent := o.upstream, ""
	// upstream is what the node below receives. Its sender seals with hop, what others sent is unsigned.
	hop := treetest.RootKey
	upstream := func() config.Upstream {
		if o.noCast || o.unsigned {
			return config.Upstream{Session: sessionOf(session), Unsigned: true}
		}
		return config.Upstream{
			Session: sessionOf(session), TrustFirst: o.noUnicast,
			Anchors: []config.Anchor{config.AnchorOf(treetest.RootKey)}, HopAnchors: []config.Anchor{config.AnchorOf(hop)},
		}
	}
	if !o.noCast {
		session = ssmtest.Channel(t)
		c, err := config.Complete(config.Cast{
			Node:   config.Node{Name: "cast"},
			Ingest: config.Ingest{Listen: anyPort}, Repair: config.Repair{Listen: anyPort}, Admin: config.Admin{Listen: anyPort},
			Channels: []config.Channel{o.seal(config.Channel{Name: channel, Multicast: config.Downstream{Session: sessionOf(session)}})},
		})
		require.NoError(t, err)
		x.cast, err = cast.New(c, cast.Options{Logger: logs.node("cast")})
		require.NoError(t, err)
		parent, x.session = x.cast.RepairURL(), session
	}
	for i := range o.relays {
		name := fmt.Sprintf("relay-%d", i+1)
		up := upstream()
		if !o.noUnicast {
			up.Parents = parents(t, parent)
		}
		session = ssmtest.Channel(t)
		c, err := config.Complete(config.Relay{
			Node: config.Node{Name: name},
			HTTP: config.HTTP{Listen: anyPort}, Repair: config.Repair{Listen: anyPort}, Admin: config.Admin{Listen: anyPort},
			Services: []config.RelayService{o.sealOn(config.RelayService{
				Service:    config.Service{Name: channel, Upstream: up},
				Downstream: config.Downstream{Session: sessionOf(session)},
			})},
		})
		require.NoError(t, err)
		r, err := relay.New(c, relay.Options{Logger: logs.node(name)})
		require.NoError(t, err)
		x.relays = append(x.relays, r)
		parent, hop = r.RepairURL(), treetest.HopKey
	}
	for _, l := range o.leaves {
		up := upstream()
		if !o.noUnicast && !l.noUnicast {
			up.Parents = parents(t, parent)
		}
		up.TrustFirst = !up.Unsigned && len(up.Parents) == 0
		c, err := config.Complete(config.Beacon{
			Node: config.Node{Name: l.name},
			HTTP: config.HTTP{Listen: anyPort}, Admin: config.Admin{Listen: anyPort},
			Services: []config.Service{{Name: channel, Upstream: up}},
		})
		require.NoError(t, err)
		b, err := beacon.New(c, beacon.Options{Loss: l.loss, Logger: logs.node(l.name)})
		require.NoError(t, err)
		x.beacons = append(x.beacons, b)
		x.names = append(x.names, l.name)
	}
	return x
}

func (o treeOptions) seal(c config.Channel) config.Channel {
	if c.Unsigned = o.unsigned; !o.unsigned {
		c.SealKey = treetest.RootKey
	}
	return c
}

func (o treeOptions) sealOn(s config.RelayService) config.RelayService {
	if !s.Upstream.Unsigned {
		s.SealKey = treetest.HopKey
	}
	return s
}

var anyPort = config.ListenOn(netip.MustParseAddrPort("127.0.0.1:0"))

func sessionOf(ch ssm.Channel) config.Session {
	return config.Session{Source: ch.Source, Group: ch.Group, Port: ch.Port}
}

func parents(t testing.TB, base string) []config.URL {
	if base == "" {
		return nil
	}
	u, err := config.ParseURL(base)
	require.NoError(t, err)
	return []config.URL{u}
}

// close ends the nodes, leaves first, so that none misses its parent.
func (x *tree) close(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for _, b := range x.beacons {
		wg.Go(func() {
			if err := b.Close(ctx); err != nil {
				t.Errorf("beacon: %v", err)
			}
		})
	}
	wg.Wait()
	for i := len(x.relays) - 1; i >= 0; i-- {
		if err := x.relays[i].Close(ctx); err != nil {
			t.Errorf("relay: %v", err)
		}
	}
	if x.cast != nil {
		if err := x.cast.Close(ctx); err != nil {
			t.Errorf("cast: %v", err)
		}
	}
}

// publish is the URL at which an object of the channel is pushed.
func (x *tree) publish(name string) string {
	return x.cast.IngestURL() + "/publish/" + channel + "/" + name
}

// relayURL and beaconURL are where readers find an object.
func (x *tree) relayURL(name string) string {
	return x.relays[len(x.relays)-1].URL() + "/" + channel + "/" + name
}

func (x *tree) beaconURL(i int, name string) string {
	return x.beacons[i].URL() + "/" + channel + "/" + name
}

// serviceOf is what a status says about the channel.
func serviceOf(t testing.TB, s telemetry.Status) telemetry.Service {
	t.Helper()
	require.Len(t, s.Services, 1)
	return s.Services[0]
}

// drops are the packets that the system dropped on their way to a node.
func drops(s telemetry.Status) (n uint64) {
	for _, k := range s.Sockets {
		n += k.Drops
	}
	return n
}

// printCounters logs how the objects came to each node.
func (x *tree) printCounters(t testing.TB) {
	t.Helper()
	if x.cast != nil {
		s := serviceOf(t, x.cast.Status())
		t.Logf("%-12s %4d objects, %8d octets; %d packets sent, %d octets of %d in repair packets", "cast",
			s.Objects, s.Octets, s.PacketsSent, s.FECOctetsSent, s.OctetsSent)
	}
	line := func(name string, st telemetry.Status, injected uint64) {
		s := serviceOf(t, st)
		t.Logf("%-12s %4d objects, %d lost; %5d packets, %4d lost, %4d dropped on purpose, %d by the system; octets: %8d source, %7d FEC, %6d repair, %6d fallback",
			name, s.Objects, s.ObjectsLost, s.Packets, s.PacketsLost, injected, drops(st), s.SourceOctets, s.FECOctets, s.RepairOctets, s.FallbackOctets)
	}
	for i, r := range x.relays {
		line(fmt.Sprintf("relay-%d", i+1), r.Status(), r.Injected())
	}
	for i, b := range x.beacons {
		line(x.names[i], b.Status(), b.Injected())
	}
}

// logs keeps what the nodes log and shows it if the test fails. Nodes may log after the end of the test.
type logs struct {
	mu  sync.Mutex // guards below
	buf bytes.Buffer
}

func newLogs(t testing.TB) *logs {
	l := &logs{}
	t.Cleanup(func() {
		if t.Failed() {
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Logf("log of the nodes:\n%s", l.buf.String())
		}
	})
	return l
}

// Write implements io.Writer.
func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len() < 1<<20 {
		l.buf.Write(p)
	}
	return len(p), nil
}

func (l *logs) node(name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(io.Writer(l), &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", name)
}
