package cache

import (
	"fmt"
	"time"
)

// Bounds of what an object may carry besides its octets.
const (
	// MaxService is the longest service identifier in octets: its length is
	// one octet in the key derivation.
	MaxService = 255
	// MaxName is the longest object name in octets.
	MaxName = 2048
	// MaxHeader bounds keys and values of Meta.Header together, in octets.
	MaxHeader = 4 << 10

	maxMetaField = 512
)

// Key names an object: a path inside a service. Both parts are compared octet
// by octet; neither is ever used as a path of a file.
type Key struct {
	Service string // 1..MaxService octets
	Name    string // 1..MaxName octets
}

// String returns service and name with a slash between them.
func (k Key) String() string { return k.Service + "/" + k.Name }

func (k Key) validate() error {
	if k.Service == "" || len(k.Service) > MaxService {
		return fmt.Errorf("%w: service of %d octets", ErrInvalid, len(k.Service))
	}
	if k.Name == "" || len(k.Name) > MaxName {
		return fmt.Errorf("%w: name of %d octets", ErrInvalid, len(k.Name))
	}
	return nil
}

// Meta is what is known of an object besides its octets.
type Meta struct {
	// ContentType is a media type. Empty: derived from the name when served.
	ContentType string
	// Generation orders objects of one name: the greater replaces the
	// smaller. Zero: the store assigns one that replaces whatever is there,
	// for services whose source has no generations.
	Generation uint64
	// CacheControl replaces the default of ServeOptions. Empty: default.
	CacheControl string
	// Created is when the object came into being, the start of its Age and
	// retention. Zero, or in the future: the time of Create or Put.
	Created time.Time
	// Length is the length in octets if it is known before the end. A growing
	// object of known length is served with Content-Length and Range like a
	// complete one; octets that contradict it abort the object. Zero: unknown.
	Length int64
	// Pinned objects (init segments) outlive retention and are evicted last.
	Pinned bool
	// Header keeps a few small values with the object for its users, such as
	// the datagrams that seal it. It is not sent to HTTP clients. Values may
	// be binary. At most MaxHeader octets, which stay in RAM and do not count
	// towards the memory tier's limit.
	Header map[string]string
}

func (m *Meta) validate() error {
	if len(m.ContentType) > maxMetaField || len(m.CacheControl) > maxMetaField {
		return fmt.Errorf("%w: field of meta longer than %d octets", ErrInvalid, maxMetaField)
	}
	if m.Length < 0 {
		return fmt.Errorf("%w: length %d", ErrInvalid, m.Length)
	}
	return validateHeader(m.Header)
}

func validateHeader(h map[string]string) error {
	n := 0
	for k, v := range h {
		n += len(k) + len(v)
	}
	if n > MaxHeader {
		return fmt.Errorf("%w: header of %d octets", ErrInvalid, n)
	}
	return nil
}
