package sls_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/route/sls"
)

func TestParseCaptures(t *testing.T) {
	type part struct {
		contentType, location string
		version               uint32
	}
	for _, c := range []struct {
		capture string
		toi     sls.TOI
		parts   []part
	}{
		{"atsc3-ateme-lls-esg.pcap", 0x00030000, []part{
			{"application/route-usd+xml; charset=utf-8", "usbd.rusd", 0},
			{"application/route-s-tsid+xml; charset=utf-8", "stsid.sls", 0},
		}},
		{"gpac-atsc.pcap", 0x80060001, []part{
			{"application/route-usd+xml", "usbd.xml", 1},
			{"application/dash+xml", "live.mpd", 1},
			{"application/route-s-tsid+xml", "stsid.xml", 1},
		}},
		{"gpac-mabr-route.pcap", 0x80060001, []part{
			{"application/dash+xml", "manifest.mpd", 0},
			{"application/route-s-tsid+xml", "stsid.xml", 0},
		}},
		{"gpac-route-dash.pcap", 0x80060001, []part{
			{"application/dash+xml", "manifest.mpd", 0},
			{"application/route-s-tsid+xml", "stsid.xml", 0},
		}},
		{"gpac-route-ll.pcap", 0x80060001, []part{
			{"application/dash+xml", "manifest.mpd", 0},
			{"application/route-s-tsid+xml", "stsid.xml", 0},
		}},
	} {
		t.Run(c.capture, func(t *testing.T) {
			list := packages(t, c.capture)
			require.Len(t, list, 1)
			require.Equal(t, c.toi, list[0].toi)
			p, err := sls.ParsePackage(list[0].body)
			require.NoError(t, err)
			var parts []part
			for i := range p.Parts {
				q := &p.Parts[i]
				parts = append(parts, part{q.ContentType, q.Location, q.Version})
				require.Zero(t, q.Generation)
				switch q.Kind() {
				case sls.KindSTSID:
					s, err := sls.ParseSTSID(q.Body)
					require.NoError(t, err)
					require.NotEmpty(t, s.RS)
				case sls.KindManifest:
					require.True(t, bytes.HasPrefix(q.Body, []byte("<?xml")))
					require.True(t, bytes.HasSuffix(q.Body, []byte("</MPD>\r\n")))
				}
			}
			require.Equal(t, c.parts, parts)
		})
	}
}

func TestParsePackageSloppy(t *testing.T) {
	const body = "<S-TSID/>"
	for _, c := range []struct{ name, in string }{
		{"LF only, folded, unquoted", "Content-Type:Multipart/related;\n boundary=\"b-c\";\n type=application/mbms-envelope+xml\n\n--b-c\nContent-Type:a/b\nContent-Location:x\n\n" + body + "\n--b-c--"},
		{"unquoted boundary last", "content-type: multipart/related; type=a/b; BOUNDARY=b-c\r\n\r\n--b-c\r\ncontent-type: a/b\r\ncontent-location: x\r\n\r\n" + body + "\r\n--b-c--\r\nepilogue"},
		{"boundary in another parameter", "Content-Type: multipart/related; type=\"boundary=\\\"no;boundary=no\"; flag; boundary = \"b-c\"\r\n\r\n--b-c\r\nContent-Type: a/b\r\nContent-Location: x\r\n\r\n" + body + "\r\n--b-c--"},
		{"boundary that looks like its end", "Content-Type: multipart/related; boundary=\"++++--\"\r\n\r\n--++++--\r\nContent-Type: a/b\r\nContent-Location: x\r\n\r\n" + body + "\r\n--++++----\r\n"},
		{"preamble and padding", "MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\npreamble --b\r\n--bc\r\n--b \t\r\nContent-Type: a/b\r\nContent-Location: x\r\nContent-Transfer-Encoding: binary\r\n\r\n" + body + "\r\n--b-- \r\n"},
		{"header fields elsewhere", "--b\r\nContent-Type: a/b\r\nContent-Location: x\r\n\r\n" + body + "\r\n--b--\r\n"},
		{"not multipart", "Content-Type: a/b\r\nContent-Location: x\r\n\r\n" + body},
		{"envelope that is not XML", "Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: application/mbms-envelope+xml\r\n\r\n\r\n--b\r\nContent-Type: a/b\r\nContent-Location: x\r\n\r\n" + body + "\r\n--b--"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := sls.ParsePackage([]byte(c.in))
			require.NoError(t, err)
			require.Equal(t, []sls.Part{{ContentType: "a/b", Location: "x", Body: []byte(body)}}, p.Parts)
		})
	}
}

func TestParsePackageBodies(t *testing.T) {
	const head = "Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: a/b\r\n"
	for _, c := range []struct{ name, in, body string }{
		{"empty", head + "\r\n\r\n--b--", ""},
		{"empty without a blank line", head + "\r\n--b--", ""},
		{"line breaks at the end", head + "\r\nx\r\n\n\r\r\n--b--", "x\r\n\n\r"},
		{"boundary as a prefix", head + "\r\n--b1\r\n--b--no\r\n --b\r\n\r\n--b--", "--b1\r\n--b--no\r\n --b\r\n"},
		{"binary", head + "\r\n\x00\xff\r\n--b--", "\x00\xff"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := sls.ParsePackage([]byte(c.in))
			require.NoError(t, err)
			require.Len(t, p.Parts, 1)
			require.Equal(t, c.body, string(p.Parts[0].Body))
		})
	}
}

func TestParsePackageRefuses(t *testing.T) {
	const head = "Content-Type: multipart/related; boundary=b\r\n\r\n"
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		name, in string
		err      error
	}{
		{"nothing", "", io.ErrUnexpectedEOF},
		{"not a header", "<S-TSID/>", sls.ErrHeader},
		{"header cut off", "Content-Type: multipart/related; boundary=b", io.ErrUnexpectedEOF},
		{"no boundary", "Content-Type: multipart/related; type=x\r\n\r\n--\r\n", sls.ErrBoundary},
		{"empty boundary", "Content-Type: multipart/related; boundary=\"\"\r\n\r\n--\r\n", sls.ErrBoundary},
		{"long boundary", "Content-Type: multipart/related; boundary=" + long + "\r\n\r\n--" + long + "\r\n", sls.ErrBoundary},
		{"long boundary alone", "--" + long + "\r\n", sls.ErrBoundary},
		{"no delimiter", head + "text", io.ErrUnexpectedEOF},
		{"no parts", head + "--b--\r\n", sls.ErrBoundary},
		{"no closing delimiter", head + "--b\r\n\r\nbody\r\n", io.ErrUnexpectedEOF},
		{"delimiter at the very end", head + "--b\r\n\r\nbody\r\n--b", io.ErrUnexpectedEOF},
		{"malformed field", head + "--b\r\nno colon\r\n\r\n\r\n--b--", sls.ErrHeader},
		{"long header", head + "--b\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n\r\n--b--", sls.ErrHeader},
		{"base64", head + "--b\r\nContent-Transfer-Encoding: base64\r\n\r\n\r\n--b--", sls.ErrEncoding},
		{"generation", head + "--b\r\nX-Treedn-Generation: -1\r\n\r\n\r\n--b--", sls.ErrGeneration},
		{"too many parts", head + strings.Repeat("--b\r\n\r\n\r\n", 1025) + "--b--", sls.ErrParts},
		{"too large", head + "--b\r\n\r\n" + strings.Repeat("x", 4<<20) + "\r\n--b--", sls.ErrSize},
		{"gzip cut off", "\x1f\x8b", io.ErrUnexpectedEOF},
		{"gzip with a wrong method", "\x1f\x8b\x01\x00\x00\x00\x00\x00\x00\x00", gzip.ErrHeader},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := sls.ParsePackage([]byte(c.in))
			require.ErrorIs(t, err, c.err)
		})
	}
}

func TestParsePackageBomb(t *testing.T) {
	bomb := func(octets int) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := io.WriteString(z, "Content-Type: a/b\r\n\r\n"+strings.Repeat("\x00", octets))
		require.NoError(t, err)
		require.NoError(t, z.Close())
		return b.Bytes()
	}
	_, err := sls.ParsePackage(bomb(1 << 20))
	require.ErrorIs(t, err, sls.ErrSize, "by its ratio")
	_, err = sls.Limits{Ratio: 2000}.ParsePackage(bomb(5 << 20))
	require.ErrorIs(t, err, sls.ErrSize, "by its size")
	_, err = sls.ParsePackage(bomb(60 << 10))
	require.NoError(t, err, "small enough to be harmless")
	cut := bomb(1000)
	_, err = sls.ParsePackage(cut[:len(cut)-4])
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	p, err := sls.ParsePackage(append(bomb(10), "\x00padding"...))
	require.NoError(t, err)
	require.Len(t, p.Parts[0].Body, 10)
}
