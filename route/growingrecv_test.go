package route

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/route/sls"
)

// growingTrack is a track whose objects are repaired while they grow, by a flow
// of its TSI and 1000.
func growingTrack(tsi uint32) sls.LS {
	ls := protectedTrack(tsi)
	ls.RepairFlow.GrowingTSI, ls.RepairFlow.GrowingDelay = tsi+1000, 100
	return ls
}

// blockEncoder makes repair packets of a block of a growing object.
type blockEncoder struct {
	growingBlock
	tsi, toi uint32
	enc      *raptorq.Encoder
}

func encodeBlock(t testing.TB, tsi, toi uint32, object []byte, g growingBlock) *blockEncoder {
	source := append(make([]byte, g.lead), object[g.start:g.end()]...)
	return &blockEncoder{g, tsi, toi, newEncoder(t, source, g.size)}
}

// packet is number seq of the object, with n symbols from K+i on.
func (e *blockEncoder) packet(seq, i, n int) []byte {
	var symbols []byte
	for s := range n {
		symbols = e.enc.AppendSymbol(symbols, uint32(e.symbols()+i+s))
	}
	return growingBytes(e.tsi+1000, e.toi, e.growingBlock, uint32(e.symbols()+i), uint16(seq), symbols)
}

func growingBytes(tsi, toi uint32, g growingBlock, esi uint32, seq uint16, symbols []byte) []byte {
	h := lct.Header{PSI: psiRepair, TSI: uint64(tsi), TOI: uint64(toi), HasTOI: true, TSILen: 4, TOILen: 4}
	b, _ := h.AppendTo(nil)
	return append(appendGrowingID(b, g, esi, seq), symbols...)
}

func (h *hand) raw(pkt []byte) {
	h.t.Helper()
	require.NoError(h.t, h.r.Push(h.now, simSrc, pkt))
	h.r.RunWork(h.now)
}

// pieces sends an object in packets of n octets, but for those in lose.
func (h *hand) pieces(toi uint32, b []byte, n int, lose ...int) {
	h.t.Helper()
next:
	for i := 0; i*n < len(b); i++ {
		for _, l := range lose {
			if i == l {
				continue next
			}
		}
		h.ok(pk{tsi: 10, toi: toi, cp: 8, off: uint32(i * n), data: b[i*n : min(len(b), (i+1)*n)]})
	}
}

func TestGrowingMalformed(t *testing.T) {
	h := newHand(t, ReceiverConfig{MaxObject: 1 << 20})
	h.signal(growingTrack(10))
	b := seq(20_000)
	h.pieces(1, b, 1000, 3)
	before := h.r.Stats().Memory
	good := growingBlock{start: 0, length: 20_000, size: 1000, lead: 0}
	for name, pkt := range map[string][]byte{
		"no symbols":       growingBytes(1010, 1, good, 20, 0, nil),
		"part of a symbol": growingBytes(1010, 1, good, 20, 0, b[:1001]),
		"no octets":        growingBytes(1010, 1, growingBlock{0, 0, 1000, 0}, 20, 0, b[:1000]),
		"size 0":           growingBytes(1010, 1, growingBlock{0, 20_000, 0, 0}, 20, 0, b[:1000]),
		"alignment":        growingBytes(1010, 1, growingBlock{0, 20_000, 1001, 0}, 20, 0, b[:1001]),
		"lead":             growingBytes(1010, 1, growingBlock{0, 20_000, 1000, 1000}, 21, 0, b[:1000]),
		"source symbol":    growingBytes(1010, 1, good, 19, 0, b[:1000]),
		"ESI":              growingBytes(1010, 1, good, 1<<24-1, 0, b[:2000]),
		"many symbols":     growingBytes(1010, 1, growingBlock{0, 513 * 8, 8, 0}, 513, 0, b[:8]),
		"many octets":      growingBytes(1010, 1, growingBlock{0, 1 << 20, 3000, 0}, 500, 0, b[:3000]),
		"beyond MaxObject": growingBytes(1010, 1, growingBlock{1 << 20, 1000, 1000, 0}, 20, 0, b[:1000]),
		"beyond 32 bits":   growingBytes(1010, 1, growingBlock{1<<32 - 2, 2000, 1000, 0}, 20, 0, b[:1000]),
		"TOI 0":            growingBytes(1010, 0, good, 20, 0, b[:1000]),
		"cut off":          growingBytes(1010, 1, good, 20, 0, nil)[:31],
	} {
		err := h.r.Push(h.now, simSrc, pkt)
		var e *RejectError
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, RejectRepair, e.Reason, name)
	}
	require.Empty(t, h.r.blocks)
	require.Equal(t, before, h.r.Stats().Memory)
	h.raw(growingBytes(1010, 1, good, 20, 0, b[:1000]))
	require.Equal(t, int64(20_000), h.events()[0].Object.Prefix(), "forged octets are for others to find")
}

func TestGrowingBlockMovesThePrefix(t *testing.T) {
	b := randomBytes(4, 70_000)
	for _, c := range []struct {
		name  string
		g     growingBlock
		group int
	}{
		{"from the start", growingBlock{0, 50_000, 1000, 0}, 1},
		{"two symbols to a packet", growingBlock{0, 50_000, 504, 0}, 2},
		{"in the middle, symbols that begin with it", growingBlock{10_000, 20_000, 1000, 0}, 1},
		{"in the middle, symbols of the object", growingBlock{11_000, 19_000, 1600, 11_000 % 1600}, 1},
		{"shorter than a symbol", growingBlock{12_000, 1000, 1344, 96}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHand(t, ReceiverConfig{})
			h.signal(growingTrack(10))
			h.pieces(1, b[:50_000], 1000, 12)
			o := h.events()[0].Object
			require.Equal(t, int64(12_000), o.Prefix())
			e := encodeBlock(t, 10, 1, b, c.g)
			for i := range 3 {
				h.raw(e.packet(i, i*c.group, c.group))
			}
			require.Equal(t, []EventKind{Progress}, kinds(h.events()))
			require.Equal(t, int64(50_000), o.Prefix())
			require.Equal(t, int64(-1), o.Length())
			require.Equal(t, int64(1000), o.Recovered())
			require.Equal(t, uint64(1), h.r.Stats().Decodes)
			require.Empty(t, h.r.blocks)
			h.wait(500 * time.Millisecond)
			require.Empty(t, h.events(), "it still grows")
			h.pieces(1, b, 1000) // repeats, and the rest
			h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 70_000, tol: 70_000})
			require.Equal(t, []EventKind{Progress, Complete}, kinds(h.events()))
			got := make([]byte, 70_000)
			_, err := o.ReadAt(got, 0)
			require.NoError(t, err)
			require.True(t, bytes.Equal(b, got))
			h.raw(e.packet(3, 3*c.group, c.group))
			h.r.Release(h.now, o)
			h.raw(e.packet(4, 4*c.group, c.group))
			require.Zero(t, h.r.Stats().Memory)
			require.Zero(t, h.r.Stats().Rejected)
			h.wait(time.Second)
			require.Zero(t, h.r.Stats().Lost, "it was late")
		})
	}
}

// Symbols that came early are of use once source packets that were late came.
func TestGrowingBlockWaitsForSourcePackets(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(growingTrack(10))
	b := randomBytes(4, 20_000)
	h.pieces(1, b, 1000, 3, 4, 5)
	o := h.events()[0].Object
	e := encodeBlock(t, 10, 1, b, growingBlock{0, 20_000, 1000, 0})
	h.raw(e.packet(0, 0, 2))
	require.Len(t, h.r.blocks, 1)
	require.Equal(t, int64(3000), o.Prefix())
	h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 4000, data: b[4000:5000]})
	h.r.RunWork(h.now)
	require.Equal(t, int64(20_000), o.Prefix())
	require.Empty(t, h.r.blocks)

	// And of none if all of them came.
	h.pieces(2, b, 1000, 3)
	e = encodeBlock(t, 10, 2, b, growingBlock{2000, 10_000, 2000, 0})
	pkt := e.packet(0, 0, 1)
	require.NoError(t, h.r.Push(h.now, simSrc, pkt))
	w, ok := h.r.PollWork()
	require.True(t, ok)
	h.pieces(2, b, 1000)
	require.Empty(t, h.r.blocks)
	w.Run()
	h.r.Finish(h.now, w)
	h.r.Finish(h.now, w)
	require.Equal(t, uint64(1), h.r.Stats().Decodes)
}

// All octets of an audio chunk were in one packet, which was lost.
func TestGrowingBlockAlone(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(growingTrack(10))
	b := randomBytes(4, 500)
	e := encodeBlock(t, 10, 2, b, growingBlock{0, 500, 504, 0})
	h.raw(e.packet(0, 0, 1))
	require.Empty(t, h.events(), "the receiver has just come")
	require.Equal(t, uint64(1), h.r.Stats().Ignored)
	h.pieces(1, b, 500)
	h.events()
	h.raw(e.packet(1, 1, 1))
	evs := h.events()
	require.Equal(t, []EventKind{Started, Progress}, kinds(evs))
	require.Equal(t, int64(500), evs[0].Object.Prefix())
	require.True(t, evs[0].Object.Seen())
}

// Of an object that was joined in its middle, what was sent before is of no use.
func TestGrowingLateStart(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(growingTrack(10))
	b := randomBytes(4, 20_000)
	h.pieces(1, b[:15_000], 1000, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12)
	o := h.events()[0].Object
	require.True(t, o.LateStart())
	h.raw(encodeBlock(t, 10, 1, b, growingBlock{0, 10_000, 1000, 0}).packet(0, 0, 1))
	require.Empty(t, h.r.blocks)
	require.Equal(t, uint64(1), h.r.Stats().Ignored)
	h.raw(encodeBlock(t, 10, 1, b, growingBlock{10_000, 5_000, 1000, 0}).packet(1, 0, 1))
	require.True(t, o.held.Contains(10_000, 15_000))
}

// A block that contradicts source packets is dropped alone.
func TestGrowingContradiction(t *testing.T) {
	b, other := randomBytes(4, 40_000), randomBytes(5, 40_000)
	for _, c := range []struct {
		name string
		bad  func(t testing.TB, i int) []byte
	}{
		{"held octets", func(t testing.TB, i int) []byte {
			return encodeBlock(t, 10, 1, other, growingBlock{0, 20_000, 1600, 0}).packet(i, i, 1)
		}},
		{"padding at the end", func(t testing.TB, i int) []byte { // the last symbol has 500 octets
			x := append(bytes.Clone(b[:12_500]), make([]byte, 4000)...)
			x[12_600] = 1
			e := encodeBlock(t, 10, 1, x, growingBlock{4000, 9600, 1600, 0})
			e.length = 8500
			return e.packet(i, i, 1)
		}},
		{"padding in front", func(t testing.TB, i int) []byte {
			e := encodeBlock(t, 10, 1, b, growingBlock{4800, 9600, 1600, 0})
			e.start, e.length, e.lead = 5600, 8800, 800
			return e.packet(i, i, 1)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHand(t, ReceiverConfig{})
			h.signal(growingTrack(10))
			h.pieces(1, b[:30_000], 1000, 5, 12)
			o := h.events()[0].Object
			for i := range 10 {
				h.raw(c.bad(t, i))
			}
			require.Equal(t, uint64(1), h.r.Stats().DecodeErrors)
			require.Equal(t, int64(5000), o.Prefix())
			require.Zero(t, o.Recovered())
			e := encodeBlock(t, 10, 1, b, growingBlock{0, 20_800, 1600, 0})
			for i := range 5 {
				h.raw(e.packet(10+i, i, 1))
			}
			require.Equal(t, int64(30_000), o.Prefix())
			require.Equal(t, int64(2000), o.Recovered())
			require.False(t, o.noFEC)
			got := make([]byte, 30_000)
			_, err := o.ReadAt(got, 0)
			require.NoError(t, err)
			require.True(t, bytes.Equal(b[:30_000], got))
		})
	}
}

// Surplus symbols that contradict each other tell of a forged one.
func TestGrowingInconsistentSymbols(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(growingTrack(10))
	b := randomBytes(4, 20_000)
	h.pieces(1, b, 1000, 5, 6)
	e := encodeBlock(t, 10, 1, b, growingBlock{0, 20_000, 1000, 0})
	bad := e.packet(0, 0, 4) // four symbols at a time
	bad[40] ^= 1
	h.raw(bad)
	require.Equal(t, uint64(1), h.r.Stats().DecodeErrors)
	h.raw(e.packet(1, 4, 4))
	require.Equal(t, uint64(1), h.r.Stats().DecodeErrors, "the block is over")
	require.Equal(t, int64(5000), h.events()[0].Object.Prefix())
}

func TestGrowingBlocksAreBounded(t *testing.T) {
	h := newHand(t, ReceiverConfig{MaxBlocks: 64, MaxMemory: 8 << 20})
	h.signal(growingTrack(10))
	b := randomBytes(4, 200_000)
	for toi := range uint32(20) {
		h.pieces(toi+1, b, 1000, 55, 77)
	}
	truth := encodeBlock(t, 10, 7, b, growingBlock{50_000, 20_000, 1000, 0})
	r := rand.New(rand.NewPCG(8, 8))
	forged := 0
	flood := func(n int) {
		for range n {
			g := growingBlock{r.Int64N(150_000), 2000 + r.IntN(49_000), 1000, r.IntN(1000)}
			toi := 1 + r.Uint32N(20)
			if r.IntN(2) == 0 {
				toi = 7
			}
			require.NoError(t, h.r.Push(h.now, simSrc, growingBytes(1010, toi, g, uint32(g.symbols())+r.Uint32N(100), uint16(forged), b[:1000])))
			forged++
			// Nobody runs the Works: those that are out are bounded, too.
			require.LessOrEqual(t, h.r.decoding, maxBlockDecodes)
			require.LessOrEqual(t, len(h.r.blocks), 64)
			for _, o := range h.r.active {
				require.LessOrEqual(t, len(o.blocks), maxObjectBlocks)
			}
			require.LessOrEqual(t, h.r.Stats().Memory, int64(8<<20))
		}
	}
	h.r.works = nil
	flood(2000)
	// A true block among them, with as many forged packets between its own.
	o := h.r.objects[objectKey{10, 7}]
	o.held.Remove(60_000, 64_000)
	for i := range 6 {
		require.NoError(t, h.r.Push(h.now, simSrc, truth.packet(i, i, 1)))
		flood(8)
	}
	block := h.r.block(o, truth.growingBlock)
	require.Len(t, block.symbols, 6)
	require.NotNil(t, block.decode)
}

// Octets of objects are worth more than repair symbols.
func TestGrowingBlocksMakeRoom(t *testing.T) {
	h := newHand(t, ReceiverConfig{MaxMemory: 20 * slabSize})
	h.signal(growingTrack(10))
	b := randomBytes(4, 300_000)
	h.pieces(1, b[:10*slabSize], 1024, 1, 2, 3)
	for i := range 12 {
		g := growingBlock{int64(i), 20_000, 1000, 0}
		_ = h.r.Push(h.now, simSrc, growingBytes(1010, 1, g, 20, uint16(i), b[:1000]))
	}
	require.Equal(t, int64(20*slabSize), h.r.Stats().Memory, "no more fits")
	require.Equal(t, uint64(2), h.r.Stats().Rejected[RejectMemory])
	h.pieces(2, b[:9*slabSize], 1024)
	require.Equal(t, int64(20*slabSize), h.r.Stats().Memory)
	require.Equal(t, int64(9*slabSize), h.r.objects[objectKey{10, 2}].Prefix())
}

func TestGrowingReject(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(growingTrack(10))
	b := randomBytes(4, 40_000)
	h.pieces(1, b, 1000, 3, 4, 13, 14, 25, 26)
	o := h.events()[0].Object
	for i, start := range []int64{0, 10_000, 20_000} {
		h.raw(encodeBlock(t, 10, 1, b, growingBlock{start, 10_000, 1000, 0}).packet(i, 0, 1))
	}
	require.Len(t, o.blocks, 3)
	h.r.Reject(h.now, o, 15_000)
	require.Len(t, o.blocks, 1)
	h.raw(encodeBlock(t, 10, 1, b, growingBlock{0, 10_000, 1000, 0}).packet(3, 1, 1))
	require.Equal(t, int64(13_000), o.Prefix())
	require.Empty(t, o.blocks)
	h.r.Reject(h.now, o, 8_000)
	h.raw(encodeBlock(t, 10, 1, b, growingBlock{0, 10_000, 1000, 0}).packet(4, 1, 4))
	require.Empty(t, o.blocks, "octets by FEC were forged once")
	h.r.Release(h.now, o)
	require.Zero(t, h.r.Stats().Memory)
}

func TestGrowingWorkOutlivesItsObject(t *testing.T) {
	for _, end := range []string{"release", "reject", "supply", "length"} {
		t.Run(end, func(t *testing.T) {
			h := newHand(t, ReceiverConfig{})
			h.signal(growingTrack(10))
			b := randomBytes(4, 40_000)
			h.pieces(1, b[:39_000], 1000, 3)
			o := h.events()[0].Object
			e := encodeBlock(t, 10, 1, b, growingBlock{0, 39_000, 1000, 0})
			require.NoError(t, h.r.Push(h.now, simSrc, e.packet(0, 0, 1)))
			w, ok := h.r.PollWork()
			require.True(t, ok)
			done := make(chan bool)
			go func() {
				w.Run()
				close(done)
			}()
			switch end {
			case "release":
				h.r.Release(h.now, o)
				h.pieces(2, b, 1000)
			case "reject":
				h.r.Reject(h.now, o, 10_000)
				h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 10_000, data: b[10_000:11_000]})
			case "supply":
				require.NoError(t, h.r.Supply(h.now, o, 3000, b[3000:4000], 39_000))
				require.True(t, o.Complete())
			case "length":
				require.NoError(t, h.r.Supply(h.now, o, 0, nil, 20_000))
			}
			<-done
			h.r.Finish(h.now, w)
			h.r.Finish(h.now, w)
			require.Zero(t, h.r.decoding)
			require.Empty(t, h.r.blocks)
			require.Zero(t, o.Recovered())
		})
	}
}

// Blocks wait while those that are being decoded hold enough memory.
func TestGrowingDecodesArePostponed(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(growingTrack(10))
	b := randomBytes(4, 40_000)
	h.pieces(1, b, 1000, 3, 23)
	h.r.decoding = maxBlockDecodes
	for i, start := range []int64{0, 20_000} {
		require.NoError(t, h.r.Push(h.now, simSrc, encodeBlock(t, 10, 1, b, growingBlock{start, 20_000, 1000, 0}).packet(i, 0, 1)))
	}
	_, ok := h.r.PollWork()
	require.False(t, ok)
	h.r.decoding = 0
	h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 0, data: b[:1000]})
	require.NoError(t, h.r.Push(h.now, simSrc, encodeBlock(t, 10, 1, b, growingBlock{0, 20_000, 1000, 0}).packet(2, 1, 1)))
	w, ok := h.r.PollWork()
	require.True(t, ok)
	w.Run()
	h.r.Finish(h.now, w)
	h.r.RunWork(h.now)
	require.Equal(t, int64(40_000), h.events()[0].Object.Prefix())
}

func TestGrowingTSIWithAMeaningOfItsOwn(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(growingTrack(10), protectedTrack(1010))
	require.Empty(t, h.r.growing)
	h.signal(growingTrack(10))
	require.Len(t, h.r.growing, 1)
	h.signal(protectedTrack(10))
	require.Empty(t, h.r.growing)
}

func TestGrowingPacketsLost(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(growingTrack(10))
	b := randomBytes(4, 40_000)
	h.pieces(1, b, 1000)
	o := h.events()[0].Object
	h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 40_000, tol: 40_000})
	e := encodeBlock(t, 10, 1, b, growingBlock{0, 20_000, 1000, 0})
	for _, seq := range []int{2, 1, 2, 5, 9} { // of 0 to 9
		h.raw(e.packet(seq, seq, 1))
	}
	h.r.Release(h.now, o)
	h.raw(e.packet(7, 7, 1))
	h.wait(time.Second)
	require.Equal(t, uint64(5), h.r.Stats().Lost)
	h.wait(5 * time.Second)
	require.Zero(t, h.r.losses.charged)
}

// Holes wait for the repair packets that are to come for them, and no longer.
func TestGrowingHoles(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(growingTrack(10)) // within 100 ms
	b := randomBytes(4, 60_000)
	h.pieces(1, b[:20_000], 1000, 3, 4, 5)
	h.wait(124 * time.Millisecond)
	require.Empty(t, missing(h.events()))
	h.wait(time.Millisecond)
	require.Equal(t, []Range{{3000, 6000}}, missing(h.events()), "none came")

	h.r.Release(h.now, h.r.objects[objectKey{10, 1}])

	h.pieces(2, b[:20_000], 1000, 3, 4, 5)
	e := encodeBlock(t, 10, 2, b, growingBlock{0, 20_000, 1000, 0})
	h.wait(20 * time.Millisecond)
	h.raw(e.packet(0, 0, 1))
	h.wait(20 * time.Millisecond)
	h.raw(e.packet(1, 1, 1))
	h.pieces(2, b[:40_000], 1000, 3, 4, 5, 25)
	h.wait(24 * time.Millisecond)
	require.Empty(t, missing(h.events()))
	h.wait(time.Millisecond)
	require.Equal(t, []Range{{5000, 6000}}, missing(h.events()), "two came, and no more; those of another block may")
	h.wait(99 * time.Millisecond)
	require.Empty(t, missing(h.events()))
	h.wait(26 * time.Millisecond)
	require.Equal(t, []Range{{25_000, 26_000}}, missing(h.events()))

	h.r.Release(h.now, h.r.objects[objectKey{10, 2}])

	h.pieces(3, b[:40_000], 1000, 3, 25)
	h.wait(40 * time.Millisecond)
	h.raw(encodeBlock(t, 10, 3, b, growingBlock{20_000, 20_000, 1000, 0}).packet(1, 0, 1))
	h.wait(time.Millisecond)
	require.Equal(t, []Range{{3000, 4000}}, missing(h.events()), "those of the next block came")
}

func TestGrowingPacketsAllocateNothing(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(growingTrack(10))
	b := randomBytes(4, 200_000)
	h.pieces(1, b, 1000)
	e := encodeBlock(t, 10, 1, b, growingBlock{0, 20_000, 1000, 0})
	pkt := e.packet(0, 0, 1)
	n := uint16(0)
	push := func() {
		binary.BigEndian.PutUint16(pkt[16+14:], n)
		n++
		if err := h.r.Push(h.now, simSrc, pkt); err != nil {
			panic(err)
		}
	}
	push()
	require.Zero(t, testing.AllocsPerRun(1000, push), "nothing is missing")

	h.pieces(2, b, 1000, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19)
	pkt[15] = 2
	esi := uint32(20)
	more := func() {
		pkt[16+11], pkt[16+12], pkt[16+13] = byte(esi>>16), byte(esi>>8), byte(esi)
		if esi++; esi%18 == 0 {
			for _, b := range h.r.blocks { // as if it had been decoded
				b.symbols = b.symbols[:0]
			}
		}
		push()
	}
	for range 100 {
		more()
	}
	require.Zero(t, testing.AllocsPerRun(1000, more), "it waits for more")
}

// BenchmarkGrowingReceiver receives growing objects with and without loss.
func BenchmarkGrowingReceiver(b *testing.B) {
	now := simStart
	s := NewSender(SenderConfig{Rate: 1e10, Burst: 1 << 20})
	tx, err := s.Begin(now, media(1, 1))
	if err != nil {
		b.Fatal(err)
	}
	var pkts [][]byte
	size := 0
	for range 40 {
		chunk := randomBytes(uint64(size), 25_000)
		size += len(chunk)
		_ = tx.Append(now, chunk)
		tx.Cut()
		for end := now.Add(40 * time.Millisecond); now.Before(end); now = now.Add(time.Millisecond) {
			s.RunWork(now)
			for pkt, ok := s.Poll(now, nil); ok; pkt, ok = s.Poll(now, nil) {
				pkts = append(pkts, pkt)
			}
		}
	}
	for _, loss := range []float64{0, 0.1} {
		b.Run(fmt.Sprintf("loss=%v", loss), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			chance := rand.New(rand.NewPCG(3, 3))
			r := NewReceiver(ReceiverConfig{})
			for n := uint32(1); b.Loop(); n++ {
				var o *Object
				for _, pkt := range pkts {
					if signalling := pkt[11] == 0; signalling && n > 1 || !signalling && chance.Float64() < loss {
						continue
					} else if !signalling {
						binary.BigEndian.PutUint32(pkt[12:], n)
					}
					_ = r.Push(now, simSrc, pkt)
					r.RunWork(now)
					for ev, ok := r.Poll(); ok; ev, ok = r.Poll() {
						if ev.Kind == Started && ev.Object.TOI() == n {
							o = ev.Object
						}
					}
				}
				r.Release(now, o)
				now = now.Add(10 * time.Second)
				r.HandleTimeout(now)
			}
			b.ReportMetric(float64(r.Stats().Decodes)/float64(b.N), "decodes/op")
			b.ReportMetric(float64(len(pkts)), "packets/op")
		})
	}
}
