package repair_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"net/netip"
	"time"

	"github.com/treedn/treedn/flute/repair"
)

// object is a whole object in memory.
type object struct{ *bytes.Reader }

func (o object) Info() repair.Info {
	return repair.Info{Name: "live/hello.txt", ETag: `"0000000000000001"`, Prefix: o.Size(), Length: o.Size()}
}

// backend knows one object, by any address.
type backend struct{ text []byte }

func (b backend) Lookup(context.Context, repair.ObjectID) (repair.Object, error) {
	return object{bytes.NewReader(b.text)}, nil
}

func (b backend) LookupName(_ context.Context, name string) (repair.Object, error) {
	if name != "live/hello.txt" {
		return nil, repair.ErrUnknown
	}
	return object{bytes.NewReader(b.text)}, nil
}

func Example() {
	server := httptest.NewServer(&repair.Handler{
		Backend: backend{[]byte("What the tree lost, the parent has.")},
		NodeID:  "relay-1",
	})
	defer server.Close()

	client, err := repair.NewClient(repair.Config{
		Parents: []repair.Parent{{URL: server.URL}},
		NodeID:  "beacon-1",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	answer, err := client.Fetch(context.Background(), repair.Request{
		ID: repair.ObjectID{
			Session: repair.Session{
				Source: netip.MustParseAddr("192.0.2.10"),
				Group:  netip.MustParseAddr("232.1.1.10"),
				Port:   5000,
			},
			TSI: 3,
			TOI: 17,
		},
		Ranges: []repair.Range{{Start: 9, End: 13}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, part := range answer.Parts {
		fmt.Printf("%s of %d octets: %d: %s\n", answer.Name, answer.Length, part.Offset, part.Data)
	}
	// Output: live/hello.txt of 35 octets: 9: tree
}

// A receiver of DVB-MABR repairs a segment from the server that the session configuration names.
func ExampleFetcher() {
	server := httptest.NewServer(&repair.Handler{Backend: backend{[]byte("What the tree lost, the parent has.")}})
	defer server.Close()

	procedure, err := repair.UnicastRepair{
		BaseURLs:               []repair.WeightedURL{{URL: server.URL + "/live/", RelativeWeight: 1}},
		TransportObjectBaseURI: "http://origin.example.com/channel/",
		RandomBackOffPeriod:    time.Millisecond,
	}.Procedure("http://origin.example.com/channel/hello.txt", `"0000000000000001"`)
	if err != nil {
		log.Fatal(err)
	}
	plan, err := repair.NewPlan(repair.PlanConfig{
		Procedure: procedure,
		Missing:   []repair.Range{{Start: 9, End: 13}, {Start: 25, End: repair.ToEnd}},
		MergeGap:  -1,
		Start:     time.Now(),
	})
	if err != nil {
		log.Fatal(err)
	}
	var fetcher repair.Fetcher
	defer fetcher.Close()
	got, err := fetcher.Fetch(context.Background(), plan, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, part := range got.Parts {
		fmt.Printf("%d: %s\n", part.Offset, part.Data)
	}
	// Output:
	// 9: tree
	// 25: arent has.
}
