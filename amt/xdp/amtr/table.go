package amtr

import (
	"container/list"
	"net/netip"
	"time"

	"github.com/treedn/treedn/amt"
)

// table is what is known of gateways: messages and times go in, events come out.
//
// Anybody can send messages with addresses of others. So it has a bound, and
// forgets first those that have no tunnel, the one not heard of for the longest
// time before others.
type table struct {
	max            int
	idle, lifetime time.Duration
	emit           func(Event)
	// lastData is asked when data seems to have ended, for counters that are kept
	// elsewhere; forgotten is told of gateways that are to be forgotten there as
	// well. They may be nil.
	lastData  func(gateway netip.AddrPort) (time.Time, bool)
	forgotten func(gateway netip.AddrPort)

	gateways  map[netip.AddrPort]*list.Element // of *entry
	strangers list.List                        // the latest first
	tunnels   list.List
	evicted   uint64
}

type entry struct {
	Gateway
	lastUpdate, lastData time.Time
}

func newTable(config *Config, emit func(Event)) *table {
	return &table{
		max: config.MaxGateways, idle: config.Idle, lifetime: config.Lifetime, emit: emit,
		gateways: make(map[netip.AddrPort]*list.Element),
	}
}

func (t *table) handle(r *record) {
	e := t.entry(r)
	e.Last = r.at
	e.Messages[r.typ&7] += r.packets
	e.Octets += r.octets
	event := Event{
		Time: r.at, Type: EventType(r.typ), Gateway: r.gateway, Relay: r.relay,
		Nonce: r.nonce, Flags: r.flags, Length: r.length,
	}
	switch r.typ {
	case amt.TypeData:
		e.lastData = r.at
		if e.Flowing {
			return
		}
		t.up(e, r)
		e.Flowing = true
		t.emit(event)
	case amt.TypeUpdate:
		e.lastUpdate = r.at
		t.emit(event)
		t.up(e, r)
	case amt.TypeTeardown:
		t.emit(event)
		t.down(e, r.at)
	default:
		t.emit(event)
	}
}

// entry finds or makes the entry of a gateway, as the latest.
func (t *table) entry(r *record) *entry {
	if el := t.gateways[r.gateway]; el != nil {
		e := el.Value.(*entry)
		t.listOf(e).MoveToFront(el)
		return e
	}
	for len(t.gateways) >= t.max {
		el := t.strangers.Back()
		if el == nil {
			el = t.tunnels.Back()
		}
		t.forget(el.Value.(*entry), r.at)
		t.evicted++
	}
	e := &entry{Gateway: Gateway{Endpoint: r.gateway, Relay: r.relay, First: r.at}}
	t.gateways[r.gateway] = t.strangers.PushFront(e)
	return e
}

func (t *table) forget(e *entry, at time.Time) {
	t.down(e, at)
	t.strangers.Remove(t.gateways[e.Endpoint])
	delete(t.gateways, e.Endpoint)
	if t.forgotten != nil {
		t.forgotten(e.Endpoint)
	}
}

func (t *table) listOf(e *entry) *list.List {
	if e.Up {
		return &t.tunnels
	}
	return &t.strangers
}

func (t *table) up(e *entry, r *record) {
	if e.Up {
		return
	}
	t.strangers.Remove(t.gateways[e.Endpoint])
	t.gateways[e.Endpoint] = t.tunnels.PushFront(e)
	e.Up = true
	t.emit(Event{Time: r.at, Type: EventUp, Gateway: r.gateway, Relay: r.relay})
}

func (t *table) down(e *entry, at time.Time) {
	if !e.Up {
		return
	}
	t.tunnels.Remove(t.gateways[e.Endpoint])
	t.gateways[e.Endpoint] = t.strangers.PushFront(e)
	e.Up, e.Flowing = false, false
	t.emit(Event{Time: at, Type: EventDown, Gateway: e.Endpoint, Relay: e.Relay})
}

// tick looks for what has ended by now.
func (t *table) tick(now time.Time) {
	for el := t.tunnels.Front(); el != nil; {
		e := el.Value.(*entry)
		el = el.Next()
		if e.Flowing && now.Sub(e.lastData) > t.idle {
			if t.lastData != nil {
				if at, ok := t.lastData(e.Endpoint); ok && at.After(e.lastData) {
					e.lastData = at
				}
			}
			if now.Sub(e.lastData) > t.idle {
				e.Flowing = false
				t.emit(Event{Time: now, Type: EventIdle, Gateway: e.Endpoint, Relay: e.Relay})
			}
		}
		if now.Sub(e.lastUpdate) > t.lifetime && now.Sub(e.lastData) > t.lifetime {
			t.down(e, now)
		}
	}
	for el := t.strangers.Back(); el != nil && now.Sub(el.Value.(*entry).Last) > 2*t.lifetime; el = t.strangers.Back() {
		t.forget(el.Value.(*entry), now)
	}
}

// all calls yield with each gateway, those with a tunnel first.
func (t *table) all(yield func(*Gateway) bool) bool {
	for _, l := range []*list.List{&t.tunnels, &t.strangers} {
		for el := l.Front(); el != nil; el = el.Next() {
			if !yield(&el.Value.(*entry).Gateway) {
				return false
			}
		}
	}
	return true
}
