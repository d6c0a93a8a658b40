package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stream is an answer that is read while it grows.
type stream struct {
	resp *http.Response
	err  error
}

// open asks for an object. The answer may take until the object begins.
func open(t testing.TB, c *http.Client, url string) <-chan *stream {
	ch := make(chan *stream, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	t.Cleanup(cancel)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			ch <- &stream{err: err}
			return
		}
		resp, err := c.Do(req)
		if err == nil {
			t.Cleanup(func() { resp.Body.Close() })
		}
		ch <- &stream{resp, err}
	}()
	return ch
}

// next reads n octets.
func (s *stream) next(t testing.TB, n int) []byte {
	t.Helper()
	require.NoError(t, s.err)
	require.Equal(t, http.StatusOK, s.resp.StatusCode)
	b := make([]byte, n)
	_, err := io.ReadFull(s.resp.Body, b)
	require.NoError(t, err)
	return b
}

// rest reads to the end.
func (s *stream) rest() ([]byte, error) { return io.ReadAll(s.resp.Body) }

// ask makes one request with a header field or none.
func ask(t testing.TB, c *http.Client, method, url, field, value string) (*http.Response, []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	require.NoError(t, err)
	if field != "" {
		req.Header.Set(field, value)
	}
	resp, err := c.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, b
}

// The request for a segment is held open after its first fragment. That fragment is at the BEACON's reader at once, two
// hops on, and so is the next one before the segment is complete. The same holds behind a chain of RELAYs.
func TestFragmentOvertakesSegment(t *testing.T) {
	for _, relays := range []int{1, 3} {
		t.Run(fmt.Sprintf("RELAYs=%d", relays), func(t *testing.T) { fragmentOvertakesSegment(t, relays) })
	}
}

func fragmentOvertakesSegment(t *testing.T, relays int) {
	const (
		segments = 8
		limit    = 200 * time.Millisecond // for each; for half of them if the machine is busy
	)
	x := newTree(t, treeOptions{relays: relays})
	r := record(segments)
	r.announce(t, x)
	c := newClient(t)
	var took []time.Duration
	for n := 1; n <= segments; n++ {
		name := videoName(n)
		s := r.segments[name]
		relay, beacon := open(t, c, x.relayURL(name)), open(t, c, x.beaconURL(0, name)) // before the segment begins
		u := x.upload(t, name)
		begun := time.Now()
		u.write(t, s[0])
		early := <-beacon
		require.Equal(t, s[0], early.next(t, len(s[0])))
		took = append(took, time.Since(begun))
		atRelay := <-relay
		require.Equal(t, s[0], atRelay.next(t, len(s[0])))

		late := <-open(t, c, x.beaconURL(0, name)) // after its first fragment
		require.Equal(t, s[0], late.next(t, len(s[0])))

		begun = time.Now()
		u.write(t, s[1])
		require.Equal(t, s[1], early.next(t, len(s[1])))
		took = append(took, time.Since(begun))

		for _, f := range s[2:] {
			u.write(t, f)
		}
		u.end(t)
		for _, reader := range []*stream{early, late, atRelay} {
			_, err := reader.rest()
			require.NoError(t, err)
		}
		b, err := get(t.Context(), c, x.beaconURL(0, name))
		require.NoError(t, err)
		require.Equal(t, sum(s.bytes()), sum(b))
	}
	q := quantilesOf(took)
	t.Logf("over %d hops a fragment took %v", relays+1, q)
	require.Less(t, q.p50, limit)
	if promisedQuiet() {
		require.Less(t, q.max, limit)
	}
	requireMulticast(t, x)
}

// HEAD, ranges and conditions on a segment that grows, at RELAY and at BEACON.
func TestRequestsForGrowingSegment(t *testing.T) {
	x := newTree(t, treeOptions{})
	r := record(1)
	r.announce(t, x)
	c := newClient(t)
	name := videoName(1)
	s := r.segments[name]
	first, whole := s[0], s.bytes()

	u := x.upload(t, name)
	u.write(t, first)
	urls := map[string]string{"relay": x.relayURL(name), "beacon": x.beaconURL(0, name)}
	for _, url := range urls { // until it has come
		(<-open(t, c, url)).next(t, len(first))
	}
	etag := ""
	for node, url := range urls {
		resp, _ := ask(t, c, http.MethodHead, url, "", "")
		require.Equal(t, http.StatusOK, resp.StatusCode, node)
		require.Empty(t, resp.Header.Get("Content-Length"), node)
		require.Equal(t, "video/mp4", resp.Header.Get("Content-Type"), node)
		require.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"), node)
		if etag == "" {
			etag = resp.Header.Get("Etag")
		}
		require.NotEmpty(t, etag)
		require.Equal(t, etag, resp.Header.Get("Etag"), "the same object has the same tag everywhere")

		for _, rng := range []struct {
			field      string
			start, end int
		}{
			{"bytes=0-99", 0, 100},
			{"bytes=100-299", 100, 300},
			{"bytes=100-", 100, len(first)},
			{fmt.Sprintf("bytes=100-%d", len(whole)), 100, len(first)}, // beyond what is readable
		} {
			resp, b := ask(t, c, http.MethodGet, url, "Range", rng.field)
			require.Equal(t, http.StatusPartialContent, resp.StatusCode, "%s, %s", node, rng.field)
			require.Equal(t, fmt.Sprintf("bytes %d-%d/*", rng.start, rng.end-1), resp.Header.Get("Content-Range"), node)
			require.Equal(t, first[rng.start:rng.end], b)
		}
		resp, _ = ask(t, c, http.MethodGet, url, "If-None-Match", etag)
		require.Equal(t, http.StatusNotModified, resp.StatusCode, node)
	}

	// A range that has not come yet is waited for.
	type answer struct {
		resp *http.Response
		body []byte
	}
	beyond := make(chan answer, 1)
	go func() {
		resp, b := ask(t, c, http.MethodGet, urls["beacon"], "Range", fmt.Sprintf("bytes=%d-%d", len(first), len(first)+9))
		beyond <- answer{resp, b}
	}()
	select {
	case <-beyond:
		t.Fatal("answered before there was anything")
	case <-time.After(100 * time.Millisecond):
	}
	u.write(t, s[1])
	a := <-beyond
	require.Equal(t, http.StatusPartialContent, a.resp.StatusCode)
	require.Equal(t, s[1][:10], a.body)

	for _, f := range s[2:] {
		u.write(t, f)
	}
	u.end(t)
	for node, url := range urls {
		require.Equal(t, sum(whole), sum(waitFor(t, c, url)), node)
		resp, _ := ask(t, c, http.MethodHead, url, "", "")
		require.Equal(t, strconv.Itoa(len(whole)), resp.Header.Get("Content-Length"), node)
		require.Equal(t, etag, resp.Header.Get("Etag"), node)
		resp, b := ask(t, c, http.MethodGet, url, "Range", "bytes=-100")
		require.Equal(t, http.StatusPartialContent, resp.StatusCode, node)
		require.Equal(t, fmt.Sprintf("bytes %d-%d/%d", len(whole)-100, len(whole)-1, len(whole)), resp.Header.Get("Content-Range"))
		require.Equal(t, whole[len(whole)-100:], b)
	}
}

// A push that breaks off ends in an error for everyone who reads the segment, and nobody ever gets it as a whole. The
// next segment comes as if nothing had been.
func TestPushBreaksOff(t *testing.T) {
	t.Parallel()
	x := newTree(t, treeOptions{})
	r := record(3)
	r.announce(t, x)
	c := newClient(t)
	x.put(t, videoName(1), r.segments[videoName(1)].bytes())

	name := videoName(2)
	s := r.segments[name]
	urls := map[string]string{"cast": x.cast.RepairURL() + "/" + channel + "/" + name, "relay": x.relayURL(name), "beacon": x.beaconURL(0, name)}
	readers := make(map[string]<-chan *stream)
	for node, url := range urls {
		readers[node] = open(t, c, url)
	}
	u := x.upload(t, name)
	for _, f := range s[:len(s)/2] {
		u.write(t, f)
	}
	half := s[:len(s)/2].bytes()
	growing := make(map[string]*stream)
	for node, ch := range readers {
		growing[node] = <-ch
		require.Equal(t, half, growing[node].next(t, len(half)), node)
	}
	u.breakOff(t)
	broken := time.Now()
	for _, node := range []string{"cast", "relay", "beacon"} {
		more, err := growing[node].rest()
		require.Error(t, err, node)
		require.Empty(t, more, node)
		t.Logf("%s: the answer broke off after %v", node, time.Since(broken).Round(time.Millisecond))
	}
	var again sync.WaitGroup
	for node, url := range urls {
		again.Go(func() {
			if b, err := get(t.Context(), c, url); err == nil {
				t.Errorf("%s: %d octets of a broken object", node, len(b))
			}
		})
	}
	again.Wait()
	x.put(t, videoName(3), r.segments[videoName(3)].bytes())
	require.Equal(t, r.segments[videoName(3)].bytes(), waitFor(t, c, x.beaconURL(0, videoName(3))))
}

// A push that broke off is begun again under the same name, by an encoder that has other octets for it now. A reader gets
// either nothing or the second one: never both in one.
func TestPushBegunAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		wait  time.Duration
		other bool
	}{
		{"same octets, at once", 0, false},
		{"same octets, later", 6 * time.Second, false},
		{"other octets, at once", 0, true},
		{"other octets, later", 6 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := newTree(t, treeOptions{})
			r := record(3)
			r.announce(t, x)
			client := newClient(t)
			x.put(t, videoName(1), r.segments[videoName(1)].bytes())

			name := videoName(2)
			s := r.segments[name]
			half := s[:len(s)/2].bytes()
			u := x.upload(t, name)
			u.write(t, half)
			reader := <-open(t, client, x.beaconURL(0, name))
			require.Equal(t, half, reader.next(t, len(half)))
			u.breakOff(t)
			time.Sleep(c.wait)

			second := s.bytes()
			if c.other {
				for i := 200; i < len(second); i += 7 {
					second[i] ^= 0x55
				}
			}
			x.put(t, name, second)
			if more, err := reader.rest(); err == nil {
				require.Equal(t, sum(second), sum(append(half, more...)), "a mix of two objects")
			}
			for _, url := range []string{x.relayURL(name), x.beaconURL(0, name)} {
				require.Equal(t, sum(second), sum(waitFor(t, client, url)), url)
			}
			x.printCounters(t)
		})
	}
}
