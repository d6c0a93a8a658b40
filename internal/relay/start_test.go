package relay_test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/relay"
	"github.com/treedn/treedn/internal/treetest"
)

// A node that cannot start, whatever it is that fails, leaves nothing behind, the lock on its cache included; one that has
// started is closed once, however often it is told to.
func TestStartThatFails(t *testing.T) {
	free := treetest.FreeAddresses(t, 3)
	taken, _ := treetest.Taken(t)
	dir, locked := t.TempDir(), t.TempDir()
	other, err := cache.Open(cache.Config{Dir: locked, Disk: cache.Limit{Octets: 1 << 20}})
	require.NoError(t, err)
	defer other.Close()
	base := func() config.Relay {
		service := func(name string) config.RelayService {
			return treetest.RelayService(treetest.Service(t, name, treetest.Session(t), "http://127.0.0.1:1"), treetest.Session(t))
		}
		c := treetest.RelayConfig(service("live"), service("more"))
		c.HTTP.Listen, c.Repair.Listen, c.Admin.Listen = free[0], free[1], free[2]
		c.Cache.Disk.Dir, c.Cache.Disk.Size = config.Path(filepath.Join(dir, "cache")), 1<<20
		return c
	}
	for name, x := range map[string]struct {
		spoil func(c *config.Relay)
		want  string
	}{
		"upstream":   {func(c *config.Relay) { c.Services[1].Upstream.Interface = "none0" }, "service more: ssm"},
		"downstream": {func(c *config.Relay) { c.Services[1].Downstream.Interface = "none0" }, "service more: ssm"},
		"http":       {func(c *config.Relay) { c.HTTP.Listen = taken }, "in use"},
		"repair":     {func(c *config.Relay) { c.Repair.Listen = taken }, "in use"},
		"admin":      {func(c *config.Relay) { c.Admin.Listen = taken }, "in use"},
		"cache":      {func(c *config.Relay) { c.Cache.Disk.Dir = config.Path(locked) }, "in use"},
	} {
		t.Run(name, func(t *testing.T) {
			c := base()
			x.spoil(&c)
			treetest.FailsToStart(t, x.want, func() error {
				_, err := relay.New(treetest.Complete(t, c), relay.Options{Logger: treetest.Log(t)})
				return err
			}, free...)
		})
	}
	n, err := relay.New(treetest.Complete(t, base()), relay.Options{Logger: treetest.Log(t)})
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { _ = n.Close(node.AtOnce()) })
	}
	all.Wait()
	require.NoError(t, n.Close(t.Context()))
}
