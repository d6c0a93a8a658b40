package amt

import (
	"os"
	"sync"
	"time"
)

var errDeadline = os.ErrDeadlineExceeded

// deadline is a time after which waiting ends. It can be moved while somebody
// waits.
type deadline struct {
	mu     sync.Mutex // guards below
	timer  *time.Timer
	closed chan struct{}
}

func makeDeadline() deadline { return deadline{closed: make(chan struct{})} }

// set moves the deadline; the zero time means never.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.closed // the timer has fired, and closes the channel
	}
	d.timer = nil
	if isClosed(d.closed) {
		d.closed = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	closed := d.closed
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(closed) })
		return
	}
	close(closed)
}

// wait returns a channel that is closed when the time has come. A deadline that
// is moved into the future later does not end a wait that has begun.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
