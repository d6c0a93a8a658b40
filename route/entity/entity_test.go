package entity_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/route/entity"
	"github.com/treedn/treedn/route/sls"
)

// decode reads an entity in pieces.
func decode(b []byte, pieces func(left int) int) (h entity.Header, body []byte, d *entity.Decoder, err error) {
	h, n, err := entity.ParseHeader(b)
	if err != nil {
		return h, nil, nil, err
	}
	d = h.Decoder()
	for b = b[n:]; len(b) > 0; {
		piece := b[:pieces(len(b))]
		b = b[len(piece):]
		for len(piece) > 0 {
			data, n, err := d.Next(piece)
			if err != nil {
				return h, body, d, err
			}
			body = append(body, data...)
			piece = piece[n:]
		}
	}
	return h, body, d, nil
}

func whole(left int) int { return left }

func TestHeader(t *testing.T) {
	h, n, err := entity.ParseHeader([]byte("HTTP/1.1 200 OK\r\ncontent-location: a/b.m4s\r\nContent-Type : video/mp4\r\n" +
		"X-Long: one\r\n two\r\nContent-Length: 5\r\n\r\nhello"))
	require.NoError(t, err)
	require.Equal(t, 200, h.Status)
	require.Equal(t, "a/b.m4s", h.Get("Content-Location"))
	require.Equal(t, "video/mp4", h.Get("Content-Type"))
	require.Equal(t, "one two", h.Get("X-Long"))
	require.Equal(t, int64(5), h.Length)
	require.Empty(t, h.Get("None"))
	require.Equal(t, 110, n)

	for text, want := range map[string]error{
		"":                           io.ErrUnexpectedEOF,
		"Content-Length: 5\r\n":      io.ErrUnexpectedEOF,
		"HTTP/1.1 OK\r\n\r\n":        entity.ErrHeader,
		"no field\r\n\r\n":           entity.ErrHeader,
		" folded: x\r\n\r\n":         entity.ErrHeader,
		"a b: x\r\n\r\n":             entity.ErrHeader,
		"Content-Length: x\r\n\r\n":  entity.ErrLength,
		"Content-Length: -1\r\n\r\n": entity.ErrLength,
		"Content-Length: 1\nContent-Length: 2\n\n":        entity.ErrLength,
		"Transfer-Encoding: gzip, chunked\r\n\r\n":        entity.ErrCoding,
		"X: " + strings.Repeat("x", entity.MaxHeader):     entity.ErrTooLong,
		strings.Repeat("X: y\r\n", entity.MaxHeader/6+10): entity.ErrTooLong,
	} {
		_, _, err := entity.ParseHeader([]byte(text))
		require.ErrorIs(t, err, want, "%.40q", text)
	}
}

// Chunks of the standard library come out as they went in, in whatever pieces they arrive.
func TestChunksOfNetHTTP(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var want []byte
	b := []byte("Content-Location: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n")
	var out bytes.Buffer
	w := httputil.NewChunkedWriter(&out)
	for range 50 {
		p := make([]byte, 1+r.IntN(3000))
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		want = append(want, p...)
		_, err := w.Write(p)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	b = append(b, out.Bytes()...)
	b = append(b, "X-Digest: abc\r\nX-Two: 2\r\n\r\n"...)
	for range 20 {
		h, body, d, err := decode(b, func(left int) int { return 1 + r.IntN(min(left, 1+r.IntN(4000))) })
		require.NoError(t, err)
		require.True(t, h.Chunked)
		require.Equal(t, int64(-1), h.Length, "chunks come first")
		require.True(t, bytes.Equal(want, body))
		require.True(t, d.Done())
		require.Equal(t, []entity.Field{{"X-Digest", "abc"}, {"X-Two", "2"}}, d.Trailer())
	}
}

// What is written here the standard library reads.
func TestAppend(t *testing.T) {
	h := entity.Header{Length: -1, Chunked: true, Fields: []entity.Field{{"Content-Location", "seg.m4s"}, {"Content-Type", "video/mp4"}}}
	b, err := h.Append(nil)
	require.NoError(t, err)
	b = entity.AppendChunk(b, []byte("hello "), `chunk-content-digest="sha-256=:AA==:"`)
	b = entity.AppendChunk(b, nil, "")
	b = entity.AppendChunk(b, []byte("world"), "")
	b, err = entity.AppendEnd(b, entity.Field{Name: "Repr-Digest", Value: "sha-256=:AA==:"})
	require.NoError(t, err)

	resp, err := http.ReadResponse(newReader("HTTP/1.1 200 OK\r\nTrailer: Repr-Digest\r\n"+string(b)), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "hello world", string(body))
	require.Equal(t, "seg.m4s", resp.Header.Get("Content-Location"))
	require.Equal(t, "sha-256=:AA==:", resp.Trailer.Get("Repr-Digest"))

	got, body, d, err := decode(b, whole)
	require.NoError(t, err)
	require.Equal(t, h, got)
	require.Equal(t, "hello world", string(body))
	require.True(t, d.Done())
	var chunks []string
	_, n, err := entity.ParseHeader(b)
	require.NoError(t, err)
	d = got.Decoder()
	d.Chunk = func(size int64, extensions string) { chunks = append(chunks, fmt.Sprint(size, " ", extensions)) }
	for b = b[n:]; len(b) > 0; b = b[n:] {
		_, n, err = d.Next(b)
		require.NoError(t, err)
	}
	require.Equal(t, []string{`6 chunk-content-digest="sha-256=:AA==:"`, "5 ", "0 "}, chunks)

	for _, f := range []entity.Field{{"", "x"}, {"a b", "x"}, {"a", "x\r\nb: y"}, {"a", " x"}, {"Content-Length", "1"}} {
		_, err = (&entity.Header{Length: -1, Fields: []entity.Field{f}}).Append(nil)
		require.ErrorIs(t, err, entity.ErrHeader)
	}
}

func newReader(s string) *bufio.Reader { return bufio.NewReader(strings.NewReader(s)) }

func TestBrokenBodies(t *testing.T) {
	const chunked = "Transfer-Encoding: chunked\r\n\r\n"
	for text, want := range map[string]error{
		"Content-Length: 2\r\n\r\nabc":              entity.ErrLength,
		"Content-Length: 0\r\n\r\na":                entity.ErrLength,
		chunked + "x\r\n":                           entity.ErrChunk,
		chunked + "-1\r\n":                          entity.ErrChunk,
		chunked + "ffffffffffffffffff\r\n":          entity.ErrChunk,
		chunked + "1\r\nab\r\n":                     entity.ErrChunk,
		chunked + "0\r\n\r\nmore":                   entity.ErrLength,
		chunked + "0\r\nno field\r\n\r\n":           entity.ErrHeader,
		chunked + "1;" + strings.Repeat("x", 10000): entity.ErrTooLong,
	} {
		_, _, _, err := decode([]byte(text), whole)
		require.ErrorIs(t, err, want, "%.60q", text)
	}
	_, body, d, err := decode([]byte("X: y\r\n\r\nto the end"), whole)
	require.NoError(t, err)
	require.Equal(t, "to the end", string(body))
	require.False(t, d.Done(), "the end of the object is")
}

// A signed package is what OpenSSL signs and verifies.
func TestSignedByOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl")
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(openssl, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	write := func(name string, b []byte) { require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600)) }
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return b
	}
	run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key", "-out", "cert", "-subj", "/CN=x", "-days", "2")
	parts := []sls.Part{
		{ContentType: "text/html", Location: "index.html", Body: []byte("<p>hello</p>\r\n")},
		{ContentType: "image/png", Location: "a.png", Body: []byte{0x89, 'P', 'N', 'G', 13, 10, 26, 10, 0, 255}},
	}
	content, err := (&sls.Package{NoEnvelope: true, Parts: parts}).Append(nil)
	require.NoError(t, err)

	// OpenSSL makes the package.
	write("content", content)
	run("cms", "-sign", "-binary", "-in", "content", "-signer", "cert", "-inkey", "key", "-out", "signed", "-md", "sha256")
	theirs := read("signed")
	// It writes a version and a notice first.
	s, err := entity.ParseSigned(theirs)
	require.NoError(t, err)
	require.Equal(t, content, s.Content)
	require.Equal(t, "sha-256", s.Algorithm)
	write("signature", s.Signature)
	run("cms", "-verify", "-binary", "-inform", "DER", "-in", "signature", "-content", "content", "-CAfile", "cert", "-purpose", "any", "-out", "verified")
	pkg, err := sls.ParsePackage(s.Content)
	require.NoError(t, err)
	require.Equal(t, parts, pkg.Parts)

	// OpenSSL reads ours. It makes CRLF of every LF, so that there must be nothing binary.
	content, err = (&sls.Package{NoEnvelope: true, Parts: parts[:1]}).Append(nil)
	require.NoError(t, err)
	write("content", content)
	run("cms", "-sign", "-binary", "-in", "content", "-signer", "cert", "-inkey", "key", "-out", "signed", "-md", "sha256")
	s, err = entity.ParseSigned(read("signed"))
	require.NoError(t, err)
	ours := entity.AppendSigned(nil, content, s.Signature, "sha-256")
	back, err := entity.ParseSigned(ours)
	require.NoError(t, err)
	require.Equal(t, s, back)
	write("ours", append([]byte("MIME-Version: 1.0\r\n"), ours...))
	run("cms", "-verify", "-in", "ours", "-CAfile", "cert", "-purpose", "any", "-out", "verified")
	require.Equal(t, content, read("verified"))
}

func TestBrokenSigned(t *testing.T) {
	good := string(entity.AppendSigned(nil, []byte("A: b\r\n\r\nx"), []byte{1, 2, 3}, "sha-256"))
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"other type":   {strings.Replace(good, "multipart/signed", "multipart/mixed", 1), entity.ErrSigned},
		"no boundary":  {"Content-Type: multipart/signed\r\n\r\n", entity.ErrSigned},
		"cut off":      {good[:len(good)-20], io.ErrUnexpectedEOF},
		"other second": {strings.ReplaceAll(good, "pkcs7-signature", "octet-stream"), entity.ErrSigned},
		"no base64":    {strings.Replace(good, "AQID", "A!ID", 1), entity.ErrSigned},
		"empty":        {strings.Replace(good, "AQID", "", 1), entity.ErrSigned},
		"encoding":     {strings.Replace(good, "base64", "uuencode", 1), entity.ErrSigned},
	} {
		_, err := entity.ParseSigned([]byte(c.text))
		require.ErrorIs(t, err, c.want, name)
	}
}

func FuzzEntity(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"), byte(1))
	f.Add([]byte("A: b\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n"), byte(3))
	f.Add(entity.AppendSigned(nil, []byte("A: b\r\n\r\nx"), []byte{1, 2, 3}, "sha-256"), byte(9))
	f.Fuzz(func(t *testing.T, b []byte, step byte) {
		h, body, d, err := decode(b, whole)
		_, again, e, err2 := decode(b, func(left int) int { return min(left, int(step)+1) })
		require.Equal(t, err == nil, err2 == nil)
		require.True(t, bytes.HasPrefix(body, again) || bytes.HasPrefix(again, body))
		if err == nil {
			require.Equal(t, d.Done(), e.Done())
			require.True(t, bytes.Equal(body, again))
			if h.Length >= 0 {
				require.LessOrEqual(t, int64(len(body)), h.Length)
			}
			h.Fields = nil
			out, err := h.Append(nil)
			require.NoError(t, err)
			back, _, err := entity.ParseHeader(out)
			require.NoError(t, err)
			require.Equal(t, h.Length, back.Length)
		} else if !errors.Is(err, io.ErrUnexpectedEOF) {
			require.Condition(t, func() bool {
				for _, known := range []error{entity.ErrHeader, entity.ErrTooLong, entity.ErrCoding, entity.ErrLength, entity.ErrChunk} {
					if errors.Is(err, known) {
						return true
					}
				}
				return false
			})
		}
		if s, err := entity.ParseSigned(b); err == nil {
			require.NotEmpty(t, s.Signature)
			require.LessOrEqual(t, len(s.Content)+len(s.Signature), len(b))
		}
	})
}

// An entity is read while it arrives.
func Example() {
	octets := []byte("Content-Location: seg-1.m4s\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n")
	h, n, err := entity.ParseHeader(octets)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(h.Get("Content-Location"))
	d := h.Decoder()
	for octets = octets[n:]; len(octets) > 0; octets = octets[n:] {
		var data []byte
		if data, n, err = d.Next(octets); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s", data)
	}
	fmt.Println(", done:", d.Done())
	// Output:
	// seg-1.m4s
	// hello world, done: true
}
