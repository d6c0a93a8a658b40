package push

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// acquire finds or begins the upload that a request is about and gives the request the right to write to it. It returns no
// upload if the same object is complete, and then its length in o.
func (h *Handler) acquire(w http.ResponseWriter, r *http.Request, o *Object, c contentRange, resume bool) (*upload, *claim, error) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context())) // the body ends with the request, not this
	mine := &claim{handler: h, arm: http.NewResponseController(w).SetReadDeadline, ctx: ctx, cancel: cancel}
	wait := time.NewTimer(orDefault(h.IdleTimeout, 10*time.Second))
	defer wait.Stop()
	for {
		got, err := h.tryAcquire(mine, o, c, resume, o.SHA256 != nil || len(r.Trailer) > 0)
		for _, d := range got.dead {
			h.abort(d.upload, d.cause)
		}
		switch {
		case err != nil:
			cancel(nil)
			return nil, nil, err
		case got.busy != nil:
			select {
			case <-got.busy: // whoever sent has left
				continue
			case <-wait.C:
				cancel(nil)
				return nil, nil, fmt.Errorf("push: %w: the sender before does not end", ErrOverload)
			case <-r.Context().Done():
				cancel(nil)
				return nil, nil, &interruption{context.Cause(r.Context())}
			}
		case got.upload == nil:
			cancel(nil)
			return nil, nil, nil
		case got.upload.sink == nil:
			if err := h.begin(r, got.upload, mine, *o); err != nil {
				return nil, nil, err
			}
		}
		return got.upload, mine, nil
	}
}

// begin tells the sink of a new object.
func (h *Handler) begin(r *http.Request, u *upload, mine *claim, o Object) error {
	defer func() {
		if u.sink == nil { // it was refused, or the sink panicked
			h.mu.Lock()
			h.leave(u, mine)
			h.remove(u)
			h.mu.Unlock()
		}
	}()
	sink, err := h.Sink.Begin(context.WithoutCancel(r.Context()), o)
	switch {
	case err != nil:
		return err
	case sink == nil:
		return fmt.Errorf("push: %w", ErrForbidden)
	}
	u.sink = sink
	return nil
}

// acquired is what tryAcquire found.
type acquired struct {
	upload *upload
	busy   chan struct{} // to wait for until it is closed
	dead   []dead        // to be aborted: the sink is not called with the lock held
}

type dead struct {
	upload *upload
	cause  error
}

// tryAcquire is one round of acquire. It returns no upload if the same object is complete.
func (h *Handler) tryAcquire(mine *claim, o *Object, c contentRange, resume, hashed bool) (got acquired, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return got, errClosed
	}
	u := h.uploads[o.ID]
	switch {
	case u == nil:
	case u.whole && resume:
		return got, &offsetError{offset: u.reached, whole: true}
	case u.whole && o.Header.Get("If-None-Match") == "*": // RFC 9110, section 13.1.2
		return got, &offsetError{offset: u.reached, whole: true, unwanted: true}
	case u.whole && o.SHA256 != nil && bytes.Equal(o.SHA256, u.sum) && u.describes(o):
		o.Length = u.reached
		return got, nil
	case u.whole: // another object, or the same again: the sink knows
		h.dropPast(u)
		u = nil
	case u.claim != nil && !resume:
		return got, &offsetError{offset: u.reached, busy: true}
	case u.claim != nil:
		// The sender lost its connection, and we have not noticed yet.
		u.claim.cancel(errTakenOver)
		_ = u.claim.arm(time.Unix(1, 0))
		got.busy = u.changed
		return got, nil
	case !u.describes(o) && resume:
		return got, fmt.Errorf("push: %w: another object was begun here", ErrMismatch)
	case !u.describes(o):
		h.remove(u)
		got.dead = append(got.dead, dead{u, ErrReplaced})
		u = nil
	}
	if u == nil {
		if c.first > 0 {
			return got, &offsetError{}
		}
		if h.open >= h.maxUploads() {
			oldest := h.oldest()
			if oldest == nil {
				return got, fmt.Errorf("push: %w: too many objects", ErrOverload)
			}
			h.remove(oldest)
			got.dead = append(got.dead, dead{oldest, ErrIncomplete})
		}
		u = newUpload(*o, nil, hashed, time.Now())
		if h.uploads == nil {
			h.uploads = make(map[ObjectID]*upload)
		}
		h.uploads[o.ID] = u
		h.open++
	} else if c.first > u.reached {
		return got, &offsetError{offset: u.reached}
	}
	if u.hold != nil {
		u.hold.Stop()
	}
	u.claim, u.changed = mine, make(chan struct{})
	if u.object.Length < 0 {
		u.object.Length = o.Length
	}
	got.upload = u
	return got, nil
}

// reach makes known how much is here.
func (h *Handler) reach(u *upload) {
	h.mu.Lock()
	u.reached = u.prefix
	h.mu.Unlock()
}

// leave takes the claim away. h.mu is held.
func (h *Handler) leave(u *upload, mine *claim) {
	u.reached, u.left = u.prefix, time.Now()
	u.claim = nil
	close(u.changed)
	mine.cancel(nil)
}

// release ends the request's right to write. The upload waits for its sender to come back, or is aborted.
func (h *Handler) release(u *upload, mine *claim, cause error, keep bool) {
	h.mu.Lock()
	h.leave(u, mine)
	hold := orDefault(h.HoldTime, 30*time.Second)
	if keep = keep && !h.closed; keep {
		u.hold = time.AfterFunc(hold, func() { h.expire(u, hold) })
	} else {
		h.remove(u)
	}
	h.mu.Unlock()
	if !keep {
		h.abort(u, cause)
	}
}

// finish ends a request whose object has been committed.
func (h *Handler) finish(u *upload, mine *claim, err error) {
	var sum []byte
	if u.sha256 != nil {
		sum = u.sha256.Sum(nil)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leave(u, mine)
	if err != nil || h.closed {
		h.remove(u)
		h.aborted.Add(1)
		return
	}
	h.complete.Add(1)
	u.over, u.whole, u.sum = true, true, sum
	u.sha256, u.sink, u.object.Header = nil, nil, nil // it may be remembered for long
	h.open--
	if h.past = append(h.past, u); len(h.past) > h.maxUploads() {
		h.dropPast(h.past[0])
	}
}

// remove takes an upload that is not complete out of the table. h.mu is held.
func (h *Handler) remove(u *upload) {
	u.over = true
	h.open--
	delete(h.uploads, u.object.ID)
	if u.hold != nil {
		u.hold.Stop()
	}
}

// dropPast forgets a complete upload. h.mu is held.
func (h *Handler) dropPast(u *upload) {
	delete(h.uploads, u.object.ID)
	if i := slices.Index(h.past, u); i >= 0 {
		h.past = slices.Delete(h.past, i, i+1)
	}
}

func (h *Handler) abort(u *upload, cause error) {
	h.aborted.Add(1)
	u.sink.Abort(cause)
}

// expire aborts an upload to which nobody has come back.
func (h *Handler) expire(u *upload, hold time.Duration) {
	h.mu.Lock()
	if u.over || u.claim != nil || time.Since(u.left) < hold {
		h.mu.Unlock()
		return
	}
	h.remove(u)
	h.expiring.Add(1)
	h.mu.Unlock()
	defer h.expiring.Done()
	h.abort(u, ErrIncomplete)
}

// oldest returns the upload that waits longest for its sender, nil if none waits. h.mu is held.
func (h *Handler) oldest() (oldest *upload) {
	for _, u := range h.uploads {
		if !u.over && u.claim == nil && (oldest == nil || u.left.Before(oldest.left)) {
			oldest = u
		}
	}
	return oldest
}

// Close aborts what is not complete, waits for what is being aborted because its HoldTime is over, and refuses further
// requests with 503. Requests under way are ended; the server that they came through waits for them. It may be called more
// than once, but not by the sink.
func (h *Handler) Close() error {
	h.mu.Lock()
	h.closed = true
	var waiting []*upload
	for _, u := range h.uploads {
		switch {
		case u.over:
		case u.claim != nil:
			u.claim.cancel(errClosed)
			_ = u.claim.arm(time.Unix(1, 0))
		default:
			waiting = append(waiting, u)
		}
	}
	for _, u := range waiting {
		h.remove(u)
	}
	h.mu.Unlock()
	for _, u := range waiting {
		h.abort(u, ErrIncomplete)
	}
	h.expiring.Wait()
	return nil
}

var errClosed = fmt.Errorf("%w: closed", ErrOverload)
