package raptorq

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAppendSymbolDoesNotAllocate(t *testing.T) {
	e, err := NewEncoder(splitmix(1, 100*1344-5), 1344)
	require.NoError(t, err)
	buf := make([]byte, 3, 3+1344)
	e.AppendSymbol(buf, 100+batch)
	esi := uint32(90)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		e.AppendSymbol(buf, esi)
		esi++
	}))
}

func TestAppendSymbolAppends(t *testing.T) {
	source := splitmix(1, 95)
	e, err := NewEncoder(source, 10)
	require.NoError(t, err)
	b := bytes.Repeat([]byte{0xff}, 100)[:2]
	b = e.AppendSymbol(b, 9)
	require.Equal(t, append([]byte{0xff, 0xff}, append(source[90:95:95], 0, 0, 0, 0, 0)...), b)
	require.Equal(t, e.AppendSymbol(nil, 77), e.AppendSymbol(b, 77)[12:])
	require.Len(t, e.AppendSymbol(nil, 1<<32-1), 10) // no such symbol, no harm
}

func TestEncoderIsSafeForConcurrentUse(t *testing.T) {
	for _, regime := range []Regime{Auto, Dense, Sparse} {
		codec := Codec{Regime: regime, CacheSize: 40000} // something always goes
		source := splitmix(1, 200*8)
		e, err := codec.NewEncoder(source, 8)
		require.NoError(t, err)
		want, err := NewEncoder(source, 8)
		require.NoError(t, err)
		repair := want.AppendRepair(nil, 1000, 20)
		near := want.AppendRepair(nil, 220, 70)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for range 20 {
					other, err := codec.NewEncoder(source[:8*(200-i)], 8)
					if err != nil || len(other.AppendRepair(nil, 300, 3)) != 24 ||
						!bytes.Equal(repair, e.AppendRepair(nil, 1000, 20)) || !bytes.Equal(near, e.AppendRepair(nil, 220, 70)) ||
						!bytes.Equal(repair[:8], e.AppendSymbol(nil, 1000)) || !bytes.Equal(near[8:16], e.AppendSymbol(nil, 221)) {
						t.Error("differs")
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestEncoderReset(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var codec Codec
	e, err := codec.NewEncoder([]byte{1}, 1)
	require.NoError(t, err)
	for range 200 {
		k, size := 1+rng.IntN(120), 1+rng.IntN(150)
		source := splitmix(rng.Uint64(), (k-1)*size+1+rng.IntN(size))
		fresh, err := NewEncoder(source, size)
		require.NoError(t, err)
		require.NoError(t, e.Reset(source, size))
		require.Equal(t, k, e.K())
		require.Equal(t, size, e.SymbolSize())
		first, n := uint32(k+rng.IntN(600)), 1+rng.IntN(80)
		require.Equal(t, fresh.AppendRepair(nil, first, n), e.AppendRepair(nil, first, n))
		require.Equal(t, fresh.AppendSymbol(nil, first), e.AppendSymbol(nil, first))
		require.Equal(t, fresh.AppendSymbol(nil, uint32(k-1)), e.AppendSymbol(nil, uint32(k-1)))
	}
	require.ErrorIs(t, e.Reset(nil, 1), ErrSize)
	require.Empty(t, e.AppendRepair(nil, 5000, 0))
	require.Panics(t, func() { e.AppendRepair(nil, uint32(e.K()-1), 1) })
}

func TestCodecBoundsItsCache(t *testing.T) {
	codec := Codec{CacheSize: 60000}
	for k := 10; k < 500; k += 7 {
		e, err := codec.NewEncoder(make([]byte, k), 1)
		require.NoError(t, err)
		e.AppendSymbol(nil, uint32(k))
		require.LessOrEqual(t, codec.held, codec.CacheSize)
		require.Equal(t, codec.used.Len(), len(codec.codes))
		sum := 0
		for el := codec.used.Front(); el != nil; el = el.Next() {
			sum += el.Value.(*cached).size
		}
		require.Equal(t, codec.held, sum)
		require.Contains(t, codec.codes, lookup(k).kp)
	}
	e, err := codec.NewEncoder(make([]byte, 5000), 1) // larger than the cache
	require.NoError(t, err)
	e.AppendSymbol(nil, 5000)
	require.NotContains(t, codec.codes, lookup(5000).kp)

	codec = Codec{CacheSize: -1}
	e, err = codec.NewEncoder(make([]byte, 10), 1)
	require.NoError(t, err)
	e.AppendSymbol(nil, 10)
	require.Empty(t, codec.codes)
}
