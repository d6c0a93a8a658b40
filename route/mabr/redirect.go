package mabr

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/treedn/treedn/flute/gunzip"
)

// RedirectParameter is the query parameter by which a rendezvous service hands a configuration to a gateway just in time,
// in the Location of its redirect (7.5.2.1).
const RedirectParameter = "conf"

// maxRedirect bounds the inflated document.
const maxRedirect = 256 << 10

// ParseRedirect decodes the value of that parameter: gzip in base64url.
func ParseRedirect(conf string) (*Configuration, error) {
	packed, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(conf, "="))
	if err != nil {
		return nil, fmt.Errorf("mabr: redirect: %w", err)
	}
	b, err := gunzip.Limits{Octets: maxRedirect}.Inflate(packed)
	if err != nil {
		return nil, fmt.Errorf("mabr: redirect: %w", err)
	}
	return Parse(b)
}

// Redirect returns the value of that parameter. The configuration has one session, as the standard demands.
func (c *Configuration) Redirect() (string, error) {
	if c.Server || len(c.Sessions) != 1 {
		return "", fmt.Errorf("%w: redirect with %d sessions", ErrIncomplete, len(c.Sessions))
	}
	b, err := c.Append(nil)
	if err != nil {
		return "", err
	}
	packed, err := gunzip.Append(nil, b)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(packed), nil
}
