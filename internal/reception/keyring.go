package reception

import (
	"crypto/rand"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/config"
)

// keyring is the cache keys of one service: the one that new objects are sealed with, and those before it for as long as
// what they sealed may be read. It belongs to the goroutine that changes the configuration.
type keyring struct {
	configured config.CacheKey
	epochs     []cache.EpochKey // the last one seals
}

// turn returns the keys after the configuration has become key. Without a configured key one is drawn.
func (k *keyring) turn(key config.CacheKey, now time.Time, retention time.Duration) []cache.EpochKey {
	n := len(k.epochs)
	next, ok := key.Key()
	if n > 0 && (ok && k.epochs[n-1].Key == next || !ok && k.configured.IsZero()) {
		return k.valid(now)
	}
	if !ok {
		_, _ = rand.Read(next[:]) // never fails
	}
	e := cache.EpochKey{Key: next}
	if n > 0 {
		e.Epoch = k.epochs[n-1].Epoch + 1
		k.epochs[n-1].NotAfter = now.Add(retention)
	}
	k.epochs = append(k.epochs, e)
	k.configured = key
	return k.valid(now)
}

func (k *keyring) valid(now time.Time) []cache.EpochKey {
	var list []cache.EpochKey
	for _, e := range k.epochs {
		if e.NotAfter.IsZero() || now.Before(e.NotAfter) {
			list = append(list, e)
		}
	}
	k.epochs = list
	return list
}
