package amtr_test

import (
	"fmt"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/xdp/amtr"
)

// What happens on a host with a relay, and then all gateways with a tunnel.
func ExampleTracker() {
	tracker, err := amtr.Open(amtr.Config{Interfaces: []string{"eth0"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tracker.Close()
	for e := range tracker.Events() {
		fmt.Println(e.Time, e.Type, e.Gateway)
		if e.Type == amtr.EventDown {
			break
		}
	}
	for g := range tracker.Gateways() {
		if g.Up {
			fmt.Println(g.Endpoint, g.Messages[amt.TypeData], "packets", g.Octets, "octets")
		}
	}
}
