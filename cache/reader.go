package cache

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/treedn/treedn/cache/chunked"
)

// Reader reads an object from an offset on and follows its growth. It holds
// what it reads: replacement and eviction do not disturb it. Apart from ReadAt
// it is for one goroutine. Close releases it.
type Reader struct {
	ctx  context.Context
	obj  *Object
	off  int64
	body *body // nil: file is read
	stop func() bool
	file *openFile
	buf  *[diskBuffer]byte
	part []byte // of buf: the octets of file from pOff on
	pOff int64
}

// diskBuffer is how much of a sealed object is opened at once.
const diskBuffer = 64 << 10

var diskBuffers = sync.Pool{New: func() any { return new([diskBuffer]byte) }}

// NewReader opens the object for reading from off on. Reads block until octets
// are there, the object ended, or ctx is done.
func (o *Object) NewReader(ctx context.Context, off int64) (*Reader, error) {
	if off < 0 {
		return nil, fmt.Errorf("%w: offset %d", ErrInvalid, off)
	}
	r := &Reader{ctx: ctx, obj: o, off: off, body: o.body.Load()}
	if r.body == nil {
		f, err := o.openFile()
		if err != nil {
			return nil, err
		}
		r.file = f
	}
	return r, nil
}

// Close releases the reader. Further reads fail.
func (r *Reader) Close() error {
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
	r.body = nil
	if r.buf != nil {
		diskBuffers.Put(r.buf)
		r.buf, r.part = nil, nil
	}
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// Read implements io.Reader. It returns io.EOF at the end of a complete object
// only; the end of an aborted one is an error that matches ErrAborted.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	q, err := r.next(r.off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	n := copy(p, q)
	r.off += int64(n)
	return n, nil
}

// WriteTo implements io.WriterTo. Octets in memory reach w without a copy: w
// must not change or keep them.
func (r *Reader) WriteTo(w io.Writer) (n int64, err error) {
	for {
		p, err := r.next(r.off, diskBuffer)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		m, err := w.Write(p)
		n += int64(m)
		r.off += int64(m)
		if err != nil {
			return n, err
		}
	}
}

// ReadAt implements io.ReaderAt as Object.ReadAt does. It does not move the
// reader.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: offset %d", ErrInvalid, off)
	}
	switch {
	case r.body != nil:
		return r.body.readAt(p, off)
	case r.file != nil:
		return r.file.ReadAt(p, off)
	}
	return 0, ErrClosed
}

// next returns at least one octet at off, or why there is none.
func (r *Reader) next(off, want int64) ([]byte, error) {
	for {
		p, err := r.peek(off, want)
		if len(p) > 0 || err != nil {
			return p, err
		}
		if err := r.await(off); err != nil {
			return nil, err
		}
	}
}

// peek returns octets that are readable at off, at least one, valid until the
// next call; want of them are needed. Nothing and no error mean that growth
// has to be awaited.
func (r *Reader) peek(off, want int64) ([]byte, error) {
	if r.body != nil {
		return r.body.at(off)
	}
	if r.file == nil {
		return nil, ErrClosed
	}
	if i := off - r.pOff; i >= 0 && i < int64(len(r.part)) {
		return r.part[i:], nil
	}
	if r.buf == nil {
		r.buf = diskBuffers.Get().(*[diskBuffer]byte)
	}
	// Whole chunks: the rest of the first and the last one is opened anyway.
	r.pOff = off - off%chunked.ChunkSize
	end := min(diskBuffer, off-r.pOff+min(want, diskBuffer)+chunked.ChunkSize-1)
	n, err := r.file.ReadAt(r.buf[:end-end%chunked.ChunkSize], r.pOff)
	r.part = r.buf[:n]
	if i := off - r.pOff; i < int64(n) {
		return r.part[i:], nil
	}
	return nil, err
}

// await blocks until peek has something to say about off.
func (r *Reader) await(off int64) error {
	if r.stop == nil && r.ctx.Done() != nil {
		r.stop = context.AfterFunc(r.ctx, r.body.wake)
	}
	r.body.await(r.ctx, off)
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	return nil
}

// size is Object.Size of what the reader holds.
func (r *Reader) size() (n int64, final bool, err error) {
	if r.body == nil {
		return r.obj.length.Load(), true, nil
	}
	n, st, err := r.body.status()
	return n, st == complete, err
}

// total returns the length of the whole, or -1 while nobody knows it.
func (r *Reader) total() int64 {
	if n, final, _ := r.size(); final {
		return n
	}
	if l := r.obj.meta.Length; l > 0 {
		return l
	}
	return -1
}
