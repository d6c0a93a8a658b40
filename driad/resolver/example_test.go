package resolver_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/resolver"
)

func ExampleHTTPS() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r := &resolver.HTTPS{URL: "https://dns.example/dns-query"}
	defer func() { _ = r.Close() }()
	question := dns.Question{Name: dns.MustParseName("relays.example.com"), Type: dns.TypeAAAA}
	response, err := r.Resolve(ctx, question)
	if err != nil {
		return
	}
	answer, err := dns.ParseAnswer(response.Message, question)
	if err != nil {
		return
	}
	for _, a := range answer.Records {
		fmt.Println(a.Address)
	}
}

// The servers of this machine.
func ExampleSystem() {
	r, search, err := resolver.System()
	if err != nil {
		r = &resolver.Plain{Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}}
	}
	_, _ = r, search
}
