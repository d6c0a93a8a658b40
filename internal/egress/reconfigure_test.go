package egress

import (
	"context"
	"crypto/ed25519"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/route"
)

// A change that cannot be made as a whole changes nothing, whatever of it cannot be.
func TestReconfigureIsAllOrNothing(t *testing.T) {
	ch := ssmtest.Channel(t)
	seed := func(b byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(append(make([]byte, 31), b)) }
	good := Config{
		Session: route.Session{Source: ch.Source, Group: ch.Group, Port: ch.Port}, TTL: 1, SealPort: ch.Port + 1,
		Service: "live", HopKey: seed(1), Sender: route.SenderConfig{FirstTSI: 1, Rate: 8_000_000, MaxBuffered: 1 << 20},
	}
	e, err := New(good)
	require.NoError(t, err)
	have, sock := e.cfg, e.sock
	for name, spoil := range map[string]func(c *Config){
		"key":                  func(c *Config) { c.HopKey = c.HopKey[:5] },
		"interface":            func(c *Config) { c.Interface = "none0" },
		"both":                 func(c *Config) { c.HopKey, c.Interface = c.HopKey[:5], "none0" },
		"key, and none so far": func(c *Config) { c.HopKey = nil },
	} {
		next := good
		next.TTL, next.HopKey = 2, seed(2)
		next.Sender.Rate, next.Sender.MaxBuffered = 16_000_000, 2<<20
		spoil(&next)
		require.Error(t, e.Reconfigure(next), name)
		require.Same(t, sock, e.sock, name)
		require.Nil(t, e.stale, name)
		require.Equal(t, path{"", 1}, e.path, name)
		require.Equal(t, have.HopKey, e.cfg.HopKey, name)
		require.Equal(t, have.Sender.MaxBuffered, e.cfg.Sender.MaxBuffered, name)
		require.EqualValues(t, 8_000_000, e.sender.Stats().Rate, name)
	}
	next := good
	next.TTL, next.HopKey, next.Sender.Rate = 2, seed(2), 16_000_000
	require.NoError(t, e.Reconfigure(next))
	require.Same(t, sock, e.stale)
	require.Equal(t, next.HopKey, e.cfg.HopKey)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, e.Run(ctx))
	require.ErrorIs(t, e.Reconfigure(good), net.ErrClosed, "and nothing is opened any more")
}
