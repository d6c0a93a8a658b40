package lls

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/treedn/treedn/flute/xmllimit"
	"github.com/treedn/treedn/flute/xsd"
)

// The namespaces that Append writes.
const (
	NamespaceSLT        = "tag:atsc.org,2016:XMLSchemas/ATSC3/Delivery/SLT/1.0/"
	NamespaceSystemTime = "tag:atsc.org,2016:XMLSchemas/ATSC3/Delivery/SYSTIME/1.0/"
)

var (
	// ErrRoot: the document is XML, and something else than it has to be.
	ErrRoot = errors.New("root element")
	// ErrIncomplete matches the errors of Append about a value that lacks what
	// the standards require, or contradicts itself.
	ErrIncomplete = errors.New("lls: incomplete")
)

// A ValueError is a value that cannot be what its attribute has to be.
type ValueError = xsd.ValueError

// An SLT is a service list table (A/331, 6.3): what a receiver needs to list the
// services and to start one. Where zero has no meaning of its own it stands for an
// absent attribute.
type SLT struct {
	// Namespace is that of the document as it was read. Append writes
	// NamespaceSLT.
	Namespace string
	// BSIDs are the identifiers of the broadcast streams.
	BSIDs        []uint16
	Capabilities string
	// URLs are where to get signalling and guides by HTTP.
	URLs     []InetURL
	Services []Service
}

// The kinds of an InetURL.
const (
	URLSignalling = 1 // a signalling server
	URLGuide      = 2 // a server of the service guide
	URLReporting  = 3 // where to report usage
	URLEvents     = 4 // dynamic events, by WebSocket
)

// An InetURL is a URL and what it is for.
type InetURL struct {
	Type uint8
	URL  string
}

// The categories of a service.
const (
	CategoryAV       = 1
	CategoryAudio    = 2
	CategoryApp      = 3
	CategoryGuide    = 4 // electronic service guide
	CategoryAlert    = 5 // no longer used
	CategoryDRM      = 6
	CategoryDataPlus = 7
)

// A Service is one service of the SLT.
type Service struct {
	ID       uint16
	GlobalID string
	// SeqNum is raised by one, modulo 256, when the entry changes.
	SeqNum uint8
	// Major and Minor are the channel number.
	Major, Minor uint16
	// Category is one of those above.
	Category  uint8
	ShortName string
	// Protected: some of the media are encrypted, with DRMSystems.
	Protected  bool
	DRMSystems []string
	// Hidden services are not for viewers. HideInGuide keeps others out of it;
	// absent, it is as Hidden.
	Hidden      bool
	HideInGuide bool
	// BroadbandRequired: the service cannot be used without the Internet.
	BroadbandRequired bool
	Essential         bool
	// Configuration is Broadband or Broadcast.
	Configuration string
	Capabilities  string

	// Simulcast is the stream in the older standard of the same service.
	Simulcast *Simulcast
	// Signalling says where to find the service. Nil: not in this broadcast.
	Signalling *Signalling
	URLs       []InetURL
	OtherBSIDs []OtherBSID
	Codecs     []string
}

// Simulcast names an ATSC 1.0 transport stream.
type Simulcast struct {
	TSID         uint16
	Major, Minor uint16
}

// OtherBSID names broadcast streams with another copy or part of the service.
type OtherBSID struct {
	// Type is 1 for a duplicate, 2 for a portion.
	Type  uint8
	BSIDs []uint16
}

// The protocols of a service.
const (
	ProtocolROUTE = 1
	ProtocolMMTP  = 2
)

// Signalling says where the service layer signalling of a service is sent.
type Signalling struct {
	// Protocol is ProtocolROUTE or ProtocolMMTP.
	Protocol uint8
	// Major and Minor are its version, 1 and 0 if absent.
	Major, Minor uint8
	// Destination is the group and port. Source is the announced source, which
	// need not be the address that packets really come from after they have been
	// relayed.
	Destination netip.AddrPort
	Source      netip.Addr
}

type (
	xmlURL struct {
		Type string `xml:"urlType,attr"`
		URL  string `xml:",chardata"`
	}
	xmlSLT struct {
		XMLName      xml.Name
		BSID         string       `xml:"bsid,attr"`
		Capabilities string       `xml:"SLTCapabilities"`
		URLs         []xmlURL     `xml:"SLTInetUrl"`
		Services     []xmlService `xml:"Service"`
	}
	xmlService struct {
		ID            string `xml:"serviceId,attr"`
		GlobalID      string `xml:"globalServiceID,attr"`
		SeqNum        string `xml:"sltSvcSeqNum,attr"`
		Protected     string `xml:"protected,attr"`
		Major         string `xml:"majorChannelNo,attr"`
		Minor         string `xml:"minorChannelNo,attr"`
		Category      string `xml:"serviceCategory,attr"`
		ShortName     string `xml:"shortServiceName,attr"`
		Hidden        string `xml:"hidden,attr"`
		HideInGuide   string `xml:"hideInGuide,attr"`
		Broadband     string `xml:"broadbandAccessRequired,attr"`
		Essential     string `xml:"essential,attr"`
		DRM           string `xml:"drmSystemID,attr"`
		Configuration string `xml:"configuration,attr"`
		Capabilities  string `xml:"SvcCapabilities"`
		Simulcast     *struct {
			Major string `xml:"simulcastMajorChannelNo,attr"`
			Minor string `xml:"simulcastMinorChannelNo,attr"`
			TSID  string `xml:",chardata"`
		} `xml:"SimulcastTSID"`
		Signalling *struct {
			Protocol string `xml:"slsProtocol,attr"`
			Major    string `xml:"slsMajorProtocolVersion,attr"`
			Minor    string `xml:"slsMinorProtocolVersion,attr"`
			Address  string `xml:"slsDestinationIpAddress,attr"`
			Port     string `xml:"slsDestinationUdpPort,attr"`
			Source   string `xml:"slsSourceIpAddress,attr"`
		} `xml:"BroadcastSvcSignaling"`
		URLs  []xmlURL `xml:"SvcInetUrl"`
		Other []struct {
			Type  string `xml:"type,attr"`
			BSIDs string `xml:",chardata"`
		} `xml:"OtherBsid"`
		Codecs []struct {
			Codecs string `xml:"codecs,attr"`
			Text   string `xml:",chardata"`
		} `xml:"CodecStrings"`
	}
)

// maxElements bounds a table. A broadcast has some dozen services.
const maxElements = 1 << 14

// ParseSLT decodes a service list table. The result does not alias b. A service
// without an id is an error; what else is malformed about one, except where it is
// sent to, is as absent.
func ParseSLT(b []byte) (*SLT, error) {
	var x xmlSLT
	if err := unmarshal(b, "SLT", &x, &x.XMLName); err != nil {
		return nil, err
	}
	r := sltReader{xsd.Reader{Document: "lls: SLT"}}
	s := &SLT{
		Namespace:    x.XMLName.Space,
		BSIDs:        xsd.Uints[uint16](x.BSID),
		Capabilities: strings.TrimSpace(x.Capabilities),
		URLs:         xsd.Each(x.URLs, inetURL),
		Services:     xsd.Each(x.Services, r.service),
	}
	if r.Err != nil {
		return nil, r.Err
	}
	return s, nil
}

func unmarshal(b []byte, root string, x any, name *xml.Name) error {
	if err := xmllimit.Unmarshal(b, xmllimit.Limits{Octets: 1 << 20, Elements: maxElements}, x); err != nil {
		return fmt.Errorf("lls: %s: %w", root, err)
	}
	if name.Local != root {
		return fmt.Errorf("lls: %s: %w is %.64q", root, ErrRoot, name.Local)
	}
	return nil
}

func inetURL(x *xmlURL) InetURL {
	u := InetURL{URL: strings.TrimSpace(x.URL)}
	if types := xsd.Uints[uint8](x.Type); len(types) > 0 {
		u.Type = types[0]
	}
	return u
}

type sltReader struct{ xsd.Reader }

func (r *sltReader) service(x *xmlService) Service {
	lenient := func(value string) uint16 {
		if v := xsd.Uints[uint16](value); len(v) > 0 {
			return v[0]
		}
		return 0
	}
	s := Service{
		ID:       uint16(r.Uint("Service", "serviceId", r.Required("Service", "serviceId", x.ID), 16)),
		GlobalID: x.GlobalID, SeqNum: uint8(lenient(x.SeqNum)), Major: lenient(x.Major), Minor: lenient(x.Minor),
		Category: uint8(r.Uint("Service", "serviceCategory", x.Category, 8)), ShortName: x.ShortName,
		Protected: xsd.Bool(x.Protected, false), DRMSystems: xsd.List(x.DRM),
		Hidden:            xsd.Bool(x.Hidden, false),
		HideInGuide:       xsd.Bool(x.HideInGuide, xsd.Bool(x.Hidden, false)),
		BroadbandRequired: xsd.Bool(x.Broadband, false), Essential: xsd.Bool(x.Essential, false),
		Configuration: x.Configuration, Capabilities: strings.TrimSpace(x.Capabilities),
		URLs: xsd.Each(x.URLs, inetURL),
	}
	if x.Simulcast != nil {
		s.Simulcast = &Simulcast{TSID: lenient(x.Simulcast.TSID), Major: lenient(x.Simulcast.Major), Minor: lenient(x.Simulcast.Minor)}
	}
	if b := x.Signalling; b != nil {
		const element = "BroadcastSvcSignaling"
		s.Signalling = &Signalling{
			Protocol: uint8(r.Uint(element, "slsProtocol", r.Required(element, "slsProtocol", b.Protocol), 8)),
			Major:    1,
			Minor:    uint8(r.Uint(element, "slsMinorProtocolVersion", b.Minor, 8)),
			Destination: netip.AddrPortFrom(
				r.Addr(element, "slsDestinationIpAddress", r.Required(element, "slsDestinationIpAddress", b.Address)),
				uint16(r.Uint(element, "slsDestinationUdpPort", r.Required(element, "slsDestinationUdpPort", b.Port), 16))),
			Source: r.Addr(element, "slsSourceIpAddress", b.Source),
		}
		if b.Major != "" {
			s.Signalling.Major = uint8(r.Uint(element, "slsMajorProtocolVersion", b.Major, 8))
		}
	}
	for _, o := range x.Other {
		s.OtherBSIDs = append(s.OtherBSIDs, OtherBSID{Type: uint8(lenient(o.Type)), BSIDs: xsd.Uints[uint16](o.BSIDs)})
	}
	for _, c := range x.Codecs {
		if c.Codecs == "" {
			c.Codecs = strings.TrimSpace(c.Text)
		}
		if c.Codecs != "" {
			s.Codecs = append(s.Codecs, c.Codecs)
		}
	}
	return s
}

// Append appends the table as an XML document.
func (s *SLT) Append(b []byte) ([]byte, error) {
	w := sltWriter{xsd.NewWriter(ErrIncomplete)}
	w.Raw("<SLT")
	w.Attr("xmlns", NamespaceSLT)
	w.Require(len(s.BSIDs) > 0, "SLT without bsid")
	w.List("bsid", xsd.Strings(s.BSIDs))
	w.Raw(">\n")
	w.trimmed("SLTCapabilities", s.Capabilities)
	w.urls("SLTInetUrl", s.URLs)
	w.Require(len(s.Services) > 0, "SLT without Service")
	seen := make(map[uint16]bool, len(s.Services))
	for i := range s.Services {
		v := &s.Services[i]
		w.Require(!seen[v.ID], "SLT: two services %d", v.ID)
		seen[v.ID] = true
		w.service(v)
	}
	w.Raw("</SLT>\n")
	return w.AppendTo(b)
}

type sltWriter struct{ *xsd.Writer }

func (w *sltWriter) trimmed(name, text string) {
	w.Require(strings.TrimSpace(text) == text, "%s %.64q", name, text)
	w.OptionalElement(name, text)
}

func (w *sltWriter) urls(name string, urls []InetURL) {
	for _, u := range urls {
		w.Require(u.URL != "" && strings.TrimSpace(u.URL) == u.URL, "%s %.64q", name, u.URL)
		w.Raw("<" + name)
		w.Uint("urlType", uint64(u.Type))
		w.Raw(">")
		w.Text(u.URL)
		w.Raw("</" + name + ">\n")
	}
}

// maxShortName is in characters.
const maxShortName = 7

func (w *sltWriter) service(s *Service) {
	w.Require(s.Category != 0, "SLT: service %d without serviceCategory", s.ID)
	w.Require(s.Major <= 999 && s.Minor <= 999, "SLT: service %d on channel %d.%d", s.ID, s.Major, s.Minor)
	w.Require(utf8.RuneCountInString(s.ShortName) <= maxShortName, "SLT: shortServiceName %.64q of more than %d characters", s.ShortName, maxShortName)
	w.Raw("<Service")
	w.Uint("serviceId", uint64(s.ID))
	w.Optional("globalServiceID", s.GlobalID)
	w.Uint("sltSvcSeqNum", uint64(s.SeqNum))
	w.Flag("protected", s.Protected)
	w.OptionalUint("majorChannelNo", uint64(s.Major))
	w.OptionalUint("minorChannelNo", uint64(s.Minor))
	w.Uint("serviceCategory", uint64(s.Category))
	w.Optional("shortServiceName", s.ShortName)
	w.Flag("hidden", s.Hidden)
	if s.HideInGuide != s.Hidden {
		w.Bool("hideInGuide", s.HideInGuide)
	}
	w.Flag("broadbandAccessRequired", s.BroadbandRequired)
	w.Flag("essential", s.Essential)
	w.List("drmSystemID", s.DRMSystems)
	w.Optional("configuration", s.Configuration)
	w.Raw(">\n")
	if m := s.Simulcast; m != nil {
		w.Raw("<SimulcastTSID")
		w.OptionalUint("simulcastMajorChannelNo", uint64(m.Major))
		w.OptionalUint("simulcastMinorChannelNo", uint64(m.Minor))
		w.Raw(">" + xsd.Strings([]uint16{m.TSID})[0] + "</SimulcastTSID>\n")
	}
	w.trimmed("SvcCapabilities", s.Capabilities)
	if b := s.Signalling; b != nil {
		w.Require(b.Protocol != 0, "SLT: service %d without slsProtocol", s.ID)
		w.Require(b.Destination.Addr().IsValid() && b.Destination.Port() != 0, "SLT: service %d without a destination", s.ID)
		w.Require(b.Protocol != ProtocolROUTE || b.Source.IsValid(), "SLT: service %d by ROUTE without a source", s.ID)
		w.Raw("<BroadcastSvcSignaling")
		w.Uint("slsProtocol", uint64(b.Protocol))
		w.Uint("slsMajorProtocolVersion", uint64(b.Major))
		w.Uint("slsMinorProtocolVersion", uint64(b.Minor))
		w.Addr("slsDestinationIpAddress", b.Destination.Addr())
		w.Uint("slsDestinationUdpPort", uint64(b.Destination.Port()))
		w.Addr("slsSourceIpAddress", b.Source)
		w.Raw("/>\n")
	}
	w.urls("SvcInetUrl", s.URLs)
	for _, o := range s.OtherBSIDs {
		w.Require(len(o.BSIDs) > 0, "SLT: service %d: OtherBsid without any", s.ID)
		w.Raw("<OtherBsid")
		w.Uint("type", uint64(o.Type))
		w.Raw(">" + strings.Join(xsd.Strings(o.BSIDs), " ") + "</OtherBsid>\n")
	}
	for _, c := range s.Codecs {
		w.Require(c != "", "SLT: service %d: CodecStrings without any", s.ID)
		w.Raw("<CodecStrings")
		w.Attr("codecs", c)
		w.Raw("/>\n")
	}
	w.Raw("</Service>\n")
}
