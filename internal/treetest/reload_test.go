package treetest

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/internal/cast"
	"github.com/treedn/treedn/internal/clip"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	firstKey  = "the first stream key"
	secondKey = "the second stream key"
)

// publisher plays the clip to a channel.
type publisher struct {
	http.RoundTripper
	key  atomic.Pointer[string] // that it shows; nil: none
	stop func()
}

// RoundTrip shows the stream key of the moment.
func (p *publisher) RoundTrip(r *http.Request) (*http.Response, error) {
	if key := p.key.Load(); key != nil {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+*key)
	}
	return p.RoundTripper.RoundTrip(r)
}

func (p *publisher) show(key string) { p.key.Store(&key) }

func publish(t *testing.T, n *cast.Node, channel, key string) *publisher {
	transport := &http.Transport{}
	p := &publisher{RoundTripper: transport}
	if key != "" {
		p.show(key)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer transport.CloseIdleConnections()
		cfg := clip.PushConfig{Client: &http.Client{Transport: p}, Logger: Log(t)}
		_ = clip.Push(ctx, n.IngestURL()+"/publish/"+channel+"/manifest.mpd", cfg)
	}()
	p.stop = func() { cancel(); <-done }
	t.Cleanup(p.stop)
	return p
}

func cacheKey(b byte) config.CacheKey {
	return config.NewCacheKey([32]byte{0: b, 31: 1})
}

// A whole tree is changed while a player watches: it misses nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	up, down := Session(t), Session(t)
	cc := CastConfig(Channel("live", up))
	cc.Channels[0].Keys = []config.StreamKey{config.NewStreamKey(firstKey)}
	c := Cast(t, cc)
	rc := RelayConfig(RelayService(Service(t, "live", up, c.RepairURL()), down))
	r := Relay(t, rc, lossy.Config{})
	bc := BeaconConfig(Service(t, "live", down, r.RepairURL()))
	bc.Cache = config.Cache{Memory: 1 << 20, Disk: config.Disk{Dir: config.Path(t.TempDir())}}
	bc.Services[0].CacheKey = cacheKey(1)
	b := Beacon(t, bc, lossy.Config{})
	// Each Apply gets a configuration of its own, as a reload does.
	applyCast := func() { t.Helper(); require.NoError(t, c.Apply(Complete(t, cc))) }
	applyRelay := func() { t.Helper(); require.NoError(t, r.Apply(Complete(t, rc))) }
	applyBeacon := func() { t.Helper(); require.NoError(t, b.Apply(Complete(t, bc))) }

	encoder := publish(t, c, "live", firstKey)
	p := Watch(t, c, "live", b.URL())
	p.Wait(t, 3)

	// A channel more, in the order in which it comes: nobody who watches the other one notices.
	up2, down2 := Session(t), Session(t)
	cc.Channels = append(cc.Channels, Channel("more", up2))
	cc.Channels[1].Keys = []config.StreamKey{config.NewStreamKey(firstKey)}
	applyCast()
	rc.Services = append(rc.Services, RelayService(Service(t, "more", up2, c.RepairURL()), down2))
	applyRelay()
	bc.Services = append(bc.Services, Service(t, "more", down2, r.RepairURL()))
	applyBeacon()
	more := publish(t, c, "more", firstKey)
	p2 := Watch(t, c, "more", b.URL())

	// The channel moves to other groups: receivers first, their senders behind them.
	up, down = Session(t), Session(t)
	bc.Services[0].Upstream.Session = down
	applyBeacon()
	rc.Services[0].Upstream.Session, rc.Services[0].Downstream.Session = up, down
	applyRelay()
	p.Wait(t, 2)
	require.Len(t, r.Status().Sockets, 6, "the old group is received until the new one delivers")
	cc.Channels[0].Multicast.Session = up
	applyCast()

	// The stream key is turned: both are good, the publisher goes over to the new one, the old one goes.
	cc.Channels[0].Keys = []config.StreamKey{config.NewStreamKey(firstKey), config.NewStreamKey(secondKey)}
	applyCast()
	encoder.show(secondKey)
	p.Wait(t, 4)
	cc.Channels[0].Keys = cc.Channels[0].Keys[1:]
	applyCast()
	// The cache key is turned under the readers, pace and protection within the session.
	bc.Services[0].CacheKey = cacheKey(2)
	applyBeacon()
	cc.Channels[0].Multicast.Rate = 60_000_000
	cc.Channels[0].Multicast.FEC = config.FEC{Loss: 0.2}
	cc.Channels[0].Multicast.TTL = 3
	applyCast()
	p.Wait(t, 3)
	p2.Wait(t, 3)
	p2.Stop(t)

	// A channel less.
	more.stop()
	bc.Services, rc.Services, cc.Channels = bc.Services[:1], rc.Services[:1], cc.Channels[:1]
	applyBeacon()
	applyRelay()
	applyCast()
	resp, _ := Get(t, b.URL()+"/more/manifest.mpd")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	Eventually(t, patience, func() bool { return len(b.Status().Sockets) == 2 && len(r.Status().Sockets) == 2 }, "old groups are never left")
	p.Wait(t, 2)
	p.Stop(t)

	p.MostByMulticast(t, b.Status().Services...)
}

// Senders first works as well, by unicast for as long as the receivers lag behind.
func TestReloadSendersFirst(t *testing.T) {
	t.Parallel()
	up, down := Session(t), Session(t)
	cc := CastConfig(Channel("live", up))
	c := Cast(t, cc)
	rc := RelayConfig(RelayService(Service(t, "live", up, c.RepairURL()), down))
	r := Relay(t, rc, lossy.Config{})
	bc := BeaconConfig(Service(t, "live", down, r.RepairURL()))
	b := Beacon(t, bc, lossy.Config{})
	publish(t, c, "live", "")
	p := Watch(t, c, "live", b.URL())
	p.Wait(t, 3)

	up, down = Session(t), Session(t)
	cc.Channels[0].Multicast.Session = up
	require.NoError(t, c.Apply(Complete(t, cc)))
	rc.Services[0].Upstream.Session, rc.Services[0].Downstream.Session = up, down
	require.NoError(t, r.Apply(Complete(t, rc)))
	bc.Services[0].Upstream.Session = down
	require.NoError(t, b.Apply(Complete(t, bc)))
	p.Wait(t, 6)
	p.Stop(t)
}
