package gateway

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/dns"
)

// refusing is a resolver that knows nothing.
type refusing struct{}

func (refusing) Resolve(context.Context, dns.Question) (dns.Response, error) {
	return dns.Response{}, dns.ErrServers
}

// Who looks in the same way shares a client, which ends with the last of them.
func TestClients(t *testing.T) {
	defer goleak.VerifyNone(t)
	var all Clients
	config := &driad.ClientConfig{Resolver: refusing{}}
	get := func(key string) (*driad.Client, func()) {
		c, done, err := all.get(key, config)
		require.NoError(t, err)
		return c, done
	}
	ended := func(c *driad.Client) bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		d := c.Discover(ctx, netip.MustParseAddr("198.51.100.1"))
		for range d.Lists() { // the first says that nothing was found
			return false
		}
		return true
	}
	a, doneA := get("one")
	b, doneB := get("one")
	other, doneOther := get("another")
	require.Same(t, a, b)
	require.NotSame(t, a, other)
	doneA()
	doneA()
	require.False(t, ended(a))
	doneB()
	require.True(t, ended(a))
	require.False(t, ended(other))
	again, doneAgain := get("one")
	require.NotSame(t, a, again)
	doneAgain()
	doneOther()
	require.Empty(t, all.list)

	none, done, err := all.get("one", nil)
	require.NoError(t, err)
	require.Nil(t, none)
	done()
}
