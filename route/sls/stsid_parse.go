package sls

import (
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/xmllimit"
)

// ErrRoot: the document is XML, and something else than an S-TSID.
var ErrRoot = errors.New("sls: root element is not S-TSID")

// A ValueError is a value that cannot be what its attribute has to be.
type ValueError struct {
	Element, Attribute string
	// Value is the value found, cut off after 64 octets.
	Value string
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("sls: S-TSID: %s: %s is %q", e.Element, e.Attribute, e.Value)
}

// maxSTSID bounds the elements of an S-TSID. A service has some hundred, more
// only with many lone files.
const maxSTSID = 1 << 16

// The structs below name no namespace but ours, so that encoding/xml goes by
// names.
type (
	xmlSTSID struct {
		XMLName xml.Name
		RS      []xmlRS `xml:"RS"`
	}
	xmlRS struct {
		Source      string  `xml:"sIpAddr,attr"`
		Destination string  `xml:"dIpAddr,attr"`
		Port        string  `xml:"dPort,attr"`
		LS          []xmlLS `xml:"LS"`
	}
	xmlLS struct {
		TSI        string         `xml:"tsi,attr"`
		Bandwidth  string         `xml:"bw,attr"`
		Start      string         `xml:"startTime,attr"`
		End        string         `xml:"endTime,attr"`
		SrcFlow    *xmlSrcFlow    `xml:"SrcFlow"`
		RepairFlow *xmlRepairFlow `xml:"RepairFlow"`
	}
	xmlSrcFlow struct {
		RealTime      string        `xml:"rt,attr"`
		MinBuffSize   string        `xml:"minBuffSize,attr"`   // the schema
		MinBufferSize string        `xml:"minBufferSize,attr"` // the text, and RFC 9223
		EFDT          *fdt.Instance `xml:"EFDT"`
		Info          struct {
			Media    *xmlMediaInfo `xml:"MediaInfo"`
			AEAs     []string      `xml:"AEAMedia>AEAId"`
			Payloads []xmlPayload  `xml:"Payload"` // here in the edition of 2025
		} `xml:"ContentInfo"`
		Payloads []xmlPayload `xml:"Payload"`
	}
	xmlMediaInfo struct {
		Startup     string `xml:"startup,attr"`
		Lang        string `xml:"lang,attr"`
		ContentType string `xml:"contentType,attr"`
		RepID       string `xml:"repId,attr"`
		Ratings     []struct {
			Scheme string `xml:"schemeIdUri,attr"`
			Value  string `xml:"value,attr"`
		} `xml:"ContentRating"`
	}
	xmlPayload struct {
		Codepoint string `xml:"codePoint,attr"`
		FormatID  string `xml:"formatId,attr"`
		Frag      string `xml:"frag,attr"`
		Order     string `xml:"order,attr"`
		FECID     string `xml:"srcFecPayloadId,attr"`
		FECParams string `xml:"fecParams,attr"`
	}
	xmlRepairFlow struct {
		FEC struct {
			MaximumDelay  string         `xml:"maximumDelay,attr"`
			Overhead      string         `xml:"overhead,attr"`
			MinBuffSize   string         `xml:"minBuffSize,attr"`
			MinBufferSize string         `xml:"minBufferSize,attr"`
			OTI           string         `xml:"fecOTI,attr"`
			GrowingTSI    string         `xml:"urn:treedn:route:1 growingTSI,attr"`
			GrowingDelay  string         `xml:"urn:treedn:route:1 growingDelay,attr"`
			Protected     []xmlProtected `xml:"ProtectedObject"`
		} `xml:"FECParameters"`
		Protected []xmlProtected `xml:"ProtectedObject"` // misplaced
	}
	xmlProtected struct {
		Session    string     `xml:"sessionDescription,attr"`
		TSI        string     `xml:"tsi,attr"`
		SourceTOI  string     `xml:"sourceTOI,attr"` // the schema of 2019
		ObjectSize string     `xml:"fecTransportObjectSize,attr"`
		SourceTOIs []struct { // the text
			X string `xml:"x,attr"`
			Y string `xml:"y,attr"`
		} `xml:"SourceTOI"`
	}
)

// ParseSTSID decodes an S-TSID. The result does not alias b.
func ParseSTSID(b []byte) (*STSID, error) {
	var x xmlSTSID
	err := xmllimit.Unmarshal(b, xmllimit.Limits{Elements: maxSTSID}, &x)
	if err != nil {
		return nil, fmt.Errorf("sls: S-TSID: %w", err)
	}
	if x.XMLName.Local != "S-TSID" {
		return nil, fmt.Errorf("%w: %.64q", ErrRoot, x.XMLName.Local)
	}
	var c converter
	s := &STSID{RS: each(x.RS, c.rs)}
	if c.err != nil {
		return nil, c.err
	}
	return s, nil
}

// A converter turns strings into values and remembers the first that it could
// not.
type converter struct{ err error }

func (c *converter) rs(x *xmlRS) RS {
	return RS{
		Source:      c.addr("RS", "sIpAddr", x.Source),
		Destination: c.addr("RS", "dIpAddr", x.Destination),
		Port:        uint16(c.uint("RS", "dPort", x.Port, 16)),
		LS:          each(x.LS, c.ls),
	}
}

func (c *converter) ls(x *xmlLS) LS {
	if x.TSI == "" {
		c.fail("LS", "tsi", "")
	}
	ls := LS{
		TSI:       uint32(c.uint("LS", "tsi", x.TSI, 32)),
		Bandwidth: uint32(c.uint("LS", "bw", x.Bandwidth, 32)),
		Start:     dateTime(x.Start),
		End:       dateTime(x.End),
	}
	if x.SrcFlow != nil {
		ls.SrcFlow = c.srcFlow(x.SrcFlow)
	}
	if x.RepairFlow != nil {
		ls.RepairFlow = c.repairFlow(x.RepairFlow)
	}
	return ls
}

func (c *converter) srcFlow(x *xmlSrcFlow) *SrcFlow {
	s := &SrcFlow{
		RealTime:      boolean(x.RealTime, false),
		MinBufferSize: uint32(c.uint("SrcFlow", "minBuffSize", x.MinBuffSize+x.MinBufferSize, 32)),
		EFDT:          x.EFDT,
		AEAs:          x.Info.AEAs,
		Payloads:      append(each(x.Payloads, c.payload), each(x.Info.Payloads, c.payload)...),
	}
	if m := x.Info.Media; m != nil {
		s.Media = &MediaInfo{
			Startup:     boolean(m.Startup, false),
			Lang:        m.Lang,
			ContentType: m.ContentType,
			RepID:       m.RepID,
		}
		for _, r := range m.Ratings {
			s.Media.Ratings = append(s.Media.Ratings, ContentRating(r))
		}
	}
	return s
}

func (c *converter) payload(x *xmlPayload) Payload {
	return Payload{
		Codepoint:       uint8(c.uint("Payload", "codePoint", x.Codepoint, 8)),
		FormatID:        uint8(c.uint("Payload", "formatId", x.FormatID, 8)),
		Frag:            uint8(c.uint("Payload", "frag", x.Frag, 8)),
		Order:           boolean(x.Order, true),
		SrcFECPayloadID: uint8(c.uint("Payload", "srcFecPayloadId", x.FECID, 8)),
		FECParams:       c.hex("Payload", "fecParams", x.FECParams),
	}
}

func (c *converter) repairFlow(x *xmlRepairFlow) *RepairFlow {
	r := &RepairFlow{
		MaximumDelay:  uint32(c.uint("FECParameters", "maximumDelay", x.FEC.MaximumDelay, 32)),
		Overhead:      uint16(c.uint("FECParameters", "overhead", x.FEC.Overhead, 16)),
		MinBufferSize: uint32(c.uint("FECParameters", "minBuffSize", x.FEC.MinBuffSize+x.FEC.MinBufferSize, 32)),
		GrowingTSI:    uint32(c.uint("FECParameters", "growingTSI", x.FEC.GrowingTSI, 32)),
		Protected:     append(each(x.FEC.Protected, c.protected), each(x.Protected, c.protected)...),
	}
	if r.GrowingTSI != 0 {
		r.GrowingDelay = uint32(c.uint("FECParameters", "growingDelay", x.FEC.GrowingDelay, 32))
	}
	if oti := c.hex("FECParameters", "fecOTI", x.FEC.OTI); oti != nil {
		r.HasOTI = true
		if copy(r.OTI[:], oti); len(oti) != len(r.OTI) {
			c.fail("FECParameters", "fecOTI", x.FEC.OTI)
		}
	}
	return r
}

func (c *converter) protected(x *xmlProtected) ProtectedObject {
	if x.TSI == "" {
		c.fail("ProtectedObject", "tsi", "")
	}
	p := ProtectedObject{
		Session:    x.Session,
		TSI:        uint32(c.uint("ProtectedObject", "tsi", x.TSI, 32)),
		ObjectSize: c.uint("ProtectedObject", "fecTransportObjectSize", x.ObjectSize, 64),
	}
	for _, s := range x.SourceTOIs {
		m := SourceTOI{X: 1, Y: c.uint("SourceTOI", "y", s.Y, 64)}
		if s.X != "" {
			m.X = c.uint("SourceTOI", "x", s.X, 64)
		}
		p.SourceTOIs = append(p.SourceTOIs, m)
	}
	if x.SourceTOI != "" {
		m, ok := parseSourceTOI(x.SourceTOI)
		if !ok {
			c.fail("ProtectedObject", "sourceTOI", x.SourceTOI)
		}
		p.SourceTOIs = append(p.SourceTOIs, m)
	}
	return p
}

// parseSourceTOI understands a number, TOI, a*TOI, TOI+b and a*TOI+b of what the
// standard calls C syntax.
func parseSourceTOI(s string) (m SourceTOI, ok bool) {
	s = strings.ReplaceAll(s, " ", "")
	factor, rest, ok := strings.Cut(s, "TOI")
	if !ok {
		y, err := strconv.ParseUint(s, 10, 64)
		return SourceTOI{Y: y}, err == nil
	}
	m.X = 1
	var err error
	if factor != "" {
		if factor, ok = strings.CutSuffix(factor, "*"); !ok {
			return m, false
		}
		if m.X, err = strconv.ParseUint(factor, 10, 64); err != nil {
			return m, false
		}
	}
	if rest != "" {
		if rest, ok = strings.CutPrefix(rest, "+"); !ok {
			return m, false
		}
		m.Y, err = strconv.ParseUint(rest, 10, 64)
	}
	return m, err == nil
}

func (c *converter) fail(element, attribute, value string) {
	if c.err == nil {
		c.err = &ValueError{Element: element, Attribute: attribute, Value: value[:min(len(value), 64)]}
	}
}

func (c *converter) uint(element, attribute, value string, bits int) uint64 {
	if value == "" {
		return 0
	}
	v, err := strconv.ParseUint(strings.TrimSpace(value), 10, bits)
	if err != nil {
		c.fail(element, attribute, value)
	}
	return v
}

// addr takes an IPv6 address, too, which the schema does not know.
func (c *converter) addr(element, attribute, value string) netip.Addr {
	if value == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(strings.TrimSpace(value))
	if err != nil || a.Zone() != "" {
		c.fail(element, attribute, value)
		return netip.Addr{}
	}
	return a.Unmap()
}

func (c *converter) hex(element, attribute, value string) []byte {
	value = strings.TrimSpace(value)
	if value == "" {
		return nil
	}
	b, err := hex.DecodeString(value)
	if err != nil {
		c.fail(element, attribute, value)
		return nil
	}
	return b
}

func boolean(s string, absent bool) bool {
	switch strings.TrimSpace(s) {
	case "":
		return absent
	case "true", "1":
		return true
	}
	return false
}

// dateTime parses an xs:dateTime, which need not name a time zone. The times
// of a session are no more than advice, so that a malformed one is as none.
func dateTime(s string) time.Time {
	s = strings.TrimSpace(s)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		t, err := time.Parse(layout, s)
		if t = t.UTC(); err == nil && t.Year() >= 1 && t.Year() <= 9999 {
			return t
		}
	}
	return time.Time{}
}

func each[X, V any](list []X, convert func(*X) V) (out []V) {
	for i := range list {
		out = append(out, convert(&list[i]))
	}
	return out
}
