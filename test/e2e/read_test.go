package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newClient returns a client for one test, whose connections end with it.
func newClient(t testing.TB) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 32, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// get reads a whole object. An answer that breaks off is an error, as is any status but 200.
func get(ctx context.Context, c *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// persist asks until it has the whole object or ctx ends.
func persist(ctx context.Context, c *http.Client, url string) ([]byte, error) {
	for {
		b, err := get(ctx, c, url)
		if err == nil {
			return b, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// patience is what a busy machine may take for something that an idle one does at once. A test that waits so long asserts
// that something happens, not when.
const patience = 15 * time.Second

// waitFor asks for an object until it is there.
func waitFor(t testing.TB, c *http.Client, url string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := persist(ctx, c, url)
	require.NoError(t, err)
	return b
}

// sum is the SHA-256 of b in hexadecimal.
func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// witnessed are the SHA-256 of the segments in a folder.
func witnessed(t testing.TB, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.m*4*"))
	require.NoError(t, err)
	sums := make(map[string]string)
	for _, f := range files {
		if name := filepath.Base(f); !strings.HasSuffix(name, ".tmp") {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			sums[name] = sum(b)
		}
	}
	return sums
}
