package ingest_test

import (
	"fmt"
	"net/http/httptest"
	"strings"

	"github.com/treedn/treedn/internal/ingest"
)

// printer is a sink that tells what it gets.
type printer struct{}

func (printer) Begin(o ingest.Object) (ingest.Writer, error) {
	fmt.Println("begin", o.Kind, o.Name, o.ContentType)
	return printer{}, nil
}
func (printer) Delete(_, name string) { fmt.Println("delete", name) }
func (printer) Write(p []byte, chunkEnd bool) error {
	fmt.Println("write", len(p), chunkEnd)
	return nil
}
func (printer) Commit() error     { fmt.Println("commit"); return nil }
func (printer) Abort(cause error) { fmt.Println("abort", cause) }

func Example() {
	server, err := ingest.New(ingest.Config{
		Sink:     printer{},
		Channels: map[string]ingest.Channel{"ch1": {Keys: []ingest.KeyHash{ingest.HashKey("sk_live_example")}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	push := func(path string) {
		r := httptest.NewRequest("PUT", path, strings.NewReader("#EXTM3U\n#EXTINF:2,\nseg_1.m4s\n"))
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	push("/publish/ch1/sk_live_guess/index.m3u8")
	push("/publish/ch1/sk_live_example/index.m3u8")
	// Output:
	// 401
	// begin manifest index.m3u8 application/vnd.apple.mpegurl
	// write 29 true
	// commit
	// 201
}
