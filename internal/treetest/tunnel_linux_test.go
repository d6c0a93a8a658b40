package treetest

import (
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/internal/amtrelay"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/telemetry"
)

// amtRelay is an AMT relay on an address of its own that takes a session and its seals by sockets.
func amtRelay(session config.Session) (config.AMT, config.AMTHost) {
	at := netip.AddrPortFrom(ssmtest.Source(), session.Port)
	return config.AMT{
		Listen:   []config.AMTAddress{{AddrPort: at}},
		Upstream: config.AMTUpstream{Ports: []uint16{session.Port, session.Port + 1}, Sockets: true},
	}, config.AMTHost{AddrPort: at}
}

// runAMTRelay runs one alone until the test ends.
func runAMTRelay(t *testing.T, session config.Session) config.AMTHost {
	t.Helper()
	section, at := amtRelay(session)
	c, err := config.Complete(config.AMTRelay{Admin: config.Admin{Listen: Local}, AMT: section})
	require.NoError(t, err)
	n, err := amtrelay.New(c, Log(t))
	started(t, n, err)
	return at
}

// A BEACON in a network without multicast has everything, the seals as well, through the AMT relay of its RELAY. It has
// no parents.
func TestTunnelOnly(t *testing.T) {
	t.Parallel()
	up, down := Session(t), Session(t)
	c := Cast(t, CastConfig(Channel("live", up)))
	rc := RelayConfig(RelayService(Service(t, "live", up, c.RepairURL()), down))
	section, at := amtRelay(down)
	rc.AMT = section
	r := Relay(t, rc, lossy.Config{})
	s := Service(t, "live", down)
	s.Upstream.TrustFirst = true
	s.Upstream.AMT = config.Gateway{Mode: config.AMTTunnel, AMTRelays: config.AMTRelays{Relays: []config.AMTHost{at}}}
	b := Beacon(t, BeaconConfig(s), lossy.Config{})
	Eventually(t, patience, func() bool { return r.Status().AMT.Tunnels > 0 }, "there is no tunnel")
	require.Equal(t, telemetry.WayNone, b.Status().Services[0].Way.Kind)
	publish(t, c, "live", "")
	p := Watch(t, c, "live", b.URL())
	p.Wait(t, 9)
	p.Stop(t)
	st := b.Status().Services[0]
	require.Equal(t, telemetry.WayTunnel, st.Way.Kind)
	require.Equal(t, at.String(), st.Way.Relay)
	require.Zero(t, st.ObjectsLost)
	require.Zero(t, st.FallbackOctets)
	require.Zero(t, st.Way.Dropped)
	require.Positive(t, st.SealsReceived)
	require.GreaterOrEqual(t, st.Way.TunnelPackets, st.Packets)
	require.Equal(t, uint64(1), r.Status().AMT.Tunnels, "media and seals share a tunnel")
}

// Native reception ends while a player watches, comes through a tunnel, and returns. What is missing between comes from
// the parent: the player misses nothing.
func TestTunnelWhileNothingComesNatively(t *testing.T) {
	t.Parallel()
	session := Session(t)
	c := Cast(t, CastConfig(Channel("live", session)))
	at := runAMTRelay(t, session)
	others := sockets(t, session)
	s := Service(t, "live", session, c.RepairURL())
	s.Upstream.AMT = config.Gateway{AMTRelays: config.AMTRelays{Relays: []config.AMTHost{at}}}
	b := Beacon(t, BeaconConfig(s), lossy.Config{})
	native := slices.DeleteFunc(sockets(t, session), func(fd int) bool { return slices.Contains(others, fd) })
	require.Len(t, native, 2, "of the media and the seals")
	publish(t, c, "live", "")
	p := Watch(t, c, "live", b.URL())
	p.Wait(t, 3)
	way := func() telemetry.Way { return *b.Status().Services[0].Way }
	comes := func(kind telemetry.WayKind) func() bool {
		return func() bool {
			st := b.Status().Services[0]
			return st.Way.Kind == kind && st.Source.Kind == telemetry.SourceMulticast
		}
	}
	require.Equal(t, telemetry.WayNative, way().Kind)

	deaf(t, native, true)
	Eventually(t, patience, comes(telemetry.WayTunnel), "nothing comes through the tunnel")
	require.Equal(t, at.String(), way().Relay)
	require.Equal(t, "nothing came natively", way().Why)
	before := b.Status().Services[0]
	p.Wait(t, 6)
	after := b.Status().Services[0]
	require.Greater(t, after.SourceOctets, before.SourceOctets)
	require.Positive(t, way().TunnelPackets)

	deaf(t, native, false)
	Eventually(t, patience, comes(telemetry.WayNative), "nothing comes natively")
	p.Wait(t, 3)
	p.Stop(t)
	st := b.Status().Services[0]
	require.Equal(t, uint64(2), st.Way.Switches)
	require.Zero(t, st.ObjectsLost)
	require.Zero(t, st.Way.RelaysLost)
}

// A service goes over to a tunnel, and back, by a change of the configuration: the player misses nothing, and counters
// do not go back.
func TestTunnelByReload(t *testing.T) {
	t.Parallel()
	session := Session(t)
	c := Cast(t, CastConfig(Channel("live", session)))
	at := runAMTRelay(t, session)
	bc := BeaconConfig(Service(t, "live", session, c.RepairURL()))
	b := Beacon(t, bc, lossy.Config{})
	publish(t, c, "live", "")
	p := Watch(t, c, "live", b.URL())
	p.Wait(t, 3)
	apply := func(g config.Gateway) {
		t.Helper()
		bc.Services = slices.Clone(bc.Services)
		bc.Services[0].Upstream.AMT = g
		require.NoError(t, b.Apply(Complete(t, bc)))
	}
	comes := func(kind telemetry.WayKind) {
		t.Helper()
		Eventually(t, patience, func() bool {
			st := b.Status()
			tunnelled := len(st.Sockets) == 0
			return st.Services[0].Way.Kind == kind && tunnelled == (kind == telemetry.WayTunnel)
		}, "it is not "+string(kind))
	}
	apply(config.Gateway{Mode: config.AMTTunnel, AMTRelays: config.AMTRelays{Relays: []config.AMTHost{at}}})
	comes(telemetry.WayTunnel)
	p.Wait(t, 4)
	packets := b.Status().Services[0].Way.TunnelPackets
	require.Positive(t, packets)
	apply(config.Gateway{})
	comes(telemetry.WayNative)
	p.Wait(t, 3)
	p.Stop(t)
	st := b.Status().Services[0]
	require.Zero(t, st.ObjectsLost)
	require.GreaterOrEqual(t, st.Way.TunnelPackets, packets)
}

// sockets lists the sockets of this process that receive a session or its seals.
func sockets(t *testing.T, session config.Session) (list []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		require.NoError(t, err)
		name, err := unix.Getsockname(fd)
		if err != nil {
			continue // no socket, or closed meanwhile
		}
		a, ok := name.(*unix.SockaddrInet4)
		if ok && a.Addr == session.Group.As4() && (a.Port == int(session.Port) || a.Port == int(session.Port)+1) {
			list = append(list, fd)
		}
	}
	return list
}

// deaf keeps packets from sockets, or lets them through again.
func deaf(t *testing.T, list []int, yes bool) {
	t.Helper()
	for _, fd := range list {
		if yes {
			none := unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}
			require.NoError(t, unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &none))
		} else {
			require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
		}
	}
}
