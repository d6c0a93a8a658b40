package driad

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// relay is what is remembered of one.
type relay struct {
	hold     time.Time // held down until then
	failures int
	rtt      time.Duration // 0: not known
	seen     time.Time
}

// backoff returns a random time in [initial, min(initial * 2^n, most)].
func backoff(r *rand.Rand, initial, most time.Duration, n int) time.Duration {
	top := min(initial<<min(n, 16), most)
	return initial + time.Duration(r.Int64N(int64(max(top-initial, 0))+1))
}

func (m *Machine) relayOf(now time.Time, a netip.AddrPort) *relay {
	r := m.relays[a]
	if r == nil {
		if len(m.relays) >= m.config.MaxEntries {
			m.forgetRelays(now)
		}
		r = new(relay)
		m.relays[a] = r
	}
	r.seen = now
	return r
}

// forgetRelays keeps those that are held down, as long as they are not all, and
// drops those not seen for the longest time.
func (m *Machine) forgetRelays(now time.Time) {
	var oldest time.Time
	for _, r := range m.relays {
		if oldest.IsZero() || r.seen.Before(oldest) {
			oldest = r.seen
		}
	}
	limit := oldest.Add(now.Sub(oldest) / 2)
	for a, r := range m.relays {
		if !r.hold.After(now) && !r.seen.After(limit) {
			delete(m.relays, a)
		}
	}
	for a := range m.relays {
		if len(m.relays) < m.config.MaxEntries {
			break
		}
		delete(m.relays, a)
	}
}

func (m *Machine) held(now time.Time, a netip.AddrPort) bool {
	r := m.relays[a]
	return r != nil && r.hold.After(now)
}

// note remembers what became of the use of a relay.
func (m *Machine) note(now time.Time, a netip.AddrPort, o Outcome, rtt time.Duration) {
	r := m.relayOf(now, a)
	switch o {
	case Connected:
		r.failures, r.hold = 0, time.Time{}
		if rtt > 0 && r.rtt > 0 {
			rtt = (7*r.rtt + rtt) / 8 // as RFC 6298 smooths
		}
		if rtt > 0 {
			r.rtt = rtt
		}
		return
	case Overloaded:
		r.hold = now.Add(holdOverloaded)
	case NoTraffic:
		r.hold = now.Add(holdNoTraffic + time.Duration(m.config.Rand.Int64N(int64(holdNoTrafficSpan))))
	case Unreachable:
		d := backoff(m.config.Rand, holdUnreachable, holdOverloaded, r.failures)
		if until := now.Add(d); until.After(r.hold) {
			r.hold = until
		}
		r.failures++
	}
}
