package relay_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/treetest"
)

// A RELAY gives what it sends on to a gateway, too.
func TestAMT(t *testing.T) {
	t.Parallel()
	n := &inner{up: treetest.Session(t), down: treetest.Session(t)}
	n.cast = treetest.Cast(t, treetest.CastConfig(treetest.Channel("live", n.up)))
	n.cfg = treetest.RelayConfig(treetest.RelayService(treetest.Service(t, "live", n.up, n.cast.RepairURL()), n.down))
	listen := netip.AddrPortFrom(ssmtest.Source(), n.down.Port)
	alone, err := config.Parse[config.AMTRelay]("x", fmt.Appendf(nil, "amt: {listen: ['%v'], upstream: {ports: [%d], sockets: true}, drain: 10ms}", listen, n.down.Port))
	require.NoError(t, err)
	n.cfg.AMT = alone.AMT
	n.Node = treetest.Relay(t, n.cfg, lossy.Config{})

	c, err := amt.Dial(t.Context(), n.down.Source, netip.AddrPortFrom(n.down.Group, n.down.Port), amt.DialConfig{
		Mode: amt.ModeTunnel, Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: listen}}},
	})
	require.NoError(t, err)
	defer c.Close()
	require.Eventually(t, func() bool { return n.Status().AMT.Tunnels == 1 }, 10*time.Second, 10*time.Millisecond)
	treetest.Put(t, n.cast.Service("live"), "1.bin", content(1))
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, _, err = c.ReadFrom(make([]byte, 2000))
	require.NoError(t, err)
	require.Equal(t, []string{listen.String()}, n.Status().AMT.Listen)

	next := *treetest.Complete(t, n.cfg)
	next.AMT.Allow.Groups = []netip.Prefix{netip.MustParsePrefix("239.0.0.0/8")}
	require.NoError(t, n.Apply(&next))
	next.AMT.PathMTU = 1400
	require.ErrorContains(t, n.Apply(&next), "a change of amt needs a restart")
}
