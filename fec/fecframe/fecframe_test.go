package fecframe

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/treedn/treedn/fec/internal/alloctest"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/fec/rs"
)

var configs = []Config{
	{Scheme: RaptorArbitrary, SymbolSize: 60, MaxBlock: 300},
	{Scheme: RaptorQArbitrary, SymbolSize: 60, MaxBlock: 300},
	{Scheme: RaptorQArbitrary, SymbolSize: 60, MaxBlock: 300, FormatB: true},
	{Scheme: RaptorQArbitrary, SymbolSize: 2, MaxBlock: 3000},
	{Scheme: RaptorOptimized, SymbolSize: 60, MaxBlock: 297},
	{Scheme: RaptorQOptimized, SymbolSize: 60, MaxBlock: 295},
	{Scheme: RaptorSequenced, SymbolSize: 60, MaxBlock: 371},
	{Scheme: RaptorQSequenced, SymbolSize: 60, MaxBlock: 372},
	{Scheme: RaptorQSequenced, SymbolSize: 60, MaxBlock: 372, FormatB: true, RTP: true},
	{Scheme: LDPCStaircase, SymbolSize: 400, Seed: 1234},
	{Scheme: LDPCStaircase, SymbolSize: 400, Seed: 77, N1m3: 2, Strict: true},
	{Scheme: ReedSolomon, SymbolSize: 400},
	{Scheme: ReedSolomon, SymbolSize: 400, Strict: true, Matrix: rs.Rizzo},
}

func (c Config) name() string {
	return fmt.Sprintf("%v T=%d B=%v S=%v RTP=%v", c.Scheme, c.SymbolSize, c.FormatB, c.Strict, c.RTP)
}

type sent struct {
	flow   uint8
	adu    []byte
	packet []byte
	seq    uint16
	repair bool
}

// send makes blocks of ADUs of random lengths with r repair packets each.
func send(t *testing.T, rng *rand.Rand, c Config, blocks, adus, r int) (packets []sent) {
	e, err := NewEncoder(c)
	require.NoError(t, err)
	e.Group = 1 + rng.IntN(3)
	seq := uint16(65500)
	for range blocks {
		var source []sent
		for range adus {
			s := sent{flow: uint8(rng.IntN(3)), adu: make([]byte, 12+rng.IntN(200)), seq: seq}
			for i := range s.adu {
				s.adu[i] = byte(rng.Uint32())
			}
			if c.Scheme.sequenced() {
				require.NoError(t, e.AddSequenced(s.flow, seq, s.adu))
				s.packet = s.adu
			} else {
				_, err := e.Add(s.flow, s.adu)
				require.NoError(t, err)
			}
			seq++
			source = append(source, s)
		}
		require.Equal(t, adus, e.Len())
		b, err := e.Close(r)
		require.NoError(t, err)
		require.Zero(t, e.Len())
		require.Equal(t, adus, b.Len())
		require.Equal(t, r, b.Repair())
		for i := range source {
			if !c.Scheme.sequenced() {
				source[i].packet = b.AppendSource(nil, i)
			}
		}
		packets = append(packets, source...)
		for i := range r {
			p, err := b.AppendRepair(nil, i)
			require.NoError(t, err)
			packets = append(packets, sent{packet: p, repair: true})
		}
		_, err = b.AppendRepair(nil, r)
		require.ErrorIs(t, err, ErrPacket)
	}
	return packets
}

func receive(d *Decoder, s sent) error {
	switch {
	case s.repair:
		return d.Repair(s.packet)
	case d.config.Scheme.sequenced():
		return d.SourceSequenced(s.flow, s.seq, s.packet)
	}
	_, err := d.Source(s.flow, s.packet)
	return err
}

// Lost ADUs are recovered, others are not delivered again, whatever the order.
func TestRecovery(t *testing.T) {
	for _, c := range configs {
		for _, shuffled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s shuffled %v", c.name(), shuffled), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(7, 8))
				blocks, adus, r := 7, 30, 50
				if c.SymbolSize < 10 {
					r = 1500
				}
				packets := send(t, rng, c, blocks, adus, r)
				d, err := NewDecoder(c, Limits{Blocks: 3})
				require.NoError(t, err)
				want := make(map[string]int)
				got := make(map[string]int)
				recovered := 0
				for i := range blocks {
					window := packets[i*(adus+r) : (i+1)*(adus+r)]
					if shuffled {
						rng.Shuffle(len(window), func(i, j int) { window[i], window[j] = window[j], window[i] })
					}
					for j, s := range window {
						if !s.repair {
							want[fmt.Sprintf("%d %x", s.flow, s.adu)]++
							if rng.IntN(3) == 0 {
								continue
							}
						}
						err := receive(d, s)
						if errors.Is(err, ErrRecovered) {
							continue
						}
						require.NoError(t, err, "packet %d", j)
						if !s.repair {
							got[fmt.Sprintf("%d %x", s.flow, s.adu)]++
						}
						if j%4 == 0 {
							require.NoError(t, receive(d, s))
						}
					}
					for adu, ok := d.Next(); ok; adu, ok = d.Next() {
						recovered++
						got[fmt.Sprintf("%d %x", adu.Flow, adu.Data)]++
						if c.Scheme.sequenced() {
							require.Contains(t, want, fmt.Sprintf("%d %x", adu.Flow, adu.Data))
							at := uint16(adu.Seq - uint16(65500))
							require.Equal(t, i, int(at)/adus)
						}
					}
				}
				require.Equal(t, want, got)
				require.Greater(t, recovered, blocks*adus/5)
				for _, b := range d.blocks {
					require.Nil(t, b.code)
				}
			})
		}
	}
}

// The octets of a block of scheme 2, put together by hand.
func TestWireFormat(t *testing.T) {
	c := Config{Scheme: RaptorQArbitrary, SymbolSize: 8, MaxBlock: 100}
	e, err := NewEncoder(c)
	require.NoError(t, err)
	for i, adu := range []string{"hello", "a longer one"} {
		id, err := e.Add(uint8(i+1), []byte(adu))
		require.NoError(t, err)
		require.Equal(t, PayloadID{ESI: uint32(i)}, id)
	}
	b, err := e.Close(1)
	require.NoError(t, err)
	require.Equal(t, "68656c6c6f"+"00000000", hex.EncodeToString(b.AppendSource(nil, 0)))
	require.Equal(t, "61206c6f6e676572206f6e65"+"00000001", hex.EncodeToString(b.AppendSource(nil, 1)))
	repair, err := b.AppendRepair(nil, 0)
	require.NoError(t, err)
	symbols := "\x01\x00\x05hello" + "\x02\x00\x0ca longer one\x00"
	q, err := raptorq.NewEncoder([]byte(symbols), 8)
	require.NoError(t, err)
	require.Equal(t, "0000"+"0003"+"0003"+hex.EncodeToString(q.AppendSymbol(nil, 3)), hex.EncodeToString(repair))

	// The next block has the next number. With format B that has 8 bits.
	id, err := e.Add(0, nil)
	require.NoError(t, err)
	require.Equal(t, PayloadID{SBN: 1}, id)
	c.FormatB = true
	require.Equal(t, "05000102", hex.EncodeToString(c.AppendSourceID(nil, PayloadID{SBN: 5, ESI: 0x102})))
	require.Equal(t, "050001020304", hex.EncodeToString(c.AppendRepairID(nil, PayloadID{SBN: 5, ESI: 0x102, SBL: 0x304})))
	for _, x := range []struct {
		c      Config
		source string
		repair string
	}{
		{Config{Scheme: ReedSolomon}, "00000102" + "0304", "00000102" + "0304"},
		{Config{Scheme: LDPCStaircase}, "00010002" + "0304", "00010002" + "0304" + "0506"},
		{Config{Scheme: RaptorSequenced}, "", "0001" + "0304" + "0002"},
		{Config{Scheme: RaptorQSequenced, FormatB: true}, "", "0001" + "0304" + "000002"},
	} {
		id := PayloadID{SBN: 1, ESI: 2, SBL: 0x304, N: 0x506}
		require.Equal(t, x.source, hex.EncodeToString(x.c.AppendSourceID(nil, id)))
		require.Equal(t, x.repair, hex.EncodeToString(x.c.AppendRepairID(nil, id)))
		require.Equal(t, len(x.source)/2, x.c.SourceIDLen())
		require.Equal(t, len(x.repair)/2, x.c.RepairIDLen())
	}
}

// A padded block is coded as one of MSBL symbols, and its wire ESIs are the code's
// (RFC 6681 section 7.3.2).
func TestPaddedBlock(t *testing.T) {
	c := Config{Scheme: RaptorQOptimized, SymbolSize: 8, MaxBlock: 26}
	e, err := NewEncoder(c)
	require.NoError(t, err)
	_, err = e.Add(1, []byte("hello"))
	require.NoError(t, err)
	b, err := e.Close(2)
	require.NoError(t, err)
	q, err := raptorq.NewEncoder(append([]byte("\x01\x00\x05hello"), make([]byte, 25*8)...), 8)
	require.NoError(t, err)
	repair, err := b.AppendRepair(nil, 1)
	require.NoError(t, err)
	require.Equal(t, "0000"+"001b"+"0001"+hex.EncodeToString(q.AppendSymbol(nil, 27)), hex.EncodeToString(repair))
	d, err := NewDecoder(c, Limits{})
	require.NoError(t, err)
	require.NoError(t, d.Repair(repair))
	adu, ok := d.Next()
	require.True(t, ok)
	require.Equal(t, ADU{Flow: 1, Data: []byte("hello")}, adu)
}

// The length in front of an RTP packet does not count its header (section 8.2.4).
func TestRTPLength(t *testing.T) {
	c := Config{Scheme: RaptorQSequenced, SymbolSize: 32, MaxBlock: 10, RTP: true}
	e, err := NewEncoder(c)
	require.NoError(t, err)
	packet := append([]byte{0x80, 33, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1}, "payload"...)
	require.ErrorIs(t, e.AddSequenced(0, 9, packet[:11]), ErrTooLong)
	require.NoError(t, e.AddSequenced(0, 9, packet))
	b, err := e.Close(1)
	require.NoError(t, err)
	require.Equal(t, PayloadID{SBN: 9, SBL: 1}, b.SourceID(0))
	s := b.code.AppendSymbol(nil, 0)
	require.Equal(t, "000007"+hex.EncodeToString(packet)+"00000000000000000000", hex.EncodeToString(s))
	d, err := NewDecoder(c, Limits{})
	require.NoError(t, err)
	repair, err := b.AppendRepair(nil, 0)
	require.NoError(t, err)
	require.NoError(t, d.Repair(repair))
	adu, ok := d.Next()
	require.True(t, ok)
	require.Equal(t, ADU{Data: packet, SBN: 9, Seq: 9}, adu)
}

func TestEncoderLimits(t *testing.T) {
	e, err := NewEncoder(Config{Scheme: RaptorQArbitrary, SymbolSize: 10, MaxBlock: 4})
	require.NoError(t, err)
	require.Equal(t, 4, e.Config().MaxBlock)
	b, err := e.Close(3)
	require.NoError(t, err)
	require.Nil(t, b)
	_, err = e.Add(0, make([]byte, 38))
	require.ErrorIs(t, err, ErrTooLong)
	_, err = e.Add(0, make([]byte, 27))
	require.NoError(t, err)
	_, err = e.Add(0, make([]byte, 8))
	require.ErrorIs(t, err, ErrFull)
	_, err = e.Add(0, make([]byte, 7))
	require.NoError(t, err)
	require.ErrorIs(t, e.AddSequenced(0, 0, nil), ErrConfig)
	_, err = e.Close(1 << 16)
	require.ErrorIs(t, err, ErrConfig)

	e, err = NewEncoder(Config{Scheme: RaptorQSequenced, SymbolSize: 10, MaxBlock: 10})
	require.NoError(t, err)
	_, err = e.Add(0, nil)
	require.ErrorIs(t, err, ErrConfig)
	require.NoError(t, e.AddSequenced(0, 65535, make([]byte, 27)))
	require.ErrorIs(t, e.AddSequenced(0, 1, nil), ErrGap)
	require.NoError(t, e.AddSequenced(0, 0, nil))
	require.NoError(t, e.AddSequenced(0, 1, nil))
	require.ErrorIs(t, e.AddSequenced(0, 2, nil), ErrFull)

	e, err = NewEncoder(Config{Scheme: ReedSolomon, SymbolSize: 10, MaxBlock: 2})
	require.NoError(t, err)
	_, err = e.Add(0, make([]byte, 8))
	require.ErrorIs(t, err, ErrTooLong)
	for range 2 {
		_, err = e.Add(0, make([]byte, 7))
		require.NoError(t, err)
	}
	_, err = e.Add(0, make([]byte, 7))
	require.ErrorIs(t, err, ErrFull)
	_, err = e.Close(254)
	require.ErrorIs(t, err, ErrConfig)

	e, err = NewEncoder(Config{Scheme: RaptorArbitrary, SymbolSize: 10, MaxBlock: 20})
	require.NoError(t, err)
	_, err = e.Add(0, nil)
	require.NoError(t, err)
	_, err = e.Close(2) // one symbol: Raptor needs four
	require.Error(t, err)
	require.Zero(t, e.Len())
}

func TestValidate(t *testing.T) {
	for _, c := range configs {
		require.NoError(t, c.Validate())
		_, err := NewDecoder(c, Limits{Memory: 1000})
		require.ErrorIs(t, err, ErrBudget)
	}
	for _, c := range []Config{
		{},
		{Scheme: 9, SymbolSize: 1, MaxBlock: 1},
		{Scheme: RaptorQArbitrary, MaxBlock: 1},
		{Scheme: RaptorQArbitrary, SymbolSize: 1 << 16, MaxBlock: 1},
		{Scheme: RaptorQArbitrary, SymbolSize: 1},
		{Scheme: RaptorQArbitrary, SymbolSize: 1, MaxBlock: 56404},
		{Scheme: RaptorArbitrary, SymbolSize: 1, MaxBlock: 8193},
		{Scheme: RaptorArbitrary, SymbolSize: 1, MaxBlock: 100, FormatB: true},
		{Scheme: RaptorOptimized, SymbolSize: 1, MaxBlock: 100},
		{Scheme: RaptorQArbitrary, SymbolSize: 1, MaxBlock: 10, RTP: true},
		{Scheme: RaptorQArbitrary, SymbolSize: 1, MaxBlock: 10, Strict: true},
		{Scheme: RaptorQArbitrary, SymbolSize: 1, MaxBlock: 10, Seed: 1},
		{Scheme: LDPCStaircase, SymbolSize: 100},
		{Scheme: LDPCStaircase, SymbolSize: 100, Seed: 1 << 31},
		{Scheme: LDPCStaircase, SymbolSize: 3, Seed: 1},
		{Scheme: LDPCStaircase, SymbolSize: 100, Seed: 1, MaxBlock: 100, MaxSymbols: 50},
		{Scheme: ReedSolomon, SymbolSize: 100, MaxBlock: 256},
	} {
		require.ErrorIs(t, c.Validate(), ErrConfig)
		_, err := NewEncoder(c)
		require.ErrorIs(t, err, ErrConfig)
		_, err = NewDecoder(c, Limits{})
		require.ErrorIs(t, err, ErrConfig)
	}
}

func TestFSSI(t *testing.T) {
	for _, x := range []struct {
		c    Config
		raw  string
		text string
	}{
		{Config{Scheme: RaptorQSequenced, SymbolSize: 128, MaxBlock: 8192}, "00802000", "Kmax:8192,T:128,P:A"}, // RFC 6681 section 10
		{Config{Scheme: RaptorQArbitrary, SymbolSize: 1400, MaxBlock: 500, FormatB: true}, "057801f480", "Kmax:500,T:1400,P:B"},
		{Config{Scheme: LDPCStaircase, SymbolSize: 1400, Seed: 1234}, "000004d2057800", "seed:1234,E:1400,S:0,n1m3:0"}, // RFC 6816 section 5.1.1.2
		{Config{Scheme: LDPCStaircase, SymbolSize: 1400, Seed: 1234, Strict: true, N1m3: 2}, "000004d2057882", "seed:1234,E:1400,S:1,n1m3:2"},
		{Config{Scheme: ReedSolomon, SymbolSize: 1400}, "057808", "E:1400,S:0,m:8"}, // RFC 6865 section 5.1.1.2
		{Config{Scheme: ReedSolomon, SymbolSize: 1400, Strict: true}, "057888", "E:1400,S:1,m:8"},
	} {
		require.Equal(t, x.raw, hex.EncodeToString(x.c.AppendFSSI(nil)))
		require.Equal(t, x.text, x.c.FSSI())
		raw, err := hex.DecodeString(x.raw)
		require.NoError(t, err)
		got, err := ParseFSSI(x.c.Scheme, raw)
		require.NoError(t, err)
		require.Equal(t, x.c, got)
		got, err = ParseFSSIText(x.c.Scheme, x.text)
		require.NoError(t, err)
		require.Equal(t, x.c, got)
		for n := range min(len(raw), 4) {
			_, err := ParseFSSI(x.c.Scheme, raw[:n])
			if len(raw) == 3 && n == 3 {
				continue
			}
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		}
		_, err = ParseFSSI(x.c.Scheme, append(raw, 0, 0))
		require.ErrorIs(t, err, ErrConfig)
	}
	_, err := ParseFSSI(ReedSolomon, []byte{5, 0x78, 16})
	require.ErrorIs(t, err, ErrConfig)
	for _, s := range []string{"", "Kmax:5", "Kmax:5,T:x", "Kmax:99999,T:5", "Kmax:5,T:5,P:C", "E:5,S:0,m:8", "T:5"} {
		_, err := ParseFSSIText(RaptorQArbitrary, s)
		require.ErrorIs(t, err, ErrConfig, s)
	}
	for _, s := range []string{"E:5,S:2,m:8", "E:5,S:0,m:16", "Kmax:5,T:5"} {
		_, err := ParseFSSIText(ReedSolomon, s)
		require.ErrorIs(t, err, ErrConfig, s)
	}
}

func TestDecoderRefuses(t *testing.T) {
	c := Config{Scheme: RaptorQArbitrary, SymbolSize: 10, MaxBlock: 20}
	rng := rand.New(rand.NewPCG(1, 1))
	packets := send(t, rng, Config{Scheme: RaptorQArbitrary, SymbolSize: 40, MaxBlock: 100}, 2, 5, 3)
	d, err := NewDecoder(Config{Scheme: RaptorQArbitrary, SymbolSize: 40, MaxBlock: 100}, Limits{Blocks: 1})
	require.NoError(t, err)
	require.Equal(t, 40, d.Config().SymbolSize)
	require.NoError(t, receive(d, packets[0]))
	changed := packets[0]
	changed.packet = bytes.Clone(changed.packet)
	changed.packet[0] ^= 1
	require.ErrorIs(t, receive(d, changed), ErrConflict)
	require.NoError(t, receive(d, packets[5]))
	longer := packets[5]
	longer.packet = bytes.Clone(longer.packet)
	longer.packet[5]++ // SBL
	require.ErrorIs(t, receive(d, longer), ErrPacket)
	longer.packet[3]++ // and ESI
	require.ErrorIs(t, receive(d, longer), ErrConflict)
	require.NoError(t, receive(d, packets[8]))
	require.ErrorIs(t, receive(d, packets[1]), ErrOld)
	d.Reset()
	require.NoError(t, receive(d, packets[1]))

	d, err = NewDecoder(c, Limits{})
	require.NoError(t, err)
	for _, raw := range []string{"", "000000"} {
		b, _ := hex.DecodeString(raw)
		_, err := d.Source(0, b)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.ErrorIs(t, d.Repair(b), io.ErrUnexpectedEOF)
	}
	_, err = d.Source(0, append(make([]byte, 198), 0, 0, 0, 0)) // 21 symbols
	require.ErrorIs(t, err, ErrPacket)
	for _, raw := range []string{
		"000000050005" + "",                     // no symbol
		"000000050005" + "000000",               // no whole symbol
		"000000040005" + "00000000000000000000", // a source symbol
		"000000150015" + "00000000000000000000", // too long a block
		"000000050000" + "00000000000000000000", // an empty one
	} {
		b, err := hex.DecodeString(raw)
		require.NoError(t, err)
		require.ErrorIs(t, d.Repair(b), ErrPacket)
	}
	require.ErrorIs(t, d.SourceSequenced(0, 0, nil), ErrConfig)
	d, err = NewDecoder(Config{Scheme: RaptorQSequenced, SymbolSize: 10, MaxBlock: 20}, Limits{})
	require.NoError(t, err)
	_, err = d.Source(0, nil)
	require.ErrorIs(t, err, ErrConfig)
}

// A block that decodes to what no sender makes is reported and not delivered.
func TestPoisonedBlock(t *testing.T) {
	for _, c := range configs {
		rng := rand.New(rand.NewPCG(3, 3))
		r := 60
		if c.SymbolSize < 10 {
			r = 400
		}
		packets := send(t, rng, c, 1, 20, r)
		d, err := NewDecoder(c, Limits{})
		require.NoError(t, err)
		poisoned := false
		for i, s := range packets {
			if i < 5 {
				continue
			}
			if s.repair {
				s.packet = bytes.Clone(s.packet)
				for j := d.config.RepairIDLen(); j < len(s.packet); j++ {
					s.packet[j] ^= byte(rng.Uint32())
				}
			}
			if err := receive(d, s); err != nil {
				require.ErrorIs(t, err, ErrPoisoned, c.name())
				poisoned = true
				break
			}
		}
		require.True(t, poisoned, c.name())
		_, ok := d.Next()
		require.False(t, ok)
	}
}

func TestAppendRepairDoesNotAllocate(t *testing.T) {
	e, err := NewEncoder(Config{Scheme: RaptorQArbitrary, SymbolSize: 1316, MaxBlock: 100})
	require.NoError(t, err)
	for range 32 {
		_, err := e.Add(1, make([]byte, 1300))
		require.NoError(t, err)
	}
	b, err := e.Close(8)
	require.NoError(t, err)
	buf := make([]byte, 0, 1500)
	require.Zero(t, alloctest.PerRun(func() {
		b.AppendSource(buf, 3)
		b.AppendRepair(buf, 3)
	}))
}

// FuzzDecoder feeds decoders of all schemes with packets of a session, packets with
// some octet changed, and octets of the fuzzer. Good packets alone give good ADUs.
func FuzzDecoder(f *testing.F) {
	for i := range configs {
		f.Add(uint8(i), []byte{0, 0, 2, 1, 40, 2, 60, 4, 70, 6, 71, 8, 72, 10, 1, 77, 255, 255, 255, 255, 0, 0, 0, 0})
	}
	f.Fuzz(func(t *testing.T, which uint8, script []byte) {
		c := configs[int(which)%len(configs)]
		packets := send(t, rand.New(rand.NewPCG(uint64(which), 1)), c, 3, 12, 16)
		sentADUs := make(map[string]bool)
		for _, s := range packets {
			sentADUs[fmt.Sprintf("%d %x", s.flow, s.adu)] = true
		}
		good, err := NewDecoder(c, Limits{Blocks: 2})
		require.NoError(t, err)
		hostile, err := NewDecoder(c, Limits{Blocks: 2})
		require.NoError(t, err)
		for i := 0; i+1 < len(script); i += 2 {
			s := packets[int(script[i+1])%len(packets)]
			if script[i]&1 == 0 {
				receive(good, s)
				for adu, ok := good.Next(); ok; adu, ok = good.Next() {
					require.True(t, sentADUs[fmt.Sprintf("%d %x", adu.Flow, adu.Data)])
				}
			} else {
				s.packet = bytes.Clone(s.packet)
				s.packet[int(script[i]>>1)%len(s.packet)] ^= script[i+1]
			}
			receive(hostile, s)
			receive(hostile, sent{packet: script[i:], repair: script[i]&2 == 0, seq: uint16(i)})
			require.LessOrEqual(t, len(hostile.blocks), 2)
		}
	})
}

func FuzzParseFSSI(f *testing.F) {
	for _, c := range configs {
		f.Add(uint8(c.Scheme), c.populate().AppendFSSI(nil), c.populate().FSSI())
	}
	f.Fuzz(func(t *testing.T, scheme uint8, raw []byte, text string) {
		if c, err := ParseFSSI(SchemeID(scheme), raw); err == nil {
			again, err := ParseFSSI(c.Scheme, c.AppendFSSI(nil))
			require.NoError(t, err)
			require.Equal(t, c, again)
		}
		if c, err := ParseFSSIText(SchemeID(scheme), text); err == nil {
			again, err := ParseFSSIText(c.Scheme, c.FSSI())
			require.NoError(t, err)
			require.Equal(t, c, again)
		}
	})
}

func BenchmarkDecoder(b *testing.B) {
	c := Config{Scheme: RaptorQArbitrary, SymbolSize: 1316, MaxBlock: 100}
	e, err := NewEncoder(c)
	if err != nil {
		b.Fatal(err)
	}
	for range 64 {
		if _, err := e.Add(1, make([]byte, 1300)); err != nil {
			b.Fatal(err)
		}
	}
	block, err := e.Close(16)
	if err != nil {
		b.Fatal(err)
	}
	var source, repair [][]byte
	for i := range 64 {
		source = append(source, block.AppendSource(nil, i))
	}
	for i := range 16 {
		p, err := block.AppendRepair(nil, i)
		if err != nil {
			b.Fatal(err)
		}
		repair = append(repair, p)
	}
	d, err := NewDecoder(c, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(64 * 1300)
	for b.Loop() {
		d.Reset()
		for i, p := range source {
			if i%8 != 0 {
				d.Source(1, p)
			}
		}
		for _, p := range repair {
			d.Repair(p)
		}
		if _, ok := d.Next(); !ok {
			b.Fatal("nothing recovered")
		}
	}
}
