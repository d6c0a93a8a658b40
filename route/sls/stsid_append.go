package sls

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/treedn/treedn/flute/fdt"
)

// ErrIncomplete matches the errors of Append about a value that lacks what the
// standards require, or contradicts itself.
var ErrIncomplete = errors.New("sls: incomplete")

// Append appends the S-TSID as an XML document.
//
// GPAC refuses a whole S-TSID for one LS without SrcFlow or a SrcFlow without
// EFDT, both of which are legal. A repair flow that GPAC shall put up with has to
// share the LS of its source flow.
func (s *STSID) Append(b []byte) ([]byte, error) {
	var w writer
	w.raw(`<?xml version="1.0" encoding="UTF-8"?>` + "\n<S-TSID")
	w.attr("xmlns", NamespaceSTSID)
	w.raw(">\n")
	w.require(len(s.RS) > 0, "S-TSID without RS")
	for i := range s.RS {
		w.rs(&s.RS[i])
	}
	w.raw("</S-TSID>\n")
	if w.err != nil {
		return b, w.err
	}
	return append(b, w.buf.Bytes()...), nil
}

// A writer builds XML and remembers the first error.
type writer struct {
	buf bytes.Buffer
	err error
}

func (w *writer) rs(rs *RS) {
	w.raw("<RS")
	w.addr("sIpAddr", rs.Source)
	w.addr("dIpAddr", rs.Destination)
	w.optional("dPort", uint64(rs.Port))
	w.raw(">\n")
	w.require(len(rs.LS) > 0, "RS without LS")
	seen := make(map[uint32]bool, len(rs.LS))
	for i := range rs.LS {
		ls := &rs.LS[i]
		w.require(ls.TSI != 0, "LS with TSI 0, which is the signalling's")
		w.require(!seen[ls.TSI], "two LS with one TSI")
		seen[ls.TSI] = true
		w.ls(ls)
	}
	w.raw("</RS>\n")
}

func (w *writer) ls(ls *LS) {
	w.raw("<LS")
	w.uint("tsi", uint64(ls.TSI))
	w.optional("bw", uint64(ls.Bandwidth))
	w.time("startTime", ls.Start)
	w.time("endTime", ls.End)
	w.raw(">\n")
	if ls.SrcFlow != nil {
		w.srcFlow(ls.SrcFlow)
	}
	if ls.RepairFlow != nil {
		w.repairFlow(ls.RepairFlow)
	}
	w.raw("</LS>\n")
}

func (w *writer) srcFlow(s *SrcFlow) {
	w.raw("<SrcFlow")
	w.attr("rt", strconv.FormatBool(s.RealTime))
	w.optional("minBuffSize", uint64(s.MinBufferSize))
	w.raw(">\n")
	if s.EFDT != nil {
		w.raw("<EFDT>\n")
		b, err := s.EFDT.AppendEmbedded(w.buf.AvailableBuffer())
		w.buf.Write(b)
		w.fail(err)
		w.raw("</EFDT>\n")
	}
	switch {
	case s.Media != nil:
		w.require(len(s.AEAs) == 0, "MediaInfo beside AEAMedia")
		w.media(s.Media)
	case len(s.AEAs) > 0:
		w.raw("<ContentInfo><AEAMedia>")
		for _, id := range s.AEAs {
			w.raw("<AEAId>")
			w.escape(id)
			w.raw("</AEAId>")
		}
		w.raw("</AEAMedia></ContentInfo>\n")
	}
	for i := range s.Payloads {
		w.payload(&s.Payloads[i])
	}
	w.raw("</SrcFlow>\n")
}

func (w *writer) media(m *MediaInfo) {
	w.require(m.RepID != "", "MediaInfo without repId")
	w.raw("<ContentInfo><MediaInfo")
	if m.Startup {
		w.attr("startup", "true")
	}
	w.text("xml:lang", m.Lang)
	w.text("contentType", m.ContentType)
	w.attr("repId", m.RepID)
	w.raw(">")
	for _, r := range m.Ratings {
		w.raw("<ContentRating")
		w.text("schemeIdUri", r.Scheme)
		w.text("value", r.Value)
		w.raw("/>")
	}
	w.raw("</MediaInfo></ContentInfo>\n")
}

func (w *writer) payload(p *Payload) {
	w.require(p.FormatID >= FormatFile && p.FormatID <= FormatSignedPackage, "Payload without a formatId of the standard")
	w.require(p.Frag <= 2, "Payload with a reserved frag")
	w.raw("<Payload")
	w.uint("codePoint", uint64(p.Codepoint))
	w.uint("formatId", uint64(p.FormatID))
	w.uint("frag", uint64(p.Frag))
	w.attr("order", strconv.FormatBool(p.Order))
	w.uint("srcFecPayloadId", uint64(p.SrcFECPayloadID))
	w.text("fecParams", hex.EncodeToString(p.FECParams))
	w.raw("/>\n")
}

func (w *writer) repairFlow(r *RepairFlow) {
	w.require(r.Overhead <= 1000, "overhead of more than 1000 %")
	w.raw("<RepairFlow><FECParameters")
	w.optional("maximumDelay", uint64(r.MaximumDelay))
	w.optional("overhead", uint64(r.Overhead))
	w.optional("minBuffSize", uint64(r.MinBufferSize))
	if r.HasOTI {
		w.attr("fecOTI", hex.EncodeToString(r.OTI[:]))
	}
	if r.GrowingTSI != 0 {
		w.attr("xmlns:treedn", fdt.NamespaceTreeDN)
		w.uint("treedn:growingTSI", uint64(r.GrowingTSI))
		w.optional("treedn:growingDelay", uint64(r.GrowingDelay))
	}
	w.raw(">\n")
	for i := range r.Protected {
		p := &r.Protected[i]
		w.raw("<ProtectedObject")
		w.text("sessionDescription", p.Session)
		w.uint("tsi", uint64(p.TSI))
		w.optional("fecTransportObjectSize", p.ObjectSize)
		w.raw(">")
		for _, m := range p.SourceTOIs {
			w.raw("<SourceTOI")
			w.uint("x", m.X)
			w.uint("y", m.Y)
			w.raw("/>")
		}
		w.raw("</ProtectedObject>\n")
	}
	w.raw("</FECParameters></RepairFlow>\n")
}

func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *writer) require(ok bool, otherwise string) {
	if !ok {
		w.fail(fmt.Errorf("%w: %s", ErrIncomplete, otherwise))
	}
}

func (w *writer) raw(s string) { w.buf.WriteString(s) }

func (w *writer) attr(name, value string) {
	w.raw(" " + name + `="`)
	w.escape(value)
	w.raw(`"`)
}

func (w *writer) text(name, value string) {
	if value != "" {
		w.attr(name, value)
	}
}

func (w *writer) uint(name string, v uint64) { w.attr(name, strconv.FormatUint(v, 10)) }

func (w *writer) optional(name string, v uint64) {
	if v != 0 {
		w.uint(name, v)
	}
}

func (w *writer) addr(name string, a netip.Addr) {
	if a.IsValid() {
		w.require(a.Zone() == "", "address with a zone")
		w.attr(name, a.Unmap().String())
	}
}

func (w *writer) time(name string, t time.Time) {
	if !t.IsZero() {
		w.attr(name, t.UTC().Format(time.RFC3339Nano))
	}
}

func (w *writer) escape(s string) {
	w.require(isXML(s), "text that XML cannot hold")
	w.fail(xml.EscapeText(&w.buf, []byte(s)))
}

func isXML(s string) bool {
	for _, r := range s {
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
			return false
		}
	}
	return utf8.ValidString(s)
}
