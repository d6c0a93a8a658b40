package ssm_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"github.com/treedn/treedn/amt/ssm"
)

func Example() {
	ctx := context.Background()
	source := netip.MustParseAddr("127.0.0.1")
	if err := ssm.Probe(ctx, "", source); err != nil {
		log.Fatal(err) // says what to do
	}
	ch, err := ssm.RandomChannel(source)
	if err != nil {
		log.Fatal(err)
	}

	host := ssm.NewHost(ssm.Config{})
	defer host.Close()
	rx, err := host.Join(ctx, ch, "")
	if err != nil {
		log.Fatal(err)
	}

	tx, err := ssm.NewSender(source, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Close()
	packets := [][]byte{[]byte("one"), []byte("two"), []byte("six")}
	if _, err := tx.WriteBatch(packets, ch.Destination()); err != nil {
		log.Fatal(err)
	}

	messages := ssm.NewMessages(8)
	for received := 0; received < len(packets); {
		n, err := rx.ReadBatch(messages)
		if err != nil {
			log.Fatal(err)
		}
		for i := range messages[:n] {
			for packet := range messages[i].Segments {
				fmt.Printf("%s\n", packet)
				received++
			}
		}
	}
	// Output:
	// one
	// two
	// six
}
