package sls

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// ErrSize: a package is too large, or grows too much when it is inflated.
var ErrSize = errors.New("sls: package is too large")

// freeRatio is the inflated size below which the ratio does not matter: small
// and repetitive manifests compress well.
const freeRatio = 64 << 10

// AppendGzip appends the encoded package, compressed as a whole. Its TOI must
// say so.
func (p *Package) AppendGzip(b []byte) ([]byte, error) {
	plain, err := p.Append(nil)
	if err != nil {
		return b, err
	}
	buf := bytes.NewBuffer(b)
	z := gzip.NewWriter(buf)
	if _, err := z.Write(plain); err != nil {
		return b, fmt.Errorf("sls: %w", err)
	}
	if err := z.Close(); err != nil {
		return b, fmt.Errorf("sls: %w", err)
	}
	return buf.Bytes(), nil
}

// isGzip goes by the magic number, since senders are known to forget the bit of
// the TOI.
func isGzip(b []byte) bool {
	return len(b) >= 2 && b[0] == 0x1f && b[1] == 0x8b
}

func (l Limits) inflate(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, inflateError(err)
	}
	z.Multistream(false) // what follows is padding
	limit := min(l.Octets, max(len(b)*l.Ratio, freeRatio))
	var out bytes.Buffer
	n, err := io.Copy(&out, io.LimitReader(z, int64(limit)+1))
	if err != nil {
		return nil, inflateError(err)
	}
	if n > int64(limit) {
		return nil, fmt.Errorf("%w: %d octets inflate to more than %d", ErrSize, len(b), limit)
	}
	return out.Bytes(), nil
}

func inflateError(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("sls: gzip: %w", err)
}
