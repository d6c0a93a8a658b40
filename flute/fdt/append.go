package fdt

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrIncomplete matches the errors of Append about an instance that lacks what
// the standards require, or contradicts itself.
var ErrIncomplete = errors.New("fdt: incomplete instance")

// Append appends the instance as a document of its own.
func (in *Instance) Append(b []byte) ([]byte, error) {
	w := writer{b: append(b, `<?xml version="1.0" encoding="UTF-8"?>`+"\n"...)}
	return w.instance(in, false, b)
}

// AppendEmbedded appends the instance as the local element FDT-Instance of an
// S-TSID: without a prefix, hence in the default namespace of the document
// around it, while its File elements are in the namespace of the FDT. It
// declares all prefixes that it uses.
func (in *Instance) AppendEmbedded(b []byte) ([]byte, error) {
	w := writer{b: b}
	return w.instance(in, true, b)
}

func (in *Instance) check() error {
	switch {
	case in.Version > 2:
		return fmt.Errorf("%w: version %d", ErrIncomplete, in.Version)
	case in.Expires == 0:
		return fmt.Errorf("%w: no Expires", ErrIncomplete)
	case len(in.Files) == 0 && in.FileTemplate == "":
		return fmt.Errorf("%w: neither File nor fileTemplate", ErrIncomplete)
	case in.FileTemplate != "" && in.MaxTransportSize == 0:
		return fmt.Errorf("%w: fileTemplate without maxTransportSize", ErrIncomplete)
	}
	if in.FileTemplate != "" {
		if _, err := ParseTemplate(in.FileTemplate); err != nil {
			return err
		}
	}
	for i := range in.Files {
		f := &in.Files[i]
		switch {
		case f.TOI == 0:
			return fmt.Errorf("%w: File without TOI", ErrIncomplete)
		case f.ContentLocation == "":
			return fmt.Errorf("%w: File without Content-Location", ErrIncomplete)
		case f.CacheControl.values() > 1:
			return fmt.Errorf("%w: more than one directive in Cache-Control", ErrIncomplete)
		case f.ContentMD5 != nil && len(f.ContentMD5) != 16:
			return fmt.Errorf("%w: Content-MD5 of %d octets", ErrIncomplete, len(f.ContentMD5))
		}
		if !f.ContentDigest.valid() || !f.ReprDigest.valid() {
			return fmt.Errorf("%w: length of a digest", ErrIncomplete)
		}
		for _, sig := range f.Signatures {
			for _, scope := range sig.Scope {
				if len(strings.Fields(scope)) != 1 || strings.TrimSpace(scope) != scope {
					return fmt.Errorf("%w: scope %q of a signature", ErrIncomplete, scope)
				}
			}
			if len(sig.Value) == 0 {
				return fmt.Errorf("%w: empty signature", ErrIncomplete)
			}
		}
		for _, alt := range f.AlternateLocations {
			if alt.Set != 1 && alt.Set != 2 {
				return fmt.Errorf("%w: alternate location of set %d", ErrIncomplete, alt.Set)
			}
		}
	}
	return nil
}

// A writer appends XML. It remembers the first value that XML cannot hold.
type writer struct {
	b   []byte
	err error
}

func (w *writer) instance(in *Instance, embedded bool, original []byte) ([]byte, error) {
	if err := in.check(); err != nil {
		return original, err
	}
	namespace := NamespaceV2
	if in.Version == 1 {
		namespace = NamespaceV1
	}
	file := "File"
	w.raw("<FDT-Instance")
	if embedded {
		file = "fdt:File"
		w.attr("xmlns:fdt", namespace)
	} else {
		w.attr("xmlns", namespace)
	}
	for _, p := range in.prefixes() {
		w.attr("xmlns:"+p.prefix, p.namespace)
	}
	w.uint("Expires", uint64(in.Expires))
	w.flag("Complete", in.Complete)
	w.optional("Content-Type", in.ContentType)
	w.optional("Content-Encoding", in.ContentEncoding)
	w.fec(&in.FEC)
	w.flag("mbms2008:FullFDT", in.FullFDT)
	if in.HasEFDTVersion {
		w.uint("afdt:efdtVersion", uint64(in.EFDTVersion))
	}
	w.optionalUint("afdt:maxExpiresDelta", uint64(in.MaxExpiresDelta))
	w.optionalUint("afdt:maxTransportSize", uint64(in.MaxTransportSize))
	w.optional("afdt:fileTemplate", in.FileTemplate)
	w.lists(in.AppContextIDs, in.FilterCodes)
	w.optionalUint("treedn:generation", in.Generation)
	w.raw(">\n")
	for i := range in.Files {
		w.file(file, in, &in.Files[i])
	}
	if in.SchemaVersion != 0 {
		w.element("sv:schemaVersion", strconv.FormatUint(uint64(in.SchemaVersion), 10))
	}
	w.element("mbms2012:Base-URL-1", in.BaseURL1)
	w.element("mbms2012:Base-URL-2", in.BaseURL2)
	w.delimiter(in)
	for _, g := range in.Groups {
		w.element(strings.TrimSuffix(file, "File")+"Group", g)
	}
	for _, x := range in.SessionIdentityExpiries {
		element := strings.TrimSuffix(file, "File") + "MBMS-Session-Identity-Expiry"
		w.raw("<" + element)
		w.uint("value", uint64(x.Expiry))
		w.raw(">" + strconv.Itoa(int(x.Identity)) + "</" + element + ">\n")
	}
	w.raw("</FDT-Instance>\n")
	if w.err != nil {
		return original, w.err
	}
	return w.b, nil
}

type prefix struct{ prefix, namespace string }

// prefixes lists the namespaces in use, so that readers which know none of the
// extensions see none.
func (in *Instance) prefixes() (used []prefix) {
	atsc := in.HasEFDTVersion || in.MaxExpiresDelta != 0 || in.MaxTransportSize != 0 || in.FileTemplate != "" ||
		in.AppContextIDs != nil || in.FilterCodes != nil
	var m2007, m2009, m2015, dvb bool
	m2012 := in.BaseURL1 != "" || in.BaseURL2 != ""
	treedn := in.Generation != 0
	for i := range in.Files {
		f := &in.Files[i]
		atsc = atsc || f.AppContextIDs != nil || f.FilterCodes != nil
		m2007 = m2007 || f.CacheControl != CacheControl{}
		m2009 = m2009 || f.DecryptionKeyURI != ""
		m2012 = m2012 || f.ETag != "" || len(f.AlternateLocations) > 0 || f.FECRedundancyLevel != 0
		m2015 = m2015 || len(f.IndependentUnitPositions) > 0
		dvb = dvb || !f.ContentDigest.IsZero() || !f.ReprDigest.IsZero() || len(f.Signatures) > 0
		treedn = treedn || f.Generation != 0
	}
	for _, p := range []struct {
		on bool
		prefix
	}{
		{atsc, prefix{"afdt", NamespaceATSC}},
		{m2007, prefix{"mbms2007", namespaceMBMS2007}},
		{in.FullFDT, prefix{"mbms2008", namespaceMBMS2008}},
		{in.SchemaVersion != 0, prefix{"sv", namespaceSchema}},
		{m2009, prefix{"mbms2009", namespaceMBMS2009}},
		{m2012, prefix{"mbms2012", namespaceMBMS2012}},
		{m2015, prefix{"mbms2015", namespaceMBMS2015}},
		{dvb, prefix{"dvb", namespaceDVB}},
		{treedn, prefix{"treedn", NamespaceTreeDN}},
	} {
		if p.on {
			used = append(used, p.prefix)
		}
	}
	return used
}

func (w *writer) file(name string, in *Instance, f *File) {
	w.raw("<" + name)
	w.uint("TOI", f.TOI)
	w.attr("Content-Location", f.ContentLocation)
	if f.HasContentLength {
		w.uint("Content-Length", f.ContentLength)
	}
	if f.HasTransferLength {
		w.uint("Transfer-Length", f.TransferLength)
	}
	w.optional("Content-Type", f.ContentType)
	w.optional("Content-Encoding", f.ContentEncoding)
	w.optional("Content-MD5", base64.StdEncoding.EncodeToString(f.ContentMD5))
	w.fec(&f.FEC)
	w.optional("mbms2012:File-ETag", f.ETag)
	w.extensionAttributes(f)
	w.lists(f.AppContextIDs, f.FilterCodes)
	w.optionalUint("treedn:generation", f.Generation)
	if !f.hasElements() && in.SchemaVersion == 0 {
		w.raw("/>\n")
		return
	}
	w.raw(">\n")
	if c := f.CacheControl; c != (CacheControl{}) {
		w.raw("<mbms2007:Cache-Control>")
		if c.NoCache {
			w.raw("<mbms2007:no-cache>true</mbms2007:no-cache>")
		}
		if c.MaxStale {
			w.raw("<mbms2007:max-stale>true</mbms2007:max-stale>")
		}
		if c.Expires != 0 {
			w.raw("<mbms2007:Expires>" + strconv.FormatUint(uint64(c.Expires), 10) + "</mbms2007:Expires>")
		}
		w.raw("</mbms2007:Cache-Control>\n")
	}
	w.delimiter(in)
	// Those of set 1 come first.
	alternates := slices.Clone(f.AlternateLocations)
	slices.SortStableFunc(alternates, func(a, b AlternateLocation) int { return cmp.Compare(a.Set, b.Set) })
	for _, alt := range alternates {
		element := "mbms2012:Alternate-Content-Location-" + strconv.Itoa(int(alt.Set))
		w.raw("<" + element)
		if !alt.Until.IsZero() {
			w.attr("Availability-Time", alt.Until.UTC().Format(time.RFC3339Nano))
		}
		w.raw(">\n")
		for _, url := range alt.URLs {
			w.element("mbms2012:Alternate-Content-Location", url)
		}
		w.raw("</" + element + ">\n")
	}
	w.delimiter(in)
	w.extensionElements(f, strings.TrimSuffix(name, "File"))
	w.raw("</" + name + ">\n")
}

func (w *writer) fec(f *FEC) {
	if f.HasEncodingID {
		w.uint("FEC-OTI-FEC-Encoding-ID", uint64(f.EncodingID))
	}
	w.optionalUint("FEC-OTI-FEC-Instance-ID", uint64(f.InstanceID))
	w.optionalUint("FEC-OTI-Maximum-Source-Block-Length", uint64(f.MaxSourceBlockLength))
	w.optionalUint("FEC-OTI-Encoding-Symbol-Length", uint64(f.EncodingSymbolLength))
	w.optionalUint("FEC-OTI-Max-Number-of-Encoding-Symbols", uint64(f.MaxEncodingSymbols))
	w.optional("FEC-OTI-Scheme-Specific-Info", base64.StdEncoding.EncodeToString(f.SchemeSpecific))
}

func (w *writer) lists(appContextIDs []string, filterCodes []uint32) {
	for _, id := range appContextIDs {
		if len(strings.Fields(id)) != 1 || strings.TrimSpace(id) != id {
			w.err = fmt.Errorf("%w: appContextId %q", ErrIncomplete, id)
		}
	}
	w.optional("afdt:appContextIdList", strings.Join(appContextIDs, " "))
	var codes []string
	for _, c := range filterCodes {
		codes = append(codes, strconv.FormatUint(uint64(c), 10))
	}
	w.optional("afdt:filterCodes", strings.Join(codes, " "))
}

func (w *writer) raw(s string) { w.b = append(w.b, s...) }

func (w *writer) attr(name, value string) {
	w.raw(" " + name + `="`)
	w.escape(value)
	w.raw(`"`)
}

func (w *writer) optional(name, value string) {
	if value != "" {
		w.attr(name, value)
	}
}

func (w *writer) uint(name string, v uint64) {
	w.attr(name, strconv.FormatUint(v, 10))
}

func (w *writer) optionalUint(name string, v uint64) {
	if v != 0 {
		w.uint(name, v)
	}
}

func (w *writer) flag(name string, v bool) {
	if v {
		w.attr(name, "true")
	}
}

func (w *writer) element(name, text string) {
	if text == "" {
		return
	}
	w.raw("<" + name + ">")
	w.escape(text)
	w.raw("</" + name + ">\n")
}

// escape appends s. White space other than the blank is written as references,
// since a reader would turn it into blanks.
func (w *writer) escape(s string) {
	for _, r := range s {
		switch r {
		case '&':
			w.raw("&amp;")
		case '<':
			w.raw("&lt;")
		case '>':
			w.raw("&gt;")
		case '"':
			w.raw("&quot;")
		case '\t':
			w.raw("&#9;")
		case '\n':
			w.raw("&#10;")
		case '\r':
			w.raw("&#13;")
		default:
			if r < 0x20 || r == 0xfffe || r == 0xffff {
				w.err = fmt.Errorf("%w: XML has no character %U", ErrIncomplete, r)
			}
			w.b = utf8.AppendRune(w.b, r)
		}
	}
	if !utf8.ValidString(s) {
		w.err = fmt.Errorf("%w: %q is not UTF-8", ErrIncomplete, s)
	}
}
