package authority

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/treedn/treedn/driad/dns"
)

const (
	// notifyDelay gathers changes, which may come one after the other.
	notifyDelay = time.Second
	// notifyTimeout is the time before a message is sent again, twice as long each time,
	// and notifyTries how often it is sent (RFC 1996 section 3.6). After that the zone's
	// refresh time has to do.
	notifyTimeout = 5 * time.Second
	notifyTries   = 5
)

// notices are the messages to a secondary that zones have changed (RFC 1996), without
// socket or clock: what is to be sent comes from poll, answers go to handle.
type notices struct {
	a    *Authority
	list []notice // one for each zone
	rand *rand.Rand
	at   time.Time // of the first to be due; zero: none is
}

type notice struct {
	zone  *zone
	id    uint16
	tries int       // left; 0: it has been answered, or given up
	at    time.Time // of the next
}

func newNotices(a *Authority, r *rand.Rand) *notices {
	n := &notices{a: a, rand: r}
	for i := range a.zones {
		n.list = append(n.list, notice{zone: &a.zones[i]})
	}
	return n
}

// changed begins with all zones, or again.
func (n *notices) changed(now time.Time) {
	for i := range n.list {
		x := &n.list[i]
		if x.tries < notifyTries { // else it is about to be sent
			*x = notice{zone: x.zone, id: uint16(n.rand.Uint32()), tries: notifyTries, at: now.Add(notifyDelay)}
		}
	}
	n.schedule()
}

func (n *notices) schedule() {
	n.at = time.Time{}
	for _, x := range n.list {
		if x.tries > 0 && (n.at.IsZero() || x.at.Before(n.at)) {
			n.at = x.at
		}
	}
}

// poll returns the next message that is due, nil if none is.
func (n *notices) poll(now time.Time) []byte {
	for i := range n.list {
		x := &n.list[i]
		if x.tries == 0 || x.at.After(now) {
			continue
		}
		x.at = now.Add(notifyTimeout << (notifyTries - x.tries))
		x.tries--
		n.schedule()
		// The SOA record is a hint, which saves the secondary a question.
		h := dns.Header{ID: x.id, Flags: dns.OpcodeNotify<<11 | dns.FlagAuthoritative}
		b := dns.NewBuilder(nil, h, &dns.Question{Name: x.zone.Name, Type: dns.TypeSOA})
		soa := x.zone.appendSOA(nil, &b, n.a.table.Load().serial)
		b.Record(dns.SectionAnswer, &x.zone.Name, dns.TypeSOA, dns.ClassINET, x.zone.ttl, soa)
		return b.Message()
	}
	return nil
}

var errNotify = errors.New("the secondary does not take it")

// handle takes a datagram from the secondary. Any answer ends it (RFC 1996 section 4.8).
func (n *notices) handle(b []byte) error {
	var p dns.Parser
	var q dns.Question
	if p.Start(b) != nil || p.Header.Flags&dns.FlagResponse == 0 || p.Header.Opcode() != dns.OpcodeNotify {
		return nil
	}
	asked, err := p.Question(&q)
	if err != nil {
		return nil
	}
	for i := range n.list {
		x := &n.list[i]
		if x.tries == 0 || x.tries == notifyTries || x.id != p.Header.ID || asked && !q.Name.Equal(&x.zone.Name) {
			continue
		}
		x.tries = 0
		n.schedule()
		if r := p.Header.RCode(); r != dns.RCodeSuccess {
			return fmt.Errorf("%w: %s %s", errNotify, x.zone.Name, r)
		}
	}
	return nil
}
