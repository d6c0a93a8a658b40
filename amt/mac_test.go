package amt

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Values computed by another implementation of HMAC.
func TestResponseMAC(t *testing.T) {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i)
	}
	r := newResponder(nil, 0)
	for _, c := range []struct {
		gateway string
		nonce   uint32
		mac     string
	}{
		{"192.0.2.1:51000", 0x01020304, "12c6b81dcf5c"},
		{"[2001:db8::1]:2268", 0xdeadbeef, "af7b4ba9041f"},
	} {
		m := r.mac(hmac.New(sha256.New, key), netip.MustParseAddrPort(c.gateway), c.nonce, false)
		require.Equal(t, c.mac, hex.EncodeToString(m[:]))
	}
}

func TestSecretRotation(t *testing.T) {
	const keep = 260 * time.Second
	gateway := netip.MustParseAddrPort("192.0.2.1:51000")
	start := time.Unix(1_800_000_000, 0).Truncate(secretLifetime).Add(secretLifetime)
	r, sibling, stranger := newResponder(make([]byte, 32), keep), newResponder(make([]byte, 32), keep), newResponder(nil, keep)

	valid := func(m MAC, at time.Time) bool {
		_, ok := sibling.check(at, gateway, 7, m, 6)
		return ok
	}
	m := r.make(start.Add(-time.Second), gateway, 7, false)
	require.True(t, valid(m, start.Add(-time.Second)))
	require.True(t, valid(m, start.Add(keep)), "the former secret")
	require.False(t, valid(m, start.Add(keep+time.Second)), "for a while only")
	require.False(t, valid(m, start.Add(secretLifetime)))

	ahead := r.make(start, gateway, 7, true)
	require.NotEqual(t, m, ahead)
	require.True(t, valid(ahead, start.Add(-30*time.Second)), "made by a relay whose clock is ahead")
	require.False(t, valid(ahead, start.Add(-2*time.Minute)))

	_, ok := stranger.check(start, gateway, 7, ahead, 6)
	require.False(t, ok)
	p, ok := r.check(start, gateway, 7, ahead, 6)
	require.True(t, ok && p.ecn)
	for _, other := range []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.1:51001"), netip.MustParseAddrPort("192.0.2.2:51000"),
	} {
		_, ok = r.check(start, other, 7, ahead, 6)
		require.False(t, ok, other)
	}
	_, ok = r.check(start, gateway, 8, ahead, 6)
	require.False(t, ok)
}

func BenchmarkResponseMAC(b *testing.B) {
	r := newResponder(nil, 0)
	now := time.Unix(1_800_000_000, 0)
	gateway := netip.MustParseAddrPort("192.0.2.1:51000")
	b.ReportAllocs()
	for b.Loop() {
		r.make(now, gateway, 7, false)
	}
}
