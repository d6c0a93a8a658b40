package gateway

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/dns"
)

// counting is a resolver that knows nothing and counts who asks.
type counting struct{ asked *atomic.Int64 }

func (c counting) Resolve(context.Context, dns.Question) (dns.Response, error) {
	c.asked.Add(1)
	return dns.Response{}, nil
}

// What changes together, or for a moment, counts once, or not at all.
func TestWatchNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Value
		now.Store("home")
		told := 0
		stop := watchNetwork(func() string { return now.Load().(string) }, func() { told++ })
		for i, step := range []struct {
			network string
			looks   int
			told    int
		}{{"home", 9, 0}, {"nowhere", 1, 0}, {"home", 9, 0}, {"nowhere", 1, 0}, {"abroad", 1, 0}, {"abroad", 1, 1}, {"abroad", 9, 1}, {"home", 2, 2}, {"abroad", 2, 3}} {
			now.Store(step.network)
			time.Sleep(time.Duration(step.looks) * networkInterval)
			synctest.Wait()
			require.Equal(t, step.told, told, i)
		}
		stop()
		stop()
	})
}

// What was asked for in one network is asked again in another.
func TestClientsInAnotherNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Value
		now.Store("home")
		all := Clients{look: func() string { return now.Load().(string) }}
		var asked atomic.Int64
		c, done, err := all.get("", &driad.ClientConfig{Resolver: counting{&asked}, Config: driad.Config{NoAnycast: true, NoServiceDiscovery: true}})
		require.NoError(t, err)
		defer done()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		d := c.Discover(ctx, netip.MustParseAddr("198.51.100.1"))
		for range d.Lists() {
			break
		}
		time.Sleep(12 * networkInterval)
		synctest.Wait()
		now.Store("abroad")
		time.Sleep(2*networkInterval - time.Millisecond)
		synctest.Wait()
		before := asked.Load() // what has failed is asked again now and then
		require.Positive(t, before)
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		require.Greater(t, asked.Load(), before)
	})
}

func TestNetwork(t *testing.T) {
	require.NotEmpty(t, network())
	require.Equal(t, network(), network())
}
