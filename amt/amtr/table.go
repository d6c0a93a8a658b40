package amtr

import (
	"container/list"
	"fmt"
	"net/netip"
	"time"

	"github.com/treedn/treedn/amt"
)

// TableConfig configures a [Table]. The zero value is useful.
type TableConfig struct {
	// MembershipInterval is after how long without an Update a tunnel counts as
	// down. Default: 260 s (RFC 3376 section 8.4).
	MembershipInterval time.Duration
	// MaxGateways bounds the table. Default: 131,072.
	MaxGateways int
}

// Message is an AMT message that passed by.
type Message struct {
	Time     time.Time
	Outgoing bool           // from the relay
	Gateway  netip.AddrPort // the other end
	Payload  []byte         // of the UDP datagram; the first 30 octets do
	Length   int            // of the whole payload
}

// Counters count the messages of one gateway.
type Counters struct {
	Discoveries, Advertisements uint64
	Requests, Queries           uint64
	Updates, Teardowns          uint64
	DataPackets, DataOctets     uint64 // to it, in octets of the inner packets
}

// Gateway is what is known of a gateway.
type Gateway struct {
	Address  netip.AddrPort
	Up       bool      // it has a tunnel
	Since    time.Time // when that became so, or it was first heard of
	LastSeen time.Time // its last message
	Counters Counters
}

// EventType says what happened.
type EventType uint8

// Types of event.
const (
	// Attempt: a Request has come from a gateway without a tunnel.
	Attempt EventType = 1 + iota
	// Up: a gateway has sent its first Update.
	Up
	// Down: its tunnel has ended, by a Teardown or for its silence.
	Down
)

// String returns the name of the type.
func (t EventType) String() string {
	switch t {
	case Attempt:
		return "attempt"
	case Up:
		return "up"
	case Down:
		return "down"
	}
	return "event"
}

// Event is something that happened to a gateway.
type Event struct {
	Time     time.Time
	Type     EventType
	Gateway  netip.AddrPort
	Silent   bool     // of Down: there was no Teardown
	Counters Counters // so far
}

// String returns a line for a log.
func (e Event) String() string {
	return fmt.Sprintf("%v %v after %d requests, %d updates, %d packets of data", e.Gateway, e.Type, e.Counters.Requests, e.Counters.Updates, e.Counters.DataPackets)
}

// Table makes gateways of messages. It is not safe for concurrent use.
type Table struct {
	config   TableConfig
	gateways map[netip.AddrPort]*list.Element // of *entry
	order    list.List                        // the one that was silent the longest first
	updated  list.List                        // those that are up, in the order of their last Update
	events   []Event
	next     int
	stats    TableStats
}

type entry struct {
	Gateway
	attempted  bool
	lastUpdate time.Time
	up         *list.Element // in updated
}

// TableStats counts what a table did.
type TableStats struct {
	Gateways, Tunnels int // in the table now, and those that are up
	Messages          uint64
	Malformed         uint64 // what is no message that goes that way
	Forgotten         uint64 // gateways for which there was no room
}

// NewTable returns an empty table.
func NewTable(config TableConfig) *Table {
	if config.MembershipInterval <= 0 {
		config.MembershipInterval = 260 * time.Second
	}
	if config.MaxGateways <= 0 {
		config.MaxGateways = 1 << 17
	}
	return &Table{config: config, gateways: make(map[netip.AddrPort]*list.Element)}
}

// HandleMessage takes a message.
func (t *Table) HandleMessage(m *Message) {
	var parsed amt.Message
	if len(m.Payload) == 0 || m.Payload[0]>>4 != 0 {
		t.stats.Malformed++
		return
	}
	kind := amt.Type(m.Payload[0] & 0xf)
	incoming := kind == amt.TypeDiscovery || kind == amt.TypeRequest || kind == amt.TypeUpdate || kind == amt.TypeTeardown
	if kind < amt.TypeDiscovery || kind > amt.TypeTeardown || incoming == m.Outgoing {
		t.stats.Malformed++
		return
	}
	t.stats.Messages++
	if kind == amt.TypeTeardown {
		if parsed.Unmarshal(m.Payload) != nil {
			t.stats.Malformed++
			return
		}
		t.teardown(m, parsed.Gateway)
		return
	}
	e := t.entry(m.Time, m.Gateway, !m.Outgoing)
	if e == nil {
		return // an answer to somebody who has been forgotten
	}
	c := &e.Counters
	switch kind {
	case amt.TypeDiscovery:
		c.Discoveries++
	case amt.TypeAdvertisement:
		c.Advertisements++
	case amt.TypeRequest:
		c.Requests++
		if !e.Up && !e.attempted {
			e.attempted = true
			t.emit(m.Time, Attempt, e)
		}
	case amt.TypeQuery:
		c.Queries++
	case amt.TypeUpdate:
		c.Updates++
		t.update(m.Time, e)
	case amt.TypeData:
		c.DataPackets++
		c.DataOctets += uint64(max(0, m.Length-2))
	}
}

// entry returns what is known of a gateway, and makes room for it if there is
// none and it may.
func (t *Table) entry(now time.Time, gateway netip.AddrPort, heard bool) *entry {
	if x := t.gateways[gateway]; x != nil {
		e := x.Value.(*entry)
		if heard {
			e.LastSeen = now
			t.order.MoveToBack(x)
		}
		return e
	}
	if !heard {
		return nil
	}
	for len(t.gateways) >= t.config.MaxGateways {
		old := t.order.Front().Value.(*entry)
		t.stats.Forgotten++
		t.remove(now, old, true)
	}
	e := &entry{Gateway: Gateway{Address: gateway, Since: now, LastSeen: now}}
	t.gateways[gateway] = t.order.PushBack(e)
	return e
}

func (t *Table) update(now time.Time, e *entry) {
	e.lastUpdate = now
	if e.Up {
		t.updated.MoveToBack(e.up)
		return
	}
	e.Up, e.Since = true, now
	e.up = t.updated.PushBack(e)
	t.emit(now, Up, e)
}

// teardown speaks for the endpoint that it names: its sender has another one.
func (t *Table) teardown(m *Message, endpoint netip.AddrPort) {
	x := t.gateways[endpoint]
	if x == nil {
		return
	}
	e := x.Value.(*entry)
	e.Counters.Teardowns++
	t.remove(m.Time, e, false)
}

// remove forgets a gateway.
func (t *Table) remove(now time.Time, e *entry, silent bool) {
	t.order.Remove(t.gateways[e.Address])
	delete(t.gateways, e.Address)
	if e.Up {
		t.updated.Remove(e.up)
		t.emit(now, Down, e)
		t.events[len(t.events)-1].Silent = silent
	}
}

func (t *Table) emit(now time.Time, kind EventType, e *entry) {
	t.events = append(t.events, Event{Time: now, Type: kind, Gateway: e.Address, Counters: e.Counters})
}

// AddData adds data that were counted elsewhere: what was sent to a gateway since
// it was added last.
func (t *Table) AddData(gateway netip.AddrPort, packets, octets uint64) {
	if x := t.gateways[gateway]; x != nil {
		c := &x.Value.(*entry).Counters
		c.DataPackets += packets
		c.DataOctets += octets
	}
}

// PollEvent returns the next event.
func (t *Table) PollEvent() (Event, bool) {
	if t.next == len(t.events) {
		t.events, t.next = t.events[:0], 0
		return Event{}, false
	}
	t.next++
	return t.events[t.next-1], true
}

// NextTimeout returns when HandleTimeout is due; the zero time means never.
func (t *Table) NextTimeout() time.Time {
	var next time.Time
	if x := t.updated.Front(); x != nil {
		next = x.Value.(*entry).lastUpdate.Add(t.config.MembershipInterval)
	}
	if x := t.order.Front(); x != nil {
		if at := x.Value.(*entry).LastSeen.Add(2 * t.config.MembershipInterval); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// HandleTimeout ends tunnels whose gateways have fallen silent, and forgets who
// has not been heard of for much longer.
func (t *Table) HandleTimeout(now time.Time) {
	for x := t.updated.Front(); x != nil; x = t.updated.Front() {
		e := x.Value.(*entry)
		if e.lastUpdate.Add(t.config.MembershipInterval).After(now) {
			break
		}
		t.updated.Remove(x)
		e.Up, e.up, e.Since, e.attempted = false, nil, now, false
		t.emit(now, Down, e)
		t.events[len(t.events)-1].Silent = true
	}
	for x := t.order.Front(); x != nil; x = t.order.Front() {
		e := x.Value.(*entry)
		if e.LastSeen.Add(2 * t.config.MembershipInterval).After(now) {
			break
		}
		t.remove(now, e, true)
	}
}

// Gateways calls yield with each gateway. It is made for the range statement.
func (t *Table) Gateways(yield func(Gateway) bool) {
	for x := t.order.Front(); x != nil; x = x.Next() {
		if !yield(x.Value.(*entry).Gateway) {
			return
		}
	}
}

// Stats returns the counters.
func (t *Table) Stats() TableStats {
	s := t.stats
	s.Gateways, s.Tunnels = len(t.gateways), t.updated.Len()
	return s
}
