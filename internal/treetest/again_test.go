package treetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/telemetry"
)

// A node whose clock is an hour off, in either direction, neither misses anything nor asks for more than others do.
func TestClocksThatAreOff(t *testing.T) {
	t.Parallel()
	up, down := Session(t), Session(t)
	c := Cast(t, CastConfig(Channel("live", up)))
	rc := RelayConfig(RelayService(Service(t, "live", up, c.RepairURL()), down))
	rc.Node.ClockOffset = time.Hour
	r := Relay(t, rc, lossy.Config{})
	bc := BeaconConfig(Service(t, "live", down, r.RepairURL()))
	bc.Node.ClockOffset = -time.Hour
	b := Beacon(t, bc, lossy.Config{})
	publish(t, c, "live", "")
	p := Watch(t, c, "live", b.URL())
	p.Wait(t, 7)
	p.Stop(t)
	p.MostByMulticast(t, b.Status().Services...)
}

// A CAST that is started again on the same addresses is believed again at once, also if its clock has stepped back
// meanwhile: what it seals is newer than all it has sealed before.
func TestCastStartedAgain(t *testing.T) {
	t.Parallel()
	up, down := Session(t), Session(t)
	cc := CastConfig(Channel("live", up))
	cc.Ingest.Listen, cc.Repair.Listen = Vacant(t), Vacant(t)
	cc.Node.StateDir = config.Path(t.TempDir())
	cc.Channels[0].SealKey = config.SealKey{} // its own, kept in the state directory
	c := Cast(t, cc)
	anchor := anchorOf(t, string(cc.Node.StateDir)+"/seal/live.pub")
	service := Service(t, "live", up, c.RepairURL())
	service.Upstream.Anchors, service.Upstream.HopAnchors = anchor, anchor
	r := Relay(t, RelayConfig(RelayService(service, down)), lossy.Config{})
	service = Service(t, "live", down, r.RepairURL())
	service.Upstream.Anchors = anchor
	b := Beacon(t, BeaconConfig(service), lossy.Config{})
	first := publish(t, c, "live", "")
	p := Watch(t, c, "live", b.URL())
	p.Wait(t, 9) // so that names come again
	first.stop()
	p.Stop(t)

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, c.Close(ctx))
	cc.Node.ClockOffset = -10 * time.Minute
	c = Cast(t, cc)
	publish(t, c, "live", "")
	// From here on it is known everywhere that each of the three tracks has begun again: nothing of the first run may be
	// given out under a name that comes next.
	Eventually(t, patience, func() bool { return c.Status().Services[0].Objects >= 6 }, "nothing is taken in")
	p = Watch(t, c, "live", b.URL())
	before := b.Status().Services[0]
	p.Wait(t, 4)
	p.Stop(t)
	st := b.Status().Services[0]
	require.Greater(t, st.SourceOctets, before.SourceOctets, "multicast is believed")
	t.Logf("source %d, fallback %d octets", st.SourceOctets-before.SourceOctets, st.FallbackOctets-before.FallbackOctets)
	// A node that was without anything for a time is back when an object has come by multicast alone.
	Eventually(t, patience, func() bool {
		return b.Status().Services[0].Source.Kind == telemetry.SourceMulticast
	}, "nothing comes by multicast alone")
}

func anchorOf(t *testing.T, file string) []config.Anchor {
	t.Helper()
	c, err := config.Parse[config.Beacon]("x.yaml", []byte(
		"services: [{name: x, upstream: {source: 127.0.0.1, group: 232.1.1.1, port: 1, anchors: ['file:"+file+"']}}]\n"))
	require.NoError(t, err)
	return c.Services[0].Upstream.Anchors
}
