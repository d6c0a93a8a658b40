package flute

import (
	"bytes"

	"github.com/treedn/treedn/fec"
)

// learn takes the FEC Object Transmission Information from the packet in r.pkt or from the description.
func (r *Receiver) learn(o *Object) error {
	p := &r.pkt
	if p.Scheme != o.scheme {
		return errScheme
	}
	if len(p.Extensions) > 0 {
		if body, ok := p.Extensions.FTI(); ok {
			if o.hasInfo && bytes.Equal(body, o.fti) {
				return nil
			}
			info, err := fec.ParseObjectFTI(p.Scheme, body)
			if err != nil {
				return &RejectError{Reason: RejectFTI, text: "EXT_FTI", cause: err}
			}
			if o.hasInfo {
				err = sameInfo(&info, &o.info)
			} else {
				err = o.configure(info)
			}
			if err != nil {
				return err
			}
			o.fti = append(o.fti[:0], body...)
		}
	}
	switch {
	case o.hasInfo:
		return nil
	case o.kind == kindInstance:
		return errNoFTI
	}
	return o.learnFromEntry()
}

// sameInfo tells whether an EXT_FTI agrees with what is known: it does if it cuts the object in the same way.
func sameInfo(a, b *fec.ObjectInfo) error {
	if a.ID != b.ID || a.TransferLength != b.TransferLength || a.SymbolSize != b.SymbolSize || a.MaxBlock != b.MaxBlock ||
		a.MaxSymbols != b.MaxSymbols || a.SourceBlocks != b.SourceBlocks || a.SubBlocks != b.SubBlocks ||
		a.Alignment != b.Alignment || a.Group != b.Group || a.N1m3 != b.N1m3 || a.Seed != b.Seed || a.Instance != b.Instance {
		return errFTIs
	}
	return nil
}

// learnFromEntry takes the attributes of the FDT. What they lack may still come in an EXT_FTI.
func (o *Object) learnFromEntry() error {
	if o.entry == nil || o.hasInfo {
		return nil
	}
	f := &o.entry.File
	length, known := f.Length()
	if !known || f.FEC.EncodingSymbolLength == 0 {
		return nil
	}
	attributes := f.FEC
	if !attributes.HasEncodingID {
		attributes.EncodingID = uint8(o.scheme)
	}
	if fec.EncodingID(attributes.EncodingID) != o.scheme {
		return errScheme
	}
	info, err := attributes.Info(length)
	if err != nil {
		return &RejectError{Reason: RejectFTI, text: "FEC attributes of the FDT", cause: err}
	}
	return o.configure(info)
}
