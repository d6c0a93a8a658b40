package route

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What repair packets will bring is not asked for.
func TestHolesLeftToRepair(t *testing.T) {
	b := randomBytes(7, 60_000)
	for _, c := range []struct {
		name   string
		lose   []int
		blocks []growingBlock
		repair []int // packets of each block
		ask    []Range
	}{
		{"nothing came", []int{3, 5}, nil, nil, []Range{{3000, 4000}, {5000, 6000}}},
		{
			"one of three", []int{3, 5, 9},
			[]growingBlock{{0, 30_000, 1000, 0}}, []int{1},
			[]Range{{5000, 6000}, {9000, 10_000}},
		},
		{
			"symbols of another size", []int{3, 5, 6},
			[]growingBlock{{2000, 8000, 1600, 400}}, []int{1}, // symbols begin at 1600, 3200, 4800, 6400
			[]Range{{3200, 4000}, {5000, 7000}},
		},
		{
			"a hole outside of the block", []int{3, 21},
			[]growingBlock{{20_000, 20_000, 1000, 0}}, []int{1},
			nil, // both blocks are asked about at once: see below
		},
		{
			"blocks that overlap", []int{12, 14, 25, 27},
			[]growingBlock{{0, 20_000, 1000, 0}, {10_000, 20_000, 1000, 0}}, []int{1, 2},
			[]Range{{27_000, 28_000}},
		},
		{
			"the first of them knows nothing of the second's", []int{12, 25, 27},
			[]growingBlock{{0, 20_000, 1000, 0}, {10_000, 20_000, 1000, 0}}, []int{0, 2},
			[]Range{{27_000, 28_000}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHand(t, ReceiverConfig{})
			h.signal(growingTrack(10))
			h.pieces(1, b[:40_000], 1000, c.lose...)
			o := h.events()[0].Object
			n := 0
			for i, g := range c.blocks {
				e := encodeBlock(t, 10, 1, b, g)
				for s := range c.repair[i] {
					h.raw(e.packet(n, s, 1))
					n++
				}
			}
			if c.ask == nil {
				// What the block needs came: only the other hole is left, and asked for.
				require.Equal(t, int64(3000), o.Prefix())
				h.wait(190 * time.Millisecond)
				require.Equal(t, []Range{{3000, 4000}}, missing(h.events()))
				return
			}
			h.wait(190 * time.Millisecond) // not yet again
			asked := missing(h.events())
			require.Equal(t, c.ask, asked)
			for _, m := range asked {
				require.NoError(t, h.r.Supply(h.now, o, m.Start, b[m.Start:m.End], -1))
				h.r.RunWork(h.now)
			}
			require.Equal(t, int64(40_000), o.Prefix())
			require.Equal(t, []EventKind{Progress}, kinds(h.events()))
		})
	}
}

// An answer that was short of what is needed, or symbols that do not suffice after all: what was left is asked for.
func TestHolesThatRepairDoesNotFill(t *testing.T) {
	b := randomBytes(8, 40_000)
	start := func() (*hand, *Object) {
		h := newHand(t, ReceiverConfig{})
		h.signal(growingTrack(10))
		h.pieces(1, b, 1000, 3, 5, 9)
		o := h.events()[0].Object
		h.raw(encodeBlock(t, 10, 1, b, growingBlock{0, 30_000, 1000, 0}).packet(0, 0, 1))
		h.wait(190 * time.Millisecond)
		require.Equal(t, []Range{{5000, 6000}, {9000, 10_000}}, missing(h.events()))
		return h, o
	}
	t.Run("no answer", func(t *testing.T) {
		h, _ := start()
		h.wait(200 * time.Millisecond)
		require.Equal(t, []Range{{3000, 4000}, {5000, 6000}, {9000, 10_000}}, missing(h.events()))
	})
	t.Run("the block is gone", func(t *testing.T) {
		h, o := start()
		h.r.dropBlock(o.blocks[0])
		require.NoError(t, h.r.Supply(h.now, o, 5000, b[5000:6000], -1))
		h.wait(0)
		require.Empty(t, h.events(), "more is to come")
		require.NoError(t, h.r.Supply(h.now, o, 9000, b[9000:10_000], -1))
		h.wait(0)
		require.Equal(t, []Range{{3000, 4000}}, missing(h.events()))
	})
	t.Run("forged symbols", func(t *testing.T) {
		h := newHand(t, ReceiverConfig{})
		h.signal(growingTrack(10))
		h.pieces(1, b, 1000, 3)
		o := h.events()[0].Object
		h.raw(growingBytes(1010, 1, growingBlock{0, 30_000, 1000, 0}, 30, 0, b[:1000])) // fills the hole with nonsense
		require.Equal(t, int64(40_000), o.Prefix())
		h.r.Reject(h.now, o, 3000)
		h.wait(time.Second)
		events := h.events()
		require.NotEmpty(t, events)
		require.Equal(t, NeedRepair, events[len(events)-1].Kind)
		require.Equal(t, int64(3000), events[len(events)-1].Missing[0].Start)
	})
}
