package route

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/treedn/treedn/route/entity"
	"github.com/treedn/treedn/route/sls"
)

// ErrNoEntity is returned for the body of an object that is not of Entity Mode, or that Unpack did not look at.
var ErrNoEntity = errors.New("route: object is no entity")

// errPackage is a fault.
var errPackage = errors.New("route: package exceeds MaxPackage")

// Header is the header of an object of Entity Mode, nil until all of it has come. See ReceiverConfig.Unpack.
func (o *Object) Header() *entity.Header { return o.header }

// findHeader looks for the header of an entity in the prefix.
func (r *Receiver) findHeader(o *Object) {
	prefix := o.held.Prefix()
	if o.header != nil || o.headless || prefix == 0 || o.format != sls.FormatEntity || !r.cfg.Unpack {
		return
	}
	n := min(prefix, entity.MaxHeader+1)
	b := o.data.Bytes(0, n)
	if int64(len(b)) < n {
		b = make([]byte, n)
		o.data.ReadAt(b, 0)
	}
	h, length, err := entity.ParseHeader(b)
	switch {
	case err == nil:
		o.header, o.bodyAt = &h, int64(length)
		if o.kind == kindBare {
			o.name, o.contentType = h.Get("Content-Location"), h.Get("Content-Type")
			if len(o.name) > maxName {
				o.name = ""
				r.fault(o.ch, faultEntity, o.key, ErrName)
			}
		}
	case errors.Is(err, io.ErrUnexpectedEOF) && !o.complete:
		return
	default:
		o.headless = true
		r.fault(o.ch, faultEntity, o.key, err)
	}
	r.start(o)
}

// start reports an object that waited for its header.
func (r *Receiver) start(o *Object) {
	if o.unstarted {
		o.unstarted = false
		r.events.push(Event{Kind: Started, Object: o})
	}
}

// unpack takes a complete package apart.
func (r *Receiver) unpack(now time.Time, o *Object) {
	if !r.cfg.Unpack || o.format != sls.FormatPackage && o.format != sls.FormatSignedPackage {
		return
	}
	if o.length > r.cfg.MaxPackage || !r.reads.allow(now, maxReadings) {
		r.fault(o.ch, faultEntity, o.key, errPackage)
		return
	}
	body := make([]byte, o.length)
	o.data.ReadAt(body, 0)
	pkg, err := r.openPackage(o.format, body, int(r.cfg.MaxPackage))
	if err != nil {
		r.badSignalling(o, err)
		return
	}
	for _, part := range pkg.Parts {
		if len(part.Location) > maxName {
			r.badSignalling(o, ErrName)
			continue
		}
		r.events.push(Event{Kind: Unpacked, Object: o, Part: part})
	}
}

// openPackage reads a package, signed or not.
func (r *Receiver) openPackage(format uint8, body []byte, limit int) (sls.Package, error) {
	if format == sls.FormatSignedPackage {
		signed, err := entity.ParseSigned(body)
		if err != nil {
			return sls.Package{}, err
		}
		if verify := r.cfg.VerifyPackage; verify != nil {
			if err := verify(signed); err != nil {
				return sls.Package{}, fmt.Errorf("route: signed package: %w", err)
			}
		}
		body = signed.Content
	}
	return sls.Limits{Octets: limit}.ParsePackage(body)
}

// Body reads the body of an object of Entity Mode, as far as it has come, without its chunks.
type Body struct {
	o   *Object
	d   *entity.Decoder
	off int64
}

// Body returns a reader of the body. The error is ErrNotHeld until the header has come.
func (o *Object) Body() (*Body, error) {
	switch {
	case o.header != nil:
		return &Body{o: o, d: o.header.Decoder(), off: o.bodyAt}, nil
	case o.format != sls.FormatEntity || o.headless || !o.r.cfg.Unpack:
		return nil, ErrNoEntity
	}
	return nil, ErrNotHeld
}

// Decoder gives access to the extensions of chunks and to the trailer.
func (b *Body) Decoder() *entity.Decoder { return b.d }

// Next returns the next octets of the body, which are those of the object's memory: see Object.Bytes. The error is
// ErrNotHeld where octets have not arrived, io.EOF at the end, and one of package entity for a malformed body. Octets that
// Reject takes back are not noticed.
func (b *Body) Next() ([]byte, error) {
	for !b.d.Done() {
		p := b.o.Bytes(b.off)
		if len(p) == 0 {
			if b.o.length < 0 || b.off < b.o.length {
				return nil, ErrNotHeld
			}
			if b.o.header.Chunked || b.o.header.Length >= 0 {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, io.EOF
		}
		data, n, err := b.d.Next(p)
		if err != nil {
			return nil, err
		}
		b.off += int64(n)
		if len(data) > 0 {
			return data, nil
		}
	}
	return nil, io.EOF
}
