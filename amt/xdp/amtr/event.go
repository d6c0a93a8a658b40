package amtr

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/treedn/treedn/amt"
)

// EventType says what happened.
type EventType uint8

// Types of event. The first seven are messages, with the numbers of RFC 7450;
// the others are what messages, or their absence, say of a tunnel.
const (
	// EventDiscovery is a Relay Discovery.
	EventDiscovery = EventType(amt.TypeDiscovery)
	// EventAdvertisement is a Relay Advertisement.
	EventAdvertisement = EventType(amt.TypeAdvertisement)
	// EventRequest is a Request; without an Update that follows it is an attempt.
	EventRequest = EventType(amt.TypeRequest)
	// EventQuery is a Membership Query.
	EventQuery = EventType(amt.TypeQuery)
	// EventUpdate is a Membership Update. Whether the relay believes it is not to
	// be seen.
	EventUpdate = EventType(amt.TypeUpdate)
	// EventData is the first Multicast Data to a gateway, or the first after
	// Config.Idle without.
	EventData = EventType(amt.TypeData)
	// EventTeardown is a Teardown; Gateway is the endpoint that is to end. Linux's
	// relay takes no notice of it: EventData may follow.
	EventTeardown = EventType(amt.TypeTeardown)

	// EventUp follows the first Update of a gateway, or the first Multicast Data to
	// one: it has a tunnel.
	EventUp EventType = 16
	// EventIdle: for Config.Idle no Multicast Data went to the gateway.
	EventIdle EventType = 17
	// EventDown: the tunnel has ended, by a Teardown or since for Config.Lifetime
	// neither an Update nor Multicast Data was seen.
	EventDown EventType = 18
)

// String returns a word.
func (t EventType) String() string {
	switch t {
	case EventDiscovery:
		return "discovery"
	case EventAdvertisement:
		return "advertisement"
	case EventRequest:
		return "request"
	case EventQuery:
		return "query"
	case EventUpdate:
		return "update"
	case EventData:
		return "data"
	case EventTeardown:
		return "teardown"
	case EventUp:
		return "up"
	case EventIdle:
		return "idle"
	case EventDown:
		return "down"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Event is something that happened.
type Event struct {
	Time    time.Time
	Type    EventType
	Gateway netip.AddrPort // as the relay sees it
	Relay   netip.AddrPort

	// Of messages that have them:
	Nonce  uint32
	Flags  amt.Flags
	Length int // octets of the UDP payload
}

// Gateway is what is known of an endpoint.
type Gateway struct {
	Endpoint    netip.AddrPort
	Relay       netip.AddrPort // that it first had to do with
	First, Last time.Time      // of its messages, to and from
	// Messages are the messages of each type, by [amt.Type].
	Messages [8]uint64
	// Octets are those of the packets in Multicast Data, with their IP headers.
	Octets uint64
	// Up: it has a tunnel, see EventUp and EventDown.
	Up bool
	// Flowing: Multicast Data goes to it, see EventData and EventIdle.
	Flowing bool
}

// Stats counts what no Gateway and no Event tells.
type Stats struct {
	Malformed  uint64 // messages with impossible lengths, or of another version
	Fragments  uint64 // fragments of UDP, whose ports most do not have
	Unexpected uint64 // messages of types that do not go that way
	Lost       uint64 // messages that were seen in the kernel and not here
	LostEvents uint64 // events that nobody took from the channel in time
	Evicted    uint64 // gateways forgotten to stay within MaxGateways
}
