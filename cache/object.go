package cache

import (
	"context"
	"fmt"
	"io"
	"maps"
	"strconv"
	"sync/atomic"

	"github.com/treedn/treedn/cache/internal/sieve"
)

// Object is one generation of a named object. When it is replaced or evicted,
// its readers go on; new reads of it may fail with ErrEvicted, and its user
// looks for the current one. All methods are safe for concurrent use.
type Object struct {
	key    Key
	meta   Meta // Header is apart, since it may change
	header atomic.Pointer[map[string]string]
	store  *Store
	length atomic.Int64         // set before body becomes nil
	body   atomic.Pointer[body] // nil: on disk alone, or evicted
	file   atomic.Pointer[diskFile]

	// Guarded by store.mu.
	svc     *service
	current bool  // Lookup finds it
	charged int64 // octets in the memory tier
	inMem   sieve.Node[*Object]
	inDisk  sieve.Node[*Object]
	toDisk  sieve.Node[*Object] // on its way
	fill    *flight             // the Fetch that makes it grow, if any
}

// Key returns the object's key.
func (o *Object) Key() Key { return o.key }

// Meta returns what is known of the object. Its Header must not be changed.
func (o *Object) Meta() Meta {
	m := o.meta
	m.Header = *o.header.Load()
	return m
}

// ETag returns the strong entity tag: the generation in 16 hexadecimal digits.
func (o *Object) ETag() string {
	var b [18]byte
	return string(o.appendETag(b[:0]))
}

func (o *Object) appendETag(dst []byte) []byte {
	dst = append(dst, '"')
	var digits [16]byte
	hex := strconv.AppendUint(digits[:0], o.meta.Generation, 16)
	dst = append(dst, "0000000000000000"[len(hex):]...)
	dst = append(dst, hex...)
	return append(dst, '"')
}

// SetHeader keeps a value with the object, in any state of it; an empty value
// removes the key. A change after the object went to disk is kept in memory
// only.
func (o *Object) SetHeader(key, value string) error {
	for {
		old := o.header.Load()
		h := maps.Clone(*old)
		if h == nil {
			h = make(map[string]string, 1)
		}
		if value == "" {
			delete(h, key)
		} else {
			h[key] = value
		}
		if err := validateHeader(h); err != nil {
			return err
		}
		if o.header.CompareAndSwap(old, &h) {
			return nil
		}
	}
}

// Size returns how many octets are readable and whether these are all. The
// error matches ErrAborted if the object was given up.
func (o *Object) Size() (n int64, final bool, err error) {
	b := o.body.Load()
	if b == nil {
		return o.length.Load(), true, nil
	}
	n, st, err := b.status()
	return n, st == complete, err
}

// ReadAt implements io.ReaderAt. Beyond the readable octets the error is
// io.EOF, or ErrNotReady while the object grows, or one that matches
// ErrAborted.
func (o *Object) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: offset %d", ErrInvalid, off)
	}
	if b := o.body.Load(); b != nil {
		return b.readAt(p, off)
	}
	f, err := o.openFile()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.ReadAt(p, off)
}

// WaitPrefix blocks until at least n octets are readable. It returns io.EOF if
// the object is complete with fewer, an error that matches ErrAborted, or the
// cause of ctx's end.
func (o *Object) WaitPrefix(ctx context.Context, n int64) error {
	b := o.body.Load()
	if b == nil {
		if n > o.length.Load() {
			return io.EOF
		}
		return nil
	}
	return b.waitPrefix(ctx, n)
}
