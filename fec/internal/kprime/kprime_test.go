package kprime

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	sum := 0
	for i, k := range table {
		sum += int(k)
		require.Equal(t, int(k), Floor(uint64(k)))
		require.True(t, i == 0 || table[i-1] < k)
	}
	require.Equal(t, 5397836, sum) // of the RFC's table
	require.Equal(t, 56403, Floor(1<<63))
	require.Equal(t, 10, Floor(11))
	require.Zero(t, Floor(9))
}
