package route

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/reassembly"
	"github.com/treedn/treedn/route/sls"
)

// hand feeds a Receiver with packets made by hand.
type hand struct {
	t   testing.TB
	r   *Receiver
	now time.Time
	// version of the next package
	version uint8
}

func newHand(t testing.TB, cfg ReceiverConfig) *hand {
	return &hand{t: t, r: NewReceiver(cfg), now: simStart, version: 1}
}

type pk struct {
	tsi, toi uint32
	cp       uint8
	off      uint32
	data     []byte
	tol      int64 // 0 none, -1 for a length of 0
	close    bool
	fti      []byte
	psi      uint8
}

func (p pk) bytes() []byte {
	h := lct.Header{PSI: psiSource, Codepoint: p.cp, TSI: uint64(p.tsi), TOI: uint64(p.toi), HasTOI: true, CloseObject: p.close}
	if p.psi == 1 {
		h.PSI = psiRepair
	}
	if p.tol != 0 {
		h.Extensions, _ = h.Extensions.AppendTOL(uint64(max(0, p.tol)))
	}
	if p.fti != nil {
		h.Extensions, _ = h.Extensions.AppendFTI(p.fti)
	}
	b, _ := h.AppendTo(nil)
	b = binary.BigEndian.AppendUint32(b, p.off)
	return append(b, p.data...)
}

func (h *hand) push(p pk) error {
	return h.r.Push(h.now, simSrc, p.bytes())
}

func (h *hand) ok(p pk) {
	h.t.Helper()
	require.NoError(h.t, h.push(p))
}

func (h *hand) rejected(p pk, reason Reason) {
	h.t.Helper()
	var e *RejectError
	require.ErrorAs(h.t, h.push(p), &e)
	require.Equal(h.t, reason, e.Reason)
}

func (h *hand) wait(d time.Duration) {
	end := h.now.Add(d)
	for {
		next := h.r.NextTimeout()
		if next.IsZero() || next.After(end) {
			break
		}
		if next.After(h.now) {
			h.now = next
		}
		h.r.HandleTimeout(h.now)
	}
	h.now = end
}

func (h *hand) events() (out []Event) {
	for {
		ev, ok := h.r.Poll()
		if !ok {
			return out
		}
		out = append(out, ev)
	}
}

// kinds leaves out faults, which have tests of their own.
func kinds(evs []Event) (out []EventKind) {
	for _, ev := range evs {
		if ev.Kind != Faulty {
			out = append(out, ev.Kind)
		}
	}
	return out
}

// signal delivers an S-TSID.
func (h *hand) signal(ls ...sls.LS) {
	h.t.Helper()
	require.Equal(h.t, []EventKind{Signalling}, kinds(h.stsid(ls...)))
}

// stsid delivers an S-TSID and returns what comes of it.
func (h *hand) stsid(ls ...sls.LS) []Event {
	h.t.Helper()
	doc := sls.STSID{RS: []sls.RS{{LS: ls}}}
	body, err := doc.Append(nil)
	require.NoError(h.t, err)
	h.pkg(sls.Part{ContentType: sls.MediaTypeSTSID, Location: "s", Generation: uint64(h.version), Body: body})
	return h.events()
}

func (h *hand) pkg(parts ...sls.Part) {
	h.t.Helper()
	p := sls.Package{Version: h.version, Parts: parts, NoEnvelope: true}
	h.version++
	b, err := p.AppendGzip(nil)
	require.NoError(h.t, err)
	for off := 0; off < len(b); off += 1000 {
		h.ok(pk{0, uint32(p.TOI(true)), 3, uint32(off), b[off:min(len(b), off+1000)], int64(len(b)), false, nil, 0})
	}
}

func channelLS(tsi uint32, in fdt.Instance, payloads ...sls.Payload) sls.LS {
	in.Expires, in.MaxTransportSize = expiresNever, 1<<20
	if payloads == nil {
		payloads = []sls.Payload{{Codepoint: 8, FormatID: 1, Order: true}}
	}
	return sls.LS{TSI: tsi, SrcFlow: &sls.SrcFlow{EFDT: &in, Payloads: payloads}}
}

func track(tsi uint32) sls.LS {
	return channelLS(tsi, fdt.Instance{FileTemplate: "v-$TOI$.m4s", Generation: 99})
}

func seq(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

func TestObjectGrows(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(track(10))
	b := seq(3000)
	h.ok(pk{tsi: 10, toi: 4, cp: 8, off: 0, data: b[:1000]})
	evs := h.events()
	require.Equal(t, []EventKind{Started, Progress}, kinds(evs))
	o := evs[0].Object
	require.Equal(t, "v-4.m4s", o.Name())
	require.Equal(t, uint64(99), o.Generation())
	require.Equal(t, int64(-1), o.Length())
	require.Equal(t, int64(1000), o.Prefix())
	require.False(t, o.LateStart())
	buf := make([]byte, 1500)
	n, err := o.ReadAt(buf, 0)
	require.ErrorIs(t, err, ErrNotHeld)
	require.Equal(t, b[:1000], buf[:n])
	h.ok(pk{tsi: 10, toi: 4, cp: 8, off: 1000, data: b[1000:2000]})
	h.ok(pk{tsi: 10, toi: 4, cp: 8, off: 2000, data: b[2000:]})
	require.Equal(t, []EventKind{Progress}, kinds(h.events()), "one event for two packets")
	h.ok(pk{tsi: 10, toi: 4, cp: 8, off: 3000, tol: 3000, close: true})
	require.Equal(t, []EventKind{Complete}, kinds(h.events()))
	require.Equal(t, b, o.Bytes(0))
	_, err = o.ReadAt(buf, 2999)
	require.Error(t, err)
	h.r.Release(h.now, o)
	require.Zero(t, h.r.Stats().Memory)
	require.Nil(t, o.Bytes(0))

	h.ok(pk{tsi: 10, toi: 4, cp: 8, off: 0, data: b[:1000]})
	require.Empty(t, h.events(), "a repeat")
	require.Empty(t, h.r.objects)
}

func TestUndescribedIsKeptForTheSignalling(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	b := seq(1000)
	h.ok(pk{tsi: 10, toi: 4, cp: 8, off: 0, data: b, tol: 1000})
	h.ok(pk{tsi: 10, toi: 5, cp: 8, off: 0, data: b, tol: 2000})
	h.ok(pk{tsi: 11, toi: 5, cp: 8, off: 0, data: b, tol: 2000})
	require.Empty(t, h.events())
	h.wait(1900 * time.Millisecond)
	doc := sls.STSID{RS: []sls.RS{{LS: []sls.LS{track(10)}}}}
	body, err := doc.Append(nil)
	require.NoError(t, err)
	h.pkg(sls.Part{ContentType: sls.MediaTypeSTSID, Location: "s", Body: body})
	require.Equal(t, []EventKind{Started, Complete, Started, Progress, Signalling}, kinds(h.events()))
	h.wait(200 * time.Millisecond)
	st := h.r.Stats()
	require.Equal(t, uint64(1), st.Rejected[RejectUndescribed])
	require.NotContains(t, h.r.channels, uint32(11))
}

func TestUndescribedIsBounded(t *testing.T) {
	h := newHand(t, ReceiverConfig{MaxUndescribed: 1 << 20})
	for i := range 100_000 {
		h.now = h.now.Add(10 * time.Microsecond)
		_ = h.push(pk{tsi: uint32(1 + i%1000), toi: uint32(i), cp: 8, off: uint32(i) * 40_000, data: seq(1000)})
		if i%5000 == 0 {
			h.r.HandleTimeout(h.now)
			st := h.r.Stats()
			require.LessOrEqual(t, st.Memory, int64(1<<20+slabSize))
			require.LessOrEqual(t, len(h.r.channels), 257)
			require.LessOrEqual(t, len(h.r.objects), maxUndescribed+64)
		}
	}
	h.signal(track(70_000)) // the true signalling still gets in
	h.wait(6 * time.Second)
	require.Empty(t, h.r.objects)
	require.Len(t, h.r.channels, 2)
	require.Zero(t, h.r.Stats().Memory)
}

// Forged TOIs of a described track must not keep out the true ones, nor cost
// more than the limits say.
func TestHostileTOIs(t *testing.T) {
	h := newHand(t, ReceiverConfig{MaxMemory: 8 << 20})
	h.signal(track(10))
	r := rand.New(rand.NewPCG(1, 1))
	b := seq(50_000)
	n := 0
	next := 0
	for i := range 100_000 {
		h.now = h.now.Add(100 * time.Microsecond)
		_ = h.push(pk{tsi: 10, toi: 1000 + r.Uint32N(1<<30), cp: 8, off: r.Uint32(), data: seq(100), tol: int64(r.Uint32())})
		if i%10 == 0 { // the true one: 1400 octets a millisecond
			_ = h.push(pk{tsi: 10, toi: uint32(1 + n), cp: 8, off: uint32(next), data: b[next:min(len(b), next+1400)], tol: int64(len(b))})
			if next += 1400; next >= len(b) {
				next, n = 0, n+1
			}
		}
		h.r.HandleTimeout(h.now)
		for _, ev := range h.events() {
			if ev.Kind == Complete && ev.Object.TOI() < 1000 {
				got := make([]byte, len(b))
				_, err := ev.Object.ReadAt(got, 0)
				require.NoError(t, err)
				require.True(t, bytes.Equal(b, got))
				h.r.Release(h.now, ev.Object)
			}
		}
		require.LessOrEqual(t, h.r.pool.Used(), int64(8<<20))
		require.LessOrEqual(t, len(h.r.active), 65+64)
	}
	require.GreaterOrEqual(t, h.r.Stats().Objects, uint64(n))
	require.Greater(t, n, 250)
	h.wait(10 * time.Second)
	require.Zero(t, h.r.Stats().Memory)
	require.LessOrEqual(t, len(h.r.records.m), 8192)
}

func TestAnnouncedLengthCostsNothing(t *testing.T) {
	h := newHand(t, ReceiverConfig{MaxObject: maxObject})
	h.signal(track(10))
	h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 0xffff0000, data: []byte{1}, tol: maxObject})
	require.Equal(t, int64(slabSize), h.r.Stats().Memory)
	h.rejected(pk{tsi: 10, toi: 2, cp: 8, off: 0xffffffff, data: seq(1400)}, RejectTooLarge)
	h.rejected(pk{tsi: 10, toi: 3, cp: 8, off: 0, data: seq(10), tol: 1 << 47}, RejectTooLarge)
}

func TestLengths(t *testing.T) {
	t.Run("EXT_FTI", func(t *testing.T) {
		h := newHand(t, ReceiverConfig{})
		h.signal(track(10))
		fti := []byte{0, 0, 0, 0, 0x03, 0xe8, 0, 0, 0x05, 0x94, 0, 0, 0, 64}
		h.ok(pk{tsi: 10, toi: 1, cp: 8, data: seq(1000), fti: fti})
		require.Equal(t, []EventKind{Started, Complete}, kinds(h.events()))
	})
	t.Run("File entry", func(t *testing.T) {
		h := newHand(t, ReceiverConfig{})
		h.signal(channelLS(10, fdt.Instance{Files: []fdt.File{{TOI: 9, ContentLocation: "x", ContentType: "a/b", ContentLength: 1000, HasContentLength: true}}}))
		h.ok(pk{tsi: 10, toi: 9, cp: 1, data: seq(1000)})
		evs := h.events()
		require.Equal(t, []EventKind{Started, Complete}, kinds(evs))
		require.Equal(t, "a/b", evs[0].Object.ContentType())
		require.Equal(t, uint64(simStart.UnixMicro()), evs[0].Object.Generation())
	})
	t.Run("B alone must last for a while", func(t *testing.T) {
		h := newHand(t, ReceiverConfig{})
		h.signal(track(10))
		b := seq(3000)
		h.ok(pk{tsi: 10, toi: 1, cp: 8, data: b[:1000], close: true}) // forged, or early
		h.wait(40 * time.Millisecond)
		h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 1000, data: b[1000:2000]})
		h.wait(20 * time.Millisecond)
		require.Equal(t, []EventKind{Started, Progress}, kinds(h.events()))
		h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 2000, data: b[2000:], close: true})
		h.wait(60 * time.Millisecond)
		require.Equal(t, []EventKind{Progress, Complete}, kinds(h.events()))
	})
	t.Run("contradiction", func(t *testing.T) {
		h := newHand(t, ReceiverConfig{})
		h.signal(track(10))
		h.ok(pk{tsi: 10, toi: 1, cp: 8, data: seq(1000), tol: 2000})
		h.rejected(pk{tsi: 10, toi: 1, cp: 8, off: 1000, data: seq(500), tol: 1500}, RejectLength)
		h.rejected(pk{tsi: 10, toi: 1, cp: 8, off: 1500, data: seq(501)}, RejectBeyond)
		h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 1500, data: seq(500)})
		require.Equal(t, []EventKind{Started, Progress, Complete}, kinds(h.events()))
	})
	t.Run("empty object", func(t *testing.T) {
		h := newHand(t, ReceiverConfig{})
		h.signal(track(10))
		h.ok(pk{tsi: 10, toi: 1, cp: 8, tol: -1, close: true})
		evs := h.events()
		require.Equal(t, []EventKind{Started, Complete}, kinds(evs))
		require.Zero(t, evs[1].Object.Length())
	})
}

func TestOverlap(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(track(10))
	b := seq(1000)
	h.ok(pk{tsi: 10, toi: 1, cp: 8, data: b[:500]})
	h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 400, data: b[400:600]})
	h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 800, data: b[800:]})
	forged := append([]byte(nil), b...)
	forged[850]++
	h.rejected(pk{tsi: 10, toi: 1, cp: 8, off: 0, data: forged}, RejectConflict)
	h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 0, data: b, tol: 1000})
	evs := h.events()
	require.Equal(t, Complete, evs[len(evs)-1].Kind)
	require.Equal(t, b, evs[len(evs)-1].Object.Bytes(0))
	require.Equal(t, uint64(1), h.r.stats.Rejected[RejectConflict])
}

func TestMaxRanges(t *testing.T) {
	h := newHand(t, ReceiverConfig{MaxRanges: 10})
	h.signal(track(10))
	for i := range uint32(10) {
		h.ok(pk{tsi: 10, toi: 1, cp: 8, off: i * 10, data: []byte{byte(i)}})
	}
	h.rejected(pk{tsi: 10, toi: 1, cp: 8, off: 1000, data: []byte{1}}, RejectRanges)
	h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 91, data: []byte{1}})
}

func TestSourcePolicy(t *testing.T) {
	cfg := ReceiverConfig{Session: Session{Source: netip.MustParseAddr("10.0.0.1")}}
	p := pk{tsi: 0, toi: 1, data: []byte{1}}.bytes()
	r := NewReceiver(cfg)
	require.ErrorIs(t, r.Push(simStart, netip.MustParseAddrPort("10.0.0.2:1"), p), errSource)
	require.NoError(t, r.Push(simStart, netip.MustParseAddrPort("[::ffff:10.0.0.1]:1"), p))
	cfg.AnySource = true
	require.NoError(t, NewReceiver(cfg).Push(simStart, netip.MustParseAddrPort("10.0.0.2:1"), p))
}

func TestHeaders(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	require.Error(t, h.r.Push(h.now, simSrc, []byte{0x62, 0, 0, 0x23}))
	require.Equal(t, uint64(1), h.r.stats.Rejected[RejectHeader])
	empty := pk{tsi: 1, toi: 1}.bytes()
	require.NoError(t, h.r.Push(h.now, simSrc, empty[:len(empty)-4]), "an empty packet is legal")
	wide, err := (&lct.Header{PSI: 2, TSI: 1 << 40, TOI: 1, HasTOI: true}).AppendTo(nil)
	require.NoError(t, err)
	require.ErrorIs(t, h.r.Push(h.now, simSrc, append(wide, 0, 0, 0, 0, 1)), errHeader)
}

func TestCodepoints(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(channelLS(10, fdt.Instance{FileTemplate: "$TOI$"},
		sls.Payload{Codepoint: 0, FormatID: 2},
		sls.Payload{Codepoint: 128, FormatID: 1, SrcFECPayloadID: 1}))
	faulty := func(want error) []Event {
		t.Helper()
		evs := h.events()
		require.NotEmpty(t, evs)
		require.Equal(t, Faulty, evs[0].Kind)
		require.Equal(t, uint32(10), evs[0].Fault.TSI)
		require.ErrorIs(t, evs[0].Fault.Err, want)
		return evs[1:]
	}
	h.ok(pk{tsi: 10, toi: 1, cp: 0, data: seq(10), tol: 10})
	require.Equal(t, uint8(2), faulty(ErrReservedCodepoint)[0].Object.Format(), "the declaration comes first")
	h.rejected(pk{tsi: 10, toi: 2, cp: 128, data: seq(10)}, RejectCodepoint)
	faulty(errCodepoint)
	h.rejected(pk{tsi: 10, toi: 2, cp: 128, data: seq(10)}, RejectCodepoint)
	require.Empty(t, h.events(), "told once")
	h.ok(pk{tsi: 10, toi: 2, cp: 9, data: seq(10)})
	require.Equal(t, uint8(2), h.events()[0].Object.Format())
	h.ok(pk{tsi: 10, toi: 3, cp: 5, data: seq(10)})
	require.Equal(t, uint8(1), h.events()[0].Object.Format())
	h.ok(pk{tsi: 10, toi: 4, cp: 200, data: seq(10), tol: 10})
	require.Equal(t, uint8(1), faulty(ErrUndeclaredCodepoint)[0].Object.Format())
}

// GPAC sends every initialization segment as TOI 0xffffffff, again and again,
// and a new one under the same TOI.
func TestInitTOIReuse(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(channelLS(10, fdt.Instance{FileTemplate: "$TOI$", Files: []fdt.File{{TOI: 0xffffffff, ContentLocation: "init.mp4"}}}))
	send := func(b []byte) []EventKind {
		for off := 0; off < len(b); off += 500 {
			_ = h.push(pk{tsi: 10, toi: 0xffffffff, cp: 5, off: uint32(off), data: b[off:min(len(b), off+500)], tol: int64(len(b))})
		}
		evs := h.events()
		for _, ev := range evs {
			if ev.Kind == Complete {
				require.Equal(t, b, ev.Object.Bytes(0))
				h.r.Release(h.now, ev.Object)
			}
		}
		return kinds(evs)
	}
	a := seq(946)
	all := []EventKind{Started, Progress, Complete}
	require.Equal(t, all, send(a))
	require.Empty(t, send(a))
	b := append([]byte(nil), a...)
	b[60]++
	require.Equal(t, all, send(b), "other octets at the start")
	require.Empty(t, send(b))
	b = append([]byte(nil), b...)
	b[300]++
	require.Equal(t, all, send(b), "other octets further on")
	require.Equal(t, all, send(seq(800)), "another length")
	require.Len(t, h.r.records.m, 2)
}

func TestReuseWhileCompleteAndHeld(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(channelLS(10, fdt.Instance{Files: []fdt.File{{TOI: 1, ContentLocation: "x"}}}))
	h.ok(pk{tsi: 10, toi: 1, cp: 1, data: []byte("old"), tol: 3})
	h.ok(pk{tsi: 10, toi: 1, cp: 1, data: []byte("old"), tol: 3})
	h.ok(pk{tsi: 10, toi: 1, cp: 1, data: []byte("new"), tol: 3})
	evs := h.events()
	require.Equal(t, []EventKind{Started, Complete, Started, Complete}, kinds(evs))
	require.Equal(t, "old", string(evs[1].Object.Bytes(0)))
	require.Equal(t, "new", string(evs[3].Object.Bytes(0)))
	require.Greater(t, evs[3].Object.Generation(), evs[1].Object.Generation())
	h.r.Release(h.now, evs[1].Object)
	h.r.Release(h.now, evs[3].Object)
	h.ok(pk{tsi: 10, toi: 1, cp: 1, data: []byte("new"), tol: 3})
	require.Empty(t, h.events())
}

func TestFileGenerationChanges(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	file := func(g uint64) sls.LS {
		return channelLS(10, fdt.Instance{Files: []fdt.File{{TOI: 1, ContentLocation: "x", Generation: g}}})
	}
	h.signal(file(5))
	h.ok(pk{tsi: 10, toi: 1, cp: 1, data: []byte("old"), tol: 3})
	evs := h.events()
	require.Equal(t, []EventKind{Started, Complete}, kinds(evs))
	h.rejected(pk{tsi: 10, toi: 1, cp: 1, data: []byte("bad"), tol: 3}, RejectConflict)
	h.r.Release(h.now, evs[0].Object)
	h.ok(pk{tsi: 10, toi: 1, cp: 1, data: []byte("new"), tol: 3})
	require.Empty(t, kinds(h.events()), "generations are announced: other octets are no new object")
	h.signal(file(6))
	h.ok(pk{tsi: 10, toi: 1, cp: 1, data: []byte("new"), tol: 3})
	evs = h.events()
	require.Equal(t, []EventKind{Started, Complete}, kinds(evs))
	require.Equal(t, uint64(6), evs[1].Object.Generation())
}

// Real senders deliver the EFDT as TOI 0 of the channel, without EXT_FDT, and
// new versions under the same TOI.
func TestInBandEFDT(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	efdt := func(name string) []byte {
		in := fdt.Instance{Expires: expiresNever, Files: []fdt.File{{TOI: 7, ContentLocation: name}}}
		b, err := in.Append(nil)
		require.NoError(t, err)
		return b
	}
	a := efdt("a")
	h.ok(pk{tsi: 3, toi: 0, cp: 0, data: a, tol: int64(len(a))})
	require.Empty(t, h.events(), "the S-TSID has not named the channel")
	require.Equal(t, []EventKind{Signalling, Signalling}, kinds(h.stsid(sls.LS{TSI: 3, SrcFlow: &sls.SrcFlow{Payloads: []sls.Payload{{Codepoint: 0, FormatID: 1}}}})))
	for range 3 {
		h.ok(pk{tsi: 3, toi: 0, cp: 0, data: a, tol: int64(len(a))})
	}
	require.Empty(t, h.events(), "it was kept for the S-TSID")
	h.ok(pk{tsi: 3, toi: 7, cp: 0, data: seq(10)})
	require.Equal(t, "a", h.events()[0].Object.Name())
	b := efdt("b")
	h.ok(pk{tsi: 3, toi: 0, cp: 0, data: b, tol: int64(len(b))})
	require.Equal(t, []EventKind{Lost, Signalling}, kinds(h.events()))
	h.ok(pk{tsi: 3, toi: 7, cp: 0, data: seq(10)})
	require.Equal(t, "b", h.events()[0].Object.Name())
	h.signal(sls.LS{TSI: 3, SrcFlow: &sls.SrcFlow{Payloads: []sls.Payload{{Codepoint: 0, FormatID: 1}}}}, track(4))
	require.Equal(t, "b", h.r.channels[3].files[7].ContentLocation, "a new S-TSID does not take it away")
}

// A template names the segment that begins at the time 0, by its $Time$, TOI 0: with GPAC, which has the EFDT in the
// S-TSID then.
func TestMediaAsTOIZero(t *testing.T) {
	b := seq(3000)
	for _, late := range []bool{false, true} { // the S-TSID
		h := newHand(t, ReceiverConfig{MaxSignalling: 2000})
		if !late {
			h.signal(track(10))
		}
		h.ok(pk{tsi: 10, cp: 8, data: b[:1500], tol: 3000})
		evs := h.events()
		if late {
			require.Empty(t, evs)
			evs = h.stsid(track(10))
			evs = slices.DeleteFunc(evs, func(ev Event) bool { return ev.Kind == Signalling })
		}
		require.Equal(t, []EventKind{Started, Progress}, kinds(evs))
		require.Equal(t, "v-0.m4s", evs[0].Object.Name())
		h.ok(pk{tsi: 10, cp: 8, off: 1500, data: b[1500:], tol: 3000})
		evs = h.events()
		require.Equal(t, []EventKind{Complete}, kinds(evs))
		require.Equal(t, b, evs[0].Object.Bytes(0))
		h.ok(pk{tsi: 10, toi: 96000, cp: 8, data: b, tol: 3000})
		require.Equal(t, []EventKind{Started, Complete}, kinds(h.events()))
	}
	h := newHand(t, ReceiverConfig{MaxSignalling: 2000})
	h.ok(pk{tsi: 3, cp: 8, data: b, tol: 3000})
	require.Equal(t, []EventKind{Signalling}, kinds(h.stsid(sls.LS{TSI: 3, SrcFlow: &sls.SrcFlow{}})), "too large for an EFDT")
	require.Zero(t, h.r.Stats().Memory)
	require.Empty(t, h.r.objects)
}

// An EFDT beside that of the S-TSID is refused where nothing else could be meant (A/331, A.3.3.2.1).
func TestTwoEFDTs(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(channelLS(10, fdt.Instance{Files: []fdt.File{{TOI: 7, ContentLocation: "a"}}}))
	in := fdt.Instance{Expires: expiresNever, Files: []fdt.File{{TOI: 7, ContentLocation: "b"}}}
	b, err := in.Append(nil)
	require.NoError(t, err)
	h.ok(pk{tsi: 10, cp: 8, data: b, tol: int64(len(b))})
	evs := h.events()
	require.Len(t, evs, 1)
	require.ErrorIs(t, evs[0].Fault.Err, errEFDT)
}

func TestPackages(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	mpd := sls.Part{ContentType: sls.MediaTypeDASH, Location: "a.mpd", Generation: 1, Body: []byte("<MPD/>")}
	m3u := sls.Part{ContentType: sls.MediaTypeHLS, Location: "a.m3u8", Generation: 1, Body: []byte("#EXTM3U")}
	h.pkg(mpd, m3u)
	evs := h.events()
	require.Equal(t, []EventKind{Manifest, Manifest}, kinds(evs))
	require.Equal(t, mpd.Body, evs[0].Part.Body)
	mpd.Generation, mpd.Body = 2, []byte("<MPD 2/>")
	h.pkg(mpd, m3u)
	evs = h.events()
	require.Equal(t, []EventKind{Manifest}, kinds(evs), "the other one did not change")
	require.Equal(t, uint64(2), evs[0].Part.Generation)
	h.version--
	h.pkg(mpd, m3u)
	require.Empty(t, h.events())
	h.version = 1 // a sender that starts anew uses its versions again
	h.wait(5 * time.Second)
	mpd.Generation = 3
	h.pkg(mpd)
	require.Equal(t, []EventKind{Manifest}, kinds(h.events()))
}

func TestHoldSignalling(t *testing.T) {
	h := newHand(t, ReceiverConfig{HoldSignalling: true})
	h.ok(pk{tsi: 10, toi: 1, cp: 8, data: seq(10), tol: 10})
	doc := sls.STSID{RS: []sls.RS{{LS: []sls.LS{track(10)}}}}
	body, err := doc.Append(nil)
	require.NoError(t, err)
	h.pkg(sls.Part{ContentType: sls.MediaTypeSTSID, Location: "s", Generation: 4, Body: body})
	evs := h.events()
	require.Equal(t, []EventKind{Signalling}, kinds(evs))
	require.Equal(t, body, evs[0].Signal.Body)
	require.Equal(t, uint64(4), evs[0].Signal.Generation)
	h.r.Accept(h.now, evs[0].Signal)
	require.Equal(t, []EventKind{Started, Complete}, kinds(h.events()))
	h.r.Accept(h.now, evs[0].Signal)
}

func TestForeignSessionsOfSTSID(t *testing.T) {
	h := newHand(t, ReceiverConfig{Session: Session{Group: netip.MustParseAddr("232.0.0.1"), Port: 5}})
	doc := sls.STSID{RS: []sls.RS{
		{Destination: netip.MustParseAddr("232.0.0.2"), LS: []sls.LS{track(1)}},
		{Port: 5, LS: []sls.LS{track(2)}},
	}}
	require.Len(t, h.r.ownSessions(&doc), 1)
	doc.RS = doc.RS[:1]
	require.Len(t, h.r.ownSessions(&doc), 1, "re-streamed")
}

func missing(evs []Event) (out []Range) {
	for _, ev := range evs {
		if ev.Kind == NeedRepair {
			out = append(out, ev.Missing...)
		}
	}
	return out
}

func TestGapTimers(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(track(10))
	b := seq(5000)
	part := func(from, to int) pk {
		return pk{tsi: 10, toi: 1, cp: 8, off: uint32(from), data: b[from:to]}
	}
	h.ok(part(0, 1000))
	h.ok(part(2000, 3000))
	h.wait(24 * time.Millisecond)
	require.Empty(t, missing(h.events()))
	h.wait(time.Millisecond)
	evs := h.events()
	require.Equal(t, []Range{{1000, 2000}}, missing(evs))
	require.True(t, evs[0].Growing)
	h.ok(part(4000, 4500)) // a second hole has a time of its own
	h.wait(25 * time.Millisecond)
	require.Equal(t, []Range{{3000, 4000}}, missing(h.events()))
	h.wait(174 * time.Millisecond)
	require.Empty(t, h.events())
	h.wait(2 * time.Millisecond)
	require.Equal(t, []Range{{1000, 2000}, {3000, 4000}}, missing(h.events()), "again after RepairBackoff")
	h.ok(part(1000, 2000))
	h.wait(398 * time.Millisecond)
	require.Empty(t, missing(h.events()))
	h.wait(2 * time.Millisecond)
	require.Equal(t, []Range{{3000, 4000}}, missing(h.events()), "twice the time")

	last := part(4500, 5000)
	last.close, last.tol = true, 5000
	h.ok(last)
	h.wait(50 * time.Millisecond)
	evs = h.events()
	require.Equal(t, []Range{{3000, 4000}}, missing(evs))
	require.False(t, evs[len(evs)-1].Growing)

	o := evs[len(evs)-1].Object
	require.NoError(t, h.r.Supply(h.now, o, 2500, b[2500:4200], 5000))
	require.Equal(t, []EventKind{Complete}, kinds(h.events()))
	require.Equal(t, int64(1000), o.Supplied())
	require.Equal(t, b, o.Bytes(0))
	h.wait(200 * time.Millisecond)
	require.Equal(t, uint64(1), h.r.Stats().Lost)
	h.r.Release(h.now, o)
	require.ErrorIs(t, h.r.Supply(h.now, o, 0, b, -1), ErrReleased)
}

func TestNextObjectEndsTheOneBefore(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(track(10))
	h.ok(pk{tsi: 10, toi: 1, cp: 8, data: seq(1000)})
	h.wait(900 * time.Millisecond)
	require.Empty(t, missing(h.events()))
	h.ok(pk{tsi: 10, toi: 2, cp: 8, data: seq(1000)})
	h.wait(50 * time.Millisecond)
	evs := h.events()
	require.Equal(t, []Range{{1000, -1}}, missing(evs))
	o := evs[len(evs)-1].Object
	require.Equal(t, uint32(1), o.TOI())
	require.NoError(t, h.r.Supply(h.now, o, 1000, nil, 1000), "the length was all that lacked")
	require.Equal(t, []EventKind{Complete}, kinds(h.events()))
}

// A hole that was reported again and again while the object grew does not put
// the report of the ended object off.
func TestGrowthDoesNotDelayTheEnd(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(track(10))
	h.ok(pk{tsi: 10, toi: 1, cp: 8, data: seq(1000)})
	for i := range 8 { // with backoff: the next report would be a second away
		h.ok(pk{tsi: 10, toi: 1, cp: 8, off: uint32(2000 + 100*i), data: seq(100)})
		h.wait(200 * time.Millisecond)
	}
	for _, ev := range h.events() {
		require.True(t, ev.Kind != NeedRepair || ev.Growing)
	}
	h.ok(pk{tsi: 10, toi: 2, cp: 8, data: seq(1000)})
	h.wait(50 * time.Millisecond)
	require.Equal(t, []Range{{1000, 2000}, {2800, -1}}, missing(h.events()))
}

func TestSkippedTOIs(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(track(10))
	h.ok(pk{tsi: 10, toi: 5, cp: 8, data: seq(10), tol: 10})
	h.ok(pk{tsi: 10, toi: 8, cp: 8, data: seq(10), tol: 10})
	h.ok(pk{tsi: 10, toi: 7, cp: 8, data: seq(10), tol: 10}) // only late
	h.ok(pk{tsi: 10, toi: 100, cp: 8, data: seq(10), tol: 10})
	h.wait(60 * time.Millisecond)
	var suspects []uint32
	for _, ev := range h.events() {
		if ev.Kind == NeedRepair {
			require.Equal(t, []Range{{0, -1}}, ev.Missing)
			require.False(t, ev.Object.Seen())
			suspects = append(suspects, ev.Object.TOI())
		}
	}
	require.Equal(t, []uint32{6}, suspects)
	h.wait(10 * time.Second)
	require.Zero(t, h.r.Stats().ObjectsLost, "it may never have existed")
}

func TestInactivityAndDeadline(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(track(10))
	h.ok(pk{tsi: 10, toi: 1, cp: 8, data: seq(1000)})
	h.wait(1040 * time.Millisecond)
	require.Empty(t, missing(h.events()))
	h.wait(20 * time.Millisecond)
	require.Equal(t, []Range{{1000, -1}}, missing(h.events()))
	h.wait(3900 * time.Millisecond)
	require.NotContains(t, kinds(h.events()), Lost)
	h.wait(50 * time.Millisecond)
	evs := h.events()
	require.Equal(t, Lost, evs[len(evs)-1].Kind)
	require.Equal(t, "v-1.m4s", evs[len(evs)-1].Object.Name())
	st := h.r.Stats()
	require.Zero(t, st.Memory)
	require.Equal(t, uint64(1), st.ObjectsLost)
	h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 1000, data: seq(1000)})
	require.Empty(t, h.events(), "given up for good")
	require.Equal(t, uint64(1), h.r.Stats().Ignored)
}

func TestExpiry(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(channelLS(10, fdt.Instance{FileTemplate: "$TOI$", MaxExpiresDelta: 2}))
	h.ok(pk{tsi: 10, toi: 1, cp: 8, data: seq(1000)})
	h.wait(1900 * time.Millisecond)
	h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 1000, data: seq(1000)})
	require.NotContains(t, kinds(h.events()), Lost)
	h.wait(100 * time.Millisecond)
	require.Contains(t, kinds(h.events()), Lost)
}

// A file that was lost is taken up again when the carousel comes round.
func TestLostFileComesAgain(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(channelLS(10, fdt.Instance{Files: []fdt.File{{TOI: 1, ContentLocation: "x", Generation: 3}}}))
	h.ok(pk{tsi: 10, toi: 1, cp: 5, data: seq(500), tol: 1000})
	h.wait(10 * time.Second)
	require.Contains(t, kinds(h.events()), Lost)
	h.ok(pk{tsi: 10, toi: 1, cp: 5, data: seq(1000), tol: 1000})
	require.Equal(t, []EventKind{Started, Complete}, kinds(h.events()))
}

func TestReject(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(track(10))
	b := seq(200_000)
	for off := 0; off < 3000; off += 1000 {
		h.ok(pk{tsi: 10, toi: 1, cp: 8, off: uint32(off), data: b[off : off+1000]})
	}
	o := h.events()[0].Object
	h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 3000, data: []byte("forged"), tol: 3006})
	require.Equal(t, []EventKind{Complete}, kinds(h.events()))
	h.r.Reject(h.now, o, 3000)
	require.Equal(t, int64(3000), o.Prefix())
	require.Equal(t, int64(-1), o.Length())
	require.False(t, o.Complete())
	h.wait(time.Millisecond)
	require.Equal(t, []Range{{3000, -1}}, missing(h.events()))
	h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 3000, data: b[3000:4000], tol: 200_000})
	require.NoError(t, h.r.Supply(h.now, o, 4000, b[4000:], -1))
	evs := h.events()
	require.Equal(t, Complete, evs[len(evs)-1].Kind)
	got := make([]byte, 200_000)
	_, err := o.ReadAt(got, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(b, got))
}

const slabSize = reassembly.SlabSize

// repairs makes repair packets of an object.
func repairs(t testing.TB, tsi, toi uint32, b []byte, y, group, n, block int) (out []pk) {
	j := encodeJob{object: append([]byte(nil), b...), unit: y * group, block: block, group: group, codec: new(raptorq.Codec)}
	for off := 0; off < len(b); off += y * group {
		j.packets = append(j.packets, span{uint32(off), uint32(min(y*group, len(b)-off))})
	}
	var err error
	j.oti, err = RepairOTI(int64(len(b)), y, block)
	require.NoError(t, err)
	super := AppendSuperObject(nil, b, y)
	require.Len(t, super, int(j.oti.TransferLength))
	for sbn := range j.oti.SourceBlocks {
		k, off, length := j.oti.Block(sbn)
		enc := newEncoder(t, super[off:off+length], y)
		for i := range n {
			esi := uint32(k + i*group)
			p := pk{tsi: tsi, toi: toi, psi: 1, off: uint32(sbn)<<24 | esi, fti: fec.AppendOTI(nil, j.oti)}
			for g := range group {
				p.data = enc.AppendSymbol(p.data, esi+uint32(g))
			}
			out = append(out, p)
		}
	}
	return out
}

func protectedTrack(tsi uint32) sls.LS {
	ls := track(tsi)
	ls.RepairFlow = &sls.RepairFlow{HasOTI: true, Protected: []sls.ProtectedObject{{TSI: tsi}}}
	fec.AppendOTI(ls.RepairFlow.OTI[:0], fec.OTI{SymbolSize: 1344, SourceBlocks: 1, SubBlocks: 1, Alignment: 8})
	return ls
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name            string
		f, y, group, bl int
		lose            map[int]bool // source packets of 1344 octets
		tol             bool
	}{
		{"one packet", 40_000, 1344, 1, 1024, map[int]bool{3: true}, true},
		{"tail and length", 40_000, 1344, 1, 1024, map[int]bool{29: true}, false},
		{"length alone", 1344 * 3, 1344, 1, 1024, map[int]bool{}, false},
		{"everything", 5_000, 1344, 1, 1024, map[int]bool{0: true, 1: true, 2: true, 3: true}, false},
		{"small symbols", 40_000, 336, 4, 1024, map[int]bool{3: true, 17: true, 29: true}, false},
		{"many blocks", 400_000, 1344, 1, 50, map[int]bool{0: true, 100: true, 200: true, 297: true}, true},
		{"many blocks, no length", 400_000, 1344, 1, 50, map[int]bool{0: true, 297: true}, false},
		{"length field in a symbol of its own", 1344*10 - 2, 1344, 1, 1024, map[int]bool{9: true}, false},
		{"padding only in the last symbol", 1344 * 10, 1344, 1, 1024, map[int]bool{4: true}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHand(t, ReceiverConfig{})
			h.signal(protectedTrack(10))
			b := randomBytes(9, c.f)
			for i := 0; i*1344 < c.f; i++ {
				p := pk{tsi: 10, toi: 1, cp: 8, off: uint32(i * 1344), data: b[i*1344 : min(c.f, (i+1)*1344)]}
				if c.tol {
					p.tol = int64(c.f)
				}
				if !c.lose[i] {
					h.ok(p)
				}
			}
			for _, p := range repairs(t, 10, 1, b, c.y, c.group, len(c.lose)+3, c.bl) {
				h.ok(p)
				h.r.RunWork(h.now)
			}
			evs := h.events()
			last := evs[len(evs)-1]
			require.Equal(t, Complete, last.Kind)
			got := make([]byte, c.f)
			_, err := last.Object.ReadAt(got, 0)
			require.NoError(t, err)
			require.True(t, bytes.Equal(b, got))
			require.Equal(t, uint64(last.Object.Recovered()), h.r.Stats().Recovered)
			require.Zero(t, h.r.Stats().Rejected)
			h.r.Release(h.now, last.Object)
			require.Zero(t, h.r.Stats().Memory)
		})
	}
}

func TestForgedRepair(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(protectedTrack(10))
	b := randomBytes(9, 40_000)
	for i := 0; (i+1)*1344 < len(b); i++ {
		h.ok(pk{tsi: 10, toi: 1, cp: 8, off: uint32(i * 1344), data: b[i*1344 : (i+1)*1344]})
	}
	good := repairs(t, 10, 1, b, 1344, 1, 4, 1024)
	for _, change := range []func(*pk){
		func(p *pk) { p.data = p.data[1:] },
		func(p *pk) { p.data = nil },
		func(p *pk) { p.off = 3 },         // a source symbol
		func(p *pk) { p.off |= 7 << 24 },  // no such block
		func(p *pk) { p.fti = p.fti[:6] }, // cut off
		func(p *pk) { p.fti = make([]byte, 12) },
		func(p *pk) {
			p.fti = fec.AppendOTI(nil, fec.OTI{TransferLength: 1344, SymbolSize: 1344, SourceBlocks: 1, SubBlocks: 1, Alignment: 8})
			p.off = 5
		},
		func(p *pk) { p.toi = 0 },
	} {
		p := good[0]
		change(&p)
		h.rejected(p, RejectRepair)
	}
	forged := good[0]
	forged.data = randomBytes(3, 1344)
	h.ok(forged)
	h.ok(good[1])
	h.r.RunWork(h.now)
	h.wait(100 * time.Millisecond)
	evs := h.events()
	require.NotContains(t, kinds(evs), Complete)
	require.NotEmpty(t, missing(evs))
	require.Equal(t, uint64(1), h.r.Stats().DecodeErrors)
	require.Equal(t, int64(3*slabSize), h.r.Stats().Memory)
	o := evs[0].Object
	require.NoError(t, h.r.Supply(h.now, o, 38_000, b[38_000:], int64(len(b))))
	require.Contains(t, kinds(h.events()), Complete)
}

// While a decoder reads an object, its octets may be rejected, or it may be
// released.
func TestWorkOutlivesItsObject(t *testing.T) {
	for _, end := range []string{"release", "reject", "supply"} {
		t.Run(end, func(t *testing.T) {
			h := newHand(t, ReceiverConfig{})
			h.signal(protectedTrack(10))
			b := randomBytes(9, 140_000)
			for i := 1; i*1344 < len(b); i++ {
				h.ok(pk{tsi: 10, toi: 1, cp: 8, off: uint32(i * 1344), data: b[i*1344 : min(len(b), (i+1)*1344)]})
			}
			for _, p := range repairs(t, 10, 1, b, 1344, 1, 4, 1024) {
				h.ok(p)
			}
			w, ok := h.r.PollWork()
			require.True(t, ok)
			o := h.events()[0].Object
			done := make(chan bool)
			go func() {
				w.Run()
				close(done)
			}()
			switch end {
			case "release":
				h.r.Release(h.now, o)
				require.Zero(t, h.r.Stats().Memory)
				h.signal(protectedTrack(10), track(11))
				for i := range 200 { // the memory is in use again
					h.ok(pk{tsi: 11, toi: 1, cp: 8, off: uint32(i * 1000), data: seq(1000)})
				}
			case "reject":
				h.r.Reject(h.now, o, 70_000)
				h.ok(pk{tsi: 10, toi: 1, cp: 8, off: 70_000, data: seq(1000)})
			case "supply":
				require.NoError(t, h.r.Supply(h.now, o, 0, b[:1344], int64(len(b))))
				require.True(t, o.Complete())
			}
			<-done
			h.r.Finish(h.now, w)
			h.r.Finish(h.now, w)
			require.Equal(t, end == "supply", o.Complete())
			if end == "reject" {
				require.Equal(t, int64(71_000), o.held.End())
			}
		})
	}
}

func TestSupplySymbols(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(track(10)) // no repair flow
	b := randomBytes(9, 40_000)
	for i := 2; i*1344 < len(b); i++ {
		h.ok(pk{tsi: 10, toi: 1, cp: 8, off: uint32(i * 1344), data: b[i*1344 : min(len(b), (i+1)*1344)]})
	}
	o := h.events()[0].Object
	require.True(t, o.LateStart())
	oti, err := RepairOTI(int64(len(b)), 1344, 1024)
	require.NoError(t, err)
	enc := newEncoder(t, AppendSuperObject(nil, b, 1344), 1344)
	var symbols []byte
	for i := range uint32(5) {
		symbols = enc.AppendSymbol(symbols, 5000+i)
	}
	require.NoError(t, h.r.SupplySymbols(h.now, o, oti, 0, 5000, symbols))
	require.Error(t, h.r.SupplySymbols(h.now, o, oti, 1, 5000, symbols))
	h.r.RunWork(h.now)
	evs := h.events()
	require.Equal(t, Complete, evs[len(evs)-1].Kind)
	got := make([]byte, len(b))
	_, err = o.ReadAt(got, 0)
	require.NoError(t, err)
	require.Equal(t, b, got)
	require.Zero(t, h.r.Stats().ObjectsLost)
}

// Repair packets that arrive hold back the request for repair.
func TestFECGoesBeforeUnicast(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(protectedTrack(10), protectedTrack(11))
	b := randomBytes(9, 40_000)
	for i := 5; i*1344 < len(b); i++ {
		h.ok(pk{tsi: 10, toi: 1, cp: 8, off: uint32(i * 1344), data: b[i*1344 : min(len(b), (i+1)*1344)], tol: 40_000})
	}
	other := repairs(t, 11, 1, randomBytes(3, 30_000), 1344, 1, 10, 1024)
	for _, p := range other {
		h.wait(20 * time.Millisecond)
		h.ok(p) // the flow is busy with an older object
	}
	for _, p := range repairs(t, 10, 1, b, 1344, 1, 3, 1024) {
		h.wait(40 * time.Millisecond)
		h.ok(p)
		for _, ev := range h.events() {
			require.False(t, ev.Kind == NeedRepair && ev.Object.TSI() == 10)
		}
	}
	asked := func() (m []Range) {
		for _, ev := range h.events() {
			if ev.Kind == NeedRepair && ev.Object.TSI() == 10 {
				m = ev.Missing
			}
		}
		return m
	}
	h.wait(149 * time.Millisecond)
	require.Empty(t, asked())
	h.wait(time.Millisecond)
	require.Equal(t, []Range{{0, 5 * 1344}}, asked())
}

func TestReceiverAllocatesNothingPerPacket(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(track(10))
	pkt := pk{tsi: 10, toi: 1, cp: 8, data: seq(1344), tol: 60_000_000}.bytes()
	off := uint32(0)
	push := func() {
		binary.BigEndian.PutUint32(pkt[len(pkt)-1344-4:], off)
		off += 1344
		h.now = h.now.Add(time.Millisecond)
		if err := h.r.Push(h.now, simSrc, pkt); err != nil {
			panic(err)
		}
		for {
			if _, ok := h.r.Poll(); !ok {
				break
			}
		}
		h.r.HandleTimeout(h.now)
	}
	for range 100 {
		push()
	}
	// A slab of 64 KiB for every 48 packets is the object's memory.
	require.Less(t, testing.AllocsPerRun(1000, push), 0.1)
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{25_000, 250_000, 2_500_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			data := randomBytes(1, size)
			var pkts [][]byte
			lose := 0
			for off := 0; off < size; off += 1344 {
				if off/1344%10 == 3 {
					lose++
					continue
				}
				pkts = append(pkts, pk{tsi: 10, toi: 1, cp: 8, off: uint32(off), data: data[off:min(size, off+1344)], tol: int64(size)}.bytes())
			}
			for _, p := range repairs(b, 10, 1, data, 1344, 1, lose+1, 1024) {
				pkts = append(pkts, p.bytes())
			}
			b.SetBytes(int64(size))
			for b.Loop() {
				h := newHand(b, ReceiverConfig{})
				h.signal(protectedTrack(10))
				for _, p := range pkts {
					_ = h.r.Push(h.now, simSrc, p)
					h.r.RunWork(h.now)
				}
				require.Equal(b, uint64(1), h.r.stats.Objects)
			}
		})
	}
}

func BenchmarkReceiver(b *testing.B) {
	for _, size := range []int{200_000, 2_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			h := newHand(b, ReceiverConfig{})
			h.signal(track(10))
			data := seq(size)
			var pkts [][]byte
			for off := 0; off < size; off += 1344 {
				pkts = append(pkts, pk{tsi: 10, toi: 1, cp: 8, off: uint32(off), data: data[off:min(size, off+1344)], tol: int64(size)}.bytes())
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for n := uint32(1); b.Loop(); n++ {
				for _, p := range pkts {
					binary.BigEndian.PutUint32(p[12:], n)
					if err := h.r.Push(h.now, simSrc, p); err != nil {
						b.Fatal(err)
					}
					for {
						ev, ok := h.r.Poll()
						if !ok {
							break
						}
						if ev.Kind == Complete {
							h.r.Release(h.now, ev.Object)
						}
					}
				}
				h.now = h.now.Add(time.Second)
				h.r.HandleTimeout(h.now)
			}
		})
	}
}

// A sender that announces no generations starts again with TOI 1.
func TestForeignRuns(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	ls := channelLS(10, fdt.Instance{FileTemplate: "v-$TOI%03d$.m4s"})
	ls.SrcFlow.Media = &sls.MediaInfo{ContentType: "audio", RepID: "a1"}
	h.signal(ls)
	send := func(toi uint32, fill byte) *Object {
		h.ok(pk{tsi: 10, toi: toi, cp: 8, data: bytes.Repeat([]byte{fill}, 200), tol: 200})
		evs := h.events()
		if len(evs) == 0 {
			return nil
		}
		require.Equal(t, []EventKind{Started, Complete}, kinds(evs))
		h.r.Release(h.now, evs[0].Object)
		return evs[0].Object
	}
	a := send(1, 1)
	require.Equal(t, Track{Stem: "v-$TOI%03d$.m4s", Number: 1, Run: a.Generation(), Kind: Audio, Representation: "a1"}, a.Track())
	require.False(t, a.Announced())
	require.False(t, a.Init())
	h.signal(ls) // nothing new
	b := send(2, 2)
	require.Equal(t, a.Generation(), b.Generation())
	require.Nil(t, send(2, 2))
	c := send(1, 9)
	require.Greater(t, c.Generation(), a.Generation())
	require.Equal(t, c.Generation(), send(2, 8).Generation())
	require.Equal(t, c.Generation(), send(3, 7).Generation())
}

func TestTrackOfAnnouncedRun(t *testing.T) {
	s := newSim(t, SenderConfig{}, ReceiverConfig{})
	out := media(5, 1234)
	s.sendWhole(out, randomBytes(1, 5000))
	s.sendWhole(Outgoing{Name: "init.mp4", Generation: 9, Carousel: true}, randomBytes(2, 500))
	s.run(100 * time.Millisecond)
	n := 0
	for _, ev := range s.events {
		if ev.Kind != Complete {
			continue
		}
		n++
		if ev.Object.Templated() {
			require.Equal(t, out.Track, ev.Object.Track())
			continue
		}
		require.Equal(t, Track{}, ev.Object.Track())
		require.True(t, ev.Object.Init())
		require.Equal(t, uint64(9), ev.Object.Generation())
	}
	require.Equal(t, 2, n)
}

// An old initialization segment stays in the carousel until its successor is
// whole.
func TestReplacementMayFail(t *testing.T) {
	s := newSim(t, SenderConfig{}, ReceiverConfig{})
	old := Outgoing{Name: "init.mp4", Generation: 9, Carousel: true}
	s.sendWhole(old, []byte("old"))
	s.run(time.Second)
	next := old
	next.Generation++
	tx, err := s.snd.Begin(s.now, next)
	require.NoError(t, err)
	require.NoError(t, tx.Append(s.now, []byte("ne")))
	tx.Cut()
	s.run(time.Second)
	tx.Abort()
	before := s.snd.Stats().CarouselPackets
	s.run(3 * time.Second)
	require.Equal(t, before+3, s.snd.Stats().CarouselPackets)
	s.sendWhole(next, []byte("new"))
	s.run(2 * time.Second)
	require.Equal(t, "new", string(s.got["init.mp4"]))
	require.Len(t, s.snd.meta.files, 1)
}
