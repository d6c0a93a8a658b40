package treetest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
)

// The keys of a tree are turned while a player watches: receivers first, then CAST, then the RELAY, then the old keys go.
// It misses nothing, and nothing has to come by unicast.
func TestKeysAreTurned(t *testing.T) {
	t.Parallel()
	up, down := Session(t), Session(t)
	cc := CastConfig(Channel("live", up))
	c := Cast(t, cc)
	rc := RelayConfig(RelayService(Service(t, "live", up, c.RepairURL()), down))
	r := Relay(t, rc, lossy.Config{})
	bc := BeaconConfig(Service(t, "live", down, r.RepairURL()))
	b := Beacon(t, bc, lossy.Config{})
	applyCast := func() { t.Helper(); require.NoError(t, c.Apply(Complete(t, cc))) }
	applyRelay := func() { t.Helper(); require.NoError(t, r.Apply(Complete(t, rc))) }
	applyBeacon := func() { t.Helper(); require.NoError(t, b.Apply(Complete(t, bc))) }

	publish(t, c, "live", "")
	p := Watch(t, c, "live", b.URL())
	p.Wait(t, 3)

	newRoot, newHop := config.NewSealKey([32]byte{3}), config.NewSealKey([32]byte{4})
	for _, u := range []*config.Upstream{&bc.Services[0].Upstream, &rc.Services[0].Upstream} {
		u.Anchors = append(slices.Clone(u.Anchors), config.AnchorOf(newRoot))
		u.HopAnchors = append(slices.Clone(u.HopAnchors), config.AnchorOf(newRoot), config.AnchorOf(newHop))
	}
	applyBeacon()
	applyRelay()
	p.Wait(t, 2)
	cc.Channels = slices.Clone(cc.Channels)
	cc.Channels[0].SealKey = newRoot
	applyCast()
	p.Wait(t, 4)
	rc.Services[0].SealKey = newHop
	applyRelay()
	p.Wait(t, 4)
	for _, u := range []*config.Upstream{&bc.Services[0].Upstream, &rc.Services[0].Upstream} {
		u.Anchors = []config.Anchor{config.AnchorOf(newRoot)}
		u.HopAnchors = []config.Anchor{config.AnchorOf(newRoot), config.AnchorOf(newHop)}
	}
	applyBeacon()
	applyRelay()
	p.Wait(t, 4)

	// A node that starts now needs the new keys alone.
	late := BeaconConfig(bc.Services[0])
	late.Node.Name = "late"
	q := Watch(t, c, "live", Beacon(t, late, lossy.Config{}).URL())
	q.Wait(t, 3)
	q.Stop(t)
	p.Stop(t)
	services := slices.Concat(r.Status().Services, b.Status().Services)
	p.MostByMulticast(t, services...)
	for _, st := range services {
		require.Zero(t, st.SealConflicts)
		require.Zero(t, st.RejectedOctets["forged"])
	}
}

// One who was not told of the new key goes on to have what the old one sealed, and believes nothing else.
func TestKeyThatNobodyWasToldOf(t *testing.T) {
	t.Parallel()
	up := Session(t)
	cc := CastConfig(Channel("live", up))
	c := Cast(t, cc)
	b := Beacon(t, BeaconConfig(Service(t, "live", up, c.RepairURL())), lossy.Config{})
	svc := c.Service("live")
	Put(t, svc, "1.bin", "sealed by the old key")
	Eventually(t, patience, func() bool {
		res, body := Get(t, b.URL()+"/live/1.bin")
		return res.StatusCode == 200 && string(body) == "sealed by the old key"
	}, "1.bin does not come")
	cc.Channels = slices.Clone(cc.Channels)
	cc.Channels[0].SealKey = config.NewSealKey([32]byte{3})
	require.NoError(t, c.Apply(Complete(t, cc)))
	Put(t, svc, "2.bin", "sealed by the new key")
	for range 3 {
		res, body := Get(t, b.URL()+"/live/2.bin")
		require.NotEqual(t, 200, res.StatusCode)
		require.NotContains(t, string(body), "sealed by the new key")
	}
	res, _ := Get(t, b.URL()+"/live/1.bin")
	require.Equal(t, 200, res.StatusCode)
	require.NotZero(t, b.Status().Services[0].RejectedOctets["seal"])
}
