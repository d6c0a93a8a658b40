package ingress

import (
	"time"

	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
)

// doubts are the objects that no seal tells of yet. A seal comes some milliseconds behind the octets, so that few true
// objects are among them for long; whoever sends forged packets can make up any number of others. Each class has a bound,
// beyond which the oldest object goes.
type doubts struct {
	queues  [2][]*route.Object // by class, in the order in which they came; some have left since
	n       [2]int
	evicted uint64
}

// class tells how likely it is that an object is a true one.
type class uint8

const (
	// expected: the manifests announce it, or it comes next, and it has not passed.
	expected class = iota
	// unexpected: any name that a template yields is one of these.
	unexpected
)

// max is how many objects of a class may wait for their first seal, and patience for how long.
func (c class) max() int {
	if c == expected {
		return maxExpected
	}
	return maxUnexpected
}

func (c class) patience() time.Duration {
	if c == expected {
		return sealTime
	}
	return unexpectedTime
}

const (
	maxExpected    = 128
	maxUnexpected  = 64
	unexpectedTime = 2 * time.Second
	// MaxDoubts is the sum of both.
	MaxDoubts = maxExpected + maxUnexpected
)

func classify(svc *service.Service, name string) class {
	if x := svc.Index(); x.Expects(name) && !x.Past(name) {
		return expected
	}
	return unexpected
}

// doubt notes an object that no seal tells of, and makes room for it.
func (in *Ingress) doubt(o *route.Object, x *incoming) {
	d, c := &in.doubts, x.class
	x.doubted = true
	d.n[c]++
	if q := d.queues[c]; len(q) >= 2*c.max() {
		keep := q[:0]
		for _, p := range q {
			if y := in.objects[p]; y != nil && y.doubted {
				keep = append(keep, p)
			}
		}
		clear(q[len(keep):])
		d.queues[c] = keep
	}
	d.queues[c] = append(d.queues[c], o)
	for d.n[c] > c.max() {
		oldest := d.queues[c][0]
		d.queues[c] = d.queues[c][1:]
		if y := in.objects[oldest]; y != nil && y.doubted {
			d.evicted++
			in.drop(oldest, Unverified)
		}
	}
}

// trust ends the doubts in an object: a seal tells of it, or it is gone.
func (in *Ingress) trust(x *incoming) {
	if x.doubted {
		x.doubted = false
		in.doubts.n[x.class]--
	}
}
