package mbms

import (
	"encoding/xml"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/xsd"
)

// MediaTypeReport is that of a reception report.
const MediaTypeReport = "text/xml"

const namespaceReport = "urn:3gpp:metadata:2008:MBMS:receptionreport"

// A Report is a reception report (TS 26.346, 9.5.3), which a receiver sends by
// HTTP POST: either an acknowledgement of files, or statistics.
type Report struct {
	// Received are the files that a RAck acknowledges.
	Received []AcknowledgedFile
	// Statistics make it a StaR report.
	Statistics []Statistics
}

// An AcknowledgedFile is one file that came whole.
type AcknowledgedFile struct {
	File
	ClientID, SessionID, DeviceID string
}

// A File is one file of a report.
type File struct {
	URI string
	// Failed: the file did not come whole.
	Failed bool
	// MD5 is the digest of the file, of 16 octets, so that versions of it can be
	// told apart.
	MD5 []byte
	// ReceivedSymbols and TotalSymbols are those of the blocks that could not be
	// decoded.
	ReceivedSymbols, TotalSymbols []uint64
}

// Statistics are those of one session.
type Statistics struct {
	// Streaming tells the session from one of files.
	Streaming                                 bool
	ServiceID, ClientID, DeviceID, ServiceURI string
	Files                                     []File
	Metrics                                   *Metrics
}

// Metrics is the quality of the session. There is a list entry for each period
// of measurement.
type Metrics struct {
	Start, Stop                   time.Time
	LostObjects, ReceivedObjects  []uint64
	SymbolCountUnderrun           []string
	NetworkResourceCells          []string
	RebufferingEvents             []uint64
	RebufferingDurations          []float64
	InitialBuffering, AccessDelay float64
}

// Append appends the report as an XML document.
func (r *Report) Append(b []byte) ([]byte, error) {
	w := writer{xsd.NewWriter(ErrIncomplete)}
	w.Require(len(r.Received) > 0 != (len(r.Statistics) > 0), "report with both or none of acknowledgement and statistics")
	w.Raw("<receptionReport")
	w.Attr("xmlns", namespaceReport)
	w.Raw(">\n")
	if len(r.Received) > 0 {
		w.Raw("<receptionAcknowledgement>\n")
		for i := range r.Received {
			f := &r.Received[i]
			w.Require(!f.Failed, "report: acknowledgement of a file that failed")
			w.Raw("<fileURI")
			w.Optional("clientId", f.ClientID)
			w.Optional("sessionId", f.SessionID)
			w.Optional("deviceId", f.DeviceID)
			w.reported(&f.File)
		}
		w.Raw("</receptionAcknowledgement>\n")
	}
	for i := range r.Statistics {
		s := &r.Statistics[i]
		w.Raw("<statisticalReport")
		if s.Streaming {
			w.Attr("sessionType", "streaming")
		} else {
			w.Attr("sessionType", "download")
		}
		w.Optional("serviceId", s.ServiceID)
		w.Optional("clientId", s.ClientID)
		w.Optional("deviceId", s.DeviceID)
		w.Optional("serviceURI", s.ServiceURI)
		w.Raw(">\n")
		for k := range s.Files {
			w.Raw("<fileURI")
			w.reported(&s.Files[k])
		}
		if s.Metrics != nil {
			w.metrics(s.Metrics)
		}
		w.Raw("</statisticalReport>\n")
	}
	w.Raw("</receptionReport>\n")
	return w.AppendTo(b)
}

// reported finishes the element fileURI.
func (w *writer) reported(f *File) {
	w.Require(f.URI != "" && strings.TrimSpace(f.URI) == f.URI, "report: fileURI %q", f.URI)
	w.Require(f.MD5 == nil || len(f.MD5) == 16, "report: Content-MD5 of %d octets", len(f.MD5))
	w.Require(len(f.ReceivedSymbols) == len(f.TotalSymbols), "report: received and total symbols of different blocks")
	w.Bool("receptionSuccess", !f.Failed)
	w.Base64("Content-MD5", f.MD5)
	w.List("receivedSymbolsForFailedBlocks", xsd.Strings(f.ReceivedSymbols))
	w.List("totalSymbolsForFailedBlocks", xsd.Strings(f.TotalSymbols))
	w.Raw(">")
	w.Text(f.URI)
	w.Raw("</fileURI>\n")
}

func (w *writer) metrics(m *Metrics) {
	w.Raw("<qoeMetrics")
	var durations []string
	for _, d := range m.RebufferingDurations {
		durations = append(durations, formatDouble(d))
	}
	w.List("totalRebufferingDuration", durations)
	w.List("numberOfRebufferingEvents", xsd.Strings(m.RebufferingEvents))
	if m.InitialBuffering != 0 {
		w.Attr("initialBufferingDuration", formatDouble(m.InitialBuffering))
	}
	if m.AccessDelay != 0 {
		w.Attr("contentAccessTime", formatDouble(m.AccessDelay))
	}
	for _, t := range []struct {
		name string
		t    time.Time
	}{{"sessionStartTime", m.Start}, {"sessionStopTime", m.Stop}} {
		if !t.t.IsZero() {
			w.Require(t.t.Unix()+ntpEpoch > 0, "report: %s before 1900", t.name)
			w.Attr(t.name, toNTP(t.t))
		}
	}
	w.List("networkResourceCellId", m.NetworkResourceCells)
	w.List("numberOfLostObjects", xsd.Strings(m.LostObjects))
	w.List("symbolCountUnderrun", m.SymbolCountUnderrun)
	w.List("numberOfReceivedObjects", xsd.Strings(m.ReceivedObjects))
	w.Raw("/>\n")
}

func formatDouble(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func double(s string) float64 {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

type xmlFile struct {
	Client   string `xml:"clientId,attr"`
	Session  string `xml:"sessionId,attr"`
	Device   string `xml:"deviceId,attr"`
	Success  string `xml:"receptionSuccess,attr"`
	MD5      string `xml:"Content-MD5,attr"`
	Received string `xml:"receivedSymbolsForFailedBlocks,attr"`
	Total    string `xml:"totalSymbolsForFailedBlocks,attr"`
	URI      string `xml:",chardata"`
}

// ParseReport decodes a reception report, for those who collect them. Malformed
// values are as absent.
func ParseReport(b []byte) (*Report, error) {
	var x struct {
		XMLName    xml.Name
		Received   []xmlFile `xml:"receptionAcknowledgement>fileURI"`
		Statistics []struct {
			Type    string    `xml:"sessionType,attr"`
			Service string    `xml:"serviceId,attr"`
			Client  string    `xml:"clientId,attr"`
			Device  string    `xml:"deviceId,attr"`
			URI     string    `xml:"serviceURI,attr"`
			Files   []xmlFile `xml:"fileURI"`
			Metrics *struct {
				Rebuffering string `xml:"totalRebufferingDuration,attr"`
				Events      string `xml:"numberOfRebufferingEvents,attr"`
				Initial     string `xml:"initialBufferingDuration,attr"`
				Access      string `xml:"contentAccessTime,attr"`
				Start       string `xml:"sessionStartTime,attr"`
				Stop        string `xml:"sessionStopTime,attr"`
				Cells       string `xml:"networkResourceCellId,attr"`
				Lost        string `xml:"numberOfLostObjects,attr"`
				Underrun    string `xml:"symbolCountUnderrun,attr"`
				Received    string `xml:"numberOfReceivedObjects,attr"`
			} `xml:"qoeMetrics"`
		} `xml:"statisticalReport"`
	}
	if err := unmarshal(b, "report", "receptionReport", &x, &x.XMLName); err != nil {
		return nil, err
	}
	r := &Report{}
	for i := range x.Received {
		f := &x.Received[i]
		r.Received = append(r.Received, AcknowledgedFile{File: f.file(), ClientID: f.Client, SessionID: f.Session, DeviceID: f.Device})
	}
	for _, v := range x.Statistics {
		s := Statistics{
			Streaming: v.Type == "streaming", ServiceID: v.Service, ClientID: v.Client, DeviceID: v.Device, ServiceURI: v.URI,
			Files: xsd.Each(v.Files, (*xmlFile).file),
		}
		if m := v.Metrics; m != nil {
			s.Metrics = &Metrics{
				Start: ntpTime(m.Start), Stop: ntpTime(m.Stop),
				LostObjects: xsd.Uints[uint64](m.Lost), ReceivedObjects: xsd.Uints[uint64](m.Received),
				SymbolCountUnderrun: xsd.List(m.Underrun), NetworkResourceCells: xsd.List(m.Cells),
				RebufferingEvents: xsd.Uints[uint64](m.Events),
				InitialBuffering:  double(m.Initial), AccessDelay: double(m.Access),
			}
			for _, d := range xsd.List(m.Rebuffering) {
				s.Metrics.RebufferingDurations = append(s.Metrics.RebufferingDurations, double(d))
			}
		}
		r.Statistics = append(r.Statistics, s)
	}
	return r, nil
}

func ntpTime(s string) time.Time {
	v, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return fromNTP(v)
}

func (x *xmlFile) file() File {
	var r xsd.Reader
	f := File{
		URI: strings.TrimSpace(x.URI), Failed: !xsd.Bool(x.Success, true), MD5: r.Base64("", "", x.MD5),
		ReceivedSymbols: xsd.Uints[uint64](x.Received), TotalSymbols: xsd.Uints[uint64](x.Total),
	}
	if len(f.MD5) != 16 {
		f.MD5 = nil
	}
	return f
}
