package sls

import (
	"encoding/hex"
	"errors"

	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/xsd"
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
	w := stsidWriter{xsd.NewWriter(ErrIncomplete)}
	w.Raw("<S-TSID")
	w.Attr("xmlns", NamespaceSTSID)
	w.Raw(">\n")
	w.Require(len(s.RS) > 0, "S-TSID without RS")
	for i := range s.RS {
		w.rs(&s.RS[i])
	}
	w.Raw("</S-TSID>\n")
	return w.AppendTo(b)
}

type stsidWriter struct{ *xsd.Writer }

func (w *stsidWriter) rs(rs *RS) {
	w.Raw("<RS")
	w.Addr("sIpAddr", rs.Source)
	w.Addr("dIpAddr", rs.Destination)
	w.OptionalUint("dPort", uint64(rs.Port))
	w.Raw(">\n")
	w.Require(len(rs.LS) > 0, "RS without LS")
	seen := make(map[uint32]bool, len(rs.LS))
	for i := range rs.LS {
		ls := &rs.LS[i]
		w.Require(ls.TSI != 0, "LS with TSI 0, which is the signalling's")
		w.Require(!seen[ls.TSI], "two LS with one TSI")
		seen[ls.TSI] = true
		w.ls(ls)
	}
	w.Raw("</RS>\n")
}

func (w *stsidWriter) ls(ls *LS) {
	w.Raw("<LS")
	w.Uint("tsi", uint64(ls.TSI))
	w.OptionalUint("bw", uint64(ls.Bandwidth))
	w.Time("startTime", ls.Start)
	w.Time("endTime", ls.End)
	w.Raw(">\n")
	if ls.SrcFlow != nil {
		w.srcFlow(ls.SrcFlow)
	}
	if ls.RepairFlow != nil {
		w.repairFlow(ls.RepairFlow)
	}
	w.Raw("</LS>\n")
}

func (w *stsidWriter) srcFlow(s *SrcFlow) {
	w.Raw("<SrcFlow")
	w.Bool("rt", s.RealTime)
	w.OptionalUint("minBuffSize", uint64(s.MinBufferSize))
	w.Raw(">\n")
	if s.EFDT != nil {
		w.Raw("<EFDT>\n")
		w.Append(s.EFDT.AppendEmbedded)
		w.Raw("</EFDT>\n")
	}
	switch {
	case s.Media != nil:
		w.Require(len(s.AEAs) == 0, "MediaInfo beside AEAMedia")
		w.media(s.Media)
	case len(s.AEAs) > 0:
		w.Raw("<ContentInfo><AEAMedia>")
		for _, id := range s.AEAs {
			w.Raw("<AEAId>")
			w.Text(id)
			w.Raw("</AEAId>")
		}
		w.Raw("</AEAMedia></ContentInfo>\n")
	}
	for i := range s.Payloads {
		w.payload(&s.Payloads[i])
	}
	w.Raw("</SrcFlow>\n")
}

func (w *stsidWriter) media(m *MediaInfo) {
	w.Require(m.RepID != "", "MediaInfo without repId")
	w.Raw("<ContentInfo><MediaInfo")
	if m.Startup {
		w.Attr("startup", "true")
	}
	w.Optional("xml:lang", m.Lang)
	w.Optional("contentType", m.ContentType)
	w.Attr("repId", m.RepID)
	w.Raw(">")
	for _, r := range m.Ratings {
		w.Raw("<ContentRating")
		w.Optional("schemeIdUri", r.Scheme)
		w.Optional("value", r.Value)
		w.Raw("/>")
	}
	w.Raw("</MediaInfo></ContentInfo>\n")
}

func (w *stsidWriter) payload(p *Payload) {
	w.Require(p.FormatID >= FormatFile && p.FormatID <= FormatSignedPackage, "Payload without a formatId of the standard")
	w.Require(p.Frag <= 2, "Payload with a reserved frag")
	w.Raw("<Payload")
	w.Uint("codePoint", uint64(p.Codepoint))
	w.Uint("formatId", uint64(p.FormatID))
	w.Uint("frag", uint64(p.Frag))
	w.Bool("order", p.Order)
	w.Uint("srcFecPayloadId", uint64(p.SrcFECPayloadID))
	w.Optional("fecParams", hex.EncodeToString(p.FECParams))
	w.Raw("/>\n")
}

func (w *stsidWriter) repairFlow(r *RepairFlow) {
	w.Require(r.Overhead <= 1000, "overhead of more than 1000 percent")
	w.Raw("<RepairFlow><FECParameters")
	w.OptionalUint("maximumDelay", uint64(r.MaximumDelay))
	w.OptionalUint("overhead", uint64(r.Overhead))
	w.OptionalUint("minBuffSize", uint64(r.MinBufferSize))
	if r.HasOTI {
		w.Attr("fecOTI", hex.EncodeToString(r.OTI[:]))
	}
	if r.GrowingTSI != 0 {
		w.Attr("xmlns:treedn", fdt.NamespaceTreeDN)
		w.Uint("treedn:growingTSI", uint64(r.GrowingTSI))
		w.OptionalUint("treedn:growingDelay", uint64(r.GrowingDelay))
	}
	w.Raw(">\n")
	for i := range r.Protected {
		p := &r.Protected[i]
		w.Raw("<ProtectedObject")
		w.Optional("sessionDescription", p.Session)
		w.Uint("tsi", uint64(p.TSI))
		w.OptionalUint("fecTransportObjectSize", p.ObjectSize)
		w.OptionalUint("percentRepair", uint64(p.PercentRepair))
		w.List("checksumList", p.Checksums)
		w.Raw(">")
		for _, m := range p.SourceTOIs {
			w.Raw("<SourceTOI")
			w.Uint("x", m.X)
			w.Uint("y", m.Y)
			w.Raw("/>")
		}
		w.Raw("</ProtectedObject>\n")
	}
	w.Raw("</FECParameters></RepairFlow>\n")
}
