package manifest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const sequencePlaylist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"init-v.mp4\"\n#EXT-X-MEDIA-SEQUENCE:7\n" +
	"#EXTINF:2,\nv-00007.m4s\n#EXTINF:2,\nv-00008.m4s\n#EXTINF:2,\nv-00009.m4s\n"

func sequenceMPD(segments string) []byte {
	return []byte(`<MPD type="dynamic" availabilityStartTime="2026-01-01T00:00:00Z" timeShiftBufferDepth="PT6S"><Period start="PT0S">` +
		`<AdaptationSet contentType="video"><Representation id="v">` + segments + `</Representation></AdaptationSet></Period></MPD>`)
}

const numbered = `<SegmentTemplate timescale="1" duration="2" startNumber="1" initialization="init-v.mp4" media="v-$Number%05d$.m4s"/>`

func at(s int) time.Time { return time.Date(2026, 1, 1, 0, 0, s, 0, time.UTC) }

func TestSequences(t *testing.T) {
	for _, c := range []struct {
		name    string
		bodies  map[string]string
		observe []string
		now     int
		n       int
		names   []string
		next    string
	}{
		{
			name: "a playlist", bodies: map[string]string{"v.m3u8": sequencePlaylist}, n: 8,
			names: []string{"v-00007.m4s", "v-00008.m4s", "v-00009.m4s"}, next: "v-00010.m4s",
		},
		{
			name: "its last ones", bodies: map[string]string{"v.m3u8": sequencePlaylist}, n: 2,
			names: []string{"v-00008.m4s", "v-00009.m4s"}, next: "v-00010.m4s",
		},
		{
			name: "an ended playlist", bodies: map[string]string{"v.m3u8": sequencePlaylist + "#EXT-X-ENDLIST\n"}, n: 2,
			names: []string{"v-00008.m4s", "v-00009.m4s"},
		},
		{
			name: "what came is ahead of the playlist", bodies: map[string]string{"v.m3u8": sequencePlaylist}, n: 2,
			observe: []string{"v-00010.m4s"}, names: []string{"v-00009.m4s", "v-00010.m4s"}, next: "v-00011.m4s",
		},
		{
			name: "a template and a clock", bodies: map[string]string{"m.mpd": string(sequenceMPD(numbered))}, now: 21, n: 8,
			names: []string{"v-00007.m4s", "v-00008.m4s", "v-00009.m4s", "v-00010.m4s"}, next: "v-00011.m4s",
		},
		{
			name: "a template and what came", bodies: map[string]string{"m.mpd": string(sequenceMPD(numbered))}, now: 2100, n: 3,
			observe: []string{"v-00012.m4s"}, names: []string{"v-00010.m4s", "v-00011.m4s", "v-00012.m4s"}, next: "v-00013.m4s",
		},
		{
			name: "a playlist knows better than a clock", n: 2, now: 5000,
			bodies: map[string]string{"m.mpd": string(sequenceMPD(numbered)), "v.m3u8": sequencePlaylist},
			names:  []string{"v-00008.m4s", "v-00009.m4s"}, next: "v-00010.m4s",
		},
		{
			name: "a timeline of times", n: 2, now: 21,
			bodies: map[string]string{"m.mpd": string(sequenceMPD(`<SegmentTemplate timescale="1" media="v-$Time$.m4s"><SegmentTimeline><S t="10" d="2" r="4"/></SegmentTimeline></SegmentTemplate>`))},
			names:  []string{"v-16.m4s", "v-18.m4s"}, next: "v-20.m4s",
		},
		{
			name: "a timeline of numbers", n: 2, now: 21,
			bodies: map[string]string{"m.mpd": string(sequenceMPD(`<SegmentTemplate timescale="1" startNumber="4" media="v-$Number$.m4s"><SegmentTimeline><S t="10" d="2" r="4"/></SegmentTimeline></SegmentTemplate>`))},
			names:  []string{"v-7.m4s", "v-8.m4s"}, next: "v-9.m4s",
		},
		{
			name: "names without a number", n: 2, bodies: map[string]string{"v.m3u8": "#EXTM3U\n#EXTINF:2,\na.m4s\n#EXTINF:2,\nb.m4s\n#EXTINF:2,\nc.m4s\n"},
			names: []string{"b.m4s", "c.m4s"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var x Index
			for name, body := range c.bodies {
				require.NoError(t, x.Update(name, []byte(body)))
			}
			for _, name := range c.observe {
				x.Observe(name, 0)
			}
			all := x.Sequences(at(c.now), c.n)
			require.Len(t, all, 1)
			require.Equal(t, c.names, all[0].Names)
			require.Equal(t, c.next, all[0].Next)
			for _, name := range append([]string{c.next}, c.names...) {
				require.True(t, name == "" || x.Expects(name), name)
			}
		})
	}
}

func TestSequenceTakesTheBestOfEachManifest(t *testing.T) {
	var x Index
	require.NoError(t, x.Update("m.mpd", sequenceMPD(numbered)))
	require.NoError(t, x.Update("v.m3u8", []byte(sequencePlaylist)))
	all := x.Sequences(at(0), 2)
	require.Len(t, all, 1)
	require.Equal(t, Video, all[0].Kind)
	require.Equal(t, "init-v.mp4", all[0].Init)
}

// What manifests of the run before list is not taken for what the new run has.
func TestSequencesOfANewRun(t *testing.T) {
	playlist := func(first, last int) string {
		b := fmt.Sprintf("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:%d\n", first)
		for n := first; n <= last; n++ {
			b += fmt.Sprintf("#EXTINF:2,\nv-%d.m4s\n", n)
		}
		return b
	}
	var x Index
	require.NoError(t, x.Update("v.m3u8", []byte(playlist(3, 6))))
	x.Observe("v-7.m4s", 100)
	require.True(t, x.Past("v-5.m4s"))

	x.Observe("v-1.m4s", 200)
	all := x.Sequences(time.Time{}, 9)
	require.Equal(t, []string{"v-1.m4s"}, all[0].Names)
	require.Equal(t, "v-2.m4s", all[0].Next)
	require.False(t, x.Past("v-5.m4s"), "it is yet to come")
	x.Observe("v-8.m4s", 100)
	require.Equal(t, "v-2.m4s", x.Sequences(time.Time{}, 9)[0].Next, "the old run does not go on")

	require.NoError(t, x.Update("v.m3u8", []byte(playlist(1, 1))))
	x.Observe("v-2.m4s", 200)
	require.Equal(t, []string{"v-1.m4s", "v-2.m4s"}, x.Sequences(time.Time{}, 9)[0].Names)

	// A manifest may tell it first; others are behind.
	require.NoError(t, x.Update("w.m3u8", []byte(playlist(2, 3))))
	require.NoError(t, x.Update("v.m3u8", []byte(playlist(3, 6))))
	require.NoError(t, x.Update("v.m3u8", []byte(playlist(1, 1))))
	x.Observe("v-2.m4s", 300)
	require.Equal(t, []string{"v-1.m4s", "v-2.m4s"}, x.Sequences(time.Time{}, 9)[0].Names)
}
