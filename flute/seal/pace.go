package seal

import "time"

const (
	gatherTime   = 5 * time.Millisecond
	followTime   = 40 * time.Millisecond
	repeatTime   = 500 * time.Millisecond // how long what ended is repeated
	recentTime   = 15 * time.Second       // how long it may be sealed anew
	standbyDelay = 2 * time.Second
	rateBurst    = 4
	// saved is the unspent allowance that is kept at most, in octets.
	saved = 8192
	// reserve is what is there for the next datagram before another may be spent.
	reserve = 300
)

// idleDelays are when the newest records go again with nothing else due. While
// chunks come the first is left out: a newer record replaces the old one soon.
var idleDelays = [...]time.Duration{20 * time.Millisecond, 100 * time.Millisecond, repeatTime}

// rideDelays are the ages at which the record of an ended object is ready to go
// again with others.
var rideDelays = [...]time.Duration{
	20 * time.Millisecond, 80 * time.Millisecond, 200 * time.Millisecond, repeatTime,
}

// pace decides when datagrams go.
type pace struct {
	limit     limiter // of datagrams
	share     float64
	allowance float64 // octets

	due     time.Time // records that were not sent are to go; zero: none
	follows time.Time // a record that waits for others triggers; zero: none
	gather  time.Time // those that come before it go together then
	freshAt time.Time // the newest datagram with something new in it
	idle    int       // idleDelays since
}

func newPace(cfg SignerConfig) pace {
	return pace{share: cfg.Share, limit: newLimiter(float64(cfg.MaxRate), rateBurst), idle: len(idleDelays)}
}

// earn adds to the allowance for sealed octets.
func (p *pace) earn(octets int64) {
	p.allowance = min(saved, p.allowance+p.share*float64(octets))
}

// trigger has a new record sent: at once, if nothing went within the last 5 ms.
// If that would make debts, or those who come next would not be allowed to go,
// it waits for company.
func (p *pace) trigger(now time.Time) {
	at := now
	switch {
	case now.Before(p.gather):
		at = p.gather
	case p.allowance < reserve || p.limit.left(now) < 2:
		p.gather = now.Add(gatherTime)
		at = p.gather
	default:
		p.gather = now.Add(gatherTime)
	}
	p.want(at)
}

// follow has a new record sent with the next one that triggers, or as one that
// does after 40 ms.
func (p *pace) follow(now time.Time) {
	if p.follows.IsZero() {
		p.follows = now.Add(followTime)
	}
}

// waited turns a record that has waited for long enough into one that triggers.
func (p *pace) waited(now time.Time) {
	if !p.follows.IsZero() && !now.Before(p.follows) {
		p.follows = time.Time{}
		p.trigger(now)
	}
}

func (p *pace) want(at time.Time) {
	if p.due.IsZero() || at.Before(p.due) {
		p.due = at
	}
}

// sent accounts for a datagram.
func (p *pace) sent(octets int) {
	p.allowance = max(-saved, p.allowance-float64(octets))
}

// idleAt is when the newest records go again; zero: never.
func (p *pace) idleAt(leading bool) time.Time {
	if p.idle == 0 && leading {
		p.idle = 1
	}
	if p.idle >= len(idleDelays) {
		return time.Time{}
	}
	return p.freshAt.Add(idleDelays[p.idle])
}
