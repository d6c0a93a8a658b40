package lls

import (
	"encoding/xml"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/xsd"
)

// An AEAT is an advanced emergency information table (A/331, 6.5). Read is what
// tells viewers; media and areas of the alerts are in the document.
type AEAT struct {
	Alerts []Alert
}

// An Alert is one emergency message.
type Alert struct {
	ID     string
	Issuer string
	// Type is alert, update or cancel; the latter two refer to RefID.
	Type, RefID string
	Audience    string
	// Priority is 0 (least) to 4.
	Priority uint8
	// WakeUp: receivers on standby have to turn on.
	WakeUp             bool
	Effective, Expires time.Time
	EventCode          string
	Descriptions       []Name
	Texts              []Name
}

// A Name is a text in one language.
type Name struct{ Lang, Text string }

type xmlText struct {
	Lang string `xml:"lang,attr"`
	Text string `xml:",chardata"`
}

func name(x *xmlText) Name { return Name{Lang: x.Lang, Text: strings.TrimSpace(x.Text)} }

// ParseAEAT decodes an emergency information table. Values that are malformed are
// as absent: an alert counts, whatever its attributes.
func ParseAEAT(b []byte) (*AEAT, error) {
	var x struct {
		XMLName xml.Name
		Alerts  []struct {
			ID       string `xml:"aeaId,attr"`
			Issuer   string `xml:"issuer,attr"`
			Audience string `xml:"audience,attr"`
			Type     string `xml:"aeaType,attr"`
			RefID    string `xml:"refAEAId,attr"`
			Priority string `xml:"priority,attr"`
			WakeUp   string `xml:"wakeup,attr"`
			Header   struct {
				Effective string `xml:"effective,attr"`
				Expires   string `xml:"expires,attr"`
				EventCode string `xml:"EventCode"`

				Descriptions []xmlText `xml:"EventDesc"`
			} `xml:"Header"`
			Texts []xmlText `xml:"AEAText"`
		} `xml:"AEA"`
	}
	if err := unmarshal(b, "AEAT", &x, &x.XMLName); err != nil {
		return nil, err
	}
	a := &AEAT{}
	for _, v := range x.Alerts {
		alert := Alert{
			ID: v.ID, Issuer: v.Issuer, Type: v.Type, RefID: v.RefID, Audience: v.Audience, WakeUp: xsd.Bool(v.WakeUp, false),
			Effective: xsd.DateTime(v.Header.Effective), Expires: xsd.DateTime(v.Header.Expires),
			EventCode:    strings.TrimSpace(v.Header.EventCode),
			Descriptions: xsd.Each(v.Header.Descriptions, name), Texts: xsd.Each(v.Texts, name),
		}
		if p := xsd.Uints[uint8](v.Priority); len(p) > 0 {
			alert.Priority = p[0]
		}
		a.Alerts = append(a.Alerts, alert)
	}
	return a, nil
}

// Onscreen is an onscreen message notification (A/331, 6.6): services whose
// picture a receiver must not cover, since the station shows a message there.
type Onscreen struct {
	KeepClear []KeepScreenClear
}

// KeepScreenClear asks to keep the picture of some services clear.
type KeepScreenClear struct {
	BSID uint16
	// FirstService and Services are a range of service ids. 0 services: all of
	// the broadcast stream.
	FirstService uint16
	Services     uint16
	// For is how long, a minute if absent.
	For time.Duration
	// Clear is false where it ends.
	Clear   bool
	Version uint8
}

// ParseOnscreen decodes an onscreen message notification.
func ParseOnscreen(b []byte) (*Onscreen, error) {
	var x struct {
		XMLName xml.Name
		Clear   []struct {
			BSID     string `xml:"bsid,attr"`
			Service  string `xml:"serviceId,attr"`
			Range    string `xml:"serviceIdRange,attr"`
			Duration string `xml:"notificationDuration,attr"`
			Flag     string `xml:"kscFlag,attr"`
			Version  string `xml:"version,attr"`
		} `xml:"KeepScreenClear"`
	}
	if err := unmarshal(b, "OnscreenMessageNotification", &x, &x.XMLName); err != nil {
		return nil, err
	}
	const element = "KeepScreenClear"
	r := xsd.Reader{Document: "lls: OnscreenMessageNotification"}
	o := &Onscreen{}
	for _, v := range x.Clear {
		k := KeepScreenClear{
			BSID:         uint16(r.Uint(element, "bsid", v.BSID, 16)),
			FirstService: uint16(r.Uint(element, "serviceId", v.Service, 16)),
			Clear:        xsd.Bool(v.Flag, true),
			Version:      uint8(r.Uint(element, "version", v.Version, 8)),
			For:          time.Minute,
		}
		if v.Service != "" {
			k.Services = uint16(min(r.Uint(element, "serviceIdRange", v.Range, 16)+1, 0xffff))
		}
		if d, ok := xsd.Duration(v.Duration); ok {
			k.For = d
		}
		o.KeepClear = append(o.KeepClear, k)
	}
	if r.Err != nil {
		return nil, r.Err
	}
	return o, nil
}
