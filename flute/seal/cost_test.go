package seal

import (
	"bufio"
	"bytes"
	"embed"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

//go:embed testdata/*.txt
var clips embed.FS

// clip is the sizes of chunks, by stream and segment.
func loadClip(t testing.TB, name string) (streams [3][][]int) {
	b, err := clips.ReadFile("testdata/" + name)
	require.NoError(t, err)
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		var n []int
		for _, f := range strings.Fields(sc.Text()) {
			v, err := strconv.Atoi(f)
			require.NoError(t, err)
			n = append(n, v)
		}
		streams[n[0]] = append(streams[n[0]], n[1:])
	}
	return streams
}

// push is something that an encoder does.
type push struct {
	at     time.Duration
	object Outgoing
	octets int
	end    bool
	leads  int // rendition of a leading chunk, from 1
}

// pushes is what an encoder sends of a clip that is played over and over: each
// object's chunks as they are made, manifests at each segment's end.
func pushes(streams [3][][]int, scale float64, d time.Duration, manifests bool) (all []push) {
	jitter := rand.New(rand.NewPCG(5, 5))
	for i, segs := range streams {
		if len(segs) == 0 {
			continue
		}
		loop := time.Duration(len(segs)) * 2 * time.Second
		for start, run := time.Duration(0), 0; start < d; start, run = start+loop, run+1 {
			for n, sizes := range segs {
				name := fmt.Sprintf("chunk-stream%d-%05d.m4s", i, run*len(segs)+n+1)
				at := start + time.Duration(n)*2*time.Second
				for k, size := range sizes {
					chunk := push{object: Outgoing{Name: name, Generation: 7, Follows: i == 2}, octets: int(float64(size) * scale)}
					chunk.at = at + 2*time.Second*time.Duration(k+1)/time.Duration(len(sizes))
					// Renditions come one after the other on connections of their own.
					chunk.at += time.Duration(i)*300*time.Microsecond + time.Duration(jitter.IntN(250))*time.Microsecond
					if i < 2 {
						chunk.leads = i + 1
					}
					all = append(all, chunk)
					if k == len(sizes)-1 {
						all = append(all, push{at: chunk.at + 200*time.Microsecond, object: chunk.object, end: true})
					}
				}
			}
		}
	}
	if manifests {
		for at := 2 * time.Second; at < d; at += 2 * time.Second {
			for k, name := range []string{"media_0.m3u8", "media_1.m3u8", "media_2.m3u8", "master.m3u8", "manifest.mpd"} {
				o := Outgoing{Name: name, Generation: uint64(at), Current: true}
				all = append(all, push{at: at + time.Duration(3+k)*time.Millisecond, object: o, octets: 900, end: true})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b push) int { return int(a.at - b.at) })
	return all
}

// bill is what sealing cost, and how long records waited.
type bill struct {
	media, seals, datagrams int
	d                       time.Duration
	waits                   [3][]time.Duration // following, first, second rendition
}

func (o *bill) share() float64 { return float64(o.seals) / float64(o.media) }

func (o *bill) wait(i int, q float64) time.Duration {
	w := slices.Clone(o.waits[i])
	sort.Slice(w, func(i, j int) bool { return w[i] < w[j] })
	return w[min(len(w)-1, int(q*float64(len(w))))]
}

func (o *bill) String() string {
	s := o.d.Seconds()
	return fmt.Sprintf("%.0f kbit/s: %.0f octets/s of seals in %.1f datagrams/s = %.2f%% (%.2f%% with IP and UDP); waits p50: first %v, second %v, audio %v; max %v %v %v",
		float64(o.media)*8/s/1000, float64(o.seals)/s, float64(o.datagrams)/s, 100*o.share(),
		100*float64(o.seals+28*o.datagrams)/float64(o.media),
		o.wait(1, .5), o.wait(2, .5), o.wait(0, .5), o.wait(1, 1), o.wait(2, 1), o.wait(0, 1))
}

// cost lets a Signer seal what an encoder pushes.
func cost(t testing.TB, all []push, d time.Duration) *bill {
	s, err := NewSigner(SignerConfig{Service: "demo", Key: testKey(1)})
	require.NoError(t, err)
	out := &bill{d: d}
	objects := map[string]*Sealing{}
	type waiting struct {
		x     *Sealing
		end   int64
		at    time.Time
		class int
	}
	var queue []waiting
	body := make([]byte, 1<<20)
	poll := func(now time.Time) {
		for {
			seal, ok := s.Poll(now)
			if !ok {
				return
			}
			out.seals += len(seal.Bytes())
			out.datagrams++
			for _, x := range s.Sealed() {
				queue = slices.DeleteFunc(queue, func(w waiting) bool {
					if w.x == x && uint64(w.end) <= x.record.End {
						out.waits[w.class] = append(out.waits[w.class], now.Sub(w.at))
						return true
					}
					return false
				})
			}
		}
	}
	for _, p := range all {
		if p.at > d {
			break
		}
		now := start.Add(p.at)
		for next := s.NextTimeout(); !next.IsZero() && !next.After(now); next = s.NextTimeout() {
			poll(next)
		}
		key := fmt.Sprint(p.object.Name, p.object.Generation)
		x := objects[key]
		if x == nil {
			x, err = s.Begin(now, p.object)
			require.NoError(t, err)
			objects[key] = x
		}
		x.Append(body[:p.octets])
		out.media += p.octets
		if p.end {
			require.NoError(t, x.End(now))
		} else {
			require.NoError(t, x.Cut(now))
			queue = append(queue, waiting{x, x.Len(), now, p.leads})
		}
		poll(now)
	}
	return out
}

// prompt is the part of the first rendition's records that did not wait.
func (o *bill) prompt() float64 {
	n := 0
	for _, w := range o.waits[1] {
		if w == 0 {
			n++
		}
	}
	return float64(n) / float64(len(o.waits[1]))
}

func TestCost(t *testing.T) {
	const d = 60 * time.Second
	for _, c := range []struct {
		name      string
		file      string
		scale     float64
		manifests bool
		limit     float64
	}{
		{"the demo's clip", "clip-8s.txt", 1, false, 0.08},
		{"the demo's clip with manifests", "clip-8s.txt", 1, true, 0.08},
		{"the clip of 12 s", "clip-12s.txt", 1, false, 0.08},
		{"the clip of 12 s with manifests", "clip-12s.txt", 1, true, 0.08},
		{"5 Mbit/s", "clip-12s.txt", 5e6 / 845e3, false, 0.02},
		{"5 Mbit/s with manifests", "clip-12s.txt", 5e6 / 845e3, true, 0.02},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := cost(t, pushes(loadClip(t, c.file), c.scale, d, c.manifests), d)
			t.Logf("%v; first at once %.0f%%", out, 100*out.prompt())
			require.LessOrEqual(t, out.share(), c.limit)
			require.Zero(t, out.wait(1, .5))
			require.LessOrEqual(t, out.wait(2, .5), 6*time.Millisecond)
			require.LessOrEqual(t, out.wait(0, .5), 45*time.Millisecond)
		})
	}
}
