package gmp_test

import (
	"fmt"
	"math/rand/v2"
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
	// The host answers queries at random times, which here are always the same.
	host := gmp.NewHost(gmp.HostConfig{Source: netip.MustParseAddr("192.0.2.2"), Rand: rand.New(rand.NewPCG(1, 1))})

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

// A switch that sends channels to the ports only where somebody wants them (RFC
// 4541): it hears what the querier of the network asks and what hosts answer, and
// is silent itself.
func ExampleRouter_HandleQuery() {
	now := time.Unix(0, 0)
	source, group := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("232.1.1.10")
	ports := gmp.NewRouter(now, gmp.RouterConfig{})
	silent := func() { // a router would send these
		ports.HandleTimeout(now)
		for _, _, ok := ports.PollQuery(nil); ok; _, _, ok = ports.PollQuery(nil) {
		}
	}
	// The highest address: the querier is always somebody else.
	one := ports.AddSharedLink(now, gmp.LinkConfig{IGMP: netip.MustParseAddr("255.255.255.254")})
	two := ports.AddSharedLink(now, gmp.LinkConfig{IGMP: netip.MustParseAddr("255.255.255.254")})
	silent()

	var m gmp.Message
	querier := netip.MustParseAddr("192.0.2.1")
	query := func(q gmp.Query) { // one that the switch passes on to all ports
		if err := m.Parse(gmp.AppendQuery(nil, querier, 3, &q)); err != nil {
			panic(err)
		}
		for _, port := range []gmp.Link{one, two} {
			if err := ports.HandleQuery(now, port, &m); err != nil {
				panic(err)
			}
		}
	}
	report := func(port gmp.Link, t gmp.RecordType) { // one that a host on a port sends
		host := netip.MustParseAddr("192.0.2.2")
		if err := m.Parse(gmp.AppendReport(nil, host, false, gmp.Record{Type: t, Group: group, Sources: gmp.SourcesOf(source)})); err != nil {
			panic(err)
		}
		ports.HandleReport(now, port, &m)
	}

	query(gmp.Query{Group: netip.IPv4Unspecified(), MaxResponse: 10 * time.Second, Robustness: 2, Interval: 125 * time.Second})
	report(one, gmp.AllowNewSources)
	report(two, gmp.AllowNewSources)
	fmt.Println("ports:", ports.AppendLinks(nil, source, group))

	// A host on port one leaves, the querier asks whether others want the channel,
	// and one on port two does.
	report(one, gmp.BlockOldSources)
	query(gmp.Query{Group: group, Sources: gmp.SourcesOf(source), MaxResponse: time.Second, Robustness: 2})
	report(two, gmp.ModeIsInclude)
	now = now.Add(3 * time.Second)
	silent()
	fmt.Println("ports:", ports.AppendLinks(nil, source, group))
	for e, ok := ports.PollEvent(); ok; e, ok = ports.PollEvent() {
		fmt.Println(e.Type, e.Link)
	}
	// Output:
	// ports: [1 2]
	// ports: [2]
	// subscribed 0
	// forward 1
	// forward 2
	// prune 1
	// idle 1
}
