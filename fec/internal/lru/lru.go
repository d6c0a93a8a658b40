// Package lru is a cache of bounded size that forgets what was used longest ago.
package lru

import (
	"container/list"
	"sync"
)

// Cache holds values under keys up to a total cost. It is safe for concurrent
// use; the zero value is ready.
type Cache[K comparable, V any] struct {
	mu      sync.Mutex // guards below
	entries map[K]*list.Element
	used    list.List // of entry[K, V], the latest first
	held    int
}

type entry[K comparable, V any] struct {
	key   K
	value V
	cost  int
}

// Get returns the value under key.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		return value, false
	}
	c.used.MoveToFront(e)
	return e.Value.(entry[K, V]).value, true
}

// Put keeps a value under a key that has none yet, unless it alone costs more than
// limit, and forgets others until all cost no more than limit.
func (c *Cache[K, V]) Put(key K, value V, cost, limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cost > limit || c.entries[key] != nil {
		return
	}
	if c.entries == nil {
		c.entries = make(map[K]*list.Element)
	}
	c.entries[key] = c.used.PushFront(entry[K, V]{key, value, cost})
	c.held += cost
	for c.held > limit {
		old := c.used.Remove(c.used.Back()).(entry[K, V])
		delete(c.entries, old.key)
		c.held -= old.cost
	}
}
