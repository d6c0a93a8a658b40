package cache

// Writer makes an object grow. Octets are readable as soon as Write returns.
// It must be ended by Finish or Abort; since Abort after Finish does nothing,
// `defer w.Abort(nil)` is the safe habit. Write and Finish belong to one
// goroutine; Abort may come from any.
type Writer struct {
	obj   *Object
	body  *body
	size  int64
	pages int64  // number of pages
	tail  []byte // the last page, whole
	used  int    // octets of tail that are readable
}

// Object returns the object that grows.
func (w *Writer) Object() *Object { return w.obj }

// Write appends p. Any error aborts the object: readers must not see a hole.
func (w *Writer) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := w.write(p); err != nil {
		w.Abort(err)
		return 0, err
	}
	return len(p), nil
}

func (w *Writer) write(p []byte) error {
	size := w.size + int64(len(p))
	if size > w.obj.store.cfg.MaxObject {
		return ErrTooLarge
	}
	if l := w.obj.meta.Length; l > 0 && size > l {
		return ErrLength
	}
	tail, more, err := w.reserve(len(p))
	if err != nil {
		return err
	}
	// Octets beyond the published size are the writer's own: no lock is held
	// while they are copied.
	last := w.tail
	if tail != nil {
		copy(tail, w.tail[:w.used])
		last = tail
	}
	n := copy(last[w.used:], p)
	used := w.used + n
	for _, page := range more {
		used = copy(page, p[n:])
		n += used
		last = page
	}
	if err := w.body.publish(tail, more, size); err != nil {
		return err
	}
	w.size, w.tail, w.used, w.pages = size, last, used, w.pages+int64(len(more))
	return nil
}

// reserve makes room for n octets: what is free in the last page, then a
// longer copy of that page (nil: none), then more pages.
func (w *Writer) reserve(n int) (tail []byte, more [][]byte, err error) {
	need := n - (len(w.tail) - w.used)
	if need <= 0 {
		return nil, nil, nil
	}
	longer, octets := 0, 0
	if len(w.tail) > 0 && len(w.tail) < pageSize {
		longer = w.pageLen(w.pages-1, max(2*len(w.tail), len(w.tail)+need))
		octets = longer - len(w.tail)
		need -= octets
	}
	var lens [4]int // enough for what a caller writes at a time
	fresh := lens[:0]
	for i := w.pages; need > 0; i++ {
		l := w.pageLen(i, need)
		fresh = append(fresh, l)
		octets += l
		need -= l
	}
	if err := w.obj.store.charge(w.obj, int64(octets)); err != nil {
		return nil, nil, err
	}
	if longer > 0 {
		tail = make([]byte, longer)
	}
	if len(fresh) > 0 {
		more = make([][]byte, len(fresh))
		for i, l := range fresh {
			more[i] = make([]byte, l)
		}
	}
	return tail, more, nil
}

// pageLen returns the length of page i when it shall hold at least want octets
// as far as a page can.
func (w *Writer) pageLen(i int64, want int) int {
	l := int64(pageSize)
	if i == 0 {
		l = min(pageSize, max(firstPage, int64(want)))
	}
	if length := w.obj.meta.Length; length > 0 {
		l = min(pageSize, length-i*pageSize)
	}
	return int(l)
}

// Finish makes the object complete. It fails with ErrLength if Meta.Length was
// declared and differs, and with an error that matches ErrAborted if the
// object was given up before.
func (w *Writer) Finish() error {
	if l := w.obj.meta.Length; l > 0 && w.size != l {
		w.Abort(ErrLength)
		return ErrLength
	}
	// What the last page was given too much goes back.
	var tail []byte
	if spare := len(w.tail) - w.used; spare > len(w.tail)/4 {
		tail = make([]byte, w.used)
		copy(tail, w.tail)
		return w.obj.store.finish(w.obj, w.body, w.size, tail, int64(spare))
	}
	return w.obj.store.finish(w.obj, w.body, w.size, nil, 0)
}

// Abort gives the object up: its readers get an error that matches ErrAborted
// and cause, after the octets that were readable. It does nothing if the
// object ended before.
func (w *Writer) Abort(cause error) {
	w.obj.store.abort(w.obj, w.body, cause)
}
