package flute_test

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute"
)

// A sender and a receiver, with the packets passed by hand and one of three lost.
func Example() {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	sender, err := flute.NewSender(flute.SenderConfig{
		TSI: 16,
		FEC: flute.FEC{Scheme: fec.RaptorQ, Overhead: 1},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	const text = "Files over one-way multicast. "
	body := strings.Repeat(text, 1000)
	_, err = sender.Add(now, flute.File{
		Location: "http://example.com/a.txt", ContentType: "text/plain",
		Body: strings.NewReader(body), Length: int64(len(body)),
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	receiver := flute.NewReceiver(flute.ReceiverConfig{})
	src := netip.MustParseAddrPort("192.0.2.1:4000")
	for n := 0; !sender.Idle(); now = now.Add(time.Millisecond) {
		sender.RunWork(now)
		for {
			pkt, ok := sender.Poll(now, nil)
			if !ok {
				break
			}
			if n++; n%3 != 0 { // the FDT Instance is the first packet
				_ = receiver.Push(now, src, pkt)
			}
		}
		receiver.RunWork(now)
		for ev, ok := receiver.Poll(); ok; ev, ok = receiver.Poll() {
			if ev.Kind != flute.Complete {
				continue
			}
			content, err := ev.Object.Content(0)
			if err != nil {
				fmt.Println(err)
				return
			}
			b, err := io.ReadAll(content)
			fmt.Println(ev.Object.Location(), len(b), err, string(b[:len(text)-1]))
			receiver.Release(now, ev.Object)
		}
	}
	// Output:
	// http://example.com/a.txt 30000 <nil> Files over one-way multicast.
}
