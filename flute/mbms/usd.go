package mbms

import (
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/treedn/treedn/flute/xmllimit"
	"github.com/treedn/treedn/flute/xsd"
)

// The media types of the fragments.
const (
	MediaTypeUSD        = "application/mbms-user-service-description+xml"
	MediaTypeProcedures = "application/mbms-associated-procedure-description+xml"
	MediaTypeSchedule   = "application/mbms-schedule+xml"
)

const (
	namespaceUSD     = "urn:3GPP:metadata:2005:MBMS:userServiceDescription"
	namespaceUSDr7   = "urn:3GPP:metadata:2007:MBMS:userServiceDescription"
	namespaceUSDr9   = "urn:3GPP:metadata:2009:MBMS:userServiceDescription"
	namespaceUSDr12  = "urn:3GPP:metadata:2013:MBMS:userServiceDescription"
	namespaceUSDr14  = "urn:3GPP:metadata:2017:MBMS:userServiceDescription"
	namespaceVersion = "urn:3gpp:metadata:2009:MBMS:schemaVersion"
)

// ErrRoot: the document is XML, and something else than it has to be.
var ErrRoot = errors.New("root element")

// A ValueError is a value that cannot be what its attribute, or the content of
// its element, has to be.
type ValueError = xsd.ValueError

// A USD is a bundle of user service descriptions (TS 26.346, 11.2).
type USD struct {
	// FECDescriptionURI describes the FEC of streams.
	FECDescriptionURI string
	Services          []UserService
}

// A UserService is one service.
type UserService struct {
	ID        string // a URI
	Class     string
	Names     []Name
	Languages []string
	// Capabilities are features that a receiver must have (TS 26.346, 11.7).
	Capabilities []uint32
	// ReceiveOnly: the service is for receivers that do not send.
	ReceiveOnly bool
	Delivery    []DeliveryMethod
	// ManifestURI names the MPD, ScheduleURI the schedule of the service.
	ManifestURI, ScheduleURI string
	Apps                     []AppService
}

// A Name is the name of a service in one language.
type Name struct{ Lang, Text string }

// A DeliveryMethod says how a service comes. Its URIs are names of fragments.
type DeliveryMethod struct {
	SessionURI, ProceduresURI, ProtectionURI string
	AccessPointName                          string
	AccessGroupID                            string
	InbandMetadata                           bool
	UnicastAccess                            []string
	// Broadcast and Unicast are the beginnings of the names of objects that come
	// either way.
	Broadcast, Unicast []string
	ServiceAreas       []uint16
	Components         []string
}

// An AppService is a presentation, by the URI of its manifest. Patterns of one
// group name the same content, or alternatives of it, that comes both ways.
type AppService struct {
	URI, MediaType         string
	Identical, Alternative [][]string
}

// maxElements bounds each of the documents of this package.
const maxElements = 1 << 16

func unmarshal(b []byte, document, root string, x any, name *xml.Name) error {
	if err := xmllimit.Unmarshal(b, xmllimit.Limits{Octets: 1 << 20, Elements: maxElements}, x); err != nil {
		return fmt.Errorf("mbms: %s: %w", document, err)
	}
	if name.Local != root {
		return fmt.Errorf("mbms: %s: %w is %.64q", document, ErrRoot, name.Local)
	}
	return nil
}

type xmlPatterns struct {
	Patterns []string `xml:"basePattern"`
}

// ParseUSD decodes a bundle of user service descriptions.
func ParseUSD(b []byte) (*USD, error) {
	var x struct {
		XMLName  xml.Name
		FEC      string `xml:"fecDescriptionURI,attr"`
		Services []struct {
			ID    string `xml:"serviceId,attr"`
			Class string `xml:"serviceClass,attr"`
			ROM   string `xml:"romService,attr"`
			Names []struct {
				Lang string `xml:"lang,attr"`
				Text string `xml:",chardata"`
			} `xml:"name"`
			Languages []string `xml:"serviceLanguage"`
			Features  []string `xml:"requiredCapabilities>feature"`
			Delivery  []struct {
				Session    string   `xml:"sessionDescriptionURI,attr"`
				Procedures string   `xml:"associatedProcedureDescriptionURI,attr"`
				Protection string   `xml:"protectionDescriptionURI,attr"`
				APN        string   `xml:"accessPointName,attr"`
				Group      string   `xml:"accessGroupId,attr"`
				Inband     string   `xml:"inbandMetadata,attr"`
				Access     []string `xml:"unicastAccessURI"`
				Broadcast  []struct {
					Patterns []string `xml:"basePattern"`
					Areas    []string `xml:"serviceArea"`
				} `xml:"broadcastAppService"`
				Unicast    []xmlPatterns `xml:"unicastAppService"`
				Areas      []string      `xml:"serviceArea"`
				Components []string      `xml:"appComponent"`
			} `xml:"deliveryMethod"`
			MPD      []string `xml:"mediaPresentationDescription>mpdURI"`
			Schedule []string `xml:"schedule>scheduleDescriptionURI"`
			Apps     []struct {
				URI         string        `xml:"appServiceDescriptionURI,attr"`
				MediaType   string        `xml:"mimeType,attr"`
				Identical   []xmlPatterns `xml:"identicalContent"`
				Alternative []xmlPatterns `xml:"alternativeContent"`
			} `xml:"appService"`
		} `xml:"userServiceDescription"`
	}
	if err := unmarshal(b, "USD", "bundleDescription", &x, &x.XMLName); err != nil {
		return nil, err
	}
	r := xsd.Reader{Document: "mbms: USD"}
	u := &USD{FECDescriptionURI: x.FEC}
	for _, v := range x.Services {
		s := UserService{
			ID:    r.Required("userServiceDescription", "serviceId", v.ID),
			Class: v.Class, ReceiveOnly: xsd.Bool(v.ROM, false), Languages: xsd.Texts(v.Languages),
			Capabilities: xsd.Uints[uint32](strings.Join(v.Features, " ")),
			ManifestURI:  first(v.MPD), ScheduleURI: first(v.Schedule),
		}
		for _, n := range v.Names {
			s.Names = append(s.Names, Name{Lang: n.Lang, Text: strings.TrimSpace(n.Text)})
		}
		for _, d := range v.Delivery {
			m := DeliveryMethod{
				SessionURI: d.Session, ProceduresURI: d.Procedures, ProtectionURI: d.Protection, AccessPointName: d.APN,
				AccessGroupID: d.Group, InbandMetadata: xsd.Bool(d.Inband, false), UnicastAccess: xsd.Texts(d.Access),
				Components: xsd.Texts(d.Components),
			}
			for _, a := range d.Broadcast {
				m.Broadcast = append(m.Broadcast, xsd.Texts(a.Patterns)...)
				d.Areas = append(d.Areas, a.Areas...)
			}
			for _, a := range d.Unicast {
				m.Unicast = append(m.Unicast, xsd.Texts(a.Patterns)...)
			}
			m.ServiceAreas = xsd.Uints[uint16](strings.Join(d.Areas, " "))
			s.Delivery = append(s.Delivery, m)
		}
		for _, a := range v.Apps {
			s.Apps = append(s.Apps, AppService{
				URI: a.URI, MediaType: a.MediaType,
				Identical: xsd.Each(a.Identical, patterns), Alternative: xsd.Each(a.Alternative, patterns),
			})
		}
		u.Services = append(u.Services, s)
	}
	if r.Err != nil {
		return nil, r.Err
	}
	return u, nil
}

func patterns(x *xmlPatterns) []string { return xsd.Texts(x.Patterns) }

// first returns the first text that is not blank.
func first(list []string) string {
	if t := xsd.Texts(list); len(t) > 0 {
		return t[0]
	}
	return ""
}

// Append appends the bundle as an XML document.
func (u *USD) Append(b []byte) ([]byte, error) {
	w := writer{xsd.NewWriter(ErrIncomplete)}
	w.Raw("<bundleDescription")
	w.Attr("xmlns", namespaceUSD)
	for _, p := range [][2]string{
		{"r7", namespaceUSDr7}, {"r9", namespaceUSDr9}, {"r12", namespaceUSDr12}, {"r14", namespaceUSDr14}, {"sv", namespaceVersion},
	} {
		w.Attr("xmlns:"+p[0], p[1])
	}
	w.Optional("fecDescriptionURI", u.FECDescriptionURI)
	w.Raw(">\n")
	w.Require(len(u.Services) > 0, "USD without userServiceDescription")
	for i := range u.Services {
		w.service(&u.Services[i])
	}
	w.Raw("<sv:schemaVersion>2</sv:schemaVersion>\n</bundleDescription>\n")
	return w.AppendTo(b)
}

type writer struct{ *xsd.Writer }

// elements appends one element for each text, which must survive reading.
func (w *writer) elements(name string, texts []string) {
	for _, s := range texts {
		w.Require(s != "" && strings.TrimSpace(s) == s, "%s %q", name, s)
		w.Element(name, s)
	}
}

// delimiter separates what releases added.
func (w *writer) delimiter() { w.Raw("<sv:delimiter>0</sv:delimiter>\n") }

func (w *writer) service(s *UserService) {
	w.Require(s.ID != "", "USD: userServiceDescription without serviceId")
	w.Require(len(s.Delivery) > 0, "USD: %s without deliveryMethod", s.ID)
	w.Raw("<userServiceDescription")
	w.Attr("serviceId", s.ID)
	w.Optional("r7:serviceClass", s.Class)
	w.Flag("r14:romService", s.ReceiveOnly)
	w.Raw(">\n")
	for _, n := range s.Names {
		w.Require(strings.TrimSpace(n.Text) == n.Text, "USD: name %q", n.Text)
		w.Raw("<name")
		w.Optional("lang", n.Lang)
		w.Raw(">")
		w.Text(n.Text)
		w.Raw("</name>\n")
	}
	w.elements("serviceLanguage", s.Languages)
	if len(s.Capabilities) > 0 {
		w.Raw("<requiredCapabilities>\n")
		w.elements("feature", xsd.Strings(s.Capabilities))
		w.Raw("</requiredCapabilities>\n")
	}
	for i := range s.Delivery {
		w.delivery(&s.Delivery[i])
	}
	if s.ManifestURI != "" {
		w.Raw("<r9:mediaPresentationDescription>\n")
		w.elements("r9:mpdURI", []string{s.ManifestURI})
		w.Raw("</r9:mediaPresentationDescription>\n")
	}
	if s.ScheduleURI != "" {
		w.Raw("<r9:schedule>\n")
		w.elements("r9:scheduleDescriptionURI", []string{s.ScheduleURI})
		w.Raw("</r9:schedule>\n")
	}
	w.delimiter()
	// The schema has one appService here, and those of later releases at the end.
	for i := range s.Apps {
		if i == 1 {
			w.delimiter()
			w.delimiter()
		}
		w.app(&s.Apps[i])
	}
	if len(s.Apps) < 2 {
		w.delimiter()
		w.delimiter()
	}
	w.delimiter()
	w.Raw("</userServiceDescription>\n")
}

func (w *writer) delivery(d *DeliveryMethod) {
	w.Require(d.SessionURI != "", "USD: deliveryMethod without sessionDescriptionURI")
	w.Raw("<deliveryMethod")
	w.Attr("sessionDescriptionURI", d.SessionURI)
	w.Optional("associatedProcedureDescriptionURI", d.ProceduresURI)
	w.Optional("protectionDescriptionURI", d.ProtectionURI)
	w.Optional("accessPointName", d.AccessPointName)
	w.Optional("accessGroupId", d.AccessGroupID)
	w.Flag("r12:inbandMetadata", d.InbandMetadata)
	w.Raw(">\n")
	w.elements("r7:unicastAccessURI", d.UnicastAccess)
	w.delimiter()
	if len(d.Broadcast) > 0 {
		w.Raw("<r12:broadcastAppService>\n")
		w.elements("r12:basePattern", d.Broadcast)
		w.Raw("</r12:broadcastAppService>\n")
	}
	if len(d.Unicast) > 0 {
		w.Raw("<r12:unicastAppService>\n")
		w.elements("r12:basePattern", d.Unicast)
		w.Raw("</r12:unicastAppService>\n")
	}
	w.elements("r12:appComponent", d.Components)
	w.elements("r12:serviceArea", xsd.Strings(d.ServiceAreas))
	w.delimiter()
	w.Raw("</deliveryMethod>\n")
}

func (w *writer) app(a *AppService) {
	w.Require(a.URI != "" && a.MediaType != "", "USD: appService %q of type %q", a.URI, a.MediaType)
	w.Raw("<r12:appService")
	w.Attr("appServiceDescriptionURI", a.URI)
	w.Attr("mimeType", a.MediaType)
	w.Raw(">\n")
	for _, groups := range []struct {
		name   string
		groups [][]string
	}{{"r12:identicalContent", a.Identical}, {"r12:alternativeContent", a.Alternative}} {
		for _, g := range groups.groups {
			w.Require(len(g) >= 2 && !slices.Contains(g, ""), "USD: %s of fewer than two patterns", groups.name)
			w.Raw("<" + groups.name + ">\n")
			w.elements("r12:basePattern", g)
			w.Raw("</" + groups.name + ">\n")
		}
	}
	w.Raw("</r12:appService>\n")
}
