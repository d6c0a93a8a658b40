package mbms

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// Append appends the session description, with lines that end in CRLF.
func (s *SDP) Append(b []byte) ([]byte, error) {
	w := sdpWriter{}
	w.require(s.HasTSI, "no TSI")
	w.require(len(s.Media) > 0, "no media")
	w.require(s.Origin.IsValid() && s.Origin.Zone() == "", "no origin")
	w.require(s.TSI < 1<<48, "TSI of more than 48 bits")
	username, name := s.Username, s.Name
	if username == "" {
		username = "-"
	}
	if name == "" {
		name = "-"
	}
	w.require(!strings.ContainsAny(username, " \t"), "blank in the username")
	w.line("v=0")
	w.line("o=%s %d %d IN %s %s", username, s.SessionID, s.Version, family(s.Origin), s.Origin)
	w.line("s=%s", name)
	if s.Info != "" {
		w.line("i=%s", s.Info)
	}
	if s.Bandwidth != 0 {
		w.line("b=AS:%d", s.Bandwidth)
	}
	w.line("t=%s %s", toNTP(s.Start), toNTP(s.Stop))
	if s.Mode != "" {
		w.require(!strings.ContainsAny(s.Mode, " \t"), "blank in the mode")
		if s.HasTMGI {
			w.line("a=mbms-mode:%s %d", s.Mode, s.TMGI)
		} else {
			w.line("a=mbms-mode:%s", s.Mode)
		}
	}
	if s.Source.IsValid() {
		w.require(s.Source.Zone() == "", "source with a zone")
		w.line("a=source-filter: incl IN %s * %s", family(s.Source), s.Source)
	}
	w.line("a=flute-tsi:%d", s.TSI)
	if s.MaxChannels != 0 {
		w.line("a=flute-ch:%d", s.MaxChannels)
	}
	declared := map[uint32]bool{}
	for _, d := range s.FEC {
		w.require(!declared[d.Ref], "two FEC declarations with one reference")
		declared[d.Ref] = true
		if d.HasInstanceID {
			w.line("a=FEC-declaration:%d encoding-id=%d; instance-id=%d", d.Ref, d.EncodingID, d.InstanceID)
		} else {
			w.line("a=FEC-declaration:%d encoding-id=%d", d.Ref, d.EncodingID)
		}
	}
	w.attributes(s.Attributes)
	for i := range s.Media {
		w.media(&s.Media[i], declared)
	}
	if w.err != nil {
		return b, w.err
	}
	return append(b, w.b...), nil
}

type sdpWriter struct {
	b   []byte
	err error
}

func (w *sdpWriter) require(ok bool, otherwise string) {
	if !ok && w.err == nil {
		w.err = fmt.Errorf("%w: SDP: %s", ErrIncomplete, otherwise)
	}
}

func (w *sdpWriter) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.require(!strings.ContainsAny(text, "\r\n\x00") && utf8.ValidString(text) && strings.TrimRight(text, " \t") == text, "a value that is more than a line")
	w.b = append(append(w.b, text...), "\r\n"...)
}

func (w *sdpWriter) attributes(list []Attribute) {
	for _, a := range list {
		w.require(a.Name != "" && !strings.ContainsAny(a.Name, ": \t"), "attribute without a name")
		switch strings.ToLower(a.Name) {
		case "flute-tsi", "flute-ch", "mbms-mode", "source-filter", "fec-declaration", "fec":
			w.require(false, "attribute that has a member of its own")
		}
		w.require(strings.TrimSpace(a.Value) == a.Value, "blank around an attribute")
		if a.Value == "" {
			w.line("a=%s", a.Name)
		} else {
			w.line("a=%s:%s", a.Name, a.Value)
		}
	}
}

func (w *sdpWriter) media(m *Media, declared map[uint32]bool) {
	w.require(m.Group.IsValid() && m.Group.Zone() == "", "media without a group")
	w.require(m.Port != 0, "media without a port")
	protocol := m.Protocol
	if protocol == "" {
		protocol = "FLUTE/UDP"
	}
	w.require(strings.HasPrefix(protocol, "FLUTE/") && protocol == strings.ToUpper(protocol) && !strings.ContainsAny(protocol, " \t"), "protocol that is not FLUTE")
	if m.Ports > 1 {
		w.line("m=application %d/%d %s 0", m.Port, m.Ports, protocol)
	} else {
		w.line("m=application %d %s 0", m.Port, protocol)
	}
	address := m.Group.String()
	if m.Group.Is4() {
		address = fmt.Sprintf("%s/%d", address, m.TTL)
	} else {
		w.require(m.TTL == 0, "TTL of IPv6")
	}
	if m.Groups > 1 {
		address = fmt.Sprintf("%s/%d", address, m.Groups)
	}
	w.line("c=IN %s %s", family(m.Group), address)
	if m.Bandwidth != 0 {
		w.line("b=AS:%d", m.Bandwidth)
	}
	if m.Lang != "" {
		w.require(strings.TrimSpace(m.Lang) == m.Lang, "blank around the language")
		w.line("a=lang:%s", m.Lang)
	}
	for _, ref := range m.FEC {
		w.require(declared[ref], "reference to no FEC declaration")
		w.line("a=FEC:%d", ref)
	}
	for _, a := range m.Attributes {
		w.require(!strings.EqualFold(a.Name, "lang"), "attribute that has a member of its own")
	}
	w.attributes(m.Attributes)
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IP4"
	}
	return "IP6"
}
