package gmp_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/treedn/treedn/amt/gmp"
)

// A host joins a channel on a network and leaves it; the router asks whether
// anybody else wants it before it prunes. Time is what the program says it is.
func Example() {
	now := time.Now()
	source, group := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("232.1.1.10")

	router := gmp.NewRouter(now, gmp.RouterConfig{})
	link := router.AddSharedLink(now, gmp.LinkConfig{IGMP: netip.MustParseAddr("192.0.2.1")})
	host := gmp.NewHost(gmp.HostConfig{Source: netip.MustParseAddr("192.0.2.2")})

	// What one sends the other hears.
	exchange := func() {
		var m gmp.Message
		router.HandleTimeout(now)
		for {
			packet, _, ok := router.PollQuery(nil)
			if !ok {
				break
			}
			if err := m.Parse(packet); err != nil {
				panic(err)
			}
			_ = host.HandleQuery(now, &m)
		}
		host.HandleTimeout(now)
		for {
			packet, ok := host.Poll(nil)
			if !ok {
				break
			}
			if err := m.Parse(packet); err != nil {
				panic(err)
			}
			for record := range m.Records {
				fmt.Println("host:", record.Type, record.Group)
			}
			router.HandleReport(now, link, &m)
		}
		for {
			event, ok := router.PollEvent()
			if !ok {
				break
			}
			switch event.Type {
			case gmp.EventForward:
				fmt.Println("router: forward", event.Source, event.Group)
			case gmp.EventPrune:
				fmt.Println("router: prune", event.Source, event.Group)
			}
		}
	}

	if err := host.SetFilter(now, group, gmp.Filter{Sources: []netip.Addr{source}}); err != nil {
		panic(err)
	}
	exchange()
	now = now.Add(time.Second)
	exchange() // once more, in case the first report was lost
	if err := host.SetFilter(now, group, gmp.Filter{}); err != nil {
		panic(err)
	}
	exchange()
	for range 4 {
		now = now.Add(time.Second)
		exchange()
	}
	// Output:
	// host: ALLOW_NEW_SOURCES 232.1.1.10
	// router: forward 192.0.2.10 232.1.1.10
	// host: ALLOW_NEW_SOURCES 232.1.1.10
	// host: BLOCK_OLD_SOURCES 232.1.1.10
	// host: BLOCK_OLD_SOURCES 232.1.1.10
	// router: prune 192.0.2.10 232.1.1.10
}
