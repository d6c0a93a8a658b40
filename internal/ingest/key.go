package ingest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
)

// KeyPrefix begins every stream key, so that a key is told from a directory in a
// path and found by secret scanners.
const KeyPrefix = "sk_live_"

// A KeyHash is the SHA-256 of a stream key, prefix included: all that a
// configuration or a disk holds of it. A key has 256 random bits, so a slow
// password hash would only invite denial of service.
type KeyHash [sha256.Size]byte

// HashKey returns the hash of a stream key.
func HashKey(key string) KeyHash { return sha256.Sum256([]byte(key)) }

// NewKey makes a stream key of 256 random bits. The caller shows it once and
// keeps its hash.
func NewKey() (key string, hash KeyHash) {
	var b [32]byte
	rand.Read(b[:]) // never fails
	key = KeyPrefix + base64.RawURLEncoding.EncodeToString(b[:])
	return key, HashKey(key)
}

var errKeyHash = errors.New("ingest: a key hash has 64 hexadecimal digits")

// UnmarshalText reads the hash as hexadecimal digits.
func (h *KeyHash) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(h)) {
		return errKeyHash
	}
	if _, err := hex.Decode(h[:], text); err != nil {
		return errKeyHash // the text might be the key itself: not in an error
	}
	return nil
}

// MarshalText writes the hash as hexadecimal digits.
func (h KeyHash) MarshalText() ([]byte, error) {
	return hex.AppendEncode(nil, h[:]), nil
}

// String returns the first 8 digits: enough to tell keys apart, of no use to an
// attacker.
func (h KeyHash) String() string { return hex.EncodeToString(h[:4]) }

// maxKeys is how many keys a channel may have at a time: the current one and
// those in their grace period.
const maxKeys = 8

// keyring is the set of hashes of a channel. Checking takes the same time for
// every ring, the empty one too.
type keyring struct {
	n      int
	hashes [maxKeys]KeyHash
}

// find returns whether the hash is in the ring.
func (k *keyring) find(h KeyHash) bool {
	found := 0
	for i := range k.hashes {
		listed := subtle.ConstantTimeLessOrEq(i+1, k.n)
		found |= listed & subtle.ConstantTimeCompare(k.hashes[i][:], h[:])
	}
	return found == 1
}

// presentedKey returns the stream key of a request, "" if there is none. FFmpeg
// sends a key in the path or a header with all requests, a user name and
// password only after a challenge, and a query with the manifest alone.
func presentedKey(r *http.Request, inPath string) string {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, value, _ := strings.Cut(h, " ")
		switch {
		case strings.EqualFold(scheme, "Bearer"):
			return strings.TrimSpace(value)
		case strings.EqualFold(scheme, "Basic"):
			user, password, _ := r.BasicAuth()
			if password == "" {
				return user
			}
			return password
		}
	}
	if key := r.Header.Get("X-Stream-Key"); key != "" {
		return key
	}
	if inPath != "" {
		return inPath
	}
	if r.URL.RawQuery == "" {
		return ""
	}
	return r.URL.Query().Get("sk")
}
