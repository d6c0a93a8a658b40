package sls

import (
	"encoding/xml"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/xsd"
)

// The namespaces of the fragments about file repair and applications.
const (
	NamespaceAPD  = "tag:atsc.org,2016:XMLSchemas/ATSC3/Delivery/APD/1.0/"
	NamespaceHELD = "tag:atsc.org,2016:XMLSchemas/ATSC3/AppSignaling/HELD/1.0/"
	NamespaceDWD  = "tag:atsc.org,2016:XMLSchemas/ATSC3/Delivery/DWD/1.0/"
)

// An APD is an associated procedure description: when to ask for what got lost
// (A/331, 7.1.7). The URLs to ask are in the FDT.
type APD struct {
	// OffsetTime is how long to wait after the last packet of a file, and
	// RandomPeriod the upper bound of the random time to wait after that. Both
	// are whole seconds.
	OffsetTime, RandomPeriod time.Duration
}

// maxSeconds is the most that a time.Duration can hold.
const maxSeconds = 1 << 33

// ParseAPD decodes an associated procedure description.
func ParseAPD(b []byte) (*APD, error) {
	var x struct {
		XMLName xml.Name
		Repair  *struct {
			Offset string `xml:"offsetTime,attr"`
			Random string `xml:"randomTimePeriod,attr"`
		} `xml:"PostFileRepair"`
	}
	if err := parseFragment(b, "APD", &x, func() string { return x.XMLName.Local }, "AssociatedProcedureDescription", "associatedProcedureDescription"); err != nil {
		return nil, err
	}
	a := &APD{}
	if x.Repair == nil {
		return a, nil
	}
	r := xsd.Reader{Document: "sls: APD"}
	seconds := func(attribute, value string) time.Duration {
		return time.Duration(min(r.Uint("PostFileRepair", attribute, value, 64), maxSeconds)) * time.Second
	}
	a.OffsetTime = seconds("offsetTime", x.Repair.Offset)
	a.RandomPeriod = seconds("randomTimePeriod", r.Required("PostFileRepair", "randomTimePeriod", x.Repair.Random))
	if r.Err != nil {
		return nil, r.Err
	}
	return a, nil
}

// Append appends the description as an XML document.
func (a *APD) Append(b []byte) ([]byte, error) {
	w := xsd.NewWriter(ErrIncomplete)
	w.Raw("<AssociatedProcedureDescription")
	w.Attr("xmlns", NamespaceAPD)
	w.Raw(">\n<PostFileRepair")
	for _, t := range []struct {
		name string
		d    time.Duration
	}{{"offsetTime", a.OffsetTime}, {"randomTimePeriod", a.RandomPeriod}} {
		w.Require(t.d >= 0 && t.d%time.Second == 0 && t.d <= maxSeconds*time.Second, "APD: %s of %v", t.name, t.d)
		w.Uint(t.name, uint64(t.d/time.Second))
	}
	w.Raw("/>\n</AssociatedProcedureDescription>\n")
	return w.AppendTo(b)
}

// A HELD is an HTML entry pages location description: the applications of a
// service (A/337).
type HELD struct {
	Packages []EntryPackage
}

// An EntryPackage is one application.
type EntryPackage struct {
	AppContextID         string
	RequiredCapabilities string
	// AppRendering: the application renders the media itself.
	AppRendering bool
	// Default and AppID are of the edition of 2025.
	Default bool
	AppID   string
	// ClearCacheDate: files of the context that are older have to go.
	ClearCacheDate time.Time
	// BroadcastPackage and BroadcastPage name the package that has the entry page
	// and the page; BroadbandPage is the URL of another.
	BroadcastPackage, BroadcastPage, BroadbandPage string
	ValidFrom, ValidUntil                          time.Time
	CoupledServices                                []uint16
	// TSIs are the LCT channels that carry the package.
	TSIs []uint32
}

// ParseHELD decodes an HTML entry pages location description.
func ParseHELD(b []byte) (*HELD, error) {
	var x struct {
		XMLName  xml.Name
		Packages []struct {
			AppContextID string `xml:"appContextId,attr"`
			Required     string `xml:"requiredCapabilities,attr"`
			Rendering    string `xml:"appRendering,attr"`
			Default      string `xml:"default,attr"`
			AppID        string `xml:"appId,attr"`
			Clear        string `xml:"clearAppContextCacheDate,attr"`
			BcastPackage string `xml:"bcastEntryPackageUrl,attr"`
			BcastPage    string `xml:"bcastEntryPageUrl,attr"`
			BbandPage    string `xml:"bbandEntryPageUrl,attr"`
			From         string `xml:"validFrom,attr"`
			Until        string `xml:"validUntil,attr"`
			Coupled      string `xml:"coupledServices,attr"`
			TSIs         string `xml:"lctTSIRef,attr"`
		} `xml:"HTMLEntryPackage"`
	}
	if err := parseFragment(b, "HELD", &x, func() string { return x.XMLName.Local }, "HELD"); err != nil {
		return nil, err
	}
	h := &HELD{}
	for _, p := range x.Packages {
		h.Packages = append(h.Packages, EntryPackage{
			AppContextID: p.AppContextID, RequiredCapabilities: p.Required,
			AppRendering: xsd.Bool(p.Rendering, false), Default: xsd.Bool(p.Default, false), AppID: p.AppID,
			ClearCacheDate:   xsd.DateTime(p.Clear),
			BroadcastPackage: p.BcastPackage, BroadcastPage: p.BcastPage, BroadbandPage: p.BbandPage,
			ValidFrom: xsd.DateTime(p.From), ValidUntil: xsd.DateTime(p.Until),
			CoupledServices: xsd.Uints[uint16](p.Coupled), TSIs: xsd.Uints[uint32](p.TSIs),
		})
	}
	return h, nil
}

// Append appends the description as an XML document.
func (h *HELD) Append(b []byte) ([]byte, error) {
	w := xsd.NewWriter(ErrIncomplete)
	w.Raw("<HELD")
	w.Attr("xmlns", NamespaceHELD)
	w.Raw(">\n")
	w.Require(len(h.Packages) > 0, "HELD without HTMLEntryPackage")
	for i := range h.Packages {
		p := &h.Packages[i]
		w.Require(p.AppContextID != "", "HELD: HTMLEntryPackage without appContextId")
		w.Raw("<HTMLEntryPackage")
		w.Attr("appContextId", p.AppContextID)
		w.Optional("requiredCapabilities", p.RequiredCapabilities)
		w.Flag("appRendering", p.AppRendering)
		w.Flag("default", p.Default)
		w.Optional("appId", p.AppID)
		w.Time("clearAppContextCacheDate", p.ClearCacheDate)
		w.Optional("bcastEntryPackageUrl", p.BroadcastPackage)
		w.Optional("bcastEntryPageUrl", p.BroadcastPage)
		w.Optional("bbandEntryPageUrl", p.BroadbandPage)
		w.Time("validFrom", p.ValidFrom)
		w.Time("validUntil", p.ValidUntil)
		w.List("coupledServices", xsd.Strings(p.CoupledServices))
		w.List("lctTSIRef", xsd.Strings(p.TSIs))
		w.Raw("/>\n")
	}
	w.Raw("</HELD>\n")
	return w.AppendTo(b)
}

// A DWD is a distribution window description: when the files of applications are
// on air.
type DWD struct {
	Windows []DistributionWindow
}

// A DistributionWindow is one such time.
type DistributionWindow struct {
	Start, End   time.Time
	TSIs         []uint32
	ContentLabel string
	// AppContexts names the applications that need the files.
	AppContexts []AppContext
}

// An AppContext is one application in a DistributionWindow.
type AppContext struct {
	ID          string
	FilterCodes []uint32
}

// ParseDWD decodes a distribution window description.
func ParseDWD(b []byte) (*DWD, error) {
	var x struct {
		XMLName xml.Name
		Windows []struct {
			Start    string `xml:"startTime,attr"`
			End      string `xml:"endTime,attr"`
			TSIs     string `xml:"lctTSIRef,attr"`
			Label    string `xml:"contentLabel,attr"`
			Contexts []struct {
				Filter string `xml:"dwFilterCode,attr"`
				ID     string `xml:",chardata"`
			} `xml:"AppContextId"`
		} `xml:"DistributionWindow"`
	}
	if err := parseFragment(b, "DWD", &x, func() string { return x.XMLName.Local }, "DWD"); err != nil {
		return nil, err
	}
	d := &DWD{}
	for _, v := range x.Windows {
		window := DistributionWindow{
			Start: xsd.DateTime(v.Start), End: xsd.DateTime(v.End), TSIs: xsd.Uints[uint32](v.TSIs), ContentLabel: v.Label,
		}
		for _, c := range v.Contexts {
			window.AppContexts = append(window.AppContexts, AppContext{ID: strings.TrimSpace(c.ID), FilterCodes: xsd.Uints[uint32](c.Filter)})
		}
		d.Windows = append(d.Windows, window)
	}
	return d, nil
}

// Append appends the description as an XML document.
func (d *DWD) Append(b []byte) ([]byte, error) {
	w := xsd.NewWriter(ErrIncomplete)
	w.Raw("<DWD")
	w.Attr("xmlns", NamespaceDWD)
	w.Raw(">\n")
	w.Require(len(d.Windows) > 0, "DWD without DistributionWindow")
	for i := range d.Windows {
		v := &d.Windows[i]
		w.Require(len(v.TSIs) > 0 && !v.Start.IsZero() && !v.End.IsZero(), "DWD: DistributionWindow without lctTSIRef or times")
		w.Raw("<DistributionWindow")
		w.Time("startTime", v.Start)
		w.Time("endTime", v.End)
		w.List("lctTSIRef", xsd.Strings(v.TSIs))
		w.Optional("contentLabel", v.ContentLabel)
		w.Raw(">\n")
		for _, c := range v.AppContexts {
			w.Require(c.ID != "" && strings.TrimSpace(c.ID) == c.ID, "DWD: AppContextId %q", c.ID)
			w.Raw("<AppContextId")
			w.List("dwFilterCode", xsd.Strings(c.FilterCodes))
			w.Raw(">")
			w.Text(c.ID)
			w.Raw("</AppContextId>\n")
		}
		w.Raw("</DistributionWindow>\n")
	}
	w.Raw("</DWD>\n")
	return w.AppendTo(b)
}
