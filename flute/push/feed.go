package push

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// feed is the body of one request: it reads the object, skips what the receiver has, computes the digest on the way, and
// notices when nobody reads any more.
type feed struct {
	sending *sending
	reader  io.ReadCloser
	at      int64 // position of reader
	from    int64 // the receiver has what is before
	trailer http.Header
	close   sync.Once // of reader
	stop    func() bool

	reading sync.Mutex // held while the transport reads; the digest is that of one reader at a time

	mu      sync.Mutex // guards below
	stall   *time.Timer
	timeout time.Duration
	ended   bool
	err     error // of the reader
}

func newFeed(ctx context.Context, s *sending, reader io.ReadCloser, from int64, cancel context.CancelCauseFunc) *feed {
	timeout := s.pusher.config.StallTimeout
	f := &feed{
		sending: s, reader: reader, at: min(from, s.hashed), from: from, timeout: timeout,
		stall: time.AfterFunc(timeout, func() { cancel(ErrStalled) }),
	}
	// The transport does not return before its Read does, even if ctx has ended.
	f.stop = context.AfterFunc(ctx, func() { f.close.Do(func() { _ = reader.Close() }) })
	return f
}

// Read implements io.Reader for the transport.
func (f *feed) Read(p []byte) (int, error) {
	f.reading.Lock()
	defer f.reading.Unlock()
	if !f.watch(false) { // from here on the object is what takes time
		return 0, io.ErrClosedPipe
	}
	n, err := f.read(p)
	f.watch(true)
	return n, err
}

// watch says whether the transport is the one that takes time, and returns false at the end.
func (f *feed) watch(on bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return false
	}
	if on {
		f.stall.Reset(f.timeout)
	} else {
		f.stall.Stop()
	}
	return true
}

// read reads on until there is something that the receiver does not have.
func (f *feed) read(p []byte) (int, error) {
	s := f.sending
	for {
		n, err := f.reader.Read(p)
		if f.at += int64(n); f.at > s.hashed {
			s.sha256.Write(p[n-int(f.at-s.hashed) : n])
			s.hashed = f.at
		}
		length := s.object.Length
		switch {
		case length >= 0 && f.at > length:
			return 0, f.fail(fmt.Errorf("it has more octets than %d", length))
		case err == io.EOF && (length >= 0 && f.at < length || f.at < f.from):
			return 0, f.fail(io.ErrUnexpectedEOF)
		case err == io.EOF:
			s.length = f.at
			if f.trailer != nil {
				f.trailer.Set(ReprDigest, digest{"sha-256", s.sha256.Sum(nil)}.String())
			}
		case err != nil:
			err = f.fail(err)
		}
		if fresh := f.at - f.from; fresh > 0 && n > 0 {
			return copy(p, p[n-int(min(fresh, int64(n))):n]), err
		}
		if err != nil {
			return 0, err
		}
	}
}

func (f *feed) fail(err error) error {
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
	return err
}

// Close is called by the transport.
func (f *feed) Close() error { return nil }

// failure returns the error of the object, if that is why the request ended.
func (f *feed) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// end closes the reader, which ends a Read of the transport that goes on, and waits for that.
func (f *feed) end() {
	f.mu.Lock()
	f.ended = true
	f.stall.Stop()
	f.mu.Unlock()
	f.stop()
	f.close.Do(func() { _ = f.reader.Close() })
	f.reading.Lock()
	defer f.reading.Unlock() // nobody reads any more
}
