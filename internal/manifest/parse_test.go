package manifest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return b
}

func TestParsePlaylist(t *testing.T) {
	p, err := ParsePlaylist(read(t, "ffmpeg-media_0.m3u8"), Limits{})
	require.NoError(t, err)
	require.False(t, p.Master)
	require.Equal(t, 2*time.Second, p.TargetDuration)
	require.EqualValues(t, 1, p.MediaSequence)
	require.Len(t, p.Segments, 3)
	require.Equal(t, Segment{URI: "chunk-stream0-00003.m4s", Map: "init-stream0.m4s", Duration: 2 * time.Second}, p.Segments[2])

	p, err = ParsePlaylist(read(t, "ffmpeg-master.m3u8"), Limits{})
	require.NoError(t, err)
	require.True(t, p.Master)
	require.Equal(t, []Child{{"media_1.m3u8", Audio}, {"media_0.m3u8", Video}}, p.Children)

	p, err = ParsePlaylist(read(t, "ll-hls.m3u8"), Limits{})
	require.NoError(t, err)
	require.Equal(t, 333340*time.Microsecond, p.PartTarget)
	require.Equal(t, []string{"filePart268.0.mp4", "filePart268.1.mp4"}, p.Segments[2].Parts)
	require.Equal(t, []string{"filePart269.0.mp4"}, p.Parts)
	require.Equal(t, []string{"filePart269.1.mp4"}, p.Hints)
	require.Equal(t, []string{"../1M/waitForMSN.php"}, p.RenditionReport)

	p, err = ParsePlaylist([]byte("\ufeff#EXTM3U\r\n#EXTINF:x,\r\n a.ts \r\n#EXT-X-ENDLIST"), Limits{})
	require.NoError(t, err)
	require.Equal(t, []Segment{{URI: "a.ts"}}, p.Segments)
	require.True(t, p.EndList)
}

func TestParsePlaylistRefuses(t *testing.T) {
	for name, body := range map[string]string{"empty": "", "other": "#EXTINF:1,\na.ts", "binary": "\x00\x01"} {
		_, err := ParsePlaylist([]byte(body), Limits{})
		require.ErrorIs(t, err, ErrFormat, name)
	}
	for name, body := range map[string]string{
		"size":   "#EXTM3U\n" + strings.Repeat("#", 2<<20),
		"lines":  "#EXTM3U\n" + strings.Repeat("\n", 40000),
		"tracks": "#EXTM3U\n" + strings.Repeat("#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n", 300),
	} {
		_, err := ParsePlaylist([]byte(body), Limits{})
		require.ErrorIs(t, err, ErrTooLarge, name)
	}
}

func TestAttribute(t *testing.T) {
	list := `TYPE=AUDIO,NAME="a, b=c",URI="x,y.m3u8",LAST=1`
	require.Equal(t, "AUDIO", attribute(list, "TYPE"))
	require.Equal(t, "a, b=c", attribute(list, "NAME"))
	require.Equal(t, "x,y.m3u8", attribute(list, "URI"))
	require.Equal(t, "1", attribute(list, "LAST"))
	require.Equal(t, "", attribute(list, "NONE"))
	require.Equal(t, "", attribute(`URI="open`, "URI"))
}

func TestParseMPD(t *testing.T) {
	m, err := ParseMPD(read(t, "ffmpeg-ldash.mpd"), Limits{})
	require.NoError(t, err)
	require.False(t, m.Static)
	require.Equal(t, "2026-11-21T10:31:31.357Z", m.AvailabilityStart.Format(time.RFC3339Nano))
	require.Equal(t, 6*time.Second, m.TimeShiftBuffer)
	require.Equal(t, 500*time.Second, m.MinimumUpdate)
	require.Len(t, m.Representations, 2)
	r := m.Representations[0]
	require.Equal(t, Video, r.Kind)
	require.Equal(t, "init-stream0.m4s", r.Initialization)
	require.Equal(t, "chunk-stream0-00007.m4s", r.Media.Expand(7, 0))
	require.Equal(t, 1960*time.Millisecond, r.AvailabilityOffset)
	require.Equal(t, 2*time.Second, r.longest())
	require.Equal(t, Audio, m.Representations[1].Kind)

	m, err = ParseMPD(read(t, "ffmpeg-ldash-end.mpd"), Limits{})
	require.NoError(t, err)
	require.True(t, m.Static)
	require.EqualValues(t, -1, m.MinimumUpdate)

	m, err = ParseMPD(read(t, "ffmpeg-timeline.mpd"), Limits{})
	require.NoError(t, err)
	r = m.Representations[1]
	require.Equal(t, []Run{{95232, 48128, 2}}, r.Timeline)
	require.EqualValues(t, 3, r.StartNumber)
	require.True(t, r.Media.Timed())
	require.Equal(t, "v1/seg-95232.m4s", r.Media.Expand(3, 95232))
}

// The same presentation with attributes on every level, list, BaseURLs and the
// odd corners of the grammar.
const nestedMPD = `<?xml version="1.0"?><!DOCTYPE MPD>
<MPD type="dynamic" availabilityStartTime="2026-01-01T00:00:00" xmlns="urn:mpeg:dash:schema:mpd:2011">
 <BaseURL>http://cdn.example/x/</BaseURL><BaseURL>live/</BaseURL>
 <Period duration="PT1H0.5S"><BaseURL>p0/</BaseURL>
  <SegmentTemplate timescale="10" duration="20" startNumber="5" initialization="$RepresentationID$/$Bandwidth%08d$$$.mp4"/>
  <AdaptationSet mimeType="video/mp4"><SegmentTemplate media="$RepresentationID$/$Number%03d$.m4s"/>
   <Representation id="a" bandwidth="100"/>
   <Representation id="b" bandwidth="200"><SegmentTemplate startNumber="9" endNumber="12"/></Representation>
   <Representation id="bad"><SegmentTemplate media="$What$"/></Representation>
  </AdaptationSet>
 </Period>
 <Period><AdaptationSet contentType="text"><Representation id="t"><BaseURL>subs.vtt</BaseURL></Representation></AdaptationSet>
  <AdaptationSet codecs="mp4a.40.2"><Representation id="l"><SegmentList duration="2"><Initialization sourceURL="i.mp4"/><SegmentURL media="s1.m4s"/><SegmentURL media="s2.m4s"/></SegmentList></Representation></AdaptationSet>
 </Period>
</MPD>`

func TestParseMPDInheritance(t *testing.T) {
	m, err := ParseMPD([]byte(nestedMPD), Limits{})
	require.NoError(t, err)
	require.Len(t, m.Representations, 4, "the unreadable one is passed over")
	require.Equal(t, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), m.AvailabilityStart)
	a, b, text, list := m.Representations[0], m.Representations[1], m.Representations[2], m.Representations[3]
	require.Equal(t, "a/00000100$.mp4", a.Initialization)
	require.Equal(t, []string{"live/", "p0/"}, a.BaseURLs)
	require.EqualValues(t, 5, a.StartNumber)
	require.EqualValues(t, 10, b.Timescale)
	require.EqualValues(t, 12, b.EndNumber)
	require.Equal(t, time.Hour+500*time.Millisecond, text.PeriodStart)
	require.Equal(t, Text, text.Kind)
	require.Equal(t, Audio, list.Kind)
	require.Equal(t, []string{"s1.m4s", "s2.m4s"}, list.List)

	var x Index
	require.NoError(t, x.Update("m/a.mpd", []byte(nestedMPD)))
	for _, name := range []string{"m/live/p0/a/005.m4s", "m/live/p0/a/00000100$.mp4", "m/live/p0/b/012.m4s", "m/live/subs.vtt", "m/live/s2.m4s", "m/live/i.mp4"} {
		require.True(t, x.Expects(name), name)
	}
	for _, name := range []string{"m/live/p0/a/004.m4s", "m/live/p0/b/013.m4s", "m/live/p0/a/5.m4s", "live/s2.m4s"} {
		require.False(t, x.Expects(name), name)
	}
}

func TestParseMPDRefuses(t *testing.T) {
	deep := "<MPD>" + strings.Repeat("<x>", 40) + strings.Repeat("</x>", 40) + "</MPD>"
	many := "<MPD>" + strings.Repeat("<x/>", 40000) + "</MPD>"
	wide := "<MPD><Period><AdaptationSet>" + strings.Repeat("<Representation/>", 300) + "</AdaptationSet></Period></MPD>"
	for name, body := range map[string]string{"deep": deep, "many": many, "wide": wide, "long": strings.Repeat(" ", 2<<20)} {
		_, err := ParseMPD([]byte(body), Limits{})
		require.ErrorIs(t, err, ErrTooLarge, name)
	}
	for name, body := range map[string]string{"empty": "", "root": "<a/>", "torn": "<MPD><Period>", "entity": "<MPD>&lol;</MPD>"} {
		_, err := ParseMPD([]byte(body), Limits{})
		require.ErrorIs(t, err, ErrFormat, name)
	}
	// A repeat count is never expanded.
	huge := fmt.Sprintf(`<MPD type="dynamic"><Period><AdaptationSet><Representation id="a"><SegmentTemplate media="$Time$"><SegmentTimeline><S t="0" d="1" r="%d"/><S d="18446744073709551615" r="9223372036854775807"/></SegmentTimeline></SegmentTemplate></Representation></AdaptationSet></Period></MPD>`, int64(1)<<62)
	var x Index
	require.NoError(t, x.Update("m.mpd", []byte(huge)))
	require.True(t, x.Expects("4611686018427387904"))
}

func TestISODuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"PT2.0S": 2 * time.Second, "PT500S": 500 * time.Second, "P1DT1H1M1.5S": 25*time.Hour + time.Minute + 1500*time.Millisecond,
		"P0Y0M0DT3S": 3 * time.Second, "P1Y": 0, "": 0, "PT": 0, "P1M": 0, "PT-1S": 0, "PT1": 0, "PT9999999999999S": 0,
	} {
		require.Equal(t, want, isoDuration(s), s)
	}
}
