package repair

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// curl returns the output of a real client, if there is one.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("there is no curl")
	}
	out, err := exec.CommandContext(t.Context(), path, append([]string{"-sS", "--noproxy", "*"}, args...)...).CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

func TestServeCurl(t *testing.T) {
	o := newFakeObject(300_000)
	url := serve(t, &Handler{Backend: serving(o)}).URL + "/" + o.name
	require.Equal(t, string(o.data[10:20]), curl(t, "-r", "10-19", url))
	require.Equal(t, string(o.data[299_995:]), curl(t, "-r", "-5", url))
	require.Equal(t, "416 ", curl(t, "-r", "300000-", "-o", os.DevNull, "-w", "%{http_code} ", url))
	require.Equal(t, "206 10", curl(t, "-r", "0-9", "-H", "If-Range: "+o.etag, "-o", os.DevNull, "-w", "%{http_code} %{size_download}", url))
	require.Equal(t, "200 300000", curl(t, "-r", "0-9", "-H", `If-Range: "x"`, "-o", os.DevNull, "-w", "%{http_code} %{size_download}", url))
	parts := curl(t, "-r", "0-9,20-29", url)
	require.Equal(t, 1, strings.Count(parts, "Content-Range: bytes 0-9/300000\r\n"))
	require.Equal(t, 1, strings.Count(parts, "Content-Range: bytes 20-29/300000\r\n"))

	// A download that was cut off goes on.
	file := filepath.Join(t.TempDir(), "seg")
	require.NoError(t, os.WriteFile(file, o.data[:100_000], 0o600))
	curl(t, "-C", "-", "-o", file, url)
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, bytes.Equal(o.data, whole))
}

// What GPAC asks for after a loss: a request for each missing range, or one if they are less than 10,000 octets apart, with
// no condition, below the base URL of its option repair_urls. The requests are those that it made of a server of ours.
func TestServeGPAC(t *testing.T) {
	o := newFakeObject(148_456)
	o.name = "clip_dash_track1_5.m4s"
	h := &Handler{Backend: serving(o)}
	for _, want := range []Range{{21_720, 23_168}, {63_712, 65_160}, {128_872, 134_664}} {
		w := get(h, "/clip_dash_track1_5.m4s", "Range", string(appendRange(nil, []Range{want})))
		require.Equal(t, 206, w.Code)
		require.Equal(t, string(appendContentRange(nil, want, 148_456)), w.Header().Get("Content-Range"))
		require.True(t, bytes.Equal(o.data[want.Start:want.End], w.Body.Bytes()))
	}
}
