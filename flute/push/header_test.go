package push

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var rangeCases = []struct {
	text string
	want contentRange
}{
	{"bytes 42-1233/1234", contentRange{42, 1234, 1234}}, // RFC 9110 section 14.4
	{"bytes 42-1233/*", contentRange{42, 1234, -1}},      // RFC 9110 section 14.4
	{"bytes 0-0/1", contentRange{0, 1, 1}},
	{"bytes 140354-*/*", contentRange{140354, -1, -1}},
	{"bytes 10-*/10", contentRange{10, -1, 10}},
}

func TestContentRange(t *testing.T) {
	for _, c := range rangeCases {
		got, err := parseContentRange(c.text)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
		require.Equal(t, c.text, string(got.append(nil)))
	}
	for _, bad := range []string{
		"", "bytes", "bytes */1234", "bytes 0-0", "bytes 5-4/10", "bytes 5-10/10", "bytes -1/10", "bytes 0-/10", "octets 0-0/1",
		"bytes 11-*/10", "bytes 0-0/", "bytes 0-0/-1", "bytes 0-1000000000000000000/*", "bytes=0-0/1", "bytes 0-0/1,bytes 1-1/2", "bytes *-*/*",
	} {
		_, err := parseContentRange(bad)
		require.ErrorIs(t, err, ErrRequest, bad)
	}
}

func TestDigests(t *testing.T) {
	// RFC 9530 appendix A and B.1: {"hello": "world"} with a newline at its end.
	hello := []byte("{\"hello\": \"world\"}\n")
	require.Equal(t, "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:", reprDigest("sha-256", hello))
	digests, err := parseDigests([]string{
		"sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=: , unixsum=:AA==:,", "id-sha-256=:AA==:, " + reprDigest("sha-512", hello) + ";x=1",
	})
	require.NoError(t, err)
	require.Equal(t, []digest{{"sha-256", sha256Of(hello)}, {"sha-512", digests[1].sum}}, digests)
	require.Len(t, digests[1].sum, 64)
	digests, err = parseDigests([]string{reprDigest("sha-256", nil) + "," + reprDigest("sha-256", hello)})
	require.NoError(t, err)
	require.Equal(t, []digest{{"sha-256", sha256Of(hello)}}, digests, "the last counts")
	for _, bad := range []string{"sha-256", "sha-256=", "sha-256=:", "sha-256=::", "sha-256=:AAAA:", "sha-256=AAAA", "sha-512=" + reprDigest("sha-256", nil)[8:]} {
		_, err := parseDigests([]string{bad})
		require.ErrorIs(t, err, ErrRequest, bad)
	}
}

func TestPath(t *testing.T) {
	id, err := ParsePath(testPath)
	require.NoError(t, err)
	require.Equal(t, testID, id)
	require.Equal(t, testPath, id.String())
	_, err = ParsePath("/ingest/v1/192.0.2.10,232.1.1.10:5000/0/18446744073709551615")
	require.NoError(t, err)
}

// Whatever a request says, the answer is one of those documented, memory stays in its bounds, and an object is complete only
// if it is the one that was meant.
func FuzzPut(f *testing.F) {
	data := pattern(100)
	f.Add(testPath, "", "", "", "", "", data, 50)
	f.Add(testPath, "bytes 50-*/100", "100", "a", reprDigest("sha-256", data), "1.1 b", data[50:], 50)
	f.Add(testPath, "bytes 40-59/*", "", "b", reprDigest("sha-512", data), "", data[40:60], 50)
	f.Add("/ingest/v1/a,b:1/1/2", "bytes 0-*/0", "", "", "sha-256=:AA==:", "1.1 relay-1", []byte{}, 0)
	f.Fuzz(func(t *testing.T, path, contentRange, length, location, digests, via string, body []byte, before int) {
		m := &memory{}
		h := newHandler(t, m)
		h.MaxObject = 1 << 12
		if id, err := ParsePath(path); err == nil {
			require.Equal(t, path, id.String(), "one path for one object")
		} else {
			require.ErrorIs(t, err, ErrRequest)
			path = testPath
		}
		if before > 0 && before < len(data) { // something is there
			first := httptest.NewRequest(http.MethodPut, testPath, &broken{data[:before], io.ErrUnexpectedEOF})
			first.Header.Set("Content-Location", "a")
			h.ServeHTTP(httptest.NewRecorder(), first)
		}
		r := httptest.NewRequest(http.MethodPut, testPath, io.MultiReader(bytes.NewReader(body)))
		r.URL.Path, r.URL.RawPath = path, ""
		for name, value := range map[string]string{
			"Content-Range": contentRange, UploadLength: length, "Content-Location": location, ReprDigest: digests, "Via": via,
		} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Contains(t, []int{201, 204, 400, 404, 409, 413, 422, 508}, w.Code)
		require.LessOrEqual(t, w.Body.Len(), 512+len("...\n"))
		for _, s := range m.all() {
			require.LessOrEqual(t, len(s.data), 1<<12)
			if s.whole && strings.HasPrefix(digests, "sha-256=:") {
				parsed, err := parseDigests([]string{digests})
				require.NoError(t, err)
				for _, d := range parsed {
					sum := newHash(d.algorithm)
					sum.Write(s.data)
					require.Equal(t, d.sum, sum.Sum(nil))
				}
			}
		}
		if parsed, err := parseContentRange(contentRange); err == nil {
			again, err := parseContentRange(string(parsed.append(nil)))
			require.NoError(t, err)
			require.Equal(t, parsed, again)
		}
	})
}
