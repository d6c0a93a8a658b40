package treetest

import (
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/repair"
)

// ServesChildren tests the repair server of a node: url is its base, service and name are those of an object with the
// given octets that has been sent by multicast with the address id, by a node for which via stands in Via fields.
func ServesChildren(t *testing.T, url, via, service, name, body string, id repair.ObjectID) {
	t.Helper()
	wire := url + string(id.AppendPath(nil))
	plain := url + "/" + service + "/" + name
	symbols := func(n int) bool {
		resp, _ := Get(t, wire+fmt.Sprintf("?SBN=0&count=%d", n))
		return resp.StatusCode == http.StatusOK
	}
	Eventually(t, patience, func() bool { return symbols(1) }, "no symbols are given")

	for kind, base := range map[string]string{"by address": wire, "by name": plain} {
		t.Run(kind, func(t *testing.T) {
			resp, got := Get(t, base)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Equal(t, body, string(got))
			etag := resp.Header.Get("Etag")
			require.Regexp(t, `^"[0-9a-f]{16}"$`, etag)

			resp, got = Do(t, http.MethodGet, base, http.Header{"Range": {"bytes=100-199"}, "If-Match": {etag}})
			require.Equal(t, http.StatusPartialContent, resp.StatusCode)
			require.Equal(t, fmt.Sprintf("bytes 100-199/%d", len(body)), resp.Header.Get("Content-Range"))
			require.Equal(t, body[100:200], string(got))

			resp, got = Do(t, http.MethodGet, base, http.Header{"Range": {"bytes=0-9,5000-5099"}})
			require.Equal(t, http.StatusPartialContent, resp.StatusCode)
			kind, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
			require.NoError(t, err)
			require.Equal(t, "multipart/byteranges", kind)
			r := multipart.NewReader(strings.NewReader(string(got)), params["boundary"])
			for _, want := range []string{body[:10], body[5000:5100]} {
				part, err := r.NextPart()
				require.NoError(t, err)
				text, err := io.ReadAll(part)
				require.NoError(t, err)
				require.Equal(t, want, string(text))
			}
			_, err = r.NextPart()
			require.ErrorIs(t, err, io.EOF)

			for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete} {
				resp, _ = Do(t, method, base, nil)
				require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode, method)
			}
			resp, _ = Do(t, http.MethodGet, base, http.Header{"Via": {"1.1 other, 1.1 " + via}})
			require.Equal(t, http.StatusLoopDetected, resp.StatusCode)
		})
	}
	t.Run("symbols", func(t *testing.T) {
		resp, got := Get(t, wire+"?SBN=0&count=3")
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, repair.SymbolsType, resp.Header.Get("Content-Type"))
		raw, err := base64.StdEncoding.DecodeString(resp.Header.Get(repair.OTIHeader))
		require.NoError(t, err)
		oti, err := fec.ParseOTI(raw)
		require.NoError(t, err)
		require.Len(t, got, 3*(6+int(oti.SymbolSize)))
		_, more := Get(t, wire+"?SBN=0&count=3")
		require.NotEqual(t, got[:4], more[:4], "nobody gets a symbol twice")
		resp, _ = Get(t, wire+"?SBN=0;ESI=x")
		require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	})
	t.Run("unknown", func(t *testing.T) {
		other := id
		other.TOI += 1000
		resp, _ := Get(t, url+string(other.AppendPath(nil)))
		require.Equal(t, http.StatusNotFound, resp.StatusCode)
		resp, _ = Get(t, url+"/"+service+"/unknown.bin")
		require.Equal(t, http.StatusNotFound, resp.StatusCode)
	})
}
