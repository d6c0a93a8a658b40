package ingress

import (
	"errors"
	"time"

	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
)

// Loss is why an object was given up.
type Loss uint8

const (
	// Incomplete: packets were lost, and neither FEC nor repair made up for them in time, or there was no memory.
	Incomplete Loss = iota
	// Unverified: seals tell of the object, and those of the rest of it did not come in time.
	Unverified
	// Forged: octets of somebody else's stood in it, and there is no parent to ask for the true ones.
	Forged
	// Broken: it broke off at its source.
	Broken
	// Unfetched: the parents did not bring what multicast had left.
	Unfetched
	// Refused: the service did not take it.
	Refused
	// Left: the session that it came by was left before it was complete.
	Left
	// Losses is how many of these there are.
	Losses
)

func (l Loss) String() string {
	return [...]string{"incomplete", "unverified", "forged", "broken", "unfetched", "refused", "left"}[l]
}

// Error makes it the cause with which an object is aborted.
func (l Loss) Error() string {
	return "ingress: object is lost: " + [...]string{
		"incomplete and too late", "not all of it was sealed in time", "octets were forged", "it broke off at its source",
		"the parents do not bring the rest", "it is not taken", "its session is left",
	}[l]
}

// tellEvery is the least time between two lines of the log about losses of one kind.
const tellEvery = 10 * time.Second

// teller tells the log of objects that are given up: of the first at once, and then how many there were since.
type teller struct {
	count  uint64 // not told yet
	name   string // the newest one
	reason string
	err    error
	at     time.Time // when there may be another line
}

// due tells whether a line is to be written now.
func (x *teller) due(now time.Time) bool { return x.count > 0 && !now.Before(x.at) }

// lose counts an object that is given up.
func (in *Ingress) lose(now time.Time, name string, l Loss, err error) {
	in.counts.Lost[l]++
	in.lost.count++
	in.lost.name, in.lost.reason, in.lost.err = name, l.String(), err
	in.tell(now)
}

// giveUp counts an object that no seal tells of. Anybody can make up such, so that it need be no loss.
func (in *Ingress) giveUp(now time.Time, name string) {
	in.counts.Unsealed++
	in.unsealed.count++
	in.unsealed.name = name
	in.tell(now)
}

// tell writes the lines that are due and returns when the next one will be; the zero time stands for never.
func (in *Ingress) tell(now time.Time) (next time.Time) {
	svc := in.cfg.Service.Name()
	if x := &in.lost; x.due(now) {
		in.log.Warn("objects are lost", "service", svc, "name", x.name, "reason", x.reason, "error", x.err, "count", x.count)
		*x = teller{at: now.Add(tellEvery)}
	}
	if x := &in.unsealed; x.due(now) {
		in.log.Warn("objects are given up that no seal tells of", "service", svc, "name", x.name, "count", x.count)
		*x = teller{at: now.Add(tellEvery)}
	}
	for _, x := range []*teller{&in.lost, &in.unsealed} {
		if x.count > 0 && (next.IsZero() || x.at.Before(next)) {
			next = x.at
		}
	}
	return next
}

// tellAll writes what was not told yet.
func (in *Ingress) tellAll(now time.Time) {
	in.lost.at, in.unsealed.at = time.Time{}, time.Time{}
	in.tell(now)
}

// dropped counts an object that is dropped for a cause.
func (in *Ingress) dropped(now time.Time, o *route.Object, x *incoming, cause error) {
	var l Loss
	switch {
	case !errors.As(cause, &l):
	case !o.Seen() || o.LateStart():
		// It is only suspected, or this node came in the middle of it.
	case l == Left && x.out == nil && in.cfg.Service.Has(o.Name()):
		// The session that has taken the place of this one brings it.
	case in.cfg.Gate != nil && !x.known:
		in.giveUp(now, o.Name())
	default:
		in.lose(now, o.Name(), l, cause)
	}
}

// failed counts an object whose rest the parents did not bring.
func (in *Ingress) failed(now time.Time, name string, err error) {
	switch {
	case errors.Is(err, service.ErrExists), errors.Is(err, service.ErrOlder), errors.Is(err, errUnwanted), errors.Is(err, seal.ErrStale):
		// It has come by another way, or is over.
	case errors.Is(err, sealing.ErrBroken):
		in.lose(now, name, Broken, err)
	default:
		in.lose(now, name, Unfetched, err)
	}
}
