package inspect

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/treedn/treedn/route/diagnose"
	"github.com/treedn/treedn/route/lls"
)

// lowLevel is the low level signalling of one source.
type lowLevel struct {
	tracker lls.Tracker
	diagnose.LLS
	malformed []diagnose.Malformed
}

// Channel is a multicast that signalling names. Source may be zero.
type Channel struct {
	Source      netip.Addr
	Destination netip.AddrPort
}

func isLLS(to netip.AddrPort) bool { return to.Port() == lls.Port && to.Addr() == lls.Group() }

// Announced returns the multicasts that signalling has named since it was asked last, so that they can be joined.
func (in *Inspector) Announced() []Channel {
	list := in.announced
	in.announced = nil
	return list
}

// maxAnnounced bounds the multicasts that wait to be asked for.
const maxAnnounced = 256

func (in *Inspector) announce(source netip.Addr, to netip.AddrPort) {
	if len(in.announced) < maxAnnounced && to.Addr().IsMulticast() && to.Port() != 0 {
		in.announced = append(in.announced, Channel{source, to})
	}
}

// maxServices bounds what is told of them.
const maxServices = 4096

func (in *Inspector) service(e *ServiceEvent) {
	key := fmt.Sprint(e.System, "|", e.ID, "|", e.Name, "|", e.Dst, "|", e.Port, "|", e.Source)
	if in.services[key] || len(in.services) >= maxServices {
		return
	}
	in.services[key] = true
	e.Head = Head{Event: "service", Time: in.now}
	in.cfg.Emit(e)
}

// maxMalformed bounds the errors that are kept of each source.
const maxMalformed = 16

func (in *Inspector) pushLLS(source netip.Addr, to netip.AddrPort, payload []byte) {
	l := in.lls[source]
	if l == nil {
		if len(in.lls) >= maxSessions {
			return
		}
		l = &lowLevel{}
		in.lls[source] = l
	}
	updates, err := l.tracker.Push(bytes.Clone(payload))
	l.Datagrams = l.tracker.Stats().Datagrams
	if err != nil {
		l.bad("LLS", err)
		return
	}
	for _, u := range updates {
		l.SameVersion = l.SameVersion || u.SameVersion
		l.Signed = l.Signed || u.Signed
		l.Unverified = l.Signed
		version := uint32(u.Table.Version)
		e := SignallingEvent{
			Head: Head{Event: "signalling", Time: in.now}, Source: source, Dst: to.Addr(), Port: to.Port(), Kind: u.Table.ID.String(), Version: &version,
		}
		switch u.Table.ID {
		case lls.SLTID:
			var slt *lls.SLT
			if slt, err = lls.ParseSLT(u.Table.Body); err == nil {
				l.SLT = slt
				in.slt(slt)
			}
		case lls.SystemTimeID:
			var st *lls.SystemTime
			if st, err = lls.ParseSystemTime(u.Table.Body); err == nil {
				l.SystemTime = st
			}
		case lls.AEATID:
			_, err = lls.ParseAEAT(u.Table.Body)
		case lls.OnscreenID:
			_, err = lls.ParseOnscreen(u.Table.Body)
		}
		if err != nil {
			e.Error = err.Error()
			l.bad(u.Table.ID.String(), err)
		}
		in.cfg.Emit(&e)
	}
}

func (l *lowLevel) bad(where string, err error) {
	if len(l.malformed) < maxMalformed {
		l.malformed = append(l.malformed, diagnose.Malformed{Where: where, Err: err})
	}
}

func (in *Inspector) slt(t *lls.SLT) {
	for i := range t.Services {
		s := &t.Services[i]
		e := ServiceEvent{System: "atsc3", ID: strconv.Itoa(int(s.ID)), Name: s.ShortName}
		if s.Major != 0 {
			e.Channel = fmt.Sprintf("%d.%d", s.Major, s.Minor)
		}
		if b := s.Signalling; b != nil {
			e.Dst, e.Port, e.Source = b.Destination.Addr(), b.Destination.Port(), b.Source
			switch b.Protocol {
			case lls.ProtocolROUTE:
				e.Protocol = "route"
				in.announce(b.Source, b.Destination)
			case lls.ProtocolMMTP:
				e.Protocol = "mmtp"
			}
		}
		in.service(&e)
	}
}
