package inspect

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/bundle"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/gunzip"
	"github.com/treedn/treedn/flute/mbms"
	"github.com/treedn/treedn/route/diagnose"
	"github.com/treedn/treedn/route/lls"
	"github.com/treedn/treedn/route/mabr"
	"github.com/treedn/treedn/route/sls"
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
	if s.carriesConfig {
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

// received takes signalling out of an object that is complete.
func (ch *channel) received(o *object) {
	switch {
	case o.isInstance():
		ch.fdtInstance(o)
	case ch.protocol == routing && ch.tsi == 0:
		ch.s.slsPackage(o)
	}
}

func (ch *channel) signalling(o *object, kind, name string, version *uint32, err error) {
	tsi, toi := ch.tsi, o.key.toi
	e := SignallingEvent{
		Head: Head{Event: "signalling", Time: ch.s.in.now}, Source: ch.s.source, Dst: ch.s.to.Addr(), Port: ch.s.to.Port(),
		TSI: &tsi, TOI: &toi, Kind: kind, Name: name, Version: version,
	}
	if err != nil {
		e.Error = err.Error()
		ch.s.bad(fmt.Sprintf("%s of TSI %d", kind, tsi), err)
	}
	ch.s.in.cfg.Emit(&e)
}

func (s *session) bad(where string, err error) {
	if len(s.malformed) < maxMalformed {
		s.malformed = append(s.malformed, diagnose.Malformed{Where: where, Err: err})
	}
}

// maxInstances bounds the FDT Instances of a channel that the diagnosis hears of, maxFiles the descriptions.
const (
	maxInstances = 64
	maxFiles     = 1 << 16
)

func (ch *channel) fdtInstance(o *object) {
	b, err := o.body(), error(nil)
	if encoding := encodingOf(o.cenc); encoding != "" {
		b, err = decoded(b, encoding)
	} else if gunzip.Is(b) {
		b, err = gunzip.Limits{}.Inflate(b)
	}
	var in *fdt.Instance
	if err == nil {
		in, err = fdt.Parse(b)
	}
	var version *uint32
	switch {
	case o.key.instance > 0:
		v := o.key.instance - 1
		version = &v
	case in != nil && in.HasEFDTVersion:
		v := uint32(in.EFDTVersion)
		version = &v
	}
	ch.signalling(o, "FDT", "", version, err)
	if err != nil {
		return
	}
	if len(ch.instances) >= maxInstances {
		ch.instances = ch.instances[1:]
	}
	ch.instances = append(ch.instances, diagnose.Instance{TSI: ch.tsi, Instance: in})
	for i := range in.Files {
		f := in.Resolve(in.Files[i])
		if before := ch.files[f.TOI]; before != nil {
			ch.supersede(before, &f)
		} else if len(ch.files) >= maxFiles {
			continue
		}
		ch.files[f.TOI] = &f
	}
	ch.redescribe()
}

// supersede makes place for an object whose TOI is used again, if the description says so.
func (ch *channel) supersede(before, now *fdt.File) {
	o := ch.objects[objectKey{toi: now.TOI}]
	if o == nil {
		return
	}
	n, known := before.Length()
	m, knows := now.Length()
	if (!known || !knows || n == m) && bytes.Equal(before.ContentMD5, now.ContentMD5) {
		return
	}
	ch.retire(o)
}

// describe gives an object its description.
func (ch *channel) describe(o *object) {
	if !o.nameable() {
		return
	}
	f := ch.files[o.key.toi]
	if f == nil && ch.flow != nil && ch.flow.SrcFlow != nil && ch.flow.SrcFlow.EFDT != nil {
		efdt := ch.flow.SrcFlow.EFDT
		for i := range efdt.Files {
			if efdt.Files[i].TOI == o.key.toi {
				r := efdt.Resolve(efdt.Files[i])
				f = &r
			}
		}
	}
	if f != nil {
		o.file = f
	} else if ch.template != nil {
		o.template = ch.template.Expand(o.key.toi)
	}
	if o.file == nil || o.complete {
		return
	}
	if ch.protocol == flute {
		return // configureFromFile, with the packets
	}
	if n, ok := o.file.Length(); ok && o.length < 0 {
		_ = o.setLength(int64(min(n, maxObject+1)), true)
	}
}

// redescribe gives all objects of the channel the descriptions that are known now.
func (ch *channel) redescribe() {
	ch.s.in.renamed = true
	for _, o := range ch.objects {
		if o.name() != "" && o.complete {
			continue
		}
		ch.describe(o)
		if ch.protocol == flute && !o.hasInfo {
			o.configureFromFile(fec.EncodingID(o.codepoint))
		}
		ch.finish(o)
	}
}

// join takes what the S-TSID says of the channel.
func (ch *channel) join() {
	rs := ch.s.in.plans[ch.s.to]
	if rs == nil {
		return
	}
	for i := range rs.LS {
		ls := &rs.LS[i]
		if uint64(ls.TSI) != ch.tsi {
			continue
		}
		ch.flow, ch.template = ls, nil
		if f := ls.SrcFlow; f != nil && f.EFDT != nil && f.EFDT.FileTemplate != "" {
			if t, err := fdt.ParseTemplate(f.EFDT.FileTemplate); err == nil {
				ch.template = &t
			}
		}
	}
}

// slsPackage takes a package of TSI 0 apart.
func (s *session) slsPackage(o *object) {
	ch := o.ch
	body := o.body()
	p, err := sls.ParsePackage(body)
	version := uint32(sls.TOI(o.key.toi).Version())
	ch.signalling(o, "SLS", "", &version, err)
	if err != nil {
		return
	}
	s.pkg = &diagnose.Package{TOI: sls.TOI(o.key.toi), Gzip: gunzip.Is(body), Package: p}
	for i := range p.Parts {
		part := &p.Parts[i]
		var version *uint32
		if part.Version != 0 {
			version = &part.Version
		}
		kind, err := s.part(part)
		ch.signalling(o, kind, part.Location, version, err)
	}
}

// part takes a fragment of signalling, and says what it is.
func (s *session) part(part *sls.Part) (kind string, err error) {
	switch part.Kind() {
	case sls.KindSTSID:
		t, err := sls.ParseSTSID(part.Body)
		if err == nil {
			s.takeSTSID(t)
		}
		return "S-TSID", err
	case sls.KindUSBD:
		u, err := sls.ParseUSBD(part.Body)
		if err == nil {
			s.usbd = u
		}
		return "USBD", err
	case sls.KindManifest:
		if bundle.MediaType(part.ContentType) != sls.MediaTypeDASH {
			return "HLS playlist", nil
		}
		m, err := parseMPD(part.Body)
		if err == nil {
			m.Location = part.Location
			s.manifest = m
		}
		return "MPD", err
	case sls.KindAPD:
		_, err = sls.ParseAPD(part.Body)
		return "APD", err
	case sls.KindHELD:
		_, err = sls.ParseHELD(part.Body)
		return "HELD", err
	case sls.KindDWD:
		_, err = sls.ParseDWD(part.Body)
		return "DWD", err
	case sls.KindRSAT:
		return "RSAT", nil
	}
	return bundle.MediaType(part.ContentType), nil
}

// maxPlans bounds the destinations that S-TSIDs describe.
const maxPlans = 1024

func (s *session) takeSTSID(t *sls.STSID) {
	in := s.in
	s.stsid = t
	for i := range t.RS {
		rs := &t.RS[i]
		addr, port := rs.Destination, rs.Port
		if !addr.IsValid() {
			addr = s.to.Addr()
		}
		if port == 0 {
			port = s.to.Port()
		}
		to := netip.AddrPortFrom(addr, port)
		if _, ok := in.plans[to]; !ok && len(in.plans) >= maxPlans {
			continue
		}
		in.plans[to] = rs
		if to != s.to {
			in.announce(rs.Source, to)
		}
		for _, other := range in.sorted() {
			if other.to != to {
				continue
			}
			for _, ch := range other.sortedChannels() {
				ch.join()
				if ch.protocol == undecided && ch.flow != nil {
					ch.protocol = routing
					other.seenROUTE = true
					other.decided(ch)
				}
				ch.redescribe()
			}
		}
	}
}

// contents looks at an object that is complete and named: it may be signalling, too.
func (ch *channel) contents(o *object, body []byte) {
	if o.file == nil {
		return
	}
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
		s.carriesConfig = true
		in.takeConfig(c)
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

func (in *Inspector) takeConfig(c *mabr.Configuration) {
	if len(in.configs) >= maxConfigs {
		in.configs = in.configs[1:]
	}
	in.configs = append(in.configs, c)
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
