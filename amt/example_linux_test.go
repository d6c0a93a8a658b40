package amt_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
)

// A relay, a gateway and a sender on the loopback interface.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	channel, err := ssm.RandomChannel(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		log.Fatal(err)
	}

	upstream, err := amt.NewNative(amt.NativeConfig{Ports: []uint16{channel.Port}})
	if err != nil {
		log.Fatal(err)
	}
	relay := netip.AddrPortFrom(netip.MustParseAddr("127.99.4.1"), channel.Port)
	server, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{relay}, Upstream: upstream})
	if err != nil {
		log.Fatal(err)
	}
	go server.Run(ctx)

	go func() {
		sender, err := ssm.NewSender(channel.Source, nil)
		if err != nil {
			log.Fatal(err)
		}
		defer sender.Close()
		for ctx.Err() == nil {
			_, _ = sender.WriteBatch([][]byte{[]byte("a packet")}, channel.Destination())
			time.Sleep(10 * time.Millisecond)
		}
	}()

	conn, err := amt.Dial(ctx, channel.Source, channel.Destination(), amt.DialConfig{
		Mode:    amt.ModeTunnel,
		Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: relay}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 1500)
	n, _, err := conn.ReadFrom(buf)
	if err != nil {
		log.Fatal(err)
	}
	way, _ := conn.Way()
	fmt.Printf("%s, by the relay: %v\n", buf[:n], way.Relay == relay)
	// Output:
	// a packet, by the relay: true
}
