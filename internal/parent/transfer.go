package parent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/treedn/treedn/internal/service"
)

const (
	// restless is how long a parent may give no sign of life before the next one is asked too, or the same one on a new
	// connection: one that was cut off says nothing, and the system would notice only after seconds.
	restless = 350 * time.Millisecond
	// late is how long an object may stand at a parent that lives before the next one is asked too. The parent may be
	// about to go over to its own next parent: its children must not all ask that one in the meantime.
	late, lateWindow = 800 * time.Millisecond, 700 * time.Millisecond
	// catchUp is how long a parent may take to bring what another one brought first before it counts as behind. That
	// one may just be nearer to the source.
	catchUp = 250 * time.Millisecond
	// maxLanes bounds the requests for one object at a time.
	maxLanes = 3
	// again is how long to wait before parents are asked again that had nothing for now; it doubles up to againMost.
	again, againMost = 200 * time.Millisecond, 2 * time.Second
	// resumeSoon is how long to wait before a parent is asked again that gave octets until its connection broke.
	resumeSoon = 20 * time.Millisecond
	// resumeTime is how long an object that has begun for its readers may stand while parents break their connections,
	// have nothing for now, or cannot be reached. What is later than that is of no use to a player.
	resumeTime = 5 * time.Second
)

// maxObject bounds what a parent can make this node keep under one name.
const maxObject = 64 << 20

// transfer brings one object, from as many parents as that takes. One goroutine owns it.
type transfer struct {
	client *Client
	ctx    context.Context
	r      service.Request
	begin  func(service.Meta) (io.Writer, error)
	via    string
	events chan event

	lanes    []*lane
	gone     map[*upstream]error // parents that cannot help in this round, and why
	w        io.Writer           // nil until the object has begun
	n        int64               // octets that are written, or were there before
	total    int64               // -1 while unknown
	progress time.Time           // when octets came last, or may be expected at first
	lateness time.Duration
	grace    time.Time // until when the lanes behind the first may catch up; zero: nothing to catch up with
	first    *lane     // that brought the last octets
	givers   []giver   // who gave the octets from which offset on
	round    int       // of asking all parents
	broke    bool      // a lane has broken that had brought octets, since the last round
	rest     time.Time // no lane is opened before
	settled  bool      // the outcome is known:
	outcome  error
}

type giver struct {
	off int64
	up  *upstream
}

func (t *transfer) run() error {
	defer t.stopAll()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		changed := t.client.changed()
		now := time.Now()
		t.expire(now)
		t.open(now)
		if t.settled {
			return t.outcome
		}
		timer.Reset(max(time.Millisecond, t.deadline(now).Sub(now)))
		select {
		case <-t.ctx.Done():
			return context.Cause(t.ctx)
		case <-changed:
		case <-timer.C:
		case e := <-t.events:
			if slices.Contains(t.lanes, e.lane) {
				t.handle(time.Now(), e)
			}
			select {
			case e.lane.release <- struct{}{}:
			default: // it was dropped, and waits no more
			}
		}
		if t.settled {
			return t.outcome
		}
	}
}

func (t *transfer) settle(err error) {
	if !t.settled {
		t.settled, t.outcome = true, err
	}
}

// open starts the requests that are due, and settles the transfer when there is nobody left to ask.
func (t *transfer) open(now time.Time) {
	if now.Before(t.rest) {
		return
	}
	stands := now.Sub(t.progress)
	waiting := 0
	for _, l := range t.lanes {
		if now.Sub(l.alive) < restless {
			waiting++
		}
	}
	if len(t.lanes) > 0 && !(waiting == 0 && stands >= restless) && !(waiting == 1 && stands >= t.lateness) {
		return
	}
	switch up := t.choose(now); {
	case up != nil:
		t.start(now, up)
	case len(t.lanes) == 0:
		t.exhausted(now)
	}
}

// choose returns the first parent that can be asked and has not been.
func (t *transfer) choose(now time.Time) *upstream {
	for _, up := range t.client.list() {
		if t.gone[up] == nil && up.health.usable(now) &&
			!slices.ContainsFunc(t.lanes, func(l *lane) bool {
				return l.up == up && (!l.answers || now.Sub(l.alive) < restless)
			}) {
			return up
		}
	}
	return nil
}

func (t *transfer) start(now time.Time, up *upstream) {
	for len(t.lanes) >= maxLanes {
		t.drop(t.lanes[0])
	}
	ctx, cancel := context.WithCancel(t.ctx)
	l := &lane{up: up, from: t.n, started: now, alive: now, off: t.n, end: -1, total: -1, stop: cancel, release: make(chan struct{}, 1)}
	t.lanes = append(t.lanes, l)
	t.client.group.Go(func() { l.run(ctx, t) })
}

func (t *transfer) drop(l *lane) {
	l.stop()
	t.lanes = slices.DeleteFunc(t.lanes, func(o *lane) bool { return o == l })
	if t.first == l {
		t.first = nil
	}
}

func (t *transfer) stopAll() {
	for len(t.lanes) > 0 {
		t.drop(t.lanes[0])
	}
}

// exhausted decides what becomes of a transfer when no parent is left to ask.
func (t *transfer) exhausted(now time.Time) {
	var best error = errNoParent
	for _, err := range t.gone {
		if worse(best) > worse(err) {
			best = err
		}
	}
	reachable := false // somebody could be asked, and said that there is nothing
	for _, up := range t.client.list() {
		reachable = reachable || t.gone[up] != nil
	}
	switch {
	case len(t.client.list()) == 0:
		t.settle(service.ErrNotFound)
		return
	case !t.r.Persist && !t.resumable(now):
		t.settle(best)
		return
	case reachable && t.w == nil && !errors.Is(best, errNotNow):
		t.settle(best)
		return
	case errors.Is(best, service.ErrChanged) && !t.broke:
		t.settle(best)
		return
	}
	// Those that are down come back by their probe; the others get some time.
	if reachable {
		pause := min(againMost, again<<min(t.round, 8))
		if t.broke {
			pause = resumeSoon
		}
		t.rest, t.broke = now.Add(jittered(pause)), false
		if end := t.progress.Add(resumeTime); !t.r.Persist && end.Before(t.rest) {
			t.rest = end
		}
		t.round++
		clear(t.gone)
	}
}

// resumable tells whether an object that has begun may go on: there is time, and not all parents have said that they have
// no more of it.
func (t *transfer) resumable(now time.Time) bool {
	if t.w == nil || now.Sub(t.progress) >= resumeTime {
		return false
	}
	return slices.ContainsFunc(t.client.list(), func(up *upstream) bool {
		err := t.gone[up]
		if err == nil {
			return up.health.isDead()
		}
		var wrong *service.MismatchError
		return !errors.Is(err, service.ErrNotFound) && !errors.Is(err, service.ErrChanged) && !errors.As(err, &wrong)
	})
}

// failure is an error for which there is a status of its own.
type failure struct {
	text string
	code int
}

func (e *failure) Error() string { return "parent: " + e.text }

// StatusCode is what a request from below is answered with.
func (e *failure) StatusCode() int { return e.code }

// errNoParent is the error of a request while no parent can be reached.
var errNoParent error = &failure{"no parent can be reached", http.StatusGatewayTimeout}

// worse orders errors by how little they say about the object.
func worse(err error) int {
	for i, e := range []error{service.ErrChanged, service.ErrUnchanged, errNotNow, service.ErrNotFound} {
		if errors.Is(err, e) {
			return i
		}
	}
	if errors.Is(err, errNoParent) {
		return 9
	}
	return 8
}

// deadline is when expire or open have something to do.
func (t *transfer) deadline(now time.Time) time.Time {
	at := now.Add(time.Minute)
	sooner := func(b time.Time) {
		if b.After(now) && b.Before(at) {
			at = b
		}
	}
	for _, l := range t.lanes {
		sooner(l.alive.Add(restless))
		if !l.answers {
			sooner(l.alive.Add(l.up.health.patience()))
		}
	}
	sooner(t.progress.Add(restless))
	sooner(t.progress.Add(t.lateness))
	sooner(t.progress.Add(resumeTime))
	sooner(t.rest)
	sooner(t.grace)
	for _, up := range t.client.list() {
		sooner(up.health.next(now))
	}
	return at
}

// expire ends what took too long.
func (t *transfer) expire(now time.Time) {
	for _, l := range slices.Clone(t.lanes) {
		if !l.answers && now.Sub(l.alive) >= l.up.health.patience() {
			t.fail(now, l, errNoLife)
		}
	}
	if !t.grace.IsZero() && !now.Before(t.grace) && t.first != nil {
		t.prefer(now, t.first)
	}
}

// prefer ends all lanes but one. Those that were asked before it and brought nothing are behind.
func (t *transfer) prefer(now time.Time, l *lane) {
	t.grace = time.Time{}
	for _, o := range slices.Clone(t.lanes) {
		if o == l {
			continue
		}
		if o.up != l.up && o.off < t.n && l.started.Sub(o.started) >= restless {
			t.client.fault(o.up, o.started, behind, nil)
		}
		t.drop(o)
	}
}

func (t *transfer) handle(now time.Time, e event) {
	l := e.lane
	l.alive = now
	switch e.kind {
	case lives:
	case answered:
		t.answered(now, l, e.head)
	case brought:
		t.brought(now, l, e.data)
	case ended:
		t.ended(now, l, e.err)
	}
}

func (t *transfer) answered(now time.Time, l *lane, h head) {
	l.answers = true
	l.up.health.good(now.Sub(l.started))
	l.off, l.end, l.total = h.first, h.end, h.total
	if t.w == nil {
		if t.r.Generation != 0 && h.meta.Generation != t.r.Generation {
			t.ended(now, l, errOther)
			return
		}
		w, err := t.begin(h.meta)
		if err != nil {
			t.settle(err)
			return
		}
		t.w, t.r.Generation = w, h.meta.Generation
	} else if h.meta.Generation != t.r.Generation {
		t.ended(now, l, errOther)
		return
	}
	if h.total >= 0 {
		t.total = h.total
	}
}

func (t *transfer) brought(now time.Time, l *lane, p []byte) {
	off := l.off
	l.off += int64(len(p))
	t.client.octets.Add(uint64(len(p)))
	if off > t.n {
		t.fail(now, l, errors.New("parent: octets that were not asked for"))
		return
	}
	if l.off <= t.n {
		// Another one was first. The parents' order counts, if the one before has caught up.
		if l.off == t.n && t.first != nil && t.first != l && t.before(l.up, t.first.up) {
			t.first = l
			t.prefer(now, l)
		}
		return
	}
	p = p[t.n-off:]
	if l.off > maxObject {
		t.settle(fmt.Errorf("parent: object exceeds %d octets", maxObject))
		return
	}
	if k := len(t.givers); k == 0 || t.givers[k-1].up != l.up {
		t.givers = append(t.givers, giver{t.n, l.up})
	}
	t.n = l.off
	t.progress, t.round, t.rest = now, 0, time.Time{}
	t.lateness = late + rand.N(lateWindow)
	switch was := t.first; {
	case was == l:
	case was != nil && was.up == l.up:
		t.first = l
		t.drop(was)
	default:
		t.first = l
		if len(t.lanes) > 1 {
			t.grace = now.Add(catchUp)
		}
	}
	if _, err := t.w.Write(p); err != nil {
		t.refused(now, err)
	}
}

// before tells whether one parent comes before another one.
func (t *transfer) before(a, b *upstream) bool {
	for _, up := range t.client.list() {
		if up == a || up == b {
			return up == a && a != b
		}
	}
	return false
}

// refused handles what the writer does not take.
func (t *transfer) refused(now time.Time, err error) {
	var wrong *service.MismatchError
	if !errors.As(err, &wrong) || wrong.Offset > t.n || wrong.Offset < 0 {
		t.settle(err)
		return
	}
	for i, g := range t.givers {
		if i+1 == len(t.givers) || t.givers[i+1].off > wrong.Offset {
			t.client.fault(g.up, now, lying, wrong)
			t.gone[g.up] = wrong
		}
	}
	t.stopAll()
	for k := len(t.givers); k > 0 && t.givers[k-1].off >= wrong.Offset; k-- {
		t.givers = t.givers[:k-1]
	}
	t.n, t.total, t.progress, t.grace = wrong.Offset, -1, now, time.Time{}
}

// ended handles the end of a lane.
func (t *transfer) ended(now time.Time, l *lane, err error) {
	var all *hasAll
	switch {
	case err == nil && l.end >= 0 && l.off < l.end:
		t.fail(now, l, io.ErrUnexpectedEOF)
		return
	case err == nil && l.end >= 0 && l.total < 0:
		// A part of an object that grows, from a server that does not know RFC 8673.
		t.drop(l)
		if l.off <= t.n {
			t.rest = now.Add(jittered(again))
		}
		return
	case err == nil && l.off < t.n:
		t.ended(now, l, errOther) // it ends before what another one gave
		return
	case err == nil:
		t.finish(now, l.off)
		return
	case errors.As(err, &all):
		l.up.health.good(now.Sub(l.started))
		if all.length == t.n && t.w != nil {
			t.finish(now, t.n)
			return
		}
		if all.length == t.n {
			// All octets were here before.
			w, err := t.begin(service.Meta{Name: t.r.Name, Generation: t.r.Generation, Length: t.n, Fallback: true})
			if err != nil {
				t.settle(err)
				return
			}
			t.w = w
			t.finish(now, t.n)
			return
		}
		err = errOther
	}
	if l.answers {
		t.fail(now, l, err)
		return
	}
	switch {
	case errors.Is(err, service.ErrNotFound), errors.Is(err, service.ErrUnchanged), errors.Is(err, errNotNow):
		l.up.health.good(now.Sub(l.started))
		t.drop(l)
		t.gone[l.up] = err
	case errors.Is(err, errOther):
		l.up.health.good(now.Sub(l.started))
		t.drop(l)
		t.gone[l.up] = service.ErrChanged
	default:
		t.fail(now, l, err)
	}
}

// fail ends a lane whose parent failed it.
func (t *transfer) fail(now time.Time, l *lane, err error) {
	answered := l.answers
	t.drop(l)
	var status *statusError
	switch {
	case errors.As(err, &status):
		t.gone[l.up] = err
	case answered && !errors.Is(err, errOther):
		// The parent's own object has broken off, or its connection: the same parent may have it again.
		t.broke = t.broke || l.off == t.n && l.off > l.from
		t.gone[l.up] = fmt.Errorf("%w: after %d octets: %w", errNotNow, t.n, err)
	case errors.Is(err, errOther):
		t.gone[l.up] = service.ErrChanged
	default:
		t.client.fault(l.up, l.started, dead, err)
	}
}

func (t *transfer) finish(now time.Time, length int64) {
	if e, ok := t.w.(service.Ender); ok {
		if err := e.End(length); err != nil {
			t.refused(now, err)
			return
		}
	}
	t.settle(nil)
}
