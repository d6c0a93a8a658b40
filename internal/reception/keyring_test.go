package reception

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/config"
)

func TestKeyring(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	key := func(b byte) config.CacheKey { return config.NewCacheKey([32]byte{b}) }
	var k keyring
	one := k.turn(key(1), now, time.Minute)
	require.Len(t, one, 1)
	require.Equal(t, [32]byte{1}, one[0].Key)
	require.Equal(t, one, k.turn(key(1), now, time.Minute), "another change leaves the key")

	two := k.turn(key(2), now, time.Minute)
	require.Len(t, two, 2)
	require.Equal(t, [32]byte{1}, two[0].Key)
	require.Equal(t, now.Add(time.Minute), two[0].NotAfter, "what it sealed stays readable while it is kept")
	require.Equal(t, [32]byte{2}, two[1].Key)
	require.Greater(t, two[1].Epoch, two[0].Epoch)
	require.True(t, two[1].NotAfter.IsZero())

	now = now.Add(2 * time.Minute)
	require.Equal(t, two[1:], k.turn(key(2), now, time.Minute))
	require.Greater(t, k.turn(key(1), now, time.Minute)[1].Epoch, two[1].Epoch, "an epoch is never used twice")
}

func TestKeyringDrawsAKey(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var a, b keyring
	first := a.turn(config.CacheKey{}, now, time.Minute)
	require.Len(t, first, 1)
	require.NotEqual(t, [32]byte{}, first[0].Key)
	require.NotEqual(t, first[0].Key, b.turn(config.CacheKey{}, now, time.Minute)[0].Key)
	require.Equal(t, first, a.turn(config.CacheKey{}, now, time.Minute), "one key for the life of the process")
	require.Len(t, a.turn(config.NewCacheKey([32]byte{7}), now, time.Minute), 2)
	require.Len(t, a.turn(config.CacheKey{}, now, time.Minute), 3, "a key that was taken away is no longer used")
}
