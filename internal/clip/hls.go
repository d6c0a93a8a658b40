package clip

import (
	"fmt"
	"time"

	"github.com/treedn/treedn/internal/cmaf"
)

// audioGroup is FFmpeg's name for it.
const audioGroup = "group_A1"

// appendMaster appends the multivariant playlist (RFC 8216, 4.3.4).
func (s *Source) appendMaster(b []byte) []byte {
	b = append(b, "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n"...)
	var audio *liveTrack
	for i := range s.tracks {
		if t := &s.tracks[i]; t.Kind == cmaf.Audio {
			audio = t
			b = fmt.Appendf(b, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=%q,NAME=\"audio_%d\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"%d\",URI=%q\n",
				audioGroup, t.stream, t.Channels, mediaName(t.stream))
		}
	}
	for i := range s.tracks {
		t := &s.tracks[i]
		if t.Kind != cmaf.Video {
			continue
		}
		b = fmt.Appendf(b, "#EXT-X-STREAM-INF:BANDWIDTH=%d,AVERAGE-BANDWIDTH=%d,RESOLUTION=%dx%d,FRAME-RATE=%.3f,CODECS=\"%s,%s\",AUDIO=%q\n%s\n",
			t.peak+audio.peak, t.average+audio.average, t.Width, t.Height, t.frameRate(), t.Codec, audio.Codec, audioGroup, mediaName(t.stream))
	}
	return b
}

// appendMedia appends the media playlist of t (RFC 8216, 4.3.3) with the
// segments from up to, but not including, to.
func (s *Source) appendMedia(b []byte, t *liveTrack, from, to uint64) []byte {
	b = fmt.Appendf(b, "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:%d\n#EXT-X-MEDIA-SEQUENCE:%d\n#EXT-X-MAP:URI=%q\n",
		segmentDuration/time.Second, from, initName(t.stream))
	for n := from; n < to; n++ {
		seg, loops := t.segment(n)
		start := s.start.Add(time.Duration(loops)*loopDuration + t.duration(seg.start))
		b = fmt.Appendf(b, "#EXTINF:%.6f,\n#EXT-X-PROGRAM-DATE-TIME:%s\n%s\n",
			float64(seg.end-seg.start)/float64(t.Timescale), start.Format(dateTime), segmentName(t.stream, n))
	}
	return b
}

// frameRate is that of a video track, which has one frame to a chunk.
func (t *track) frameRate() float64 {
	return float64(t.chunks) / loopDuration.Seconds()
}

// dateTime is ISO 8601 with milliseconds, for times in UTC.
const dateTime = "2006-01-02T15:04:05.000Z"
