package inspect_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/inspect"
	"github.com/treedn/treedn/route/entity"
	"github.com/treedn/treedn/route/sls"
)

// sendCP is sendROUTE with another codepoint.
func sendCP(t *testing.T, tsi, toi uint64, codepoint uint8, body []byte) []packet {
	packets := sendROUTE(t, tsi, toi, body, true)
	for i := range packets {
		packets[i].b[3] = codepoint
	}
	return packets
}

// Objects of Entity Mode have their names in themselves, and packages have parts, also where they are signed.
func TestDeliveryFormats(t *testing.T) {
	body := random(1, 5000)
	h := entity.Header{Chunked: true, Length: -1, Fields: []entity.Field{{Name: "Content-Location", Value: "dir/e.m4s"}, {Name: "Content-Type", Value: "video/mp4"}}}
	b, err := h.Append(nil)
	require.NoError(t, err)
	b = entity.AppendChunk(b, body[:3000], "")
	b = entity.AppendChunk(b, body[3000:], "")
	b, err = entity.AppendEnd(b)
	require.NoError(t, err)
	whole := digest(b)
	packets := sendCP(t, 10, 1, sls.CPMediaEntity, b)

	pkg := sls.Package{Version: 1, Parts: []sls.Part{{ContentType: "text/html", Location: "app/index.html", Body: []byte("<html/>")}}}
	plain, err := pkg.Append(nil)
	require.NoError(t, err)
	packets = append(packets, sendCP(t, 11, 2, sls.CPPackage, plain)...)
	pkg.Parts[0].Location = "app/signed.html"
	content, err := pkg.Append(nil)
	require.NoError(t, err)
	packets = append(packets, sendCP(t, 11, 3, sls.CPSignedPackage, entity.AppendSigned(nil, content, []byte("CMS"), "sha-256"))...)

	dir := t.TempDir()
	s, err := inspect.NewSaver(dir)
	require.NoError(t, err)
	defer s.Close()
	events := inspectAll(packets, inspect.Config{})
	for _, o := range objects(events) {
		if o.TSI == 10 {
			require.Equal(t, whole, *o.SHA256, "as transferred")
			require.Equal(t, "dir/e.m4s", *o.Location)
			require.Equal(t, "video/mp4", o.ContentType)
		}
		_, err := s.Save(o)
		require.NoError(t, err)
	}
	got := files(t, dir)
	require.Equal(t, string(body), got["dir/e.m4s"])
	require.Equal(t, "<html/>", got["app/index.html"])
	require.Equal(t, "<html/>", got["app/signed.html"])
	require.Contains(t, got, "11-2")
	require.Contains(t, got, "11-3")
	require.Len(t, got, 5)
}
