package sls

import (
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/treedn/treedn/flute/xmllimit"
	"github.com/treedn/treedn/flute/xsd"
)

// NamespaceUSBD is that of the user service bundle description.
const NamespaceUSBD = "tag:atsc.org,2016:XMLSchemas/ATSC3/Delivery/ROUTEUSD/1.0/"

// A USBD describes the service that a package belongs to (A/331, 7.1.3): the
// BundleDescriptionROUTE with its one UserServiceDescription.
type USBD struct {
	// ServiceID is that of the service list table. Drafts have a URI here.
	ServiceID string
	// Inactive: the service is not on air.
	Inactive  bool
	Names     []Name
	Languages []string
	Delivery  []DeliveryMethod
}

// A Name is the name of a service in one language.
type Name struct{ Lang, Text string }

// DeliveryMethod says by the beginnings of their names which objects come by
// broadcast and which by unicast.
type DeliveryMethod struct {
	Broadcast, Unicast []string
}

// maxFragment bounds the elements of the smaller fragments.
const maxFragment = 1 << 14

type (
	xmlUSBD struct {
		XMLName  xml.Name
		Services []xmlUSD `xml:"UserServiceDescription"`
		xmlUSD            // of those that leave the bundle out
	}
	xmlUSD struct {
		ServiceID string `xml:"serviceId,attr"`
		Status    string `xml:"serviceStatus,attr"`
		Names     []struct {
			Lang string `xml:"lang,attr"`
			Text string `xml:",chardata"`
		} `xml:"Name"`
		Languages []string `xml:"ServiceLanguage"`
		Delivery  []struct {
			Broadcast []string `xml:"BroadcastAppService>BasePattern"`
			Unicast   []string `xml:"UnicastAppService>BasePattern"`
		} `xml:"DeliveryMethod"`
	}
)

// ParseUSBD decodes a user service bundle description. The result does not alias
// b. Of several services, which the standard does not allow, it takes the first.
func ParseUSBD(b []byte) (*USBD, error) {
	var x xmlUSBD
	if err := parseFragment(b, "USBD", &x, func() string { return x.XMLName.Local },
		"BundleDescriptionROUTE", "UserServiceDescription", "bundleDescription", "BundleDescription"); err != nil {
		return nil, err
	}
	usd := x.xmlUSD
	if len(x.Services) > 0 {
		usd = x.Services[0]
	}
	r := xsd.Reader{Document: "sls: USBD"}
	u := &USBD{
		ServiceID: strings.TrimSpace(r.Required("UserServiceDescription", "serviceId", usd.ServiceID)),
		Inactive:  !xsd.Bool(usd.Status, true),
		Languages: xsd.Texts(usd.Languages),
	}
	for _, n := range usd.Names {
		u.Names = append(u.Names, Name{Lang: n.Lang, Text: strings.TrimSpace(n.Text)})
	}
	for _, d := range usd.Delivery {
		u.Delivery = append(u.Delivery, DeliveryMethod{Broadcast: xsd.Texts(d.Broadcast), Unicast: xsd.Texts(d.Unicast)})
	}
	if r.Err != nil {
		return nil, r.Err
	}
	return u, nil
}

// parseFragment decodes a small document whose root has to be one of these.
func parseFragment(b []byte, document string, x any, root func() string, roots ...string) error {
	if err := xmllimit.Unmarshal(b, xmllimit.Limits{Elements: maxFragment}, x); err != nil {
		return fmt.Errorf("sls: %s: %w", document, err)
	}
	for _, r := range roots {
		if root() == r {
			return nil
		}
	}
	return fmt.Errorf("sls: %s: %w is %.64q", document, ErrRoot, root())
}

// Append appends the description as an XML document.
func (u *USBD) Append(b []byte) ([]byte, error) {
	w := xsd.NewWriter(ErrIncomplete)
	w.Raw("<BundleDescriptionROUTE")
	w.Attr("xmlns", NamespaceUSBD)
	w.Raw(">\n<UserServiceDescription")
	w.Require(u.ServiceID != "" && strings.TrimSpace(u.ServiceID) == u.ServiceID, "USBD: serviceId %q", u.ServiceID)
	w.Attr("serviceId", u.ServiceID)
	if u.Inactive {
		w.Bool("serviceStatus", false)
	}
	w.Raw(">\n")
	for _, n := range u.Names {
		w.Require(n.Lang != "", "USBD: Name without a language")
		w.Require(strings.TrimSpace(n.Text) == n.Text, "USBD: Name %q", n.Text)
		w.Raw("<Name")
		w.Attr("xml:lang", n.Lang)
		w.Raw(">")
		w.Text(n.Text)
		w.Raw("</Name>\n")
	}
	elements(w, "ServiceLanguage", u.Languages)
	for _, d := range u.Delivery {
		w.Raw("<DeliveryMethod>\n")
		for _, s := range []struct {
			name     string
			patterns []string
		}{{"BroadcastAppService", d.Broadcast}, {"UnicastAppService", d.Unicast}} {
			if len(s.patterns) > 0 {
				w.Raw("<" + s.name + ">\n")
				elements(w, "BasePattern", s.patterns)
				w.Raw("</" + s.name + ">\n")
			}
		}
		w.Raw("</DeliveryMethod>\n")
	}
	w.Raw("</UserServiceDescription>\n</BundleDescriptionROUTE>\n")
	return w.AppendTo(b)
}

// elements appends one element for each text, which must survive reading.
func elements(w *xsd.Writer, name string, texts []string) {
	for _, s := range texts {
		w.Require(s != "" && strings.TrimSpace(s) == s, "%s %q", name, s)
		w.Element(name, s)
	}
}
