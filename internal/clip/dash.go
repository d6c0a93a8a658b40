package clip

import (
	"encoding/xml"
	"fmt"
	"strings"
	"time"

	"github.com/treedn/treedn/internal/cmaf"
)

// The latency that the MPD asks players to keep. Chunks would allow less; a
// tree with repair at every hop needs some of it.
const (
	targetLatency = 4 * time.Second
	minLatency    = 2 * time.Second
	maxLatency    = 10 * time.Second

	// transitTime is what the way to the player's server may take before a
	// request comes too early. At the target latency nobody waits for it.
	transitTime = 250 * time.Millisecond
)

// appendMPD appends the MPD (ISO/IEC 23009-1). Media time 0 is the start of the
// only period, which is availabilityStartTime, and segment 1 starts there.
func (s *Source) appendMPD(b []byte, now time.Time) []byte {
	b = fmt.Appendf(b, `<?xml version="1.0" encoding="utf-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="dynamic" availabilityStartTime="%s" publishTime="%s" minimumUpdatePeriod="%s" maxSegmentDuration="%s" minBufferTime="%s"`,
		s.start.Format(dateTime), now.UTC().Format(dateTime), iso(segmentDuration),
		iso(s.longestSegment()), iso(segmentDuration))
	b = s.appendDelays(b)
	b = fmt.Appendf(b, `>
	<ServiceDescription id="0">
		<Latency target="%d" min="%d" max="%d"/>
		<PlaybackRate min="0.96" max="1.04"/>
	</ServiceDescription>
	<Period id="0" start="PT0S">
`,
		targetLatency.Milliseconds(), minLatency.Milliseconds(), maxLatency.Milliseconds())
	for set, kind := range []cmaf.TrackKind{cmaf.Video, cmaf.Audio} {
		b = fmt.Appendf(b, "\t\t<AdaptationSet id=\"%d\" contentType=\"%s\" mimeType=\"%[2]s/mp4\" startWithSAP=\"1\" segmentAlignment=\"true\">\n", set, kind)
		for i := range s.tracks {
			if t := &s.tracks[i]; t.Kind == kind {
				b = t.appendRepresentation(b)
			}
		}
		b = append(b, "\t\t</AdaptationSet>\n"...)
	}
	b = append(b, "\t</Period>\n"...)
	if s.cfg.UTCTiming != "" {
		var url strings.Builder
		_ = xml.EscapeText(&url, []byte(s.cfg.UTCTiming)) // a Builder does not fail
		b = fmt.Appendf(b, "\t<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"%s\"/>\n", url.String())
	}
	return append(b, "</MPD>\n"...)
}

func (t *liveTrack) appendRepresentation(b []byte) []byte {
	b = fmt.Appendf(b, "\t\t\t<Representation id=\"%d\" codecs=\"%s\" bandwidth=\"%d\"", t.stream, t.Codec, t.average)
	if t.Kind == cmaf.Video {
		b = fmt.Appendf(b, " width=\"%d\" height=\"%d\" frameRate=\"%g\" sar=\"1:1\">\n", t.Width, t.Height, t.frameRate())
	} else {
		b = fmt.Appendf(b, " audioSamplingRate=\"%d\">\n\t\t\t\t<AudioChannelConfiguration schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" value=\"%d\"/>\n",
			t.SampleRate, t.Channels)
	}
	// A segment may be asked for once its first chunk is at the server.
	offset := segmentDuration - t.duration(t.longest) - transitTime
	return fmt.Appendf(b, "\t\t\t\t<SegmentTemplate timescale=\"%d\" duration=\"%d\" startNumber=\"1\" availabilityTimeOffset=\"%.3f\" availabilityTimeComplete=\"false\" initialization=\"init-stream$RepresentationID$.m4s\" media=\"chunk-stream$RepresentationID$-$Number%%05d$.m4s\"/>\n\t\t\t</Representation>\n",
		t.Timescale, uint64(t.Timescale)*uint64(segmentDuration/time.Second), offset.Seconds())
}

func (s *Source) longestSegment() (d time.Duration) {
	for i := range s.tracks {
		for j := range s.tracks[i].segments {
			seg := &s.tracks[i].segments[j]
			d = max(d, s.tracks[i].duration(seg.end-seg.start))
		}
	}
	return d
}

// leastDepth is the least timeShiftBufferDepth that is announced: FFmpeg's
// demuxer fetches one segment again and again if the suggested delay takes it
// behind the end of the window.
const leastDepth = targetLatency + 2*segmentDuration

// appendDelays appends how far behind the live edge players should and may be.
// A channel that is younger than that says neither: all of it is there, and
// FFmpeg, which subtracts both from the age without a sign, would ask for
// segments of the far future.
func (s *Source) appendDelays(b []byte) []byte {
	t := &s.tracks[0]
	if time.Duration(t.number-1)*segmentDuration < leastDepth {
		return b
	}
	from, to := s.window(t)
	depth := max(time.Duration(to-from)*segmentDuration, leastDepth)
	return fmt.Appendf(b, ` timeShiftBufferDepth="%s" suggestedPresentationDelay="%s"`, iso(depth), iso(targetLatency))
}

// iso writes an xs:duration.
func iso(d time.Duration) string { return fmt.Sprintf("PT%gS", d.Seconds()) }
