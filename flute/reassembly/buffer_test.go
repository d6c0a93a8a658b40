package reassembly

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBuffer(t *testing.T) {
	pool := NewPool(1 << 20)
	r := rand.New(rand.NewPCG(3, 4))
	want := make([]byte, 500_000)
	for i := range want {
		want[i] = byte(r.Uint32())
	}
	var b Buffer
	for _, i := range r.Perm(500) {
		require.True(t, b.WriteAt(pool, want[i*1000:(i+1)*1000], int64(i)*1000))
	}
	got := make([]byte, len(want))
	b.ReadAt(got, 0)
	require.True(t, bytes.Equal(want, got))
	require.Equal(t, int64((500_000+SlabSize-1)/SlabSize*SlabSize), b.Held())
	require.Equal(t, b.Held(), pool.Used())

	var joined []byte
	for off := int64(0); off < 500_000; {
		p := b.Bytes(off, 500_000)
		joined = append(joined, p...)
		off += int64(len(p))
	}
	require.True(t, bytes.Equal(want, joined))

	b.Release(pool, false)
	require.Zero(t, pool.Used())
	require.Nil(t, b.Bytes(0, 10))
}

func TestBufferTakesMemoryForRealOctetsOnly(t *testing.T) {
	pool := NewPool(4 * SlabSize)
	var b Buffer
	require.True(t, b.WriteAt(pool, []byte{1}, 1<<32-2))
	require.Equal(t, int64(SlabSize), pool.Used())
	require.True(t, b.WriteAt(pool, make([]byte, 2), 2*SlabSize-1))
	require.False(t, b.WriteAt(pool, make([]byte, 2), 5*SlabSize-1), "a fourth and a fifth slab")
	require.True(t, b.WriteAt(pool, make([]byte, 1), 5*SlabSize))
	require.Nil(t, b.Bytes(4*SlabSize, 5*SlabSize))
}

func TestTruncateWhileACloneReads(t *testing.T) {
	for _, detach := range []bool{false, true} {
		pool := NewPool(1 << 20)
		var b Buffer
		b.WriteAt(pool, bytes.Repeat([]byte{7}, 3*SlabSize), 0)
		c := b.Clone()
		b.Truncate(pool, SlabSize+10, detach)
		require.Equal(t, int64(2*SlabSize), pool.Used())
		require.Equal(t, byte(7), b.Bytes(SlabSize, SlabSize+1)[0])
		b.WriteAt(pool, []byte{9}, SlabSize+10)
		if detach {
			require.Equal(t, byte(7), c.Bytes(SlabSize+10, SlabSize+11)[0])
		}
		b.Release(pool, detach)
		require.Zero(t, pool.Used())
	}
}

// An octet far out costs a slab and little more.
func TestBufferFarOut(t *testing.T) {
	pool := NewPool(1 << 20)
	var b Buffer
	require.True(t, b.WriteAt(pool, []byte{1}, 1<<36))
	require.LessOrEqual(t, cap(b.groups), 1<<17)
	require.Equal(t, int64(SlabSize), b.Held())
	c := b.Clone()
	b.Release(pool, true)
	require.Zero(t, pool.Used())
	require.Equal(t, []byte{1}, c.Bytes(1<<36, 1<<36+1))
}

// A pool keeps what is in use again and again, and lets go of what a burst took.
func TestPoolKeepsWhatIsUsed(t *testing.T) {
	pool := NewPool(1 << 30)
	octets := make([]byte, 8<<20)
	round := func(n int) {
		var b Buffer
		require.True(t, b.WriteAt(pool, octets[:n], 0))
		b.Release(pool, false)
	}
	round(8 << 20)
	require.Zero(t, testing.AllocsPerRun(10, func() { round(8 << 20) }))
	require.Len(t, pool.free, 512)
	for range 2*epoch/64 + 64 {
		round(1 << 20)
	}
	require.Len(t, pool.free, idle)
	for range epoch {
		var b Buffer
		for i := range int64(64) {
			require.True(t, b.WriteAt(pool, octets[:10], i*SlabSize))
		}
		require.Nil(t, b.Bytes(70*SlabSize, 71*SlabSize))
		require.True(t, b.WriteAt(pool, octets[:10], 100*SlabSize))
		require.Nil(t, b.Bytes(70*SlabSize, 71*SlabSize), "of a buffer before")
		b.Release(pool, false)
		if pool.puts > 200 {
			break
		}
	}
}
