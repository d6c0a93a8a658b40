package clip

import (
	"context"
	"errors"
	"io"
	"sync"
)

var (
	errAborted = errors.New("clip: object broken off")
	errStalled = errors.New("clip: ingest takes too long")
)

// object is one PUT, under way or to come.
type object struct {
	name   string
	stream int
	number uint64
	round  int
	body   *body
	err    error // once it is done
}

// lane sends the objects of one connection one after the other.
type lane struct {
	queue  chan *object
	cancel func() // of the goroutine
	done   chan struct{}

	mu    sync.Mutex // guards below
	abort context.CancelFunc
}

// laneLen is how many objects may wait behind the one under way: those of one
// announcement and of two segment boundaries.
const laneLen = 16

func (l *lane) start(ctx context.Context, put func(context.Context, *object) error, results chan<- *object) {
	ctx, cancel := context.WithCancel(ctx)
	l.cancel = cancel
	l.queue = make(chan *object, laneLen)
	l.done = make(chan struct{})
	go func() {
		defer close(l.done)
		for {
			var o *object
			select {
			case <-ctx.Done():
				return
			case o = <-l.queue:
			}
			octx, abort := context.WithCancel(ctx)
			l.mu.Lock()
			l.abort = abort
			l.mu.Unlock()
			stop := context.AfterFunc(octx, func() { o.body.close(context.Cause(octx)) })
			o.err = put(octx, o)
			stop()
			abort()
			o.body.close(errAborted) // of no more use, if it is still growing
			select {
			case <-ctx.Done():
				return
			case results <- o:
			}
		}
	}()
}

// enqueue reports whether there was room for o. Without room it breaks off the
// object under way, which keeps all others waiting.
func (l *lane) enqueue(o *object) bool {
	select {
	case l.queue <- o:
		return true
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.abort != nil {
		l.abort()
	}
	return false
}

// stop ends the lane and waits for its goroutine.
func (l *lane) stop() {
	l.cancel()
	<-l.done
}

// body is an object that grows while it is read.
type body struct {
	mu     sync.Mutex // guards below
	cond   sync.Cond
	b      []byte
	closed bool
	err    error // why it is not whole
}

func newBody() *body {
	b := &body{}
	b.cond.L = &b.mu
	return b
}

func (b *body) append(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.b = append(b.b, p...)
		b.cond.Broadcast()
	}
}

// close ends the body, in good order if err is nil. Only the first call counts.
func (b *body) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed, b.err = true, err
		b.cond.Broadcast()
	}
}

// whole returns the body if it has ended in good order.
func (b *body) whole() ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b, b.closed && b.err == nil
}

func (b *body) reader() io.ReadCloser { return &bodyReader{body: b} }

type bodyReader struct {
	body   *body
	off    int
	closed bool // guarded by body.mu
}

// Read returns what is there, or waits.
func (r *bodyReader) Read(p []byte) (int, error) {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case r.closed:
			return 0, io.ErrClosedPipe
		case b.closed && b.err != nil:
			return 0, b.err
		case r.off < len(b.b):
			n := copy(p, b.b[r.off:])
			r.off += n
			return n, nil
		case b.closed:
			return 0, io.EOF
		}
		b.cond.Wait()
	}
}

func (r *bodyReader) Close() error {
	r.body.mu.Lock()
	defer r.body.mu.Unlock()
	r.closed = true
	r.body.cond.Broadcast()
	return nil
}
