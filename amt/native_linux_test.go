package amt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
)

// An interface that is not there is told at once, not when a gateway wants a channel.
func TestNativeOnUnknownInterface(t *testing.T) {
	for _, name := range []string{"none0", "99999", "192.0.2.77"} {
		for _, sockets := range []bool{true, false} {
			_, err := amt.NewNative(amt.NativeConfig{Interface: name, Ports: []uint16{5000}, Sockets: sockets})
			require.ErrorIs(t, err, ssm.ErrInterface, name)
			require.ErrorContains(t, err, name)
			t.Log(err)
		}
	}
	for _, name := range []string{"lo", "1", "127.0.0.1"} {
		n, err := amt.NewNative(amt.NativeConfig{Interface: name, Ports: []uint16{5000}, Sockets: true})
		require.NoError(t, err, name)
		require.NoError(t, n.Close())
	}
}
