package inspect

import (
	"bytes"
	"encoding/binary"

	"github.com/treedn/treedn/flute/lct"
)

// classify tells what a packet is, if it can be told by it and what came before.
func (s *session) classify(ch *channel, h *lct.Header) protocol {
	_, instance := h.Extensions.FDT()
	_, length := h.Extensions.TOL()
	switch {
	case h.TSILen == 2 || h.TSILen == 6 || h.TOILen == 2 || h.TOILen == 6:
		// ROUTE has 32 bits of both; the profiles of FLUTE have 16.
		s.seenFLUTE = true
		return flute
	case h.PSI&psiSource != 0, length:
		// Of FLUTE the bit has a meaning with schemes that nobody sends. FDT Instances inside a flow of ROUTE may have
		// an EXT_FDT.
		s.seenROUTE = true
		return routing
	case instance:
		s.seenFLUTE = true
		return flute
	case ch.flow != nil, s.seenROUTE:
		return routing
	case s.seenFLUTE:
		return flute
	}
	return undecided
}

// maxHeld bounds the packets of a session that wait for a decision, maxHeldAll those of all sessions, in octets.
const (
	maxHeld    = 1 << 20
	maxHeldAll = 64 << 20
)

// hold keeps a packet for when its protocol is known.
func (s *session) hold(ch *channel, pkt []byte) {
	ch.held = append(ch.held, bytes.Clone(pkt))
	s.held += len(pkt)
	s.in.held += len(pkt)
	if force := s.held > maxHeld || s.in.held > maxHeldAll; force || len(ch.held)%64 == 0 {
		s.decide(force)
	}
}

// decided makes other channels of the session follow suit.
func (s *session) decided(ch *channel) {
	if !s.announced {
		s.announced = true
		s.in.cfg.Emit(&SessionEvent{
			Head: Head{Event: "session", Time: s.in.now}, Source: s.source, Dst: s.to.Addr(), Port: s.to.Port(),
			Protocol: ch.protocol.String(), System: s.system(),
		})
	}
	s.replay(ch)
	for _, other := range s.sortedChannels() {
		if other.protocol == undecided && len(other.held) > 0 {
			other.protocol = ch.protocol
			s.replay(other)
		}
	}
}

// decide goes by the packets that are held, if there is no better way. With force it takes a guess.
func (s *session) decide(force bool) {
	for _, ch := range s.sortedChannels() {
		if ch.protocol != undecided || len(ch.held) == 0 {
			continue
		}
		switch guess := ch.guess(); {
		case guess == routing:
			ch.protocol = routing
		case force: // numbers may be those of a repair flow of ROUTE, until nothing of a source flow comes for long
			ch.protocol = flute
		default:
			continue
		}
		s.decided(ch)
		return
	}
}

// guess compares packets of one object that follow each other: an offset grows by the octets of a packet, a number of
// symbols by one or a few.
func (ch *channel) guess() protocol {
	var h lct.Header
	last, room, toi := uint32(0), uint32(0), uint64(0)
	offsets, numbers := 0, 0
	for _, pkt := range ch.held {
		n, err := unmarshal(&h, pkt)
		if err != nil || len(pkt) < n+4 {
			continue
		}
		id, size := binary.BigEndian.Uint32(pkt[n:]), uint32(len(pkt)-n-4)
		if room > 1 && h.TOI == toi {
			switch id - last {
			case room:
				offsets++
			case 1, 1<<16 - last&0xffff:
				numbers++
			}
		}
		last, room, toi = id, size, h.TOI
	}
	switch {
	case offsets > numbers:
		return routing
	case numbers > offsets:
		return flute
	}
	return undecided
}

// replay takes the packets that were held.
func (s *session) replay(ch *channel) {
	held := ch.held
	ch.held = nil
	h := s.in.hdr // that of the packet which brought the decision
	for _, pkt := range held {
		s.held -= len(pkt)
		s.in.held -= len(pkt)
		if n, err := unmarshal(&s.in.hdr, pkt); err == nil {
			ch.take(pkt, n)
		}
	}
	s.in.hdr = h
}
