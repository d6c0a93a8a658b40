package chunked

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"errors"
	"fmt"
)

const (
	// ChunkSize is the plaintext of every chunk but the last, in octets.
	ChunkSize = 16 << 10
	// SaltSize and CommitmentSize are the parts of the header.
	SaltSize       = 24
	CommitmentSize = 32
	HeaderSize     = SaltSize + CommitmentSize
	// TagSize is what a chunk grows by.
	TagSize = 16

	sealedChunk = ChunkSize + TagSize
	// maxSize follows from 2^38 chunks, the last of them not full.
	maxSize = 1<<38*ChunkSize - 1
)

var (
	// ErrAuthentication says that a message was not sealed with this key and
	// context, or was changed since.
	ErrAuthentication = errors.New("chunked: message is not authentic")
	// ErrLength says that no message has this length: it was cut.
	ErrLength = errors.New("chunked: no message has this length")
	// ErrKeySize refuses input keys that are not 16 or 32 octets long.
	ErrKeySize = errors.New("chunked: input key is not 16 or 32 octets long")
	// ErrTooLong refuses more plaintext than a message can hold.
	ErrTooLong = errors.New("chunked: plaintext is too long")
)

// SealedSize returns the length of the message that n octets are sealed to.
func SealedSize(n int64) int64 {
	return HeaderSize + n + TagSize*(n/ChunkSize+1)
}

// PlainSize returns the length of the plaintext in a message of n octets, or
// ErrLength.
func PlainSize(n int64) (int64, error) {
	n -= HeaderSize
	if n < TagSize {
		return 0, ErrLength
	}
	// The last chunk is shorter than the others but has its tag.
	chunks, rest := n/sealedChunk, n%sealedChunk
	if rest < TagSize {
		return 0, ErrLength
	}
	size := chunks*ChunkSize + rest - TagSize
	if size > maxSize {
		return 0, ErrLength
	}
	return size, nil
}

// secrets are what one salt yields.
type secrets struct {
	aead       cipher.AEAD
	nonce      [12]byte
	commitment [CommitmentSize]byte
}

func derive(key, context []byte, salt []byte) (*secrets, error) {
	var name string
	switch len(key) {
	case 16:
		name = "AEAD_AES_128_GCM"
	case 32:
		name = "AEAD_AES_256_GCM"
	default:
		return nil, ErrKeySize
	}
	info := make([]byte, 0, 64+SaltSize+len(context))
	info = append(info, "c2sp.org/chunked-encryption@v1+"...)
	info = append(info, name...)
	info = append(info, 0)
	info = append(info, salt...)
	info = append(info, context...)
	var s secrets
	okm, err := hkdf.Expand(sha512.New, key, string(info), len(key)+len(s.nonce)+CommitmentSize)
	if err != nil {
		return nil, fmt.Errorf("chunked: %w", err)
	}
	block, err := aes.NewCipher(okm[:len(key)])
	if err != nil {
		return nil, fmt.Errorf("chunked: %w", err)
	}
	if s.aead, err = cipher.NewGCM(block); err != nil {
		return nil, fmt.Errorf("chunked: %w", err)
	}
	okm = okm[len(key):]
	copy(s.nonce[:], okm)
	copy(s.commitment[:], okm[len(s.nonce):])
	return &s, nil
}

// nonceOf writes the nonce of chunk k to n.
func (s *secrets) nonceOf(n *[12]byte, k int64) {
	*n = s.nonce
	for i := 11; k != 0; i-- {
		n[i] ^= byte(k)
		k >>= 8
	}
}
