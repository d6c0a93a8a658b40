package dns

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzClientSubnet(f *testing.F) {
	f.Add([]byte{0, 8, 0, 7, 0, 1, 24, 0, 198, 51, 100})
	f.Add([]byte{0, 10, 0, 1, 7, 0, 8, 0, 6, 0, 2, 16, 9, 0x20, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok, err := ParseClientSubnet(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMessage)
			require.False(t, ok)
		}
		if ok {
			again, ok, err := ParseClientSubnet(s.AppendTo(nil))
			require.True(t, ok && err == nil)
			require.Equal(t, s, again)
			require.True(t, bytes.Contains(b, s.AppendTo(nil)))
		}
	})
}
