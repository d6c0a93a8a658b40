package cache

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testKey is a delivery service key.
func testKey(epoch uint32, seed byte) EpochKey {
	k := EpochKey{Epoch: epoch}
	for i := range k.Key {
		k.Key[i] = seed + byte(i)
	}
	return k
}

// TestKeyDerivation holds values that were computed apart from this package,
// with another language's HMAC and AES: a change of them makes every disk tier
// in the field unreadable.
func TestKeyDerivation(t *testing.T) {
	e, err := newEpoch("news", testKey(7, 0))
	require.NoError(t, err)
	require.Equal(t, "a8d4dbd46a44a49883aad7366a9f662937c18eabf350c649f1c5f853a3bcc3b5", hex.EncodeToString(e.input))
	require.Equal(t, "32ca048158b42361e909509984156c550508ba748dcc236254174879f4dfa562", hex.EncodeToString(e.index))
	require.Equal(t, "6f7b2ba02fdbf815b40815043875537b16d27f7f1eb310ffb787cd4bfb2dbeb1", hex.EncodeToString(e.meta))
	name := e.fileName("video/seg-1.m4s")
	require.Equal(t, "796f5d7842adc779ffea8428dba3bb9609e98885", name.String())
	require.Equal(t, "objects/7/96/796f5d7842adc779ffea8428dba3bb9609e98885", name.path())
	require.Equal(t, "6f626a046e65777300000007ea40948e7b9ed8183064f042cd88e1f5c6bf9af65deffed911a04dccd9f08368010203040506070800",
		hex.EncodeToString(e.bodyContext("video/seg-1.m4s", 0x0102030405060708)))
	var nonce [nonceSize]byte
	for i := range nonce {
		nonce[i] = byte(i)
	}
	tag := e.tag(&nonce)
	require.Equal(t, "bccf45d709583985", hex.EncodeToString(tag[:]))
}

func TestKeysDependOnServiceAndEpoch(t *testing.T) {
	seen := make(map[string]bool)
	for _, service := range []string{"a", "ab", "b"} {
		for _, n := range []uint32{0, 1} {
			e, err := newEpoch(service, testKey(n, 9))
			require.NoError(t, err)
			for _, k := range [][]byte{e.input, e.index, e.meta} {
				require.False(t, seen[string(k)])
				seen[string(k)] = true
			}
		}
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	k := testKey(7, 'A')
	clear := string(k.Key[:8])
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k)
	text, err := json.Marshal(k)
	require.NoError(t, err)
	for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v", k, k, k), log.String(), string(text)} {
		require.NotContains(t, s, clear)
		require.NotContains(t, s, hex.EncodeToString(k.Key[:4]))
		require.NotContains(t, s, "65 66 67")
		require.Contains(t, s, "epoch 7")
	}
}

func TestWritingEpoch(t *testing.T) {
	t0 := time.Unix(1_000_000, 0)
	a, b, c := testKey(1, 1), testKey(2, 2), testKey(3, 3)
	a.NotAfter = t0.Add(2 * time.Hour)
	b.NotBefore = t0.Add(time.Hour)
	c.NotBefore = t0.Add(3 * time.Hour)
	s := openStore(t, Config{Services: map[string]ServiceConfig{"s": {Keys: []EpochKey{a, b, c}}}})
	svc := s.services["s"]
	require.EqualValues(t, 1, svc.writing(t0).Epoch)
	require.EqualValues(t, 2, svc.writing(t0.Add(time.Hour)).Epoch)
	require.EqualValues(t, 3, svc.writing(t0.Add(3*time.Hour)).Epoch)
	require.True(t, svc.keys[0].readable(t0.Add(2*time.Hour-1)))
	require.False(t, svc.keys[0].readable(t0.Add(2*time.Hour)))

	// The order counts, not the numbers.
	s = openStore(t, Config{Services: map[string]ServiceConfig{"s": {Keys: []EpochKey{testKey(9, 1), testKey(0, 2), testKey(0, 3)}}}})
	require.Equal(t, testKey(0, 3), s.services["s"].writing(t0).EpochKey)
}

func TestInvalidConfig(t *testing.T) {
	for _, c := range []Config{
		{MaxObject: -1}, {Memory: Limit{Octets: -1}}, {Disk: Limit{Objects: -1}}, {Retention: -1},
		{Services: map[string]ServiceConfig{"": {}}},
		{Services: map[string]ServiceConfig{strings.Repeat("x", 256): {}}},
		{Services: map[string]ServiceConfig{"s": {Keys: []EpochKey{{Epoch: 1}}}}},
		{Services: map[string]ServiceConfig{"s": {Keys: []EpochKey{testKey(1, 1), testKey(2, 2), testKey(1, 1)}}}},
		{Services: map[string]ServiceConfig{"s": {Memory: Limit{Objects: -1}}}},
	} {
		_, err := Open(c)
		require.ErrorIs(t, err, ErrInvalid)
	}
}
