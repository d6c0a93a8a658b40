package treetest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/telemetry"
)

// limit finds a limit by its name.
func limit(t *testing.T, list []telemetry.Limit, name string) telemetry.Limit {
	t.Helper()
	for _, l := range list {
		if l.Name == name {
			return l
		}
	}
	t.Fatalf("no limit %s among %v", name, list)
	return telemetry.Limit{}
}

// heap is the memory in use, in octets.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func dial(t *testing.T, base string) net.Conn {
	t.Helper()
	u, err := url.Parse(base)
	require.NoError(t, err)
	c, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// Players and children that read nothing of what they asked for cost next to no memory, and nobody else notices them.
// What ends them at last is the limit on connections that stall, which internal/node tests.
func TestReadersThatReadNothing(t *testing.T) {
	up, down := Session(t), Session(t)
	c := Cast(t, CastConfig(Channel("live", up)))
	r := Relay(t, RelayConfig(RelayService(Service(t, "live", up, c.RepairURL()), down)), lossy.Config{})
	b := Beacon(t, BeaconConfig(Service(t, "live", down, r.RepairURL())), lossy.Config{})
	const large, idle = 8 << 20, 40 // octets, more than a system buffers; connections to each server
	Put(t, c.Service("live"), "large.bin", strings.Repeat("large ", large/6))
	growing := Begin(t, c.Service("live"), "growing.bin")
	require.NoError(t, growing.Write([]byte("it grows"), true))
	for _, base := range []string{r.URL(), b.URL()} {
		Eventually(t, patience, func() bool {
			resp, _ := Get(t, base+"/live/large.bin")
			return resp.StatusCode == http.StatusOK
		}, "large.bin does not come")
		Eventually(t, patience, func() bool {
			resp, _ := Do(t, http.MethodHead, base+"/live/growing.bin", nil)
			return resp.StatusCode == http.StatusOK
		}, "growing.bin does not come")
	}
	before := heap()
	for _, base := range []string{r.URL(), r.RepairURL(), b.URL()} {
		for i := range idle {
			name := []string{"large.bin", "growing.bin"}[i%2]
			_, err := fmt.Fprintf(dial(t, base), "GET /live/%s HTTP/1.1\r\nHost: x\r\n\r\n", name)
			require.NoError(t, err)
		}
	}
	Eventually(t, patience, func() bool {
		st, bt := r.Status(), b.Status()
		return limit(t, st.HTTP.Limits, "connections").Used >= idle && limit(t, st.Repair.Limits, "connections").Used >= idle &&
			limit(t, bt.HTTP.Limits, "connections").Used >= idle && bt.HTTP.Active >= idle && st.HTTP.Active >= idle && st.Repair.Active >= idle
	}, "they are not being answered")
	require.Less(t, heap()-before, int64(32<<20), "octets of heap for %d connections that read nothing", 3*idle)

	Put(t, c.Service("live"), "small.bin", "small")
	for _, base := range []string{r.URL(), r.RepairURL(), b.URL()} {
		Eventually(t, patience, func() bool {
			resp, body := Get(t, base+"/live/small.bin")
			return resp.StatusCode == http.StatusOK && string(body) == "small"
		}, "others are not served at "+base)
	}
	require.NoError(t, growing.Commit())
}

// push opens a PUT whose body is the test's.
func push(t *testing.T, base, name string, body io.Reader) <-chan int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, base+"/publish/"+name, body)
	require.NoError(t, err)
	code := make(chan int, 1)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		resp, err := client.Do(req)
		if err != nil {
			code <- -1
			return
		}
		resp.Body.Close()
		code <- resp.StatusCode
	}()
	return code
}

// endless is a body without an end.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	e.n += len(p)
	return len(p), nil
}

// A push without an end is ended at what an object may have. Until then it takes memory of its own channel, and nobody else
// notices.
func TestPushWithoutAnEnd(t *testing.T) {
	up, more := Session(t), Session(t)
	cc := CastConfig(Channel("live", up), Channel("more", more))
	c := Cast(t, cc)
	b := Beacon(t, BeaconConfig(Service(t, "more", more, c.RepairURL())), lossy.Config{})
	before := heap()
	body := &endless{}
	code := push(t, c.IngestURL(), "live/endless.bin", body)
	Eventually(t, patience, func() bool {
		for _, st := range c.Status().Services {
			if st.Name == "live" && limit(t, st.Limits, "object_octets").Used > 0 {
				return true
			}
		}
		return false
	}, "it does not begin")
	require.Equal(t, 201, <-push(t, c.IngestURL(), "more/small.bin", strings.NewReader("small")))
	Eventually(t, patience, func() bool {
		_, got := Get(t, b.URL()+"/more/small.bin")
		return string(got) == "small"
	}, "the other channel suffers")
	got := <-code
	require.Contains(t, []int{413, -1}, got) // the answer may be lost in what is still being sent
	require.Less(t, body.n, 72<<20)
	l := limit(t, c.Status().Services[0].Limits, "object_octets")
	require.EqualValues(t, 1, l.Hits)
	require.EqualValues(t, 64<<20, l.Max)
	require.Less(t, heap()-before, int64(160<<20))
	resp, _ := Get(t, c.RepairURL()+"/live/endless.bin")
	require.NotEqual(t, 200, resp.StatusCode, "what broke off is not given out as a whole")
}

// A publisher at ten times the rate of its channel is held to that rate: nothing piles up, what it sent arrives, and the
// other channel's publisher is not slowed down.
func TestPublisherAtTenTimesTheRate(t *testing.T) {
	t.Parallel()
	up, more := Session(t), Session(t)
	cc := CastConfig(Channel("live", up), Channel("more", more))
	const rate = 1_000_000 // octets a second
	cc.Channels[0].Multicast.Rate = config.Rate(8 * rate)
	c := Cast(t, cc)
	b := Beacon(t, BeaconConfig(Service(t, "live", up, c.RepairURL())), lossy.Config{})
	body := bytes.Repeat([]byte("tenfold "), 3*rate/8)
	begun := time.Now()
	code := push(t, c.IngestURL(), "live/tenfold.bin", bytes.NewReader(body))
	others, most := 0, uint64(0)
	for done := false; !done; {
		select {
		case got := <-code:
			require.Equal(t, 201, got)
			done = true
		default:
			require.Equal(t, 201, <-push(t, c.IngestURL(), fmt.Sprintf("more/%d.bin", others), strings.NewReader("small")))
			others++
			most = max(most, limit(t, c.Status().Services[0].Limits, "send_octets").Used)
		}
	}
	require.GreaterOrEqual(t, time.Since(begun), 1900*time.Millisecond, "of three seconds one is the burst")
	require.Greater(t, others, 2, "they come through while the first one is held")
	st := c.Status().Services[0]
	require.EqualValues(t, rate, limit(t, st.Limits, "publish_rate").Max)
	require.NotZero(t, limit(t, st.Limits, "publish_rate").Hits)
	require.Less(t, most, limit(t, st.Limits, "send_octets").Max)
	require.Zero(t, limit(t, st.Limits, "send_octets").Hits)
	Eventually(t, patience, func() bool {
		_, got := Get(t, b.URL()+"/live/tenfold.bin")
		return bytes.Equal(got, body)
	}, "it does not arrive")
}

// A name of a megabyte is refused by every server before anybody makes something of it, and the status says so. Shorter
// ones that are too long all the same are refused by those who know what a name is.
func TestNameOfAMegabyte(t *testing.T) {
	t.Parallel()
	up, down := Session(t), Session(t)
	c := Cast(t, CastConfig(Channel("live", up)))
	r := Relay(t, RelayConfig(RelayService(Service(t, "live", up, c.RepairURL()), down)), lossy.Config{})
	b := Beacon(t, BeaconConfig(Service(t, "live", down, r.RepairURL())), lossy.Config{})
	Put(t, c.Service("live"), "small.bin", "small")
	for _, s := range []struct {
		name, base string
		paths      []string
		method     string
		limits     func() []telemetry.Limit
	}{
		{"ingest", c.IngestURL(), []string{"/publish/live/"}, "PUT", func() []telemetry.Limit { return c.Status().Ingest.Limits }},
		{"CAST's repair", c.RepairURL(), []string{"/repair/v1/", "/live/", "/seal/v1/live/", "/signalling/v1/live/"}, "GET", func() []telemetry.Limit { return c.Status().Repair.Limits }},
		{"RELAY's repair", r.RepairURL(), []string{"/repair/v1/", "/live/", "/seal/v1/live/", "/signalling/v1/live/"}, "GET", func() []telemetry.Limit { return r.Status().Repair.Limits }},
		{"RELAY's players", r.URL(), []string{"/live/"}, "GET", func() []telemetry.Limit { return r.Status().HTTP.Limits }},
		{"BEACON's players", b.URL(), []string{"/live/", "/repair/v1/"}, "GET", func() []telemetry.Limit { return b.Status().HTTP.Limits }},
	} {
		for _, path := range s.paths {
			for _, n := range []int{600, 60_000} {
				resp, _ := Do(t, s.method, s.base+path+strings.Repeat("n", n), nil)
				require.GreaterOrEqual(t, resp.StatusCode, 400, "%s: %s", s.name, path)
				require.Less(t, resp.StatusCode, 500, "%s: %s", s.name, path)
			}
			conn := dial(t, s.base)
			go func() {
				_, _ = fmt.Fprintf(conn, "%s %s%s HTTP/1.1\r\nHost: x\r\n\r\n", s.method, path, strings.Repeat("n", 1<<20))
			}()
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			head := make([]byte, 12)
			_, err := io.ReadFull(conn, head)
			require.NoError(t, err, "%s: %s", s.name, path)
			require.Equal(t, "HTTP/1.1 431", string(head), "%s: %s", s.name, path)
			conn.Close()
		}
		// It counts once the server is done with the connection.
		Eventually(t, patience, func() bool { return limit(t, s.limits(), "header_octets").Hits == uint64(len(s.paths)) }, s.name)
	}
	require.EqualValues(t, 2, limit(t, c.Status().Services[0].Limits, "name_octets").Hits)
	Eventually(t, patience, func() bool {
		_, body := Get(t, b.URL()+"/live/small.bin")
		return string(body) == "small"
	}, "others are not served")
}
