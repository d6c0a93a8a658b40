package e2e

import (
	"encoding/binary"
	"math/rand/v2"
)

// fragment is a CMAF chunk with one sample, size octets in all.
func fragment(rng *rand.Rand, number, size int) []byte {
	const (
		trun = 28
		traf = 8 + 16 + 20 + trun
		moof = 8 + 16 + traf
	)
	b := make([]byte, 0, size)
	word := func(values ...uint32) {
		for _, v := range values {
			b = binary.BigEndian.AppendUint32(b, v)
		}
	}
	box := func(length int, name string) {
		word(uint32(length))
		b = append(b, name...)
	}
	box(moof, "moof")
	box(16, "mfhd")
	word(0, uint32(number+1))
	box(traf, "traf")
	box(16, "tfhd")
	word(0x020000, 1) // default-base-is-moof, track
	box(20, "tfdt")
	word(1<<24, 0, uint32(number*512)) // version 1
	box(trun, "trun")
	word(0x000301, 1, moof+8, 512, uint32(size-moof-8)) // data offset; duration and size of one sample
	box(size-moof, "mdat")
	for len(b) < size {
		b = append(b, byte(rng.Uint32()))
	}
	return b
}

// gop is a whole segment, and where its fragments end.
type gop struct {
	body []byte
	ends []int
}

// shape is that of the segments of a stream, of two seconds each.
type shape struct {
	fragments int // in a segment
	mean, key int // octets of a fragment on average, and of the first one
}

func (s shape) make(rng *rand.Rand, n int) (x gop) {
	x.body = append(x.body, "\x00\x00\x00\x18stypmsdh\x00\x00\x00\x00msdhmsix"...)
	for i := range s.fragments {
		size := s.key
		if i > 0 {
			rest := (s.mean*s.fragments - s.key) / (s.fragments - 1)
			size = rest*7/10 + rng.IntN(rest*6/10)
		}
		x.body = append(x.body, fragment(rng, n*s.fragments+i, size)...)
		x.ends = append(x.ends, len(x.body))
	}
	return x
}

// picture2M is a video of 2 Mbit/s with a fragment for each frame.
var picture2M = shape{fragments: fragments, mean: meanFragment, key: keyFragment}

func makeSegment(rng *rand.Rand, n int) gop { return picture2M.make(rng, n) }
