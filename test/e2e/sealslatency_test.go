package e2e

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// renditions are the streams of the channels on which the cost of seals is measured: two videos, whose frames an encoder
// sends one after the other, and audio, a fragment for each frame of 1,024 samples.
var renditions = []struct {
	name  string
	shape shape
	after time.Duration // the first one's fragment
	// added is what seals may add to the latency of half the fragments, beside two hops' signing and checking for the
	// first one: others wait for company.
	added time.Duration
}{
	{"first video", picture2M, 0, hops * 200 * time.Microsecond},
	{"second video", shape{fragments: fragments, mean: 2600, key: 12_000}, 300 * time.Microsecond, 6 * time.Millisecond},
	{"audio", shape{fragments: 94, mean: 430, key: 430}, 0, 45 * time.Millisecond},
}

const (
	hops          = 2 // from CAST to RELAY, from RELAY to BEACON
	segmentTime   = 2 * time.Second
	sealsMeasured = 8 // segments
)

// channelMPD announces the renditions as FFmpeg would.
func channelMPD(start time.Time) []byte {
	const template = `<SegmentTemplate timescale="1000000" duration="2000000" availabilityTimeOffset="1.960" availabilityTimeComplete="false" ` +
		`initialization="init-stream$RepresentationID$.m4s" media="chunk-stream$RepresentationID$-$Number%05d$.m4s" startNumber="1"/>`
	b := fmt.Appendf(nil, `<?xml version="1.0" encoding="utf-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="dynamic" minimumUpdatePeriod="PT500S" availabilityStartTime="%s" maxSegmentDuration="PT2.0S" minBufferTime="PT2.0S">
<Period id="0" start="PT0.0S"><AdaptationSet id="0" contentType="video" segmentAlignment="true">`, start.UTC().Format(time.RFC3339))
	b = fmt.Appendf(b, `<Representation id="0" mimeType="video/mp4" codecs="avc1.42c01e" bandwidth="2000000">%s</Representation>`, template)
	b = fmt.Appendf(b, `<Representation id="1" mimeType="video/mp4" codecs="avc1.42c01e" bandwidth="520000">%s</Representation>`, template)
	b = append(b, `</AdaptationSet><AdaptationSet id="1" contentType="audio" segmentAlignment="true">`...)
	b = fmt.Appendf(b, `<Representation id="2" mimeType="audio/mp4" codecs="mp4a.40.2" bandwidth="160000">%s</Representation>`, template)
	return append(b, `</AdaptationSet></Period></MPD>`...)
}

// played is one rendition of one tree.
type played struct {
	segments     []gop
	sent, beacon times
}

// BenchmarkSeals measures what seals add to the latency: sealed and unsigned trees, with two hops each, in turn within
// every frame's time.
func BenchmarkSeals(b *testing.B) {
	for b.Loop() {
		sealed, unsigned := measureSeals(b, sealsMeasured)
		work := signing(b)
		b.Logf("signing %v, checking %v", work[0], work[1])
		for i, r := range renditions {
			added := sealed[i].p50 - unsigned[i].p50
			limit := r.added
			if i == 0 {
				limit += work[0] + hops*work[1]
			}
			b.Logf("%-12s from the pusher's last octet to BEACON's HTTP, sealed    %v", r.name, sealed[i])
			b.Logf("%-12s                                                unsigned  %v; added at p50 %.2f ms, allowed %.2f ms",
				"", unsigned[i], ms(added), ms(limit))
			b.ReportMetric(ms(added), []string{"added-first-ms", "added-second-ms", "added-audio-ms"}[i])
			if !promisedQuiet() {
				limit += busyLimit // a fragment waits for a CPU on its way, and its seal, too
			}
			if added > limit {
				b.Errorf("%s: seals add %v, more than %v", r.name, added, limit)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
}

// signing is what it takes to sign a datagram of a common size, and to check one, with the digest of a mean fragment.
func signing(t testing.TB) (work [2]time.Duration) {
	const rounds = 101
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	datagram, octets := make([]byte, 300), make([]byte, meanFragment)
	var all [2][]time.Duration
	for range rounds {
		begun := time.Now()
		_ = sha256.Sum256(octets)
		signature := ed25519.Sign(private, datagram)
		signed := time.Now()
		_ = sha256.Sum256(octets)
		require.True(t, ed25519.Verify(public, datagram, signature))
		all[0], all[1] = append(all[0], signed.Sub(begun)), append(all[1], time.Since(signed))
	}
	for i := range all {
		slices.Sort(all[i])
		work[i] = all[i][rounds/2]
	}
	return work
}

// measureSeals returns the quantiles of each rendition.
func measureSeals(t testing.TB, segments int) (sealed, unsigned []quantiles) {
	ctx, cancel := context.WithTimeout(t.Context(), 28*time.Second)
	defer cancel()
	c := newClient(t)
	inits := record(1).inits
	var all [2][][]time.Duration
	for i := range all {
		all[i] = make([][]time.Duration, len(renditions))
	}
	var mu sync.Mutex // guards all
	var trees []*tree
	for i := range latencyTrees {
		x := newTree(t, treeOptions{unsigned: i%2 == 1})
		for name, body := range inits {
			x.put(t, name, body)
		}
		x.put(t, "manifest.mpd", channelMPD(time.Now()))
		waitFor(t, c, x.beaconURL(0, "manifest.mpd"))
		trees = append(trees, x)
	}
	var work sync.WaitGroup
	for i, x := range trees {
		begin := time.Now().Add(100*time.Millisecond + time.Duration(i)*frameTime/latencyTrees)
		for stream, r := range renditions {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(stream)))
			p := &played{}
			for n := range segments {
				p.segments = append(p.segments, r.shape.make(rng, n))
			}
			p.sent, p.beacon = newTimes(p.segments), newTimes(p.segments)
			work.Go(func() { p.push(t, x, stream, begin.Add(r.after), segmentTime/time.Duration(r.shape.fragments)) })
			work.Go(func() {
				url := func(name string) string { return x.beaconURL(0, name) }
				if err := p.beacon.follow(ctx, c, stream, p.segments, url); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				all[i%2][stream] = append(all[i%2][stream], p.sent.until(p.beacon)...)
			})
		}
	}
	work.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for stream := range renditions {
		sealed, unsigned = append(sealed, quantilesOf(all[0][stream])), append(unsigned, quantilesOf(all[1][stream]))
	}
	return sealed, unsigned
}

// push pushes the segments of a stream at their time.
func (p *played) push(t testing.TB, x *tree, stream int, begin time.Time, every time.Duration) {
	for n, s := range p.segments {
		u, at := x.upload(t, mediaName(stream, n+1)), 0
		for i, end := range s.ends {
			time.Sleep(time.Until(begin.Add(time.Duration(n)*segmentTime + time.Duration(i)*every)))
			p.sent[n][i] = time.Now()
			u.write(t, s.body[at:end])
			at = end
		}
		u.end(t)
	}
}
