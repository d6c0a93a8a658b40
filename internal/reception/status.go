package reception

import (
	"fmt"
	"time"

	"github.com/treedn/treedn/internal/telemetry"
	"github.com/treedn/treedn/route"
)

// silence is how long without a packet a service counts as silent.
const silence = 3 * time.Second

func addReceiver(s *telemetry.Service, r *route.ReceiverStats) {
	s.Objects += r.Objects
	s.ObjectsLost += r.ObjectsLost
	s.Packets += r.Packets
	s.PacketsLost += r.Lost
	s.SourceOctets += r.SourceOctets
	s.FECOctets += r.Recovered
	s.RepairOctets += r.Supplied
	if r.RejectedBytes > 0 {
		if s.RejectedOctets == nil {
			s.RejectedOctets = make(map[string]uint64)
		}
		s.RejectedOctets["packet"] += r.RejectedBytes
	}
}

// Status returns what the service does now. injected are the packets dropped on purpose.
func (x *Service) Status() (st telemetry.Service, injected uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.set.cfg.Now()
	in := x.current.in.Stats()
	st = x.past
	st.RejectedOctets = nil
	for k, v := range x.past.RejectedOctets {
		if st.RejectedOctets == nil {
			st.RejectedOctets = make(map[string]uint64)
		}
		st.RejectedOctets[k] = v
	}
	addReceiver(&st, &in.Receiver)
	st.Name = x.Name()
	st.FallbackOctets = x.parents.Octets()
	st.Octets = st.SourceOctets + st.FECOctets + st.RepairOctets
	x.inRate.Add(now, int(in.Receiver.Octets-x.lastOctets))
	x.lastOctets = in.Receiver.Octets
	st.RateIn = x.inRate.Bits(now)
	st.Source = telemetry.Source{Kind: telemetry.SourceMulticast, Address: x.cfg.Upstream.Session.String()}
	switch {
	case in.LastPacket.IsZero():
		st.State = telemetry.StateWaiting
		st.Source.Why = "no packet has come yet"
	case now.Sub(in.LastPacket) > silence:
		st.State = telemetry.StateSilent
		st.Source.Since = in.LastPacket
		st.Source.Why = fmt.Sprintf("no packet for %d s", int(now.Sub(in.LastPacket).Seconds()))
	default:
		st.State = telemetry.StateRunning
	}
	return st, in.Injected
}

// Socket describes the membership.
func (x *Service) Socket() telemetry.Socket {
	x.mu.Lock()
	defer x.mu.Unlock()
	st := x.current.rx.Stats()
	up := x.cfg.Upstream
	return telemetry.Socket{
		Service: x.Name(), Source: up.Source, Group: up.Group, Port: up.Port,
		Drops: st.Dropped, Buffer: uint64(x.current.rx.ReceiveBuffer()),
	}
}
