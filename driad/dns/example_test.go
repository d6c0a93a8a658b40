package dns_test

import (
	"fmt"

	"github.com/treedn/treedn/driad/dns"
)

// A query, and what a server would answer to it.
func ExampleParseAnswer() {
	question := dns.Question{Name: dns.MustParseName("relays.example.com"), Type: dns.TypeA}
	query := dns.NewQuery(question, true, dns.NewRand())

	alias := dns.MustParseName("r1.example.com")
	b := dns.NewBuilder(nil, dns.Header{ID: query.ID, Flags: dns.FlagResponse}, &query.Question)
	b.Record(dns.SectionAnswer, &query.Question.Name, dns.TypeCNAME, dns.ClassINET, 300, b.AppendName(nil, &alias))
	b.Record(dns.SectionAnswer, &alias, dns.TypeA, dns.ClassINET, 60, []byte{192, 0, 2, 1})
	msg := b.Message()

	if err := query.Check(msg); err != nil { // ID, question, case of letters
		fmt.Println(err)
		return
	}
	answer, err := dns.ParseAnswer(msg, question)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range answer.Records {
		fmt.Println(answer.Name, r.Address, answer.TTL)
	}
	// Output: r1.example.com. 192.0.2.1 1m0s
}
