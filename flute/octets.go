package flute

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/treedn/treedn/flute/reassembly"
)

// A Store keeps the octets of an object elsewhere than in memory, as an *os.File does. Each octet is written once; what
// was written is read for comparison with repeats, for FEC, for the digest and by the caller, also from other goroutines
// while other octets are written.
type Store interface {
	io.ReaderAt
	io.WriterAt
}

// octets are those of an object, in memory or in a Store.
type octets struct {
	mem   reassembly.Buffer
	store Store
}

// clone returns octets that may be read on another goroutine, as far as they are held.
func (s *octets) clone() octets { return octets{mem: s.mem.Clone(), store: s.store} }

// read fills p with octets that are held.
func (s *octets) read(p []byte, off int64) error {
	if s.store == nil {
		s.mem.ReadAt(p, off)
		return nil
	}
	n, err := s.store.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// snapshot reads octets that nobody changes any more.
type snapshot struct {
	data     *octets
	off, end int64
}

func (s *snapshot) Read(p []byte) (int, error) {
	p = p[:min(int64(len(p)), s.end-s.off)]
	if len(p) == 0 {
		return 0, io.EOF
	}
	if s.data.store == nil {
		p = p[:min(len(p), len(s.data.mem.Bytes(s.off, s.end)))]
	}
	if err := s.data.read(p, s.off); err != nil {
		return 0, err
	}
	s.off += int64(len(p))
	return len(p), nil
}

// ErrStore matches the errors of an object whose Store failed.
var ErrStore = errors.New("flute: store failed")

// settleStore asks for a Store as soon as it is known what the object is, and moves what came before.
func (o *Object) settleStore() {
	if o.r.cfg.Store == nil || o.kind != kindFile || !o.hasInfo || o.asked || o.full() {
		return
	}
	o.asked = true
	if o.data.store = o.r.cfg.Store(o); o.data.store == nil {
		return
	}
	for _, h := range o.held.All() {
		for off := h.Start; off < h.End; {
			b := o.data.mem.Bytes(off, h.End)
			if !o.put(b, off) {
				return
			}
			off += int64(len(b))
		}
	}
	o.data.mem.Release(o.r.pool, o.busy > 0)
}

// put writes to the Store.
func (o *Object) put(p []byte, off int64) bool {
	if o.broken == nil {
		if _, err := o.data.store.WriteAt(p, off); err != nil {
			o.broken = fmt.Errorf("%w: %w", ErrStore, err)
		}
	}
	return o.broken == nil
}

// agrees tells whether held octets are those of p.
func (o *Object) agrees(off int64, p []byte) bool {
	end := off + int64(len(p))
	for x := off; ; {
		h, ok := o.held.Next(x, end)
		if !ok {
			return true
		}
		for x = h.Start; x < h.End; {
			b := o.data.mem.Bytes(x, h.End)
			if o.data.store != nil {
				o.r.scratch = append(o.r.scratch[:0], make([]byte, h.End-x)...)
				b = o.r.scratch
				if o.data.read(b, x) != nil {
					return false
				}
			}
			if len(b) == 0 || !bytes.Equal(b, p[x-off:x-off+int64(len(b))]) {
				return false
			}
			x += int64(len(b))
		}
	}
}

// checkStore gives an object up whose Store failed.
func (r *Receiver) checkStore(now time.Time, o *Object) bool {
	if o.broken == nil || o.released {
		return o.broken == nil
	}
	r.lose(now, o, o.broken)
	return false
}
