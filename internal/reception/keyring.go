package reception

import (
	"crypto/rand"
	"slices"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/config"
)

// keyring is the cache keys of one service: the one that new objects are sealed with, and those before it for as long as
// what they sealed may be read. It belongs to the goroutine that changes the configuration.
//
// Keys are known by themselves and have no epoch numbers: a count of changes would begin anew with the process, and the
// files of the count before would be lost.
type keyring struct {
	configured config.CacheKey
	keys       []cache.EpochKey // the last one seals
}

// turn returns the keys after the configuration has become key. Without a configured key one is drawn.
func (k *keyring) turn(key config.CacheKey, now time.Time, retention time.Duration) []cache.EpochKey {
	n := len(k.keys)
	next, ok := key.Key()
	if n > 0 && (ok && k.keys[n-1].Key == next || !ok && k.configured.IsZero()) {
		k.keys = valid(k.keys, now)
		return k.keys
	}
	if !ok {
		_, _ = rand.Read(next[:]) // never fails
	}
	keys := valid(k.keys, now)
	if n > 0 {
		keys[len(keys)-1].NotAfter = now.Add(retention)
	}
	// One that comes back is the same key again, and what it sealed then stays.
	keys = slices.DeleteFunc(keys, func(e cache.EpochKey) bool { return e.Key == next })
	k.keys = append(keys, cache.EpochKey{Key: next})
	k.configured = key
	return k.keys
}

// valid returns a new list of the keys whose time is not over. The last one has no end.
func valid(keys []cache.EpochKey, now time.Time) []cache.EpochKey {
	return slices.DeleteFunc(slices.Clone(keys), func(e cache.EpochKey) bool {
		return !e.NotAfter.IsZero() && !now.Before(e.NotAfter)
	})
}
