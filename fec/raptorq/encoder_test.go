package raptorq

import (
	"bytes"
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
	var codec Codec
	source := splitmix(1, 200*8)
	e, err := codec.NewEncoder(source, 8)
	require.NoError(t, err)
	want := e.AppendSymbol(nil, 1000)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			other, err := codec.NewEncoder(source, 8)
			if err != nil || !bytes.Equal(want, other.AppendSymbol(nil, 1000)) || !bytes.Equal(want, e.AppendSymbol(nil, 1000)) {
				t.Error("differs")
			}
		})
	}
	wg.Wait()
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
