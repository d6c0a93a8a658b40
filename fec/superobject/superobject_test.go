package superobject

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/fec/raptorq"
)

type super struct {
	members []Member
	objects [][]byte
	info    fec.ObjectInfo
	source  *Source
	blocks  []*object.Block
}

func build(t *testing.T, rng *rand.Rand, lengths []int, y uint16, maxBlock int) *super {
	s := new(super)
	var readers []io.ReaderAt
	for i, n := range lengths {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32() | 1)
		}
		s.objects = append(s.objects, b)
		s.members = append(s.members, Member{TSI: uint32(i % 2), TOI: uint32(i), Length: uint32(n)})
		readers = append(readers, bytes.NewReader(b))
	}
	var err error
	s.info, err = Info(s.members, y, maxBlock)
	require.NoError(t, err)
	s.source = NewSource(s.members, y, readers)
	var codec object.Codec
	enc, err := codec.NewEncoder(s.info, s.source)
	require.NoError(t, err)
	for sbn := range uint32(s.info.Blocks()) {
		b, err := enc.Block(sbn)
		require.NoError(t, err)
		s.blocks = append(s.blocks, b)
	}
	return s
}

// layout is what signalling tells a receiver: sizes in symbols.
func (s *super) layout() (members []Member) {
	for _, m := range s.members {
		members = append(members, Member{TSI: m.TSI, TOI: m.TOI, Symbols: Symbols(m.Length, s.info.SymbolSize)})
	}
	return members
}

// The octets of RFC 9223 section 5.6, in one object.
func TestSource(t *testing.T) {
	members := []Member{{Length: 5}, {Length: 4}, {Length: 0}, {Length: 11}}
	s := NewSource(members, 8, []io.ReaderAt{
		bytes.NewReader([]byte("hello")), bytes.NewReader([]byte("four")), bytes.NewReader(nil), bytes.NewReader([]byte("eleven more")),
	})
	want := "hello\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05" + "four\x00\x00\x00\x04" + "\x00\x00\x00\x00\x00\x00\x00\x00" +
		"eleven more\x00\x00\x00\x00\x0b"
	info, err := Info(members, 8, 100)
	require.NoError(t, err)
	require.EqualValues(t, len(want), info.TransferLength)
	for from := range want {
		for to := from; to <= len(want); to++ {
			b := bytes.Repeat([]byte{9}, to-from)
			n, err := s.ReadAt(b, int64(from))
			require.NoError(t, err)
			require.Equal(t, to-from, n)
			require.Equal(t, want[from:to], string(b))
		}
	}
	n, err := s.ReadAt(make([]byte, 9), int64(len(want)-4))
	require.Equal(t, 4, n)
	require.Equal(t, io.EOF, err)
	_, err = s.ReadAt(nil, -1)
	require.ErrorIs(t, err, ErrLayout)
	short := NewSource(members[:1], 8, []io.ReaderAt{bytes.NewReader([]byte("hel"))})
	_, err = short.ReadAt(make([]byte, 16), 0)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// Source packets of any cut get lost; what comes out completes the objects exactly.
func TestRecovery(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		lengths := make([]int, 1+rng.IntN(6))
		for i := range lengths {
			lengths[i] = rng.IntN(3000)
		}
		y := uint16(8 * (1 + rng.IntN(16)))
		s := build(t, rng, lengths, y, 10+rng.IntN(100))
		members := s.layout()
		if round%3 == 0 {
			copy(members, s.members) // lengths are known
		}
		a, err := NewAssembler(s.info, members, Config{})
		require.NoError(t, err)
		got := make([][]byte, len(s.objects))
		have := make([][]bool, len(s.objects))
		type packet struct {
			member, from, to int
			repair           []byte
		}
		var packets []packet
		for i, b := range s.objects {
			got[i], have[i] = make([]byte, len(b)), make([]bool, len(b))
			for from := 0; from < len(b); {
				to := min(len(b), from+1+rng.IntN(200))
				if rng.IntN(6) > 0 {
					packets = append(packets, packet{member: i, from: from, to: to})
				}
				from = to
			}
		}
		for _, b := range s.blocks {
			for i := range b.K() + 3 {
				p, err := b.AppendPacket(nil, b.SourcePackets()+i)
				require.NoError(t, err)
				packets = append(packets, packet{repair: p})
			}
		}
		rng.Shuffle(len(packets), func(i, j int) { packets[i], packets[j] = packets[j], packets[i] })
		for _, p := range packets {
			if p.repair != nil {
				require.NoError(t, a.Repair(p.repair))
				continue
			}
			require.NoError(t, a.Source(p.member, uint64(p.from), s.objects[p.member][p.from:p.to]))
			for i := p.from; i < p.to; i++ {
				got[p.member][i], have[p.member][i] = s.objects[p.member][i], true
			}
		}
		require.True(t, a.Done())
		require.Zero(t, a.Memory())
		require.Empty(t, a.pending)
		for p, ok := a.Next(); ok; p, ok = a.Next() {
			require.LessOrEqual(t, int(p.Offset)+len(p.Data), len(got[p.Member]))
			for i, x := range p.Data {
				got[p.Member][int(p.Offset)+i], have[p.Member][int(p.Offset)+i] = x, true
			}
		}
		for i, b := range s.objects {
			require.Equal(t, b, got[i], "object %d of %v, Y = %d", i, lengths, y)
			require.NotContains(t, have[i], false)
		}
	}
}

// Padding may begin in the last symbol but one.
func TestPaddingAcrossSymbols(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for n := 20; n <= 29; n++ { // Y = 8: from 21 to 24 the length field is alone in the last symbol
		for maxBlock := 1; maxBlock < 6; maxBlock++ {
			s := build(t, rng, []int{n, 3}, 8, maxBlock)
			a, err := NewAssembler(s.info, s.layout(), Config{})
			require.NoError(t, err)
			for _, b := range s.blocks {
				for i := range b.K() + 2 {
					p, err := b.AppendPacket(nil, b.SourcePackets()+i)
					require.NoError(t, err)
					require.NoError(t, a.Repair(p))
				}
			}
			require.True(t, a.Done())
			var got [2][]byte
			for p, ok := a.Next(); ok; p, ok = a.Next() {
				b := got[p.Member]
				b = append(b, make([]byte, max(0, int(p.Offset)+len(p.Data)-len(b)))...)
				copy(b[p.Offset:], p.Data)
				got[p.Member] = b
			}
			require.Equal(t, s.objects, got[:], "%d octets, blocks of %d", n, maxBlock)
			length, ok := a.Length(0)
			require.True(t, ok)
			require.EqualValues(t, n, length)
		}
	}
}

func TestPoisoned(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	s := build(t, rng, []int{100, 60}, 8, 100)
	poisoned := 0
	for bit := range 64 {
		a, err := NewAssembler(s.info, s.layout(), Config{})
		require.NoError(t, err)
		err = a.Source(0, 2, s.objects[0][2:50])
		require.NoError(t, err)
		for i := 0; err == nil && !a.Done(); i++ {
			p, err2 := s.blocks[0].AppendPacket(nil, s.blocks[0].SourcePackets()+i)
			require.NoError(t, err2)
			if i == 3 {
				p[4+bit/8] ^= 1 << (bit % 8)
			}
			err = a.Repair(p)
		}
		if err != nil {
			require.ErrorIs(t, err, ErrPoisoned)
			_, ok := a.Next()
			require.False(t, ok)
			require.Zero(t, a.Memory())
			poisoned++
		}
	}
	require.Equal(t, 64, poisoned)
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		members  []Member
		y        uint16
		maxBlock int
	}{{nil, 8, 1}, {[]Member{{Length: 1}}, 0, 1}, {[]Member{{Length: 1}}, 12, 1}, {[]Member{{Length: 1}}, 8, 0}, {[]Member{{Length: 1 << 20}}, 8, 100}, {[]Member{{Length: 1 << 30}}, 8, 60000}} {
		_, err := Info(c.members, c.y, c.maxBlock)
		require.ErrorIs(t, err, ErrLayout)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	s := build(t, rng, []int{100, 60}, 8, 100)
	for _, change := range []func(*fec.ObjectInfo){
		func(o *fec.ObjectInfo) { o.TransferLength += 8 },
		func(o *fec.ObjectInfo) { o.SymbolSize = 0 },
		func(o *fec.ObjectInfo) { o.ID, o.Alignment = fec.Raptor, 4 },
	} {
		info := s.info
		change(&info)
		_, err := NewAssembler(info, s.layout(), Config{})
		require.ErrorIs(t, err, ErrLayout)
	}
	_, err := NewAssembler(s.info, nil, Config{})
	require.ErrorIs(t, err, ErrLayout)
	wrong := s.layout()
	wrong[0].Length = 500
	_, err = NewAssembler(s.info, wrong, Config{})
	require.ErrorIs(t, err, ErrPacket)

	a, err := NewAssembler(s.info, s.layout(), Config{Codec: new(raptorq.Codec)})
	require.NoError(t, err)
	require.Equal(t, a.Need(0), s.blocks[0].K())
	require.ErrorIs(t, a.Source(2, 0, nil), ErrPacket)
	require.ErrorIs(t, a.Source(0, 101, []byte{1}), ErrPacket)
	require.ErrorIs(t, a.Source(0, 1<<63, []byte{1}), ErrPacket)
	require.ErrorIs(t, a.SetLength(0, 200), ErrPacket)
	require.ErrorIs(t, a.SetLength(2, 1), ErrPacket)
	require.NoError(t, a.SetLength(0, 100))
	require.NoError(t, a.SetLength(0, 100))
	require.ErrorIs(t, a.SetLength(0, 99), ErrPacket)
	require.ErrorIs(t, a.Source(0, 99, []byte{1, 2}), ErrPacket)
	require.NoError(t, a.Source(0, 0, s.objects[0][:8]))
	require.Equal(t, s.blocks[0].K()-1, a.Need(0))
	_, ok := a.Length(1)
	require.False(t, ok)
	_, ok = a.Length(2)
	require.False(t, ok)
	require.Error(t, a.Repair([]byte{0}))
	for _, p := range [][]byte{{0, 0, 0, 0}, {0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, {0, 0, 1, 0, 1}, {1, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8}} {
		require.ErrorIs(t, a.Repair(p), ErrPacket)
	}
	small, err := NewAssembler(s.info, s.layout(), Config{MaxMemory: 1000})
	require.NoError(t, err)
	require.ErrorIs(t, small.Source(0, 0, []byte{1}), ErrBudget)
	require.Zero(t, small.Memory())
}

func FuzzAssembler(f *testing.F) {
	f.Add(uint8(3), []byte{0, 1, 2, 200, 3, 4, 5, 201, 6, 7, 8, 202, 9, 9, 9, 9})
	f.Fuzz(func(t *testing.T, seed uint8, script []byte) {
		rng := rand.New(rand.NewPCG(uint64(seed), 2))
		s := build(t, rng, []int{rng.IntN(200), rng.IntN(200)}, 8, 5+rng.IntN(60))
		good, err := NewAssembler(s.info, s.layout(), Config{})
		require.NoError(t, err)
		hostile, err := NewAssembler(s.info, s.layout(), Config{MaxMemory: 200_000})
		require.NoError(t, err)
		for i := 0; i+3 < len(script); i += 4 {
			m := int(script[i]) % 2
			b := s.objects[m]
			from := min(int(script[i+1]), len(b))
			to := min(from+int(script[i+2])%40, len(b))
			block := s.blocks[int(script[i])%len(s.blocks)]
			p, err := block.AppendPacket(nil, block.SourcePackets()+int(script[i+1]))
			require.NoError(t, err)
			if script[i+3] < 128 {
				require.NoError(t, good.Source(m, uint64(from), b[from:to]))
				require.NoError(t, good.Repair(p))
			} else {
				p[int(script[i+2])%len(p)] ^= script[i+3]
				hostile.SetLength(m, uint32(script[i+1]))
			}
			hostile.Repair(p)
			hostile.Repair(script[i:])
			hostile.Source(int(script[i])%3, uint64(script[i+1])<<(script[i+2]%64), script[i:])
			require.LessOrEqual(t, hostile.Memory(), 200_000)
		}
		for p, ok := good.Next(); ok; p, ok = good.Next() {
			require.Equal(t, s.objects[p.Member][p.Offset:int(p.Offset)+len(p.Data)], p.Data)
		}
	})
}

func BenchmarkAssembler(b *testing.B) {
	object64 := make([]byte, 64*1344-4)
	members := []Member{{Length: uint32(len(object64))}, {Length: uint32(len(object64))}}
	info, err := Info(members, 1344, 1000)
	if err != nil {
		b.Fatal(err)
	}
	var codec object.Codec
	enc, err := codec.NewEncoder(info, NewSource(members, 1344, []io.ReaderAt{bytes.NewReader(object64), bytes.NewReader(object64)}))
	if err != nil {
		b.Fatal(err)
	}
	block, err := enc.Block(0)
	if err != nil {
		b.Fatal(err)
	}
	var repair [][]byte
	for i := range 40 {
		p, err := block.AppendPacket(nil, block.SourcePackets()+i)
		if err != nil {
			b.Fatal(err)
		}
		repair = append(repair, p)
	}
	b.SetBytes(int64(info.TransferLength))
	for b.Loop() {
		a, err := NewAssembler(info, members, Config{})
		if err != nil {
			b.Fatal(err)
		}
		for m := range members {
			for from := 0; from < len(object64); from += 1400 {
				if from/1400%12 > 0 {
					a.Source(m, uint64(from), object64[from:min(from+1400, len(object64))])
				}
			}
		}
		for _, p := range repair {
			a.Repair(p)
		}
		if !a.Done() {
			b.Fatal("not done")
		}
	}
}

func ExampleAssembler() {
	video, audio := []byte("a segment of video"), []byte("its audio")
	members := []Member{{TSI: 1, TOI: 5, Length: uint32(len(video))}, {TSI: 2, TOI: 5, Length: uint32(len(audio))}}
	info, err := Info(members, 8, 100)
	if err != nil {
		panic(err)
	}
	var codec object.Codec
	enc, err := codec.NewEncoder(info, NewSource(members, 8, []io.ReaderAt{bytes.NewReader(video), bytes.NewReader(audio)}))
	if err != nil {
		panic(err)
	}
	block, err := enc.Block(0)
	if err != nil {
		panic(err)
	}

	a, err := NewAssembler(info, members, Config{})
	if err != nil {
		panic(err)
	}
	a.Source(0, 0, video) // all packets of the audio are lost
	for i := range 3 {
		packet, err := block.AppendPacket(nil, block.SourcePackets()+i)
		if err != nil {
			panic(err)
		}
		if err := a.Repair(packet); err != nil {
			panic(err)
		}
	}
	for p, ok := a.Next(); ok; p, ok = a.Next() {
		fmt.Printf("member %d, octet %d: %q\n", p.Member, p.Offset, p.Data)
	}
	// Output:
	// member 1, octet 0: "its audi"
	// member 1, octet 8: "o"
}
