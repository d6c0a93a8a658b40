package flute_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute"
	"github.com/treedn/treedn/flute/alc"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/flutetest"
	"github.com/treedn/treedn/flute/lct"
)

// heap is what is in use, in octets.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A hundred thousand TOIs that nothing describes, with and without EXT_FTI, of lengths up to the greatest, spread over
// their objects: the bounds hold, for what is counted and for the heap, and a true file comes through.
func TestAttackUndescribed(t *testing.T) {
	h := newHand(t, flute.ReceiverConfig{})
	before := heap()
	rnd := rand.New(rand.NewPCG(1, 1))
	body := random(1, 95)
	for i := range 100_000 {
		p := data(uint64(i+100), rnd.Uint32N(1<<16), rnd.Uint32N(1<<16), body)
		if i%2 == 0 {
			info := fec.ObjectInfo{TransferLength: 64 << 20, SymbolSize: 95, MaxBlock: 1 << 15}
			x, err := alc.AppendFTI(nil, &info)
			require.NoError(t, err)
			p.Extensions = x
		}
		_ = h.push(p)
		h.wait(10 * time.Microsecond)
		if i == 50_000 {
			require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 95)))))
		}
		if i > 80_000 && i%100 == 0 {
			n := uint32(i/100) % 10
			require.NoError(t, h.push(data(1, n/5, n%5, body[10*n:min(95, 10*n+10)])))
		}
	}
	st := h.r.Stats()
	require.LessOrEqual(t, st.Memory, int64(5<<20))
	require.LessOrEqual(t, st.Incomplete, 257)
	require.Less(t, heap()-before, int64(16<<20))
	require.Equal(t, []string{string(body)}, h.release())
}

// Forged FDT Instances describe more files than there may be, each of which gets a packet far out, or repair symbols.
func TestAttackDescribed(t *testing.T) {
	for _, scheme := range []fec.EncodingID{fec.CompactNoCode, fec.RaptorQ} {
		h := newHand(t, flute.ReceiverConfig{MaxMemory: 8 << 20, MaxFiles: 10_000})
		before := heap()
		rnd := rand.New(rand.NewPCG(1, 1))
		info := fec.ObjectInfo{ID: scheme, TransferLength: 60 << 20, SymbolSize: 1000, MaxBlock: 60}
		if scheme == fec.RaptorQ {
			info = fec.ObjectInfo{ID: scheme, TransferLength: 60 << 20, SymbolSize: 1000, SourceBlocks: 60, SubBlocks: 1, Alignment: 4}
		}
		attributes, err := fdt.FECOf(info)
		require.NoError(t, err)
		for i := range 20 {
			in := fdt.Instance{Expires: 0xffffffff, FEC: attributes}
			for j := range 1000 {
				in.Files = append(in.Files, fdt.File{
					TOI: uint64(i*1000 + j + 1), ContentLocation: fmt.Sprint(i, j), TransferLength: info.TransferLength, HasTransferLength: true,
				})
			}
			doc, err := in.Append(nil)
			require.NoError(t, err)
			p := instance(t, uint32(i), doc[:min(len(doc), 65000)])
			// In as many packets as it takes.
			whole := fec.ObjectInfo{TransferLength: uint64(len(doc)), SymbolSize: 60000, MaxBlock: 64}
			x, err := lct.Extensions(nil).AppendFDT(lct.FDT{Version: 1, InstanceID: uint32(i)})
			require.NoError(t, err)
			p.Extensions, err = alc.AppendFTI(x, &whole)
			require.NoError(t, err)
			for n := 0; n*60000 < len(doc); n++ {
				p.ID.ESI, p.Symbols = uint32(n), doc[n*60000:min(len(doc), (n+1)*60000)]
				require.NoError(t, h.push(p))
			}
			for j := range 1000 {
				for range 3 {
					p := data(uint64(i*1000+j+1), rnd.Uint32N(60), rnd.Uint32N(1<<16), make([]byte, 1000))
					p.Scheme, p.Codepoint = scheme, uint8(scheme)
					if scheme == fec.CompactNoCode {
						p.ID.SBN, p.ID.ESI = rnd.Uint32N(1000), rnd.Uint32N(60)
					}
					_ = h.push(p)
				}
			}
			h.wait(time.Millisecond)
			h.events()
			require.LessOrEqual(t, h.r.Stats().Memory, int64(8<<20))
		}
		st := h.r.Stats()
		require.Less(t, heap()-before, int64(64<<20), "10,000 descriptions, and 8 MiB of objects")
		require.LessOrEqual(t, st.Incomplete, 256+8)
		require.NotZero(t, st.Evicted)
		h.wait(time.Minute)
		h.events()
		require.Zero(t, h.r.Stats().Memory)
	}
}

func TestAttackSessions(t *testing.T) {
	h := newHand(t, flute.ReceiverConfig{})
	require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 10)))))
	for i := range 100_000 {
		p := data(1, 0, 0, make([]byte, 10))
		p.TSI = uint64(i + 2)
		_ = h.push(p)
		h.wait(500 * time.Microsecond)
		if i%5000 == 0 {
			empty := data(2, 0, 0, nil)
			require.NoError(t, h.push(empty), "still alive")
		}
	}
	require.LessOrEqual(t, h.r.Stats().Sessions, 64)
	require.NotEmpty(t, h.r.Sessions()[0].FDT().Files())
}

// Forged repair symbols spoil a block, which its digest finds, and not the receiver.
func TestAttackRepair(t *testing.T) {
	w := newWire(t, flute.SenderConfig{FEC: flute.FEC{Scheme: fec.RaptorQ, Overhead: 0.3}}, flute.ReceiverConfig{})
	x := file("a", random(1, 50_000))
	x.Rounds, x.Interval = 3, 5*time.Second
	w.add(x)
	n := 0
	w.lose = func(b []byte) bool {
		var p alc.Packet
		require.NoError(t, p.Unmarshal(b))
		if p.TOI != 1 {
			return false
		}
		n++
		if n == 5 {
			p.ID.ESI, p.Symbols = 9999, random(2, len(p.Symbols))
			forged, err := p.AppendTo(nil)
			require.NoError(t, err)
			require.NoError(t, w.c.r.Push(w.now, source, forged))
		}
		return n < 60 && n%6 == 0
	}
	w.run(20 * time.Second)
	require.Equal(t, sum(random(1, 50_000)), w.got(1))
	require.NotZero(t, w.c.lost)
}

// frames makes fuzz input of packets: a time step in milliseconds, a length, the packet.
func frames(packets [][]byte) (b []byte) {
	for i, p := range packets {
		b = append(b, byte(i%3))
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
		b = append(b, p...)
	}
	return b
}

func FuzzReceiver(f *testing.F) {
	for _, name := range []string{"libflute-gzip", "libflute-etag"} {
		var packets [][]byte
		for _, p := range flutetest.Capture(f, filepath.Join("testdata", name+".pcap")) {
			packets = append(packets, p.Payload)
		}
		f.Add(frames(packets[:min(len(packets), 6)]))
	}
	for _, scheme := range schemes {
		w := newWire(f, flute.SenderConfig{
			FEC: flute.FEC{Scheme: scheme, Overhead: 0.5, MaxBlock: 4}, MaxPayload: 256, ObjectFTI: true, FDTGzip: scheme == fec.RaptorQ,
		}, flute.ReceiverConfig{})
		w.keep = true
		w.add(file("a", random(1, 1500)))
		w.run(200 * time.Millisecond)
		w.s.Close(w.now)
		w.run(200 * time.Millisecond)
		f.Add(frames(w.log))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const memory = 1 << 20
		r := flute.NewReceiver(flute.ReceiverConfig{
			MaxMemory: memory, MaxObject: 1 << 20, MaxDecoding: 1 << 20, MaxObjects: 4, MaxInstance: 1 << 16, MaxSessions: 3, Remember: 8,
			Deadline: 2 * time.Second,
		})
		now := noon
		var complete []*flute.Object
		poll := func() {
			r.RunWork(now)
			for ev, ok := r.Poll(); ok; ev, ok = r.Poll() {
				switch ev.Kind {
				case flute.Complete:
					complete = append(complete, ev.Object)
					require.Equal(t, ev.Object.Length(), ev.Object.Held())
				case flute.NeedRepair:
					require.NotEmpty(t, ev.Missing)
					ev.Object.AppendMissingSymbols(nil, 3)
				case flute.Lost, flute.Fault:
					require.Error(t, ev.Err)
				}
			}
			if len(complete) > 2 {
				r.Release(now, complete[0])
				complete = complete[1:]
			}
			require.LessOrEqual(t, r.Stats().Memory, int64(memory))
		}
		for len(b) >= 3 {
			now = now.Add(time.Duration(b[0]) * time.Millisecond)
			n := min(len(b)-3, int(binary.BigEndian.Uint16(b[1:])))
			r.HandleTimeout(now)
			_ = r.Push(now, netip.AddrPortFrom(source.Addr(), 1), b[3:3+n])
			b = b[3+n:]
			poll()
		}
		for range 20 {
			now = now.Add(time.Second)
			r.HandleTimeout(now)
			poll()
		}
		for _, o := range complete {
			r.Release(now, o)
		}
		require.Zero(t, r.Stats().Memory)
		require.Zero(t, r.Stats().Incomplete)
	})
}
