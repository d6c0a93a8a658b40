// Package treetest runs the roles of a tree in one process for tests: real nodes, with real sockets on the loopback
// interface, and a player that reads all that passes.
package treetest

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/beacon"
	"github.com/treedn/treedn/internal/cast"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/relay"
	"github.com/treedn/treedn/internal/service"
)

// Local is a free port on 127.0.0.1.
var Local = config.ListenOn(netip.MustParseAddrPort("127.0.0.1:0"))

// Vacant draws an address that nobody listens on, and that the system gives to no socket that asks for any: it stays free
// while a test does not listen there.
func Vacant(tb testing.TB) config.Listen {
	tb.Helper()
	host := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if runtime.GOOS == "linux" {
		host = ssmtest.Source()
	}
	for range 100 {
		addr := netip.AddrPortFrom(host, uint16(10_000+rand.IntN(20_000)))
		if l, err := net.Listen("tcp", addr.String()); err == nil {
			l.Close()
			return config.ListenOn(addr)
		}
	}
	tb.Fatal("no address is free")
	return config.Listen{}
}

// Session draws a session that nobody else uses.
func Session(tb testing.TB) config.Session {
	tb.Helper()
	ch := ssmtest.Channel(tb)
	return config.Session{Source: ch.Source, Group: ch.Group, Port: ch.Port}
}

// RootKey seals the content of all trees, HopKey what RELAYs send.
var (
	RootKey = config.NewSealKey([32]byte{1})
	HopKey  = config.NewSealKey([32]byte{2})
)

// Channel is a channel of a CAST.
func Channel(name string, to config.Session) config.Channel {
	return config.Channel{Name: name, Multicast: config.Downstream{Session: to}, SealKey: RootKey}
}

// Service is a service of a BEACON, or the upper half of one of a RELAY.
func Service(tb testing.TB, name string, from config.Session, parents ...string) config.Service {
	tb.Helper()
	s := config.Service{Name: name, Upstream: config.Upstream{
		Session: from, Anchors: []config.Anchor{config.AnchorOf(RootKey)},
		// It may come from the CAST or from a RELAY.
		HopAnchors: []config.Anchor{config.AnchorOf(RootKey), config.AnchorOf(HopKey)},
	}}
	for _, p := range parents {
		u, err := config.ParseURL(p)
		if err != nil {
			tb.Fatal(err)
		}
		s.Upstream.Parents = append(s.Upstream.Parents, u)
	}
	return s
}

// Unsigned is the service as one that carries no seals.
func Unsigned(s config.Service) config.Service {
	s.Upstream.Anchors, s.Upstream.HopAnchors, s.Upstream.Unsigned = nil, nil, true
	return s
}

// RelayService is a service of a RELAY.
func RelayService(up config.Service, to config.Session) config.RelayService {
	return config.RelayService{Service: up, Downstream: config.Downstream{Session: to}, SealKey: HopKey}
}

// CastConfig, RelayConfig and BeaconConfig are configurations with free ports.
func CastConfig(channels ...config.Channel) config.Cast {
	return config.Cast{
		Node:   config.Node{Name: "cast"},
		Ingest: config.Ingest{Listen: Local}, Repair: config.Repair{Listen: Local}, Admin: config.Admin{Listen: Local},
		Channels: channels,
	}
}

// RelayConfig is as CastConfig.
func RelayConfig(services ...config.RelayService) config.Relay {
	return config.Relay{
		Node: config.Node{Name: "relay"},
		HTTP: config.HTTP{Listen: Local}, Repair: config.Repair{Listen: Local}, Admin: config.Admin{Listen: Local},
		Services: services,
	}
}

// BeaconConfig is as CastConfig.
func BeaconConfig(services ...config.Service) config.Beacon {
	return config.Beacon{
		Node: config.Node{Name: "beacon"},
		HTTP: config.HTTP{Listen: Local}, Admin: config.Admin{Listen: Local},
		Services: services,
	}
}

// Complete fills in defaults and leaves what it was given as it was.
func Complete[T config.Role](tb testing.TB, c T) *T {
	tb.Helper()
	switch c := any(&c).(type) {
	case *config.Cast:
		c.Channels = slices.Clone(c.Channels)
	case *config.Relay:
		c.Services = slices.Clone(c.Services)
	case *config.Beacon:
		c.Services = slices.Clone(c.Services)
	}
	full, err := config.Complete(c)
	if err != nil {
		tb.Fatal(err)
	}
	return full
}

// Cast starts a CAST that ends with the test.
func Cast(tb testing.TB, c config.Cast) *cast.Node {
	tb.Helper()
	n, err := cast.New(Complete(tb, c), cast.Options{Logger: Log(tb).With("node", "cast")})
	return started(tb, n, err)
}

// Relay starts a RELAY that ends with the test.
func Relay(tb testing.TB, c config.Relay, loss lossy.Config) *relay.Node {
	tb.Helper()
	n, err := relay.New(Complete(tb, c), relay.Options{Loss: loss, Logger: Log(tb).With("node", "relay")})
	return started(tb, n, err)
}

// Beacon starts a BEACON that ends with the test.
func Beacon(tb testing.TB, c config.Beacon, loss lossy.Config) *beacon.Node {
	tb.Helper()
	n, err := beacon.New(Complete(tb, c), beacon.Options{Loss: loss, Logger: Log(tb).With("node", "beacon")})
	return started(tb, n, err)
}

func started[N interface{ Close(context.Context) error }](tb testing.TB, n N, err error) N {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.Close(ctx); err != nil {
			tb.Error("close:", err)
		}
	})
	return n
}

// Log returns a logger whose lines are shown if the test fails.
func Log(tb testing.TB) *slog.Logger {
	l := &testLog{}
	tb.Cleanup(func() {
		if tb.Failed() {
			l.mu.Lock()
			defer l.mu.Unlock()
			tb.Log("log of the nodes:\n" + l.b.String())
		}
	})
	return slog.New(slog.NewTextHandler(l, nil))
}

type testLog struct {
	mu sync.Mutex // guards below
	b  strings.Builder
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// Put makes a whole object in a service, as if it had come in.
func Put(tb testing.TB, svc *service.Service, name, body string) {
	tb.Helper()
	o := Begin(tb, svc, name)
	if err := o.Write([]byte(body), true); err != nil {
		tb.Fatal(err)
	}
	if err := o.Commit(); err != nil {
		tb.Fatal(err)
	}
}

// Begin opens an object in a service. Its generation is the present time.
func Begin(tb testing.TB, svc *service.Service, name string) *service.Object {
	tb.Helper()
	m := service.Meta{Name: name, Generation: uint64(time.Now().UnixMicro()), Kind: service.Other, Length: -1}
	if strings.HasPrefix(name, "init") {
		m.Kind = service.Init
	}
	o, err := svc.Begin(m)
	if err != nil {
		tb.Fatal(err)
	}
	return o
}

// Manifest makes a manifest in a service.
func Manifest(tb testing.TB, svc *service.Service, name, body string) {
	tb.Helper()
	m := service.Meta{
		Name: name, ContentType: cache.ContentType(name), Generation: uint64(time.Now().UnixMicro()), Kind: service.Manifest,
	}
	if err := svc.PutManifest(m, []byte(body)); err != nil {
		tb.Fatal(err)
	}
}

// Playlist is an HLS media playlist of segments 1.m4s, 2.m4s, and so on, each one second long.
func Playlist(segments int) string {
	var b strings.Builder
	b.WriteString("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-MAP:URI=\"init.mp4\"\n")
	for i := range segments {
		fmt.Fprintf(&b, "#EXTINF:1.0,\n%d.m4s\n", i+1)
	}
	return b.String()
}
