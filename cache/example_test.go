package cache_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/treedn/treedn/cache"
)

// A segment is read over HTTP while it is written.
func Example() {
	store, err := cache.Open(cache.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	server := httptest.NewServer(&cache.Handler{Store: store})
	defer server.Close()

	w, err := store.Create(cache.Key{Service: "news", Name: "video/17.m4s"}, cache.Meta{Generation: 0x2a})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Abort(nil)
	fmt.Fprintln(w, "first chunk")

	resp, err := http.Get(server.URL + "/news/video/17.m4s")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status, resp.Header.Get("Content-Type"), resp.Header.Get("ETag"))
	lines := bufio.NewScanner(resp.Body)
	lines.Scan()
	fmt.Println(lines.Text())

	fmt.Fprintln(w, "second chunk")
	lines.Scan()
	fmt.Println(lines.Text())
	fmt.Println(w.Finish(), lines.Scan(), lines.Err())
	// Output:
	// 200 OK video/mp4 "000000000000002a"
	// first chunk
	// second chunk
	// <nil> false <nil>
}

// What is missing is fetched once, however many ask.
func ExampleStore_Fetch() {
	store, err := cache.Open(cache.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	fromParent := func(_ context.Context, begin func(cache.Meta) (*cache.Writer, error)) error {
		fmt.Println("asking the parent")
		w, err := begin(cache.Meta{Generation: 1, ContentType: "application/dash+xml"})
		if err != nil {
			return err
		}
		_, err = w.Write([]byte("<MPD/>"))
		return err
	}
	key := cache.Key{Service: "news", Name: "live.mpd"}
	for range 2 {
		o, err := store.Fetch(context.Background(), key, fromParent)
		if err != nil {
			fmt.Println(err)
			return
		}
		p := make([]byte, 6)
		if err := o.WaitPrefix(context.Background(), 6); err != nil {
			fmt.Println(err)
			return
		}
		_, err = o.ReadAt(p, 0)
		fmt.Println(string(p), err)
	}
	// Output:
	// asking the parent
	// <MPD/> <nil>
	// <MPD/> <nil>
}
