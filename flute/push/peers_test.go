package push

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A sender that knows nothing of us but PUT: curl, which also resumes with Content-Range.
func TestPutByCurl(t *testing.T) {
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("there is no curl")
	}
	m := &memory{}
	h := newHandler(t, m)
	server := httptest.NewServer(h)
	defer server.Close()
	data := pattern(300_000)
	file := filepath.Join(t.TempDir(), "seg")
	require.NoError(t, os.WriteFile(file, data, 0o600))
	curl := func(args ...string) string {
		args = append([]string{"-sS", "--noproxy", "*", "-o", os.DevNull, "-w", "%{http_code}"}, args...)
		out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	require.Equal(t, "201", curl("-T", file, "-H", "Content-Location: a", server.URL+"/ingest/v1/curl/1/1"))
	require.Equal(t, "201", curl("-T", file, "-H", ReprDigest+": "+reprDigest("sha-256", data), server.URL+"/ingest/v1/curl/1/2"))
	require.Equal(t, "422", curl("-T", file, "-H", ReprDigest+": "+reprDigest("sha-256", nil), server.URL+"/ingest/v1/curl/1/3"))
	require.Equal(t, 408, do(h, http.MethodPut, &broken{data[:100_000], http.ErrBodyReadAfterClose}).Code)
	require.Equal(t, "201", curl("-C", "100000", "-T", file, server.URL+testPath))
	for i, s := range m.all() {
		require.Equal(t, i != 2, s.whole)
		require.True(t, bytes.Equal(data, s.data))
	}
}
