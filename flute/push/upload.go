package push

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"time"
)

// upload is an object under way at a Handler, or a complete one that it still remembers.
type upload struct {
	object Object

	// Guarded by Handler.mu.
	claim   *claim        // of the request that sends now, or nil
	hold    *time.Timer   // ends the upload if nobody goes on with it
	over    bool          // complete or aborted
	whole   bool          // complete
	left    time.Time     // when the last request ended
	changed chan struct{} // closed when claim becomes nil

	// Owned by the request with the claim.
	sink   Upload
	begun  time.Time
	prefix int64
	sha256 hash.Hash // over the prefix, nil if nobody asked for it from the start

	// Guarded by Handler.mu, written by the owner.
	reached int64  // copy of prefix
	sum     []byte // SHA-256 of a complete object, if it was computed
}

// claim is the right of one request to write to an upload.
type claim struct {
	handler *Handler
	arm     func(time.Time) error // sets the read deadline
	ctx     context.Context
	cancel  context.CancelCauseFunc
}

// errTakenOver: a newer request goes on with the object.
var errTakenOver = fmt.Errorf("%w: another request goes on with the object", ErrOverload)

// extend moves the read deadline, unless the claim was taken away.
func (c *claim) extend(idle time.Duration) error {
	c.handler.mu.Lock()
	defer c.handler.mu.Unlock()
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	_ = c.arm(time.Now().Add(idle)) // where there are no deadlines the server has its own
	return nil
}

// take hands octets at an offset on to the sink: new ones are written, those that have come before are compared.
func (u *upload) take(p []byte, off, limit int64, scratch []byte) error {
	if off < u.prefix {
		again := p[:min(int64(len(p)), u.prefix-off)]
		if n, err := u.sink.ReadAt(scratch[:len(again)], off); n < len(again) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if !bytes.Equal(again, scratch[:len(again)]) {
			return fmt.Errorf("push: %w: other octets from %d on", ErrMismatch, off)
		}
		p = p[len(again):]
	}
	if len(p) == 0 {
		return nil
	}
	if u.prefix+int64(len(p)) > limit {
		return fmt.Errorf("push: %w: more than %d octets", ErrLimit, limit)
	}
	n, err := u.sink.Write(p)
	n = min(max(n, 0), len(p))
	if u.sha256 != nil {
		u.sha256.Write(p[:n])
	}
	u.prefix += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return err
}

// verify compares the object with digests. One that was not computed on the way is computed from what the sink has.
func (u *upload) verify(digests []digest) error {
	for _, d := range digests {
		var sum []byte
		if d.algorithm == "sha-256" && u.sha256 != nil {
			sum = u.sha256.Sum(nil)
		} else {
			h := newHash(d.algorithm)
			if n, err := io.Copy(h, io.NewSectionReader(u.sink, 0, u.prefix)); err != nil || n < u.prefix {
				return fmt.Errorf("push: reading the object again: %w", orUnexpected(err))
			}
			sum = h.Sum(nil)
		}
		if !bytes.Equal(sum, d.sum) {
			return fmt.Errorf("push: %w: %s", ErrDigest, d.algorithm)
		}
	}
	return nil
}

func orUnexpected(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// describes reports whether two requests are about one object. What one of them leaves out does not count.
func (u *upload) describes(o *Object) bool {
	a := &u.object
	return (o.ContentLocation == "" || o.ContentLocation == a.ContentLocation) &&
		(o.ContentType == "" || o.ContentType == a.ContentType) &&
		(o.Length < 0 || a.Length < 0 || o.Length == a.Length) &&
		(o.SHA256 == nil || a.SHA256 == nil || bytes.Equal(o.SHA256, a.SHA256))
}

func newUpload(o Object, sink Upload, hashed bool, now time.Time) *upload {
	u := &upload{object: o, sink: sink, begun: now}
	if hashed {
		u.sha256 = sha256.New()
	}
	return u
}
