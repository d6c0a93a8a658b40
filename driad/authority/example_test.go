package authority_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/authority"
	"github.com/treedn/treedn/driad/dns"
)

func ExampleAuthority_Respond() {
	a, err := authority.New(authority.Config{Zones: []authority.Zone{{
		Name:        dns.MustParseName("95.25.69.in-addr.arpa"),
		NameServers: []dns.Name{dns.MustParseName("ns1.example.com")},
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	relay, _ := amtrelay.Parse("10 0 1 203.0.113.15", dns.Name{})
	err = a.SetRelays([]authority.Relay{{Record: relay, Coverage: []netip.Prefix{netip.MustParsePrefix("69.25.95.0/24")}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	question := dns.Question{Name: amtrelay.ReverseName(netip.MustParseAddr("69.25.95.10")), Type: dns.TypeAMTRELAY}
	query := dns.NewQuery(question, true, dns.NewRand())
	msg := a.Respond(time.Now(), netip.MustParseAddr("192.0.2.1"), true, query.AppendTo(nil), nil)

	answer, err := dns.ParseAnswer(msg, question)
	if query.Check(msg) != nil || err != nil {
		return
	}
	for _, r := range answer.Records {
		var got amtrelay.Record
		fmt.Println(answer.RCode, answer.TTL, got.Unmarshal(r.Data), got)
	}
	fmt.Print(string(a.AppendZone(nil, dns.MustParseName("95.25.69.in-addr.arpa"), false)))
	// Output:
	// NOERROR 5m0s <nil> 10 0 1 203.0.113.15
	// 95.25.69.in-addr.arpa. 300 IN SOA ns1.example.com. hostmaster.example.com. 2 7200 900 1209600 60
	// 95.25.69.in-addr.arpa. 300 IN NS ns1.example.com.
	// *.95.25.69.in-addr.arpa. 300 IN AMTRELAY 10 0 1 203.0.113.15
}
