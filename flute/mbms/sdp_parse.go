package mbms

import (
	"net/netip"
	"strconv"
	"strings"
)

const (
	maxSDP        = 64 << 10 // octets
	maxMedia      = 64
	maxAttributes = 256
)

// ParseSDP decodes the session description of a FLUTE session. Lines that it
// does not know, and media sections of other protocols, are skipped. The TSI and
// other attributes of the session may stand in a media section, where senders in
// the field put them.
func ParseSDP(b []byte) (*SDP, error) {
	if len(b) > maxSDP {
		return nil, &SDPError{Reason: "longer than 65536 octets"}
	}
	p := sdpParser{s: &SDP{}}
	for text := range strings.Lines(string(b)) {
		p.line++
		p.text = strings.TrimRight(text, " \t\r\n")
		if p.text == "" {
			continue
		}
		kind, value, ok := strings.Cut(p.text, "=")
		if kind = strings.TrimSpace(kind); !ok || len(kind) != 1 {
			return nil, p.fail("no type")
		}
		if p.line == 1 && kind != "v" {
			return nil, p.fail("does not begin with v=")
		}
		if err := p.field(kind[0], strings.TrimSpace(value)); err != nil {
			return nil, err
		}
	}
	if p.line == 0 {
		return nil, &SDPError{Reason: "empty"}
	}
	p.finish()
	return p.s, nil
}

type sdpParser struct {
	s    *SDP
	line int
	text string
	// media is the section, nil before the first; skip in those that are not
	// FLUTE.
	media *Media
	skip  bool
	count int
	// connection is the c= line of the session.
	connection Media
}

func (p *sdpParser) fail(reason string) error {
	return &SDPError{Line: p.line, Text: p.text[:min(len(p.text), 64)], Reason: reason}
}

func (p *sdpParser) field(kind byte, value string) error {
	s := p.s
	if p.skip && kind != 'm' {
		return nil
	}
	switch kind {
	case 'o':
		f := strings.Fields(value)
		if len(f) < 6 {
			return p.fail("origin is not of six parts")
		}
		s.Username = f[0]
		s.SessionID, _ = strconv.ParseUint(f[1], 10, 64) // any digits; of no use but to compare
		s.Version, _ = strconv.ParseUint(f[2], 10, 64)
		if a, err := netip.ParseAddr(f[5]); err == nil && a.Zone() == "" {
			s.Origin = a.Unmap()
		}
	case 's':
		s.Name = value
	case 'i':
		if p.media == nil {
			s.Info = value
		}
	case 't':
		f := strings.Fields(value)
		if len(f) != 2 {
			return p.fail("times are not two numbers")
		}
		start, err := strconv.ParseUint(f[0], 10, 64)
		stop, err2 := strconv.ParseUint(f[1], 10, 64)
		if err != nil || err2 != nil {
			return p.fail("times are not two numbers")
		}
		s.Start, s.Stop = fromNTP(start), fromNTP(stop)
	case 'b':
		kind, rate, _ := strings.Cut(value, ":")
		v, err := strconv.ParseUint(strings.TrimSpace(rate), 10, 32)
		if kind != "AS" || err != nil {
			return nil
		}
		if p.media != nil {
			p.media.Bandwidth = uint32(v)
		} else {
			s.Bandwidth = uint32(v)
		}
	case 'c':
		m := p.media
		if m == nil {
			m = &p.connection
		}
		return p.address(value, m)
	case 'm':
		return p.section(value)
	case 'a':
		return p.attribute(value)
	}
	return nil
}

// address decodes a connection: IN IP4 238.1.1.111/127/3, IN IP6 ff3e::1/3.
func (p *sdpParser) address(value string, m *Media) error {
	f := strings.Fields(value)
	if len(f) != 3 || !strings.EqualFold(f[0], "IN") {
		return p.fail("connection is not of three parts")
	}
	parts := strings.Split(f[2], "/")
	a, err := netip.ParseAddr(parts[0])
	if err != nil || a.Zone() != "" {
		return p.fail("connection without an address")
	}
	m.Group, m.TTL, m.Groups = a.Unmap(), 0, 0
	numbers := parts[1:]
	if m.Group.Is4() && len(numbers) > 0 {
		ttl, err := strconv.ParseUint(numbers[0], 10, 8)
		if err != nil {
			return p.fail("TTL is not a number")
		}
		m.TTL, numbers = uint8(ttl), numbers[1:]
	}
	if len(numbers) > 0 {
		n, err := strconv.ParseUint(numbers[0], 10, 16)
		if err != nil || n == 0 || len(numbers) > 1 {
			return p.fail("number of addresses")
		}
		m.Groups = uint16(n)
	}
	return nil
}

func (p *sdpParser) section(value string) error {
	f := strings.Fields(value)
	if len(f) < 3 {
		return p.fail("media is not of four parts")
	}
	p.skip = !strings.HasPrefix(strings.ToUpper(f[2]), "FLUTE/")
	if p.skip {
		return nil
	}
	if len(p.s.Media) >= maxMedia {
		return p.fail("too many media")
	}
	m := Media{Protocol: strings.ToUpper(f[2])}
	port, count, many := strings.Cut(f[1], "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return p.fail("port is not a number")
	}
	m.Port = uint16(n)
	if many {
		n, err := strconv.ParseUint(count, 10, 16)
		if err != nil || n == 0 {
			return p.fail("number of ports")
		}
		m.Ports = uint16(n)
	}
	p.s.Media = append(p.s.Media, m)
	p.media = &p.s.Media[len(p.s.Media)-1]
	return nil
}

func (p *sdpParser) attribute(text string) error {
	s := p.s
	name, value, _ := strings.Cut(text, ":")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	switch strings.ToLower(name) {
	case "flute-tsi":
		v, err := strconv.ParseUint(value, 10, 48)
		if err != nil {
			return p.fail("TSI is not a number of 48 bits")
		}
		if s.HasTSI && s.TSI != v {
			return p.fail("second TSI")
		}
		s.TSI, s.HasTSI = v, true
	case "flute-ch":
		v, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return p.fail("number of channels")
		}
		s.MaxChannels = uint16(v)
	case "mbms-mode":
		mode, tmgi, _ := strings.Cut(value, " ")
		s.Mode = mode
		if v, err := strconv.ParseUint(strings.TrimSpace(tmgi), 10, 64); err == nil {
			s.TMGI, s.HasTMGI = v, true
		}
	case "source-filter":
		// incl IN IP4 <destination> <source>...; one source is what SSM has.
		f := strings.Fields(value)
		if len(f) < 5 || !strings.EqualFold(f[0], "incl") {
			return nil
		}
		a, err := netip.ParseAddr(f[4])
		if err != nil || a.Zone() != "" {
			return p.fail("source is not an address")
		}
		s.Source = a.Unmap()
	case "fec-declaration":
		return p.declaration(value)
	case "fec":
		v, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return p.fail("reference is not a number")
		}
		if p.media != nil && len(p.media.FEC) < maxMedia {
			p.media.FEC = append(p.media.FEC, uint32(v))
		}
	default:
		if p.count++; p.count > maxAttributes {
			return p.fail("too many attributes")
		}
		switch {
		case p.media == nil:
			s.Attributes = append(s.Attributes, Attribute{name, value})
		case strings.EqualFold(name, "lang"):
			p.media.Lang = value
		default:
			p.media.Attributes = append(p.media.Attributes, Attribute{name, value})
		}
	}
	return nil
}

// declaration decodes <ref> encoding-id=<id>; instance-id=<id>.
func (p *sdpParser) declaration(value string) error {
	ref, rest, _ := strings.Cut(value, " ")
	d := FECDeclaration{}
	v, err := strconv.ParseUint(ref, 10, 32)
	if err != nil {
		return p.fail("reference is not a number")
	}
	d.Ref = uint32(v)
	found := false
	for parameter := range strings.FieldsFuncSeq(rest, func(r rune) bool { return r == ';' || r == ' ' || r == '\t' }) {
		key, value, _ := strings.Cut(parameter, "=")
		switch strings.ToLower(key) {
		case "encoding-id":
			v, err := strconv.ParseUint(value, 10, 8)
			if err != nil {
				return p.fail("FEC encoding id")
			}
			d.EncodingID, found = uint8(v), true
		case "instance-id":
			v, err := strconv.ParseUint(value, 10, 16)
			if err != nil {
				return p.fail("FEC instance id")
			}
			d.InstanceID, d.HasInstanceID = uint16(v), true
		}
	}
	if !found {
		return p.fail("FEC declaration without an encoding id")
	}
	if len(p.s.FEC) < maxMedia {
		p.s.FEC = append(p.s.FEC, d)
	}
	return nil
}

// finish gives the connection of the session to the media that have none.
func (p *sdpParser) finish() {
	for i := range p.s.Media {
		m := &p.s.Media[i]
		if !m.Group.IsValid() {
			m.Group, m.TTL, m.Groups = p.connection.Group, p.connection.TTL, p.connection.Groups
		}
	}
}
