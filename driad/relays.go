package driad

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"time"
)

// relay is what is remembered of one, whatever it was used for.
type relay struct {
	hold     time.Time // held down until then
	failures int
	rtt      time.Duration // 0: not known
	seen     time.Time
}

// silence is a relay that brought nothing of a source, or a discovery address that led to
// one which failed. It may well carry others:
// sources are looked at one by one (RFC 8777 section 3.3.7), or one that does not
// send would take the relays from all.
type silence struct {
	source netip.Addr
	relay  netip.AddrPort
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

// held reports whether a relay is held down for a source.
func (m *Machine) held(now time.Time, source netip.Addr, a netip.AddrPort) bool {
	r := m.relays[a]
	return r != nil && r.hold.After(now) || m.silent[silence{source, a}].After(now)
}

// hush holds a relay down for a source.
func (m *Machine) hush(now time.Time, source netip.Addr, a netip.AddrPort, until time.Time) {
	if len(m.silent) >= m.config.MaxEntries {
		maps.DeleteFunc(m.silent, func(_ silence, until time.Time) bool { return !until.After(now) })
	}
	for k := range m.silent {
		if len(m.silent) < m.config.MaxEntries {
			break
		}
		delete(m.silent, k)
	}
	m.silent[silence{source, a}] = until
}

// note remembers what became of the use of a relay for a source.
func (m *Machine) note(now time.Time, source netip.Addr, a netip.AddrPort, o Outcome, rtt time.Duration) {
	if o == NoTraffic {
		m.hush(now, source, a, now.Add(holdNoTraffic+time.Duration(m.config.Rand.Int64N(int64(holdNoTrafficSpan)))))
		return
	}
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
	case Unreachable:
		d := backoff(m.config.Rand, holdUnreachable, holdOverloaded, r.failures)
		if until := now.Add(d); until.After(r.hold) {
			r.hold = until
		}
		r.failures++
	}
}
