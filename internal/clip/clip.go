package clip

import (
	"embed"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/treedn/treedn/internal/cmaf"
)

//go:embed media/*.m4s
var media embed.FS

const (
	streams         = 3
	segmentsPerLoop = 4
	loopDuration    = 8 * time.Second
	segmentDuration = loopDuration / segmentsPerLoop // of audio on average
)

// track is one stream of the clip, as it lies in the files.
type track struct {
	cmaf.Track
	init        []byte
	contentType string
	segments    [segmentsPerLoop]segment
	chunks      int    // in a loop
	longest     uint64 // chunk, in ticks
	average     int    // bit/s
	peak        int    // bit/s, of a segment
}

// segment is one file. Times are in ticks from the start of the clip.
type segment struct {
	start, end uint64
	styp       []byte
	chunks     []chunk
}

// chunk is a moof and its mdat with the boxes before it, but without styp.
type chunk struct {
	index int // in the loop
	start uint64
	end   uint64
	data  []byte
}

// duration converts ticks of at most one loop.
func (t *track) duration(ticks uint64) time.Duration {
	return time.Duration(ticks * uint64(time.Second) / uint64(t.Timescale))
}

// load reads the embedded clip.
func load() ([]track, error) {
	tracks := make([]track, streams)
	for i := range tracks {
		if err := tracks[i].load(i); err != nil {
			return nil, fmt.Errorf("clip: stream %d: %w", i, err)
		}
	}
	return tracks, nil
}

func (t *track) load(stream int) (err error) {
	if t.init, err = media.ReadFile("media/" + initName(stream)); err != nil {
		return err
	}
	in, err := cmaf.ParseInit(t.init)
	if err != nil {
		return err
	}
	t.Track = in.Tracks[0]
	t.contentType = t.Kind.String() + "/mp4"
	size := 0
	for i := range t.segments {
		b, err := media.ReadFile("media/" + segmentName(stream, uint64(i+1)))
		if err != nil {
			return err
		}
		if err := t.segments[i].load(b, &t.chunks); err != nil {
			return err
		}
		size += len(b)
	}

	// A chunk ends where the next one starts; the last one ends the loop.
	end := uint64(loopDuration/time.Second) * uint64(t.Timescale)
	for i := len(t.segments) - 1; i >= 0; i-- {
		s := &t.segments[i]
		s.end = end
		octets := len(s.styp)
		for j := len(s.chunks) - 1; j >= 0; j-- {
			c := &s.chunks[j]
			if c.start >= end {
				return fmt.Errorf("segment %d: chunk %d does not advance", i+1, j+1)
			}
			c.end, end = end, c.start
			t.longest = max(t.longest, c.end-c.start)
			octets += len(c.data)
		}
		s.start = end
		t.peak = max(t.peak, bitRate(octets, t.duration(s.end-s.start)))
	}
	if end != 0 {
		return fmt.Errorf("the clip starts at %d instead of 0", end)
	}
	t.average = bitRate(size, loopDuration)
	return nil
}

func (s *segment) load(b []byte, chunks *int) error {
	styp := int(binary.BigEndian.Uint32(b))
	s.styp = b[:styp]
	var split cmaf.Splitter
	for rest := b; len(rest) > 0; {
		n, ev, err := split.Next(rest)
		if err != nil {
			return err
		}
		rest = rest[n:]
		if ev.Kind == cmaf.ChunkEnd {
			s.chunks = append(s.chunks, chunk{
				index: *chunks,
				start: ev.Chunk.BaseDecodeTime,
				data:  b[max(int(ev.Start), styp):ev.End],
			})
			*chunks++
		}
	}
	_, err := split.Finish()
	return err
}

func bitRate(octets int, d time.Duration) int {
	return int(int64(octets) * 8 * int64(time.Second) / int64(d))
}

// The names are those that FFmpeg's dash muxer gives by default.
const (
	masterName = "master.m3u8"
	mpdName    = "manifest.mpd"
)

func initName(stream int) string  { return fmt.Sprintf("init-stream%d.m4s", stream) }
func mediaName(stream int) string { return fmt.Sprintf("media_%d.m3u8", stream) }

func segmentName(stream int, number uint64) string {
	return fmt.Sprintf("chunk-stream%d-%05d.m4s", stream, number)
}
