package inspect

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

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
	foreign := slices.SortedFunc(maps.Keys(in.foreign), netip.AddrPort.Compare)
	for _, to := range foreign {
		n := in.foreign[to]
		if n < 8 {
			continue // strays
		}
		tell(nil, []diagnose.Finding{{
			Severity: diagnose.Note, Rule: "foreign", Where: to.String(),
			Text: fmt.Sprintf("%d datagrams are neither FLUTE nor ROUTE: %s", n, in.foreignName(to)),
		}})
	}
}

// foreignName says what datagrams to a destination are, if the SLT tells.
func (in *Inspector) foreignName(to netip.AddrPort) string {
	for _, l := range in.lls {
		if l.SLT == nil {
			continue
		}
		for i := range l.SLT.Services {
			if b := l.SLT.Services[i].Signalling; b != nil && b.Protocol == lls.ProtocolMMTP && b.Destination == to {
				return fmt.Sprintf("the SLT says that service %d comes by MMTP", l.SLT.Services[i].ID)
			}
		}
	}
	if in.seals[to] {
		return "they are seals of TreeDN"
	}
	return "another protocol"
}

// input is what the diagnosis of one session goes by. LLS and configurations were judged before.
func (s *session) input(in *Inspector, all []diagnose.Channel) *diagnose.Input {
	d := &diagnose.Input{
		Now: in.now, Received: in.received, SenderTime: s.senderTime, ReceivedAt: s.receivedAt, Destination: s.to,
		Package: s.pkg, STSID: s.stsid, USBD: s.usbd, Manifest: s.manifest, Malformed: s.malformed,
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

// parseMPD reads what the diagnosis needs of an MPD.
func parseMPD(b []byte) (*diagnose.Manifest, error) {
	mpd, err := manifest.ParseMPD(b, manifest.Limits{})
	if err != nil {
		return nil, err
	}
	m := &diagnose.Manifest{Dynamic: !mpd.Static}
	for i := range mpd.Representations {
		r := &mpd.Representations[i]
		m.Representations = append(m.Representations, diagnose.Representation{ID: r.ID, Init: r.Initialization, Media: r.Media.String()})
	}
	return m, nil
}
