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

// The interface that a channel comes by is about to go down: packets are made to come
// through a relay first, without loss, and natively again after that.
func ExampleConn_SetMode() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	channel, err := ssm.RandomChannel(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		log.Fatal(err)
	}
	upstream, err := amt.NewNative(amt.NativeConfig{Ports: []uint16{channel.Port}, Sockets: true})
	if err != nil {
		log.Fatal(err)
	}
	relay := netip.AddrPortFrom(netip.MustParseAddr("127.99.4.2"), channel.Port)
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
		for n := 0; ctx.Err() == nil; n++ {
			_, _ = sender.WriteBatch([][]byte{[]byte(fmt.Sprint("packet ", n))}, channel.Destination())
			time.Sleep(2 * time.Millisecond)
		}
	}()

	switched := make(chan amt.ConnEvent, 10)
	conn, err := amt.Dial(ctx, channel.Source, channel.Destination(), amt.DialConfig{
		NativeTimeout: time.Minute,
		Gateway:       amt.GatewayConfig{Relays: []amt.Candidate{{Address: relay}}},
		OnEvent: func(e amt.ConnEvent) {
			if e.Type == amt.ConnStarted || e.Type == amt.ConnSwitched {
				switched <- e
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Println("first", (<-switched).To)
	for _, mode := range []amt.Mode{amt.ModeTunnel, amt.ModeAuto} {
		if err := conn.SetMode(mode); err != nil {
			log.Fatal(err)
		}
		e := <-switched
		fmt.Println("native:", e.To == amt.Way{}, "planned:", e.Planned)
	}
	// Output:
	// first native
	// native: false planned: true
	// native: true planned: true
}
