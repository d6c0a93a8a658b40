package inspect_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	fecobject "github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/fec/superobject"
	"github.com/treedn/treedn/flute"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/packetio/pcap"
	"github.com/treedn/treedn/internal/inspect"
	"github.com/treedn/treedn/route"
	"github.com/treedn/treedn/route/sls"
)

// packet is a datagram on its way.
type packet struct {
	at       time.Time
	from, to netip.AddrPort
	b        []byte
}

func packetsOf(tb testing.TB, file string) (list []packet) {
	tb.Helper()
	f, err := os.Open(file)
	require.NoError(tb, err)
	defer f.Close()
	r, err := pcap.NewReader(f)
	require.NoError(tb, err)
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		require.NoError(tb, err)
		list = append(list, packet{p.At, p.Src, p.Dst, bytes.Clone(p.Payload)})
	}
}

// inspectAll returns the events of packets.
func inspectAll(packets []packet, cfg inspect.Config) (events []inspect.Event) {
	cfg.Emit = func(e inspect.Event) {
		if o, ok := e.(*inspect.ObjectEvent); ok {
			copied := *o
			copied.Body = bytes.Clone(o.Body)
			e = &copied
		}
		events = append(events, e)
	}
	in := inspect.New(cfg)
	for _, p := range packets {
		in.Push(p.at, p.from, p.to, p.b)
	}
	in.Finish()
	return events
}

func objects(events []inspect.Event) (list []*inspect.ObjectEvent) {
	for _, e := range events {
		if o, ok := e.(*inspect.ObjectEvent); ok {
			list = append(list, o)
		}
	}
	return list
}

// id names an object without what depends on its packets.
func id(o *inspect.ObjectEvent) string {
	fdt := "-"
	if o.FDT != nil {
		fdt = fmt.Sprint(*o.FDT)
	}
	sum := "-"
	if o.SHA256 != nil {
		sum = *o.SHA256
	}
	return fmt.Sprint(o.Dst, " ", o.Port, " ", o.TSI, " ", o.TOI, " ", fdt, " ", sum, " ", o.Missing)
}

func ids(list []*inspect.ObjectEvent) (out []string) {
	for _, o := range list {
		out = append(out, id(o))
	}
	slices.Sort(out)
	return out
}

func captures(tb testing.TB) (list []string) {
	for _, dir := range captureDirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.tsv"))
		require.NoError(tb, err)
		for _, f := range files {
			list = append(list, strings.TrimSuffix(f, ".tsv")+".pcap")
		}
	}
	return list
}

// Packets that overtake each other, that come twice, and clocks that are wrong change nothing about the objects.
func TestDisturbance(t *testing.T) {
	for _, file := range captures(t) {
		if strings.Contains(file, "nozip") {
			continue // different objects under one TOI: in disorder nothing tells them apart
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			packets := packetsOf(t, file)
			want := ids(objects(inspectAll(packets, inspect.Config{})))
			for seed := range uint64(3) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				type placed struct {
					at int
					p  packet
				}
				var places []placed
				for i, p := range packets {
					places = append(places, placed{i + rnd.IntN(200), p})
					if rnd.IntN(100) < 3 {
						places = append(places, placed{i + rnd.IntN(200), p})
					}
				}
				slices.SortStableFunc(places, func(a, b placed) int { return a.at - b.at })
				var disturbed []packet
				for i, x := range places {
					x.p.at = packets[i*len(packets)/len(places)].at
					disturbed = append(disturbed, x.p)
				}
				require.Equal(t, want, ids(objects(inspectAll(disturbed, inspect.Config{}))), "seed %d", seed)
			}
			var wrong []packet
			for i, p := range packets {
				p.at = time.Unix(int64(-1000*i), 0) // backwards, before 1970
				wrong = append(wrong, p)
			}
			require.Equal(t, want, ids(objects(inspectAll(wrong, inspect.Config{}))), "clock")
			if strings.Contains(file, "libflute") {
				for i := range wrong {
					wrong[i].at = packets[i].at.AddDate(1, 0, 0)
				}
				require.Contains(t, rules(inspectAll(wrong, inspect.Config{})), "fdt-expired")
			}
			for i := range wrong {
				wrong[i].at = time.Date(2099, 1, 1, 0, 0, i, 0, time.UTC) // after all expiry
			}
			require.Equal(t, want, ids(objects(inspectAll(wrong, inspect.Config{}))), "clock")
		})
	}
}

// Of a capture that begins in the middle, all objects come out whose packets are all there.
func TestMidStream(t *testing.T) {
	for _, file := range captures(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			packets := packetsOf(t, file)
			whole := map[string]bool{}
			for _, o := range objects(inspectAll(packets, inspect.Config{})) {
				whole[id(o)] = true
			}
			for _, cut := range []int{1, len(packets) / 3, len(packets) * 2 / 3} {
				rest := objects(inspectAll(packets[cut:], inspect.Config{}))
				complete := 0
				for _, o := range rest {
					if o.Complete {
						complete++
						require.True(t, whole[id(o)], "%s", id(o))
					}
				}
				if cut == 1 && len(whole) > 4 { // the others have but one FDT Instance, in the first packet
					require.GreaterOrEqual(t, complete, len(whole)/2)
				}
			}
		})
	}
}

// All captures at once, among datagrams of other protocols, are as they are one by one.
func TestSeveralSessions(t *testing.T) {
	var all []packet
	var want []string
	for _, file := range captures(t) {
		if strings.Contains(file, "gpac-mabr-route-flute") || strings.Contains(file, "libflute") && !strings.Contains(file, "plain") {
			continue // the same destination with other objects
		}
		packets := packetsOf(t, file)
		all = append(all, packets...)
		want = append(want, ids(objects(inspectAll(packets, inspect.Config{})))...)
	}
	slices.Sort(want)
	mmtp := packet{from: netip.MustParseAddrPort("192.0.2.9:1"), to: netip.MustParseAddrPort("239.255.10.1:51001"), b: []byte{0x62, 0, 0, 0x23, 0, 0, 0, 0, 1, 2, 3, 4}}
	rnd := rand.New(rand.NewPCG(1, 1))
	var mixed []packet
	// The order within each is kept.
	queues := map[netip.AddrPort][]packet{}
	var keys []netip.AddrPort
	for _, p := range all {
		if queues[p.to] == nil {
			keys = append(keys, p.to)
		}
		queues[p.to] = append(queues[p.to], p)
	}
	for len(keys) > 0 {
		i := rnd.IntN(len(keys))
		q := queues[keys[i]]
		mixed = append(mixed, q[0])
		if rnd.IntN(10) == 0 {
			mixed = append(mixed, mmtp)
		}
		if queues[keys[i]] = q[1:]; len(q) == 1 {
			keys = slices.Delete(keys, i, i+1)
		}
	}
	events := inspectAll(mixed, inspect.Config{})
	require.Equal(t, want, ids(objects(events)))
	require.Contains(t, rules(events), "foreign")
}

func rules(events []inspect.Event) (list []string) {
	for _, e := range events {
		if f, ok := e.(*inspect.FindingEvent); ok && !slices.Contains(list, f.Rule) {
			list = append(list, f.Rule)
		}
	}
	slices.Sort(list)
	return list
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	rnd := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = rnd.Read(b)
	return b
}

func digest(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

var (
	noon   = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	source = netip.MustParseAddrPort("192.0.2.1:49152")
	group  = netip.MustParseAddrPort("232.1.1.1:6000")
)

// Objects of ROUTE come out of repair packets, also without any of their source packets.
func TestRepairFlow(t *testing.T) {
	s := route.NewSender(route.SenderConfig{
		Session: route.Session{Source: source.Addr(), Group: group.Addr(), Port: group.Port()},
		Loss:    fec.Loss{Random: 0.2, Target: 1e-6}, GrowingDelay: -1,
	})
	now := noon
	require.NoError(t, s.SetManifest(now, sls.Part{ContentType: sls.MediaTypeDASH, Location: "m.mpd", Generation: 1, Body: []byte("<MPD/>")}))
	rnd := rand.New(rand.NewPCG(7, 7))
	var packets []packet
	want := map[string]string{}
	for n := range uint32(10) {
		body := random(uint64(n), 30_000+int(n)*1000)
		name := fmt.Sprintf("v-%d.m4s", n+1)
		want[name] = digest(body)
		tx, err := s.Begin(now, route.Outgoing{
			Name: name, Length: int64(len(body)),
			Track: route.Track{Stem: "v-$TOI$.m4s", Number: n + 1, Run: 1, Kind: route.Video, Representation: "v"},
		})
		require.NoError(t, err)
		require.NoError(t, tx.Append(now, body))
		require.NoError(t, tx.End(now))
		for end := now.Add(time.Second); now.Before(end); {
			s.RunWork(now)
			b, ok := s.Poll(now, nil)
			if !ok {
				now = s.NextTimeout(now)
				continue
			}
			if rnd.Float64() >= 0.2 || n == 0 {
				packets = append(packets, packet{now, source, group, bytes.Clone(b)})
			}
		}
	}
	events := inspectAll(packets, inspect.Config{})
	recovered := int64(0)
	for _, o := range objects(events) {
		if o.Location == nil || want[*o.Location] == "" {
			continue
		}
		require.True(t, o.Complete, "%s: %v", *o.Location, o.Missing)
		require.Equal(t, want[*o.Location], *o.SHA256)
		recovered += o.Recovered
		delete(want, *o.Location)
	}
	require.Empty(t, want)
	require.Positive(t, recovered)
	// The session has neither init segments nor a true manifest; nothing else is wrong with it.
	require.Subset(t, []string{"efdt-init", "mpd-representation"}, rules(events))
}

// Files of FLUTE under every FEC scheme, in every profile, with loss, from the middle of the session on.
func TestFLUTESenders(t *testing.T) {
	for _, profile := range []flute.Profile{flute.Version1, flute.Version2, flute.MBMS} {
		for _, scheme := range []fec.EncodingID{fec.CompactNoCode, fec.RaptorQ, fec.Raptor, fec.ReedSolomonGF256, fec.ReedSolomonGF2M, fec.LDPCStaircase, fec.SmallBlockSystematic} {
			for _, fti := range []bool{false, true} {
				if fti && profile == flute.MBMS {
					continue
				}
				name := fmt.Sprint(profile, " ", scheme, " ", fti)
				t.Run(name, func(t *testing.T) { testFLUTE(t, profile, scheme, fti) })
			}
		}
	}
}

func testFLUTE(t *testing.T, profile flute.Profile, scheme fec.EncodingID, fti bool) {
	s, err := flute.NewSender(flute.SenderConfig{
		Profile: profile, TSI: 7, ObjectFTI: fti, FEC: flute.FEC{Scheme: scheme, Overhead: 1, MaxBlock: 64}, FDTGzip: profile == flute.Version2,
	})
	require.NoError(t, err)
	now := noon
	want := map[string]string{}
	for i, n := range []int{50_000, 1, 123_457} {
		body := random(uint64(i), n)
		name := fmt.Sprintf("dir/file%d", i)
		want[name] = digest(body)
		_, err := s.Add(now, flute.File{Location: name, Body: bytes.NewReader(body), Length: int64(len(body))})
		require.NoError(t, err)
	}
	rnd := rand.New(rand.NewPCG(3, 3))
	var packets []packet
	for end := now.Add(5 * time.Second); now.Before(end); {
		s.RunWork(now)
		b, ok := s.Poll(now, nil)
		if !ok {
			now = s.NextTimeout(now)
			continue
		}
		if scheme == fec.CompactNoCode || rnd.Float64() >= 0.1 {
			packets = append(packets, packet{now, source, group, bytes.Clone(b)})
		}
	}
	for _, o := range objects(inspectAll(packets, inspect.Config{})) {
		if o.TOI == 0 {
			require.NotNil(t, o.FDT)
			continue
		}
		require.NotNil(t, o.Location)
		require.True(t, o.Complete, "%s: %v", *o.Location, o.Missing)
		require.Equal(t, want[*o.Location], *o.SHA256)
		delete(want, *o.Location)
	}
	require.Empty(t, want)
}

// sendROUTE makes source packets of an object.
func sendROUTE(t *testing.T, tsi, toi uint64, body []byte, tol bool) (packets []packet) {
	for off := 0; off < len(body); off += 1300 {
		end := min(off+1300, len(body))
		h := lct.Header{PSI: 2, TSI: tsi, TOI: toi, HasTOI: true, Codepoint: 8, CloseObject: end == len(body)}
		if tol {
			var err error
			h.Extensions, err = h.Extensions.AppendTOL(uint64(len(body)))
			require.NoError(t, err)
		}
		b, err := h.AppendTo(nil)
		require.NoError(t, err)
		b = binary.BigEndian.AppendUint32(b, uint32(off))
		packets = append(packets, packet{noon, source, group, append(b, body[off:end]...)})
	}
	return packets
}

// A repair flow as the standard has it, made by hand: on a TSI of its own, over two source flows at once, with an OTI
// that leaves the length open, and with source objects of which whole ends are lost.
func TestSuperObjects(t *testing.T) {
	const symbol = 512
	first, second := random(1, 40_000), random(2, 3_000)
	for _, c := range []struct {
		name    string
		members []superobject.Member
		oti     bool // with its length
		flow    sls.RepairFlow
		lose    func(tsi uint64, i int) bool
		tol     bool
	}{
		{
			"two flows", []superobject.Member{{TSI: 10, TOI: 5, Length: 40_000}, {TSI: 11, TOI: 10, Length: 3_000}}, true,
			sls.RepairFlow{Protected: []sls.ProtectedObject{{TSI: 10}, {TSI: 11, SourceTOIs: []sls.SourceTOI{{X: 2}}}}},
			func(tsi uint64, i int) bool { return i%4 == 1 || tsi == 11 }, true,
		},
		{
			"open length", []superobject.Member{{TSI: 10, TOI: 5, Length: 40_000}, {TSI: 11, TOI: 10, Length: 3_000}}, false,
			sls.RepairFlow{Protected: []sls.ProtectedObject{{TSI: 10}, {TSI: 11, SourceTOIs: []sls.SourceTOI{{X: 2}}}}},
			func(_ uint64, i int) bool { return i == 1 || i == 7 }, true,
		},
		{
			"lost end", []superobject.Member{{TSI: 10, TOI: 5, Length: 40_000}}, true,
			sls.RepairFlow{Protected: []sls.ProtectedObject{{TSI: 10}}},
			func(_ uint64, i int) bool { return i > 20 }, false,
		},
		{
			"lost end, open length", []superobject.Member{{TSI: 10, TOI: 5, Length: 40_000}}, false,
			sls.RepairFlow{Protected: []sls.ProtectedObject{{TSI: 10}}},
			func(_ uint64, i int) bool { return i > 20 }, false,
		},
		{
			"nothing but repair", []superobject.Member{{TSI: 10, TOI: 5, Length: 40_000}}, true,
			sls.RepairFlow{Protected: []sls.ProtectedObject{{TSI: 10}}},
			func(uint64, int) bool { return true }, false,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			info, err := superobject.Info(c.members, symbol, 1000)
			require.NoError(t, err)
			oti := info.OTI()
			if !c.oti {
				oti.TransferLength = 0
			}
			c.flow.HasOTI = true
			copy(c.flow.OTI[:], fec.AppendOTI(nil, oti))
			stsid := sls.STSID{RS: []sls.RS{{LS: []sls.LS{{TSI: 20, RepairFlow: &c.flow}}}}}
			for _, m := range c.members {
				stsid.RS[0].LS = append(stsid.RS[0].LS, sls.LS{TSI: m.TSI, SrcFlow: &sls.SrcFlow{RealTime: true}})
			}
			fragment, err := stsid.Append(nil)
			require.NoError(t, err)
			pkg := sls.Package{Version: 1, Parts: []sls.Part{{ContentType: sls.MediaTypeSTSID, Location: "s", Body: fragment}}}
			object, err := pkg.AppendGzip(nil)
			require.NoError(t, err)

			var packets []packet
			readers := []io.ReaderAt{bytes.NewReader(first)}
			bodies := [][]byte{first}
			if len(c.members) > 1 {
				readers, bodies = append(readers, bytes.NewReader(second)), append(bodies, second)
			}
			for i, m := range c.members {
				for k, p := range sendROUTE(t, uint64(m.TSI), uint64(m.TOI), bodies[i], c.tol) {
					if !c.lose(uint64(m.TSI), k) {
						packets = append(packets, p)
					}
				}
			}
			var codec fecobject.Codec
			enc, err := codec.NewEncoder(info, superobject.NewSource(c.members, symbol, readers))
			require.NoError(t, err)
			block, err := enc.Block(0)
			require.NoError(t, err)
			for i := block.SourcePackets(); i < block.SourcePackets()+block.K()+5; i++ {
				h := lct.Header{TSI: 20, TOI: 5, HasTOI: true, Codepoint: 1}
				b, err := h.AppendTo(nil)
				require.NoError(t, err)
				b = binary.BigEndian.AppendUint32(b, uint32(i))
				b, err = block.AppendSymbol(b, uint32(i))
				require.NoError(t, err)
				packets = append(packets, packet{noon, source, group, b})
			}
			// The signalling comes last.
			signalling := sendROUTE(t, 0, uint64(pkg.TOI(true)), object, true)
			for _, order := range [][]packet{append(slices.Clone(packets), signalling...), append(slices.Clone(signalling), packets...)} {
				got := map[uint64]string{}
				for _, o := range objects(inspectAll(order, inspect.Config{})) {
					require.True(t, o.Complete, "%d %d %v", o.TSI, o.TOI, o.Missing)
					require.NotEqual(t, uint64(20), o.TSI, "repair packets are no object")
					got[o.TSI] = *o.SHA256
				}
				for i, m := range c.members {
					require.Equal(t, digest(bodies[i]), got[uint64(m.TSI)])
				}
			}
		})
	}
}
