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

func makeSegment(rng *rand.Rand, n int) (s gop) {
	s.body = append(s.body, "\x00\x00\x00\x18stypmsdh\x00\x00\x00\x00msdhmsix"...)
	for i := range fragments {
		size := keyFragment
		if i > 0 {
			rest := (meanFragment*fragments - keyFragment) / (fragments - 1)
			size = rest*7/10 + rng.IntN(rest*6/10)
		}
		s.body = append(s.body, fragment(rng, n*fragments+i, size)...)
		s.ends = append(s.ends, len(s.body))
	}
	return s
}
