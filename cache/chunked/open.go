package chunked

import (
	"crypto/subtle"
	"fmt"
	"io"
	"sync"
)

// batch is how many chunks are read from the source at once.
const batch = 4

// scratch is what opening chunks needs; AES-GCM refuses to open in place with
// an offset, so ciphertext and plaintext have buffers of their own.
type scratch struct {
	nonce  [12]byte
	sealed [batch * sealedChunk]byte
	plain  [ChunkSize]byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// ReaderAt opens any part of a message. It is safe for concurrent use if its
// source is.
type ReaderAt struct {
	src  io.ReaderAt
	sec  *secrets
	size int64 // of the plaintext
}

// NewReaderAt opens the message of the given length in src. It checks the
// commitment, in constant time, and opens the last chunk, so that Size and
// every read are of an authentic message. Errors match ErrAuthentication or
// ErrLength, or come from src.
func NewReaderAt(src io.ReaderAt, length int64, key, context []byte) (*ReaderAt, error) {
	size, err := PlainSize(length)
	if err != nil {
		return nil, err
	}
	var header [HeaderSize]byte
	if err := readFull(src, header[:], 0); err != nil {
		return nil, err
	}
	sec, err := derive(key, context, header[:SaltSize])
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(sec.commitment[:], header[SaltSize:]) != 1 {
		return nil, ErrAuthentication
	}
	r := &ReaderAt{src, sec, size}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	last := size / ChunkSize
	sealed := s.sealed[:r.chunkLen(last)]
	if err := readFull(src, sealed, HeaderSize+last*sealedChunk); err != nil {
		return nil, err
	}
	if err := r.open(s, s.plain[:0], last, sealed); err != nil {
		return nil, err
	}
	return r, nil
}

// Size returns the length of the plaintext.
func (r *ReaderAt) Size() int64 { return r.size }

// chunkLen returns the sealed length of chunk k.
func (r *ReaderAt) chunkLen(k int64) int64 {
	return min(ChunkSize, r.size-k*ChunkSize) + TagSize
}

func (r *ReaderAt) open(s *scratch, dst []byte, k int64, sealed []byte) error {
	r.sec.nonceOf(&s.nonce, k)
	if _, err := r.sec.aead.Open(dst, s.nonce[:], sealed, nil); err != nil {
		return fmt.Errorf("%w: chunk %d", ErrAuthentication, k)
	}
	return nil
}

// ReadAt implements io.ReaderAt. It reads and opens the chunks that hold the
// range and no others.
func (r *ReaderAt) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("chunked: offset %d", off)
	}
	if off >= r.size {
		return 0, io.EOF
	}
	if int64(len(p)) > r.size-off {
		p, err = p[:r.size-off], io.EOF
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	for n < len(p) {
		k := (off + int64(n)) / ChunkSize
		last := (off + int64(len(p)) - 1) / ChunkSize
		last = min(last, k+batch-1)
		sealed := s.sealed[:(last-k)*sealedChunk+r.chunkLen(last)]
		if err := readFull(r.src, sealed, HeaderSize+k*sealedChunk); err != nil {
			return n, err
		}
		for ; k <= last; k++ {
			m, err := r.copyChunk(s, p[n:], off+int64(n), k, sealed[:r.chunkLen(k)])
			if err != nil {
				return n, err
			}
			n += m
			sealed = sealed[r.chunkLen(k):]
		}
	}
	return n, err
}

// copyChunk opens chunk k and copies what lies from off on to p.
func (r *ReaderAt) copyChunk(s *scratch, p []byte, off, k int64, sealed []byte) (int, error) {
	skip := off - k*ChunkSize
	size := len(sealed) - TagSize
	if skip == 0 && len(p) >= size {
		return size, r.open(s, p[:0:size], k, sealed)
	}
	if err := r.open(s, s.plain[:0], k, sealed); err != nil {
		return 0, err
	}
	return copy(p, s.plain[skip:size]), nil
}

// readFull reads exactly p; an end that comes too early means a cut message.
func readFull(src io.ReaderAt, p []byte, off int64) error {
	n, err := src.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF || err == nil {
		return ErrLength
	}
	return err
}

// Open appends the plaintext of message to dst, which must not overlap it. On
// error dst is returned as it was.
func Open(dst, key, context, message []byte) ([]byte, error) {
	size, err := PlainSize(int64(len(message)))
	if err != nil {
		return dst, err
	}
	sec, err := derive(key, context, message[:SaltSize])
	if err != nil {
		return dst, err
	}
	if subtle.ConstantTimeCompare(sec.commitment[:], message[SaltSize:HeaderSize]) != 1 {
		return dst, ErrAuthentication
	}
	out := dst
	sealed := message[HeaderSize:]
	var nonce [12]byte
	for k := int64(0); k <= size/ChunkSize; k++ {
		n := min(len(sealed), sealedChunk)
		sec.nonceOf(&nonce, k)
		if out, err = sec.aead.Open(out, nonce[:], sealed[:n], nil); err != nil {
			clear(out[len(dst):cap(out)])
			return dst, fmt.Errorf("%w: chunk %d", ErrAuthentication, k)
		}
		sealed = sealed[n:]
	}
	return out, nil
}
