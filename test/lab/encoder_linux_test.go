package lab_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
)

// pictures are what FFmpeg encodes in its runs, one after the other: 25 frames a
// second and a tone.
var pictures = [...]string{
	"-re -f lavfi -i testsrc2=size=480x270:rate=25 -re -f lavfi -i sine=frequency=440:beep_factor=4:sample_rate=48000",
	"-re -f lavfi -i testsrc=size=480x270:rate=25 -re -f lavfi -i sine=frequency=660:beep_factor=4:sample_rate=48000",
}

// encoding is low-latency DASH with a fragment for each frame, and segments of
// two seconds.
const encoding = "-map 0:v -map 1:a -c:v libx264 -threads 1 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 50 -keyint_min 50 " +
	"-sc_threshold 0 -b:v 600k -maxrate 800k -bufsize 800k -c:a aac -b:a 96k -ac 2 -flags +global_header " +
	"-f dash -use_template 1 -use_timeline 0 -seg_duration 2 -frag_type every_frame -streaming 1 -ldash 1 -hls_playlist 1 " +
	"-window_size 5 -extra_window_size 5 -method PUT -http_persistent 1"

// encode has FFmpeg push to CAST from the node that it runs on. Its requests
// pass a proxy that notes what they bring, each of its connections on a
// connection of its own.
func (l *lab) encode(node, target string) *source {
	t := l.t
	to, err := url.Parse(target)
	require.NoError(t, err)
	var ln net.Listener
	require.NoError(t, l.inside(node, func() (err error) {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}))
	s := l.newSource([]int{0, 1}, perConnection{})
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// FFmpeg leaves behind the last octet of a body, which is complete
			// nevertheless; a body that breaks off shows in reading.
			out := r.Clone(context.WithoutCancel(r.Context()))
			out.URL.Scheme, out.URL.Host, out.Host, out.RequestURI = to.Scheme, to.Host, "", ""
			out.Header.Set("Authorization", "Bearer "+streamKey)
			resp, err := s.RoundTrip(out)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			defer resp.Body.Close()
			w.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(w, resp.Body)
		}),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, l.client(node).Transport)
		},
	}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })

	runs := 0
	s.publish = func(ctx context.Context) error {
		args := slices.Concat(
			[]string{"netns", "exec", l.name + "-" + node, "ffmpeg", "-nostdin", "-hide_banner", "-v", "error"},
			strings.Fields(pictures[runs%len(pictures)]), strings.Fields(encoding), []string{"http://" + ln.Addr().String() + to.Path},
		)
		runs++
		var said bytes.Buffer
		cmd := exec.CommandContext(ctx, "ip", args...) // which kills it
		cmd.Stderr = &said
		err := cmd.Run()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.Logf("FFmpeg says: %s", said.String())
		return err
	}
	s.start()
	return s
}

// connectionKey finds what sends the requests of one connection on.
type connectionKey struct{}

// perConnection sends each request by what its connection has for it.
type perConnection struct{}

func (perConnection) RoundTrip(r *http.Request) (*http.Response, error) {
	return r.Context().Value(connectionKey{}).(http.RoundTripper).RoundTrip(r)
}
