package route

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/route/sls"
)

// The estimate is right when packets are overtaken by many others and come
// twice. Signalling and repeated files that are lost leave no trace.
func TestLostIsWhatTheWireDropped(t *testing.T) {
	for _, loss := range []float64{0, 0.05, 0.1, 0.2} {
		for _, shuffle := range []int{0, 5, 50} {
			for _, double := range []float64{0, 0.03} {
				t.Run(fmt.Sprintf("%v/%d/%v", loss, shuffle, double), func(t *testing.T) {
					t.Parallel()
					l := newLive(t, SenderConfig{}, ReceiverConfig{})
					l.shuffle, l.double = shuffle, double
					dropped := 0
					chance := rand.New(rand.NewPCG(uint64(1000*loss)+uint64(shuffle), 3))
					l.drop = func([]byte) bool {
						if chance.Float64() >= loss {
							return false
						}
						dropped++
						return true
					}
					l.unicast()
					var before uint64
					for n := 1; n <= 8; n++ {
						l.segment(n)
						lost := l.rcv.Stats().Lost
						require.GreaterOrEqual(t, lost, before, "a counter")
						before = lost
					}
					l.run(3 * time.Second)
					l.check()
					lost := l.rcv.Stats().Lost
					t.Logf("dropped %d, counted %d", dropped, lost)
					if loss == 0 {
						require.LessOrEqual(t, lost, uint64(2))
					}
					require.InDelta(t, dropped, lost, 0.15*float64(dropped)+5)
					require.Empty(t, l.rcv.losses.queue, "nothing is left")
					require.Zero(t, l.rcv.losses.charged)
				})
			}
		}
	}
}

// lossyObject sends an object of ten packets of which some come by unicast.
func lossyObject(h *hand, b []byte, missing ...int) *Object {
	for i := range 10 {
		if !slices.Contains(missing, i) {
			h.ok(pk{tsi: 10, toi: 1, cp: 8, off: uint32(1000 * i), data: b[1000*i : 1000*i+1000], tol: 10_000})
		}
	}
	o := h.events()[0].Object
	for _, i := range missing {
		require.NoError(h.t, h.r.Supply(h.now, o, int64(1000*i), b[1000*i:1000*i+1000], -1))
	}
	require.True(h.t, o.Complete())
	return o
}

func TestLatePacketsTakeTheirCountBack(t *testing.T) {
	b := seq(10_000)
	late := func(i int) pk {
		return pk{tsi: 10, toi: 1, cp: 8, off: uint32(1000 * i), data: b[1000*i : 1000*i+1000], tol: 10_000}
	}
	for _, release := range []bool{false, true} {
		h := newHand(t, ReceiverConfig{})
		h.signal(track(10))
		o := lossyObject(h, b, 2, 5, 6, 7)
		if release {
			h.r.Release(h.now, o)
		}
		require.Zero(t, h.r.Stats().Lost, "they may still come")
		h.ok(late(2))
		h.ok(late(2))
		h.ok(late(3))
		h.wait(200 * time.Millisecond)
		require.Equal(t, uint64(3), h.r.Stats().Lost)
		h.ok(late(6))
		h.ok(late(6))
		h.wait(200 * time.Millisecond)
		require.Equal(t, uint64(3), h.r.Stats().Lost, "a counter does not fall")
		require.Equal(t, int64(2), h.r.losses.counted, "but rises later")
		h.wait(time.Second)
		require.Empty(t, h.r.losses.queue)
		h.ok(late(7))
		h.wait(time.Second)
		require.Equal(t, int64(2), h.r.losses.counted, "too late")
	}
}

func TestRepairPacketsLost(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	ls := track(10)
	h.signal(protect(ls))
	b := seq(10_000)
	o := lossyObject(h, b)
	h.r.Release(h.now, o)
	oti, err := RepairOTI(10_000, 1000, 1000)
	require.NoError(t, err)
	k, _, _ := oti.Block(0)
	repair := func(esi int) {
		h.ok(pk{tsi: 10, toi: 1, off: uint32(k + esi), data: make([]byte, 2000), fti: fec.AppendOTI(nil, oti), psi: 1})
	}
	for _, esi := range []int{10, 4, 4, 12, 0, 10, 0} { // of 0, 2, 4 to 12
		repair(esi)
	}
	h.wait(150 * time.Millisecond)
	repair(8)
	h.wait(199 * time.Millisecond)
	require.Zero(t, h.r.Stats().Lost, "they still come")
	h.wait(time.Millisecond)
	require.Equal(t, uint64(2), h.r.Stats().Lost)
	repair(1 << 20)
	h.wait(2 * time.Second)
	require.Equal(t, uint64(2), h.r.Stats().Lost, "nothing explains such a gap")
}

// A receiver that comes in the middle of an object, or of its repair flow, has
// not lost what went before.
func TestNothingIsLostBeforeTheReceiverCame(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(protect(track(10)))
	b := seq(10_000)
	oti, err := RepairOTI(10_000, 1000, 1000)
	require.NoError(t, err)
	k, _, _ := oti.Block(0)
	h.ok(pk{tsi: 10, toi: 1, off: uint32(k + 4), data: make([]byte, 1000), fti: fec.AppendOTI(nil, oti), psi: 1})
	h.ok(pk{tsi: 10, toi: 1, off: uint32(k + 6), data: make([]byte, 1000), fti: fec.AppendOTI(nil, oti), psi: 1})
	h.ok(pk{tsi: 10, toi: 2, cp: 8, off: 4000, data: b[4000:5000], tol: 10_000})
	h.ok(pk{tsi: 10, toi: 2, cp: 8, off: 3000, data: b[3000:4000], tol: 10_000})
	h.ok(pk{tsi: 10, toi: 2, cp: 8, off: 6000, data: b[6000:], tol: 10_000})
	for _, ev := range h.events() {
		if ev.Kind == Started && ev.Object.TOI() == 2 {
			require.True(t, ev.Object.LateStart())
			require.NoError(t, h.r.Supply(h.now, ev.Object, 0, b, 10_000))
		} else if ev.Kind == Started {
			h.r.Release(h.now, ev.Object)
		}
	}
	h.wait(time.Second)
	require.Equal(t, uint64(2), h.r.Stats().Lost)
}

// What comes before the signalling of which it is a part is ignored, for however long, but not lost.
func TestNothingIsLostBeforeTheSignallingCame(t *testing.T) {
	for _, late := range []time.Duration{50, 300, 500, 900} {
		l := newLive(t, SenderConfig{}, ReceiverConfig{})
		until := l.now.Add(late * time.Millisecond)
		var hdr lct.Header
		l.drop = func(pkt []byte) bool {
			_, err := hdr.Unmarshal(pkt)
			require.NoError(t, err)
			return hdr.TSI == 0 && l.now.Before(until)
		}
		for n := 1; n <= 3; n++ {
			l.segment(n)
		}
		l.run(3 * time.Second)
		l.check()
		require.Positive(t, l.rcv.Stats().Ignored)
		require.Zero(t, l.rcv.Stats().Lost, "signalling %d ms late", late)
	}
}

// What waited for its signalling for too long was rejected, and is counted as that.
func TestWhatWasRejectedIsNotLost(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	b := seq(10_000)
	for i := range 10 {
		h.ok(pk{tsi: 10, toi: 1, cp: 8, off: uint32(1000 * i), data: b[1000*i : 1000*i+1000], tol: 10_000})
	}
	h.wait(3 * time.Second)
	require.Equal(t, uint64(10), h.r.Stats().Rejected[RejectUndescribed])
	h.signal(protect(track(10)))
	oti, err := RepairOTI(10_000, 1000, 1000)
	require.NoError(t, err)
	k, _, _ := oti.Block(0)
	h.ok(pk{tsi: 10, toi: 1, off: uint32(k), data: make([]byte, 1000), fti: fec.AppendOTI(nil, oti), psi: 1})
	o := h.events()[0].Object
	require.NoError(t, h.r.Supply(h.now, o, 0, b, 10_000))
	require.True(t, o.Complete())
	h.wait(time.Minute)
	require.Zero(t, h.r.Stats().Lost)
}

// What a parent gives before its packets come is not lost, however late these are: nothing that was sent behind them
// has come.
func TestLateIsNotLost(t *testing.T) {
	b := seq(10_000)
	tail := func(h *hand) *Object { // of which the last five packets are late
		h.signal(track(10))
		for i := range 5 {
			h.ok(pk{tsi: 10, toi: 1, cp: 8, off: uint32(1000 * i), data: b[1000*i : 1000*i+1000]})
		}
		o := h.events()[0].Object
		require.NoError(h.t, h.r.Supply(h.now, o, 5000, b[5000:], 10_000))
		require.True(h.t, o.Complete())
		h.r.Release(h.now, o)
		return o
	}
	come := func(h *hand, toi uint32, packets ...int) {
		for _, i := range packets {
			h.ok(pk{tsi: 10, toi: toi, cp: 8, off: uint32(1000 * i), data: b[1000*i : 1000*i+1000]})
		}
	}
	t.Run("they come", func(t *testing.T) {
		h := newHand(t, ReceiverConfig{})
		tail(h)
		h.wait(5 * time.Second)
		require.Zero(t, h.r.Stats().Lost, "for all that is known they have not been sent")
		come(h, 1, 5, 6, 7, 8, 9)
		come(h, 2, 0)
		come(h, 3, 0)
		h.wait(5 * time.Second)
		require.Zero(t, h.r.Stats().Lost)
		require.Empty(t, h.r.losses.queue)
	})
	t.Run("all but one come", func(t *testing.T) {
		h := newHand(t, ReceiverConfig{})
		tail(h)
		h.wait(5 * time.Second)
		come(h, 1, 5, 6, 8, 9)
		h.wait(2 * time.Second)
		require.Equal(t, uint64(1), h.r.Stats().Lost)
	})
	t.Run("later objects come", func(t *testing.T) {
		h := newHand(t, ReceiverConfig{})
		tail(h)
		come(h, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		h.wait(2 * time.Second)
		require.Zero(t, h.r.Stats().Lost, "the sender may have begun it before it has the end of the one before")
		come(h, 3, 0)
		h.wait(2 * time.Second)
		require.Equal(t, uint64(5), h.r.Stats().Lost)
		require.Empty(t, h.r.losses.queue)
	})
	t.Run("repair packets come", func(t *testing.T) {
		h := newHand(t, ReceiverConfig{})
		tail(h)
		h.signal(protect(track(10)))
		oti, err := RepairOTI(10_000, 1000, 1000)
		require.NoError(t, err)
		k, _, _ := oti.Block(0)
		h.ok(pk{tsi: 10, toi: 1, off: uint32(k), data: make([]byte, 1000), fti: fec.AppendOTI(nil, oti), psi: 1})
		h.wait(2 * time.Second)
		require.Equal(t, uint64(5), h.r.Stats().Lost, "they follow the last source packet")
	})
	t.Run("nothing comes", func(t *testing.T) {
		h := newHand(t, ReceiverConfig{})
		tail(h)
		h.wait(time.Minute)
		require.Equal(t, uint64(5), h.r.Stats().Lost, "the session is cut off")
		require.Empty(t, h.r.losses.queue)
		require.Zero(t, h.r.losses.charged)
	})
}

// However much is forged, accounts take little memory, and none of it for long.
func TestAccountsAreBounded(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(protect(track(10)))
	oti, err := RepairOTI(1<<20, 64, 1<<14)
	require.NoError(t, err)
	fti := fec.AppendOTI(nil, oti)
	for toi := range uint32(50) {
		for i := range uint32(3000) {
			_ = h.push(pk{tsi: 10, toi: toi + 1, off: 1<<23 + 2*i, data: make([]byte, 64), fti: fti, psi: 1})
		}
		for _, ev := range h.events() {
			if ev.Kind == Started {
				h.r.Release(h.now, ev.Object)
			}
		}
		require.LessOrEqual(t, h.r.losses.charged, maxAccounts)
	}
	require.Less(t, len(h.r.losses.queue), 50)
	h.wait(5 * time.Second)
	require.Zero(t, h.r.losses.charged)
	require.Empty(t, h.r.losses.queue)
	require.LessOrEqual(t, h.r.Stats().Lost, uint64(50*maxESIGap))
}

func TestRepairPacketsOfCompleteObjectsAllocateNothing(t *testing.T) {
	h := newHand(t, ReceiverConfig{})
	h.signal(protect(track(10)))
	h.r.Release(h.now, lossyObject(h, seq(10_000)))
	oti, err := RepairOTI(10_000, 1000, 1000)
	require.NoError(t, err)
	pkt := pk{tsi: 10, toi: 1, data: make([]byte, 1000), fti: fec.AppendOTI(nil, oti), psi: 1}.bytes()
	k, _, _ := oti.Block(0)
	esi := uint32(k)
	push := func() {
		binary.BigEndian.PutUint32(pkt[len(pkt)-1004:], esi)
		esi++
		if err := h.r.Push(h.now, simSrc, pkt); err != nil {
			panic(err)
		}
	}
	push()
	require.Zero(t, testing.AllocsPerRun(1000, push))
	h.wait(time.Second)
	require.Zero(t, h.r.Stats().Lost)
}

func protect(ls sls.LS) sls.LS {
	ls.RepairFlow = &sls.RepairFlow{HasOTI: true, Protected: []sls.ProtectedObject{{TSI: ls.TSI}}}
	fec.AppendOTI(ls.RepairFlow.OTI[:0], fec.OTI{SymbolSize: 1000, SourceBlocks: 1, SubBlocks: 1, Alignment: 8})
	return ls
}
