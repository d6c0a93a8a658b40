package amt

import (
	"net/netip"
	"time"
)

// planed is what a server's plane knows of a channel.
type planed struct {
	version [2]uint64
	known   bool // the plane has been told of the version
	taken   bool
}

const (
	planeInterval   = 20 * time.Millisecond // between looks at what has changed
	counterInterval = time.Second
)

// runPlane keeps the plane up with the tunnels until the server is closed.
func (s *Server) runPlane() {
	tick := time.NewTicker(planeInterval)
	defer tick.Stop()
	channels := make(map[[2]netip.Addr]*planed)
	var counted time.Time
	planeVersion := s.config.Plane.Version()
	var seen planeSeen
	for {
		select {
		case <-s.closed:
			for key := range channels {
				s.config.Plane.Stop(key[0], key[1])
			}
			return
		case now := <-tick.C:
			if v := s.config.Plane.Version(); v != planeVersion {
				planeVersion = v
				for _, c := range channels {
					c.known = false
				}
				seen = planeSeen{}
			}
			s.updatePlane(channels, &seen)
			if now.Sub(counted) >= counterInterval {
				counted = now
				s.countPlane()
			}
		}
	}
}

// planeSeen is as of when updatePlane has looked at all channels.
type planeSeen struct {
	generation [2]uint32
	joins      uint64
}

// updatePlane tells the plane of channels whose tunnels have changed. Groups as a
// whole are for the sockets.
func (s *Server) updatePlane(channels map[[2]netip.Addr]*planed, seen *planeSeen) {
	s.mu.Lock()
	// There may be very many channels, and nothing to do 50 times a second.
	if now := (planeSeen{s.relay.generation(), s.joins}); now == *seen {
		s.mu.Unlock()
		return
	} else {
		*seen = now
	}
	var changed, gone [][2]netip.Addr
	for key := range s.have {
		if !key[0].IsValid() {
			continue
		}
		version := s.relay.Version(key[0], key[1])
		c := channels[key]
		if c == nil {
			c = &planed{}
			channels[key] = c
		} else if c.known && c.version == version {
			continue
		}
		c.version, c.known = version, true
		changed = append(changed, key)
	}
	for key := range channels {
		if !s.have[key] {
			gone = append(gone, key)
		}
	}
	lists := make([][]PlaneCopy, len(changed))
	for i, key := range changed {
		tunnels, _ := s.relay.AppendTunnels(nil, nil, key[0], key[1])
		for _, t := range tunnels {
			lists[i] = append(lists[i], PlaneCopy{Tunnel: t, From: s.relay.Local(&t)})
		}
	}
	s.mu.Unlock()
	for _, key := range gone {
		s.config.Plane.Stop(key[0], key[1])
		delete(channels, key)
	}
	for i, key := range changed {
		err := s.config.Plane.Forward(key[0], key[1], lists[i])
		if c := channels[key]; c.taken != (err == nil) {
			c.taken = err == nil
			s.log.Debug("the data plane has changed its mind about a channel",
				"source", key[0], "group", key[1], "taken", c.taken, "tunnels", len(lists[i]), "reason", err)
		}
	}
}

func (s *Server) countPlane() {
	s.config.Plane.Counters(func(t *Tunnel, packets, octets uint64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.relay.Count(t, packets, octets)
		s.sent.Copies += packets
		s.sent.Octets += octets
	})
}
