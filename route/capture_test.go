package route

import (
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
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/flutetest"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/packetio"
	"github.com/treedn/treedn/flute/packetio/pcap"
)

// listed is a line of the list of a capture's objects.
type listed struct {
	key      objectKey
	length   int64
	complete bool
	sha256   string
}

func list(t testing.TB, name string, dst netip.AddrPort) (out []listed) {
	for _, x := range flutetest.List(t, name) {
		if x.Dst == dst {
			out = append(out, listed{objectKey{uint32(x.TSI), uint32(x.TOI)}, x.Length, x.Complete, x.SHA256})
		}
	}
	require.NotEmpty(t, out)
	return out
}

// arrivals are the packets of a capture as they reach the receiver.
type arrivals func([]flutetest.Packet) []flutetest.Packet

func inOrder(packets []flutetest.Packet) []flutetest.Packet { return packets }

// disordered lets each packet be overtaken by up to n later ones, and repeats a share of them. The times of arrival
// stay those of the capture.
func disordered(seed uint64, n int, double float64) arrivals {
	return func(packets []flutetest.Packet) (out []flutetest.Packet) {
		type place struct {
			at int
			p  flutetest.Packet
		}
		r := rand.New(rand.NewPCG(seed, 200))
		var places []place
		for i, p := range packets {
			places = append(places, place{i + r.IntN(n+1), p})
			if r.Float64() < double {
				places = append(places, place{i + r.IntN(n+1), p})
			}
		}
		slices.SortStableFunc(places, func(a, b place) int { return a.at - b.at })
		for i, x := range places {
			x.p.At = packets[i*len(packets)/len(places)].At
			out = append(out, x.p)
		}
		return out
	}
}

func testCapture(t *testing.T, name, to string, arrive arrivals) (faults []*Fault) {
	const dir = "testdata"
	dst := netip.MustParseAddrPort(to)
	// The packets of a capture are some hundred a second at most: 200 of them last seconds, in which a receiver with the
	// default times would have given up.
	r := NewReceiver(ReceiverConfig{
		Session:        Session{Group: dst.Addr(), Port: dst.Port()},
		UndescribedAge: time.Minute, Deadline: time.Minute, Inactivity: time.Minute, MaxSkip: -1,
	})
	got := map[objectKey]string{}
	names := map[objectKey]string{}
	var now time.Time
	poll := func() {
		for {
			ev, ok := r.Poll()
			if !ok {
				return
			}
			switch ev.Kind {
			case Complete:
				o := ev.Object
				b := make([]byte, o.Length())
				_, err := o.ReadAt(b, 0)
				require.NoError(t, err)
				sum := sha256.Sum256(b)
				require.NotContains(t, got, o.key, "delivered twice")
				got[o.key], names[o.key] = hex.EncodeToString(sum[:]), o.Name()
				r.Release(now, o)
			case Signalling:
				if ev.Signal.TOI == 0 {
					sum := sha256.Sum256(ev.Signal.Body)
					got[objectKey{ev.Signal.TSI, 0}] = hex.EncodeToString(sum[:])
				}
			case Faulty:
				faults = append(faults, ev.Fault)
			case Lost:
				require.Fail(t, "lost", "%v %q", ev.Object.key, ev.Object.Name())
			}
		}
	}
	var packets []flutetest.Packet
	for _, p := range flutetest.Capture(t, filepath.Join(dir, name+".pcap")) {
		if p.Dst == dst {
			packets = append(packets, p)
		}
	}
	for _, p := range arrive(packets) {
		now = p.At
		r.HandleTimeout(now)
		require.NoError(t, r.Push(now, p.Src, p.Payload))
		poll()
	}
	for key, rec := range r.records.m {
		if rec.kind == kindPackage && rec.body != nil {
			sum := sha256.Sum256(rec.body)
			got[key] = hex.EncodeToString(sum[:])
		}
	}
	for _, want := range list(t, filepath.Join(dir, name+".tsv"), dst) {
		if want.complete {
			require.Equal(t, want.sha256, got[want.key], "%v %q", want.key, names[want.key])
		} else {
			require.NotContains(t, got, want.key)
		}
	}
	if s := r.Stats(); s.ObjectsLost+s.Evicted > 0 {
		require.Fail(t, "objects were given up", "%+v", s)
	}
	return faults
}

// Every object of every capture comes out as a decoder that is not part of this project has it, also if each packet may
// be overtaken by 200 others and 3 % come twice.
func TestCaptures(t *testing.T) {
	for _, c := range []struct{ name, dst string }{
		{"gpac-route-dash", "232.1.1.1:6000"},
		{"gpac-route-ll", "232.1.1.2:6000"},
		{"gpac-atsc", "225.1.1.0:6000"},
		{"gpac-mabr-route", "232.1.1.4:6001"},
		{"atsc3-ateme-lls-esg", "239.255.20.9:52009"},
	} {
		t.Run(c.name, func(t *testing.T) { testCapture(t, c.name, c.dst, inOrder) })
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("%s, disordered %d", c.name, seed), func(t *testing.T) {
				testCapture(t, c.name, c.dst, disordered(seed, 200, 0.03))
			})
		}
	}
}

// What broadcast encoders do wrong is told, and costs no object.
func TestFaultsOfEncoders(t *testing.T) {
	has := func(faults []*Fault, tsi uint32, want error) {
		t.Helper()
		require.True(t, slices.ContainsFunc(faults, func(f *Fault) bool {
			return f.TSI == tsi && errors.Is(f.Err, want)
		}), "%v", want)
	}
	faults := testCapture(t, "atsc3-ateme-lls-esg", "239.255.20.9:52009", inOrder)
	for tsi := range uint32(5) {
		has(faults, tsi, ErrReservedCodepoint)
	}
	has(faults, 0, ErrAnnouncedSource)
	require.Len(t, faults, 6)

	require.Empty(t, testCapture(t, "gpac-route-dash", "232.1.1.1:6000", inOrder))
	require.Empty(t, testCapture(t, "gpac-route-ll", "232.1.1.2:6000", inOrder))
}

// Packets that are no ROUTE at all, MMTP for one, are told once.
func TestFaultOfForeignPackets(t *testing.T) {
	r := NewReceiver(ReceiverConfig{})
	var faults []*Fault
	for _, pkt := range [][]byte{{0x62, 0, 0, 0x23, 0, 0, 0, 0}, {0x62, 0, 0, 0x24, 0, 0, 0, 0}} {
		require.Error(t, r.Push(simStart, simSrc, pkt))
		for ev, ok := r.Poll(); ok; ev, ok = r.Poll() {
			require.Equal(t, Faulty, ev.Kind)
			faults = append(faults, ev.Fault)
		}
	}
	require.Len(t, faults, 1)
	require.ErrorIs(t, faults[0].Err, lct.ErrVersion)
}

// A capture with packets of other sessions is replayed through the interfaces that sockets satisfy.
func TestReplay(t *testing.T) {
	const name, to = "gpac-mabr-route", "232.1.1.4:6001"
	dst := netip.MustParseAddrPort(to)
	f, err := os.Open(filepath.Join("testdata", name+".pcap"))
	require.NoError(t, err)
	defer f.Close()
	capture, err := pcap.NewReader(f)
	require.NoError(t, err)
	r := NewReceiver(ReceiverConfig{Session: Session{Group: dst.Addr(), Port: dst.Port()}})
	var source packetio.Source = packetio.NewReplay(capture)
	handle := r.PushRun
	complete := map[objectKey]bool{}
	for {
		err := source.Receive(handle)
		if err != nil {
			require.Equal(t, io.EOF, err)
			break
		}
		for ev, ok := r.Poll(); ok; ev, ok = r.Poll() {
			if ev.Kind == Complete {
				complete[ev.Object.key] = true
			}
			require.NotEqual(t, Faulty, ev.Kind)
		}
	}
	for _, want := range list(t, filepath.Join("testdata", name+".tsv"), dst) {
		if want.key.tsi != 0 {
			require.True(t, complete[want.key], want.key)
		}
	}
	require.Equal(t, uint64(840), r.Stats().Packets, "those of the other port are not its own")
}

// The flows of a service may go to groups and ports of their own, beside its signalling (GPAC, splitlct=mcast).
func TestOtherSessions(t *testing.T) {
	packets := flutetest.Capture(t, filepath.Join("testdata", "gpac-route-split.pcap"))
	session := Session{Source: packets[0].Src.Addr(), Group: netip.MustParseAddr("232.1.1.1"), Port: 6000}
	r := NewReceiver(ReceiverConfig{Session: session})
	got := map[objectKey]string{}
	for _, p := range packets {
		r.PushRun(p.At, p.Src, p.Dst, p.Payload, 0)
		for ev, ok := r.Poll(); ok; ev, ok = r.Poll() {
			require.NotEqual(t, Faulty, ev.Kind)
			if ev.Kind == Complete {
				require.NotEmpty(t, ev.Object.Name())
				b := make([]byte, ev.Object.Length())
				_, err := ev.Object.ReadAt(b, 0)
				require.NoError(t, err)
				sum := sha256.Sum256(b)
				got[ev.Object.key] = hex.EncodeToString(sum[:])
			}
		}
	}
	want := map[objectKey]string{}
	for _, x := range flutetest.List(t, filepath.Join("testdata", "gpac-route-split.tsv")) {
		if x.TSI != 0 {
			want[objectKey{uint32(x.TSI), uint32(x.TOI)}] = x.SHA256
		}
	}
	require.Equal(t, want, got)
	require.Len(t, want, 12)
	first, second := session, session
	first.Group, first.Port = netip.MustParseAddr("232.1.1.2"), 6001
	second.Group, second.Port = netip.MustParseAddr("232.1.1.3"), 6001
	require.Equal(t, []Session{first, second}, r.OtherSessions())
}

// What GPAC sends with $Time$ in the name of segments is this, with the time of the segment for the TOI: the first is 0.
func TestCaptureFromTimeZero(t *testing.T) {
	objects := func(first uint32) (names []string, sums map[string]int) {
		r := NewReceiver(ReceiverConfig{UndescribedAge: time.Minute, Deadline: time.Minute, Inactivity: time.Minute, MaxSkip: -1})
		sums = map[string]int{}
		for _, p := range flutetest.Capture(t, filepath.Join("testdata", "gpac-route-dash.pcap")) {
			if p.Dst != netip.MustParseAddrPort("232.1.1.1:6000") {
				continue
			}
			if toi := binary.BigEndian.Uint32(p.Payload[12:]); binary.BigEndian.Uint32(p.Payload[8:]) != 0 && toi != 0xffffffff {
				binary.BigEndian.PutUint32(p.Payload[12:], toi-1+first)
			}
			require.NoError(t, r.Push(p.At, p.Src, p.Payload))
			for ev, ok := r.Poll(); ok; ev, ok = r.Poll() {
				if o := ev.Object; ev.Kind == Complete {
					b := make([]byte, o.Length())
					_, err := o.ReadAt(b, 0)
					require.NoError(t, err)
					names = append(names, o.Name())
					sums[fmt.Sprintf("%x", sha256.Sum256(b))]++
					r.Release(p.At, o)
				}
			}
		}
		return names, sums
	}
	_, want := objects(1)
	names, got := objects(0)
	require.Equal(t, want, got)
	for _, track := range []int{1, 2} {
		require.Contains(t, names, fmt.Sprintf("clip_dash_track%d_0.m4s", track))
	}
}
