package lru

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCacheForgetsTheLongestUnused(t *testing.T) {
	var c Cache[string, int]
	_, ok := c.Get("a")
	require.False(t, ok)
	c.Put("a", 1, 4, 10)
	c.Put("b", 2, 4, 10)
	c.Put("a", 9, 1, 10) // there already
	v, ok := c.Get("a")
	require.True(t, ok)
	require.Equal(t, 1, v)
	c.Put("c", 3, 5, 10) // b goes
	_, ok = c.Get("b")
	require.False(t, ok)
	_, ok = c.Get("a")
	require.True(t, ok)
	c.Put("d", 4, 11, 10) // too large
	_, ok = c.Get("d")
	require.False(t, ok)
	_, ok = c.Get("c")
	require.True(t, ok)
	require.Equal(t, 9, c.held)
}
