package route

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/route/sls"
)

// script hands out octets, zeros at its end.
type script struct{ b []byte }

func (s *script) octet() byte {
	if len(s.b) == 0 {
		return 0
	}
	c := s.b[0]
	s.b = s.b[1:]
	return c
}

func (s *script) number() uint32 {
	return uint32(s.octet())<<8 | uint32(s.octet())
}

// FuzzReceiver plays a script of packets, true and forged, of time steps and of
// what a role may do, to a Receiver with tight limits.
// bare is an entity, and its end is another.
var bare = []byte("A: b\r\n\r\n--x\r\nContent-Location: c\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n--x--")

func FuzzReceiver(f *testing.F) {
	f.Add([]byte{0, 1, 1, 0, 0, 0, 100, 0, 0, 1, 1, 1, 0, 100, 200, 9, 3, 255, 6, 1, 0, 0, 50, 200})
	f.Add([]byte{2, 1, 1, 0, 0, 3, 4, 5, 9, 255, 5, 0, 0, 0, 100, 7, 0})
	f.Add([]byte("A11\x00\x0000%0000\x00080&0")) // a Reject behind the end
	grow := []byte{0, 1, 1, 0, 0, 0, 200, 0, 1, 1, 0, 100, 0, 200, 29, 0, 0, 2, 88, 24, 0, 0, 1, 0, 0, 1}
	f.Add(append(grow, 11)) // 200 to 400 come by FEC
	f.Add(append(grow, 29, 0, 0, 2, 88, 24, 0, 1, 1, 0, 1, 3, 11, 6, 0, 50, 13, 0, 0))
	f.Add(append(grow, 0, 1, 1, 0, 60, 0, 40, 11)) // and are another's by then
	f.Add(append(grow, 0, 1, 1, 0, 50, 0, 200, 11, 7))
	f.Add([]byte{8, 0x12, 0xa0, 5, 3, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		h := newHand(t, ReceiverConfig{Unpack: true,
			MaxMemory: 1 << 20, MaxObject: 300_000, MaxObjects: 4, MaxRanges: 8, MaxUndescribed: 1 << 18,
			MaxChannels: 4, Remember: 16, MaxSignalling: 10_000, MaxBlocks: 20,
		})
		h.signal(
			growingTrack(1),
			channelLS(2, fdt.Instance{Files: []fdt.File{{TOI: 1, ContentLocation: "f", Generation: 7}, {TOI: 2, ContentLocation: "g"}}}),
			sls.LS{TSI: 3, SrcFlow: &sls.SrcFlow{}}, // objects that name themselves
			sls.LS{TSI: 4, RepairFlow: &sls.RepairFlow{Protected: []sls.ProtectedObject{{TSI: 2}, {TSI: 2, SourceTOIs: []sls.SourceTOI{{Y: 2}}}, {TSI: 3}}}},
		)
		states := map[*Object]EventKind{}
		var live []*Object
		s := &script{b}
		for len(s.b) > 0 {
			var pick *Object
			op := s.octet()
			if len(live) > 0 {
				pick = live[int(op>>4)%len(live)]
			}
			switch op & 15 {
			case 0, 1, 2: // a source packet
				p := pk{tsi: uint32(s.octet() % 4), toi: uint32(s.octet() % 8), cp: 8}
				p.off, p.data = s.number()*4, seq(int(s.number()%1500))
				if p.tsi == 3 {
					p.cp = uint8(2 + p.toi%3)
					if op&64 != 0 {
						p.off, p.data = 0, bare[min(len(bare), len(p.data)):]
					}
				}
				if op&16 != 0 {
					p.tol = int64(s.number()) * 2
				}
				p.close = op&32 != 0
				_ = h.push(p)
			case 3, 4: // a repair packet
				oti := fec.OTI{
					TransferLength: uint64(s.octet()) * 16, SymbolSize: 16, SourceBlocks: 1 + s.octet()%3, SubBlocks: 1, Alignment: 8,
				}
				p := pk{tsi: uint32(s.octet() % 5), toi: uint32(s.octet() % 8), psi: 1, fti: fec.AppendOTI(nil, oti)}
				p.off = uint32(s.octet()%3)<<24 | uint32(s.octet())
				p.data = seq(16 * int(s.octet()%8))
				_ = h.push(p)
			case 5:
				if pick != nil {
					_ = h.r.Supply(h.now, pick, int64(s.number()), seq(int(s.number()%3000)), int64(s.number())-1)
				}
			case 6:
				if pick != nil {
					h.r.Reject(h.now, pick, int64(s.number()))
				}
			case 7:
				if pick != nil {
					h.r.Release(h.now, pick)
				}
			case 8: // raw octets
				n := min(len(s.b), int(s.octet()))
				_ = h.r.Push(h.now, simSrc, s.b[:min(n, len(s.b))])
			case 9:
				h.wait(time.Duration(s.number()) * 100 * time.Microsecond)
			case 10: // a package of forged octets
				_ = h.push(pk{tsi: 0, toi: s.number(), cp: 3, data: s.b, tol: int64(len(s.b))})
			case 11:
				if w, ok := h.r.PollWork(); ok {
					w.Run()
					h.r.Finish(h.now, w)
				}
			case 12: // an EFDT
				in := fdt.Instance{Expires: expiresNever, Files: []fdt.File{{TOI: uint64(1 + s.octet()%4), ContentLocation: "e", Generation: uint64(s.octet())}}}
				body, err := in.Append(nil)
				require.NoError(t, err)
				_ = h.push(pk{tsi: uint32(s.octet() % 4), toi: 0, data: body, tol: int64(len(body))})
			case 13: // a repair packet for a growing object
				g := growingBlock{
					start: int64(s.number()) * 4, length: int(s.number()) % 3000, size: 8 * (1 + int(s.octet()%64)), lead: int(s.octet()),
				}
				if op&32 != 0 { // one that may be decoded with others
					g.lead, g.start = 0, g.start/int64(g.size)*int64(g.size)
				}
				esi := uint32(s.octet())
				if op&16 != 0 {
					esi += uint32(g.symbols())
				}
				_ = h.r.Push(h.now, simSrc, growingBytes(1001, uint32(s.octet()%8), g, esi, uint16(s.number()), seq(g.size*int(s.octet()%4))))
			default:
				h.wait(time.Duration(op) * time.Millisecond)
			}
			for {
				ev, ok := h.r.Poll()
				if !ok {
					break
				}
				o := ev.Object
				if o == nil {
					continue
				}
				switch ev.Kind {
				case Started:
					require.Zero(t, states[o])
					live = append(live, o)
				case Lost:
					require.True(t, o.released)
				default:
					require.NotZero(t, states[o])
					require.NotEqual(t, Lost, states[o])
				}
				for _, m := range ev.Missing {
					require.True(t, m.End < 0 || m.Start < m.End)
				}
				states[o] = ev.Kind
			}
			checkReceiver(t, h.r)
		}
		h.r.RunWork(h.now)
		for range 20 { // everything that nobody holds goes away
			h.wait(10 * time.Second)
			for _, o := range live {
				h.r.Release(h.now, o)
			}
		}
		for _, ok := h.r.Poll(); ok; _, ok = h.r.Poll() {
		}
		for _, o := range h.r.active {
			h.r.Release(h.now, o)
		}
		h.r.RunWork(h.now)
		h.wait(time.Minute) // what was kept for others
		require.Zero(t, h.r.pool.Used())
		require.Zero(t, h.r.undescribed)
		require.Zero(t, h.r.decoding)
	})
}

// checkReceiver checks what must hold after every step.
func checkReceiver(t *testing.T, r *Receiver) {
	require.LessOrEqual(t, r.pool.Used(), int64(1<<20))
	require.LessOrEqual(t, len(r.records.m), 16)
	require.LessOrEqual(t, len(r.channels), 9)
	require.LessOrEqual(t, len(r.pools), maxPools)
	var used, undescribed int64
	var unnamed, blocks, decoding int
	perTSI := map[uint32]int{}
	for _, o := range r.active {
		require.False(t, o.released)
		used += o.data.Held()
		if o.repair != nil {
			used += o.repair.data.Held()
		}
		require.LessOrEqual(t, len(o.blocks), maxObjectBlocks)
		blocks += len(o.blocks)
		for _, b := range o.blocks {
			require.Same(t, o, b.o)
			require.Contains(t, r.blocks, b)
			require.False(t, o.complete)
			require.LessOrEqual(t, len(b.symbols), b.k+surplus)
			if b.decode != nil {
				decoding += b.decode.octets
			}
			used += b.data.Held()
		}
		if o.kind == kindUndescribed {
			undescribed += o.data.Held()
			unnamed++
		}
		require.LessOrEqual(t, o.held.Len(), 8+1)
		require.Equal(t, o.complete, o.full() && (o.complete || o.firm && o.kind != kindUndescribed))
		if o.length >= 0 {
			require.LessOrEqual(t, o.held.End(), o.length)
		}
		if o.complete {
			require.Equal(t, o.length, o.Prefix())
		} else {
			perTSI[o.key.tsi]++
			require.False(t, o.wake.IsZero(), "nobody looks after it")
			require.False(t, r.next.IsZero() || o.wake.Before(r.next), "nobody wakes it")
		}
		require.Equal(t, o.mapped, r.objects[o.key] == o)
	}
	for _, n := range perTSI {
		require.LessOrEqual(t, n, 4)
	}
	for _, p := range r.pools {
		used += p.data.Held()
	}
	for _, k := range r.kept {
		used += k.data.Held()
	}
	require.Len(t, r.blocks, blocks)
	require.LessOrEqual(t, blocks, r.cfg.MaxBlocks)
	require.LessOrEqual(t, decoding, r.decoding)
	require.LessOrEqual(t, r.decoding, maxBlockDecodes)
	require.Equal(t, used, r.pool.Used())
	require.Equal(t, undescribed, r.undescribed)
	require.Equal(t, unnamed, r.unnamed)
	require.LessOrEqual(t, undescribed, int64(1<<18+slabSize))
}

// FuzzTransfer sends objects, cut and lost as the script says, and gives the
// octets that are asked for. What arrives is always a prefix of what was sent,
// and in the end everything does.
func FuzzTransfer(f *testing.F) {
	f.Add([]byte{1, 200, 3, 0, 1, 20, 2, 0, 9, 50, 255, 1, 5, 4, 0, 0})
	f.Add([]byte{0x81, 255, 0x81, 255, 0x81, 255, 2, 3, 9, 100, 1, 1, 2, 3, 5, 5, 5})
	f.Add([]byte{241, 1, 3, 30, 250, 3, 30, 241, 3, 30, 250, 3, 62, 241, 3, 30, 250, 3, 30, 241, 3, 250, 3, 62, 5, 9, 0, 6, 8, 11})
	f.Add([]byte{250, 2, 3, 254, 254, 241, 3, 254, 1, 5, 1, 6, 3, 250, 3, 254, 30, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newSim(t, SenderConfig{BlockSymbols: 8, GrowingDelay: 8 * time.Millisecond}, ReceiverConfig{Unpack: true})
		sc := &script{b}
		losses := &script{append([]byte(nil), b...)}
		reliable := false
		s.drop = func([]byte) bool { return !reliable && losses.octet()%4 == 1 }
		s.delay = func() time.Duration { return time.Duration(losses.octet()%8) * time.Millisecond }
		want := map[string][]byte{}
		given := map[string]bool{}
		s.onEvent = func(ev Event) {
			o := ev.Object
			if o == nil || o.released {
				return
			}
			truth := want[o.Name()]
			p := make([]byte, o.Prefix())
			_, err := o.ReadAt(p, 0)
			require.NoError(t, err)
			require.LessOrEqual(t, len(p), len(truth))
			require.Equal(t, string(truth[:len(p)]), string(p))
			if ev.Kind == Complete {
				require.True(t, given[o.Name()])
				require.Len(t, p, len(truth))
			}
			if ev.Kind == NeedRepair && given[o.Name()] && reliable {
				for _, m := range ev.Missing {
					if m.End < 0 {
						m.End = int64(len(truth))
					}
					if m.Start <= m.End {
						_ = s.rcv.Supply(s.now, o, m.Start, truth[m.Start:m.End], int64(len(truth)))
					}
				}
			}
		}
		var tx *Transmission
		var name string
		n := 0
		begin := func() {
			n++
			out := media(n, 5)
			if sc.octet()%4 == 0 {
				out.Name += "x"
			}
			name = out.Name
			want[name] = nil
			var err error
			tx, err = s.snd.Begin(s.now, out)
			require.NoError(t, err)
		}
		end := func() {
			if tx != nil {
				require.NoError(t, tx.End(s.now))
				given[name] = true
				tx = nil
			}
		}
		for len(sc.b) > 0 && n < 20 {
			op := sc.octet()
			if tx == nil {
				begin()
			}
			switch op & 7 {
			case 0, 1, 2:
				p := randomBytes(uint64(op), int(op)*16)
				want[name] = append(want[name], p...)
				require.NoError(t, tx.Append(s.now, p))
			case 3, 4:
				tx.Cut()
			case 5:
				end()
			default:
				s.run(time.Duration(op) * time.Millisecond)
			}
		}
		end()
		s.run(100 * time.Millisecond)
		reliable = true
		s.run(1500 * time.Millisecond) // longer than the longest back-off
		gone := map[string]bool{}
		for _, o := range s.lost {
			gone[o.Name()] = true // nothing was heard of it for too long
		}
		for o := range s.started {
			_, ok := s.got[o.Name()]
			require.True(t, ok || gone[o.Name()] || !o.Seen(), o.Name())
		}
	})
}

// FuzzPush pushes whatever comes, as the first packets of a session.
func FuzzPush(f *testing.F) {
	f.Add(pk{tsi: 0, toi: 0x80060001, cp: 3, data: []byte{0x1f, 0x8b}, tol: 2}.bytes())
	f.Add(pk{tsi: 10, toi: 1, cp: 8, off: 5, data: []byte{1}, close: true}.bytes())
	f.Add(pk{tsi: 10, toi: 0, cp: 0, data: []byte("<FDT-Instance Expires='1'/>"), tol: 27}.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReceiver(ReceiverConfig{Unpack: true, MaxMemory: 1 << 20})
		var h lct.Header
		n, err := h.Unmarshal(b)
		got := r.Push(simStart, simSrc, b)
		if err != nil {
			require.ErrorIs(t, got, err)
			require.Zero(t, r.pool.Used())
		}
		if err == nil && len(b)-n > 4 && got == nil {
			require.LessOrEqual(t, r.pool.Used(), int64(2*slabSize))
		}
		if len(b) >= n+4 && err == nil {
			_ = binary.BigEndian.Uint32(b[n:])
		}
		r.HandleTimeout(simStart.Add(time.Minute))
		require.Zero(t, r.pool.Used())
	})
}
