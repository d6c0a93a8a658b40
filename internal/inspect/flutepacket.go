package inspect

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"errors"
	"fmt"
	"io"

	"github.com/treedn/treedn/fec"
	fecobject "github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/flute/gunzip"
	"github.com/treedn/treedn/flute/lct"
)

// takeFLUTE handles what follows the header, which is in Inspector.hdr.
func (ch *channel) takeFLUTE(b []byte) {
	h := &ch.s.in.hdr
	scheme := fec.EncodingID(h.Codepoint) // RFC 6726 section 5
	n := scheme.PayloadIDLen()
	if n == 0 { // the diagnosis says so
		scheme, n = fec.CompactNoCode, fec.CompactNoCode.PayloadIDLen()
	}
	if !h.HasTOI || len(b) < n {
		return
	}
	id, err := fec.ParsePayloadID(scheme, b)
	if err != nil {
		return
	}
	key := objectKey{toi: h.TOI}
	x, instance := h.Extensions.FDT()
	if h.TOI == 0 {
		if !instance {
			ch.unmarked++
			return
		}
		key.instance = x.InstanceID + 1
	}
	o := ch.find(key)
	ch.began = ch.began || id == (fec.PayloadID{}) && h.TOI != 0
	for range 2 {
		if ch.placeFLUTE(o, scheme, id, b[n:]) == nil {
			ch.finish(o)
			return
		}
		o = ch.replace(o)
	}
}

func (ch *channel) placeFLUTE(o *object, scheme fec.EncodingID, id fec.PayloadID, payload []byte) error {
	h := &ch.s.in.hdr
	if x, ok := h.Extensions.CENC(); ok {
		o.cenc = x
	}
	if body, ok := h.Extensions.FTI(); ok {
		if info, err := fec.ParseObjectFTI(scheme, raptorFTI(scheme, body)); err == nil {
			if err := o.configure(info); err != nil {
				return err
			}
		}
	}
	if !o.hasInfo {
		o.configureFromFile(scheme)
	}
	if !o.hasInfo {
		o.keepEarly(id, payload)
		if key := o.key; key.instance > 0 && id == (fec.PayloadID{}) && bytes.HasSuffix(bytes.TrimSpace(payload), []byte("FDT-Instance>")) {
			return o.guess(scheme, uint64(len(payload))) // one packet without EXT_FTI, which it should have
		}
		return nil
	}
	if o.info.ID != scheme {
		ch.otherFEC++
		return nil
	}
	return o.put(id, payload)
}

// raptorFTI puts the EXT_FTI of Raptor right where a sender gives it the form of RaptorQ, as ypo/flute does: a length of
// 40 bits instead of 48, so that the symbol length stands where there are zeros (RFC 5053, 3.2.2 and 3.2.3).
func raptorFTI(scheme fec.EncodingID, b []byte) []byte {
	if scheme != fec.Raptor || len(b) < 14 || b[6]|b[7] == 0 {
		return b
	}
	out := append([]byte{0}, b[:5]...)
	return append(append(out, 0, 0), b[6:12]...)
}

// configure takes the FEC Object Transmission Information.
func (o *object) configure(info fec.ObjectInfo) error {
	if o.hasInfo {
		if info.TransferLength != o.info.TransferLength || info.SymbolSize != o.info.SymbolSize || info.ID != o.info.ID {
			return errConflict
		}
		return nil
	}
	if info.TransferLength > maxObject {
		return nil
	}
	if err := o.setLength(int64(info.TransferLength), true); err != nil {
		return err
	}
	o.info, o.hasInfo = info, true
	o.ch.s.protects(info.ID.String())
	early := o.waiting
	o.waiting = nil
	for _, s := range early {
		if err := o.put(s.id, s.data); err != nil {
			return err
		}
	}
	return nil
}

// configureFromFile takes the FEC attributes of the FDT. Without a scheme of its own a file has that of its packets.
func (o *object) configureFromFile(scheme fec.EncodingID) {
	if o.file == nil || o.hasInfo {
		return
	}
	length, known := o.file.Length()
	if !known || o.file.FEC.EncodingSymbolLength == 0 {
		return
	}
	attributes := o.file.FEC
	if !attributes.HasEncodingID {
		attributes.EncodingID = uint8(scheme)
	}
	if info, err := attributes.Info(length); err == nil {
		// Octets that came before it were not placed, so that nothing can contradict.
		_ = o.configure(info)
	}
}

// guess makes up for FEC Object Transmission Information that never came: of an object without FEC whose length is known,
// symbols are as long as the longest that came.
func (o *object) guess(scheme fec.EncodingID, length uint64) error {
	if scheme != fec.CompactNoCode || o.hasInfo || length > maxObject {
		return nil
	}
	info := fec.ObjectInfo{ID: scheme, TransferLength: length, MaxBlock: 1 << 16}
	for _, s := range o.waiting {
		if s.id.SBN != 0 {
			return nil // nothing tells how long blocks are
		}
		info.SymbolSize = max(info.SymbolSize, uint16(min(len(s.data), 1<<16-1)))
	}
	if info.Validate() != nil {
		return nil
	}
	return o.configure(info)
}

// guessAll does so for all objects of the session that have a description.
func (s *session) guessAll() {
	for _, ch := range s.sortedChannels() {
		for _, o := range ch.sortedObjects() {
			if ch.protocol != flute || o.hasInfo || o.file == nil || len(o.waiting) == 0 {
				continue
			}
			if n, ok := o.file.Length(); ok && o.guess(fec.EncodingID(o.codepoint), n) == nil {
				ch.finish(o)
			}
		}
	}
}

// maxEarly bounds the packets of an object that wait for a description, in octets.
const maxEarly = 64 << 20

// keepEarly keeps symbols that cannot be placed yet.
func (o *object) keepEarly(id fec.PayloadID, payload []byte) {
	if int64(len(o.waiting)+1)*int64(len(payload)) > min(maxEarly, o.ch.s.in.cfg.MaxMemory/4) {
		return
	}
	o.waiting = append(o.waiting, symbols{id, bytes.Clone(payload)})
}

// put places source symbols, and gives all symbols to the decoder if there is one.
func (o *object) put(id fec.PayloadID, payload []byte) error {
	k, offset, length := o.info.Block(id.SBN)
	if k == 0 {
		return nil
	}
	// Symbols of several sub-blocks are woven together, and groups of LDPC lie apart: only a decoder knows where they
	// belong.
	direct := o.info.SubBlocks <= 1 && (o.info.ID != fec.LDPCStaircase || o.info.GroupSize() == 1)
	if int(id.ESI) >= k {
		o.ch.repair++
		o.ch.s.counts.Repair++
		o.ch.s.in.total.Repair++
	}
	if direct && int(id.ESI) < k {
		start := uint64(id.ESI) * uint64(o.info.SymbolSize)
		if room := length - start; uint64(len(payload)) > room {
			payload = payload[:room]
		}
		if _, err := o.store(int64(offset+start), payload); err != nil {
			return err
		}
	}
	if o.info.ID == fec.CompactNoCode || o.complete || o.dropped || o.whole() {
		return nil
	}
	o.decode(id, payload)
	return nil
}

// maxDecoding bounds what one decoder may take, in octets.
const maxDecoding = 128 << 20

func (o *object) decode(id fec.PayloadID, payload []byte) {
	if o.decoder == nil {
		d, err := o.ch.s.in.codec.NewDecoder(o.info, recoverer{o}, fecobject.DecoderConfig{MaxMemory: maxDecoding})
		if err != nil {
			return
		}
		o.decoder = d
	}
	if t := int(o.info.SymbolSize); len(payload)%t != 0 {
		payload = append(bytes.Clone(payload), make([]byte, t-len(payload)%t)...) // the last symbol may be short
	}
	_, _ = o.decoder.Add(id, payload) // what does not fit is of no use
}

// recoverer takes what a decoder finds.
type recoverer struct{ o *object }

func (r recoverer) WriteAt(b []byte, off int64) (int, error) {
	before := r.o.held.Total()
	if _, err := r.o.store(off, b); err != nil {
		return 0, err
	}
	r.o.recovered += r.o.held.Total() - before
	return len(b), nil
}

var errEncoding = errors.New("inspect: unknown content encoding")

// decoded undoes a content encoding, within bounds.
func decoded(b []byte, encoding string) ([]byte, error) {
	limit := int64(min(64<<20, max(1<<20, 200*len(b))))
	var r io.Reader
	switch encoding {
	case "", "null", "identity":
		return b, nil
	case "gzip":
		return gunzip.Limits{Octets: int(limit)}.Inflate(b)
	case "deflate", "zlib":
		// HTTP means zlib by deflate; many send the bare form.
		z, err := zlib.NewReader(bytes.NewReader(b))
		if err != nil {
			r = flate.NewReader(bytes.NewReader(b))
		} else {
			r = z
		}
	default:
		return nil, fmt.Errorf("%w %.40q", errEncoding, encoding)
	}
	out, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(out)) > limit {
		err = gunzip.ErrSize
	}
	return out, err
}

// encodingOf names what EXT_CENC says.
func encodingOf(c lct.CENC) string {
	switch c {
	case lct.CENCZLIB:
		return "zlib"
	case lct.CENCDeflate:
		return "deflate"
	case lct.CENCGzip:
		return "gzip"
	}
	return ""
}
