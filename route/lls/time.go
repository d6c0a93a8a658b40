package lls

import (
	"encoding/xml"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/xsd"
)

// SystemTime tells how the clock of the broadcast, which counts seconds of TAI,
// becomes the time of day (A/331, 6.4). It does not tell the time itself.
type SystemTime struct {
	// Namespace is that of the document as it was read: in the field there are
	// wrong ones, and none. Append writes NamespaceSystemTime.
	Namespace string
	// UTCOffset is TAI minus UTC in seconds, 37 since 2017.
	UTCOffset int16
	// PTPPrepend are the upper 16 bits of the 48-bit seconds of PTP.
	PTPPrepend uint16
	// Leap59 and Leap61: the last minute of the month in UTC has that many
	// seconds.
	Leap59, Leap61 bool
	// LocalOffset is local time minus UTC.
	LocalOffset time.Duration
	// DST: daylight saving time is in effect. DSTDay and DSTHour announce the
	// next change in local time, 0 if there is none within a month.
	DST             bool
	DSTDay, DSTHour uint8
}

// ParseSystemTime decodes a system time table.
func ParseSystemTime(b []byte) (*SystemTime, error) {
	var x struct {
		XMLName xml.Name
		Offset  string `xml:"currentUtcOffset,attr"`
		Prepend string `xml:"ptpPrepend,attr"`
		Leap59  string `xml:"leap59,attr"`
		Leap61  string `xml:"leap61,attr"`
		Local   string `xml:"utcLocalOffset,attr"`
		DST     string `xml:"dsStatus,attr"`
		Day     string `xml:"dsDayOfMonth,attr"`
		Hour    string `xml:"dsHour,attr"`
	}
	if err := unmarshal(b, "SystemTime", &x, &x.XMLName); err != nil {
		return nil, err
	}
	const element = "SystemTime"
	r := xsd.Reader{Document: "lls: SystemTime"}
	s := &SystemTime{
		Namespace:  x.XMLName.Space,
		UTCOffset:  int16(r.Int(element, "currentUtcOffset", r.Required(element, "currentUtcOffset", x.Offset), 16)),
		PTPPrepend: uint16(r.Uint(element, "ptpPrepend", x.Prepend, 16)),
		Leap59:     xsd.Bool(x.Leap59, false),
		Leap61:     xsd.Bool(x.Leap61, false),
		DST:        xsd.Bool(x.DST, false),
		DSTDay:     uint8(r.Uint(element, "dsDayOfMonth", x.Day, 8)),
		DSTHour:    uint8(r.Uint(element, "dsHour", x.Hour, 8)),
	}
	if strings.TrimSpace(x.Local) != "" {
		var ok bool
		if s.LocalOffset, ok = xsd.Duration(x.Local); !ok {
			r.Fail(element, "utcLocalOffset", x.Local)
		}
	}
	if r.Err != nil {
		return nil, r.Err
	}
	return s, nil
}

// Append appends the table as an XML document.
func (s *SystemTime) Append(b []byte) ([]byte, error) {
	w := xsd.NewWriter(ErrIncomplete)
	w.Require(s.DSTDay <= 31 && s.DSTHour <= 24, "SystemTime: change on day %d at %d h", s.DSTDay, s.DSTHour)
	w.Require(!s.Leap59 || !s.Leap61, "SystemTime: a minute of 59 and 61 seconds")
	w.Require(s.LocalOffset.Abs() <= 24*time.Hour, "SystemTime: utcLocalOffset %v", s.LocalOffset)
	w.Raw("<SystemTime")
	w.Attr("xmlns", NamespaceSystemTime)
	w.Attr("currentUtcOffset", xsd.FormatInt(int64(s.UTCOffset)))
	w.OptionalUint("ptpPrepend", uint64(s.PTPPrepend))
	w.Flag("leap59", s.Leap59)
	w.Flag("leap61", s.Leap61)
	w.Attr("utcLocalOffset", xsd.FormatDuration(s.LocalOffset))
	w.Bool("dsStatus", s.DST)
	w.OptionalUint("dsDayOfMonth", uint64(s.DSTDay))
	w.OptionalUint("dsHour", uint64(s.DSTHour))
	w.Raw("/>\n")
	return w.AppendTo(b)
}
