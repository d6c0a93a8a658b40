package moqfec

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/treedn/treedn/fec/internal/alloctest"
	"github.com/treedn/treedn/fec/raptorq"
)

var (
	layered = Config{MaxBlock: 64, SymbolSize: 104, Layers: []Layer{{"r0", 8, 240}, {"r1", 16, 241}, {"r2", 32, 250}}}
	legacy  = Config{Profile: LegacySSBG0, MaxBlock: 64, SymbolSize: 104, Layers: layered.Layers}
)

type sent struct {
	id     uint32
	data   []byte
	packet []byte
	repair bool
}

func send(t *testing.T, rng *rand.Rand, c Config, blocks int) (out [][]sent) {
	first := uint32(1<<32 - 200) // wraps
	if c.Profile == LegacySSBG0 {
		first = 1<<32 - 128
	}
	e, err := NewEncoder(c, first)
	require.NoError(t, err)
	next := first
	for range blocks {
		var block []sent
		n := 40 + rng.IntN(25)
		if c.Profile == LegacySSBG0 && rng.IntN(2) == 0 {
			n = c.MaxBlock
		}
		for range n {
			s := sent{id: next, data: make([]byte, 12+rng.IntN(c.MaxPacket()-11))}
			if c.Profile == LegacySSBG0 {
				s.data = make([]byte, c.MaxPacket()) // else padding stays
			}
			for i := range s.data {
				s.data[i] = byte(rng.Uint32())
			}
			s.packet, err = e.AppendSource(nil, s.data)
			require.NoError(t, err)
			next++
			block = append(block, s)
		}
		require.Equal(t, n, e.Len())
		b, err := e.Close()
		require.NoError(t, err)
		require.Equal(t, n, b.Len())
		require.Equal(t, block[0].id, b.Start())
		require.Equal(t, 56, b.Repair())
		for i := range b.Repair() {
			p, err := b.AppendRepair(nil, Header{PacketID: 7, Timestamp: 9, Sequence: uint32(i)}, i)
			require.NoError(t, err)
			block = append(block, sent{packet: p, repair: true})
		}
		_, err = b.AppendRepair(nil, Header{}, 56)
		require.ErrorIs(t, err, ErrPacket)
		out = append(out, block)
		if c.Profile == LegacySSBG0 {
			next = b.Start() + 64
		}
	}
	return out
}

func receive(d *Decoder, s sent) error {
	if s.repair {
		return d.Repair(s.packet)
	}
	_, err := d.Source(s.packet)
	return err
}

func TestRecovery(t *testing.T) {
	for _, c := range []Config{layered, legacy} {
		for _, shuffled := range []bool{false, true} {
			rng := rand.New(rand.NewPCG(1, 2))
			d, err := NewDecoder(c, Limits{})
			require.NoError(t, err)
			want, got := make(map[string]int), make(map[string]int)
			key := func(id uint32, data []byte) string { return fmt.Sprintf("%d %x", id, data) }
			recovered := 0
			for _, block := range send(t, rng, c, 12) {
				if shuffled {
					rng.Shuffle(len(block), func(i, j int) { block[i], block[j] = block[j], block[i] })
				}
				for _, s := range block {
					if !s.repair {
						want[key(s.id, s.data)]++
						if rng.IntN(3) == 0 {
							continue
						}
					}
					err := receive(d, s)
					if errors.Is(err, ErrRecovered) {
						continue
					}
					require.NoError(t, err)
					if !s.repair {
						got[key(s.id, s.data)]++
						require.NoError(t, receive(d, s))
					}
				}
				for p, ok := d.Next(); ok; p, ok = d.Next() {
					recovered++
					got[key(p.ID, p.Data)]++
				}
				d.Blocks(func(start uint32, length, need int) { t.Fatalf("block %d of %d needs %d", start, length, need) })
			}
			require.Equal(t, want, got)
			require.Greater(t, recovered, 100)
			require.Empty(t, d.recent)
		}
	}
}

// Octets of source and repair packets, and of the symbols in them, by hand.
func TestWireFormat(t *testing.T) {
	c := Config{MaxBlock: 4, SymbolSize: 24, Layers: []Layer{{"r", 2, 240}}}
	e, err := NewEncoder(c, 0xffffffff)
	require.NoError(t, err)
	b, err := e.Close()
	require.NoError(t, err)
	require.Nil(t, b)
	p, err := e.AppendSource(nil, []byte("a first packet"))
	require.NoError(t, err)
	require.Equal(t, "a first packet\xff\xff\xff\xff", string(p))
	p, err = e.AppendSource(nil, []byte("the second packet"))
	require.NoError(t, err)
	require.Equal(t, "the second packet\x00\x00\x00\x00", string(p))
	b, err = e.Close()
	require.NoError(t, err)
	p, err = b.AppendRepair(nil, Header{PacketID: 0x1234, Timestamp: 0x01020304, Sequence: 5}, 1)
	require.NoError(t, err)
	q, err := raptorq.NewEncoder([]byte("\x00\x0ea first packet\x00\x00\x00\x00\x00\x00\x00\x00"+"\x00\x11the second packet\x00\x00\x00\x00\x00"), 24)
	require.NoError(t, err)
	require.Equal(t, "1003"+"1234"+"01020304"+"00000005"+"ffffffff"+"000002"+"000001"+"000002"+hex.EncodeToString(q.AppendSymbol(nil, 3)), hex.EncodeToString(p))
	require.Len(t, p, 25+24)
	r, err := ParseRepair(p)
	require.NoError(t, err)
	require.Equal(t, p, r.Append(nil))

	info := layered.Info(32)
	require.EqualValues(t, 32*104, info.TransferLength)
	require.NoError(t, info.Validate())
	info = legacy.Info(32)
	require.EqualValues(t, 64*104, info.TransferLength)
}

// The example of the draft: offsets 0, 8 and 24, and 56 repair symbols.
func TestLayers(t *testing.T) {
	for i, want := range []int{0, 8, 24, 56} {
		require.Equal(t, want, layered.LayerOffset(i))
	}
	require.Equal(t, 56, layered.RepairSymbols())
}

func TestTimes(t *testing.T) {
	c := Config{InterleaveDepth: 133 * time.Millisecond, Reorder: 20 * time.Millisecond}
	require.Equal(t, 4, c.Groups(33_330*time.Microsecond))
	require.Equal(t, 1, c.Groups(time.Second))
	require.Equal(t, 1, c.Groups(0))
	require.Equal(t, 1, (&Config{}).Groups(time.Second))
	require.Equal(t, 3, (&Config{InterleaveDepth: 250}).Groups(100)) // half away from zero
	require.Equal(t, time.Unix(0, 153_000_000), c.Deadline(time.Unix(0, 0)))
}

func TestGroups(t *testing.T) {
	group := GroupID(3, 77)
	require.Equal(t, uint64(3<<32|77), group)
	wraps, start, ok := SplitGroupID(group)
	require.True(t, ok)
	require.Equal(t, [2]uint32{3, 77}, [2]uint32{wraps, start})
	_, _, ok = SplitGroupID(1 << 62)
	require.False(t, ok)
	for _, x := range []struct {
		lost, previous uint64
		has            bool
		first, last    uint64
	}{{100, 0, false, 37, 100}, {10, 0, false, 0, 10}, {100, 80, true, 81, 100}, {100, 5, true, 37, 100}, {100, 100, true, 100, 100}} {
		first, last := layered.FetchRange(x.lost, x.previous, x.has)
		require.Equal(t, [2]uint64{x.first, x.last}, [2]uint64{first, last})
	}
}

func TestNegotiate(t *testing.T) {
	var s SourceTrack
	require.NoError(t, json.Unmarshal([]byte(`{"algorithm":"raptorq","blockProfile":"iso-ssbg1-v1","sourceSymbols":64,
		"repairSymbols":8,"symbolSize":1312,"interleaveDepthMs":133,"reorderToleranceMs":0,"repairTrack":"v/repair"}`), &s))
	tracks := func(text string) (tracks []RepairTrack) {
		require.NoError(t, json.Unmarshal([]byte(text), &tracks))
		return tracks
	}
	c, err := Negotiate("v", s, tracks(`[
		{"name":"v/2","depends":["v"],"repairLayer":2,"repairSymbols":32,"priority":250},
		{"name":"v/repair","depends":["v"],"repairSymbols":8},
		{"name":"a/repair","depends":["a"],"repairSymbols":2},
		{"name":"orphan"},
		{"name":"v/1","depends":["v"],"repairLayer":1,"repairSymbols":16}]`))
	require.NoError(t, err)
	require.Equal(t, Config{
		MaxBlock: 64, SymbolSize: 1312, InterleaveDepth: 133 * time.Millisecond, HasReorder: true,
		Layers: []Layer{{"v/repair", 8, 240}, {"v/1", 16, 240}, {"v/2", 32, 250}},
	}, c)

	one := `[{"name":"v/repair","depends":["v"],"repairSymbols":8}]`
	for _, x := range []struct {
		change func(*SourceTrack)
		tracks string
		want   error
	}{
		{func(s *SourceTrack) { s.Algorithm = "none" }, one, ErrNoFEC},
		{func(s *SourceTrack) { s.Algorithm = "reed-solomon" }, one, ErrNoFEC},
		{func(s *SourceTrack) { s.BlockProfile = "" }, one, ErrNoFEC},
		{func(s *SourceTrack) { s.BlockProfile = "iso-ssbg2" }, one, ErrNoFEC},
		{nil, `[]`, ErrNoFEC},
		{func(s *SourceTrack) { s.Enhancement = json.RawMessage("1") }, one, ErrCatalog},
		{func(s *SourceTrack) { s.SourceSymbols = 0 }, one, ErrCatalog},
		{func(s *SourceTrack) { s.SourceSymbols = 56404 }, one, ErrCatalog},
		{func(s *SourceTrack) { s.SymbolSize = 1300 }, one, ErrCatalog},
		{func(s *SourceTrack) { s.InterleaveDepthMs = -1 }, one, ErrCatalog},
		{func(s *SourceTrack) { x := -1.0; s.ReorderMs = &x }, one, ErrCatalog},
		{func(s *SourceTrack) { s.RepairSymbols = 9 }, one, ErrCatalog},
		{func(s *SourceTrack) { s.RepairTrack = "other" }, one, ErrCatalog},
		{nil, `[{"name":"v/repair","depends":["v","a"],"repairSymbols":8}]`, ErrCatalog},
		{nil, `[{"name":"v/repair","depends":["v"],"scope":"keyframe","repairSymbols":8}]`, ErrCatalog},
		{nil, `[{"name":"v/repair","depends":["v"],"repairSymbols":8,"symbolSize":8}]`, ErrCatalog},
		{nil, `[{"name":"v/repair","depends":["v"],"repairSymbols":8,"priority":191}]`, ErrCatalog},
		{nil, `[{"name":"v/repair","depends":["v"],"repairSymbols":8,"priority":256}]`, ErrCatalog},
		{nil, `[{"name":"v/repair","depends":["v"],"repairSymbols":8},{"name":"x","depends":["v"],"repairSymbols":8}]`, ErrCatalog},
		{nil, `[{"name":"v/repair","depends":["v"],"repairSymbols":8},{"name":"x","depends":["v"],"repairLayer":2,"repairSymbols":8}]`, ErrCatalog},
		{nil, `[{"name":"v/repair","depends":["v"],"repairSymbols":8},{"name":"x","depends":["v"],"repairLayer":0,"repairSymbols":8}]`, ErrCatalog},
		{nil, `[{"name":"v/repair","depends":["v"],"repairSymbols":8},{"name":"x","depends":["v"],"repairLayer":1,"repairSymbols":8,"priority":200}]`, ErrCatalog},
		{nil, `[{"name":"v/repair","depends":["v"],"repairSymbols":8},{"name":"x","depends":["v"],"repairLayer":1,"repairSymbols":16777215}]`, ErrCatalog},
	} {
		s := s
		if x.change != nil {
			x.change(&s)
		}
		_, err := Negotiate("v", s, tracks(x.tracks))
		require.ErrorIs(t, err, x.want, x.tracks)
	}
}

func TestRefusals(t *testing.T) {
	_, err := NewEncoder(Config{}, 0)
	require.ErrorIs(t, err, ErrCatalog)
	_, err = NewEncoder(legacy, 5)
	require.ErrorIs(t, err, ErrCatalog)
	_, err = NewDecoder(Config{}, Limits{})
	require.ErrorIs(t, err, ErrCatalog)
	_, err = NewDecoder(layered, Limits{Memory: 1000})
	require.ErrorIs(t, err, ErrBudget)
	e, err := NewEncoder(layered, 0)
	require.NoError(t, err)
	for _, n := range []int{11, 103} {
		_, err = e.AppendSource(nil, make([]byte, n))
		require.ErrorIs(t, err, ErrPacket)
	}
	for range 64 {
		_, err = e.Add(make([]byte, 102))
		require.NoError(t, err)
	}
	_, err = e.Add(make([]byte, 12))
	require.ErrorIs(t, err, ErrFull)

	rng := rand.New(rand.NewPCG(5, 6))
	blocks := send(t, rng, layered, 6)
	repair := func(block, i int) []byte { return bytes.Clone(blocks[block][len(blocks[block])-56+i].packet) }
	d, err := NewDecoder(layered, Limits{Blocks: 2, Recent: 5})
	require.NoError(t, err)
	good := repair(2, 0)
	for n := range repairHeader {
		require.ErrorIs(t, d.Repair(good[:n]), io.ErrUnexpectedEOF)
	}
	for _, change := range []func([]byte){
		func(b []byte) { b[0] = 0x08 },                    // FEC type
		func(b []byte) { b[1] = 0 },                       // type
		func(b []byte) { b[24] = 0 },                      // SSB_length
		func(b []byte) { b[24] = 65 },                     // SSB_length
		func(b []byte) { b[21] = 56 },                     // RS_ID
		func(b []byte) { b[16], b[17] = 0, 0; b[18] = 0 }, // RSB_length
	} {
		b := bytes.Clone(good)
		change(b)
		require.ErrorIs(t, d.Repair(b), ErrPacket)
	}
	require.ErrorIs(t, d.Repair(append(good, 0)), ErrPacket)
	require.Empty(t, d.blocks)
	require.NoError(t, d.Repair(good))
	start := blocks[2][0].id
	require.Len(t, d.AppendMissing(nil, start), len(blocks[2])-56)
	seen := 0
	d.Blocks(func(s uint32, length, need int) {
		require.Equal(t, [3]int{int(start), len(blocks[2]) - 56, len(blocks[2]) - 57}, [3]int{int(s), length, need})
		seen++
	})
	require.Equal(t, 1, seen)
	longer := bytes.Clone(good)
	longer[24]++
	require.ErrorIs(t, d.Repair(longer), ErrConflict)
	for _, move := range []byte{1, 255} { // overlaps
		moved := bytes.Clone(good)
		moved[15] += move
		require.ErrorIs(t, d.Repair(moved), ErrConflict)
	}
	corrupt := bytes.Clone(good)
	corrupt[30] ^= 1
	require.ErrorIs(t, d.Repair(corrupt), ErrConflict)
	require.NoError(t, d.Repair(repair(3, 0)))
	require.ErrorIs(t, d.Repair(repair(1, 0)), ErrOld)
	require.NoError(t, d.Repair(repair(4, 0)))
	require.Len(t, d.blocks, 2)
	require.ErrorIs(t, d.Repair(good), ErrOld)
	d.Drop(blocks[4][0].id)
	require.Empty(t, d.AppendMissing(nil, blocks[4][0].id))
	require.NoError(t, d.Repair(repair(4, 1)))
	_, err = d.Source(make([]byte, 15))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = d.Source(make([]byte, 110))
	require.ErrorIs(t, err, ErrPacket)
	for i := range uint32(20) {
		require.NoError(t, d.Add(1<<31+i, make([]byte, 12)))
		require.LessOrEqual(t, len(d.recent), 5)
	}
}

func TestPoisoned(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 20 {
		block := send(t, rng, layered, 1)[0]
		d, err := NewDecoder(layered, Limits{})
		require.NoError(t, err)
		poisoned := false
		for i, s := range block {
			if i < 5 {
				continue
			}
			if s.repair {
				s.packet = bytes.Clone(s.packet)
				for j := repairHeader; j < len(s.packet); j++ {
					s.packet[j] ^= byte(rng.Uint32())
				}
			}
			if err := receive(d, s); err != nil {
				require.ErrorIs(t, err, ErrPoisoned)
				poisoned = true
				break
			}
		}
		require.True(t, poisoned)
		_, ok := d.Next()
		require.False(t, ok)
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	e, err := NewEncoder(layered, 0)
	require.NoError(t, err)
	for range 64 {
		_, err = e.Add(make([]byte, 12+rng.IntN(50)))
		require.NoError(t, err)
	}
	b, err := e.Close()
	require.NoError(t, err)
	buf := make([]byte, 0, 200)
	require.Zero(t, alloctest.PerRun(func() {
		p, _ := b.AppendRepair(buf, Header{}, 3)
		if _, err := ParseRepair(p); err != nil {
			panic(err)
		}
	}))
}

func FuzzRepair(f *testing.F) {
	f.Add((&Repair{Start: 5, Total: 6, ID: 1, Length: 7, Symbol: make([]byte, 24)}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRepair(b)
		if err != nil {
			return
		}
		again, err := ParseRepair(r.Append(nil))
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}

func FuzzNegotiate(f *testing.F) {
	f.Add([]byte(`{"algorithm":"raptorq","blockProfile":"iso-ssbg1-v1","sourceSymbols":64,"repairSymbols":8,"symbolSize":1312,"repairTrack":"r"}`),
		[]byte(`[{"name":"r","depends":["v"],"repairSymbols":8},{"name":"x","depends":["v"],"repairLayer":1,"repairSymbols":8}]`))
	f.Fuzz(func(t *testing.T, source, tracks []byte) {
		var s SourceTrack
		var r []RepairTrack
		if json.Unmarshal(source, &s) != nil || json.Unmarshal(tracks, &r) != nil {
			return
		}
		c, err := Negotiate("v", s, r)
		if err == nil {
			require.NoError(t, c.Validate())
			info := c.Info(c.MaxBlock)
			require.NoError(t, info.Validate())
		} else {
			require.True(t, errors.Is(err, ErrNoFEC) || errors.Is(err, ErrCatalog))
		}
	})
}

// FuzzDecoder feeds decoders with packets of a session, packets with some octet changed,
// and octets of the fuzzer. Good packets alone give good packets.
func FuzzDecoder(f *testing.F) {
	f.Add(uint8(0), []byte{0, 0, 2, 1, 40, 2, 60, 4, 70, 6, 71, 8, 72, 10, 1, 77, 255, 255, 255, 255, 0, 0, 0, 0})
	f.Add(uint8(1), []byte{0, 200, 0, 201, 0, 202, 1, 203, 0, 1, 0, 2, 0, 3})
	f.Fuzz(func(t *testing.T, profile uint8, script []byte) {
		c := []Config{layered, legacy}[profile%2]
		var packets []sent
		for _, b := range send(t, rand.New(rand.NewPCG(uint64(profile), 1)), c, 2) {
			packets = append(packets, b...)
		}
		known := make(map[string]bool)
		for _, s := range packets {
			known[fmt.Sprintf("%d %x", s.id, s.data)] = true
		}
		good, err := NewDecoder(c, Limits{Blocks: 2})
		require.NoError(t, err)
		hostile, err := NewDecoder(c, Limits{Blocks: 2, Recent: 9})
		require.NoError(t, err)
		for i := 0; i+1 < len(script); i += 2 {
			s := packets[int(script[i+1])%len(packets)]
			if script[i]&1 == 0 {
				receive(good, s)
				for p, ok := good.Next(); ok; p, ok = good.Next() {
					require.True(t, known[fmt.Sprintf("%d %x", p.ID, p.Data)])
				}
			} else {
				s.packet = bytes.Clone(s.packet)
				s.packet[int(script[i]>>1)%len(s.packet)] ^= script[i+1]
			}
			receive(hostile, s)
			receive(hostile, sent{packet: script[i:], repair: script[i]&2 == 0})
			require.LessOrEqual(t, len(hostile.blocks), 2)
			require.LessOrEqual(t, len(hostile.recent), 9)
		}
	})
}

func BenchmarkDecoder(b *testing.B) {
	c := Config{MaxBlock: 32, SymbolSize: 1312, Layers: []Layer{{"r", 8, 240}}}
	e, err := NewEncoder(c, 0)
	if err != nil {
		b.Fatal(err)
	}
	var packets [][]byte
	for range 32 {
		p, err := e.AppendSource(nil, make([]byte, 1300))
		if err != nil {
			b.Fatal(err)
		}
		packets = append(packets, p)
	}
	block, err := e.Close()
	if err != nil {
		b.Fatal(err)
	}
	var repair [][]byte
	for i := range 8 {
		p, err := block.AppendRepair(nil, Header{}, i)
		if err != nil {
			b.Fatal(err)
		}
		repair = append(repair, p)
	}
	b.SetBytes(32 * 1300)
	for b.Loop() {
		d, err := NewDecoder(c, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		for _, p := range packets[4:] {
			d.Source(p)
		}
		for _, p := range repair {
			d.Repair(p)
		}
		if _, ok := d.Next(); !ok {
			b.Fatal("nothing recovered")
		}
	}
}

func Example() {
	config := Config{MaxBlock: 32, SymbolSize: 64, Layers: []Layer{{Name: "video/repair", Symbols: 3, Priority: 240}}}
	enc, err := NewEncoder(config, 1000)
	if err != nil {
		panic(err)
	}
	dec, err := NewDecoder(config, Limits{})
	if err != nil {
		panic(err)
	}
	for i := range 10 {
		packet, err := enc.AppendSource(nil, fmt.Appendf(nil, "MMTP packet %d", i))
		if err != nil {
			panic(err)
		}
		if i == 4 || i == 5 { // lost
			continue
		}
		if _, err := dec.Source(packet); err != nil {
			panic(err)
		}
	}
	block, err := enc.Close()
	if err != nil {
		panic(err)
	}
	for i := range block.Repair() {
		packet, err := block.AppendRepair(nil, Header{PacketID: 7}, i)
		if err != nil {
			panic(err)
		}
		if err := dec.Repair(packet); err != nil {
			panic(err)
		}
	}
	for p, ok := dec.Next(); ok; p, ok = dec.Next() {
		fmt.Printf("%d: %s\n", p.ID, p.Data)
	}
	// Output:
	// 1004: MMTP packet 4
	// 1005: MMTP packet 5
}
