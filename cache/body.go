package cache

import (
	"context"
	"io"
	"sync"
)

// pageSize is the unit in which a body's memory grows. Every page but the
// last is full, so that an offset finds its page by division.
const pageSize = 64 << 10

// firstPage is the first size of a body's first page; it doubles up to
// pageSize, since playlists and init segments are far smaller than a page.
const firstPage = 4 << 10

type state uint8

const (
	growing state = iota
	complete
	aborted
)

// body holds the plaintext of an object: append-only, one writer, any number
// of readers. Octets below size never change, so a slice handed out stays
// valid for as long as its holder wants, whatever happens to the object.
type body struct {
	mu    sync.Mutex // guards below; never held while octets are copied
	grown sync.Cond  // broadcast at growth, end, abort and a reader's cancellation
	pages [][]byte   // full length; only the first size octets in all are readable
	size  int64
	state state
	err   error // why it was aborted
}

func newBody() *body {
	b := &body{}
	b.grown.L = &b.mu
	return b
}

// newCompleteBody makes a complete body that owns p.
func newCompleteBody(p []byte) *body {
	b := newBody()
	b.size, b.state = int64(len(p)), complete
	for len(p) > pageSize {
		b.pages = append(b.pages, p[:pageSize:pageSize])
		p = p[pageSize:]
	}
	b.pages = append(b.pages, p)
	return b
}

func (b *body) status() (size int64, st state, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size, b.state, b.err
}

// at returns the readable octets from off to the end of their page. Nothing
// and a nil error mean that growth has to be awaited.
func (b *body) at(off int64) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if off < b.size {
		page, lo := off/pageSize, off%pageSize
		hi := min(pageSize, b.size-page*pageSize)
		return b.pages[page][lo:hi:hi], nil
	}
	switch b.state {
	case complete:
		return nil, io.EOF
	case aborted:
		return nil, b.err
	}
	return nil, nil
}

// readAt implements io.ReaderAt within the readable octets.
func (b *body) readAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		q, err := b.at(off + int64(n))
		if err != nil {
			return n, err
		}
		if len(q) == 0 {
			return n, ErrNotReady
		}
		n += copy(p[n:], q)
	}
	return n, nil
}

// await blocks until more than off octets are readable, the body ended, or
// ctx is done. The caller sees to it that the end of ctx calls b.wake.
func (b *body) await(ctx context.Context, off int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.size <= off && b.state == growing && ctx.Err() == nil {
		b.grown.Wait()
	}
}

// waitPrefix blocks until n octets are readable; else it tells why not.
func (b *body) waitPrefix(ctx context.Context, n int64) error {
	size, st, err := b.status()
	if size < n && st == growing {
		stop := context.AfterFunc(ctx, b.wake)
		b.await(ctx, n-1)
		stop()
		size, st, err = b.status()
	}
	switch {
	case size >= n:
		return nil
	case st == complete:
		return io.EOF
	case st == aborted:
		return err
	}
	return context.Cause(ctx)
}

// wake makes every waiter look again. Taking the lock orders it after the
// look of a waiter that is about to wait.
func (b *body) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.grown.Broadcast()
}

// publish makes octets up to size readable. The writer put them into the free
// part of the last page, into tail, a longer copy of that page (nil: none),
// and into the pages of more.
func (b *body) publish(tail []byte, more [][]byte, size int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != growing {
		if b.err != nil {
			return b.err
		}
		return ErrClosed
	}
	if tail != nil {
		b.pages[len(b.pages)-1] = tail
	}
	b.pages = append(b.pages, more...)
	b.size = size
	b.grown.Broadcast()
	return nil
}

// end makes the body complete, or aborted with err, unless it ended before.
// The last page of a complete body is replaced by tail if that is not nil.
func (b *body) end(st state, err error, tail []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != growing {
		return false
	}
	b.state, b.err = st, err
	if tail != nil {
		// Readers may hold the old page; its octets stay as they are.
		b.pages[len(b.pages)-1] = tail
	}
	b.grown.Broadcast()
	return true
}
