package repair

import (
	"context"
	"testing"
	"time"
)

func BenchmarkFetch(b *testing.B) {
	server := serve(b, &Handler{Backend: serving(newFakeObject(1 << 20))})
	client := newTestClient(b, Config{}, server.URL)
	for name, ranges := range map[string][]Range{
		"range=64K":       {{100_000, 165_536}},
		"8 ranges of 1K4": {{0, 1400}, {100_000, 101_400}, {200_000, 201_400}, {300_000, 301_400}, {400_000, 401_400}, {500_000, 501_400}, {600_000, 601_400}, {700_000, 701_400}},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(octets(ranges))
			for b.Loop() {
				if _, err := client.Fetch(context.Background(), Request{ID: testID, Ranges: ranges}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("100 symbols", func(b *testing.B) {
		b.SetBytes(100 * fakeSymbol)
		for b.Loop() {
			r := SymbolRequest{ID: testID, Blocks: []BlockSymbols{{Count: 100}}}
			if _, err := client.FetchSymbols(context.Background(), r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// One object from its loss to its repair; a gateway may have thousands under way.
func BenchmarkPlan(b *testing.B) {
	config := PlanConfig{
		Procedure: Procedure{Window: Window{time.Second, time.Second}, Sources: []Source{{URL: "http://a/"}, {URL: "http://b/", Tier: 1}}},
		Missing:   []Range{{0, 1400}, {50_000, 51_400}}, Start: planStart, Rand: half,
	}
	b.ReportAllocs()
	for b.Loop() {
		p, err := NewPlan(config)
		if err != nil {
			b.Fatal(err)
		}
		at, _ := p.Timeout()
		ask, ok := p.Poll(at)
		if !ok {
			b.Fatal("not due")
		}
		for _, r := range ask.Ranges {
			p.Received(r)
		}
		if p.Answered(at, Outcome{Length: 100_000}); !p.Done() {
			b.Fatal("not done")
		}
	}
}

func BenchmarkParseSymbol(b *testing.B) {
	wire := Symbol{ESI: 7, Data: make([]byte, 1400)}.Append(nil)
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ParseSymbol(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseQuery(b *testing.B) {
	for b.Loop() {
		if _, err := ParseQuery("SBN=0;ESI=7,20-29,400+8&SBN=1;ESI=3", 4096); err != nil {
			b.Fatal(err)
		}
	}
}
