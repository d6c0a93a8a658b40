package mbms

import (
	"encoding/xml"
	"strconv"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/xsd"
)

const (
	namespaceProcedures    = "urn:3gpp:metadata:2005:MBMS:associatedProcedure"
	namespaceProceduresR14 = "urn:3gpp:metadata:2005:MBMS:associatedProcedure-rel-14-extension"
)

// Procedures is an associated procedure description (TS 26.346, 9.5.1): what a
// receiver does after the transmission of files. Nil members are absent.
type Procedures struct {
	Repair *RepairProcedure
	// RepairSessionURI names the SDP of a session that repairs by broadcast.
	RepairSessionURI string
	Report           *ReportProcedure
}

// A RepairProcedure says where and when to ask for what got lost.
type RepairProcedure struct {
	// Servers are the URLs to ask; a receiver takes one by chance, and another if
	// that one fails.
	Servers []string
	// Offset is how long to wait after the end of the transmission, and
	// RandomPeriod the upper bound of the random time to wait after that. Both
	// are whole seconds.
	Offset, RandomPeriod time.Duration
}

// BackOff returns how long to wait after the end of the transmission. Random is
// in [0, 1).
func (p *RepairProcedure) BackOff(random float64) time.Duration {
	return p.Offset + time.Duration(random*float64(p.RandomPeriod))
}

// A ReportType says what receivers report.
type ReportType string

// The report types (9.4.6). With RAck those who received a file acknowledge it.
// With StaR they send statistics; with StaR-all, all do, also those whose reception
// failed; with StaR-only they send statistics that name no files.
const (
	ReportRAck     ReportType = "RAck"
	ReportStaR     ReportType = "StaR"
	ReportStaRAll  ReportType = "StaR-all"
	ReportStaROnly ReportType = "StaR-only"
)

// A ReportProcedure says where, when and what to report.
type ReportProcedure struct {
	RepairProcedure
	Type ReportType
	// Percentage of receivers that report, 100 if absent.
	Percentage float64
	// ForceTimeIndependence: the time to wait counts from a moment by chance, not
	// from the end of the transmission.
	ForceTimeIndependence bool
	// Interval is between reports of a session that lasts, 0 if there are none.
	Interval time.Duration
}

// Reports tells whether a receiver reports. Random, in [0, 1), is drawn once for
// each session; all tells whether all of what it wanted came.
func (p *ReportProcedure) Reports(random float64, all bool) bool {
	if random*100 >= p.Percentage {
		return false
	}
	switch p.Type {
	case ReportStaRAll, ReportStaROnly:
		return true
	}
	return all
}

// maxSeconds is the most that a time.Duration can hold.
const maxSeconds = 1 << 33

type xmlProcedure struct {
	Offset     string   `xml:"offsetTime,attr"`
	Random     string   `xml:"randomTimePeriod,attr"`
	Servers    []string `xml:"serviceURI"`
	Type       string   `xml:"reportType,attr"`
	Percentage string   `xml:"samplePercentage,attr"`
	Force      string   `xml:"forceTimeIndependence,attr"`
	Interval   string   `xml:"reportInterval,attr"`
}

// ParseProcedures decodes an associated procedure description.
func ParseProcedures(b []byte) (*Procedures, error) {
	var x struct {
		XMLName xml.Name
		Repair  *xmlProcedure `xml:"postFileRepair"`
		Session struct {
			URI string `xml:"sessionDescriptionURI,attr"`
		} `xml:"bmFileRepair"`
		Report *xmlProcedure `xml:"postReceptionReport"`
	}
	if err := unmarshal(b, "ADPD", "associatedProcedureDescription", &x, &x.XMLName); err != nil {
		return nil, err
	}
	r := xsd.Reader{Document: "mbms: ADPD"}
	seconds := func(element, attribute, value string) time.Duration {
		return time.Duration(min(r.Uint(element, attribute, value, 64), maxSeconds)) * time.Second
	}
	procedure := func(element string, x *xmlProcedure) RepairProcedure {
		return RepairProcedure{
			Servers:      xsd.Texts(x.Servers),
			Offset:       seconds(element, "offsetTime", x.Offset),
			RandomPeriod: seconds(element, "randomTimePeriod", r.Required(element, "randomTimePeriod", x.Random)),
		}
	}
	p := &Procedures{RepairSessionURI: x.Session.URI}
	if x.Repair != nil {
		v := procedure("postFileRepair", x.Repair)
		p.Repair = &v
	}
	if x.Report != nil {
		const element = "postReceptionReport"
		p.Report = &ReportProcedure{
			RepairProcedure:       procedure(element, x.Report),
			Type:                  ReportType(strings.TrimSpace(x.Report.Type)),
			Percentage:            100,
			ForceTimeIndependence: xsd.Bool(x.Report.Force, false),
		}
		if s := strings.TrimSpace(x.Report.Interval); s != "" {
			d, ok := xsd.Duration(s)
			if !ok || d < 0 {
				r.Fail(element, "reportInterval", s)
			}
			p.Report.Interval = d
		}
		if p.Report.Type == "" {
			p.Report.Type = ReportRAck
		}
		if s := strings.TrimSpace(x.Report.Percentage); s != "" {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil || !(v >= 0 && v <= 100) {
				r.Fail(element, "samplePercentage", s)
				v = 0
			}
			p.Report.Percentage = v
		}
	}
	if r.Err != nil {
		return nil, r.Err
	}
	return p, nil
}

// Append appends the description as an XML document.
func (p *Procedures) Append(b []byte) ([]byte, error) {
	w := writer{xsd.NewWriter(ErrIncomplete)}
	w.Raw("<associatedProcedureDescription")
	w.Attr("xmlns", namespaceProcedures)
	w.Attr("xmlns:r14", namespaceProceduresR14)
	w.Attr("xmlns:sv", namespaceVersion)
	w.Raw(">\n")
	if p.Repair != nil {
		w.Raw("<postFileRepair")
		w.procedure(p.Repair)
		w.Raw("</postFileRepair>\n")
	}
	if p.RepairSessionURI != "" {
		w.Raw("<bmFileRepair")
		w.Attr("sessionDescriptionURI", p.RepairSessionURI)
		w.Raw("/>\n")
	}
	if r := p.Report; r != nil {
		w.Require(r.Percentage >= 0 && r.Percentage <= 100, "ADPD: samplePercentage %v", r.Percentage)
		w.Require(r.Type != "" && strings.TrimSpace(string(r.Type)) == string(r.Type), "ADPD: reportType %q", r.Type)
		w.Raw("<postReceptionReport")
		w.Attr("reportType", string(r.Type))
		w.Attr("samplePercentage", strconv.FormatFloat(r.Percentage, 'f', -1, 64))
		w.Flag("forceTimeIndependence", r.ForceTimeIndependence)
		if r.Interval != 0 {
			w.Require(r.Interval > 0, "ADPD: reportInterval %v", r.Interval)
			w.Attr("r14:reportInterval", xsd.FormatDuration(r.Interval))
		}
		w.procedure(&r.RepairProcedure)
		w.Raw("</postReceptionReport>\n")
	}
	w.Raw("<sv:schemaVersion>2</sv:schemaVersion>\n")
	w.delimiter()
	w.Raw("</associatedProcedureDescription>\n")
	return w.AppendTo(b)
}

func (w *writer) seconds(name string, d time.Duration) {
	w.Require(d >= 0 && d%time.Second == 0 && d <= maxSeconds*time.Second, "ADPD: %s of %v", name, d)
	w.Uint(name, uint64(d/time.Second))
}

// procedure finishes the start tag.
func (w *writer) procedure(p *RepairProcedure) {
	w.seconds("offsetTime", p.Offset)
	w.seconds("randomTimePeriod", p.RandomPeriod)
	w.Raw(">\n")
	w.Require(len(p.Servers) > 0, "ADPD: procedure without serviceURI")
	w.elements("serviceURI", p.Servers)
}
