package mbms

import (
	"encoding/xml"
	"slices"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/xsd"
)

const (
	namespaceSchedule    = "urn:3gpp:metadata:2011:MBMS:scheduleDescription"
	namespaceScheduleR11 = "urn:3gpp:metadata:2012:MBMS:scheduleDescription"
	namespaceScheduleR12 = "urn:3gpp:metadata:2013:MBMS:scheduleDescription"
)

// A Schedule says when services and files are on air (TS 26.346, 11.2A).
type Schedule struct {
	// Update is when a newer version of the schedule will be there.
	Update   time.Time
	Services []ServiceSchedule
}

// A ServiceSchedule is that of one service.
type ServiceSchedule struct {
	ServiceID, Class string
	Sessions         []SessionSchedule
	Overrides        []SessionOverride
	Files            []FileSchedule
}

// A SessionSchedule is one time on air, or one that recurs.
type SessionSchedule struct {
	Start, Stop time.Time
	// Recurrence is a pattern such as daily or weekly; Times bounds how often,
	// and RecurrenceStop until when.
	Recurrence     string
	Times          uint32
	RecurrenceStop time.Time
	// Index tells the session from others, for an override.
	Index    uint32
	HasIndex bool
	// SessionURI names the SDP; FDTInstanceURI a copy of the FDT.
	SessionURI, FDTInstanceURI string
}

// A SessionOverride replaces the times of the session with that index, or cancels
// it.
type SessionOverride struct {
	Index       uint32
	Cancelled   bool
	Start, Stop time.Time
}

// A FileSchedule says when one file is sent.
type FileSchedule struct {
	URI                    string
	Cancelled, UnicastOnly bool
	// MD5 is as the document has it, SessionID the MBMS session identity.
	MD5, SessionID string
	Times          []Period
}

// A Period is a time with open ends where they are zero.
type Period struct{ Start, End time.Time }

// The recurrences that At understands.
var recurrences = map[string]time.Duration{
	"daily":  24 * time.Hour,
	"weekly": 7 * 24 * time.Hour,
}

// At tells whether the service is on air at a moment, by its sessions and their
// overrides. Without any session it always is.
func (s *ServiceSchedule) At(now time.Time) bool {
	if len(s.Sessions) == 0 {
		return true
	}
	for i := range s.Sessions {
		v := &s.Sessions[i]
		o := slices.IndexFunc(s.Overrides, func(o SessionOverride) bool { return v.HasIndex && o.Index == v.Index })
		if o < 0 {
			if v.at(now) {
				return true
			}
			continue
		}
		if o := s.Overrides[o]; !o.Cancelled && within(o.Start, o.Stop, now) {
			return true
		}
	}
	return false
}

func (s *SessionSchedule) at(now time.Time) bool {
	every, ok := recurrences[strings.ToLower(s.Recurrence)]
	if !ok || now.Before(s.Start) || s.Stop.IsZero() {
		return within(s.Start, s.Stop, now)
	}
	if !s.RecurrenceStop.IsZero() && !now.Before(s.RecurrenceStop) {
		return false
	}
	n := now.Sub(s.Start) / every
	if s.Times > 0 && n >= time.Duration(s.Times) {
		return false
	}
	shift := n * every
	return within(s.Start.Add(shift), s.Stop.Add(shift), now)
}

func within(start, stop, now time.Time) bool {
	return (start.IsZero() || !now.Before(start)) && (stop.IsZero() || now.Before(stop))
}

// ParseSchedule decodes a schedule description. Malformed times are as absent.
func ParseSchedule(b []byte) (*Schedule, error) {
	var x struct {
		XMLName  xml.Name
		Update   string `xml:"scheduleUpdate,attr"`
		Services []struct {
			ID       string `xml:"serviceId,attr"`
			Class    string `xml:"serviceClass,attr"`
			Sessions []struct {
				SDP        string `xml:"sessionDescriptionURI,attr"`
				Start      string `xml:"start"`
				Stop       string `xml:"stop"`
				Recurrence string `xml:"reoccurencePattern"` // the schema spells it so
				Times      string `xml:"numberOfTimes"`
				Until      string `xml:"reoccurenceStopTime"`
				Index      string `xml:"index"`
				FDT        string `xml:"FDTInstanceURI"`
			} `xml:"sessionSchedule"`
			Overrides []struct {
				Index     string `xml:"index,attr"`
				Cancelled string `xml:"cancelled,attr"`
				Start     string `xml:"start"`
				Stop      string `xml:"stop"`
			} `xml:"sessionScheduleOverride"`
			Files []struct {
				Session string `xml:"sessionId,attr"`
				MD5     string `xml:"fileMD5,attr"`
				Unicast string `xml:"unicastOnly,attr"`
				URI     struct {
					Cancelled string `xml:"cancelled,attr"`
					Text      string `xml:",chardata"`
				} `xml:"fileURI"`
				Times []struct {
					Start string `xml:"start,attr"`
					End   string `xml:"end,attr"`
				} `xml:"deliveryInfo"`
			} `xml:"fileSchedule"`
		} `xml:"serviceSchedule"`
	}
	if err := unmarshal(b, "schedule", "scheduleDescription", &x, &x.XMLName); err != nil {
		return nil, err
	}
	r := xsd.Reader{Document: "mbms: schedule"}
	s := &Schedule{Update: xsd.DateTime(x.Update)}
	for _, v := range x.Services {
		out := ServiceSchedule{ServiceID: v.ID, Class: v.Class}
		for _, u := range v.Sessions {
			session := SessionSchedule{
				Start: xsd.DateTime(u.Start), Stop: xsd.DateTime(u.Stop), Recurrence: strings.TrimSpace(u.Recurrence),
				Times:          uint32(r.Uint("sessionSchedule", "numberOfTimes", strings.TrimSpace(u.Times), 32)),
				RecurrenceStop: xsd.DateTime(u.Until),
				SessionURI:     u.SDP, FDTInstanceURI: strings.TrimSpace(u.FDT),
			}
			if index := strings.TrimSpace(u.Index); index != "" {
				session.Index, session.HasIndex = uint32(r.Uint("sessionSchedule", "index", index, 32)), true
			}
			out.Sessions = append(out.Sessions, session)
		}
		for _, o := range v.Overrides {
			out.Overrides = append(out.Overrides, SessionOverride{
				Index:     uint32(r.Uint("sessionScheduleOverride", "index", o.Index, 32)),
				Cancelled: xsd.Bool(o.Cancelled, false), Start: xsd.DateTime(o.Start), Stop: xsd.DateTime(o.Stop),
			})
		}
		for _, f := range v.Files {
			file := FileSchedule{
				URI: strings.TrimSpace(f.URI.Text), Cancelled: xsd.Bool(f.URI.Cancelled, false), UnicastOnly: xsd.Bool(f.Unicast, false),
				MD5: f.MD5, SessionID: f.Session,
			}
			for _, t := range f.Times {
				file.Times = append(file.Times, Period{xsd.DateTime(t.Start), xsd.DateTime(t.End)})
			}
			out.Files = append(out.Files, file)
		}
		s.Services = append(s.Services, out)
	}
	if r.Err != nil {
		return nil, r.Err
	}
	return s, nil
}

// Append appends the schedule as an XML document.
func (s *Schedule) Append(b []byte) ([]byte, error) {
	w := writer{xsd.NewWriter(ErrIncomplete)}
	w.Raw("<scheduleDescription")
	w.Attr("xmlns", namespaceSchedule)
	w.Attr("xmlns:r11", namespaceScheduleR11)
	w.Attr("xmlns:r12", namespaceScheduleR12)
	w.Attr("xmlns:sv", namespaceVersion)
	w.Time("scheduleUpdate", s.Update)
	w.Raw(">\n<sv:schemaVersion>3</sv:schemaVersion>\n")
	w.Require(len(s.Services) > 0, "schedule without serviceSchedule")
	for i := range s.Services {
		v := &s.Services[i]
		w.Raw("<serviceSchedule")
		w.Optional("serviceId", v.ServiceID)
		w.Optional("serviceClass", v.Class)
		w.Raw(">\n")
		for k := range v.Sessions {
			w.session(&v.Sessions[k])
		}
		for _, o := range v.Overrides {
			w.Require(o.Start.IsZero() == o.Stop.IsZero(), "schedule: override %d with half of its times", o.Index)
			w.Raw("<sessionScheduleOverride")
			w.Uint("index", uint64(o.Index))
			w.Flag("cancelled", o.Cancelled)
			w.Raw(">")
			w.time("start", o.Start)
			w.time("stop", o.Stop)
			w.Raw("</sessionScheduleOverride>\n")
		}
		for k := range v.Files {
			w.file(&v.Files[k])
		}
		w.Raw("</serviceSchedule>\n")
	}
	w.Raw("</scheduleDescription>\n")
	return w.AppendTo(b)
}

func (w *writer) time(name string, t time.Time) {
	if !t.IsZero() {
		w.Element(name, xsd.FormatTime(t))
	}
}

func (w *writer) session(s *SessionSchedule) {
	w.Require(!s.Start.IsZero() && !s.Stop.IsZero(), "schedule: sessionSchedule without start or stop")
	w.Raw("<sessionSchedule")
	w.Optional("r12:sessionDescriptionURI", s.SessionURI)
	w.Raw(">\n")
	w.time("start", s.Start)
	w.time("stop", s.Stop)
	w.Require(strings.TrimSpace(s.Recurrence) == s.Recurrence, "schedule: reoccurencePattern %q", s.Recurrence)
	w.OptionalElement("reoccurencePattern", s.Recurrence)
	if s.Times > 0 {
		w.Element("numberOfTimes", xsd.Strings([]uint32{s.Times})[0])
	}
	w.time("reoccurenceStopTime", s.RecurrenceStop)
	if s.HasIndex {
		w.Element("index", xsd.Strings([]uint32{s.Index})[0])
	}
	w.delimiter()
	w.Require(strings.TrimSpace(s.FDTInstanceURI) == s.FDTInstanceURI, "schedule: FDTInstanceURI %q", s.FDTInstanceURI)
	w.OptionalElement("r12:FDTInstanceURI", s.FDTInstanceURI)
	w.delimiter()
	w.Raw("</sessionSchedule>\n")
}

func (w *writer) file(f *FileSchedule) {
	w.Require(f.URI != "" && strings.TrimSpace(f.URI) == f.URI, "schedule: fileURI %q", f.URI)
	w.Raw("<fileSchedule")
	w.Optional("r11:sessionId", f.SessionID)
	w.Optional("r11:fileMD5", f.MD5)
	w.Flag("r12:unicastOnly", f.UnicastOnly)
	w.Raw(">\n<fileURI")
	w.Flag("cancelled", f.Cancelled)
	w.Raw(">")
	w.Text(f.URI)
	w.Raw("</fileURI>\n")
	for _, t := range f.Times {
		w.Raw("<deliveryInfo")
		w.Time("start", t.Start)
		w.Time("end", t.End)
		w.Raw("/>\n")
	}
	w.delimiter()
	w.Raw("</fileSchedule>\n")
}
