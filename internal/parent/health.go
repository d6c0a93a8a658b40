package parent

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// fault is what is wrong with a parent.
type fault uint8

const (
	sound  fault = iota
	dead         // refuses connections, or gives no sign of life
	behind       // another parent had first what this one was asked for
	lying        // gave octets that are not the source's
)

func (f fault) String() string {
	return [...]string{"sound", "does not answer", "is behind", "gave wrong octets"}[f]
}

// pause is how long a parent is left out for a fault, at first and at most. It doubles with each fault until the parent
// has given something good, a lie for longer than that.
func (f fault) pause() (first, most time.Duration) {
	switch f {
	case dead:
		return 0, 10 * time.Second // at first nothing but the probe says when
	case behind:
		return 2 * time.Second, 30 * time.Second
	case lying:
		return 10 * time.Second, 10 * time.Minute
	}
	return 0, 0
}

// deadPause is the pause of a parent that a probe has found alive, and that answers no request.
const deadPause = 250 * time.Millisecond

// health is what is known of one parent. All its methods take the time, and none blocks.
type health struct {
	mu     sync.Mutex // guards below
	fault  fault
	down   bool      // a probe has to find it alive first
	upAt   time.Time // when one has
	faults int       // in a row
	lies   int       // ever
	until  time.Time
	err    error
	life   time.Duration // how long a sign of life may take
	misses int           // repair requests without an answer, in a row
	missed time.Time     // the last of them was
}

const (
	// firstLife is how long a parent may take for a sign of life before it counts as dead.
	firstLife = 800 * time.Millisecond
	// mostLife bounds what a parent that is far away gets after it was too slow for less.
	mostLife = 3 * time.Second
)

// patience is how long to wait for a sign of life.
func (h *health) patience() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(firstLife, h.life)
}

// answered notes an answer to a repair request.
func (h *health) answered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.misses = 0
}

// maxMisses is how many repair requests in a row may go without an answer.
const maxMisses = 3

// slow notes a repair request that took too long, and tells whether these were too many in a row. Those that were under way
// at the same time are one.
func (h *health) slow(now, asked time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !asked.Before(h.missed) {
		h.misses++
		h.missed = now
	}
	return h.misses >= maxMisses
}

// usable tells whether the parent may be asked now.
func (h *health) usable(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.down && !now.Before(h.until)
}

// next is when a parent that is not down may be asked again; the zero time if it may be now, or is down.
func (h *health) next(now time.Time) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down || !now.Before(h.until) {
		return time.Time{}
	}
	return h.until
}

// good notes that the parent gave something, so long after it was asked.
func (h *health) good(took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until, h.misses = time.Time{}, 0
	h.fault, h.down, h.faults, h.err = sound, false, 0, nil
	h.life = min(mostLife, max(h.life-h.life/8, 4*took))
}

func (h *health) isDown() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down
}

// isDead tells whether nothing good came since the parent was found dead, even if it takes connections again.
func (h *health) isDead() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down || h.fault == dead
}

// up notes that the parent takes connections again.
func (h *health) up(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down, h.upAt = false, now
}

// bad notes a fault that a request has shown which was made at asked, and tells whether it is a new one. Of the requests
// that were under way when a parent died each will tell; that is one fault, however long they take to.
func (h *health) bad(now, asked time.Time, f fault, err error) (fresh bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f == dead && (h.down || asked.Before(h.upAt)) {
		return false
	}
	fresh = h.fault != f
	if !fresh || f == lying {
		h.faults++
	} else {
		h.faults = 1
	}
	h.fault, h.err = f, err
	n := h.faults - 1
	pause, most := f.pause()
	switch f {
	case dead:
		h.down = true
		h.life = min(mostLife, max(firstLife, 2*h.life))
		if n > 0 {
			pause, n = deadPause, n-1
		}
	case lying:
		n = h.lies
		h.lies++
	}
	pause = min(most, pause<<min(n, 20))
	if at := now.Add(pause); at.After(h.until) {
		h.until = at
	}
	return fresh
}

// why says in words what is wrong, "" if nothing is.
func (h *health) why(now time.Time) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fault == sound || !h.down && !now.Before(h.until) {
		return ""
	}
	if h.err != nil {
		return fmt.Sprintf("%v: %v", h.fault, h.err)
	}
	return h.fault.String()
}

// errNoLife is the error of a parent that took a request and gave no sign of life.
var errNoLife = errors.New("parent: no sign of life")
