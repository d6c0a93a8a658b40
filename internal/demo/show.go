package demo

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/treedn/treedn/internal/demo/page"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/telemetry"
)

// show serves the page until ctx ends.
func show(ctx context.Context, t *Tree, o Options, key string) error {
	s := &stage{t: t, o: o, key: key, started: time.Now()}
	handler := page.Handler(s.state)
	srv, err := node.Listen(netip.AddrPortFrom(o.Tree.Listen, o.Port).String(), nil, handler, o.Logger)
	if err != nil {
		return fmt.Errorf("the page: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
	}()
	o.Print("")
	o.Print("  Open  " + outward(srv.URL()) + "/")
	o.Print("")
	for i, b := range t.Beacons {
		url := outward(b.URL()) + "/" + channel
		o.Print(fmt.Sprintf("  %s   %s/master.m3u8  %s/manifest.mpd", BeaconName(i), url, url))
	}
	o.Print("  ingest     " + ingestPath(outward(t.Cast.IngestURL()), key) + "  (a push takes the place of the built-in clip)")
	o.Print("  example    " + FFmpegCommand(outward(t.Cast.IngestURL()), key))
	o.Print("  Ctrl-C ends everything.")
	err = push(ctx, t, o, key)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// stage is what the page shows.
type stage struct {
	t       *Tree
	o       Options
	key     string
	started time.Time
}

func (s *stage) state() page.State {
	st := page.State{
		Time:     time.Now(),
		Channels: []page.Channel{{Name: channel, Path: channel + "/master.m3u8"}},
	}
	for i, b := range s.t.Beacons {
		st.Beacons = append(st.Beacons, page.Beacon{Name: BeaconName(i), URL: outward(b.URL()) + "/"})
	}
	nodes := s.t.Nodes()
	parents := []string{"", nodes[0].Node.Name, nodes[1].Node.Name, nodes[1].Node.Name}
	for i := range nodes {
		n := nodeState(&nodes[i])
		n.Parent = parents[i]
		st.Nodes = append(st.Nodes, n)
	}
	st.Nodes[3].InjectedLoss = s.o.Tree.Loss.Random
	st.Source = s.source(&nodes[0])
	return st
}

func (s *stage) source(root *telemetry.Status) page.SourceState {
	src := page.SourceState{
		Kind: page.NoSource, Since: s.started, Reason: "nothing has been pushed yet",
		IngestURL: ingestPath(outward(s.t.Cast.IngestURL()), s.key), FFmpegCommand: FFmpegCommand(outward(s.t.Cast.IngestURL()), s.key),
	}
	if len(root.Services) == 0 {
		return src
	}
	in := root.Services[0]
	if !in.Source.Since.IsZero() {
		src.Since = in.Source.Since
	}
	if in.State != telemetry.StateRunning {
		if in.Source.Why != "" {
			src.Reason = in.Source.Why
		}
		return src
	}
	src.Reason = ""
	switch {
	case strings.Contains(in.Source.Address, clipAgent):
		src.Kind = page.ClipSource
	case s.o.FFmpeg:
		src.Kind = page.FFmpegSource
	default:
		src.Kind = page.PushSource
	}
	return src
}

func nodeState(st *telemetry.Status) page.NodeState {
	n := page.NodeState{Name: st.Node.Name, Role: page.Role(st.Node.Role)}
	if len(st.Readiness.Reasons) > 0 {
		n.Problem = strings.Join(st.Readiness.Reasons, "; ")
	}
	for i := range st.Services {
		s := &st.Services[i]
		n.Objects += s.Objects
		n.Missing += s.ObjectsLost
		n.Packets += s.Packets
		n.PacketsLost += s.PacketsLost
		n.MulticastOctets += s.SourceOctets
		n.FECOctets += s.FECOctets
		n.RepairOctets += s.RepairOctets
		n.FallbackOctets += s.FallbackOctets
		n.OctetsIn += s.SourceOctets + s.FECOctets + s.RepairOctets + s.FallbackOctets
		n.OctetsOut += s.OctetsSent
		for _, v := range s.RejectedOctets {
			n.RejectedOctets += v
		}
		if n.Packets == 0 {
			n.Packets = s.PacketsSent
			n.OctetsIn = s.Octets
		}
		if st.Node.Role != "cast" {
			n.Address = s.Source.Address
		}
	}
	for _, srv := range []*telemetry.Server{st.HTTP, st.Repair} {
		if srv != nil {
			n.OctetsOut += srv.OctetsOut
		}
	}
	if c := st.Cache; c != nil {
		n.CacheOctets, n.CacheLimit, n.CacheObjects = c.MemoryOctets, c.MemoryLimit, c.Objects // there is no disk tier
	}
	return n
}

// clipAgent is the User-Agent of the built-in clip, by which it is told from other publishers.
const clipAgent = "treedn-clip"

// isClip reports whether a push is the clip's: it gives way to any other.
func isClip(r *http.Request) bool { return r.UserAgent() == clipAgent }

// outward is the URL of a server of ours as others write it. A server that listens on all addresses names none of them;
// the first one that is not loopback stands for it.
func outward(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	if a, err := netip.ParseAddr(u.Hostname()); err != nil || !a.IsUnspecified() {
		return base
	}
	host := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			host = p.Addr()
			break
		}
	}
	u.Host = net.JoinHostPort(host.String(), u.Port())
	return u.String()
}
