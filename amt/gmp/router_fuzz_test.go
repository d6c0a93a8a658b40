package gmp_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/treedn/treedn/amt/gmp"
)

// The bytes of a script are reports from two tunnels and two shared links, queries of
// another router, and steps in time.
//
// It compares by hand and keeps buffers: with testify, whose packages the fuzzer
// instruments like all others, an execution took ten times as long. A script longer
// than maxScript reaches no state that a shorter one does not: 16 steps fill all limits.
func FuzzRouter(f *testing.F) {
	f.Add([]byte{0, 1, 0x11, 2, 3, 4})
	f.Add([]byte{5, 5, 5, 4, 4, 4, 3, 3, 3, 0xff, 0xff})
	// Hosts of older versions, a querier that gives way, questions before pruning.
	f.Add([]byte{0x28, 1, 0, 0x24, 1, 3, 0x29, 1, 0, 0x2f, 100, 2, 0x38, 3, 1, 0x33, 3, 1, 0x2a, 1, 0xc3, 0x26, 1, 3, 0x2f, 10, 50})
	f.Add([]byte{0x25, 0, 0x3f, 0x26, 0, 1, 0x2b, 10, 10, 0x25, 0, 1, 0x2b, 20, 20, 0x2a, 0x41, 0xc0, 0x2b, 255, 255})
	f.Fuzz(runRouter)
}

const maxScript = 3 * 128

func runRouter(t *testing.T, script []byte) {
	script = script[:min(len(script), maxScript)]
	config := gmp.RouterConfig{MaxGroups: 3, MaxSources: 4, MaxLinkSources: 7, MaxChannels: 10}
	now := epoch
	r := gmp.NewRouter(now, config)
	links := [...]gmp.Link{r.AddLink(), r.AddLink(),
		r.AddSharedLink(now, gmp.LinkConfig{IGMP: netip.AddrFrom4([4]byte{10, 0, 0, 9}), MTU: 128}),
		r.AddSharedLink(now, gmp.LinkConfig{IGMP: netip.AddrFrom4([4]byte{10, 0, 0, 9}), IGMPVersion: 2})}
	check := func() {
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
	}
	var packet []byte
	deliver := func(l gmp.Link) {
		var m gmp.Message
		if err := m.Parse(packet); err != nil {
			t.Fatal(err)
		}
		r.HandleReport(now, l, &m)
		check()
	}
	// What is subscribed to and forwarded, as the events have it.
	type member struct {
		link          gmp.Link
		source, group netip.Addr
	}
	told := make(map[member]bool)
	for len(script) > 2 {
		op, a, b := script[0], script[1], script[2]
		script = script[3:]
		l := links[int(op>>4)%len(links)]
		group := netip.AddrFrom4([4]byte{[]byte{232, 239}[a&1], 0, 1, a >> 1 & 7})
		var room [6]netip.Addr
		list := room[:0]
		for i := range 6 {
			if b>>i&1 == 1 {
				list = append(list, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
			}
		}
		packet = packet[:0]
		switch op & 0xf {
		case 0, 1, 2, 3, 4, 5, 6, 7:
			packet = gmp.AppendReport(packet, netip.Addr{}, false,
				gmp.Record{Type: gmp.RecordType(op & 0xf), Group: group, Sources: gmp.SourcesOf(list...)})
			deliver(l)
		case 8:
			packet = gmp.AppendOlder(packet, netip.Addr{}, 1+int(b&1), gmp.TypeReport, group)
			deliver(l)
		case 9:
			packet = gmp.AppendOlder(packet, netip.Addr{}, 2, gmp.TypeLeave, group)
			deliver(l)
		case 10:
			var m gmp.Message
			q := gmp.Query{Group: group, Sources: gmp.SourcesOf(list...), Suppress: a&0x80 != 0}
			if a&0x40 != 0 {
				q.Group = netip.IPv4Unspecified()
			}
			packet = gmp.AppendQuery(packet, netip.AddrFrom4([4]byte{10, 0, 0, a}), 1+int(b>>6)%3, &q)
			if m.Parse(packet) == nil {
				_ = r.HandleQuery(now, l, &m)
				check()
			}
		default:
			end := now.Add(time.Duration(a) * time.Duration(b) * 10 * time.Millisecond)
			for n := 0; ; n++ {
				at := r.NextTimeout()
				if at.IsZero() || at.After(end) {
					break
				}
				if n == 100_000 {
					t.Fatal("timers that never end")
				}
				now = later(now, at) // times are rounded to the tenth of a second
				r.HandleTimeout(now)
				check()
			}
			now = end
		}
		for {
			var ok bool
			if packet, _, ok = r.PollQuery(packet[:0]); !ok {
				break
			}
			var m gmp.Message
			if err := m.Parse(packet); err != nil {
				t.Fatal(err)
			}
			if err := m.Validate(); err != nil {
				t.Fatal(err)
			}
		}
		for {
			e, ok := r.PollEvent()
			if !ok {
				break
			}
			m := member{e.Link, e.Source, e.Group}
			switch e.Type {
			case gmp.EventSubscribed, gmp.EventForward:
				if told[m] {
					t.Fatalf("%v is told twice", m)
				}
				told[m] = true
			case gmp.EventUnsubscribed, gmp.EventPrune:
				if !told[m] {
					t.Fatalf("%v ends and has not begun", m)
				}
				delete(told, m)
			}
		}
		groups, sources := r.States()
		if groups > len(links)*config.MaxGroups || sources > len(links)*config.MaxLinkSources || r.Channels() > config.MaxChannels {
			t.Fatalf("over a limit: %d groups, %d sources, %d channels", groups, sources, r.Channels())
		}
	}
	for _, l := range links {
		r.RemoveLink(l)
	}
	check()
	if r.Channels() != 0 {
		t.Fatal("channels that nobody wants")
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
