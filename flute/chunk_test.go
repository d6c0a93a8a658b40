package flute_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute"
)

func TestChunk(t *testing.T) {
	for location, want := range map[string]flute.Chunk{
		// The example of TS 103 769.
		"http://example.com/segment1234.m4s?isLast&hasRandomAccessPoint#154360": {
			Resource: "http://example.com/segment1234.m4s", Offset: 154360, Last: true, RandomAccess: true,
		},
		"a#0":                               {Resource: "a"},
		"a?x=1&hasRandomAccessPoint#7":      {Resource: "a?x=1", Offset: 7, RandomAccess: true},
		"a?isLast#9223372036854775807":      {Resource: "a", Offset: 1<<63 - 1, Last: true},
		"a?isLast=false&isLastOrNot#12":     {Resource: "a?isLast=false&isLastOrNot", Offset: 12},
		"a?x&isLast&hasRandomAccessPoint#1": {Resource: "a?x", Offset: 1, Last: true, RandomAccess: true},
	} {
		got, ok := flute.ParseChunk(location)
		require.True(t, ok, location)
		require.Equal(t, want, got)
		require.Equal(t, location, got.Location())
	}
	for _, location := range []string{"", "a", "a#", "a#b", "a#-1", "a#+1", "a#9223372036854775808", "a#1#2"} {
		_, ok := flute.ParseChunk(location)
		require.False(t, ok, location)
	}
}

func TestResource(t *testing.T) {
	var r flute.Resource
	r.Add(flute.Chunk{Offset: 100}, 50, true)
	require.Zero(t, r.Prefix())
	require.Equal(t, []flute.Range{{0, 100}, {150, -1}}, r.AppendMissing(nil))
	r.Add(flute.Chunk{Offset: 0}, 60, false)
	require.Equal(t, int64(60), r.Prefix())
	r.Add(flute.Chunk{Offset: 0}, 100, true)
	require.Equal(t, int64(150), r.Prefix())
	r.Add(flute.Chunk{Offset: 150, Last: true}, 10, false)
	require.Equal(t, int64(160), r.Prefix())
	require.Equal(t, int64(-1), r.Length())
	require.False(t, r.Complete())
	r.Add(flute.Chunk{Offset: 150, Last: true}, 30, true)
	require.Equal(t, int64(180), r.Length())
	require.True(t, r.Complete())
	require.Empty(t, r.AppendMissing(nil))
	r.Add(flute.Chunk{Offset: 500}, 10, true)
	require.Equal(t, int64(180), r.Prefix(), "beyond the end")

	var empty flute.Resource
	empty.Add(flute.Chunk{Offset: 7}, 0, true)
	require.Equal(t, int64(7), empty.Length(), "a chunk without octets is the last one")
	require.False(t, empty.Complete())
	require.Equal(t, []flute.Range{{0, 7}}, empty.AppendMissing(nil))
	empty.Add(flute.Chunk{Offset: -1}, 5, true)
	require.Zero(t, empty.Prefix())
}
