package inspect

import (
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/gunzip"
	"github.com/treedn/treedn/route/entity"
	"github.com/treedn/treedn/route/sls"
)

// format says what kind of delivery object of ROUTE an object is, by its codepoint (RFC 9223, table 2).
func (o *object) format() uint8 {
	if o.ch.protocol != routing {
		return sls.FormatFile
	}
	p, ok := sls.BuiltinPayload(o.codepoint)
	if f := o.ch.flow; f != nil && f.SrcFlow != nil {
		p, ok = f.SrcFlow.Payload(o.codepoint)
	}
	if !ok {
		return sls.FormatFile
	}
	return p.FormatID
}

// entity takes the name and the body out of an object of Entity Mode, which carries its own header. One that has none is
// taken for a file.
func (o *object) entity() {
	if o.format() != sls.FormatEntity || o.isInstance() {
		return
	}
	b := o.body()
	h, n, err := entity.ParseHeader(b)
	if err != nil {
		return
	}
	d := h.Decoder()
	body := []byte{}
	for b = b[n:]; len(b) > 0; b = b[n:] {
		var data []byte
		if data, n, err = d.Next(b); err != nil || n == 0 {
			return
		}
		body = append(body, data...)
	}
	o.content = body
	if name := h.Get("Content-Location"); name != "" {
		o.file = &fdt.File{
			TOI: o.key.toi, ContentLocation: name, ContentType: h.Get("Content-Type"), ContentEncoding: h.Get("Content-Encoding"),
		}
	}
}

// unpack takes a package apart, which may be signed. Nobody checks the signature.
func unpack(b []byte) (sls.Package, error) {
	if gunzip.Is(b) {
		inflated, err := gunzip.Limits{}.Inflate(b)
		if err != nil {
			return sls.Package{}, err
		}
		b = inflated
	}
	if s, err := entity.ParseSigned(b); err == nil {
		b = s.Content
	}
	return sls.ParsePackage(b)
}

// parts returns the parts of an object that is a package.
func (o *object) parts(body []byte) []sls.Part {
	if o.ch.protocol != routing || o.isInstance() {
		return nil
	}
	if f := o.format(); f != sls.FormatPackage && f != sls.FormatSignedPackage && o.ch.tsi != 0 {
		return nil
	}
	p, err := unpack(body)
	if err != nil {
		return nil // of the signalling an event has told it
	}
	return p.Parts
}
