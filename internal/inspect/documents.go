package inspect

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/treedn/treedn/flute/bundle"
	"github.com/treedn/treedn/flute/mbms"
	"github.com/treedn/treedn/route/mabr"
	"github.com/treedn/treedn/route/sls"
)

// contents looks at an object that is complete and named: it may be signalling, too.
func (ch *channel) contents(o *object, body []byte) {
	if o.file == nil {
		return
	}
	o.mismatch = mismatch(o.file, body)
	if _, err := decoded(body, o.file.ContentEncoding); err != nil {
		ch.s.bad(fmt.Sprintf("object %.100q", o.file.ContentLocation), fmt.Errorf("its content encoding is %.40q, it says: %w", o.file.ContentEncoding, err))
	}
	mediaType := bundle.MediaType(o.file.ContentType)
	var kind string
	switch {
	case o.file.ContentLocation == mabr.GatewayConfigurationURI || mediaType == mabr.MediaType:
		kind = "MABR configuration"
	case mediaType == sls.MediaTypeDASH:
		kind = "MPD"
	case mediaType == mbms.MediaTypeSDP:
		kind = "SDP"
	case mediaType == bundle.MediaTypeEnvelope || mediaType == "multipart/related":
		kind = "announcement"
	default:
		return
	}
	b, err := decoded(body, o.file.ContentEncoding)
	if err == nil {
		err = ch.s.document(kind, o.file.ContentLocation, b)
	}
	ch.signalling(o, kind, o.file.ContentLocation, nil, err)
}

func (s *session) document(kind, location string, b []byte) error {
	in := s.in
	switch kind {
	case "MABR configuration":
		c, err := mabr.Parse(b)
		if err != nil {
			return err
		}
		in.takeConfig(s, c)
	case "MPD":
		m, err := parseMPD(b)
		if err != nil {
			return err
		}
		m.Location = location
		s.manifest = m
	case "SDP":
		d, err := mbms.ParseSDP(b)
		if err != nil {
			return err
		}
		in.takeSDP(d)
	case "announcement":
		a, err := mbms.ParseAnnouncement(b)
		if err != nil {
			return err
		}
		in.takeAnnouncement(a)
	}
	return nil
}

// maxConfigs bounds the configurations and session descriptions that count.
const maxConfigs = 64

func (in *Inspector) takeConfig(by *session, c *mabr.Configuration) {
	in.configs = slices.DeleteFunc(in.configs, func(old *mabr.Configuration) bool { return old == by.config })
	if len(in.configs) >= maxConfigs {
		in.configs = in.configs[1:]
	}
	in.configs = append(in.configs, c)
	by.config = c
	transport := func(t *mabr.Transport) (e mabr.Endpoint) {
		for i, endpoint := range t.Endpoints {
			in.announce(endpoint.Source, endpoint.Destination)
			if i == 0 {
				e = endpoint
			}
		}
		return e
	}
	for i := range c.Carousels {
		transport(&c.Carousels[i].Transport)
	}
	for i := range c.Sessions {
		s := &c.Sessions[i]
		for k := range s.Transports {
			t := &s.Transports[k]
			e := transport(&t.Transport)
			protocol := map[string]string{"FLUTE": "flute", "ROUTE": "route"}[t.Protocol()]
			in.service(&ServiceEvent{
				System: "dvb-mabr", ID: s.ServiceID, Name: t.ID, Protocol: protocol,
				Dst: e.Destination.Addr(), Port: e.Destination.Port(), Source: e.Source,
			})
		}
	}
}

// Describe takes a session description that came another way, such as a file.
func (in *Inspector) Describe(d *mbms.SDP) { in.takeSDP(d) }

func (in *Inspector) takeSDP(d *mbms.SDP) {
	if len(in.sdps) >= maxConfigs {
		in.sdps = in.sdps[1:]
	}
	in.sdps = append(in.sdps, d)
	for _, c := range d.Channels() {
		in.announce(c.Source, c.Destination)
	}
}

func (in *Inspector) takeAnnouncement(a *mbms.Announcement) {
	for _, d := range a.Sessions {
		in.takeSDP(d)
	}
	if a.USD == nil {
		return
	}
	for i := range a.USD.Services {
		s := &a.USD.Services[i]
		e := ServiceEvent{System: "mbms", ID: s.ID, Protocol: "flute"}
		if len(s.Names) > 0 {
			e.Name = s.Names[0].Text
		}
		for _, m := range s.Delivery {
			if d := a.Sessions[m.SessionURI]; d != nil {
				if channels := d.Channels(); len(channels) > 0 {
					e.Dst, e.Port, e.Source = channels[0].Destination.Addr(), channels[0].Destination.Port(), channels[0].Source
				}
			}
		}
		in.service(&e)
	}
}

// system names the system whose signalling has named the session, or came in it.
func (s *session) system() string {
	for _, l := range s.in.lls {
		if l.SLT == nil {
			continue
		}
		for i := range l.SLT.Services {
			if b := l.SLT.Services[i].Signalling; b != nil && b.Destination == s.to {
				return "atsc3"
			}
		}
	}
	for _, c := range s.in.configs {
		if names(c, s.to) {
			return "dvb-mabr"
		}
	}
	if s.config != nil {
		return "dvb-mabr"
	}
	return ""
}

// names tells whether a configuration names a destination.
func names(c *mabr.Configuration, to netip.AddrPort) bool {
	at := func(t *mabr.Transport) bool {
		for _, e := range t.Endpoints {
			if e.Destination == to {
				return true
			}
		}
		return false
	}
	for i := range c.Carousels {
		if at(&c.Carousels[i].Transport) {
			return true
		}
	}
	for i := range c.Sessions {
		for k := range c.Sessions[i].Transports {
			if at(&c.Sessions[i].Transports[k].Transport) {
				return true
			}
		}
	}
	return false
}
