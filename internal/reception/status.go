package reception

import (
	"fmt"
	"time"

	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/follow"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/telemetry"
	"github.com/treedn/treedn/route"
)

// silence is how long without a packet a service counts as silent.
const silence = 3 * time.Second

// counters are sums over receptions.
type counters struct {
	s        telemetry.Service // its counters alone
	rejected uint64            // octets
	refused  uint64            // packets for which there was no room
	tooLarge uint64            // packets of objects that were too large
	evicted  uint64            // objects that no seal told of
	lost     [ingress.Losses]uint64
	injected uint64
	way      telemetry.Way // its counters alone
}

func (c *counters) add(st ingress.Stats) {
	r := &st.Receiver
	c.s.Objects += r.Objects
	c.s.Octets += st.Octets
	c.s.ObjectsFEC += st.ObjectsFEC
	c.s.ObjectsRepair += st.ObjectsRepair
	c.s.ObjectsFallback += st.ObjectsUnicast
	for l, n := range st.Lost {
		c.lost[l] += n
		c.s.ObjectsLost += n
	}
	c.s.ObjectsUnsealed += st.Unsealed
	c.s.Packets += r.Packets
	c.s.PacketsLost += r.Lost
	c.s.SourceOctets += r.SourceOctets
	c.s.FECOctets += r.Recovered
	c.s.RepairOctets += r.Supplied
	c.rejected += r.RejectedBytes
	c.refused += r.RejectedPackets(route.RejectMemory)
	c.tooLarge += r.RejectedPackets(route.RejectTooLarge)
	c.evicted += st.DoubtsEvicted
	c.injected += st.Injected
}

// Status returns what the service does now. injected are the packets dropped on purpose.
func (x *Service) Status() (st telemetry.Service, injected uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.set.cfg.Now()
	sum := x.past
	var rate float64
	var memory, missing, doubts uint64
	var last time.Time
	var way telemetry.Way
	for _, r := range x.receptions {
		in := r.in.Stats()
		sum.add(in)
		// That of the last one is what is configured; the one before counts until it delivers.
		w := r.ways.status(!in.LastPacket.IsZero())
		addWay(&sum.way, w)
		if w.Kind != telemetry.WayNone || way.Kind == "" {
			way = w
		}
		rate += in.Rate
		memory += uint64(in.Receiver.Memory)
		missing += uint64(in.Receiver.Incomplete)
		doubts += uint64(in.Doubts)
		if in.LastPacket.After(last) {
			last = in.LastPacket
		}
	}
	st = sum.s
	st.Name = x.Name()
	counted := sum.way
	counted.Kind, counted.Relay, counted.Since, counted.Why = way.Kind, way.Relay, way.Since, way.Why
	way = counted
	st.Way = &way
	st.ObjectsMissing = missing
	// What was fetched whole came by no reception.
	st.Objects += x.parents.Objects()
	st.ObjectsFallback += x.parents.Objects()
	st.FallbackOctets = x.parents.Octets()
	st.Octets += st.FallbackOctets
	st.ObjectsLostBy = make(map[string]uint64, ingress.Losses)
	for l, n := range sum.lost {
		st.ObjectsLostBy[ingress.Loss(l).String()] = n
	}
	st.RejectedOctets = map[string]uint64{"packet": sum.rejected}
	st.Limits = []telemetry.Limit{{Name: "reception_memory", Used: memory, Max: maxMemory, Hits: sum.refused}}
	if sum.tooLarge > 0 {
		st.Limits = append(st.Limits, telemetry.Limit{Name: "object_octets", Used: maxObject, Max: maxObject, Hits: sum.tooLarge})
	}
	st.Unsigned = x.gate == nil
	if x.gate != nil {
		g := x.gate.Stats()
		st.RejectedOctets["seal"] = g.RejectedOctets
		st.RejectedOctets["forged"] = g.MismatchOctets
		st.SealsReceived, st.SealConflicts = g.Datagrams, g.Conflicts
		held, noRoom := x.fetcher.Held()
		st.Limits = append(st.Limits,
			telemetry.Limit{Name: "unverified", Used: uint64(g.Unverified), Max: maxUnverified, Hits: g.Evicted},
			telemetry.Limit{Name: "unverified_fetched", Used: uint64(held), Max: sealing.MaxHeld, Hits: noRoom},
			telemetry.Limit{Name: "unsealed_objects", Used: doubts, Max: ingress.MaxDoubts, Hits: sum.evicted},
			telemetry.Limit{Name: "seal_checks", Used: uint64(x.gate.Busy()), Max: maxChecks, Hits: g.Rejected[seal.RejectLimit]},
		)
	}
	st.RateIn = rate
	st.Latency = x.delay.Quantiles()
	st.State, st.Source = x.source(now, last)
	if st.Source.Why != "" && way.Why != "" {
		st.Source.Why += "; " + way.Why
	}
	return st, sum.injected
}

// source tells where the service comes from now. It is called with mu held.
func (x *Service) source(now, last time.Time) (telemetry.State, telemetry.Source) {
	src := telemetry.Source{Kind: telemetry.SourceMulticast, Address: x.cfg.Upstream.Session.String()}
	state, parent, why := x.follow.state()
	src.Since = state.Since
	if state.Source == follow.Parent && parent != nil {
		src.Kind, src.Address = telemetry.SourceParent, parent.String()
		switch {
		case !state.Heard:
			src.Why = "no packet has come yet"
		case state.Back:
			src.Why = "packets come again, no object has come by them alone yet"
		default:
			src.Why = fmt.Sprintf("no packet for %.1f s", now.Sub(last).Seconds())
		}
		if why != "" {
			src.Why += "; " + why
		}
		if x.follow.fed(now) {
			return telemetry.StateRunning, src
		}
	}
	switch {
	case last.IsZero():
		src.Why = "no packet has come yet"
		return telemetry.StateWaiting, src
	case now.Sub(last) > silence:
		src.Since = last
		src.Why = fmt.Sprintf("no packet for %d s", int(now.Sub(last).Seconds()))
		if why != "" && parent == nil {
			src.Why += "; " + why
		}
		return telemetry.StateSilent, src
	case len(x.receptions) > 1:
		src.Why = "the session before this one is received, too, until this one has taken over"
	}
	return telemetry.StateRunning, src
}

// Sockets describes the memberships of sessions that come natively only.
func (x *Service) Sockets() []telemetry.Socket {
	x.mu.Lock()
	defer x.mu.Unlock()
	var list []telemetry.Socket
	for _, r := range x.receptions {
		list = append(list, r.ways.sockets(x.Name())...)
	}
	return list
}
