// Package sieve is the SIEVE eviction queue (Zhang et al., NSDI 2024): a
// first-in first-out list with one mark per entry that a hit sets and the
// passing hand clears. Hits write no more than that mark, so look-ups need no
// exclusive lock.
//
// A Queue is not safe for concurrent use, apart from Node.Hit.
package sieve

import "sync/atomic"

// Node is an entry's place in at most one Queue; it is embedded in the entry.
type Node[T any] struct {
	Value T

	hit    atomic.Bool
	newer  *Node[T]
	older  *Node[T]
	inside *Queue[T]
}

// Hit marks the entry as used. It is safe at any time, from any goroutine.
func (n *Node[T]) Hit() {
	// The load keeps the cache line shared among readers of a hot entry.
	if !n.hit.Load() {
		n.hit.Store(true)
	}
}

// In tells whether the node is in q.
func (n *Node[T]) In(q *Queue[T]) bool { return n.inside == q }

// Queue is ordered by insertion. Its zero value is empty and ready.
type Queue[T any] struct {
	newest, oldest, hand *Node[T]
	n                    int
}

// Len returns the number of entries.
func (q *Queue[T]) Len() int { return q.n }

// Oldest returns the entry inserted first, or nil.
func (q *Queue[T]) Oldest() *Node[T] { return q.oldest }

// Push inserts n as the newest; n must be in no queue.
func (q *Queue[T]) Push(n *Node[T]) {
	n.hit.Store(false)
	n.inside, n.newer, n.older = q, nil, q.newest
	if q.newest != nil {
		q.newest.newer = n
	} else {
		q.oldest = n
	}
	q.newest = n
	q.n++
}

// Remove takes n out of whatever queue it is in.
func (n *Node[T]) Remove() {
	q := n.inside
	if q == nil {
		return
	}
	if q.hand == n {
		q.hand = n.newer
	}
	if n.newer != nil {
		n.newer.older = n.older
	} else {
		q.newest = n.older
	}
	if n.older != nil {
		n.older.newer = n.newer
	} else {
		q.oldest = n.newer
	}
	n.inside, n.newer, n.older = nil, nil, nil
	q.n--
}

// Victim returns the entry to evict, which stays in the queue, or nil if the
// queue is empty. keep tells which entries are too young; as the queue is
// ordered by age, the hand turns back to the oldest at the first of those. If
// even the oldest is too young it is the victim.
func (q *Queue[T]) Victim(keep func(T) bool) *Node[T] {
	n := q.hand
	for range 2*q.n + 1 {
		if n == nil || keep(n.Value) {
			n = q.oldest
			if n == nil || keep(n.Value) {
				break
			}
		}
		if !n.hit.Swap(false) {
			break
		}
		n = n.newer
	}
	if n == nil {
		n = q.oldest
	}
	if n != nil {
		q.hand = n.newer
	}
	return n
}
