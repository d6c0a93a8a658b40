package diagnose

import (
	"fmt"
	"unicode/utf8"

	"github.com/treedn/treedn/route/lls"
	"github.com/treedn/treedn/route/mabr"
)

// currentUTCOffset is TAI minus UTC since 2017.
const currentUTCOffset = 37

func (d *diagnosis) lls() {
	in := d.in.LLS
	if in == nil {
		return
	}
	if in.Datagrams == 0 {
		d.add(Fatal, "lls-none", "A/331 6.1", "LLS", "no datagrams to %s:%d: the receiver learns of no service", lls.Group(), lls.Port)
		return
	}
	if in.SameVersion {
		d.add(Fault, "lls-version", "A/331 6.2", "LLS", "a table changes without a new LLS_table_version: receivers keep the old one")
	}
	if in.Signed && in.Unverified {
		d.add(Note, "lls-signature", "A/360", "LLS", "the tables are signed, and nobody checked the signature")
	}
	switch {
	case in.SystemTime == nil:
		d.add(Note, "systemtime-none", "A/331 6.4", "LLS", "there is no SystemTime, which is due every 5 s: the clock has no offsets")
	default:
		if s := in.SystemTime; s.Namespace != lls.NamespaceSystemTime {
			d.add(Note, "systemtime-namespace", "A/331 6.4", "SystemTime", "it is in %s, A/331's is %q", namespace(s.Namespace), lls.NamespaceSystemTime)
		}
		if s := in.SystemTime; s.UTCOffset != currentUTCOffset {
			d.add(Fault, "systemtime-offset", "A/331 6.4", "SystemTime", "currentUtcOffset is %d, and should be %d: clocks are off by the difference", s.UTCOffset, currentUTCOffset)
		}
	}
	if in.SLT == nil {
		d.add(Fatal, "slt-none", "A/331 6.3", "LLS", "there is no SLT in %d datagrams: the receiver learns of no service", in.Datagrams)
		return
	}
	if in.SLT.Namespace != lls.NamespaceSLT {
		d.add(Note, "slt-namespace", "A/331 6.3", "SLT", "it is in %s, A/331's is %q", namespace(in.SLT.Namespace), lls.NamespaceSLT)
	}
	if len(in.SLT.Services) == 0 {
		d.add(Fatal, "slt-empty", "A/331 6.3", "SLT", "it lists no service")
	}
	for i := range in.SLT.Services {
		d.service(&in.SLT.Services[i])
	}
}

func namespace(s string) string {
	if s == "" {
		return "no namespace"
	}
	return fmt.Sprintf("the namespace %.100q", s)
}

func (d *diagnosis) service(s *lls.Service) {
	where := fmt.Sprintf("SLT: service %d", s.ID)
	if utf8.RuneCountInString(s.ShortName) > 7 {
		d.add(Note, "slt-name", "A/331 6.3", where, "shortServiceName %.40q has more than 7 characters", s.ShortName)
	}
	b := s.Signalling
	if b == nil {
		if len(s.URLs) == 0 {
			d.add(Fault, "slt-signalling", "A/331 6.3", where, "it says neither by broadcast nor by Internet where its signalling is")
		}
		return
	}
	switch b.Protocol {
	case lls.ProtocolROUTE:
	case lls.ProtocolMMTP:
		if b.Destination == d.in.Destination {
			d.add(Fatal, "slt-protocol", "A/331 6.3", where, "it is sent by MMTP, not by ROUTE")
		}
		return
	default:
		d.add(Fault, "slt-protocol", "A/331 6.3", where, "slsProtocol %d is neither ROUTE (1) nor MMTP (2)", b.Protocol)
		return
	}
	if d.in.Destination.IsValid() && b.Destination != d.in.Destination {
		return // another session
	}
	channels := d.arrivals(b.Destination)
	if len(channels) == 0 {
		if d.unheard(where, b.Destination) {
			return
		}
		d.add(severityOf(b.Destination == d.in.Destination), "slt-destination", "A/331 6.3", where, "no packets come to %s, where it says that the service is", b.Destination)
		return
	}
	d.source("slt-source", "A/331 6.3", where, b.Source, channels)
}

func severityOf(fatal bool) Severity {
	if fatal {
		return Fatal
	}
	return Fault
}

// knownFEC are the FEC encoding ids with a scheme of their own.
func knownFEC(id uint8) bool { return id <= 6 || id >= 128 && id <= 130 }

func (d *diagnosis) mabr() {
	c := d.in.MABR
	if c == nil {
		return
	}
	const document = "session configuration"
	if c.Edition != 2019 && c.Edition != 2024 {
		d.add(Note, "mabr-namespace", "TS 103 769 A", document, "its namespace is of %d; there are editions of 2019 and 2024", c.Edition)
	}
	if end, ok := c.ValidUntil(d.in.Now); ok && !d.in.Now.IsZero() && c.ValidityPeriod == 0 && !d.in.Now.Before(end) {
		d.add(Fatal, "mabr-expired", "TS 103 769 10.2.1", document, "it was valid until %s", stamp(end))
	}
	if len(c.Sessions) == 0 && len(c.Carousels) == 0 {
		d.add(Fatal, "mabr-empty", "TS 103 769 10.2.1", document, "it names no session")
	}
	for i := range c.Carousels {
		d.transport(fmt.Sprintf("%s: carousel %d", document, i+1), &c.Carousels[i].Transport)
	}
	for i := range c.Sessions {
		s := &c.Sessions[i]
		where := fmt.Sprintf("%s: %.60q", document, s.ServiceID)
		if len(s.Manifests) == 0 {
			d.add(Fault, "mabr-manifest", "TS 103 769 10.2.2", where, "it has no PresentationManifestLocator: a player cannot start")
		}
		for k := range s.Transports {
			t := &s.Transports[k]
			where := fmt.Sprintf("%s: session %.40q", where, t.ID)
			if !d.in.Now.IsZero() && !t.ActiveAt(d.in.Now) {
				d.add(Fault, "mabr-time", "TS 103 769 10.3.1", where, "it is not on air at %s: it starts at %s and lasts %v", stamp(d.in.Now), stamp(t.Start), t.Duration)
			}
			if t.IdleTimeout == 0 {
				d.add(Note, "mabr-idle", "TS 103 769 10.2.3", where, "sessionIdleTimeout is missing")
			}
			for _, p := range t.Components {
				if _, ok := s.Manifest(p.ManifestID); !ok {
					d.add(Fault, "mabr-reference", "TS 103 769 10.2.4", where, "it belongs to the manifest %.60q, which the service does not have", p.ManifestID)
				}
			}
			d.transport(where, &t.Transport)
		}
	}
}

func (d *diagnosis) transport(where string, t *mabr.Transport) {
	var want Protocol
	switch t.Protocol() {
	case "FLUTE":
		want = ProtocolFLUTE
	case "ROUTE":
		want = ProtocolROUTE
	default:
		d.add(Fault, "mabr-protocol", "TS 103 769 B.1", where, "%.100q is neither FLUTE nor ROUTE", t.ProtocolID)
		return
	}
	if len(t.Endpoints) == 0 {
		d.add(Fault, "mabr-endpoint", "TS 103 769 10.2.3", where, "it has no EndpointAddress")
	}
	for i := range t.FEC {
		if id, ok := t.FEC[i].EncodingID(); !ok || !knownFEC(id) {
			d.add(Fault, "mabr-fec", "TS 103 769 B.2", where, "the FEC scheme %.60q is unknown: what gets lost stays lost", t.FEC[i].Scheme)
		}
	}
	received := false
	for _, e := range t.Endpoints {
		if len(d.arrivals(e.Destination)) == 0 && d.unheard(where, e.Destination) {
			received = true
			continue
		}
		channels := d.arrivals(e.Destination)
		if e.HasTSI {
			channels = d.channels(e.Destination, e.TSI)
		}
		received = received || len(channels) > 0
		d.source("mabr-source", "TS 103 769 10.2.3.9", where, e.Source, channels)
		for _, c := range channels {
			if c.Protocol != ProtocolUnknown && c.Protocol != want {
				d.add(Fault, "mabr-protocol", "TS 103 769 10.2.3", where, "it announces %s, the packets to %s are not", t.Protocol(), c.Destination)
			}
		}
	}
	if !received && len(t.Endpoints) > 0 {
		d.add(Fault, "mabr-packets", "TS 103 769 10.2.3.9", where, "no packets come to %s", endpoint(t.Endpoints[0]))
	}
}

func endpoint(e mabr.Endpoint) string {
	if e.HasTSI {
		return fmt.Sprintf("%s with the TSI %d", e.Destination, e.TSI)
	}
	return e.Destination.String()
}

func (d *diagnosis) sdp() {
	s := d.in.SDP
	if s == nil {
		return
	}
	const where = "SDP"
	now := d.in.Now
	if !now.IsZero() && (!s.Start.IsZero() && now.Before(s.Start) || !s.Stop.IsZero() && !now.Before(s.Stop)) {
		d.add(Fault, "sdp-time", "RFC 8866 5.9", where, "the session is from %s to %s, and it is %s", stamp(s.Start), stamp(s.Stop), stamp(now))
	}
	if !s.HasTSI {
		d.add(Fault, "sdp-tsi", "TS 26.346 7.3", where, "it does not say the TSI")
	}
	for _, f := range s.FEC {
		if !knownFEC(f.EncodingID) {
			d.add(Fault, "sdp-fec", "TS 26.346 7.3", where, "FEC encoding id %d is unknown", f.EncodingID)
		}
	}
	channels := s.Channels()
	if len(channels) == 0 {
		d.add(Fatal, "sdp-channels", "TS 26.346 7.3", where, "it has no media of FLUTE")
	}
	for _, c := range channels {
		arrived := d.arrivals(c.Destination)
		if len(arrived) == 0 {
			if d.unheard(where, c.Destination) {
				continue
			}
			d.add(severityOf(len(channels) == 1), "sdp-packets", "TS 26.346 7.3", where, "no packets come to %s", c.Destination)
			continue
		}
		d.source("sdp-source", "TS 26.346 7.3", where, c.Source, arrived)
		if s.HasTSI && len(d.channels(c.Destination, s.TSI)) == 0 {
			d.add(Fatal, "sdp-tsi", "TS 26.346 7.3", where, "it announces the TSI %d, the packets to %s have %s", s.TSI, c.Destination, tsis(arrived))
		}
	}
}

func tsis(channels []*Channel) string {
	s := ""
	for i, c := range channels {
		switch {
		case i == 8:
			return s + " and others"
		case i > 0:
			s += ", "
		}
		s += fmt.Sprint(c.TSI)
	}
	return s
}

// packets judges whether anything came at all.
func (d *diagnosis) packets() {
	in := d.in
	for _, f := range d.findings {
		switch f.Rule {
		case "slt-destination", "sdp-packets", "slt-protocol":
			return // said already
		}
	}
	if len(d.arrivals(in.Destination)) == 0 {
		d.add(Fatal, "packets-none", "", in.Destination.String(), "no packets of ROUTE or FLUTE arrive: nobody sends, the group is not joined from the right source, or something on the way drops them")
	}
}
