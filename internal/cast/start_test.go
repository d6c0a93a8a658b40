package cast_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/cast"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/treetest"
)

// A node that cannot start, whatever it is that fails, leaves nothing behind; one that has started is closed once, however
// often it is told to.
func TestStartThatFails(t *testing.T) {
	free := treetest.FreeAddresses(t, 3)
	taken, _ := treetest.Taken(t)
	dir := t.TempDir()
	base := func() config.Cast {
		c := treetest.CastConfig(treetest.Channel("live", treetest.Session(t)), treetest.Channel("more", treetest.Session(t)))
		c.Ingest.Listen, c.Repair.Listen, c.Admin.Listen = free[0], free[1], free[2]
		c.Node.StateDir = config.Path(filepath.Join(dir, "state"))
		return c
	}
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	origin, err := config.ParseURL("http://127.0.0.1:1/live.m3u8")
	require.NoError(t, err)
	start := func(c config.Cast) func() error {
		return func() error {
			_, err := cast.New(treetest.Complete(t, c), cast.Options{Logger: treetest.Log(t)})
			return err
		}
	}
	for name, x := range map[string]struct {
		spoil func(c *config.Cast)
		want  string
	}{
		"second channel": {func(c *config.Cast) { c.Channels[1].Multicast.Interface = "none0" }, "channel more: ssm"},
		"ingest":         {func(c *config.Cast) { c.Ingest.Listen = taken }, "in use"},
		"repair":         {func(c *config.Cast) { c.Repair.Listen = taken }, "in use"},
		"admin":          {func(c *config.Cast) { c.Admin.Listen = taken }, "in use"},
		"state":          {func(c *config.Cast) { c.Node.StateDir = config.Path(file) }, "not a directory"},
		"behind a pull":  {func(c *config.Cast) { c.Channels[0].Pull, c.Admin.Listen = origin, taken }, "in use"},
	} {
		t.Run(name, func(t *testing.T) {
			c := base()
			x.spoil(&c)
			treetest.FailsToStart(t, x.want, start(c), free...)
		})
	}
	n, err := cast.New(treetest.Complete(t, base()), cast.Options{Logger: treetest.Log(t)})
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { _ = n.Close(node.AtOnce()) })
	}
	all.Wait()
	require.NoError(t, n.Close(t.Context()))
}
