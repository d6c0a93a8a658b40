package flute

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"strings"

	"github.com/treedn/treedn/flute/lct"
)

// Decode returns what a content encoding holds: of FDT attribute Content-Encoding, gzip, deflate (with the header of
// zlib, as HTTP has it, or bare), zlib, identity and the empty string. Reading gives ErrExpansion beyond limit octets.
func Decode(r io.Reader, encoding string, limit int64) (io.Reader, error) {
	var err error
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity", "null":
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(r)
	case "deflate", "zlib":
		// Senders do not agree on what deflate means. A zlib header is a multiple of 31 with the method in its low bits.
		b := bufio.NewReader(r)
		r = b
		if head, _ := b.Peek(2); len(head) == 2 && head[0]&0xf == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
			r, err = zlib.NewReader(b)
		} else {
			r = flate.NewReader(b)
		}
	default:
		return nil, fmt.Errorf("%w: %.32q", ErrEncoding, encoding)
	}
	if err != nil {
		return nil, err
	}
	return &limited{r, limit}, nil
}

type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, ErrExpansion
	}
	if l.left < int64(len(p)) {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n - 1, ErrExpansion
	}
	return n, err
}

// expansion is how much larger than its encoded form content may be.
const expansion = 100

// decodeInstance decodes an FDT Instance.
func decodeInstance(b []byte, cenc lct.CENC, limit int) ([]byte, error) {
	var r io.Reader
	var err error
	switch cenc {
	case lct.CENCNull:
		return b, nil
	case lct.CENCZLIB:
		r, err = zlib.NewReader(bytes.NewReader(b))
	case lct.CENCDeflate:
		r = flate.NewReader(bytes.NewReader(b))
	case lct.CENCGzip:
		r, err = gzip.NewReader(bytes.NewReader(b))
	default:
		return nil, fmt.Errorf("%w: EXT_CENC %d", ErrEncoding, cenc)
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(&limited{r, int64(min(limit, max(64<<10, expansion*len(b))))})
}
