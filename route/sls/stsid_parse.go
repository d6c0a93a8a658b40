package sls

import (
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/xmllimit"
	"github.com/treedn/treedn/flute/xsd"
)

// ErrRoot: the document is XML, and something else than it has to be.
var ErrRoot = errors.New("root element")

// A ValueError is a value that cannot be what its attribute has to be.
type ValueError = xsd.ValueError

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
		Percent    string     `xml:"percentRepair,attr"`
		Checksums  string     `xml:"checksumList,attr"`
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
		return nil, fmt.Errorf("sls: S-TSID: %w is %.64q", ErrRoot, x.XMLName.Local)
	}
	c := stsidReader{xsd.Reader{Document: "sls: S-TSID"}}
	s := &STSID{RS: xsd.Each(x.RS, c.rs)}
	if c.Err != nil {
		return nil, c.Err
	}
	return s, nil
}

type stsidReader struct{ xsd.Reader }

func (c *stsidReader) rs(x *xmlRS) RS {
	return RS{
		Source:      c.Addr("RS", "sIpAddr", x.Source),
		Destination: c.Addr("RS", "dIpAddr", x.Destination),
		Port:        uint16(c.Uint("RS", "dPort", x.Port, 16)),
		LS:          xsd.Each(x.LS, c.ls),
	}
}

func (c *stsidReader) ls(x *xmlLS) LS {
	if x.TSI == "" {
		c.Fail("LS", "tsi", "")
	}
	ls := LS{
		TSI:       uint32(c.Uint("LS", "tsi", x.TSI, 32)),
		Bandwidth: uint32(c.Uint("LS", "bw", x.Bandwidth, 32)),
		Start:     xsd.DateTime(x.Start),
		End:       xsd.DateTime(x.End),
	}
	if x.SrcFlow != nil {
		ls.SrcFlow = c.srcFlow(x.SrcFlow)
	}
	if x.RepairFlow != nil {
		ls.RepairFlow = c.repairFlow(x.RepairFlow)
	}
	return ls
}

func (c *stsidReader) srcFlow(x *xmlSrcFlow) *SrcFlow {
	s := &SrcFlow{
		RealTime:      xsd.Bool(x.RealTime, false),
		MinBufferSize: uint32(c.Uint("SrcFlow", "minBuffSize", x.MinBuffSize+x.MinBufferSize, 32)),
		EFDT:          x.EFDT,
		AEAs:          xsd.Texts(x.Info.AEAs),
		Payloads:      append(xsd.Each(x.Payloads, c.payload), xsd.Each(x.Info.Payloads, c.payload)...),
	}
	if m := x.Info.Media; m != nil {
		s.Media = &MediaInfo{
			Startup:     xsd.Bool(m.Startup, false),
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

func (c *stsidReader) payload(x *xmlPayload) Payload {
	return Payload{
		Codepoint:       uint8(c.Uint("Payload", "codePoint", x.Codepoint, 8)),
		FormatID:        uint8(c.Uint("Payload", "formatId", x.FormatID, 8)),
		Frag:            uint8(c.Uint("Payload", "frag", x.Frag, 8)),
		Order:           xsd.Bool(x.Order, true),
		SrcFECPayloadID: uint8(c.Uint("Payload", "srcFecPayloadId", x.FECID, 8)),
		FECParams:       c.Hex("Payload", "fecParams", x.FECParams),
	}
}

func (c *stsidReader) repairFlow(x *xmlRepairFlow) *RepairFlow {
	r := &RepairFlow{
		MaximumDelay:  uint32(c.Uint("FECParameters", "maximumDelay", x.FEC.MaximumDelay, 32)),
		Overhead:      uint16(c.Uint("FECParameters", "overhead", x.FEC.Overhead, 16)),
		MinBufferSize: uint32(c.Uint("FECParameters", "minBuffSize", x.FEC.MinBuffSize+x.FEC.MinBufferSize, 32)),
		GrowingTSI:    uint32(c.Uint("FECParameters", "growingTSI", x.FEC.GrowingTSI, 32)),
		Protected:     append(xsd.Each(x.FEC.Protected, c.protected), xsd.Each(x.Protected, c.protected)...),
	}
	if r.GrowingTSI != 0 {
		r.GrowingDelay = uint32(c.Uint("FECParameters", "growingDelay", x.FEC.GrowingDelay, 32))
	}
	if oti := c.Hex("FECParameters", "fecOTI", x.FEC.OTI); oti != nil {
		r.HasOTI = true
		if copy(r.OTI[:], oti); len(oti) != len(r.OTI) {
			c.Fail("FECParameters", "fecOTI", x.FEC.OTI)
		}
	}
	return r
}

func (c *stsidReader) protected(x *xmlProtected) ProtectedObject {
	if x.TSI == "" {
		c.Fail("ProtectedObject", "tsi", "")
	}
	p := ProtectedObject{
		Session:    x.Session,
		TSI:        uint32(c.Uint("ProtectedObject", "tsi", x.TSI, 32)),
		ObjectSize: c.Uint("ProtectedObject", "fecTransportObjectSize", x.ObjectSize, 64),

		PercentRepair: uint32(c.Uint("ProtectedObject", "percentRepair", x.Percent, 32)),
		Checksums:     xsd.List(x.Checksums),
	}
	for _, s := range x.SourceTOIs {
		m := SourceTOI{X: 1, Y: c.Uint("SourceTOI", "y", s.Y, 64)}
		if s.X != "" {
			m.X = c.Uint("SourceTOI", "x", s.X, 64)
		}
		p.SourceTOIs = append(p.SourceTOIs, m)
	}
	if x.SourceTOI != "" {
		m, ok := parseSourceTOI(x.SourceTOI)
		if !ok {
			c.Fail("ProtectedObject", "sourceTOI", x.SourceTOI)
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
