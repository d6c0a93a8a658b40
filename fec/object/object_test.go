package object

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/internal/alloctest"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/fec/rs"
)

// memory is an object that is written by pieces, none twice.
type memory struct {
	b       []byte
	written []bool
	twice   bool
	err     error
}

func newMemory(n uint64) *memory { return &memory{b: make([]byte, n), written: make([]bool, n)} }

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	for i := range p {
		m.twice = m.twice || m.written[off+int64(i)]
		m.written[off+int64(i)] = true
	}
	return copy(m.b[off:off+int64(len(p))], p), nil
}

func octets(seed uint64, n uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 0, n+8)
	for uint64(len(b)) < n {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return b[:n]
}

var infos = []fec.ObjectInfo{
	{ID: fec.CompactNoCode, TransferLength: 10_001, SymbolSize: 100, MaxBlock: 30},
	{ID: fec.CompactNoCode, TransferLength: 1, SymbolSize: 100, MaxBlock: 30},
	{ID: fec.Raptor, TransferLength: 10_001, SymbolSize: 100, SourceBlocks: 3, SubBlocks: 1, Alignment: 4},
	{ID: fec.Raptor, TransferLength: 9_931, SymbolSize: 100, SourceBlocks: 3, SubBlocks: 7, Alignment: 4},
	{ID: fec.ReedSolomonGF2M, TransferLength: 10_001, SymbolSize: 100, MaxBlock: 30, MaxSymbols: 45, Group: 3},
	{ID: fec.LDPCStaircase, TransferLength: 10_001, SymbolSize: 100, MaxBlock: 60, MaxSymbols: 120, Seed: 9, Group: 1},
	{ID: fec.LDPCStaircase, TransferLength: 10_001, SymbolSize: 100, MaxBlock: 60, MaxSymbols: 160, Seed: 9, Group: 4, N1m3: 2},
	{ID: fec.ReedSolomonGF256, TransferLength: 10_000, SymbolSize: 100, MaxBlock: 30, MaxSymbols: 45},
	{ID: fec.RaptorQ, TransferLength: 10_001, SymbolSize: 100, SourceBlocks: 3, SubBlocks: 1, Alignment: 4},
	{ID: fec.RaptorQ, TransferLength: 9_931, SymbolSize: 100, SourceBlocks: 2, SubBlocks: 7, Alignment: 4},
	{ID: fec.RaptorQ, TransferLength: 1, SymbolSize: 100, SourceBlocks: 1, SubBlocks: 1, Alignment: 4},
	{ID: fec.SmallBlockSystematic, TransferLength: 10_001, SymbolSize: 100, MaxBlock: 30, MaxSymbols: 45},
}

// Each scheme through loss, reordering and repetition.
func TestObjects(t *testing.T) {
	for i, info := range infos {
		for group := 1; group <= min(3, info.GroupSize()); group++ {
			if info.Group != 0 && group != int(info.Group) {
				continue
			}
			t.Run(fmt.Sprintf("%v %d, %d symbols in a packet", info.ID, info.TransferLength, group), func(t *testing.T) {
				var codec Codec
				source := octets(uint64(i), info.TransferLength)
				enc, err := codec.NewEncoder(info, bytes.NewReader(source))
				require.NoError(t, err)
				require.Equal(t, info, enc.Info())
				enc.Group = group
				rng := rand.New(rand.NewPCG(uint64(i), 2))
				var packets [][]byte
				for sbn := range info.Blocks() {
					b, err := enc.Block(uint32(sbn))
					require.NoError(t, err)
					n := min(b.Packets(), 2*b.SourcePackets()+10)
					lost := 0
					for p := range n {
						raw, err := b.AppendPacket(nil, p)
						require.NoError(t, err)
						if info.ID != fec.CompactNoCode && lost < b.SourcePackets()/5 && rng.IntN(4) == 0 {
							lost++
							continue
						}
						packets = append(packets, raw)
						if p%7 == 0 {
							packets = append(packets, raw)
						}
					}
					_, err = b.AppendPacket(nil, b.Packets())
					require.ErrorIs(t, err, ErrPacket)
				}
				rng.Shuffle(len(packets), func(i, j int) { packets[i], packets[j] = packets[j], packets[i] })

				target := newMemory(info.TransferLength)
				dec, err := codec.NewDecoder(info, target, DecoderConfig{})
				require.NoError(t, err)
				require.Equal(t, info, dec.Info())
				blocks := 0
				for _, p := range packets {
					done, err := dec.Packet(p)
					require.NoError(t, err)
					if done {
						blocks++
					}
				}
				require.True(t, dec.Done())
				require.EqualValues(t, info.Blocks(), blocks)
				require.Equal(t, source, target.b)
				require.False(t, target.twice)
				for sbn := range uint32(info.Blocks()) {
					require.True(t, dec.BlockDone(sbn))
					require.Zero(t, dec.Need(sbn))
					require.Empty(t, dec.AppendMissing(nil, sbn))
				}
				require.Empty(t, dec.blocks)
			})
		}
	}
}

func TestMissing(t *testing.T) {
	info := fec.ObjectInfo{ID: fec.RaptorQ, TransferLength: 1000, SymbolSize: 100, SourceBlocks: 2, SubBlocks: 1, Alignment: 4}
	var codec Codec
	enc, err := codec.NewEncoder(info, bytes.NewReader(octets(1, 1000)))
	require.NoError(t, err)
	b, err := enc.Block(1)
	require.NoError(t, err)
	require.Equal(t, 5, b.K())
	require.Equal(t, 1<<24, b.N())
	dec, err := codec.NewDecoder(info, newMemory(1000), DecoderConfig{})
	require.NoError(t, err)
	require.Equal(t, 5, dec.Need(1))
	require.Equal(t, []uint32{0, 1, 2, 3, 4}, dec.AppendMissing(nil, 1))
	before := dec.Memory()
	for _, i := range []int{1, 3, 9} {
		p, err := b.AppendPacket(nil, i)
		require.NoError(t, err)
		_, err = dec.Packet(p)
		require.NoError(t, err)
	}
	require.Equal(t, 2, dec.Need(1))
	require.Equal(t, []uint32{0, 2, 4}, dec.AppendMissing(nil, 1))
	require.Greater(t, dec.Memory(), before)
	dec.Drop(1)
	dec.Drop(0)
	require.Equal(t, before, dec.Memory())
	require.Equal(t, 5, dec.Need(1))
	require.Zero(t, dec.Need(2))
	require.Empty(t, dec.AppendMissing(nil, 2))
}

func TestEmptyObject(t *testing.T) {
	info := fec.ObjectInfo{ID: fec.CompactNoCode, SymbolSize: 100, MaxBlock: 30}
	var codec Codec
	dec, err := codec.NewDecoder(info, nil, DecoderConfig{})
	require.NoError(t, err)
	require.True(t, dec.Done())
	_, err = dec.Packet([]byte{0, 0, 0, 0, 1})
	require.ErrorIs(t, err, ErrPacket)
	enc, err := codec.NewEncoder(info, nil)
	require.NoError(t, err)
	_, err = enc.Block(0)
	require.ErrorIs(t, err, ErrPacket)
}

// The largest announcement that there is costs nothing.
func TestAnnouncementCostsNothing(t *testing.T) {
	huge := fec.ObjectInfo{ID: fec.RaptorQ, TransferLength: 942574504275, SymbolSize: 65535, SourceBlocks: 255, SubBlocks: 1, Alignment: 1}
	require.NoError(t, huge.Validate())
	var codec Codec
	_, err := codec.NewDecoder(huge, nil, DecoderConfig{})
	require.ErrorIs(t, err, ErrBudget)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	// Nearly as long, in blocks that fit the budget: a decoder, and nothing else.
	long := fec.ObjectInfo{ID: fec.CompactNoCode, TransferLength: 1 << 47, SymbolSize: 65535, MaxBlock: 65536}
	raptor := fec.ObjectInfo{ID: fec.Raptor, TransferLength: 1 << 44, SymbolSize: 65532, SourceBlocks: 65535, SubBlocks: 1, Alignment: 4}
	for _, info := range []fec.ObjectInfo{long, raptor} {
		_, err := codec.NewDecoder(info, nil, DecoderConfig{MaxMemory: 2<<30 - 1})
		require.NoError(t, err)
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<10))
}

// No more blocks are begun than can be finished.
func TestBudget(t *testing.T) {
	for _, info := range infos {
		if info.Blocks() < 3 || info.ID == fec.CompactNoCode {
			continue
		}
		var codec Codec
		source := octets(1, info.TransferLength)
		enc, err := codec.NewEncoder(info, bytes.NewReader(source))
		require.NoError(t, err)
		large, small := blockSizes(&info)
		matrices := ldpcMemory(&info, large) + ldpcMemory(&info, small)
		one := int(BlockMemory(&info, large) + matrices)
		_, err = codec.NewDecoder(info, nil, DecoderConfig{MaxMemory: one - 1})
		require.ErrorIs(t, err, ErrBudget)
		target := newMemory(info.TransferLength)
		dec, err := codec.NewDecoder(info, target, DecoderConfig{MaxMemory: one + 2*doneEntry})
		require.NoError(t, err)
		var blocks []*Block
		for sbn := range uint32(info.Blocks()) {
			b, err := enc.Block(sbn)
			require.NoError(t, err)
			blocks = append(blocks, b)
		}
		// The first block has all the room, the others have to wait.
		for i := range blocks[0].SourcePackets() {
			for sbn, b := range blocks {
				p, err := b.AppendPacket(nil, i%b.SourcePackets())
				require.NoError(t, err)
				_, err = dec.Packet(p)
				if sbn == 0 {
					require.NoError(t, err)
				} else if !dec.BlockDone(0) {
					require.ErrorIs(t, err, ErrBudget)
				}
				require.LessOrEqual(t, dec.Memory(), dec.config.MaxMemory)
			}
		}
		require.True(t, dec.BlockDone(0))
		for range 2 { // one more block was begun at last
			for _, b := range blocks[1:] {
				for i := range b.SourcePackets() {
					p, err := b.AppendPacket(nil, i)
					require.NoError(t, err)
					dec.Packet(p)
				}
			}
		}
		require.True(t, dec.Done())
		require.Equal(t, source, target.b)
	}
}

// What a decoder really takes stays below what it reserves.
func TestReservation(t *testing.T) {
	for _, info := range []fec.ObjectInfo{
		{ID: fec.RaptorQ, TransferLength: 1000 * 1344, SymbolSize: 1344, SourceBlocks: 1, SubBlocks: 1, Alignment: 8},
		{ID: fec.RaptorQ, TransferLength: 8000 * 8, SymbolSize: 8, SourceBlocks: 1, SubBlocks: 1, Alignment: 8},
		{ID: fec.Raptor, TransferLength: 8000 * 8, SymbolSize: 8, SourceBlocks: 1, SubBlocks: 1, Alignment: 8},
		{ID: fec.LDPCStaircase, TransferLength: 5000 * 16, SymbolSize: 16, MaxBlock: 5000, MaxSymbols: 10000, Seed: 1},
		{ID: fec.ReedSolomonGF256, TransferLength: 127 * 1344, SymbolSize: 1344, MaxBlock: 127, MaxSymbols: 254},
	} {
		t.Run(info.ID.String(), func(t *testing.T) {
			var codec Codec
			enc, err := codec.NewEncoder(info, bytes.NewReader(octets(1, info.TransferLength)))
			require.NoError(t, err)
			b, err := enc.Block(0)
			require.NoError(t, err)
			var packets [][]byte
			for i := range min(b.Packets(), 2*b.K()+30) {
				if i >= b.K() { // repair alone
					p, err := b.AppendPacket(nil, i)
					require.NoError(t, err)
					packets = append(packets, p)
				}
			}
			enc, b = nil, nil
			target := newMemory(info.TransferLength)
			codec = Codec{}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			dec, err := codec.NewDecoder(info, target, DecoderConfig{})
			require.NoError(t, err)
			most := 0
			for _, p := range packets {
				if _, err := dec.Packet(p); err != nil {
					t.Fatal(err)
				}
				most = max(most, dec.Memory())
			}
			runtime.ReadMemStats(&after)
			// All that was allocated on the way, garbage included.
			t.Logf("done %v, allocated %d, reserved %d", dec.Done(), after.TotalAlloc-before.TotalAlloc, most)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(most)*3/2)
		})
	}
}

func TestMalformedPackets(t *testing.T) {
	raptorQ := infos[8]
	for _, c := range []struct {
		name   string
		info   fec.ObjectInfo
		id     fec.PayloadID
		length int
	}{
		{"block that does not exist", raptorQ, fec.PayloadID{SBN: 3}, 100},
		{"no symbol", raptorQ, fec.PayloadID{}, 0},
		{"half a symbol", raptorQ, fec.PayloadID{}, 150},
		{"source and repair", raptorQ, fec.PayloadID{SBN: 1, ESI: 33}, 200},
		{"last symbol too short", raptorQ, fec.PayloadID{SBN: 2, ESI: 32}, 12},
		{"short, but not the object's last", raptorQ, fec.PayloadID{SBN: 1, ESI: 33}, 1},
		{"ESI beyond all", infos[7], fec.PayloadID{ESI: 45}, 100},
		{"two symbols with Reed-Solomon", infos[7], fec.PayloadID{}, 200},
		{"four symbols with G = 3", infos[4], fec.PayloadID{}, 400},
		{"source block length", infos[11], fec.PayloadID{SBL: 29}, 100},
		{"ESI beyond n", infos[5], fec.PayloadID{ESI: 120}, 100},
		{"no-code ESI beyond k", infos[0], fec.PayloadID{ESI: 30}, 100},
	} {
		var codec Codec
		dec, err := codec.NewDecoder(c.info, nil, DecoderConfig{})
		require.NoError(t, err)
		before := dec.Memory()
		_, err = dec.Add(c.id, make([]byte, c.length))
		require.ErrorIs(t, err, ErrPacket, c.name)
		require.Equal(t, before, dec.Memory())
	}
	var codec Codec
	dec, err := codec.NewDecoder(raptorQ, nil, DecoderConfig{})
	require.NoError(t, err)
	_, err = dec.Packet([]byte{0, 0, 0})
	require.Error(t, err)
	_, err = dec.Add(fec.PayloadID{}, make([]byte, 100))
	require.NoError(t, err)
	_, err = dec.Add(fec.PayloadID{}, bytes.Repeat([]byte{1}, 100))
	require.ErrorIs(t, err, raptorq.ErrConflict)
}

// A corrupt symbol shows when surplus symbols are waited for, and the block is then
// received anew.
func TestPoisonedBlock(t *testing.T) {
	for _, info := range []fec.ObjectInfo{infos[2], infos[5], infos[8]} {
		var codec Codec
		source := octets(1, info.TransferLength)
		enc, err := codec.NewEncoder(info, bytes.NewReader(source))
		require.NoError(t, err)
		b, err := enc.Block(0)
		require.NoError(t, err)
		target := newMemory(info.TransferLength)
		dec, err := codec.NewDecoder(info, target, DecoderConfig{Surplus: 20})
		require.NoError(t, err)
		poisoned := false
		for i := 1; i < b.K()+40 && !dec.BlockDone(0); i++ {
			p, err := b.AppendPacket(nil, i)
			require.NoError(t, err)
			if i == 9 {
				p[len(p)-1] ^= 1
			}
			if _, err = dec.Packet(p); err != nil {
				require.ErrorIs(t, err, ErrPoisoned)
				poisoned = true
				break
			}
		}
		require.True(t, poisoned)
		require.False(t, dec.BlockDone(0))
		for i := range b.K() {
			p, err := b.AppendPacket(nil, i)
			require.NoError(t, err)
			_, err = dec.Packet(p)
			require.NoError(t, err)
		}
		require.True(t, dec.BlockDone(0)) // nothing was missing: no surplus to wait for
		_, _, n := info.Block(0)
		require.Equal(t, source[:n], target.b[:n])
	}
}

func TestFailingTarget(t *testing.T) {
	broken := errors.New("disk full")
	for _, info := range []fec.ObjectInfo{infos[0], infos[7]} {
		var codec Codec
		enc, err := codec.NewEncoder(info, bytes.NewReader(octets(1, info.TransferLength)))
		require.NoError(t, err)
		b, err := enc.Block(0)
		require.NoError(t, err)
		dec, err := codec.NewDecoder(info, &memory{err: broken}, DecoderConfig{})
		require.NoError(t, err)
		for i := range b.K() {
			p, err := b.AppendPacket(nil, i)
			require.NoError(t, err)
			_, err = dec.Packet(p)
			if info.ID == fec.CompactNoCode || i == b.K()-1 {
				require.ErrorIs(t, err, broken)
			}
		}
		require.False(t, dec.BlockDone(0))
	}
}

func TestEncoderRefuses(t *testing.T) {
	var codec Codec
	_, err := codec.NewEncoder(fec.ObjectInfo{}, nil)
	require.ErrorIs(t, err, fec.ErrInvalid)
	proprietary := infos[11]
	proprietary.Instance = 7
	_, err = codec.NewEncoder(proprietary, nil)
	require.ErrorIs(t, err, fec.ErrUnsupported)
	_, err = codec.NewDecoder(proprietary, nil, DecoderConfig{})
	require.ErrorIs(t, err, fec.ErrUnsupported)
	_, err = codec.NewDecoder(fec.ObjectInfo{}, nil, DecoderConfig{})
	require.ErrorIs(t, err, fec.ErrInvalid)
	short, err := codec.NewEncoder(infos[0], bytes.NewReader(make([]byte, 2000)))
	require.NoError(t, err)
	_, err = short.Block(0)
	require.Error(t, err)
	_, err = short.Block(4)
	require.ErrorIs(t, err, ErrPacket)
	short.Group = 2
	_, err = short.Block(0)
	require.ErrorIs(t, err, ErrPacket)
	// One repair symbol is too few for a matrix.
	cramped := fec.ObjectInfo{ID: fec.LDPCStaircase, TransferLength: 1000, SymbolSize: 100, MaxBlock: 10, MaxSymbols: 11, Seed: 1}
	_, err = codec.NewDecoder(cramped, nil, DecoderConfig{})
	require.Error(t, err)
}

// The matrix is the session's choice.
func TestMatrix(t *testing.T) {
	info := infos[7]
	source := octets(1, info.TransferLength)
	var packets [][]byte
	for _, m := range []rs.Matrix{rs.RFC5510, rs.Rizzo, rs.Backblaze} {
		codec := Codec{Matrix: m}
		enc, err := codec.NewEncoder(info, bytes.NewReader(source))
		require.NoError(t, err)
		b, err := enc.Block(0)
		require.NoError(t, err)
		p, err := b.AppendPacket(nil, b.K())
		require.NoError(t, err)
		packets = append(packets, p)
		s, err := b.AppendSymbol(nil, uint32(b.K()))
		require.NoError(t, err)
		require.Equal(t, s, p[4:])
		_, err = b.AppendSymbol(nil, uint32(b.N()))
		require.ErrorIs(t, err, ErrPacket)
	}
	require.NotEqual(t, packets[0], packets[1])
	require.NotEqual(t, packets[1], packets[2])
}

func TestAppendPacketDoesNotAllocate(t *testing.T) {
	for _, info := range infos {
		var codec Codec
		enc, err := codec.NewEncoder(info, bytes.NewReader(octets(1, info.TransferLength)))
		require.NoError(t, err)
		b, err := enc.Block(0)
		require.NoError(t, err)
		buf := make([]byte, 0, 1000)
		require.Zero(t, alloctest.PerRun(func() {
			b.AppendPacket(buf, 0)
			b.AppendPacket(buf, b.Packets()-1)
		}), info.ID)
	}
}

// Packets that come too late, or twice, cost nothing.
func TestUselessPacketsDoNotAllocate(t *testing.T) {
	for _, info := range infos {
		var codec Codec
		enc, err := codec.NewEncoder(info, bytes.NewReader(octets(1, info.TransferLength)))
		require.NoError(t, err)
		dec, err := codec.NewDecoder(info, newMemory(info.TransferLength), DecoderConfig{})
		require.NoError(t, err)
		var packets [][]byte
		for sbn := range uint32(info.Blocks()) {
			b, err := enc.Block(sbn)
			require.NoError(t, err)
			for i := range b.SourcePackets() {
				p, err := b.AppendPacket(nil, i)
				require.NoError(t, err)
				packets = append(packets, p)
			}
		}
		again := func() {
			for _, p := range packets {
				if _, err := dec.Packet(p); err != nil {
					panic(err)
				}
			}
		}
		for _, p := range packets[:len(packets)-1] { // the last block stays open
			_, err := dec.Packet(p)
			require.NoError(t, err)
		}
		last := packets[len(packets)-1]
		packets = packets[:len(packets)-1]
		require.Zero(t, alloctest.PerRun(again), info.ID)
		packets = append(packets, last)
		again()
		require.True(t, dec.Done())
		require.Zero(t, alloctest.PerRun(again), info.ID)
	}
}

// FuzzDecoder feeds a decoder of any scheme with what the script says: packets of the
// object, packets with some octet changed, and octets of the fuzzer.
func FuzzDecoder(f *testing.F) {
	for i := range infos {
		f.Add(uint8(i), []byte{0, 0, 0, 1, 0, 2, 0, 3, 1, 4, 200, 2, 9, 9, 9, 9, 9, 9})
	}
	f.Fuzz(func(t *testing.T, which uint8, script []byte) {
		info := infos[int(which)%len(infos)]
		info.TransferLength = min(info.TransferLength, 3000)
		if info.Validate() != nil {
			info.SourceBlocks = 1
		}
		var codec Codec
		source := octets(uint64(which), info.TransferLength)
		enc, err := codec.NewEncoder(info, bytes.NewReader(source))
		require.NoError(t, err)
		target := newMemory(info.TransferLength)
		good, err := codec.NewDecoder(info, target, DecoderConfig{})
		require.NoError(t, err)
		hostile, err := codec.NewDecoder(info, newMemory(info.TransferLength), DecoderConfig{MaxMemory: 1 << 20, Surplus: 2})
		if errors.Is(err, ErrBudget) {
			return
		}
		require.NoError(t, err)
		blocks := make(map[uint32]*Block)
		for i := 0; i+1 < len(script); i += 2 {
			sbn := uint32(script[i]>>6) % uint32(info.Blocks())
			if blocks[sbn] == nil {
				blocks[sbn], err = enc.Block(sbn)
				require.NoError(t, err)
			}
			b := blocks[sbn]
			p, err := b.AppendPacket(nil, int(script[i+1])%b.Packets())
			require.NoError(t, err)
			if script[i]&1 == 0 {
				_, err = good.Packet(p)
				require.NoError(t, err)
			} else {
				p[int(script[i]>>1)%len(p)] ^= script[i+1]
			}
			hostile.Packet(p)
			hostile.Packet(script[i:])
			require.LessOrEqual(t, hostile.Memory(), 1<<20)
		}
		require.False(t, target.twice)
		for sbn := range uint32(info.Blocks()) {
			_, offset, n := info.Block(sbn)
			if good.BlockDone(sbn) && info.SubBlocks <= 1 {
				require.Equal(t, source[offset:offset+n], target.b[offset:offset+n])
			}
		}
		if good.Done() {
			require.Equal(t, source, target.b)
		}
	})
}

func BenchmarkDecoder(b *testing.B) {
	info := fec.ObjectInfo{ID: fec.RaptorQ, TransferLength: 400 * 1344, SymbolSize: 1344, SourceBlocks: 4, SubBlocks: 1, Alignment: 8}
	var codec Codec
	enc, err := codec.NewEncoder(info, bytes.NewReader(octets(1, info.TransferLength)))
	if err != nil {
		b.Fatal(err)
	}
	var packets [][]byte
	for sbn := range uint32(4) {
		block, err := enc.Block(sbn)
		if err != nil {
			b.Fatal(err)
		}
		for i := range 120 {
			p, err := block.AppendPacket(nil, i)
			if err != nil {
				b.Fatal(err)
			}
			if i%10 > 0 {
				packets = append(packets, p)
			}
		}
	}
	target := discard{}
	b.SetBytes(int64(info.TransferLength))
	for b.Loop() {
		dec, err := codec.NewDecoder(info, target, DecoderConfig{})
		if err != nil {
			b.Fatal(err)
		}
		for _, p := range packets {
			if _, err := dec.Packet(p); err != nil {
				b.Fatal(err)
			}
		}
		if !dec.Done() {
			b.Fatal("not done")
		}
	}
}

type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
