package route_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/treedn/treedn/route"
	"github.com/treedn/treedn/route/sls"
)

// A media segment goes from a Sender to a Receiver, and one packet of it is
// lost on the way.
func Example() {
	session := route.Session{
		Source: netip.MustParseAddr("192.0.2.1"), Group: netip.MustParseAddr("232.1.2.3"), Port: 5000,
	}
	src := netip.AddrPortFrom(session.Source, 49152)
	now := time.Date(2026, 7, 1, 20, 0, 0, 0, time.UTC)

	sender := route.NewSender(route.SenderConfig{Session: session})
	receiver := route.NewReceiver(route.ReceiverConfig{Session: session})

	err := sender.SetManifest(now, sls.Part{
		ContentType: sls.MediaTypeDASH, Location: "live.mpd", Generation: 1, Body: []byte("<MPD/>"),
	})
	if err != nil {
		panic(err)
	}
	tx, err := sender.Begin(now, route.Outgoing{
		Name:  "video-00042.m4s",
		Track: route.Track{Stem: "video-$TOI%05d$.m4s", Number: 42, Run: 1782939600000000, Kind: route.Video},
	})
	if err != nil {
		panic(err)
	}
	for range 3 { // chunks, as the encoder makes them
		if err := tx.Append(now, make([]byte, 10_000)); err != nil {
			panic(err)
		}
		tx.Cut()
	}
	if err := tx.End(now); err != nil {
		panic(err)
	}

	buf := make([]byte, 0, 1500)
	for n := 1; ; n++ {
		sender.RunWork(now) // or PollWork, and Run on another goroutine
		pkt, ok := sender.Poll(now, buf)
		if !ok {
			// A program sleeps here, until then or until it has more to send.
			if now = sender.NextTimeout(now); now.Second() > 0 {
				break
			}
			continue
		}
		if n == 7 {
			continue // lost
		}
		_ = receiver.Push(now, src, pkt)
		receiver.RunWork(now)
		for ev, ok := receiver.Poll(); ok; ev, ok = receiver.Poll() {
			switch ev.Kind {
			case route.Manifest:
				fmt.Println("manifest", ev.Part.Location)
			case route.Complete:
				o := ev.Object
				fmt.Println("complete", o.Name(), o.Length(), "octets,", o.Recovered(), "by FEC")
				receiver.Release(now, o)
			}
		}
	}
	// Output:
	// manifest live.mpd
	// complete video-00042.m4s 30000 octets, 1344 by FEC
}
