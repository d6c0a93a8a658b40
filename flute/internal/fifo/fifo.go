// Package fifo is the queue of events of a state machine.
package fifo

// Queue is a queue that reuses its memory: once that is as large as it has to be, nothing is allocated.
type Queue[T any] struct {
	q    []T
	head int
}

// Len is how many are waiting.
func (f *Queue[T]) Len() int { return len(f.q) - f.head }

// Push appends v.
func (f *Queue[T]) Push(v T) {
	if f.head > 0 && f.head == len(f.q) {
		f.q, f.head = f.q[:0], 0
	}
	f.q = append(f.q, v)
}

// Pop takes the first one, and returns false if there is none. It keeps nothing of it.
func (f *Queue[T]) Pop() (v T, ok bool) {
	if f.head == len(f.q) {
		return v, false
	}
	var none T
	v, f.q[f.head] = f.q[f.head], none
	f.head++
	if f.head > 64 && f.head*2 > len(f.q) {
		n := copy(f.q, f.q[f.head:])
		clear(f.q[n:])
		f.q, f.head = f.q[:n], 0
	}
	return v, true
}
