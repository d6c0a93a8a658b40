package driad_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/dns"
)

// The machine alone, with a resolver and a relay that are made up.
func ExampleMachine() {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := driad.NewMachine(driad.Config{NoServiceDiscovery: true, NoAnycast: true, NoPlain: true})
	id := m.Start(now, netip.MustParseAddr("198.51.100.12"))

	lookup, _ := m.PollQuery()
	fmt.Println(lookup.Question)
	b := dns.NewBuilder(nil, dns.Header{Flags: dns.FlagResponse}, &lookup.Question)
	b.Record(dns.SectionAnswer, &lookup.Question.Name, dns.TypeAMTRELAY, dns.ClassINET, 300, []byte{10, 0x81, 203, 0, 113, 15})
	now = now.Add(20 * time.Millisecond)
	m.Answer(now, lookup.ID, dns.Response{Message: b.Message()})

	for {
		e, ok := m.PollEvent()
		if !ok {
			break
		}
		if e.Type == driad.EventAttempt {
			fmt.Println(e.Candidate.Method, e.Candidate.Address, "precedence", e.Candidate.Precedence, "direct", e.Candidate.Direct)
			m.Report(now, id, e.Candidate.Address, driad.Connected, 0)
		}
	}
	fmt.Println("nothing more to do:", m.NextTimeout().IsZero())
	// Output:
	// 12.100.51.198.in-addr.arpa. AMTRELAY
	// DRIAD 203.0.113.15:2268 precedence 10 direct true
	// nothing more to do: true
}
