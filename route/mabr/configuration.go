package mabr

import (
	"net/netip"
	"strings"
	"time"
)

// MediaType is that of a configuration.
const MediaType = "application/xml+dvb-mabr-session-configuration"

// GatewayConfigurationURI is the name of the configuration in an in-band carousel
// (annex B.3).
const GatewayConfigurationURI = "urn:dvb:metadata:cs:MulticastTransportObjectTypeCS:2021:gateway-configuration"

// The protocols of a transport session (annex B.1).
const (
	ProtocolFLUTE = "urn:dvb:metadata:cs:MulticastTransportProtocolCS:2019:FLUTE"
	ProtocolROUTE = "urn:dvb:metadata:cs:MulticastTransportProtocolCS:2019:ROUTE"
	ProtocolNORM  = "urn:dvb:metadata:cs:MulticastTransportProtocolCS:2022:NORM"
	ProtocolMSync = "urn:dvb:metadata:cs:MulticastTransportProtocolCS:2022:MSync"
)

// A Configuration is a MulticastGatewayConfiguration or a
// MulticastServerConfiguration (section 10.2). Where zero has no meaning of its
// own it stands for an absent attribute.
type Configuration struct {
	// Server tells a configuration of the server from one of the gateway.
	Server bool
	// Edition is the year of the schema, by its namespace: 2019, 2023 (which
	// GPAC writes, and is none of DVB's), 2024. Append takes 0 for 2024.
	Edition       uint16
	SchemaVersion uint32
	// ValidityPeriod counts from the arrival of the document. See ValidUntil.
	ValidityPeriod time.Duration
	ValidityEnd    time.Time

	// Carousels are the sessions that carry configurations in band.
	Carousels []CarouselSession
	Sessions  []Session
	Reporting []ReportingLocator
	// Macros are those of a server.
	Macros []Macro
}

// ValidUntil returns the end of the validity of a configuration that arrived at
// a moment: the later of the two that it names (10.2.1.1). It is false if there
// is none.
func (c *Configuration) ValidUntil(arrival time.Time) (time.Time, bool) {
	end := c.ValidityEnd
	if c.ValidityPeriod > 0 {
		if t := arrival.Add(c.ValidityPeriod); t.After(end) {
			end = t
		}
	}
	return end, !end.IsZero()
}

// A Session is one service.
type Session struct {
	// ServiceID is a URI.
	ServiceID string
	// PlaybackOffset delays the presentation, so that there is time for repair.
	PlaybackOffset time.Duration
	Manifests      []Manifest
	Reporting      []ReportingLocator
	Transports     []TransportSession
}

// Manifest returns the manifest of that id.
func (s *Session) Manifest(id string) (*Manifest, bool) {
	for i := range s.Manifests {
		if s.Manifests[i].ID == id {
			return &s.Manifests[i], true
		}
	}
	return nil, false
}

// A Manifest is one PresentationManifestLocator.
type Manifest struct {
	ID          string
	ContentType string
	// URL is where to get it by HTTP; empty if it comes by multicast only.
	URL string
	// ObjectURI is its name as an object of a carousel.
	ObjectURI string
	// PathPattern says which requests of players mean this manifest. See
	// ParsePattern.
	PathPattern string
}

// Transport is what all transport sessions have.
type Transport struct {
	// Protocol is one of those above, ProtocolVersion its major version.
	ProtocolID      string
	ProtocolVersion uint32
	ServiceClass    string
	// Security is none, integrity or integrityAndAuthenticity; empty is none.
	Security string
	// IdleTimeout is how long after the last packet the session may be taken for
	// ended, in whole milliseconds.
	IdleTimeout time.Duration
	// Endpoints are addresses of the same packets, such as one of each family.
	Endpoints []Endpoint
	// AverageRate and MaximumRate are in bit/s.
	AverageRate, MaximumRate uint64
	// FEC says how the session is protected. None: FLUTE is without FEC (Compact
	// No-Code), ROUTE has no repair flow.
	FEC      []FEC
	Repair   *Repair
	Carousel *Carousel
}

// Protocol returns the last part of the ProtocolID, such as FLUTE.
func (t *Transport) Protocol() string {
	return t.ProtocolID[strings.LastIndexByte(t.ProtocolID, ':')+1:]
}

// A TransportSession carries components of a service.
type TransportSession struct {
	Transport
	ID       string
	Start    time.Time
	Duration time.Duration
	// Push: the server is given the media, rather than getting them.
	Push bool
	// Chunked: chunks are sent as they come, rather than whole segments.
	Chunked    bool
	Components []Component
}

// ActiveAt tells whether the session is on air at a moment.
func (t *TransportSession) ActiveAt(at time.Time) bool {
	if t.Start.IsZero() {
		return true
	}
	return !at.Before(t.Start) && (t.Duration <= 0 || at.Before(t.Start.Add(t.Duration)))
}

// A CarouselSession carries configurations, manifests and init segments in band
// (10.2.5).
type CarouselSession struct {
	Transport
	// Tags say which gateways the session is meant for.
	Tags   []string
	Macros []Macro
}

// A Macro is a value for $Key$ in a URL.
type Macro struct{ Key, Value string }

// An Endpoint is where packets are sent to.
type Endpoint struct {
	// Source is that of source-specific multicast; none is any.
	Source      netip.Addr
	Destination netip.AddrPort
	// TSI tells the session from others on the same group and port; HasTSI if
	// there is one.
	TSI    uint64
	HasTSI bool
}

// FEC is one ForwardErrorCorrectionParameters.
type FEC struct {
	// Scheme is a term such as FECScheme returns.
	Scheme string
	// Overhead is the share of repair packets in percent.
	Overhead uint32
	// Endpoints are where repair packets are sent to, if not to the session's.
	Endpoints []Endpoint
}

const fecTerm = "urn:ietf:rmt:fec:encoding:"

// Component says which part of a presentation a session carries.
type Component struct {
	Kind ComponentKind
	// ManifestID refers to a Manifest of the session.
	ManifestID string
	// Period, AdaptationSet and Representation are those of DASH.
	Period         string
	AdaptationSet  uint32
	Representation string
	// Playlist is the URL of a media playlist of HLS.
	Playlist string
	// ID is that of a component of another format.
	ID string
}

// ComponentKind is the format of a presentation.
type ComponentKind uint8

// The formats.
const (
	ComponentDASH ComponentKind = 1 + iota
	ComponentHLS
	ComponentGeneric
)

// A Carousel says what is repeated in a session.
type Carousel struct {
	// TransportSize and ContentSize are of all objects in octets, the former as
	// they are sent.
	TransportSize, ContentSize uint64
	Manifests, InitSegments    []CarouselItem
	// Resources are other URLs.
	Resources []CarouselItem
}

// A CarouselItem is one kind of objects, or one object, in a carousel.
type CarouselItem struct {
	// URL is that of a resource.
	URL string
	// TargetLatency is how long a receiver waits for it; 0 is as short as the
	// rate allows. Revalidation is how often a server looks for a newer one.
	TargetLatency, Revalidation time.Duration
	Compress                    bool
	// ServiceID and TransportID confine manifests and init segments of a
	// CarouselSession to a service, and a transport session of it.
	ServiceID, TransportID string
}

// A ReportingLocator is where gateways report to.
type ReportingLocator struct {
	URL string
	// Proportion is the share of gateways that report, in (0, 1].
	Proportion float64
	// Period is the time between reports; 0: only events are reported.
	// RandomDelay is added to it, in whole milliseconds at most this.
	Period, RandomDelay time.Duration
	// Running: events of the running session are reported, too.
	Running bool
}

// ExpandMacros replaces $Key$ in all URLs by the values of the macros, once
// (10.2.5.2). Unknown keys stay.
func (c *Configuration) ExpandMacros(macros []Macro) {
	pairs := make([]string, 0, 2*len(macros))
	for _, m := range macros {
		if m.Key != "" {
			pairs = append(pairs, "$"+m.Key+"$", m.Value)
		}
	}
	r := strings.NewReplacer(pairs...)
	reporting := func(list []ReportingLocator) {
		for i := range list {
			list[i].URL = r.Replace(list[i].URL)
		}
	}
	transport := func(t *Transport) {
		if t.Repair != nil {
			t.Repair.BaseURI = r.Replace(t.Repair.BaseURI)
			for i := range t.Repair.BaseURLs {
				t.Repair.BaseURLs[i].URL = r.Replace(t.Repair.BaseURLs[i].URL)
			}
		}
		if t.Carousel != nil {
			for i := range t.Carousel.Resources {
				t.Carousel.Resources[i].URL = r.Replace(t.Carousel.Resources[i].URL)
			}
		}
	}
	reporting(c.Reporting)
	for i := range c.Carousels {
		transport(&c.Carousels[i].Transport)
	}
	for i := range c.Sessions {
		s := &c.Sessions[i]
		reporting(s.Reporting)
		for k := range s.Manifests {
			s.Manifests[k].URL = r.Replace(s.Manifests[k].URL)
		}
		for k := range s.Transports {
			transport(&s.Transports[k].Transport)
		}
	}
}
