package ingest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recording is one run of FFmpeg as a server saw it.
type recording struct {
	Events []struct {
		T          float64
		Req        int
		Event      string
		Method     string
		Path       string
		Conn       int
		Connection string
		Bytes      int
		Reads      int
		Chunks     []struct {
			T     float64
			Bytes int
		} `json:"first_chunks"`
	}
}

// speed is how much faster than recorded a run is replayed.
const speed = 8

// The requests of real runs, in their order, on as many connections, their
// bodies in pieces as they came: not an octet is lost, and each object is what
// its name and first box say.
func TestReplay(t *testing.T) {
	for _, run := range []string{"dash-close", "dash-persistent", "hls-fmp4"} {
		t.Run(run, func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile("testdata/ffmpeg-http-" + run + ".json")
			require.NoError(t, err)
			var rec recording
			require.NoError(t, json.Unmarshal(b, &rec))
			s, r := newServer(t, Config{})
			replay(t, serve(t, s), &rec)
			verifyReplay(t, s, r, &rec)
		})
	}
}

// replayed is the connection state of a replay.
type replayed struct {
	conn    net.Conn
	answers *bufio.Reader
	free    chan struct{} // closed when the request before has been answered
}

func replay(t *testing.T, addr string, rec *recording) {
	bodies := make(map[int][]byte)
	open := make(map[int]*replayed) // by recorded connection, while persistent
	var wg sync.WaitGroup
	defer wg.Wait()
	began := time.Now()
	ends := make(map[int]int) // request to the index of its end event
	for i, e := range rec.Events {
		if e.Event == "end" {
			ends[e.Req] = i
			bodies[e.Req] = replayBody(e.Path, e.Req, e.Bytes)
		}
	}
	for _, e := range rec.Events {
		due := began.Add(time.Duration((e.T - rec.Events[0].T) / speed * float64(time.Second)))
		time.Sleep(time.Until(due))
		switch e.Event {
		case "begin":
			c := open[e.Conn]
			if c == nil {
				conn, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				t.Cleanup(func() { conn.Close() })
				c = &replayed{conn: conn, answers: bufio.NewReader(conn)}
				if e.Connection == "keep-alive" {
					open[e.Conn] = c
				}
			}
			if c.free != nil {
				<-c.free
			}
			free := make(chan struct{})
			c.free = free
			path := "/publish/ch1/" + e.Path[strings.LastIndexByte(e.Path, '/')+1:]
			_, err := fmt.Fprintf(c.conn, "%s %s HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nConnection: %s\r\nIcy-Metadata: 1\r\nUser-Agent: Lavf/59.27.100\r\nTransfer-Encoding: chunked\r\n\r\n", e.Method, path, e.Connection)
			require.NoError(t, err)
			end, ok := ends[e.Req]
			require.True(t, ok)
			// The body's pieces at their times, the rest at the end.
			wg.Go(func() {
				defer close(free)
				last := rec.Events[end]
				body := bodies[e.Req]
				for _, chunk := range last.Chunks {
					time.Sleep(time.Until(began.Add(time.Duration((chunk.T - rec.Events[0].T) / speed * float64(time.Second)))))
					if _, err := fmt.Fprintf(c.conn, "%x\r\n%s\r\n", chunk.Bytes, body[:chunk.Bytes]); err != nil {
						t.Error(e.Path, err)
						return
					}
					body = body[chunk.Bytes:]
				}
				time.Sleep(time.Until(began.Add(time.Duration((last.T - rec.Events[0].T) / speed * float64(time.Second)))))
				if len(body) > 0 {
					fmt.Fprintf(c.conn, "%x\r\n%s\r\n", len(body), body)
				}
				if _, err := c.conn.Write([]byte("0\r\n\r\n")); err != nil {
					t.Error(e.Path, err)
					return
				}
				res, err := http.ReadResponse(c.answers, nil)
				if err != nil {
					t.Error(e.Path, err)
					return
				}
				res.Body.Close()
				want := 201
				if e.Method == http.MethodDelete {
					want = 204
				}
				if res.StatusCode != want {
					t.Error(e.Path, res.Status)
				}
			})
		}
	}
}

// replayBody makes a body of the recorded size for a name.
func replayBody(path string, req, size int) []byte {
	name := path[strings.LastIndexByte(path, '/')+1:]
	var b []byte
	switch {
	case size == 0:
		return nil
	case strings.HasSuffix(name, ".mpd"):
		b = mpd(startA)
		return append(b, bytes.Repeat([]byte{' '}, max(0, size-len(b)))...)[:max(size, len(b))][:size]
	case strings.HasSuffix(name, ".m3u8"):
		b = []byte("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#")
		return append(b, bytes.Repeat([]byte{'x'}, size-len(b))...)
	case strings.HasPrefix(name, "init"):
		return append(box("ftyp", 24), box("moov", size-24)...)
	}
	b = box("styp", 24)
	for size-len(b) >= 2000 {
		b = append(b, chunk(1000)...)
	}
	b = append(b, chunk(size-len(b))...)
	b[len(b)-1] = byte(req)
	return b
}

func verifyReplay(t *testing.T, s *Server, r *recorder, rec *recording) {
	t.Helper()
	pushed := make(map[string][][]byte)
	requests := 0
	for _, e := range rec.Events {
		if e.Event == "end" && e.Method == http.MethodPut {
			name := e.Path[strings.LastIndexByte(e.Path, '/')+1:]
			pushed[name] = append(pushed[name], replayBody(e.Path, e.Req, e.Bytes))
			requests++
		}
	}
	runs := make(map[string]uint64)
	for name, bodies := range pushed {
		all := r.named(name)
		require.NotEmpty(t, all, name)
		last := all[len(all)-1]
		require.True(t, last.committed, name)
		require.True(t, bytes.Equal(bodies[len(bodies)-1], last.body), name)
		switch {
		case strings.HasSuffix(name, ".mpd"), strings.HasSuffix(name, ".m3u8"):
			require.Equal(t, Manifest, last.Kind)
			require.LessOrEqual(t, len(all), len(bodies)) // of two that overlap, one may do
		case strings.HasPrefix(name, "init"):
			require.Equal(t, Init, last.Kind)
		default:
			require.Equal(t, Media, last.Kind)
			require.Len(t, all, 1)
			require.Equal(t, len(last.body), last.chunks[len(last.chunks)-1])
			stem := last.Track.Template.String()
			require.NotEmpty(t, stem)
			if runs[stem] == 0 {
				runs[stem] = last.Run
			}
			require.Equal(t, runs[stem], last.Run, name)
		}
	}
	state, _ := s.State("ch1")
	require.EqualValues(t, requests, state.Objects)
	require.Zero(t, state.Broken)
	require.Zero(t, state.Refused)
	require.Zero(t, state.Malformed)
}
