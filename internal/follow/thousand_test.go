package follow

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/manifest"
)

// A sibling is one of the many children of a node.
type sibling struct {
	m       *Machine
	here    map[string]bool
	jobs    map[string]Action
	objects map[string]*Object // that grow
}

// family is a node's children, which all hear the same, in a time of their own.
type family struct {
	t        *testing.T
	now      time.Time
	index    manifest.Index // what all have heard
	all      []*sibling
	requests []request
}

type request struct {
	at   time.Time
	kind Kind
}

func newFamily(t *testing.T, n int) *family {
	f := &family{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	draw := rand.New(rand.NewPCG(1, 2))
	for range n {
		s := &sibling{here: map[string]bool{"init.mp4": true}, jobs: make(map[string]Action), objects: make(map[string]*Object)}
		s.m = New(f.now, Config{
			Index: &f.index, Has: func(name string) bool { return s.here[name] }, Rand: draw.Float64, Window: 6,
		})
		f.all = append(f.all, s)
	}
	return f
}

// each lets every child do something and notes what it asks for.
func (f *family) each(do func(*sibling)) {
	for _, s := range f.all {
		do(s)
		for {
			a, ok := s.m.Poll()
			if !ok {
				break
			}
			if a.Kind == Cancel {
				if j, ok := s.jobs[a.Name]; ok {
					delete(s.jobs, a.Name)
					s.m.Result(f.now, j.Job, Failed)
				}
				continue
			}
			s.jobs[a.Name] = a
			f.requests = append(f.requests, request{f.now, a.Kind})
		}
	}
}

// pass lets time pass, in steps as the machine's driver has them.
func (f *family) pass(d time.Duration, tick func(*sibling)) {
	for end := f.now.Add(d); f.now.Before(end); {
		f.now = f.now.Add(40 * time.Millisecond)
		f.each(func(s *sibling) {
			tick(s)
			s.m.HandleTimeout(f.now)
		})
	}
}

// segment is one segment, which comes to all in the same way, and the playlist that lists it.
func (f *family) segment(n int, parent bool) {
	name := v(n)
	f.index.Observe(name, 0)
	f.each(func(s *sibling) {
		s.here[name] = true
		s.objects[name] = s.m.Begun(f.now, Meta{Name: name, Media: true, Parent: parent})
	})
	f.pass(2*time.Second, func(s *sibling) {
		if !parent {
			s.m.Packets(f.now)
		}
		for _, o := range s.objects {
			s.m.Grown(f.now, o)
		}
	})
	body := fmt.Sprintf("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:%d\n#EXT-X-MAP:URI=\"init.mp4\"\n", max(1, n-5))
	for k := max(1, n-5); k <= n; k++ {
		body += "#EXTINF:2,\n" + v(k) + "\n"
	}
	require.NoError(f.t, f.index.Update("v.m3u8", []byte(body)))
	f.each(func(s *sibling) {
		for _, o := range s.objects {
			s.m.Ended(f.now, o, true)
		}
		clear(s.objects)
		s.m.Manifest(f.now, "v.m3u8")
		for _, job := range []string{name, "v.m3u8"} {
			if a, ok := s.jobs[job]; ok {
				delete(s.jobs, job)
				s.m.Result(f.now, a.Job, Done)
			}
		}
	})
}

// take returns how many requests were made, and how many of them within a tenth of a second at most.
func (f *family) take() (n, most int) {
	slices.SortFunc(f.requests, func(a, b request) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	first := 0
	for i, r := range f.requests {
		for r.at.Sub(f.requests[first].at) >= 100*time.Millisecond {
			first++
		}
		most = max(most, i-first+1)
	}
	n = len(f.requests)
	f.requests = nil
	return n, most
}

// The multicast of a node falls silent for its thousand children. They do not ask in step, and each asks once for each
// object and each manifest. When it is back they ask for nothing.
func TestThousandChildren(t *testing.T) {
	const children = 1000
	f := newFamily(t, children)
	for n := 1; n <= 8; n++ {
		f.segment(n, false)
	}
	n, _ := f.take()
	require.Zero(t, n, "nothing is asked for while multicast brings all")

	f.index.Observe(v(9), 0)
	f.each(func(s *sibling) {
		s.here[v(9)] = true
		s.objects[v(9)] = s.m.Begun(f.now, Meta{Name: v(9), Media: true})
	})
	f.pass(time.Second, func(*sibling) {})
	n, most := f.take()
	t.Logf("silence: %d requests, at most %d in 0.1 s", n, most)
	require.Equal(t, 2*children, n, "the rest of the segment, and the playlist")
	require.Less(t, most, 2*children*9/10)
	f.each(func(s *sibling) {
		s.m.Ended(f.now, s.objects[v(9)], true)
		clear(s.objects)
		a := s.jobs[v(9)]
		delete(s.jobs, v(9))
		s.m.Result(f.now, a.Job, Done)
	})

	const segments = 5
	for k := range segments {
		f.segment(10+k, true)
	}
	n, _ = f.take()
	t.Logf("%d segments by the parent: %.2f requests a child and segment", segments, float64(n)/children/segments)
	require.LessOrEqual(t, n, 2*children*(segments+1))

	f.pass(40*time.Millisecond, func(s *sibling) { s.m.Packets(f.now) })
	for k := range 4 {
		f.segment(10+segments+k, false)
	}
	n, _ = f.take()
	t.Logf("back: %d requests", n)
	require.LessOrEqual(t, n, children/10)
	for _, s := range f.all {
		require.Equal(t, Multicast, s.m.State().Source)
	}
}
