package mabr

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/xmllimit"
	"github.com/treedn/treedn/flute/xsd"
)

// ErrRoot: the document is XML, and something else than a configuration.
var ErrRoot = errors.New("mabr: root element")

// A ValueError is a value that cannot be what its attribute, or the content of
// its element, has to be.
type ValueError = xsd.ValueError

const (
	rootGateway = "MulticastGatewayConfiguration"
	rootServer  = "MulticastServerConfiguration"

	namespacePrefix = "urn:dvb:metadata:MulticastSessionConfiguration:"
	namespaceXSI    = "http://www.w3.org/2001/XMLSchema-instance"
)

// maxElements bounds a configuration. One of a hundred services has some ten
// thousand.
const maxElements = 1 << 17

type (
	xmlConfiguration struct {
		XMLName       xml.Name
		SchemaVersion string         `xml:"schemaVersion,attr"`
		Period        string         `xml:"validityPeriod,attr"`
		Until         string         `xml:"validUntil,attr"`
		Carousels     []xmlTransport `xml:"MulticastGatewayConfigurationTransportSession"`
		Sessions      []struct {
			ServiceID string `xml:"serviceIdentifier,attr"`
			Offset    string `xml:"contentPlaybackAvailabilityOffset,attr"`
			Manifests []struct {
				ID      string `xml:"manifestId,attr"`
				Type    string `xml:"contentType,attr"`
				Object  string `xml:"transportObjectURI,attr"`
				Pattern string `xml:"contentPlaybackPathPattern,attr"`
				URL     string `xml:",chardata"`
			} `xml:"PresentationManifestLocator"`
			Reporting  []xmlReporting `xml:"MulticastGatewaySessionReporting>ReportingLocator"`
			Transports []xmlTransport `xml:"MulticastTransportSession"`
		} `xml:"MulticastSession"`
		Reporting []xmlReporting `xml:"MulticastGatewaySessionReporting>ReportingLocator"`
		Macros    []xmlMacro     `xml:"MulticastServerConfigurationMacro"`
	}
	xmlMacro struct {
		Key   string `xml:"key,attr"`
		Value string `xml:",chardata"`
	}
	xmlReporting struct {
		Proportion string `xml:"proportion,attr"`
		Period     string `xml:"period,attr"`
		Delay      string `xml:"randomDelay,attr"`
		Running    string `xml:"reportSessionRunningEvents,attr"`
		URL        string `xml:",chardata"`
	}
	xmlTransport struct {
		ID       string `xml:"id,attr"`
		Class    string `xml:"serviceClass,attr"`
		Start    string `xml:"start,attr"`
		Duration string `xml:"duration,attr"`
		Ingest   string `xml:"contentIngestMethod,attr"`
		Mode     string `xml:"transmissionMode,attr"`
		Security string `xml:"transportSecurity,attr"`
		Idle     string `xml:"sessionIdleTimeout,attr"`
		Tags     string `xml:"tags,attr"`
		Protocol struct {
			ID      string `xml:"protocolIdentifier,attr"`
			Version string `xml:"protocolVersion,attr"`
		} `xml:"TransportProtocol"`
		Endpoints []xmlEndpoint `xml:"EndpointAddress"`
		BitRate   struct {
			Average string `xml:"average,attr"`
			Maximum string `xml:"maximum,attr"`
		} `xml:"BitRate"`
		FEC []struct {
			Scheme    string        `xml:"SchemeIdentifier"`
			Overhead  string        `xml:"OverheadPercentage"`
			Endpoints []xmlEndpoint `xml:"EndpointAddress"`
		} `xml:"ForwardErrorCorrectionParameters"`
		Repair *struct {
			BaseURI string `xml:"transportObjectBaseURI,attr"`
			Timeout string `xml:"transportObjectReceptionTimeout,attr"`
			Fixed   string `xml:"fixedBackOffPeriod,attr"`
			Random  string `xml:"randomBackOffPeriod,attr"`
			URLs    []struct {
				Weight string `xml:"relativeWeight,attr"`
				URL    string `xml:",chardata"`
			} `xml:"BaseURL"`
		} `xml:"UnicastRepairParameters"`
		Carousel *struct {
			TransportSize string    `xml:"aggregateTransportSize,attr"`
			ContentSize   string    `xml:"aggregateContentSize,attr"`
			Manifests     []xmlItem `xml:"PresentationManifests"`
			InitSegments  []xmlItem `xml:"InitSegments"`
			Resources     []xmlItem `xml:"ResourceLocator"`
		} `xml:"ObjectCarousel"`
		Components []struct {
			Type           string `xml:"http://www.w3.org/2001/XMLSchema-instance type,attr"`
			ManifestID     string `xml:"manifestIdRef,attr"`
			Period         string `xml:"periodIdentifier,attr"`
			AdaptationSet  string `xml:"adaptationSetIdentifier,attr"`
			Representation string `xml:"representationIdentifier,attr"`
			Playlist       string `xml:"mediaPlaylistLocator,attr"`
			ID             string `xml:"componentIdentifier,attr"`
		} `xml:"ServiceComponentIdentifier"`
		Macros []xmlMacro `xml:"MulticastGatewayConfigurationMacro"`
	}
	xmlEndpoint struct {
		Source string `xml:"NetworkSourceAddress"`
		Group  string `xml:"NetworkDestinationGroupAddress"`
		Port   string `xml:"TransportDestinationPort"`
		TSI    string `xml:"MediaTransportSessionIdentifier"`
		// The schema of 2019 spells it so.
		TSI2019 string `xml:"MediaTransportSessionIdentfier"`
	}
	xmlItem struct {
		Latency      string `xml:"targetAcquisitionLatency,attr"`
		Revalidation string `xml:"revalidationPeriod,attr"`
		Compress     string `xml:"compressionPreferred,attr"`
		ServiceID    string `xml:"serviceIdRef,attr"`
		TransportID  string `xml:"transportSessionIdRef,attr"`
		URL          string `xml:",chardata"`
	}
)

// Parse decodes a configuration. The result does not alias b. What addresses and
// times cannot be is an error; what is missing that the schema demands is not.
func Parse(b []byte) (*Configuration, error) {
	var x xmlConfiguration
	if err := xmllimit.Unmarshal(b, xmllimit.Limits{Elements: maxElements}, &x); err != nil {
		return nil, fmt.Errorf("mabr: %w", err)
	}
	c := &Configuration{Server: x.XMLName.Local == rootServer}
	if !c.Server && x.XMLName.Local != rootGateway {
		return nil, fmt.Errorf("%w is %.64q", ErrRoot, x.XMLName.Local)
	}
	if year, ok := strings.CutPrefix(x.XMLName.Space, namespacePrefix); ok {
		if n, err := strconv.ParseUint(year, 10, 16); err == nil {
			c.Edition = uint16(n)
		}
	}
	r := reader{xsd.Reader{Document: "mabr"}}
	c.SchemaVersion = uint32(r.Uint(x.XMLName.Local, "schemaVersion", x.SchemaVersion, 32))
	c.ValidityPeriod = r.duration(x.XMLName.Local, "validityPeriod", x.Period)
	c.ValidityEnd = xsd.DateTime(x.Until)
	c.Reporting = xsd.Each(x.Reporting, r.reporting)
	c.Macros = xsd.Each(x.Macros, macro)
	for i := range x.Carousels {
		t := &x.Carousels[i]
		c.Carousels = append(c.Carousels, CarouselSession{
			Transport: r.transport("MulticastGatewayConfigurationTransportSession", t),
			Tags:      xsd.List(t.Tags), Macros: xsd.Each(t.Macros, macro),
		})
	}
	for i := range x.Sessions {
		v := &x.Sessions[i]
		s := Session{
			ServiceID:      v.ServiceID,
			PlaybackOffset: r.duration("MulticastSession", "contentPlaybackAvailabilityOffset", v.Offset),
			Reporting:      xsd.Each(v.Reporting, r.reporting),
			Transports:     xsd.Each(v.Transports, r.session),
		}
		for _, m := range v.Manifests {
			s.Manifests = append(s.Manifests, Manifest{
				ID: m.ID, ContentType: m.Type, ObjectURI: m.Object, PathPattern: m.Pattern, URL: strings.TrimSpace(m.URL),
			})
		}
		c.Sessions = append(c.Sessions, s)
	}
	if r.Err != nil {
		return nil, r.Err
	}
	return c, nil
}

type reader struct{ xsd.Reader }

// duration reads an xs:duration that must not be negative.
func (r *reader) duration(element, attribute, value string) time.Duration {
	if strings.TrimSpace(value) == "" {
		return 0
	}
	d, ok := xsd.Duration(value)
	if !ok || d < 0 {
		r.Fail(element, attribute, value)
	}
	return d
}

func (r *reader) milliseconds(element, attribute, value string) time.Duration {
	return time.Duration(r.Uint(element, attribute, value, 32)) * time.Millisecond
}

func macro(x *xmlMacro) Macro { return Macro{Key: x.Key, Value: strings.TrimSpace(x.Value)} }

func (r *reader) reporting(x *xmlReporting) ReportingLocator {
	const element = "ReportingLocator"
	l := ReportingLocator{
		URL: strings.TrimSpace(x.URL), Proportion: 1,
		Period:      r.duration(element, "period", x.Period),
		RandomDelay: r.milliseconds(element, "randomDelay", x.Delay),
		Running:     xsd.Bool(x.Running, false),
	}
	if x.Proportion != "" {
		v, err := strconv.ParseFloat(strings.TrimSpace(x.Proportion), 64)
		if err != nil || !(v > 0 && v <= 1) {
			r.Fail(element, "proportion", x.Proportion)
			v = 1
		}
		l.Proportion = v
	}
	return l
}

func (r *reader) session(x *xmlTransport) TransportSession {
	t := TransportSession{
		Transport: r.transport("MulticastTransportSession", x),
		ID:        x.ID,
		Start:     xsd.DateTime(x.Start),
		Duration:  r.duration("MulticastTransportSession", "duration", x.Duration),
		Push:      strings.TrimSpace(x.Ingest) == "push",
		Chunked:   strings.TrimSpace(x.Mode) == "chunked",
	}
	for _, c := range x.Components {
		v := Component{
			ManifestID: c.ManifestID, Period: c.Period,
			AdaptationSet:  uint32(r.Uint("ServiceComponentIdentifier", "adaptationSetIdentifier", c.AdaptationSet, 32)),
			Representation: c.Representation, Playlist: c.Playlist, ID: c.ID,
		}
		_, local, found := strings.Cut(c.Type, ":")
		if !found {
			local = c.Type
		}
		switch {
		case local == "DASHComponentIdentifierType", local == "" && c.Representation != "":
			v.Kind = ComponentDASH
		case local == "HLSComponentIdentifierType", local == "" && c.Playlist != "":
			v.Kind = ComponentHLS
		default:
			v.Kind = ComponentGeneric
		}
		t.Components = append(t.Components, v)
	}
	return t
}

func (r *reader) transport(element string, x *xmlTransport) Transport {
	t := Transport{
		ProtocolID:      strings.TrimSpace(x.Protocol.ID),
		ProtocolVersion: uint32(r.Uint("TransportProtocol", "protocolVersion", x.Protocol.Version, 32)),
		ServiceClass:    x.Class,
		Security:        strings.TrimSpace(x.Security),
		IdleTimeout:     r.milliseconds(element, "sessionIdleTimeout", x.Idle),
		Endpoints:       xsd.Each(x.Endpoints, r.endpoint),
		AverageRate:     r.Uint("BitRate", "average", x.BitRate.Average, 64),
		MaximumRate:     r.Uint("BitRate", "maximum", x.BitRate.Maximum, 64),
	}
	if t.Security == "none" {
		t.Security = ""
	}
	for _, f := range x.FEC {
		t.FEC = append(t.FEC, FEC{
			Scheme:    strings.TrimSpace(f.Scheme),
			Overhead:  uint32(r.Uint("OverheadPercentage", "", strings.TrimSpace(f.Overhead), 32)),
			Endpoints: xsd.Each(f.Endpoints, r.endpoint),
		})
	}
	if u := x.Repair; u != nil {
		const element = "UnicastRepairParameters"
		t.Repair = &Repair{
			BaseURI:          u.BaseURI,
			ReceptionTimeout: r.milliseconds(element, "transportObjectReceptionTimeout", u.Timeout),
			FixedBackOff:     r.milliseconds(element, "fixedBackOffPeriod", u.Fixed),
			RandomBackOff:    r.milliseconds(element, "randomBackOffPeriod", u.Random),
		}
		for _, b := range u.URLs {
			base := BaseURL{URL: strings.TrimSpace(b.URL), Weight: 1}
			if b.Weight != "" {
				base.Weight = uint32(r.Uint("BaseURL", "relativeWeight", b.Weight, 32))
			}
			t.Repair.BaseURLs = append(t.Repair.BaseURLs, base)
		}
	}
	if o := x.Carousel; o != nil {
		t.Carousel = &Carousel{
			TransportSize: r.Uint("ObjectCarousel", "aggregateTransportSize", o.TransportSize, 64),
			ContentSize:   r.Uint("ObjectCarousel", "aggregateContentSize", o.ContentSize, 64),
			Manifests:     xsd.Each(o.Manifests, r.item),
			InitSegments:  xsd.Each(o.InitSegments, r.item),
			Resources:     xsd.Each(o.Resources, r.item),
		}
	}
	return t
}

func (r *reader) item(x *xmlItem) CarouselItem {
	return CarouselItem{
		URL:           strings.TrimSpace(x.URL),
		TargetLatency: r.duration("ObjectCarousel", "targetAcquisitionLatency", x.Latency),
		Revalidation:  r.duration("ObjectCarousel", "revalidationPeriod", x.Revalidation),
		Compress:      xsd.Bool(x.Compress, false),
		ServiceID:     x.ServiceID, TransportID: x.TransportID,
	}
}

func (r *reader) endpoint(x *xmlEndpoint) Endpoint {
	group := r.Addr("NetworkDestinationGroupAddress", "", r.Required("NetworkDestinationGroupAddress", "", x.Group))
	port := uint16(r.Uint("TransportDestinationPort", "", r.Required("TransportDestinationPort", "", x.Port), 16))
	e := Endpoint{
		Source:      r.Addr("NetworkSourceAddress", "", x.Source),
		Destination: netip.AddrPortFrom(group, port),
	}
	tsi := x.TSI
	if tsi == "" {
		tsi = x.TSI2019
	}
	if tsi = strings.TrimSpace(tsi); tsi != "" {
		e.HasTSI = true
		e.TSI = r.Uint("MediaTransportSessionIdentifier", "", tsi, 64)
	}
	return e
}
