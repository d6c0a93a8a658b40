package config

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

const redacted = "***"

// masked gives "***" for every way of printing. Embedded by the secret types.
type masked struct{}

func (masked) String() string               { return redacted }
func (masked) GoString() string             { return redacted }
func (masked) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (masked) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (masked) LogValue() slog.Value         { return slog.StringValue(redacted) }

// hidden holds 32 octets two pointers away: fmt prints the fields of a struct in
// somebody's unexported field without calling their methods, and follows one
// pointer for verbs that do not suit it.
type hidden struct{ octets *[32]byte }

func hide(b [32]byte) *hidden { return &hidden{&b} }

// StreamKey is what a publisher must show, kept as its SHA-256 only. In a file
// it is one of
//
//	env:NAME       the key itself in an environment variable
//	file:PATH      the key itself in a file; blanks around it are cut off
//	sha256:HEX     the hash, as printf %s "$KEY" | sha256sum prints it
//
// SHA-256 without salt or stretching suits keys drawn at random; a key of less
// than 16 octets is refused.
type StreamKey struct {
	masked
	ref string
	sum *hidden
}

const minStreamKey = 16

// NewStreamKey returns the StreamKey of a plain key.
func NewStreamKey(plain string) StreamKey {
	return StreamKey{sum: hide(sha256.Sum256([]byte(plain)))}
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *StreamKey) UnmarshalText(b []byte) error {
	s := string(b)
	if h, ok := strings.CutPrefix(s, "sha256:"); ok {
		var sum [sha256.Size]byte
		if n, err := hex.Decode(sum[:], []byte(h)); err != nil || n != len(sum) || len(h) != 2*len(sum) {
			return errors.New("sha256: wants 64 hexadecimal digits")
		}
		*k = StreamKey{sum: hide(sum)}
		return nil
	}
	if err := checkRef(s); err != nil {
		return fmt.Errorf("%w, or sha256:HEX", err)
	}
	*k = StreamKey{ref: s}
	return nil
}

// Sum is the SHA-256 of the key; zero if it was not resolved.
func (k StreamKey) Sum() [sha256.Size]byte {
	if k.sum == nil {
		return [sha256.Size]byte{}
	}
	return *k.sum.octets
}

// Matches says in constant time whether plain is the key.
func (k StreamKey) Matches(plain string) bool {
	sum := sha256.Sum256([]byte(plain))
	return k.sum != nil && subtle.ConstantTimeCompare(sum[:], k.sum.octets[:]) == 1
}

func (k *StreamKey) rebase(dir string) { k.ref = rebaseRef(k.ref, dir) }

func (k *StreamKey) resolve(env lookupEnv) error {
	if k.ref == "" {
		return nil
	}
	b, err := readRef(k.ref, env)
	if err != nil {
		return err
	}
	if len(b) < minStreamKey {
		return fmt.Errorf("the key in %s has %d octets, fewer than %d", k.ref, len(b), minStreamKey)
	}
	k.sum = hide(sha256.Sum256(b))
	return nil
}

// secret is 32 octets. In a file it is env:NAME, file:PATH, or the secret itself:
// 64 hexadecimal digits or 44 characters of base64, in a file of its own also 32
// raw octets.
type secret struct {
	masked
	ref string
	key *hidden
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *secret) UnmarshalText(b []byte) error {
	if checkRef(string(b)) == nil {
		*k = secret{ref: string(b)}
		return nil
	}
	key, err := parseOctets(b, false)
	if err != nil {
		return errors.New("neither env:NAME, file:PATH nor a key (64 hexadecimal digits or 44 characters of base64)")
	}
	*k = secret{key: hide(key)}
	return nil
}

// parseOctets takes raw octets only where they cannot be text: 32 hexadecimal
// digits are a key of half the length, not a key.
func parseOctets(b []byte, raw bool) (key [32]byte, err error) {
	switch len(b) {
	case hex.EncodedLen(len(key)):
		if _, err := hex.Decode(key[:], b); err == nil {
			return key, nil
		}
	case base64.StdEncoding.EncodedLen(len(key)):
		var buf [33]byte
		if n, err := base64.StdEncoding.Decode(buf[:], b); err == nil && n == len(key) {
			copy(key[:], buf[:])
			return key, nil
		}
	case len(key):
		text := !bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' || r > '~' })
		if raw && !text {
			copy(key[:], b)
			return key, nil
		}
	}
	return key, errors.New("not a key of 32 octets")
}

// IsZero says whether no key was given.
func (k secret) IsZero() bool { return k.key == nil && k.ref == "" }

// Key returns the secret; ok is false if none was given.
func (k secret) Key() (key [32]byte, ok bool) {
	if k.key == nil {
		return key, false
	}
	return *k.key.octets, true
}

func (k *secret) rebase(dir string) { k.ref = rebaseRef(k.ref, dir) }

func (k *secret) resolve(env lookupEnv) error {
	if k.ref == "" {
		return nil
	}
	key, err := readOctets(k.ref, env)
	if err != nil {
		return err
	}
	k.key = hide(key)
	return nil
}

func readOctets(ref string, env lookupEnv) (key [32]byte, err error) {
	b, err := readRef(ref, env)
	if err != nil {
		return key, err
	}
	if key, err = parseOctets(b, strings.HasPrefix(ref, "file:")); err != nil {
		return key, fmt.Errorf("%s: %w", ref, err)
	}
	return key, nil
}

// CacheKey is the secret from which the keys of a service's cached objects
// derive.
type CacheKey struct{ secret }

// NewCacheKey returns the key as a CacheKey.
func NewCacheKey(key [32]byte) CacheKey { return CacheKey{secret{key: hide(key)}} }

type lookupEnv func(string) (string, bool)

func checkRef(s string) error {
	for _, scheme := range []string{"env:", "file:"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok && rest != "" && !strings.ContainsAny(rest, "\x00=") {
			return nil
		}
	}
	// The text is not in the message: it may be the key.
	return errors.New("a secret is named by env:NAME or file:PATH")
}

func rebaseRef(ref, dir string) string {
	if path, ok := strings.CutPrefix(ref, "file:"); ok && !filepath.IsAbs(path) {
		return "file:" + filepath.Join(dir, path)
	}
	return ref
}

// maxSecret bounds what is read from a file that was named by mistake.
const maxSecret = 4096

func readRef(ref string, env lookupEnv) ([]byte, error) {
	if name, ok := strings.CutPrefix(ref, "env:"); ok {
		v, ok := env(name)
		if !ok || v == "" {
			return nil, fmt.Errorf("the environment variable %s is not set", name)
		}
		return []byte(v), nil
	}
	f, err := os.Open(strings.TrimPrefix(ref, "file:"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxSecret {
		return nil, fmt.Errorf("%s holds more than %d octets", ref, maxSecret)
	}
	// Raw key files are of one length exactly and may end in any octet.
	if len(b) == 32 {
		return b, nil
	}
	return bytes.TrimSpace(b), nil
}
