package route

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/fec/superobject"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/route/sls"
)

// Tracks that are protected together survive 10 % loss with fewer repair octets than each alone takes, down to objects
// of which nothing came.
func TestPoolOfTracks(t *testing.T) {
	run := func(pool string) (SenderStats, uint64) {
		s := newSim(t, SenderConfig{GrowingDelay: -1}, ReceiverConfig{})
		sizes := []int{60_000, 5000, 1200}
		for i := range sizes { // the signalling comes without loss
			_, err := s.snd.Begin(s.now, Outgoing{
				Name: fmt.Sprintf("%d-1", i), Track: Track{Stem: fmt.Sprintf("%d-$TOI$", i), Number: 1, Run: 1}, Pool: pool,
			})
			require.NoError(t, err)
		}
		s.run(time.Second)
		s.drop = lossy(7, 0.1)
		s.onEvent = func(ev Event) { require.False(t, ev.Kind == NeedRepair && !ev.Growing) }
		before := s.snd.Stats()
		want := map[string][]byte{}
		for n := 2; n <= 300; n++ {
			for i, size := range sizes {
				name := fmt.Sprintf("%d-%d", i, n)
				want[name] = randomBytes(uint64(n*3+i), size+n)
				s.sendWhole(Outgoing{
					Name: name, Track: Track{Stem: fmt.Sprintf("%d-$TOI$", i), Number: uint32(n), Run: 1}, Pool: pool,
				}, want[name])
			}
			s.run(100 * time.Millisecond)
		}
		s.run(time.Second)
		for name, b := range want {
			require.True(t, bytes.Equal(b, s.got[name]), name)
		}
		require.Empty(t, s.rcv.kept)
		st := s.snd.Stats()
		require.Zero(t, st.RepairDropped)
		st.SourceOctets -= before.SourceOctets
		require.Zero(t, s.rcv.Stats().DecodeErrors)
		return st, s.rcv.Stats().Decodes
	}
	alone, _ := run("")
	together, decodes := run("all")
	t.Logf("repair octets: %.1f %% alone, %.1f %% together", 100*repairShare(alone), 100*repairShare(together))
	require.Less(t, repairShare(together), 0.8*repairShare(alone))
	require.Greater(t, decodes, uint64(200))
}

func TestPoolIsAnnounced(t *testing.T) {
	now := simStart
	s := NewSender(SenderConfig{RepairAge: 3 * time.Second})
	begin := func(stem string, n uint32, run uint64) *Transmission {
		tx, err := s.Begin(now, Outgoing{
			Name: fmt.Sprintf("%s-%d", stem, n), Track: Track{Stem: stem + "-$TOI$", Number: n, Run: run}, Pool: "p",
		})
		require.NoError(t, err)
		require.NoError(t, tx.Append(now, make([]byte, 5000)))
		return tx
	}
	send := func(stem string, n uint32, run uint64) *Transmission {
		tx := begin(stem, n, run)
		require.NoError(t, tx.End(now))
		return tx
	}
	a, b := begin("a", 7, 1), begin("b", 7, 1)
	require.NoError(t, a.End(now))
	require.NoError(t, b.End(now))
	sent := drainSender(t, s, &now, time.Second)
	body, _ := s.STSID()
	doc, err := sls.ParseSTSID(body)
	require.NoError(t, err)
	require.Len(t, doc.RS[0].LS, 3)
	require.Nil(t, doc.RS[0].LS[0].RepairFlow)
	pool := doc.RS[0].LS[2]
	require.Nil(t, pool.SrcFlow)
	require.Equal(t, uint32(3000), pool.RepairFlow.MaximumDelay)
	require.Equal(t, []sls.ProtectedObject{{TSI: a.TSI()}, {TSI: b.TSI()}}, pool.RepairFlow.Protected)
	repair := sentIn(sent, pool.TSI)
	require.NotEmpty(t, repair)
	for _, p := range repair {
		require.Zero(t, p.PSI)
		require.Equal(t, uint64(7), p.TOI)
	}
	require.Nil(t, a.buf, "it is not needed any more")

	// A track that lags holds the others' octets for some numbers, not for ever.
	for n := uint32(8); n < 20; n++ {
		send("a", n, 1)
		drainSender(t, s, &now, 100*time.Millisecond)
	}
	require.LessOrEqual(t, s.Stats().Buffered, int64((maxWaiting+1)*5000))
	require.Equal(t, uint64(8), s.Stats().RepairDropped)
	// A new run begins anew.
	a, b = begin("a", 1, 2), begin("b", 1, 2)
	drainSender(t, s, &now, time.Second)
	require.Equal(t, int64(2*5000), s.Stats().Buffered)
	require.NoError(t, a.End(now))
	require.NoError(t, b.End(now))
	c := b
	drainSender(t, s, &now, time.Second)
	require.Zero(t, s.Stats().Buffered)
	require.Nil(t, c.buf)
	// At the end all goes.
	drainSender(t, s, &now, 2*time.Minute)
	require.Empty(t, s.pools)
	require.Empty(t, s.flows)
}

// pooledPackets makes repair packets of a super-object.
func pooledPackets(t *testing.T, tsi, toi uint32, y, count int, objects ...[]byte) (out []pk) {
	var members []superobject.Member
	var readers []io.ReaderAt
	for _, b := range objects {
		members = append(members, superobject.Member{Length: uint32(len(b))})
		readers = append(readers, bytes.NewReader(b))
	}
	info, err := superobject.Info(members, uint16(y), 1000)
	require.NoError(t, err)
	enc, err := (&object.Codec{}).NewEncoder(info, superobject.NewSource(members, uint16(y), readers))
	require.NoError(t, err)
	block, err := enc.Block(0)
	require.NoError(t, err)
	oti := fec.OTI{TransferLength: info.TransferLength, SymbolSize: uint16(y), SourceBlocks: 1, SubBlocks: 1, Alignment: 8}
	for i := range count {
		b, err := block.AppendPacket(nil, block.SourcePackets()+i)
		require.NoError(t, err)
		out = append(out, pk{tsi: tsi, toi: toi, psi: 1, off: binary.BigEndian.Uint32(b), data: b[4:], fti: fec.AppendOTI(nil, oti)})
	}
	return out
}

// Repair flows of other senders: objects of one flow and of several, addressed in every form that the standard has.
func TestPoolsByHand(t *testing.T) {
	file := func(tsi uint32, tois ...uint64) sls.LS {
		in := fdt.Instance{}
		for _, n := range tois {
			in.Files = append(in.Files, fdt.File{TOI: n, ContentLocation: fmt.Sprintf("%d/%d", tsi, n)})
		}
		return channelLS(tsi, in)
	}
	repair := sls.LS{TSI: 9, RepairFlow: &sls.RepairFlow{Protected: []sls.ProtectedObject{
		{TSI: 1, SourceTOIs: []sls.SourceTOI{{X: 2}, {X: 2, Y: 1}}}, // 2*TOI and 2*TOI+1
		{TSI: 2}, // TOI
		{TSI: 3, SourceTOIs: []sls.SourceTOI{{Y: 77}}}, // 77
	}}}
	objects := [][]byte{randomBytes(1, 5000), randomBytes(2, 900), randomBytes(3, 2000), randomBytes(4, 60)}
	ids := []objectKey{{1, 10}, {1, 11}, {2, 5}, {3, 77}}
	const y = 256
	setup := func(cfg ReceiverConfig) *hand {
		h := newHand(t, cfg)
		h.signal(file(1, 10, 11), file(2, 5), file(3, 77), repair)
		return h
	}
	source := func(h *hand, i int, skip ...int) {
		for off := 0; off < len(objects[i]); off += 500 {
			if len(skip) > 0 && off == skip[0] {
				continue
			}
			h.ok(pk{
				tsi: ids[i].tsi, toi: ids[i].toi, cp: 1, off: uint32(off), data: objects[i][off:min(off+500, len(objects[i]))], tol: int64(len(objects[i])),
			})
		}
	}
	check := func(h *hand) {
		t.Helper()
		h.r.RunWork(h.now)
		got := map[objectKey]bool{}
		for _, ev := range h.events() {
			require.NotEqual(t, Lost, ev.Kind)
			if ev.Kind == Complete {
				got[ev.Object.key] = true
				for i, id := range ids {
					if id == ev.Object.key {
						b := make([]byte, ev.Object.Length())
						_, err := ev.Object.ReadAt(b, 0)
						require.NoError(t, err)
						require.True(t, bytes.Equal(objects[i], b), id)
					}
				}
				h.r.Release(h.now, ev.Object)
			}
		}
		require.Len(t, got, len(ids))
		require.Empty(t, h.r.kept)
		require.Zero(t, h.r.pool.Used())
	}

	// Losses in two objects, before and behind the repair packets.
	h := setup(ReceiverConfig{})
	source(h, 0, 1000)
	for _, p := range pooledPackets(t, 9, 5, y, 8, objects...) {
		h.ok(p)
	}
	source(h, 1)
	source(h, 2, 0)
	source(h, 3)
	check(h)

	// One object of which nothing came: its length is what remains.
	h = setup(ReceiverConfig{})
	for i := range 3 {
		source(h, i)
	}
	for _, p := range pooledPackets(t, 9, 5, y, 3, objects...) {
		h.ok(p)
	}
	check(h)

	// Objects that were released before the repair packets came.
	h = setup(ReceiverConfig{})
	source(h, 0)
	source(h, 2)
	source(h, 3)
	for _, ev := range h.events() {
		if ev.Kind == Complete {
			h.r.Release(h.now, ev.Object)
		}
	}
	require.Len(t, h.r.kept, 3)
	used := h.r.pool.Used()
	require.NotZero(t, used)
	source(h, 1, 500)
	for _, p := range pooledPackets(t, 9, 5, y, 4, objects...) {
		h.ok(p)
	}
	h.r.RunWork(h.now)
	evs := h.events()
	require.Equal(t, Complete, evs[len(evs)-1].Kind)
	require.Empty(t, h.r.kept)

	// What nobody asks for goes.
	h = setup(ReceiverConfig{})
	source(h, 0)
	for _, ev := range h.events() {
		if ev.Kind == Complete {
			h.r.Release(h.now, ev.Object)
		}
	}
	h.ok(pooledPackets(t, 9, 5, y, 1, objects...)[0])
	require.NotEmpty(t, h.r.kept)
	h.wait(time.Second)
	require.Empty(t, h.r.kept)
	h.wait(20 * time.Second)
	require.Empty(t, h.r.pools)
	require.Zero(t, h.r.pool.Used())

	// Forged symbols, and an OTI that fits nothing.
	h = setup(ReceiverConfig{})
	source(h, 0, 1000)
	source(h, 1)
	source(h, 2)
	source(h, 3)
	forged := pooledPackets(t, 9, 5, y, 12, objects...)
	for i := range forged {
		forged[i].data = append([]byte{1}, forged[i].data[1:]...)
		_ = h.push(forged[i])
		h.r.RunWork(h.now)
	}
	bad := forged[0]
	bad.fti = fec.AppendOTI(nil, fec.OTI{TransferLength: 256 * 7, SymbolSize: 256, SourceBlocks: 1, SubBlocks: 1, Alignment: 8})
	h.ok(bad) // it is dead
	bad.toi = 6
	h.ok(bad)
	h.rejected(forged[0].to(6), RejectRepair)
	h.rejected(pk{tsi: 9, toi: 0, psi: 1, data: make([]byte, 256), fti: bad.fti}, RejectRepair)
	h.ok(pk{tsi: 9, toi: 6, psi: 1, off: 100, data: make([]byte, 256), fti: bad.fti})
	h.rejected(pk{tsi: 9, toi: 6, psi: 1, off: 6, data: make([]byte, 256), fti: bad.fti}, RejectRepair)
	h.rejected(pk{tsi: 9, toi: 6, psi: 1, off: 101, data: make([]byte, 255), fti: bad.fti}, RejectRepair)
	h.wait(30 * time.Second)
	require.Zero(t, h.r.pool.Used()-usedBy(h.r))
}

// Repair packets may go to a group, and come from a source, of their own.
func TestRepairOnItsOwnGroup(t *testing.T) {
	other := netip.MustParseAddr("127.0.7.2")
	group, second := netip.MustParseAddrPort("232.1.2.3:5000"), netip.MustParseAddrPort("232.1.2.4:5001")
	h := newHand(t, ReceiverConfig{Session: Session{Source: simSrc.Addr(), Group: group.Addr(), Port: group.Port()}})
	track := channelLS(1, fdt.Instance{FileTemplate: "$TOI$"})
	doc := sls.STSID{RS: []sls.RS{
		{Source: simSrc.Addr(), Destination: group.Addr(), Port: group.Port(), LS: []sls.LS{track}},
		{Source: other, Destination: second.Addr(), Port: second.Port(), LS: []sls.LS{
			{TSI: 4, RepairFlow: &sls.RepairFlow{Protected: []sls.ProtectedObject{{TSI: 1}}}},
			{TSI: 1, RepairFlow: &sls.RepairFlow{Protected: []sls.ProtectedObject{{TSI: 1}}}}, // that TSI is taken
			{TSI: 5, RepairFlow: &sls.RepairFlow{Protected: []sls.ProtectedObject{{TSI: 99}}}},
		}},
	}}
	body, err := doc.Append(nil)
	require.NoError(t, err)
	h.pkg(sls.Part{ContentType: sls.MediaTypeSTSID, Location: "s", Body: body})
	require.Equal(t, []EventKind{Signalling}, kinds(h.events()))
	require.Equal(t, []Session{{Source: other, Group: second.Addr(), Port: second.Port()}}, h.r.OtherSessions())
	require.True(t, h.r.channels[1].protected)
	require.Nil(t, h.r.channels[5])

	b := randomBytes(1, 3000)
	h.ok(pk{tsi: 1, toi: 7, cp: 8, data: b[:1000], tol: 3000})
	h.ok(pk{tsi: 1, toi: 7, cp: 8, off: 2000, data: b[2000:], tol: 3000})
	for _, p := range pooledPackets(t, 4, 7, 256, 6, b) {
		raw := p.bytes()
		h.r.PushRun(h.now, netip.AddrPortFrom(other, 1), netip.MustParseAddrPort("232.9.9.9:1"), raw, len(raw))
		h.r.PushRun(h.now, netip.AddrPortFrom(other, 1), second, raw, len(raw))
	}
	h.r.RunWork(h.now)
	evs := h.events()
	require.Equal(t, []EventKind{Started, Progress, Complete}, kinds(evs))
	require.Equal(t, uint64(6), h.r.Stats().RepairPackets)
	require.ErrorIs(t, h.r.Push(h.now, netip.MustParseAddrPort("127.0.7.3:1"), pk{tsi: 1, toi: 8}.bytes()), errSource)
}

func (p pk) to(toi uint32) pk {
	p.toi = toi
	return p
}

// usedBy is what objects hold.
func usedBy(r *Receiver) (n int64) {
	for _, o := range r.active {
		n += o.memory()
	}
	return n
}
