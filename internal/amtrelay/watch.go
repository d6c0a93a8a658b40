package amtrelay

import (
	"log/slog"
	"time"

	"github.com/treedn/treedn/amt"
)

// limits are counters that rise when a limit bites, with what that means.
var limits = []struct {
	text, remedy string
	of           func(s *amt.ServerStats, queue uint64) uint64
}{
	{"messages of gateways are not answered: they come faster than is allowed", "", func(s *amt.ServerStats, _ uint64) uint64 { return s.Limited }},
	{"gateways are refused: there are too many tunnels", "amt.max_tunnels, amt.max_tunnels_per_address", func(s *amt.ServerStats, _ uint64) uint64 { return s.RelayStats.Refused }},
	{"gateways want channels that they may not have", "amt.allow", func(s *amt.ServerStats, _ uint64) uint64 { return s.Denied }},
	{overLimit, "amt.max_groups_per_tunnel, amt.max_sources_per_group, amt.max_channels_per_tunnel", func(s *amt.ServerStats, _ uint64) uint64 { return s.Ignored - s.Denied }},
	{"discoveries are not answered: there is no address of their family", "amt.advertise", func(s *amt.ServerStats, _ uint64) uint64 { return s.NoAddress }},
	{"the system does not send all copies", "", func(s *amt.ServerStats, _ uint64) uint64 { return s.Refused }},
	{"packets do not fit the path to gateways, and may not be cut", "amt.path_mtu", func(s *amt.ServerStats, _ uint64) uint64 { return s.TooBig }},
	{"packets come faster than they can be copied", "", func(_ *amt.ServerStats, queue uint64) uint64 { return queue }},
}

// overLimit is told with the last of the gateways, which may be a relay with gateways of its own.
const overLimit = "gateways want more channels than each may have, and do not get them"

const (
	watchEvery = 5 * time.Second
	// tellEvery is the least time between two lines about one limit.
	tellEvery = time.Minute
)

// watcher tells the log when limits bite: the first time soon, and then what has come together in a minute.
type watcher struct {
	told map[int]uint64 // by the index of the limit: the counter
	when map[int]time.Time
}

// due returns how much a counter has risen, if the log is to be told.
func (w watcher) due(i int, now time.Time, value uint64) (risen uint64) {
	if value <= w.told[i] || now.Sub(w.when[i]) < tellEvery {
		return 0
	}
	risen = value - w.told[i]
	w.told[i], w.when[i] = value, now
	return risen
}

// watch looks at the counters until the relay ends.
func (r *Relay) watch() {
	w := watcher{make(map[int]uint64), make(map[int]time.Time)}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.served:
			return
		case now := <-tick.C:
			r.check(w, now)
		}
	}
}

func (r *Relay) check(w watcher, now time.Time) {
	stats := r.server.Stats()
	var queue uint64
	if r.native != nil {
		queue = r.native.Dropped()
	}
	w.tell(r.log, now, &stats, queue)
}

func (w watcher) tell(log *slog.Logger, now time.Time, stats *amt.ServerStats, queue uint64) {
	for i, l := range limits {
		if n := w.due(i, now, l.of(stats, queue)); n > 0 {
			args := []any{"count", n}
			if l.remedy != "" {
				args = append(args, "see", l.remedy)
			}
			if l.text == overLimit {
				args = append(args, "last", stats.Greedy)
			}
			log.Warn(l.text, args...)
		}
	}
}
