package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/clip"
)

// upload is one PUT of which every octet is in the test's hands.
type upload struct {
	conn net.Conn
}

// upload opens a request as FFmpeg does: chunked, and open as long as the object grows.
func (x *tree) upload(t testing.TB, name string) *upload {
	t.Helper()
	u, err := url.Parse(x.publish(name))
	require.NoError(t, err)
	c, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	_, err = fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: e2e\r\nTransfer-Encoding: chunked\r\n\r\n", u.Path, u.Host)
	require.NoError(t, err)
	return &upload{c}
}

// write sends octets, as one HTTP chunk.
func (u *upload) write(t testing.TB, p []byte) {
	t.Helper()
	b := fmt.Appendf(make([]byte, 0, len(p)+16), "%x\r\n", len(p))
	b = append(append(b, p...), "\r\n"...)
	_, err := u.conn.Write(b)
	require.NoError(t, err)
}

// end completes the object and waits until CAST has taken it.
func (u *upload) end(t testing.TB) {
	t.Helper()
	_, err := io.WriteString(u.conn, "0\r\n\r\n")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(u.conn), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	require.NoError(t, u.conn.Close())
}

// breakOff leaves the object incomplete.
func (u *upload) breakOff(t testing.TB) { require.NoError(t, u.conn.Close()) }

// put pushes a whole object.
func (x *tree) put(t testing.TB, name string, body []byte) {
	t.Helper()
	u := x.upload(t, name)
	u.write(t, body)
	u.end(t)
}

// recording is what the built-in clip pushes, to be pushed at the test's own pace.
type recording struct {
	manifest []byte
	inits    map[string][]byte
	segments map[string]segment
}

// segment is its fragments; the first one has the styp before it.
type segment [][]byte

func (s segment) bytes() []byte { return bytes.Join(s, nil) }

// record plays the clip in no time. Its MPD says that the channel begins now.
func record(n int) *recording {
	r := &recording{inits: make(map[string][]byte), segments: make(map[string]segment)}
	start := time.Now()
	src := clip.NewSource(clip.Config{Start: start})
	end := start.Add(time.Duration(n)*clipSegment + clipSegment/2)
	for now := start; now.Before(end); now = src.NextTimeout() {
		for {
			p, ok := src.Poll(now)
			if !ok {
				break
			}
			switch body := bytes.Clone(p.Body); {
			case p.Number > 0:
				s := r.segments[p.Name]
				if len(s) == 1 && len(s[0]) < 100 { // a styp alone
					s[0] = append(s[0], body...)
				} else {
					s = append(s, body)
				}
				r.segments[p.Name] = s
			case p.Stream >= 0:
				r.inits[p.Name] = body
			case p.Name == "manifest.mpd" && r.manifest == nil:
				r.manifest = body
			}
		}
	}
	return r
}

// announce pushes the init segments and the manifest, and waits until the BEACON has them.
func (r *recording) announce(t testing.TB, x *tree) {
	t.Helper()
	for name, body := range r.inits {
		x.put(t, name, body)
	}
	x.put(t, "manifest.mpd", r.manifest)
	c := newClient(t)
	for i := range x.beacons {
		require.Equal(t, r.manifest, waitFor(t, c, x.beaconURL(i, "manifest.mpd")))
		for name, body := range r.inits {
			require.Equal(t, body, waitFor(t, c, x.beaconURL(i, name)))
		}
	}
}

// mediaName is the name of a segment of a stream.
func mediaName(stream, n int) string { return fmt.Sprintf("chunk-stream%d-%05d.m4s", stream, n) }

// videoName is the name of a segment of the clip's first stream.
func videoName(n int) string { return mediaName(0, n) }
