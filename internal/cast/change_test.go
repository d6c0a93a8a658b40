package cast

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/node"
)

// A channel that cannot be changed is as it was, its seals included.
func TestChannelThatCannotBeChanged(t *testing.T) {
	local := config.ListenOn(netip.MustParseAddrPort("127.0.0.1:0"))
	channel := func(name string) config.Channel {
		ch := ssmtest.Channel(t)
		return config.Channel{Name: name, Retention: time.Minute, Multicast: config.Downstream{
			Session: config.Session{Source: ch.Source, Group: ch.Group, Port: ch.Port},
		}}
	}
	c := config.Cast{
		Node: config.Node{Name: "cast"}, Ingest: config.Ingest{Listen: local}, Repair: config.Repair{Listen: local},
		Admin: config.Admin{Listen: local}, Channels: []config.Channel{channel("live"), channel("bare")},
	}
	c.Channels[0].SealKey, c.Channels[1].Unsigned = config.GenerateSealKey(), true
	complete := func(c config.Cast) *config.Cast {
		c.Channels = slices.Clone(c.Channels)
		full, err := config.Complete(c)
		require.NoError(t, err)
		return full
	}
	n, err := New(complete(c), Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, n.Close(node.AtOnce())) }()
	live, bare := n.channel("live"), n.channel("bare")
	require.NotNil(t, live.sealer)
	require.Nil(t, bare.sealer)
	for name, change := range map[string]func(c []config.Channel){
		"another key": func(c []config.Channel) { c[0].SealKey = config.GenerateSealKey() },
		"no key, and one at last": func(c []config.Channel) {
			c[0].SealKey, c[1].SealKey = c[1].SealKey, c[0].SealKey
			c[0].Unsigned, c[1].Unsigned = true, false
		},
		"retention": func(c []config.Channel) { c[0].Retention, c[1].Retention = time.Hour, time.Hour },
	} {
		next := c
		next.Channels = slices.Clone(c.Channels)
		change(next.Channels)
		for i := range next.Channels {
			next.Channels[i].Multicast.Interface = "none0"
		}
		var e *ssm.Error
		require.ErrorAs(t, n.Apply(complete(next)), &e, name)
		require.Same(t, live, n.channel("live"), name)
		require.Same(t, bare, n.channel("bare"), name)
		select {
		case <-live.done:
			t.Fatal(name, ": nothing is sealed any more")
		default:
		}

		// It can be made once it is right, and back.
		for i := range next.Channels {
			next.Channels[i].Multicast.Interface = ""
		}
		require.NoError(t, n.Apply(complete(next)), name)
		require.Equal(t, next.Channels[0].Unsigned, n.channel("live").sealer == nil, name)
		require.Equal(t, next.Channels[1].Unsigned, n.channel("bare").sealer == nil, name)
		require.NoError(t, n.Apply(complete(c)), name)
		live, bare = n.channel("live"), n.channel("bare")
	}
}
