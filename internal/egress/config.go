package egress

import (
	"log/slog"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/route"
)

// FromConfig returns the Config of a configured downstream.
func FromConfig(d config.Downstream, now func() time.Time, log *slog.Logger) Config {
	if now == nil {
		now = time.Now
	}
	return Config{
		Session:   route.Session{Source: d.Source, Group: d.Group, Port: d.Port},
		Interface: d.Interface, TTL: d.TTL,
		Sender: route.SenderConfig{
			FirstTSI: firstTSI(now()),
			Rate:     int64(d.Rate),
			NoRepair: d.FEC.Off,
			Loss:     fec.Loss{Random: d.FEC.Loss, Target: d.FEC.Target},

			GrowingDelay: growingDelay(d.FEC.Growing), GrowingTarget: d.FEC.Growing.Target,

			MaxBuffered: maxBuffered(int64(d.Rate)),
		},
		Now: now, Logger: log,
	}
}

func growingDelay(g config.GrowingFEC) time.Duration {
	if g.Off {
		return -1
	}
	return g.Delay
}

// maxBuffered is how many octets may wait: with a configured rate in bit/s what leaves within ten seconds, since what is
// later than that is of no use to a player.
func maxBuffered(rate int64) int64 {
	const least, most = 32 << 20, 128 << 20
	if rate == 0 {
		return most
	}
	return min(most, max(least, rate/8*10))
}

// tsiEpoch is when firstTSI is zero.
const tsiEpoch = 1735689600 // 2025-01-01T00:00:00Z

// firstTSI is where a sender's TSIs begin, so that a sender that starts again uses none a second time: receivers
// remember what they got under the old ones. A sender takes far less than one TSI a second.
func firstTSI(now time.Time) uint32 {
	return uint32(max(1, now.Unix()-tsiEpoch)) & 0x7fffffff
}
