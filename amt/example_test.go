package amt_test

import (
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/treedn/treedn/amt"
)

// A gateway and a relay without sockets, in a simulation with a time of its own:
// what one has to send the other takes.
func ExampleGateway() {
	now := time.Unix(0, 0)
	source, group := netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("232.1.1.10")
	address, home := netip.MustParseAddrPort("192.0.2.1:2268"), netip.MustParseAddrPort("203.0.113.5:40000")

	relay, err := amt.NewRelay(now, amt.RelayConfig{IPv4: address.Addr()})
	if err != nil {
		log.Fatal(err)
	}
	gateway := amt.NewGateway(amt.GatewayConfig{Relays: []amt.Candidate{{Address: address}}})
	if err := gateway.Join(now, source, group); err != nil {
		log.Fatal(err)
	}
	var path amt.Path // a socket of the gateway, of which there is one here
	var packet amt.Packet
	for {
		t, ok := gateway.PollTransmission()
		if !ok {
			break // until gateway.NextTimeout, when HandleTimeout is due
		}
		path = t.Path
		var m amt.Message
		if err := m.Unmarshal(t.Payload); err != nil {
			log.Fatal(err)
		}
		fmt.Println("gateway:", m.Type)
		if answer := relay.HandleDatagram(now, &amt.Datagram{Local: t.To, Remote: home, Payload: t.Payload}, nil); len(answer) > 0 {
			gateway.HandleDatagram(now, path, &amt.Datagram{Local: home, Remote: t.To, Payload: answer}, 0, &packet)
		}
	}
	for e, ok := relay.PollEvent(); ok; e, ok = relay.PollEvent() {
		fmt.Println("relay:", e.Type)
	}

	// A packet for all who want the channel.
	inner := amt.AppendUDP(nil, netip.AddrPortFrom(source, 5000), netip.AddrPortFrom(group, 5000), 16, []byte("a picture"))
	tunnels, _ := relay.AppendTunnels(nil, nil, source, group)
	for i := range tunnels {
		data, err := (&amt.Message{Type: amt.TypeData, Packet: inner}).AppendTo(nil)
		if err != nil {
			log.Fatal(err)
		}
		from := relay.Local(&tunnels[i])
		if gateway.HandleDatagram(now, path, &amt.Datagram{Local: tunnels[i].Gateway(), Remote: from, Payload: data}, 0, &packet) && packet.ParseUDP() == nil {
			fmt.Printf("%v: %s\n", packet.Destination, packet.Payload)
		}
	}
	// Output:
	// gateway: Relay Discovery
	// gateway: Request
	// gateway: Membership Update
	// relay: tunnel up
	// relay: join
	// 232.1.1.10:5000: a picture
}

// A message of a capture: what follows the UDP header.
func ExampleMessage_Unmarshal() {
	datagram := []byte{
		0x02, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 192, 0, 2, 1,
	}
	var m amt.Message
	if err := m.Unmarshal(datagram); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%v, nonce %08x, relay %v\n", m.Type, m.Nonce, m.Relay)
	fmt.Println(m.Unmarshal(datagram[:7]))
	// Output:
	// Relay Advertisement, nonce 12345678, relay 192.0.2.1
	// amt: Relay Advertisement: too short
}

func ExampleConnEventType_String() {
	fmt.Println(amt.ConnRelaySilent, amt.GatewaySilent, amt.EventReady, amt.ConnEventType(99))
	// Output: relay silent silent ready event 99
}
