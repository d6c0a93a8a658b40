package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/clip"
	"github.com/treedn/treedn/internal/lossy"
)

const (
	clipTracks  = 3
	clipSegment = 2 * time.Second
)

// The source plays while BEACONs lose packets, each in its own way. Whatever they lose, each gets every object
// unchanged: by FEC, by repair from RELAY, or, where unicast is off, by FEC alone.
func TestLoss(t *testing.T) {
	t.Parallel()
	const segments = 10 // of each track
	cases := []struct {
		leaf
		check func(*testing.T, *outcome)
	}{
		{leaf{name: "0%"}, unharmed},
		{leaf{name: "5%", loss: lossy.Config{Random: 0.05, Seed: 5}}, random(0.05, 0.99)},
		{leaf{name: "10%", loss: lossy.Config{Random: 0.10, Seed: 10}}, random(0.10, 0.99)},
		{leaf{name: "20%", loss: lossy.Config{Random: 0.20, Seed: 20}}, random(0.20, 0)},
		{leaf{name: "30%", loss: lossy.Config{Random: 0.30, Seed: 30}}, random(0.30, 0)},
		{leaf{name: "bursts", loss: lossy.Config{BurstEvery: 1300 * time.Millisecond, BurstFor: 200 * time.Millisecond}}, bursts},
		{leaf{name: "0% alone", noUnicast: true}, unharmed},
		{leaf{name: "10% alone", loss: lossy.Config{Random: 0.10, Seed: 11}, noUnicast: true}, random(0.10, 1)},
	}
	var leaves []leaf
	for _, c := range cases {
		leaves = append(leaves, c.leaf)
	}
	x := newTree(t, treeOptions{leaves: leaves})
	ctx, cancel := context.WithTimeout(t.Context(), segments*clipSegment+patience)
	defer cancel()

	viewers := make([]*viewer, len(cases))
	var watching sync.WaitGroup
	for i := range viewers {
		v := &viewer{url: func(name string) string { return x.beaconURL(i, name) }, bodies: make(map[string][]byte)}
		viewers[i] = v
		for track := range clipTracks {
			c := newClient(t)
			watching.Go(func() { v.err(v.watch(ctx, c, track, segments)) })
		}
	}
	pushed := make(map[string]string)
	var mu sync.Mutex // guards pushed
	source, stop := context.WithCancel(ctx)
	go func() {
		watching.Wait()
		stop()
	}()
	err := clip.Push(source, x.publish("manifest.mpd"), clip.PushConfig{Witness: func(name string, body []byte) {
		mu.Lock()
		defer mu.Unlock()
		pushed[name] = sum(body)
	}})
	require.Error(t, err, "it is told to end")
	watching.Wait()
	x.printCounters(t)

	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := viewers[i]
			require.Empty(t, v.errs)
			require.Len(t, v.bodies, clipTracks*(1+segments))
			for name, body := range v.bodies {
				require.Equal(t, pushed[name], sum(body), name)
			}
			s := serviceOf(t, x.beacons[i].Status())
			// Of each track a segment has no end, and may be given up before the last viewer is done.
			require.LessOrEqual(t, s.ObjectsLost, uint64(clipTracks))
			c.check(t, &outcome{
				drops:    float64(drops(x.beacons[i].Status())),
				injected: float64(x.beacons[i].Injected()), packets: float64(s.Packets), lost: float64(s.PacketsLost),
				multicast: float64(s.SourceOctets + s.FECOctets), fec: float64(s.FECOctets),
				unicast: float64(s.RepairOctets + s.FallbackOctets),
			})
		})
	}
}

// outcome is what the counters of one BEACON say.
type outcome struct {
	drops                   float64 // packets dropped by the system, which a busy machine may do
	injected, packets, lost float64
	multicast, fec, unicast float64 // octets of objects by the way on which they came; FEC is multicast
}

// requireMulticast demands that at least a share of the octets came by multicast. On a busy machine packets may be so late
// that parents are asked before.
func (o *outcome) requireMulticast(t *testing.T, share float64) {
	if !promisedQuiet() {
		share = min(share, 0.5)
	}
	require.GreaterOrEqual(t, o.multicast, share*(o.multicast+o.unicast))
}

// unharmed checks that nothing was lost.
func unharmed(t *testing.T, o *outcome) {
	require.Zero(t, o.injected)
	if o.drops == 0 {
		require.Zero(t, o.lost, "late is not lost")
	}
	if o.drops == 0 && promisedQuiet() {
		require.Zero(t, o.fec)
	}
	o.requireMulticast(t, 0.99)
}

// random checks a random loss, and that at least a share of the octets came by multicast.
func random(loss, multicast float64) func(*testing.T, *outcome) {
	return func(t *testing.T, o *outcome) {
		require.InDelta(t, loss, o.injected/(o.injected+o.packets), 0.03)
		// A receiver cannot know of lost packets that repeat what it has: signalling, carousel, surplus repair.
		require.InEpsilon(t, o.injected, o.lost, 0.4)
		require.NotZero(t, o.fec)
		o.requireMulticast(t, multicast)
		if loss > 0.25 {
			require.NotZero(t, o.unicast, "there are repair packets for 10 %")
		}
	}
}

func bursts(t *testing.T, o *outcome) {
	require.NotZero(t, o.injected)
	require.NotZero(t, o.lost)
	require.NotZero(t, o.fec+o.unicast)
}

// viewer reads the clip from one node as a player at the live edge does.
type viewer struct {
	url func(name string) string

	mu     sync.Mutex // guards below
	bodies map[string][]byte
	errs   []error
}

// watch reads one track: the manifest, the init segment, and then the segments, each asked for when the one before it
// has ended.
func (v *viewer) watch(ctx context.Context, c *http.Client, track, segments int) error {
	if _, err := persist(ctx, c, v.url("manifest.mpd")); err != nil {
		return err
	}
	names := []string{fmt.Sprintf("init-stream%d.m4s", track)}
	for n := range segments {
		names = append(names, fmt.Sprintf("chunk-stream%d-%05d.m4s", track, n+1))
	}
	for _, name := range names {
		body, err := persist(ctx, c, v.url(name))
		if err != nil {
			return err
		}
		v.mu.Lock()
		v.bodies[name] = body
		v.mu.Unlock()
	}
	return nil
}

func (v *viewer) err(err error) {
	if err != nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.errs = append(v.errs, err)
	}
}
