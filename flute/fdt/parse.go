package fdt

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/xmllimit"
)

var (
	// ErrRoot: the document is XML, and something else than an FDT Instance.
	ErrRoot = errors.New("fdt: root element is not FDT-Instance")
	// ErrFiles: there are more files than Limits allows.
	ErrFiles = errors.New("fdt: too many files")
)

// A ValueError is a value that cannot be what its attribute has to be.
type ValueError struct {
	Element, Attribute string
	// Value is the value found, cut off after 64 octets.
	Value string
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("fdt: %s: %s is %q", e.Element, e.Attribute, e.Value)
}

// Limits bounds what Parse accepts. The zero value has the defaults.
type Limits struct {
	// Octets is the length of the document. Default 1 MiB.
	Octets int
	// Files is the number of File elements. Default 65536.
	Files int
}

// Parse decodes a stand-alone FDT Instance within the default limits.
func Parse(b []byte) (*Instance, error) {
	return Limits{}.Parse(b)
}

// Parse decodes a stand-alone FDT Instance. The result does not alias b.
func (l Limits) Parse(b []byte) (*Instance, error) {
	if l.Octets <= 0 {
		l.Octets = 1 << 20
	}
	var p parser
	p.maxFiles = l.Files
	if err := xmllimit.Unmarshal(b, xmllimit.Limits{Octets: l.Octets}, &p); err != nil {
		if _, ok := errors.AsType[*ValueError](err); ok || errors.Is(err, ErrRoot) || errors.Is(err, ErrFiles) {
			return nil, err
		}
		return nil, fmt.Errorf("fdt: %w", err)
	}
	return &p.in, nil
}

// UnmarshalXML decodes the FDT-Instance, or the EFDT element around it, that
// begins with start, so that an Instance can be a field of a larger document.
// The caller bounds that document, as package xmllimit does.
func (in *Instance) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	var p parser
	if err := p.UnmarshalXML(d, start); err != nil {
		return err
	}
	*in = p.in
	return nil
}

const defaultMaxFiles = 65536

type parser struct {
	in       Instance
	maxFiles int
}

func (p *parser) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	if p.maxFiles <= 0 {
		p.maxFiles = defaultMaxFiles
	}
	switch start.Name.Local {
	case "FDT-Instance", "EFDT":
	default:
		return fmt.Errorf("%w: %.64q", ErrRoot, start.Name.Local)
	}
	p.in.Version = 2
	return p.instance(d, start)
}

// instance decodes any of the elements around File: FDT-Instance; the EFDT of an
// S-TSID, which holds an FDT-Instance; the EFDT and FDTParameters of the drafts
// of ATSC 3.0, which are still sent, and have a FileTemplate element.
func (p *parser) instance(d *xml.Decoder, start xml.StartElement) error {
	if start.Name.Space == NamespaceV1 || start.Name.Space == namespaceRFC3926 {
		p.in.Version = 1
	}
	if err := p.in.attributes(start); err != nil {
		return err
	}
	return children(d, func(e xml.StartElement) (err error) {
		switch e.Name.Local {
		case "FDT-Instance", "FDTParameters":
			return p.instance(d, e)
		case "File":
			return p.file(d, e)
		case "FileTemplate":
			p.in.FileTemplate, err = text(d)
		case "Base-URL-1":
			p.in.BaseURL1, err = text(d)
		case "Base-URL-2":
			p.in.BaseURL2, err = text(d)
		case "Group":
			err = group(d, &p.in.Groups)
		case "schemaVersion":
			err = schemaVersion(d, &p.in.SchemaVersion)
		case "MBMS-Session-Identity-Expiry":
			err = p.sessionIdentityExpiry(d, e)
		default:
			err = d.Skip()
		}
		return err
	})
}

func (in *Instance) attributes(e xml.StartElement) (err error) {
	for _, a := range e.Attr {
		switch name(a) {
		case "Expires":
			err = uintAttr(e, a, &in.Expires)
		case "Complete":
			in.Complete = boolean(a.Value)
		case "FullFDT":
			in.FullFDT = boolean(a.Value)
		case "efdtVersion":
			in.HasEFDTVersion = true
			err = uintAttr(e, a, &in.EFDTVersion)
		case "version":
			if e.Name.Local == "EFDT" {
				in.HasEFDTVersion = true
				err = uintAttr(e, a, &in.EFDTVersion)
			}
		case "maxExpiresDelta":
			err = uintAttr(e, a, &in.MaxExpiresDelta)
		case "maxTransportSize":
			err = uintAttr(e, a, &in.MaxTransportSize)
		case "fileTemplate":
			in.FileTemplate = a.Value
		case "appContextIdList":
			in.AppContextIDs = list(a.Value)
		case "filterCodes":
			in.FilterCodes = uintList(a.Value)
		case "generation":
			err = uintAttr(e, a, &in.Generation)
		default:
			err = common(e, a, &in.ContentType, &in.ContentEncoding, &in.FEC)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// name returns the local name of an attribute that may be one of ours, else "".
// The attributes of FLUTE have no namespace, those of the extensions have one
// which is not always spelled right, so only the foreign ones that would be
// taken for FLUTE's are sorted out.
func name(a xml.Attr) string {
	switch a.Name.Space {
	case "", NamespaceV1, NamespaceV2:
		if a.Name.Local != "generation" {
			return a.Name.Local
		}
	case NamespaceTreeDN:
		if a.Name.Local == "generation" {
			return a.Name.Local
		}
	case "xmlns":
	default:
		switch a.Name.Local {
		case "FullFDT", "File-ETag", "Decryption-KEY-URI", "FEC-Redundancy-Level", "IndependentUnitPositions",
			"Content-Digest", "Repr-Digest",
			"efdtVersion", "maxExpiresDelta", "maxTransportSize", "fileTemplate", "appContextIdList", "filterCodes":
			return a.Name.Local
		}
	}
	return ""
}

func (p *parser) file(d *xml.Decoder, e xml.StartElement) error {
	if len(p.in.Files) >= p.maxFiles {
		return ErrFiles
	}
	if e.Name.Space == NamespaceV1 {
		p.in.Version = 1 // the FDT-Instance of an S-TSID has another namespace
	}
	var f File
	if err := f.attributes(e); err != nil {
		return err
	}
	if f.TOI == 0 {
		return &ValueError{Element: "File", Attribute: "TOI"}
	}
	if f.ContentLocation == "" {
		return &ValueError{Element: "File", Attribute: "Content-Location"}
	}
	err := children(d, func(c xml.StartElement) error {
		switch c.Name.Local {
		case "Cache-Control":
			return f.CacheControl.parse(d)
		case "Alternate-Content-Location-1":
			return f.alternate(d, c, 1)
		case "Alternate-Content-Location-2":
			return f.alternate(d, c, 2)
		case "Group":
			return group(d, &f.Groups)
		case "MBMS-Session-Identity":
			return f.sessionIdentity(d)
		case "Signature":
			return f.signature(d, c)
		}
		return d.Skip()
	})
	p.in.Files = append(p.in.Files, f)
	return err
}

func (f *File) attributes(e xml.StartElement) (err error) {
	for _, a := range e.Attr {
		switch name(a) {
		case "TOI":
			err = uintAttr(e, a, &f.TOI)
		case "Content-Location":
			f.ContentLocation = a.Value
		case "Content-Length":
			f.HasContentLength = true
			err = uintAttr(e, a, &f.ContentLength)
		case "Transfer-Length", "FEC-OTI-Transfer-Length": // the latter in the text of RFC 5510
			f.HasTransferLength = true
			err = uintAttr(e, a, &f.TransferLength)
		case "Content-MD5":
			// Not worth losing the file for: it protects against nothing.
			if sum, err := base64.StdEncoding.DecodeString(strings.TrimSpace(a.Value)); err == nil && len(sum) == 16 {
				f.ContentMD5 = sum
			}
		case "File-ETag":
			f.ETag = a.Value
		case "appContextIdList":
			f.AppContextIDs = list(a.Value)
		case "filterCodes":
			f.FilterCodes = uintList(a.Value)
		case "generation":
			err = uintAttr(e, a, &f.Generation)
		default:
			var known bool
			if known, err = f.extensionAttribute(e, a); known {
				break
			}
			err = common(e, a, &f.ContentType, &f.ContentEncoding, &f.FEC)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// common decodes the attributes that FDT-Instance and File share.
func common(e xml.StartElement, a xml.Attr, contentType, contentEncoding *string, fec *FEC) error {
	switch name(a) {
	case "Content-Type":
		*contentType = a.Value
	case "Content-Encoding":
		*contentEncoding = a.Value
	case "FEC-OTI-FEC-Encoding-ID":
		fec.HasEncodingID = true
		return uintAttr(e, a, &fec.EncodingID)
	case "FEC-OTI-FEC-Instance-ID":
		return uintAttr(e, a, &fec.InstanceID)
	case "FEC-OTI-Maximum-Source-Block-Length":
		return uintAttr(e, a, &fec.MaxSourceBlockLength)
	case "FEC-OTI-Encoding-Symbol-Length":
		return uintAttr(e, a, &fec.EncodingSymbolLength)
	case "FEC-OTI-Max-Number-of-Encoding-Symbols":
		return uintAttr(e, a, &fec.MaxEncodingSymbols)
	case "FEC-OTI-Scheme-Specific-Info":
		info, err := base64.StdEncoding.DecodeString(strings.TrimSpace(a.Value))
		if err != nil {
			return valueError(e, a)
		}
		if len(info) > 0 {
			fec.SchemeSpecific = info
		}
	}
	return nil
}

func (c *CacheControl) parse(d *xml.Decoder) error {
	return children(d, func(e xml.StartElement) error {
		s, err := text(d)
		switch e.Name.Local {
		case "no-cache":
			c.NoCache = boolean(s)
		case "max-stale":
			c.MaxStale = boolean(s)
		case "Expires":
			if v, err := strconv.ParseUint(s, 10, 32); err == nil {
				c.Expires = uint32(v)
			}
		}
		return err
	})
}

func (f *File) alternate(d *xml.Decoder, e xml.StartElement, set uint8) error {
	alt := AlternateLocation{Set: set}
	for _, a := range e.Attr {
		if a.Name.Local == "Availability-Time" {
			alt.Until = dateTime(a.Value)
		}
	}
	err := children(d, func(c xml.StartElement) error {
		s, err := text(d)
		if c.Name.Local == "Alternate-Content-Location" && s != "" {
			alt.URLs = append(alt.URLs, s)
		}
		return err
	})
	f.AlternateLocations = append(f.AlternateLocations, alt)
	return err
}

// children calls visit for each child of the current element. Visit consumes
// the child.
func children(d *xml.Decoder, visit func(xml.StartElement) error) error {
	for {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if err := visit(t); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		}
	}
}

// text consumes the current element and returns its character data.
func text(d *xml.Decoder) (string, error) {
	var s strings.Builder
	for {
		t, err := d.Token()
		if err != nil {
			return "", err
		}
		switch t := t.(type) {
		case xml.CharData:
			s.Write(t)
		case xml.StartElement:
			if err := d.Skip(); err != nil {
				return "", err
			}
		case xml.EndElement:
			return strings.TrimSpace(s.String()), nil
		}
	}
}

func uintAttr[T uint8 | uint16 | uint32 | uint64](e xml.StartElement, a xml.Attr, v *T) error {
	n, err := strconv.ParseUint(strings.TrimSpace(a.Value), 10, 64)
	if err != nil || uint64(T(n)) != n {
		return valueError(e, a)
	}
	*v = T(n)
	return nil
}

func valueError(e xml.StartElement, a xml.Attr) error {
	return &ValueError{
		Element:   e.Name.Local,
		Attribute: a.Name.Local,
		Value:     a.Value[:min(len(a.Value), 64)],
	}
}

func boolean(s string) bool {
	s = strings.TrimSpace(s)
	return s == "true" || s == "1"
}

// list splits an xs:list, nil if it is empty.
func list(s string) []string {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return nil
	}
	return fields
}

func uintList(s string) (values []uint32) {
	for _, field := range strings.Fields(s) {
		if v, err := strconv.ParseUint(field, 10, 32); err == nil {
			values = append(values, uint32(v))
		}
	}
	return values
}

// dateTime parses an xs:dateTime, which need not name a time zone.
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
