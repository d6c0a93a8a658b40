package reception

import (
	"log/slog"
	"time"

	"github.com/treedn/treedn/internal/telemetry"
)

const (
	// lookForDrops is how often the counters of packets that were lost in this node are looked at.
	lookForDrops = time.Second
	// tellDrops is the least time between two lines of the log about them.
	tellDrops = time.Minute
)

// dropTeller tells the log of packets that were lost in this node before they were read: of the first at once, and then how
// many there were since.
type dropTeller struct {
	dropped, truncated uint64    // told
	at                 time.Time // when there may be another line
}

// tell writes what is due, of the counters as they are now.
func (t *dropTeller) tell(now time.Time, log *slog.Logger, service string, w telemetry.Way) {
	dropped, truncated := w.Dropped-t.dropped, w.Truncated-t.truncated
	if dropped == 0 && truncated == 0 || now.Before(t.at) {
		return
	}
	log.Warn("packets are lost in this node before they are read", "service", service, "dropped", dropped, "truncated", truncated)
	t.dropped, t.truncated, t.at = w.Dropped, w.Truncated, now.Add(tellDrops)
}

// watchDrops tells of drops until the service ends.
func (x *Service) watchDrops() {
	tick := time.NewTicker(lookForDrops)
	defer tick.Stop()
	var t dropTeller
	for {
		select {
		case <-x.ctx.Done():
			t.at = time.Time{}
			t.tell(x.set.cfg.Now(), x.set.cfg.Logger, x.Name(), x.wayCounters())
			return
		case <-tick.C:
			t.tell(x.set.cfg.Now(), x.set.cfg.Logger, x.Name(), x.wayCounters())
		}
	}
}

// wayCounters returns the counters of all ways that there are and were.
func (x *Service) wayCounters() telemetry.Way {
	x.mu.Lock()
	defer x.mu.Unlock()
	sum := x.past.way
	for _, r := range x.receptions {
		addWay(&sum, r.ways.status(true))
	}
	return sum
}
