package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/service"
)

// The channels of the latency test have 2 Mbit/s and 25 frames a second, a fragment for each frame, a key frame and a
// segment every two seconds. Several trees at a time give the number of fragments that the figures need.
const (
	latencyTrees = 4
	fragments    = 50 // in a segment
	frameTime    = 40 * time.Millisecond
	meanFragment = 2_000_000 / 8 / frameRate
	keyFragment  = 60_000

	shortMeasurement = 5  // segments, hence 1,000 fragments in 10 s
	fullMeasurement  = 11 // segments, hence 2,200 fragments in 22 s
)

// latencyLimit is what 99 of 100 fragments have to keep on a machine that has nothing else to do. On one that is busy a
// fragment may wait for a CPU several times on its way; half of them keep busyLimit nevertheless.
const (
	latencyLimit = 20 * time.Millisecond
	busyLimit    = 50 * time.Millisecond
)

// videoMPD announces the channel as FFmpeg would.
func videoMPD(start time.Time) []byte {
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="utf-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="dynamic" minimumUpdatePeriod="PT500S" availabilityStartTime="%s" maxSegmentDuration="PT2.0S" minBufferTime="PT2.0S">
<Period id="0" start="PT0.0S"><AdaptationSet id="0" contentType="video" segmentAlignment="true"><Representation id="0" mimeType="video/mp4" codecs="avc1.42c01e" bandwidth="2000000">
<SegmentTemplate timescale="1000000" duration="2000000" availabilityTimeOffset="1.960" availabilityTimeComplete="false" initialization="init-stream$RepresentationID$.m4s" media="chunk-stream$RepresentationID$-$Number%%05d$.m4s" startNumber="1"/>
</Representation></AdaptationSet></Period></MPD>`, start.UTC().Format(time.RFC3339))
}

// times are those at which each fragment's last octet was at some place, by segment.
type times [][]time.Time

func newTimes(all []gop) times {
	x := make(times, len(all))
	for n := range all {
		x[n] = make([]time.Time, len(all[n].ends))
	}
	return x
}

// follow reads all segments of a stream, one after the other, while they grow.
func (x times) follow(ctx context.Context, c *http.Client, stream int, all []gop, url func(string) string) error {
	buf := make([]byte, 128<<10)
	for n, s := range all {
		name := mediaName(stream, n+1)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url(name), nil)
		if err != nil {
			return err
		}
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		for got, i := 0, 0; ; {
			k, err := resp.Body.Read(buf)
			now := time.Now()
			if !bytes.HasPrefix(s.body[got:], buf[:k]) {
				err = errors.New("other octets")
			}
			for got += k; i < len(s.ends) && s.ends[i] <= got; i++ {
				x[n][i] = now
			}
			if err == io.EOF && got == len(s.body) {
				break
			}
			if err != nil {
				resp.Body.Close()
				return fmt.Errorf("%s: %s after %d octets: %w", name, resp.Status, got, err)
			}
		}
		resp.Body.Close()
	}
	return nil
}

// until returns how long after those in x the times in y were.
func (x times) until(y times) (all []time.Duration) {
	for n := range x {
		for i := range x[n] {
			all = append(all, y[n][i].Sub(x[n][i]))
		}
	}
	return all
}

// arrivals is a sink that notes when CAST has the fragments.
type arrivals struct {
	times    times
	segments []gop
}

func (a *arrivals) Manifest(service.Meta, []byte) {}

func (a *arrivals) Begin(m service.Meta) service.ObjectSink {
	if m.Track.Number == 0 {
		return nil
	}
	n := m.Track.Number - 1
	return &arrival{ends: a.segments[n].ends, at: a.times[n]}
}

type arrival struct {
	ends []int
	at   []time.Time
	n, i int
}

func (a *arrival) Write(p []byte, _ bool) {
	now := time.Now()
	for a.n += len(p); a.i < len(a.ends) && a.ends[a.i] <= a.n; a.i++ {
		a.at[a.i] = now
	}
}
func (a *arrival) Commit()     {}
func (a *arrival) Abort(error) {}

// latency is from the moment at which the pusher gives the last octet of a fragment to its socket.
type latency struct {
	cast, relay, beacon quantiles
	machine             machine
}

// lane is one tree with its pusher and its readers.
type lane struct {
	tree                *tree
	cast                arrivals
	sent, relay, beacon times
}

func newLane(t testing.TB, c *http.Client, seed uint64, segments int) *lane {
	l := &lane{tree: newTree(t, treeOptions{})}
	rng := rand.New(rand.NewPCG(seed, 1))
	for n := range segments {
		l.cast.segments = append(l.cast.segments, makeSegment(rng, n))
	}
	for _, x := range []*times{&l.cast.times, &l.sent, &l.relay, &l.beacon} {
		*x = newTimes(l.cast.segments)
	}
	l.tree.put(t, "init-stream0.m4s", record(1).inits["init-stream0.m4s"])
	l.tree.put(t, "manifest.mpd", videoMPD(time.Now()))
	waitFor(t, c, l.tree.relayURL("manifest.mpd"))
	waitFor(t, c, l.tree.beaconURL(0, "manifest.mpd"))
	l.tree.cast.Service(channel).AddSink(&l.cast)
	return l
}

// push pushes the segments at their time.
func (l *lane) push(t testing.TB, begin time.Time) {
	for n, s := range l.cast.segments {
		u, at := l.tree.upload(t, videoName(n+1)), 0
		for i, end := range s.ends {
			time.Sleep(time.Until(begin.Add(time.Duration(n*fragments+i) * frameTime)))
			l.sent[n][i] = time.Now()
			u.write(t, s.body[at:end])
			at = end
		}
		u.end(t)
	}
}

func measureLatency(t testing.TB, segments int) (l latency) {
	ctx, cancel := context.WithTimeout(t.Context(), 28*time.Second)
	defer cancel()
	c := newClient(t)
	var lanes []*lane
	for i := range latencyTrees {
		lanes = append(lanes, newLane(t, c, uint64(i), segments))
	}
	var watching, work sync.WaitGroup
	watched, end := context.WithCancel(ctx)
	watching.Go(func() { l.machine = watch(watched) })
	for i, x := range lanes {
		segments := x.cast.segments
		work.Go(func() {
			if err := x.relay.follow(ctx, c, 0, segments, x.tree.relayURL); err != nil {
				t.Error(err)
			}
		})
		work.Go(func() {
			if err := x.beacon.follow(ctx, c, 0, segments, func(name string) string { return x.tree.beaconURL(0, name) }); err != nil {
				t.Error(err)
			}
		})
		begin := time.Now().Add(100*time.Millisecond + time.Duration(i)*frameTime/latencyTrees)
		work.Go(func() { x.push(t, begin) })
	}
	work.Wait()
	end()
	watching.Wait()
	if t.Failed() {
		t.FailNow()
	}
	var cast, relay, beacon []time.Duration
	for _, x := range lanes {
		x.tree.cast.Service(channel).RemoveSink(&x.cast)
		requireMulticast(t, x.tree)
		cast = append(cast, x.sent.until(x.cast.times)...)
		relay = append(relay, x.sent.until(x.relay)...)
		beacon = append(beacon, x.sent.until(x.beacon)...)
	}
	l.cast, l.relay, l.beacon = quantilesOf(cast), quantilesOf(relay), quantilesOf(beacon)
	t.Logf("%d fragments of 2 Mbit/s and 25 a second, from the pusher's last octet to", len(beacon))
	t.Logf("CAST           %v", l.cast)
	t.Logf("RELAY's HTTP   %v", l.relay)
	t.Logf("BEACON's HTTP  %v", l.beacon)
	t.Logf("meanwhile %v", l.machine)
	return l
}

// The last octet of a video fragment can be read from a BEACON, two hops from CAST, at once. What that means in figures
// depends on what else the machine does; BenchmarkLatency has the strict ones.
func TestLatency(t *testing.T) {
	l := measureLatency(t, shortMeasurement)
	require.LessOrEqual(t, l.beacon.p50, busyLimit)
	if l.machine.quiet() {
		require.LessOrEqual(t, l.beacon.p99, latencyLimit+l.machine.late.p99)
	}
}

// BenchmarkLatency reports quantiles of the latency of 2,200 fragments.
func BenchmarkLatency(b *testing.B) {
	for b.Loop() {
		l := measureLatency(b, fullMeasurement)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(ms(l.beacon.p50), "p50-ms")
		b.ReportMetric(ms(l.beacon.p99), "p99-ms")
		b.ReportMetric(ms(l.beacon.max), "max-ms")
		if promisedQuiet() && l.beacon.p99 > latencyLimit {
			b.Errorf("%v is more than %v", l.beacon.p99, latencyLimit)
		}
	}
}
