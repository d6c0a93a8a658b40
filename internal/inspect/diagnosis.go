package inspect

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/treedn/treedn/flute/mbms"
	"github.com/treedn/treedn/internal/manifest"
	"github.com/treedn/treedn/route/diagnose"
	"github.com/treedn/treedn/route/lls"
)

// diagnose tells what is wrong with each session, and with what was announced and did not come.
func (in *Inspector) diagnose(sessions []*session) {
	all := make([]diagnose.Channel, 0, 64)
	for _, s := range sessions {
		for _, ch := range s.sortedChannels() {
			all = append(all, ch.arrived(in))
		}
	}
	said := map[diagnose.Finding]bool{}
	tell := func(s *session, list []diagnose.Finding) {
		for _, f := range list {
			if said[f] {
				continue
			}
			said[f] = true
			e := FindingEvent{
				Head: Head{Event: "finding", Time: in.now}, Severity: f.Severity.String(), Rule: f.Rule, Where: f.Where, Text: f.Text,
				Section: f.Section, Finding: f,
			}
			if s != nil {
				e.Source, e.Dst, e.Port = s.source, s.to.Addr(), s.to.Port()
			}
			in.cfg.Emit(&e)
		}
	}
	var general diagnose.Input
	if in.received == nil && len(in.lls) > 0 && len(sessions)+len(in.foreign) == 0 {
		in.received = []netip.AddrPort{netip.AddrPortFrom(lls.Group(), lls.Port)} // nothing else was captured
	}
	general.Now, general.Channels, general.Received = in.now, all, in.received
	for _, l := range in.lls {
		general.Malformed = append(general.Malformed, l.malformed...)
		low := l.LLS
		general.LLS = &low
	}
	for _, c := range in.configs {
		general.MABR = c
		tell(nil, diagnose.Diagnose(&general))
		general.LLS, general.Malformed = nil, nil
	}
	if len(in.configs) == 0 {
		tell(nil, diagnose.Diagnose(&general))
	}
	for _, s := range sessions {
		tell(s, diagnose.Diagnose(s.input(in, all)))
	}
	for _, to := range in.received {
		if _, ok := in.foreign[to]; ok || slices.ContainsFunc(all, func(c diagnose.Channel) bool { return c.Destination == to }) {
			continue
		}
		d := diagnose.Input{Now: in.now, Destination: to}
		switch {
		case !isLLS(to):
		case len(in.lls) > 0:
			continue
		default:
			d = diagnose.Input{Now: in.now, LLS: &diagnose.LLS{}}
		}
		tell(nil, diagnose.Diagnose(&d))
	}
	for i, s := range sessions {
		if ttl, known := in.ttls[s.to]; known && ttl <= 1 && s.announced && (i == 0 || sessions[i-1].to != s.to) {
			tell(s, []diagnose.Finding{{
				Severity: diagnose.Note, Rule: "ttl", Where: s.to.String(),
				Text: fmt.Sprintf("the packets arrive with a TTL of %d: no router forwards them any further", ttl),
			}})
		}
	}
	foreign := slices.SortedFunc(maps.Keys(in.foreign), netip.AddrPort.Compare)
	for _, to := range foreign {
		n := in.foreign[to].packets
		if n < 8 {
			continue // strays
		}
		tell(nil, []diagnose.Finding{{
			Severity: diagnose.Note, Rule: "foreign", Where: to.String(),
			Text: fmt.Sprintf("%d datagrams are neither FLUTE nor ROUTE: %s", n, in.foreignName(to)),
		}})
	}
}

// input is what the diagnosis of one session goes by. LLS and configurations were judged before.
func (s *session) input(in *Inspector, all []diagnose.Channel) *diagnose.Input {
	d := &diagnose.Input{
		Now: in.now, Received: in.received, SenderTime: s.senderTime, ReceivedAt: s.receivedAt, Destination: s.to,
		Package: s.pkg, STSID: s.stsid, Announced: s.tsis, USBD: s.usbd, Manifest: s.manifest, Malformed: s.malformed,
	}
	d.Described = s.stsid == nil && s.described()
	for _, l := range in.lls {
		if l.SLT == nil {
			continue
		}
		for i := range l.SLT.Services {
			if b := l.SLT.Services[i].Signalling; b != nil && b.Destination == s.to {
				low := l.LLS
				d.LLS = &low
			}
		}
	}
	for _, sdp := range in.sdps {
		if describes(sdp, s) {
			d.SDP = sdp
		}
	}
	for _, c := range all {
		if c.Source == s.source || c.Destination != s.to {
			d.Channels = append(d.Channels, c)
		}
	}
	for _, ch := range s.sortedChannels() {
		d.Instances = append(d.Instances, ch.instances...)
	}
	return d
}

func describes(sdp *mbms.SDP, s *session) bool {
	for _, c := range sdp.Channels() {
		if c.Destination == s.to {
			return true
		}
	}
	return false
}

// arrived is what came on a channel.
func (ch *channel) arrived(in *Inspector) diagnose.Channel {
	c := diagnose.Channel{
		Source: ch.s.source, Destination: ch.s.to, TSI: ch.tsi, Packets: ch.packets, Repair: ch.repair, Codepoints: ch.codepoints,
		Closed: ch.closed, Last: ch.last, Objects: ch.names,
		Unmarked: ch.unmarked, OtherFEC: ch.otherFEC, Reused: ch.reused,
	}
	switch ch.protocol {
	case flute:
		c.Protocol = diagnose.ProtocolFLUTE
	case routing:
		c.Protocol = diagnose.ProtocolROUTE
	}
	for _, o := range ch.sortedObjects() {
		if !o.isInstance() && len(c.Objects) < maxNotes {
			c.Objects = append(c.Objects, o.observed())
		}
	}
	return c
}

// parseMPD reads what the diagnosis needs of an MPD: of the periods of a live one that which is on air.
func parseMPD(b []byte, now time.Time) (*diagnose.Manifest, error) {
	mpd, err := manifest.ParseMPD(b, manifest.Limits{})
	if err != nil {
		return nil, err
	}
	m := &diagnose.Manifest{Dynamic: !mpd.Static}
	current := time.Duration(-1) // the beginning of the period; the first one may still lie ahead
	for i := range mpd.Representations {
		start := mpd.Representations[i].PeriodStart
		if begun := !mpd.AvailabilityStart.Add(start).After(now); start > current && begun {
			current = start
		}
	}
	for i := range mpd.Representations {
		r := &mpd.Representations[i]
		if m.Dynamic && !mpd.AvailabilityStart.IsZero() && current >= 0 && r.PeriodStart != current {
			continue
		}
		d := diagnose.Representation{ID: r.ID, Init: r.Initialization, Media: r.Media.String()}
		if m.Dynamic && r.SegmentDuration > 0 && !mpd.AvailabilityStart.IsZero() {
			d.Number, d.Every = r.StartNumber, r.Ticks(r.SegmentDuration)
			d.Available = mpd.AvailabilityStart.Add(r.PeriodStart + d.Every - r.AvailabilityOffset)
		}
		m.Representations = append(m.Representations, d)
	}
	return m, nil
}
