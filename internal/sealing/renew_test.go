package sealing_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
)

// A manifest that a node has asked its parent for, because it is overdue or because the node follows its parent, is kept
// with its seal: the node's own children ask it for both, and believe it.
func TestRenewedManifestsHaveSeals(t *testing.T) {
	playlist := func(n int) []byte {
		return fmt.Appendf(nil, "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:%d\n#EXTINF:1,\nv-%d.m4s\n", n, n)
	}
	for name, renew := range map[string]func(t *testing.T, x *child){
		"renewed":   func(t *testing.T, x *child) { require.NoError(t, x.svc.Renew(t.Context(), "v.m3u8", 0)) },
		"refreshed": func(t *testing.T, x *child) { x.svc.Refresh(t.Context(), "v.m3u8") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoot(t, "")
				give := &giver{}
				put := func(generation uint64) {
					give.generation, give.b = generation, playlist(int(generation))
					require.NoError(t, r.svc.PutManifest(service.Meta{Name: "v.m3u8", Generation: generation, Kind: service.Manifest}, give.b))
					time.Sleep(3 * time.Second) // the seal is there, and manifests are overdue
				}
				middle := newChild(t, childConfig{parents: []string{"root"}, net: network{"root": r}, forward: true, inner: give})
				handler := &sealing.Handler{Store: middle.store, Newest: func(string) ([][]byte, bool) { return nil, true }}
				leaf := newChild(t, childConfig{parents: []string{"middle"}, net: network{"middle": handler}, inner: give})

				put(1)
				for _, x := range []*child{middle, leaf} {
					require.NoError(t, x.svc.Renew(t.Context(), "v.m3u8", 0))
				}
				for generation := uint64(2); generation < 5; generation++ {
					put(generation)
					renew(t, middle)
					o, err := middle.svc.Open(t.Context(), "v.m3u8")
					require.NoError(t, err)
					require.Equal(t, generation, o.Meta().Generation)
					require.NotEmpty(t, o.Meta().Header[service.SealHeader])
					renew(t, leaf)
					o, err = leaf.svc.Open(t.Context(), "v.m3u8")
					require.NoError(t, err)
					require.Equal(t, generation, o.Meta().Generation, "the child could verify it")
					body := make([]byte, 200)
					n, _ := o.ReadAt(body, 0)
					require.Equal(t, string(give.b), string(body[:n]))
				}
			})
		})
	}
}

// Seals are found by names as they are.
func TestSealsOfOddNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		x := newChild(t, childConfig{parents: []string{"root"}, net: network{"root": r}})
		for i, name := range []string{"a b.m4s", "a?b=c.m4s", "a#b.m4s", "100%.m4s", "50%41.m4s", "ü/ñ.m4s", "..x/..."} {
			r.put(name, uint64(7+i), octets(1, 1000), 1000)
			time.Sleep(100 * time.Millisecond)
			require.NoError(t, x.fetcher.Client.Seals(t.Context(), "live", name, uint64(7+i), x.gate.PushParent), name)
			generation, ok := x.gate.Known(name)
			require.True(t, ok, name)
			require.EqualValues(t, 7+i, generation)
		}
	})
}
