package bundle

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/treedn/treedn/fec/fecframe"
	"github.com/treedn/treedn/fec/internal/alloctest"
	"github.com/treedn/treedn/fec/raptorq"
)

var (
	mapped   = Descriptor{ID: 7, Flows: []uint8{3, 1, 9}, SymbolSize: 64, MaxBlock: 100}
	explicit = Descriptor{Mode: Explicit, Flows: []uint8{3, 1, 9}, SymbolSize: 64, MaxBlock: 100}
	start    = time.Unix(1_000_000, 0)
)

type sent struct {
	flow   uint8
	seq    uint32
	data   []byte
	packet []byte
	repair bool
}

func (s sent) String() string { return fmt.Sprintf("%d %d %x", s.flow, s.seq, s.data) }

// send makes blocks of packets of all flows, with the same content in both modes.
func send(t *testing.T, rng *rand.Rand, d Descriptor, blocks, r int) (out [][]sent) {
	seq := map[uint8]uint32{3: 1<<32 - 10, 1: 5, 9: 70000}
	var e *Encoder
	var f *fecframe.Encoder
	var err error
	if d.Mode == Mapped {
		e, err = NewEncoder(d)
	} else {
		f, err = fecframe.NewEncoder(fecframe.Config{Scheme: fecframe.RaptorQArbitrary, SymbolSize: d.SymbolSize, MaxBlock: d.MaxBlock})
	}
	require.NoError(t, err)
	for range blocks {
		var block []sent
		for range 10 + rng.IntN(80) {
			flow := d.Flows[min(rng.IntN(5), 2)]
			s := sent{flow: flow, seq: seq[flow], data: make([]byte, rng.IntN(62))}
			for i := range s.data {
				s.data[i] = byte(rng.Uint32())
			}
			seq[flow]++
			if d.Mode == Mapped {
				require.NoError(t, e.Add(flow, s.seq, s.data))
				s.packet = s.data
			} else {
				id, err := f.Add(flow, s.data)
				require.NoError(t, err)
				config := f.Config()
				s.packet = config.AppendSourceID(bytes.Clone(s.data), id)
				s.seq = 0
			}
			block = append(block, s)
		}
		var appendRepair func(int) ([]byte, error)
		if d.Mode == Mapped {
			require.Equal(t, len(block), e.Len())
			b, err := e.Close(r)
			require.NoError(t, err)
			require.Equal(t, len(block), b.Len())
			require.Equal(t, r, b.Repair())
			appendRepair = func(i int) ([]byte, error) { return b.AppendRepair(nil, i) }
		} else {
			b, err := f.Close(r)
			require.NoError(t, err)
			appendRepair = func(i int) ([]byte, error) { return b.AppendRepair(nil, i) }
		}
		for i := range r {
			p, err := appendRepair(i)
			require.NoError(t, err)
			block = append(block, sent{packet: p, repair: true})
		}
		out = append(out, block)
	}
	return out
}

func receive(d *Decoder, now time.Time, s sent) error {
	if s.repair {
		return d.Repair(now, s.packet)
	}
	_, err := d.Source(now, s.flow, s.seq, s.packet)
	return err
}

// One decoder for both modes: lost packets come back, each packet once.
func TestRecovery(t *testing.T) {
	for _, d := range []Descriptor{mapped, explicit} {
		for _, shuffled := range []bool{false, true} {
			rng := rand.New(rand.NewPCG(1, 2))
			x, err := NewDecoder(d, Limits{})
			require.NoError(t, err)
			x.Check = func(flow uint8, seq uint32, packet []byte) bool { return len(packet) < 62 }
			now := start
			want, got := make(map[string]int), make(map[string]int)
			recovered := 0
			for _, block := range send(t, rng, d, 12, 40) {
				if shuffled {
					rng.Shuffle(len(block), func(i, j int) { block[i], block[j] = block[j], block[i] })
				}
				lost := 0
				for _, s := range block {
					now = now.Add(time.Millisecond)
					if !s.repair {
						want[s.String()]++
						if lost < 30 && rng.IntN(3) == 0 {
							lost++
							continue
						}
					}
					err := receive(x, now, s)
					if errors.Is(err, fecframe.ErrRecovered) {
						continue
					}
					require.NoError(t, err)
					if !s.repair {
						got[s.String()]++
						require.NoError(t, receive(x, now, s))
					}
				}
				for p, ok := x.Next(); ok; p, ok = x.Next() {
					recovered++
					got[sent{flow: p.Flow, seq: p.Seq, data: p.Data}.String()]++
				}
			}
			require.Equal(t, want, got)
			require.Greater(t, recovered, 100)
		}
	}
}

// The octets of a repair packet, put together by hand.
func TestWireFormat(t *testing.T) {
	e, err := NewEncoder(mapped)
	require.NoError(t, err)
	_, err = e.Close(1)
	require.NoError(t, err)
	require.NoError(t, e.Add(9, 0x01020304, []byte("x")))
	require.NoError(t, e.Add(1, 2, []byte("first")))
	require.NoError(t, e.Add(1, 3, []byte("second")))
	require.NoError(t, e.Add(1, 4, []byte("third")))
	b, err := e.Close(2)
	require.NoError(t, err)
	// Keys: flow 1 has 1/6, 3/6, 5/6, flow 9 has 1/2.
	source := make([]byte, 4*64)
	copy(source, "\x01\x00\x05first")
	copy(source[64:], "\x01\x00\x06second")
	copy(source[128:], "\x09\x00\x01x")
	copy(source[192:], "\x01\x00\x05third")
	q, err := raptorq.NewEncoder(source, 64)
	require.NoError(t, err)
	for i, first := range []string{"10", "11"} {
		p, err := b.AppendRepair(nil, i)
		require.NoError(t, err)
		want := first + "02" + "0004" + "00000007" + "00000000" + "00" + fmt.Sprintf("%06x", 4+i) +
			"01" + "00" + "0003" + "00000002" + "09" + "00" + "0001" + "01020304" + hex.EncodeToString(q.AppendSymbol(nil, uint32(4+i)))
		require.Equal(t, want, hex.EncodeToString(p))
		var r Repair
		require.NoError(t, r.Parse(p))
		require.Equal(t, p, r.Append(nil))
		require.Equal(t, i == 1, r.Last)
	}
	_, err = b.AppendRepair(nil, 2)
	require.ErrorIs(t, err, ErrPacket)
}

// The order of RFC-less arithmetic against a plain sort by fractions.
func TestOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var m []Range
		total := 0
		for f := range 1 + rng.IntN(maxFlows) {
			n := 1 + rng.IntN(30)
			m = append(m, Range{Flow: uint8(f * 3), Count: uint16(n), First: rng.Uint32()})
			total += n
		}
		places := order(m)
		require.Len(t, places, total)
		last, lastFlow := -1.0, -1
		for _, p := range places {
			r := m[p.flow/3]
			key := float64(2*(p.seq-r.First)+1) / float64(2*int(r.Count))
			require.True(t, key > last+1e-12 || key > last-1e-12 && int(p.flow) > lastFlow)
			last, lastFlow = key, int(p.flow)
		}
	}
}

func TestEncoderRefuses(t *testing.T) {
	e, err := NewEncoder(Descriptor{Flows: []uint8{1, 2}, SymbolSize: 64, MaxBlock: 3})
	require.NoError(t, err)
	require.ErrorIs(t, e.Add(3, 0, nil), ErrPacket)
	require.ErrorIs(t, e.Add(1, 0, make([]byte, 62)), ErrPacket)
	require.NoError(t, e.Add(1, 1<<32-1, make([]byte, 61)))
	require.ErrorIs(t, e.Add(1, 1, nil), ErrGap)
	require.NoError(t, e.Add(1, 0, nil))
	require.NoError(t, e.Add(2, 0, nil))
	require.ErrorIs(t, e.Add(2, 1, nil), ErrFull)
	_, err = e.Close(-1)
	require.ErrorIs(t, err, ErrDescriptor)
	_, err = e.Close(1 << 24)
	require.ErrorIs(t, err, ErrDescriptor)
	require.Equal(t, 3, e.Len())
	_, err = NewEncoder(explicit)
	require.ErrorIs(t, err, ErrDescriptor)
	for _, d := range []Descriptor{
		{}, {Flows: []uint8{1, 1}, SymbolSize: 64, MaxBlock: 3}, {Flows: make([]uint8, 33), SymbolSize: 64, MaxBlock: 3},
		{Flows: []uint8{1}, SymbolSize: 60, MaxBlock: 3}, {Flows: []uint8{1}, SymbolSize: 68, MaxBlock: 3}, {Flows: []uint8{1}, SymbolSize: 65536, MaxBlock: 3},
		{Flows: []uint8{1}, SymbolSize: 64}, {Flows: []uint8{1}, SymbolSize: 64, MaxBlock: 1025}, {Mode: 2, Flows: []uint8{1}, SymbolSize: 64, MaxBlock: 5},
	} {
		_, err := NewEncoder(d)
		require.ErrorIs(t, err, ErrDescriptor)
		_, err = NewDecoder(d, Limits{})
		require.ErrorIs(t, err, ErrDescriptor)
	}
	for _, d := range []Descriptor{mapped, explicit} {
		_, err = NewDecoder(d, Limits{Memory: 1000})
		require.ErrorIs(t, err, ErrBudget)
	}
}

func TestDecoderRefuses(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	blocks := send(t, rng, mapped, 8, 3)
	repair := func(block, i int) []byte { return bytes.Clone(blocks[block][len(blocks[block])-3+i].packet) }
	x, err := NewDecoder(mapped, Limits{Blocks: 2, Recent: 5})
	require.NoError(t, err)
	good := repair(0, 0)
	for n := range headerLen + 3*rangeLen {
		require.ErrorIs(t, x.Repair(start, good[:n]), io.ErrUnexpectedEOF)
	}
	for _, change := range []func([]byte){
		func(b []byte) { b[0] = 0x20 },                    // version
		func(b []byte) { b[3]++ },                         // K
		func(b []byte) { b[2], b[3] = 0, 0 },              // K
		func(b []byte) { b[7]++ },                         // bundle
		func(b []byte) { b[13], b[14], b[15] = 0, 0, 1 },  // a source symbol's ESI
		func(b []byte) { b[16] = b[24] },                  // a flow twice
		func(b []byte) { b[16] = 77 },                     // unknown flow
		func(b []byte) { b[19]--; b[27]++; b[18] = 0xff }, // K too large
	} {
		b := bytes.Clone(good)
		change(b)
		require.ErrorIs(t, x.Repair(start, b), ErrPacket)
	}
	require.ErrorIs(t, x.Repair(start, append(good, 0)), ErrPacket)
	require.Empty(t, x.blocks)
	require.NoError(t, x.Repair(start, good))
	require.Len(t, x.AppendMissing(nil), len(blocks[0])-3)
	other := repair(0, 1)
	other[23] ^= 1 // first sequence number
	require.ErrorIs(t, x.Repair(start, other), ErrConflict)
	corrupt := bytes.Clone(good)
	corrupt[len(corrupt)-1] ^= 1
	require.ErrorIs(t, x.Repair(start, corrupt), ErrConflict)
	require.NoError(t, x.Repair(start, repair(3, 0)))
	require.Len(t, x.blocks, 1)
	require.ErrorIs(t, x.Repair(start, repair(1, 0)), ErrOld)
	require.NoError(t, x.Repair(start, repair(2, 0)))
	// All blocks expire, and then a sender may begin anew.
	require.NoError(t, x.Repair(start.Add(time.Second), good))
	require.Len(t, x.blocks, 1)

	_, err = x.Source(start, 77, 0, nil)
	require.ErrorIs(t, err, ErrPacket)
	_, err = x.Source(start, 1, 0, make([]byte, 62))
	require.ErrorIs(t, err, ErrPacket)
	for seq := range uint32(20) {
		_, err = x.Source(start, 1, seq, nil)
		require.NoError(t, err)
		require.LessOrEqual(t, len(x.recent[1].packets), 5)
	}
	_, err = x.Source(start.Add(2*time.Second), 1, 99, nil)
	require.NoError(t, err)
	require.Len(t, x.recent[1].packets, 1)
}

func TestPoisoned(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for round := range 40 {
		block := send(t, rng, mapped, 1, 20)[0]
		x, err := NewDecoder(mapped, Limits{})
		require.NoError(t, err)
		if round == 0 {
			x.Check = func(uint8, uint32, []byte) bool { return false }
		}
		poisoned := false
		for i, s := range block {
			if i < 5 {
				continue
			}
			if s.repair && round > 0 {
				s.packet = bytes.Clone(s.packet)
				for j := len(s.packet) - 64; j < len(s.packet); j++ {
					s.packet[j] ^= byte(rng.Uint32())
				}
			}
			if err := receive(x, start, s); err != nil {
				require.ErrorIs(t, err, ErrPoisoned)
				poisoned = true
				break
			}
		}
		require.True(t, poisoned)
		_, ok := x.Next()
		require.False(t, ok)
	}
}

func TestAppendRepairDoesNotAllocate(t *testing.T) {
	e, err := NewEncoder(mapped)
	require.NoError(t, err)
	for i := range uint32(50) {
		require.NoError(t, e.Add(1, i, make([]byte, 60)))
	}
	b, err := e.Close(8)
	require.NoError(t, err)
	buf := make([]byte, 0, 200)
	require.Zero(t, alloctest.PerRun(func() { b.AppendRepair(buf, 3) }))
	p, err := b.AppendRepair(nil, 3)
	require.NoError(t, err)
	r := Repair{Map: make([]Range, 0, maxFlows)}
	require.Zero(t, alloctest.PerRun(func() {
		if r.Parse(p) != nil {
			panic("refused")
		}
	}))
}

func FuzzRepair(f *testing.F) {
	e, err := NewEncoder(mapped)
	require.NoError(f, err)
	for _, flow := range mapped.Flows {
		require.NoError(f, e.Add(flow, uint32(flow), []byte("packet")))
	}
	b, err := e.Close(1)
	require.NoError(f, err)
	p, err := b.AppendRepair(nil, 0)
	require.NoError(f, err)
	f.Add(p)
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Repair
		if r.Parse(b) != nil {
			return
		}
		var again Repair
		require.NoError(t, again.Parse(r.Append(nil)))
		require.Equal(t, r, again)
		if r.K() <= maxBlock {
			require.Len(t, order(r.Map), r.K())
		}
	})
}

// FuzzDecoder feeds decoders with packets of a session, packets with some octet changed,
// and octets of the fuzzer. Good packets alone give good packets.
func FuzzDecoder(f *testing.F) {
	f.Add(uint8(0), []byte{0, 0, 2, 1, 40, 2, 60, 4, 70, 6, 71, 8, 72, 10, 1, 77, 255, 255, 255, 255, 0, 0, 0, 0})
	f.Add(uint8(1), []byte{0, 200, 0, 201, 0, 202, 1, 203, 0, 1, 0, 2, 0, 3})
	f.Fuzz(func(t *testing.T, mode uint8, script []byte) {
		d := []Descriptor{mapped, explicit}[mode%2]
		var packets []sent
		for _, b := range send(t, rand.New(rand.NewPCG(uint64(mode), 1)), d, 3, 30) {
			packets = append(packets, b...)
		}
		known := make(map[string]bool)
		for _, s := range packets {
			known[s.String()] = true
		}
		good, err := NewDecoder(d, Limits{Blocks: 2})
		require.NoError(t, err)
		hostile, err := NewDecoder(d, Limits{Blocks: 2, Recent: 9})
		require.NoError(t, err)
		now := start
		for i := 0; i+1 < len(script); i += 2 {
			now = now.Add(time.Duration(script[i]>>5) * 50 * time.Millisecond)
			s := packets[int(script[i+1])%len(packets)]
			if script[i]&1 == 0 {
				receive(good, now, s)
				for p, ok := good.Next(); ok; p, ok = good.Next() {
					require.True(t, known[sent{flow: p.Flow, seq: p.Seq, data: p.Data}.String()])
				}
			} else if len(s.packet) > 0 {
				s.packet = bytes.Clone(s.packet)
				s.packet[int(script[i]>>1)%len(s.packet)] ^= script[i+1]
			}
			receive(hostile, now, s)
			receive(hostile, now, sent{packet: script[i:], flow: 1, seq: uint32(script[i+1]), repair: script[i]&2 == 0})
			hostile.AppendMissing(nil)
			require.LessOrEqual(t, len(hostile.blocks), 2)
		}
	})
}

func BenchmarkDecoder(b *testing.B) {
	d := Descriptor{Flows: []uint8{1, 2, 3, 4}, SymbolSize: 1344, MaxBlock: 256}
	e, err := NewEncoder(d)
	if err != nil {
		b.Fatal(err)
	}
	packet := make([]byte, 1300)
	for i := range uint32(256) {
		if err := e.Add(uint8(1+i%4), i/4, packet); err != nil {
			b.Fatal(err)
		}
	}
	block, err := e.Close(64)
	if err != nil {
		b.Fatal(err)
	}
	var repair [][]byte
	for i := range 64 {
		p, err := block.AppendRepair(nil, i)
		if err != nil {
			b.Fatal(err)
		}
		repair = append(repair, p)
	}
	b.SetBytes(256 * 1300)
	for b.Loop() {
		x, err := NewDecoder(d, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		for i := range uint32(256) {
			if i%10 > 0 {
				x.Source(start, uint8(1+i%4), i/4, packet)
			}
		}
		for _, p := range repair {
			x.Repair(start, p)
		}
		if _, ok := x.Next(); !ok {
			b.Fatal("nothing recovered")
		}
	}
}

func Example() {
	d := Descriptor{Flows: []uint8{1, 2}, SymbolSize: 64, MaxBlock: 100}
	enc, err := NewEncoder(d)
	if err != nil {
		panic(err)
	}
	dec, err := NewDecoder(d, Limits{Window: 200 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	now := time.Unix(0, 0)
	for i := range uint32(6) {
		for _, flow := range d.Flows {
			packet := fmt.Appendf(nil, "packet %d of flow %d", i, flow)
			if err := enc.Add(flow, i, packet); err != nil {
				panic(err)
			}
			if i == 3 { // lost in both flows
				continue
			}
			if _, err := dec.Source(now, flow, i, packet); err != nil {
				panic(err)
			}
		}
	}
	block, err := enc.Close(3)
	if err != nil {
		panic(err)
	}
	for i := range block.Repair() {
		packet, err := block.AppendRepair(nil, i)
		if err != nil {
			panic(err)
		}
		if err := dec.Repair(now, packet); err != nil {
			panic(err)
		}
	}
	for p, ok := dec.Next(); ok; p, ok = dec.Next() {
		fmt.Printf("%s\n", p.Data)
	}
	// Output:
	// packet 3 of flow 1
	// packet 3 of flow 2
}
