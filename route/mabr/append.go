package mabr

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/xsd"
)

// ErrIncomplete matches the errors of Append about a configuration that lacks
// what the edition of the standard requires, contradicts itself, or has what the
// edition does not know.
var ErrIncomplete = errors.New("mabr: incomplete")

// The schema versions of the editions (annex A, table A.0-1).
const (
	version2019 = 1
	version2024 = 2
)

// Append appends the configuration as an XML document of its Edition.
func (c *Configuration) Append(b []byte) ([]byte, error) {
	w := writer{Writer: xsd.NewWriter(ErrIncomplete), edition: c.Edition}
	if w.edition == 0 {
		w.edition = 2024
	}
	version := c.SchemaVersion
	switch w.edition {
	case 2019:
		version = version2019
	case 2023, 2024:
		if version == 0 {
			version = version2024
		}
	default:
		w.Require(false, "edition %d", c.Edition)
	}
	root := rootGateway
	if c.Server {
		root = rootServer
	}
	w.Raw("<" + root)
	w.Attr("xmlns", namespacePrefix+strconv.Itoa(int(w.edition)))
	w.Attr("xmlns:xsi", namespaceXSI)
	if w.edition != 2019 { // whose schema does not have it
		w.Uint("schemaVersion", uint64(version))
	}
	w.duration("validityPeriod", c.ValidityPeriod)
	w.timePoint("validUntil", c.ValidityEnd)
	w.Raw(">\n")
	for i := range c.Carousels {
		s := &c.Carousels[i]
		const name = "MulticastGatewayConfigurationTransportSession"
		w.Raw("<" + name)
		w.attributes(&s.Transport)
		w.Require(len(s.Tags) == 0 || w.edition != 2019, "tags, which the edition of 2019 does not know")
		w.List("tags", s.Tags)
		w.Raw(">\n")
		w.transport(&s.Transport, true)
		w.macros("MulticastGatewayConfigurationMacro", s.Macros)
		w.Raw("</" + name + ">\n")
	}
	ids := map[string]bool{}
	for i := range c.Sessions {
		s := &c.Sessions[i]
		w.Require(s.ServiceID != "" && !ids[s.ServiceID], "MulticastSession: serviceIdentifier %q", s.ServiceID)
		ids[s.ServiceID] = true
		w.session(s, c.Server)
	}
	w.reporting(c.Reporting)
	w.Require(c.Server || len(c.Macros) == 0, "macros of a server in the configuration of a gateway")
	w.macros("MulticastServerConfigurationMacro", c.Macros)
	w.Raw("</" + root + ">\n")
	return w.AppendTo(b)
}

type writer struct {
	*xsd.Writer
	edition uint16
}

func (w *writer) duration(name string, d time.Duration) {
	w.Require(d >= 0, "%s of %v", name, d)
	if d != 0 {
		w.Attr(name, xsd.FormatDuration(d))
	}
}

func (w *writer) milliseconds(name string, d time.Duration) {
	w.Require(d >= 0 && d%time.Millisecond == 0 && d/time.Millisecond <= 1<<32-1, "%s of %v", name, d)
	w.Uint(name, uint64(max(d, 0)/time.Millisecond))
}

// timePoint appends a time of MPEG-7, which is UTC without saying so.
func (w *writer) timePoint(name string, t time.Time) {
	if !t.IsZero() {
		w.Attr(name, strings.TrimSuffix(xsd.FormatTime(t), "Z"))
	}
}

func (w *writer) macros(name string, macros []Macro) {
	for _, m := range macros {
		w.Require(m.Key != "" && strings.TrimSpace(m.Value) == m.Value, "macro %q", m.Key)
		w.Require(w.edition != 2019, "macros, which the edition of 2019 does not know")
		w.Raw("<" + name)
		w.Attr("key", m.Key)
		w.Raw(">")
		w.Text(m.Value)
		w.Raw("</" + name + ">\n")
	}
}

func (w *writer) url(url string) {
	w.Require(strings.TrimSpace(url) == url, "URL %.64q", url)
	w.Text(url)
}

func (w *writer) reporting(list []ReportingLocator) {
	if len(list) == 0 {
		return
	}
	w.Raw("<MulticastGatewaySessionReporting>\n")
	for _, l := range list {
		w.Require(l.URL != "" && l.Proportion > 0 && l.Proportion <= 1 && l.Period >= 0, "ReportingLocator %q", l.URL)
		w.Raw("<ReportingLocator")
		if l.Proportion != 1 {
			w.Attr("proportion", strconv.FormatFloat(l.Proportion, 'f', -1, 64))
		}
		w.Attr("period", xsd.FormatDuration(l.Period))
		w.milliseconds("randomDelay", l.RandomDelay)
		w.Flag("reportSessionRunningEvents", l.Running)
		w.Raw(">")
		w.url(l.URL)
		w.Raw("</ReportingLocator>\n")
	}
	w.Raw("</MulticastGatewaySessionReporting>\n")
}

func (w *writer) session(s *Session, server bool) {
	w.Raw("<MulticastSession")
	w.Attr("serviceIdentifier", s.ServiceID)
	w.duration("contentPlaybackAvailabilityOffset", s.PlaybackOffset)
	w.Raw(">\n")
	w.Require(len(s.Manifests) > 0, "MulticastSession %q without PresentationManifestLocator", s.ServiceID)
	manifests := map[string]bool{}
	for i := range s.Manifests {
		m := &s.Manifests[i]
		w.Require(m.ID != "" && m.ContentType != "" && !manifests[m.ID], "PresentationManifestLocator: manifestId %q, contentType %q", m.ID, m.ContentType)
		manifests[m.ID] = true
		w.Require(m.URL != "" || !server, "PresentationManifestLocator %q without a URL in the configuration of a server", m.ID)
		if m.PathPattern != "" {
			_, err := ParsePattern(m.PathPattern)
			w.Fail(err)
		}
		w.Raw("<PresentationManifestLocator")
		w.Attr("manifestId", m.ID)
		w.Attr("contentType", m.ContentType)
		w.Require(w.edition != 2019 || m.ObjectURI == "" && m.PathPattern == "", "PresentationManifestLocator %q has what the edition of 2019 does not know", m.ID)
		w.Optional("transportObjectURI", m.ObjectURI)
		w.Optional("contentPlaybackPathPattern", m.PathPattern)
		w.Raw(">")
		w.url(m.URL)
		w.Raw("</PresentationManifestLocator>\n")
	}
	w.reporting(s.Reporting)
	ids := map[string]bool{}
	for i := range s.Transports {
		t := &s.Transports[i]
		w.Require(t.ID != "" && !ids[t.ID], "MulticastTransportSession: id %q", t.ID)
		ids[t.ID] = true
		w.Require(t.IdleTimeout > 0, "MulticastTransportSession %q without sessionIdleTimeout", t.ID)
		w.Raw("<MulticastTransportSession")
		w.Attr("id", t.ID)
		w.timePoint("start", t.Start)
		w.duration("duration", t.Duration)
		if t.Push {
			w.Attr("contentIngestMethod", "push")
		}
		if t.Chunked {
			w.Attr("transmissionMode", "chunked")
		}
		w.attributes(&t.Transport)
		w.Raw(">\n")
		w.transport(&t.Transport, false)
		w.Require(len(t.Components) > 0, "MulticastTransportSession %q without ServiceComponentIdentifier", t.ID)
		for _, c := range t.Components {
			w.Require(manifests[c.ManifestID], "ServiceComponentIdentifier: manifestIdRef %q", c.ManifestID)
			w.component(c)
		}
		w.Raw("</MulticastTransportSession>\n")
	}
	w.Raw("</MulticastSession>\n")
}

func (w *writer) component(c Component) {
	w.Raw("<ServiceComponentIdentifier")
	switch c.Kind {
	case ComponentDASH:
		w.Require(c.Period != "" && c.Representation != "" && !strings.ContainsAny(c.Representation, " \t\r\n"),
			"DASH component of period %q, representation %q", c.Period, c.Representation)
		w.Attr("xsi:type", "DASHComponentIdentifierType")
		w.Attr("manifestIdRef", c.ManifestID)
		w.Attr("periodIdentifier", c.Period)
		w.Uint("adaptationSetIdentifier", uint64(c.AdaptationSet))
		w.Attr("representationIdentifier", c.Representation)
	case ComponentHLS:
		w.Require(c.Playlist != "", "HLS component without a playlist")
		w.Attr("xsi:type", "HLSComponentIdentifierType")
		w.Attr("manifestIdRef", c.ManifestID)
		w.Attr("mediaPlaylistLocator", c.Playlist)
	case ComponentGeneric:
		w.Require(c.ID != "", "component without an identifier")
		w.Attr("xsi:type", "GenericComponentIdentifierType")
		w.Attr("manifestIdRef", c.ManifestID)
		w.Attr("componentIdentifier", c.ID)
	default:
		w.Require(false, "component of kind %d", c.Kind)
	}
	w.Raw("/>\n")
}

func (w *writer) attributes(t *Transport) {
	switch t.Security {
	case "", "none", "integrity", "integrityAndAuthenticity":
	default:
		w.Require(false, "transportSecurity %q", t.Security)
	}
	w.Require(w.edition != 2019 || t.ServiceClass == "", "serviceClass, which the edition of 2019 does not know")
	w.Optional("serviceClass", t.ServiceClass)
	w.Optional("transportSecurity", t.Security)
	if t.IdleTimeout != 0 {
		w.milliseconds("sessionIdleTimeout", t.IdleTimeout)
	}
}

func (w *writer) transport(t *Transport, carousel bool) {
	w.Require(t.ProtocolID != "" && strings.TrimSpace(t.ProtocolID) == t.ProtocolID && t.ProtocolVersion > 0,
		"TransportProtocol %q version %d", t.ProtocolID, t.ProtocolVersion)
	w.Raw("<TransportProtocol")
	w.Attr("protocolIdentifier", t.ProtocolID)
	w.Uint("protocolVersion", uint64(t.ProtocolVersion))
	w.Raw("/>\n")
	w.Require(len(t.Endpoints) > 0, "transport session without EndpointAddress")
	w.endpoints(t.Endpoints)
	w.Require(t.MaximumRate > 0, "BitRate without maximum")
	w.Raw("<BitRate")
	w.OptionalUint("average", t.AverageRate)
	w.Uint("maximum", t.MaximumRate)
	w.Raw("/>\n")
	for _, f := range t.FEC {
		w.Require(f.Scheme != "" && strings.TrimSpace(f.Scheme) == f.Scheme && f.Overhead > 0, "FEC scheme %q, overhead %d", f.Scheme, f.Overhead)
		w.Raw("<ForwardErrorCorrectionParameters>\n")
		w.Element("SchemeIdentifier", f.Scheme)
		w.Element("OverheadPercentage", strconv.FormatUint(uint64(f.Overhead), 10))
		w.endpoints(f.Endpoints)
		w.Raw("</ForwardErrorCorrectionParameters>\n")
	}
	if r := t.Repair; r != nil {
		w.Raw("<UnicastRepairParameters")
		w.Optional("transportObjectBaseURI", r.BaseURI)
		w.milliseconds("transportObjectReceptionTimeout", r.ReceptionTimeout)
		w.milliseconds("fixedBackOffPeriod", r.FixedBackOff)
		w.milliseconds("randomBackOffPeriod", r.RandomBackOff)
		w.Raw(">\n")
		for _, b := range r.BaseURLs {
			w.Require(b.URL != "", "BaseURL without a URL")
			w.Raw("<BaseURL")
			if b.Weight != 1 {
				w.Uint("relativeWeight", uint64(b.Weight))
			}
			w.Raw(">")
			w.url(b.URL)
			w.Raw("</BaseURL>\n")
		}
		w.Raw("</UnicastRepairParameters>\n")
	}
	if o := t.Carousel; o != nil {
		w.Require(w.edition != 2019, "ObjectCarousel, which the edition of 2019 does not know")
		w.Require(carousel || len(o.Manifests) <= 1 && len(o.InitSegments) <= 1, "several PresentationManifests or InitSegments")
		w.Raw("<ObjectCarousel")
		w.OptionalUint("aggregateTransportSize", o.TransportSize)
		w.OptionalUint("aggregateContentSize", o.ContentSize)
		w.Raw(">\n")
		w.items("PresentationManifests", o.Manifests, carousel)
		w.items("InitSegments", o.InitSegments, carousel)
		w.items("ResourceLocator", o.Resources, false)
		w.Raw("</ObjectCarousel>\n")
	}
}

func (w *writer) items(name string, items []CarouselItem, refers bool) {
	for _, i := range items {
		w.Require((i.URL != "") == (name == "ResourceLocator"), "%s: URL %q", name, i.URL)
		w.Require(i.Revalidation == 0 || i.URL != "", "%s: revalidationPeriod", name)
		w.Require(refers || i.ServiceID == "", "%s: serviceIdRef", name)
		w.Require(i.TransportID == "" || i.ServiceID != "", "%s: transportSessionIdRef without serviceIdRef", name)
		w.Raw("<" + name)
		w.duration("targetAcquisitionLatency", i.TargetLatency)
		w.duration("revalidationPeriod", i.Revalidation)
		w.Flag("compressionPreferred", i.Compress)
		w.Optional("serviceIdRef", i.ServiceID)
		w.Optional("transportSessionIdRef", i.TransportID)
		w.Raw(">")
		w.url(i.URL)
		w.Raw("</" + name + ">\n")
	}
}

func (w *writer) endpoints(list []Endpoint) {
	for _, e := range list {
		w.Require(e.Destination.Addr().IsValid() && e.Destination.Addr().Zone() == "" && e.Source.Zone() == "" && e.Destination.Port() != 0,
			"EndpointAddress %v from %v", e.Destination, e.Source)
		w.Raw("<EndpointAddress>\n")
		if e.Source.IsValid() {
			w.Element("NetworkSourceAddress", e.Source.Unmap().String())
		} else {
			w.Require(w.edition != 2019, "EndpointAddress without a source, which the edition of 2019 requires")
		}
		w.Element("NetworkDestinationGroupAddress", e.Destination.Addr().Unmap().String())
		w.Element("TransportDestinationPort", strconv.Itoa(int(e.Destination.Port())))
		if e.HasTSI {
			w.Require(e.TSI > 0, "MediaTransportSessionIdentifier 0")
			name := "MediaTransportSessionIdentifier"
			if w.edition == 2019 {
				name = "MediaTransportSessionIdentfier" // as its schema spells it
			}
			w.Element(name, strconv.FormatUint(e.TSI, 10))
		}
		w.Raw("</EndpointAddress>\n")
	}
}
