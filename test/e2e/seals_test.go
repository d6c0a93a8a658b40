package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/hostile"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
)

// volume is how many octets of UDP payload are in packets, and in seals.
func volume(packets []hostile.Packet) (media, seals int) {
	for _, p := range packets {
		if p.Seal {
			seals += len(p.Bytes)
		} else {
			media += len(p.Bytes)
		}
	}
	return media, seals
}

// What seals cost, at the sockets behind CAST: 2 % of a service of 5 Mbit/s, 8 % of the clip, whose chunks are small.
func TestSealsCost(t *testing.T) {
	for name, c := range map[string]struct {
		limit float64
		push  func(t *testing.T, x *tree)
	}{
		"5 Mbit/s": {0.02, func(t *testing.T, x *tree) {
			svc := x.cast.Service(channel)
			rng := rand.New(rand.NewPCG(1, 1))
			begin, run := time.Now(), uint64(time.Now().UnixMicro())
			for n := uint32(1); n <= 4; n++ {
				o, err := svc.Begin(service.Meta{
					Name: fmt.Sprintf("v-%05d.m4s", n), Generation: run, Kind: service.Media, Length: -1,
					Track: route.Track{Stem: "v-$TOI%05d$.m4s", Number: n, Run: run, Kind: route.Video},
				})
				require.NoError(t, err)
				for i := range fragments {
					time.Sleep(time.Until(begin.Add(time.Duration(int(n-1)*fragments+i) * frameTime)))
					b := make([]byte, 5_000_000/8/frameRate)
					for i := range b {
						b[i] = byte(rng.Uint32())
					}
					require.NoError(t, o.Write(b, true))
				}
				require.NoError(t, o.Commit())
			}
		}},
		"the clip": {0.08, func(t *testing.T, x *tree) {
			stop := pushClip(t, x.cast)
			time.Sleep(10 * time.Second)
			stop()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTree(t, treeOptions{})
			ear := listen(t, sessionOf(x.session))
			c.push(t, x)
			media, seals := volume(ear.stop())
			share := float64(seals) / float64(media)
			t.Logf("%d octets of seals to %d of packets, %.2f %%", seals, media, 100*share)
			require.NotZero(t, seals)
			require.LessOrEqual(t, share, c.limit)
		})
	}
}
