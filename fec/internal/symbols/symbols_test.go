package symbols

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStore(t *testing.T) {
	s := Store{Size: 10, Most: 3}
	for i := range 7 {
		b := s.Keep([]byte{1, 2, byte(i)})
		require.Equal(t, []byte{1, 2, byte(i), 0, 0, 0, 0, 0, 0, 0}, b)
		require.Equal(t, 10, cap(b))
		require.Len(t, s.free, 10*(2-i%3))
	}
	large := Store{Size: 65535, Most: 100}
	require.Len(t, large.Next(), 65535)
	require.Empty(t, large.free)
}
