//go:build !linux && !darwin && !freebsd && !solaris && !windows

package ssm_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
)

// Whatever else is wrong, the error says first that the system cannot do it.
func TestUnsupported(t *testing.T) {
	for _, source := range []string{"127.0.0.1", "192.0.2.10", "2001:db8::1"} {
		ch := ssm.Channel{Source: netip.MustParseAddr(source), Group: netip.MustParseAddr("232.1.1.10"), Port: 5000}
		if ch.Source.Is6() {
			ch.Group = netip.MustParseAddr("ff3e::8000:1")
		}
		_, err := newHost(t, ssm.Config{}).Join(context.Background(), ch, "")
		var e *ssm.Error
		require.ErrorAs(t, err, &e)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.Equal(t, "join", e.Op)
		require.NotEmpty(t, e.Remedy)
		require.ErrorIs(t, ssm.Probe(context.Background(), "", ch.Source), errors.ErrUnsupported)
	}
}
