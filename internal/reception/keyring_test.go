package reception

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/cache"
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
	require.True(t, two[1].NotAfter.IsZero())
	require.True(t, one[0].NotAfter.IsZero(), "what was returned before has changed")

	back := k.turn(key(1), now.Add(time.Second), time.Minute)
	require.Equal(t, []cache.EpochKey{{Key: [32]byte{2}, NotAfter: now.Add(time.Minute + time.Second)}, {Key: [32]byte{1}}}, back,
		"a key that comes back is the same key")
	require.Equal(t, two, k.turn(key(2), now, time.Minute))

	now = now.Add(2 * time.Minute)
	require.Equal(t, two[1:], k.turn(key(2), now, time.Minute))

	// After a restart a key is what it was before.
	var again keyring
	require.Equal(t, two[1:], again.turn(key(2), now, time.Minute))
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
