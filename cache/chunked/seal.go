package chunked

import (
	"crypto/rand"
	"io"
)

// Writer seals a stream. What has been written is a message only after Close.
// It is not safe for concurrent use.
type Writer struct {
	dst    io.Writer
	sec    *secrets
	header [HeaderSize]byte
	k      int64
	n      int // octets of plain
	begun  bool
	err    error
	nonce  [12]byte
	plain  [ChunkSize]byte
	sealed [sealedChunk]byte
}

// NewWriter begins a message to dst under a random salt. Nothing is written
// before the first Write or Close.
func NewWriter(dst io.Writer, key, context []byte) (*Writer, error) {
	var salt [SaltSize]byte
	_, _ = rand.Read(salt[:]) // never fails
	return newWriter(dst, key, context, salt)
}

func newWriter(dst io.Writer, key, context []byte, salt [SaltSize]byte) (*Writer, error) {
	sec, err := derive(key, context, salt[:])
	if err != nil {
		return nil, err
	}
	w := &Writer{dst: dst, sec: sec}
	copy(w.header[:], salt[:])
	copy(w.header[SaltSize:], sec.commitment[:])
	return w, nil
}

// Header returns salt and commitment, by which another message may refer to
// this one.
func (w *Writer) Header() [HeaderSize]byte { return w.header }

// Write seals p. What does not fill a chunk is kept for the next call.
func (w *Writer) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 && w.err == nil {
		if w.n == 0 && len(p) >= ChunkSize {
			w.flush(p[:ChunkSize])
			p = p[ChunkSize:]
			continue
		}
		n := copy(w.plain[w.n:], p)
		p = p[n:]
		if w.n += n; w.n == ChunkSize {
			w.n = 0
			w.flush(w.plain[:])
		}
	}
	if w.err != nil {
		return total - len(p), w.err
	}
	return total, nil
}

// Close seals the last chunk. It does not close the destination. Write fails
// afterwards, a second Close returns what the first one did.
func (w *Writer) Close() error {
	if w.err == nil {
		w.flush(w.plain[:w.n])
	}
	if w.err == nil {
		w.err = io.ErrClosedPipe
		return nil
	}
	if w.err == io.ErrClosedPipe {
		return nil
	}
	return w.err
}

func (w *Writer) flush(p []byte) {
	if !w.begun {
		w.begun = true
		if _, w.err = w.dst.Write(w.header[:]); w.err != nil {
			return
		}
	}
	if w.k*ChunkSize+int64(len(p)) > maxSize {
		w.err = ErrTooLong
		return
	}
	w.sec.nonceOf(&w.nonce, w.k)
	w.k++
	_, w.err = w.dst.Write(w.sec.aead.Seal(w.sealed[:0], w.nonce[:], p, nil))
}

// Seal appends the message of plain to dst, which must not overlap it.
func Seal(dst, key, context, plain []byte) ([]byte, error) {
	var salt [SaltSize]byte
	_, _ = rand.Read(salt[:]) // never fails
	sec, err := derive(key, context, salt[:])
	if err != nil {
		return dst, err
	}
	dst = append(dst, salt[:]...)
	dst = append(dst, sec.commitment[:]...)
	var nonce [12]byte
	for k := int64(0); ; k++ {
		n := min(len(plain), ChunkSize)
		sec.nonceOf(&nonce, k)
		dst = sec.aead.Seal(dst, nonce[:], plain[:n], nil)
		plain = plain[n:]
		if n < ChunkSize {
			return dst, nil
		}
	}
}
