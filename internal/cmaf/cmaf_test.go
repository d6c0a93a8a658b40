package cmaf_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/cmaf"
)

func read(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(tb, err)
	return b
}

// mp4 makes a box of the concatenated bodies.
func mp4(typ string, bodies ...[]byte) []byte {
	b := append([]byte{0, 0, 0, 0}, typ...)
	for _, body := range bodies {
		b = append(b, body...)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// words makes octets of 32-bit numbers.
func words(v ...uint32) []byte {
	var b []byte
	for _, v := range v {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func cat(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// wide makes a box with a 64-bit size.
func wide(typ string, body []byte) []byte {
	b := append(words(1), typ...)
	b = binary.BigEndian.AppendUint64(b, uint64(16+len(body)))
	return append(b, body...)
}

// open makes a box that reaches to the end of the file.
func open(typ string, body []byte) []byte {
	return cat(words(0), []byte(typ), body)
}

func moof(seq uint32, trafs ...[]byte) []byte {
	return mp4("moof", append([][]byte{mp4("mfhd", words(0, seq))}, trafs...)...)
}

func traf(track uint32, time uint64, trun []byte) []byte {
	return mp4("traf", mp4("tfhd", words(0x020000, track)), mp4("tfdt", words(1<<24, uint32(time>>32), uint32(time))), trun)
}

// syncRun is a trun of one sample whose flags are in first_sample_flags.
var (
	syncRun    = mp4("trun", words(0x000004, 1, 0x02000000))
	nonSyncRun = mp4("trun", words(0x000004, 1, 0x01010000))
)

// split feeds b in portions of the given sizes, taken in turn, and returns all
// events and the error of Next or Finish.
func split(s *cmaf.Splitter, b []byte, sizes ...int) (events []cmaf.Event, err error) {
	for i := 0; len(b) > 0; i++ {
		part := b[:min(max(sizes[i%len(sizes)], 1), len(b))]
		b = b[len(part):]
		for len(part) > 0 {
			n, ev, err := s.Next(part)
			if ev.Kind != cmaf.None {
				events = append(events, ev)
			}
			if err != nil {
				return events, err
			}
			part = part[n:]
		}
	}
	ev, err := s.Finish()
	if ev.Kind != cmaf.None {
		events = append(events, ev)
	}
	return events, err
}

func whole(b []byte) ([]cmaf.Event, error) {
	return split(&cmaf.Splitter{}, b, len(b))
}

func ofKind(events []cmaf.Event, k cmaf.Kind) (out []cmaf.Event) {
	for _, ev := range events {
		if ev.Kind == k {
			out = append(out, ev)
		}
	}
	return out
}
