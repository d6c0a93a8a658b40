package sieve

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func never(int) bool { return false }

func fill(n int) (*Queue[int], []*Node[int]) {
	q, nodes := new(Queue[int]), make([]*Node[int], n)
	for i := range nodes {
		nodes[i] = &Node[int]{Value: i}
		q.Push(nodes[i])
	}
	return q, nodes
}

func (q *Queue[T]) values() (v []T) {
	for n := q.oldest; n != nil; n = n.newer {
		v = append(v, n.Value)
	}
	return v
}

func evict(q *Queue[int]) int {
	n := q.Victim(never)
	n.Remove()
	return n.Value
}

func TestVictimIsOldestWithoutHit(t *testing.T) {
	q, nodes := fill(5)
	nodes[0].Hit()
	nodes[2].Hit()
	require.Equal(t, 1, evict(q))
	require.Equal(t, 3, evict(q))
	require.Equal(t, 4, evict(q))
	// The hand turned round; hits were cleared as it passed.
	require.Equal(t, 0, evict(q))
	require.Equal(t, 2, evict(q))
	require.Nil(t, q.Victim(never))
	require.Zero(t, q.Len())
}

// New entries come in at the young end and do not move the hand.
func TestHandStaysWhereItIs(t *testing.T) {
	q, nodes := fill(4)
	nodes[0].Hit()
	require.Equal(t, 1, evict(q)) // the hand is at 2
	n := &Node[int]{Value: 9}
	q.Push(n)
	nodes[0].Hit()
	require.Equal(t, 2, evict(q))
	require.Equal(t, 3, evict(q))
	require.Equal(t, 9, evict(q))
	require.Equal(t, 0, evict(q))
}

func TestYoungEntriesAreKept(t *testing.T) {
	q, nodes := fill(6)
	young := func(v int) bool { return v >= 3 }
	for range 3 {
		q.Victim(young).Remove()
	}
	require.Equal(t, []int{3, 4, 5}, q.values())
	// Nothing but young entries: the oldest goes, hit or not.
	nodes[3].Hit()
	require.Equal(t, 3, q.Victim(young).Value)
}

func TestRemove(t *testing.T) {
	q, nodes := fill(5)
	require.Equal(t, 0, q.Victim(never).Value) // the hand is at 1
	nodes[1].Remove()
	nodes[1].Remove()
	require.False(t, nodes[1].In(q))
	nodes[4].Remove()
	nodes[0].Remove()
	require.Equal(t, []int{2, 3}, q.values())
	require.Equal(t, 2, evict(q))
	nodes[3].Remove()
	require.Empty(t, q.values())
	q.Push(nodes[3])
	require.Equal(t, []int{3}, q.values())
	require.Equal(t, nodes[3], q.Oldest())
}

// FuzzQueue compares the queue with a slice that is searched.
func FuzzQueue(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 2, 3, 0, 1, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		var q Queue[int]
		var model []*Node[int] // oldest first
		next := 0
		for _, op := range script {
			switch arg := int(op >> 2); op & 3 {
			case 0:
				n := &Node[int]{Value: next}
				next++
				q.Push(n)
				model = append(model, n)
			case 1:
				if len(model) > 0 {
					model[arg%len(model)].Hit()
				}
			case 2:
				if len(model) > 0 {
					i := arg % len(model)
					model[i].Remove()
					model = append(model[:i:i], model[i+1:]...)
				}
			case 3:
				hits := make(map[*Node[int]]bool)
				for _, n := range model {
					hits[n] = n.hit.Load()
				}
				v := q.Victim(never)
				if len(model) == 0 {
					require.Nil(t, v)
					continue
				}
				require.True(t, v.In(&q))
				all := true
				for _, n := range model {
					all = all && hits[n]
				}
				require.True(t, all || !hits[v]) // what was used stays if anything was not
			}
			require.Len(t, model, q.Len())
			for i, v := range q.values() {
				require.Equal(t, model[i].Value, v)
			}
		}
	})
}
