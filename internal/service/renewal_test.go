package service

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func listOf(first, last int) []byte {
	b := fmt.Appendf(nil, "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:%d\n#EXT-X-MAP:URI=\"init.mp4\"\n", first)
	for n := first; n <= last; n++ {
		b = fmt.Appendf(b, "#EXTINF:2,\nv-%d.m4s\n", n)
	}
	return b
}

func mpdOf(start time.Time) []byte {
	return fmt.Appendf(nil, `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic" availabilityStartTime="%s" maxSegmentDuration="PT2S">
<Period id="0" start="PT0S"><AdaptationSet contentType="video"><Representation id="0" mimeType="video/mp4" bandwidth="1">
<SegmentTemplate timescale="1" duration="2" initialization="init.mp4" media="v-$Number$.m4s" startNumber="1"/>
</Representation></AdaptationSet></Period></MPD>`, start.UTC().Format(time.RFC3339))
}

// oldRun fills a service with five segments of a run, its manifest, of generation 150, and an init segment.
func oldRun(t *testing.T, s *Service, manifest string, body []byte) {
	t.Helper()
	put(t, s, Meta{Name: "init.mp4", Generation: 99, Kind: Init}, "init")
	for n := uint32(1); n <= 5; n++ {
		put(t, s, ofRun(100, n), "old")
	}
	put(t, s, ofRun(100, 9), "old")
	require.NoError(t, s.PutManifest(Meta{Name: manifest, Generation: 150, Kind: Manifest}, body))
}

// The manifest of a new run is here, and no object of it yet: what it announces is waited for, although objects of these
// names are here. What it does not announce stays for those who are behind.
func TestManifestComesBeforeItsSegments(t *testing.T) {
	for name, c := range map[string]struct {
		manifest string
		old, now func() []byte
	}{
		"HLS":  {"v.m3u8", func() []byte { return listOf(3, 5) }, func() []byte { return listOf(1, 1) }},
		"DASH": {"v.mpd", func() []byte { return mpdOf(time.Now().Add(-time.Minute)) }, func() []byte { return mpdOf(time.Now()) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newRuns(t)
				oldRun(t, s, c.manifest, c.old())
				for _, name := range []string{"v-1.m4s", "v-2.m4s"} {
					require.True(t, s.Has(name))
				}
				require.NoError(t, s.PutManifest(Meta{Name: c.manifest, Generation: 250, Kind: Manifest}, c.now()))
				begun := time.Now()
				for _, name := range []string{"v-1.m4s", "v-2.m4s"} {
					require.False(t, s.Has(name), "it is asked for at the parents")
				}
				for name, want := range map[string]string{"v-9.m4s": "old", "init.mp4": "init"} {
					body, err := read(t, s, name)
					require.NoError(t, err, name)
					require.Equal(t, want, body)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := s.Open(ctx, "v-1.m4s")
				require.ErrorIs(t, err, context.DeadlineExceeded)
				time.AfterFunc(500*time.Millisecond, func() { put(t, s, ofRun(200, 1), "new") })
				body, err := read(t, s, "v-1.m4s")
				require.NoError(t, err)
				require.Equal(t, "new", body)
				require.Equal(t, 1500*time.Millisecond, time.Since(begun), "at once when it is here")
				require.False(t, s.Has("v-2.m4s"), "the run has removed it")
				require.True(t, s.Has("v-5.m4s"))
			})
		})
	}
}

// A segment of the new run may be here before the manifest that announces it.
func TestSegmentComesBeforeItsManifest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRuns(t)
		oldRun(t, s, "v.m3u8", listOf(3, 5))
		put(t, s, ofRun(200, 1), "new")
		require.NoError(t, s.PutManifest(Meta{Name: "v.m3u8", Generation: 250, Kind: Manifest}, listOf(1, 1)))
		begun := time.Now()
		for name, want := range map[string]string{"v-1.m4s": "new", "v-5.m4s": "old"} {
			body, err := read(t, s, name)
			require.NoError(t, err)
			require.Equal(t, want, body)
		}
		require.Zero(t, time.Since(begun), "nobody waits")
	})
}

// An encoder that begins another presentation and goes on with its numbers is no new run: it costs its readers some
// seconds, once.
func TestNumbersThatGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRuns(t)
		oldRun(t, s, "v.mpd", mpdOf(time.Now().Add(-time.Minute)))
		require.NoError(t, s.PutManifest(Meta{Name: "v.mpd", Generation: 250, Kind: Manifest}, mpdOf(time.Now())))
		begun := time.Now()
		body, err := read(t, s, "v-2.m4s")
		require.NoError(t, err)
		require.Equal(t, "old", body)
		require.Equal(t, 4*time.Second, time.Since(begun))
		_, err = read(t, s, "v-1.m4s")
		require.NoError(t, err)
		require.Equal(t, 4*time.Second, time.Since(begun))
	})
}

// A manifest of the same presentation delays nobody, and nor does any where generations are not those of runs.
func TestManifestsOfOnePresentation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		s := newRuns(t)
		oldRun(t, s, "v.m3u8", listOf(1, 4))
		require.NoError(t, s.PutManifest(Meta{Name: "v.m3u8", Generation: 250, Kind: Manifest}, listOf(3, 5)))
		x := newService(t, nil)
		oldRun(t, x, "v.m3u8", listOf(3, 5))
		require.NoError(t, x.PutManifest(Meta{Name: "v.m3u8", Generation: 250, Kind: Manifest}, listOf(1, 1)))
		for _, s := range []*Service{s, x} {
			body, err := read(t, s, "v-1.m4s")
			require.NoError(t, err)
			require.Equal(t, "old", body)
		}
		require.Zero(t, time.Since(begun))
	})
}
