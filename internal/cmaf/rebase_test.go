package cmaf_test

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/cmaf"
)

// index makes a sidx box of the given version.
func index(version uint32, earliest uint64) []byte {
	if version == 0 {
		return mp4("sidx", words(0, 1, 1000, uint32(earliest), 0, 0))
	}
	return mp4("sidx", words(version<<24, 1, 1000, uint32(earliest>>32), uint32(earliest), 0, 0, 0))
}

func narrowTraf(time uint32) []byte {
	return mp4("traf", mp4("tfhd", words(0, 1)), mp4("tfdt", words(0, time)), syncRun)
}

func TestRebase(t *testing.T) {
	const t1, t2 = 5000, 1 << 40
	for _, c := range []struct {
		name      string
		in, want  []byte
		seq, time uint64
	}{
		{"64 bits", cat(mp4("styp"), index(1, t1+80), moof(1, traf(1, t1, syncRun)), mp4("mdat")),
			cat(mp4("styp"), index(1, t2+80), moof(9, traf(1, t2, syncRun)), mp4("mdat")), 9, t2},
		{"32 bits", cat(index(0, t1+80), index(1, t1), moof(1, narrowTraf(t1))),
			cat(index(0, 80), index(1, 0), moof(2, narrowTraf(0))), 2, 0},
		{"part of mdat", cat(moof(1, narrowTraf(t1)), words(99), []byte("mda")),
			cat(moof(9, narrowTraf(math.MaxUint32)), words(99), []byte("mda")), 9, math.MaxUint32},
	} {
		b := bytes.Clone(c.in)
		require.NoError(t, cmaf.Rebase(b, uint32(c.seq), c.time), c.name)
		require.Equal(t, c.want, b, c.name)
	}
}

func TestRebaseErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		err  error
	}{
		{"nothing", nil, io.ErrUnexpectedEOF},
		{"no moof", mp4("styp"), io.ErrUnexpectedEOF},
		{"cut", moof(1, traf(1, 0, syncRun))[:50], io.ErrUnexpectedEOF},
		{"tfdt too small for the time", moof(1, narrowTraf(0)), cmaf.ErrRange},
		{"sidx too small for the time", cat(index(0, 0), moof(1, traf(1, 0, syncRun))), cmaf.ErrRange},
		{"no tfdt", moof(1, mp4("traf")), cmaf.ErrOrder},
		{"no mfhd", mp4("moof", traf(1, 0, syncRun)), cmaf.ErrOrder},
		{"two tracks", moof(1, traf(1, 0, syncRun), traf(2, 0, syncRun)), cmaf.ErrOrder},
		{"short mfhd", mp4("moof", mp4("mfhd"), traf(1, 0, syncRun)), cmaf.ErrSize},
		{"short tfdt", moof(1, mp4("traf", mp4("tfdt", words(1<<24, 0)))), cmaf.ErrSize},
		{"short sidx", cat(mp4("sidx", words(1<<24, 0, 0, 0)), moof(1)), cmaf.ErrSize},
		{"many sidx", cat(index(1, 0), index(1, 0), index(1, 0), index(1, 0), index(1, 0), moof(1)), cmaf.ErrLimit},
		{"box beyond its parent", moof(1, mp4("traf", words(9, 0))), cmaf.ErrSize},
	} {
		b := bytes.Clone(c.in)
		require.ErrorIs(t, cmaf.Rebase(b, 9, 1<<40), c.err, c.name)
		require.Equal(t, c.in, b, c.name)
	}
}

func TestRebaseAllocatesNothing(t *testing.T) {
	b := read(t, "seg-1-00001.m4s")
	require.Zero(t, testing.AllocsPerRun(20, func() {
		if err := cmaf.Rebase(b, 3, 4); err != nil {
			panic(err)
		}
	}))
}

// FuzzRebase: what was rebased has the time that the splitter then reads, there
// and back gives the same octets, and an error changes nothing.
func FuzzRebase(f *testing.F) {
	f.Add(read(f, "seg-2-00002.m4s")[:400], uint64(1<<40))
	f.Add(cat(index(0, 7), moof(1, narrowTraf(5)), mp4("mdat")), uint64(9))
	f.Fuzz(func(t *testing.T, in []byte, time uint64) {
		b := bytes.Clone(in)
		if err := cmaf.Rebase(b, 77, time); err != nil {
			require.Equal(t, in, b)
			return
		}
		chunk, ok := firstMoof(b)
		was, _ := firstMoof(in)
		if !ok {
			return // Rebase does not read all that the splitter demands
		}
		require.EqualValues(t, 77, chunk.Sequence)
		require.Equal(t, time, chunk.BaseDecodeTime)
		require.NoError(t, cmaf.Rebase(b, was.Sequence, was.BaseDecodeTime))
		require.Equal(t, in, b)
	})
}

func firstMoof(b []byte) (cmaf.Chunk, bool) {
	events, _ := whole(b)
	for _, ev := range events {
		if ev.Kind == cmaf.MoofEnd {
			return ev.Chunk, true
		}
	}
	return cmaf.Chunk{}, false
}

func BenchmarkRebase(b *testing.B) {
	chunk := bytes.Clone(read(b, "seg-1-00001.m4s"))
	b.ReportAllocs()
	for b.Loop() {
		if err := cmaf.Rebase(chunk, 3, 4); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleRebase() {
	chunk := cat(moof(1, traf(1, 0, syncRun)), mp4("mdat"))
	if err := cmaf.Rebase(chunk, 51, 25600); err != nil {
		fmt.Println(err)
		return
	}
	got, _ := firstMoof(chunk)
	fmt.Println(got.Sequence, got.BaseDecodeTime)
	// Output: 51 25600
}
