package egress

import (
	"context"
	"net/netip"
	"time"
)

// Reason is why a packet was not sent.
type Reason uint8

const (
	// TooLarge: it does not fit the interface.
	TooLarge Reason = iota
	// Forbidden: a firewall or a sandbox does not let it out.
	Forbidden
	// Full: the queue of the interface has no room.
	Full
	// Unreachable: there is no route, or the interface is down.
	Unreachable
	// Other: the system refused it for another reason, or the socket is closed.
	Other
	// Reasons is how many of these there are.
	Reasons
)

func (r Reason) String() string {
	return [...]string{"too_large", "forbidden", "full", "unreachable", "other"}[r]
}

func reasonOf(err error) Reason {
	switch {
	case isTooLarge(err):
		return TooLarge
	case isForbidden(err):
		return Forbidden
	case isFull(err):
		return Full
	case isUnreachable(err):
		return Unreachable
	}
	return Other
}

// ofPacket tells whether the packets behind a refused one may fare better. If not, it is for the socket to be used again
// later.
func (r Reason) ofPacket() bool { return r <= Full }

// Unsent counts packets that were not sent, by reason.
type Unsent [Reasons]uint64

// Sum is how many there are.
func (u *Unsent) Sum() (n uint64) {
	for _, k := range u {
		n += k
	}
	return n
}

// Sent is what became of the packets that were to be sent.
type Sent struct {
	// Packets, Octets and RepairOctets are those that the system took; seals are not among them.
	Packets, Octets, RepairOctets uint64
	// Unsent are packets that it did not take, UnsentSeals datagrams with seals.
	Unsent, UnsentSeals Unsent
}

// Sent returns the counters of what has been sent, and has not.
func (e *Egress) Sent() Sent {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts
}

// writer is an ssm.Sender: its WriteBatch returns how many packets were sent, and the error of the one behind those.
type writer interface {
	WriteBatch(packets [][]byte, dst netip.AddrPort) (int, error)
	Close() error
}

// respite is what the queue of an interface is given to get room. Nobody tells when it has.
const respite = time.Millisecond

// write sends a batch. An error that is about one packet costs that packet, one that is about the socket what is left of
// the batch: what is live is of no use later, and receivers repair it. count is called for each run of packets that fared
// alike, with nil for those that were sent. The last error of the socket is returned.
func write(ctx context.Context, sock writer, packets [][]byte, dst netip.AddrPort, count func(first, n int, err error)) error {
	for done := 0; done < len(packets); {
		n, err := sock.WriteBatch(packets[done:], dst)
		if n > 0 {
			count(done, n, nil)
			done += n
		}
		if err == nil || done == len(packets) {
			break
		}
		reason := reasonOf(err)
		if !reason.ofPacket() {
			count(done, len(packets)-done, err)
			return err
		}
		count(done, 1, err)
		done++
		if reason == Full {
			select {
			case <-ctx.Done():
			case <-time.After(respite):
			}
		}
	}
	return nil
}

// tellEvery is the least time between two warnings about packets that are not sent for one reason.
const tellEvery = time.Minute

// teller tells the log of packets that are not sent, for each reason of the first at once, and then how many there were
// since. Only Run uses it.
type teller struct {
	reasons [Reasons]struct {
		count uint64 // not told yet
		err   error
		at    time.Time // when there may be another line
	}
	down bool      // nothing could be sent last
	upAt time.Time // when there may be another line that it can be
}

// note takes packets that were not sent.
func (x *teller) note(n int, err error) {
	r := &x.reasons[reasonOf(err)]
	r.count += uint64(n)
	r.err = err
}

// tell writes what is due, or all of it, and returns when the next line will be; the zero time stands for never.
func (e *Egress) tell(x *teller, now time.Time, all bool) (next time.Time) {
	for i := range x.reasons {
		r := &x.reasons[i]
		switch {
		case r.count == 0:
		case now.Before(r.at) && !all:
			if next.IsZero() || r.at.Before(next) {
				next = r.at
			}
		default:
			e.cfg.Logger.Warn("packets are not sent", "session", e.cfg.Session, "reason", Reason(i).String(), "error", r.err, "count", r.count)
			r.count, r.err, r.at = 0, nil, now.Add(tellEvery)
		}
	}
	return next
}

// up tells that packets are sent again.
func (e *Egress) up(x *teller, now time.Time) {
	if x.down && !now.Before(x.upAt) {
		e.cfg.Logger.Info("can send again", "session", e.cfg.Session)
		x.upAt = now.Add(tellEvery)
	}
	x.down = false
}
