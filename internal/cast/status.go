package cast

import (
	"maps"
	"slices"
	"strings"

	"github.com/treedn/treedn/internal/ingest"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/telemetry"
)

// Status returns what the node does now.
func (n *Node) Status() telemetry.Status {
	now := n.now()
	n.mu.RLock()
	channels := slices.Collect(maps.Values(n.channels))
	n.mu.RUnlock()
	st := telemetry.Status{
		Node:   telemetry.NewNode(n.self.Name, "cast", n.started, now),
		Cache:  node.CacheStatus(n.store.Stats()),
		Ingest: n.ingestServer.Status(),
		Repair: n.repairServer.Status(),
	}
	st.Repair.Symbols = n.repairs.Stats().Symbols
	var reasons []string
	for _, x := range channels {
		s := telemetry.Service{Name: x.cfg.Name, RateIn: x.rate.Bits(now), Latency: x.delay.Quantiles()}
		in, _ := n.ingest.State(s.Name)
		s.Objects, s.Octets = in.Objects, in.Octets
		for _, l := range in.Limits {
			s.Limits = append(s.Limits, telemetry.Limit{Name: l.Name, Used: l.Used, Max: l.Max, Hits: l.Hits})
		}
		x.out.Status(&s)
		s.Unsigned = x.sealer == nil
		if x.sealer != nil {
			sealed := x.sealer.Stats()
			s.SealsSent, s.SealOctetsSent = sealed.Datagrams, sealed.Octets
		}
		s.State, s.Source = sourceOf(in)
		if !x.cfg.Pull.IsZero() {
			s.Source.Kind, s.Source.Address = telemetry.SourcePull, x.cfg.Pull.String()
		}
		if s.State != telemetry.StateRunning {
			reasons = append(reasons, "channel "+s.Name+" has no source")
		}
		st.Services = append(st.Services, s)
	}
	slices.SortFunc(st.Services, func(a, b telemetry.Service) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(reasons)
	st.Readiness = telemetry.NotReadyFor(reasons)
	if n.life.Draining() {
		st.Drain()
	}
	return st
}

func sourceOf(in ingest.State) (telemetry.State, telemetry.Source) {
	src := telemetry.Source{Kind: telemetry.SourcePush, Address: in.Publisher, Since: in.Since, Why: in.Reason}
	switch {
	case in.Live:
		return telemetry.StateRunning, src
	case in.Objects > 0:
		return telemetry.StateSilent, src
	}
	src.Kind = telemetry.SourceNone
	return telemetry.StateWaiting, src
}
