package fifo

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQueue(t *testing.T) {
	var q Queue[*int]
	next, want := 0, 0
	push := func(n int) {
		for range n {
			v := next
			q.Push(&v)
			next++
		}
	}
	pop := func(n int) {
		for range n {
			v, ok := q.Pop()
			require.True(t, ok)
			require.Equal(t, want, *v)
			want++
			require.Equal(t, next-want, q.Len())
		}
	}
	push(1000)
	pop(300)
	push(300)
	pop(900) // never empty
	pop(100)
	_, ok := q.Pop()
	require.False(t, ok)
	push(3)
	pop(3)
	for _, v := range q.q[:cap(q.q)] {
		require.Nil(t, v, "it holds on to nothing")
	}
}

func TestQueueReusesMemory(t *testing.T) {
	var q Queue[[8]int]
	for range 200 {
		q.Push([8]int{})
	}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		q.Pop()
		q.Push([8]int{})
	}))
}
