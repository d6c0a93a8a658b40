package push_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/treedn/treedn/flute/push"
)

// printer is a sink that prints what it gets.
type printer struct{}

func (printer) Begin(_ context.Context, o push.Object) (push.Upload, error) {
	fmt.Println("begin", o.ID, o.ContentLocation)
	return &upload{}, nil
}

type upload struct{ data []byte }

func (u *upload) Write(p []byte) (int, error) {
	u.data = append(u.data, p...)
	return len(p), nil
}

func (u *upload) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(u.data).ReadAt(p, off)
}

func (u *upload) Commit(length int64) error {
	fmt.Printf("whole: %d octets: %s\n", length, u.data)
	return nil
}

func (u *upload) Abort(cause error) { fmt.Println("aborted:", cause) }

func Example() {
	handler := &push.Handler{Sink: printer{}, NodeID: "relay-1"}
	defer handler.Close()
	server := httptest.NewServer(handler) // behind a handler that knows who may push
	defer server.Close()

	pusher, err := push.NewPusher(push.Config{URL: server.URL, NodeID: "cast-1"})
	if err != nil {
		log.Fatal(err)
	}
	defer pusher.Close()
	text := bytes.NewReader([]byte("What multicast does not reach."))
	err = pusher.Push(context.Background(), push.Object{
		ID:              push.ObjectID{Session: "live-1", TSI: 3, TOI: 7},
		ContentLocation: "http://media.example.com/live/hello.txt",
		Length:          -1,
	}, push.ReaderAt(text, text.Size()))
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// begin /ingest/v1/live-1/3/7 http://media.example.com/live/hello.txt
	// whole: 30 octets: What multicast does not reach.
}
