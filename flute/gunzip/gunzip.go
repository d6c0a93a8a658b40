// Package gunzip inflates what strangers compressed: signalling tables, and
// packages of them, that arrive as gzip (RFC 1952). The output is bounded in
// octets and in relation to the input, so that a small datagram cannot cost much.
package gunzip

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// ErrSize: the input is too large, or grows too much when it is inflated.
var ErrSize = errors.New("gzip: too large")

// freeRatio is the inflated size below which the ratio does not matter: small
// and repetitive documents compress well.
const freeRatio = 64 << 10

// Limits bounds what Inflate makes. The zero value has the defaults.
type Limits struct {
	// Octets is the length of the output. Default 4 MiB.
	Octets int
	// Ratio is how many times its length an input may grow. Up to 64 KiB are
	// allowed anyway. Default 200.
	Ratio int
}

// Is tells by the magic number whether b is gzip. Senders are known to forget
// the flags that say so.
func Is(b []byte) bool {
	return len(b) >= 2 && b[0] == 0x1f && b[1] == 0x8b
}

// Inflate inflates the first member of b. What follows it is padding. An input
// that ends too early gives an error that matches io.ErrUnexpectedEOF.
func (l Limits) Inflate(b []byte) ([]byte, error) {
	if l.Octets <= 0 {
		l.Octets = 4 << 20
	}
	if l.Ratio <= 0 {
		l.Ratio = 200
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, wrap(err)
	}
	z.Multistream(false)
	limit := min(l.Octets, max(len(b)*l.Ratio, freeRatio))
	var out bytes.Buffer
	n, err := io.Copy(&out, io.LimitReader(z, int64(limit)+1))
	if err != nil {
		return nil, wrap(err)
	}
	if n > int64(limit) {
		return nil, fmt.Errorf("%w: %d octets inflate to more than %d", ErrSize, len(b), limit)
	}
	return out.Bytes(), nil
}

func wrap(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("gzip: %w", err)
}

// Append appends plain as one gzip member. Equal octets give equal octets.
func Append(b, plain []byte) ([]byte, error) {
	buf := bytes.NewBuffer(b)
	z := gzip.NewWriter(buf)
	if _, err := z.Write(plain); err != nil {
		return b, wrap(err)
	}
	if err := z.Close(); err != nil {
		return b, wrap(err)
	}
	return buf.Bytes(), nil
}
