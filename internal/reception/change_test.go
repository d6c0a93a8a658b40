package reception

import (
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
)

func anchorOf(n byte) config.Anchor {
	return config.NewAnchor(ed25519.NewKeyFromSeed(append(make([]byte, 31), n)).Public().(ed25519.PublicKey))
}

// A change that fails at any of its steps, or is taken back, leaves the service as it was.
func TestChangeIsAllOrNothing(t *testing.T) {
	url := func(s string) []config.URL {
		u, err := config.ParseURL(s)
		require.NoError(t, err)
		return []config.URL{u}
	}
	session := func() config.Session { return newSession(t) }
	sealed := func(s config.Session) config.Service {
		c := live(s)
		c.Upstream.Unsigned, c.Upstream.SealPort = false, s.Port+1
		c.Upstream.Anchors, c.Upstream.HopAnchors = []config.Anchor{anchorOf(1)}, []config.Anchor{anchorOf(2)}
		c.Upstream.Parents = url("http://127.0.0.1:1/")
		return c
	}
	// Each changes all that can be changed, and is wrong in one thing.
	for name, spoil := range map[string]func(c *config.Service){
		"session":    func(c *config.Service) { c.Upstream.Interface = "none0" },
		"parents":    func(c *config.Service) { c.Upstream.Parents = url("http://127.0.0.1:2/?query") },
		"anchors":    func(c *config.Service) { c.Upstream.Anchors = append(c.Upstream.Anchors, c.Upstream.Anchors[0]) },
		"taken back": nil,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBase(t, config.Cache{}, lossy.Config{})
			first := sealed(session())
			x, err := b.Services.Add(first)
			require.NoError(t, err)
			have, keys, cached := x.cfg, slices.Clone(x.keys.keys), b.Store.Stats()
			next := sealed(session())
			next.Upstream.Anchors, next.Upstream.HopAnchors = []config.Anchor{anchorOf(3)}, []config.Anchor{anchorOf(4)}
			next.Upstream.Parents, next.Retention = url("http://127.0.0.1:2/"), time.Hour
			if spoil != nil {
				spoil(&next)
				require.Error(t, b.Services.Change(next))
			} else {
				_, undo, err := b.Services.Prepare(next)
				require.NoError(t, err)
				require.Len(t, x.receptions, 2)
				undo()
			}
			require.Equal(t, have, x.cfg)
			require.Len(t, x.receptions, 1)
			require.Equal(t, "127.0.0.1:1", x.parents.Parents()[0].Host)
			require.Equal(t, keys, x.keys.keys)
			require.Equal(t, cached, b.Store.Stats())
			require.Equal(t, first.Upstream.Session.String(), status(t, b).Source.Address)

			// And the change can be made once it is right.
			next.Upstream.Interface, next.Upstream.Parents, next.Upstream.Anchors = "", url("http://127.0.0.1:2/"), []config.Anchor{anchorOf(3)}
			require.NoError(t, b.Services.Change(next))
			require.Len(t, x.receptions, 2)
			require.Equal(t, "127.0.0.1:2", x.parents.Parents()[0].Host)
			require.Equal(t, next, x.cfg)
		})
	}
}
