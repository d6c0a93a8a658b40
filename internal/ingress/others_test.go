package ingress_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/flutetest"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
	"github.com/treedn/treedn/route/sls"
)

// replay is a source of the packets of a capture to one group and port.
type replay struct {
	packets []flutetest.Packet
	begin   sync.Once
	reading chan struct{} // closed when it is read
	closing sync.Once
	closed  chan struct{}
}

func newReplay(packets []flutetest.Packet, to netip.AddrPort) *replay {
	r := &replay{reading: make(chan struct{}), closed: make(chan struct{})}
	for _, p := range packets {
		if p.Dst == to {
			r.packets = append(r.packets, p)
		}
	}
	return r
}

func (r *replay) ReadBatch(messages []ssm.Message) (int, error) {
	r.begin.Do(func() { close(r.reading) })
	if len(r.packets) == 0 {
		<-r.closed
		return 0, net.ErrClosed
	}
	p := r.packets[0]
	r.packets = r.packets[1:]
	m := &messages[0]
	m.N = copy(m.Buffer, p.Payload)
	m.SegmentSize, m.Source = m.N, p.Src
	return 1, nil
}

func (r *replay) Close() error {
	r.closing.Do(func() { close(r.closed) })
	return nil
}

// sums is a service.Sink that notes the digests of what is whole.
type sums struct {
	mu   sync.Mutex // guards below
	list []string
}

func (s *sums) Begin(service.Meta) service.ObjectSink { return &summed{to: s} }
func (s *sums) Manifest(_ service.Meta, body []byte)  { s.add(body) }

func (s *sums) add(body []byte) {
	sum := sha256.Sum256(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, hex.EncodeToString(sum[:]))
}

func (s *sums) has(want []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(want, func(sum string) bool { return !slices.Contains(s.list, sum) })
}

type summed struct {
	to   *sums
	body bytes.Buffer
}

func (o *summed) Write(p []byte, _ bool) { o.body.Write(p) }
func (o *summed) Commit()                { o.to.add(o.body.Bytes()) }
func (o *summed) Abort(error)            {}

// A service of GPAC (splitlct=mcast) has its signalling on one group, and the channels of its media on two others, which its
// S-TSID names.
func TestOtherSessionsAreJoined(t *testing.T) {
	const testdata = "../../route/testdata/gpac-route-split"
	packets := flutetest.Capture(t, testdata+".pcap")
	session := route.Session{Source: packets[0].Src.Addr(), Group: netip.MustParseAddr("232.1.1.1"), Port: 6000}
	first, second := session, session
	first.Group, first.Port = netip.MustParseAddr("232.1.1.2"), 6001
	second.Group, second.Port = netip.MustParseAddr("232.1.1.3"), 6001
	var want []string
	for _, x := range flutetest.List(t, testdata+".tsv") {
		if x.TSI != 0 {
			want = append(want, x.SHA256)
		}
	}
	require.Len(t, want, 12)

	elsewhere := session
	elsewhere.Source = netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		name   string
		source netip.Addr // of the configured session
		any    bool
		joined []route.Session
	}{
		{"of the same source", session.Source, false, []route.Session{first, second}},
		{"of another source", elsewhere.Source, false, nil},
		{"of any source", netip.Addr{}, true, []route.Session{first, second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			var joined []route.Session
			svc, got := newService(t, "live"), &sums{}
			svc.AddSink(got)
			configured := session
			configured.Source = c.source
			in := ingress.New(ingress.Config{
				Service: svc, Receiver: route.ReceiverConfig{Session: configured, AnySource: c.any},
				Join: func(_ context.Context, s route.Session) (ingress.Source, error) {
					mu.Lock()
					defer mu.Unlock()
					joined = append(joined, s)
					return newReplay(packets, netip.AddrPortFrom(s.Group, s.Port)), nil
				},
			})
			main := newReplay(packets, netip.AddrPortFrom(session.Group, session.Port))
			if c.source.IsValid() {
				for i := range main.packets {
					main.packets[i].Src = netip.AddrPortFrom(c.source, main.packets[i].Src.Port())
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- in.Run(ctx, main) }()
			if c.joined == nil {
				require.Eventually(t, func() bool { return in.Stats().Receiver.Packets == uint64(len(of(packets, session))) }, 10*time.Second, time.Millisecond)
				require.Zero(t, in.Stats().Others)
			} else {
				require.Eventually(t, func() bool { return got.has(want) }, 20*time.Second, time.Millisecond, "media are missing")
				require.Equal(t, 2, in.Stats().Others)
			}
			cancel()
			require.NoError(t, <-ended)
			slices.SortFunc(joined, func(a, b route.Session) int { return a.Group.Compare(b.Group) })
			require.Len(t, joined, len(c.joined))
			for i, s := range joined {
				require.Equal(t, c.joined[i].Group, s.Group)
				require.Equal(t, c.joined[i].Port, s.Port)
			}
		})
	}
}

func of(packets []flutetest.Packet, s route.Session) []flutetest.Packet {
	return newReplay(packets, netip.AddrPortFrom(s.Group, s.Port)).packets
}

// What an S-TSID names is joined within bounds, and left when the next one does not name it.
func TestOtherSessionsAreBounded(t *testing.T) {
	var mu sync.Mutex
	open := map[route.Session]*replay{}
	in := ingress.New(ingress.Config{
		Service: newService(t, "live"), Receiver: route.ReceiverConfig{Session: session},
		Join: func(_ context.Context, s route.Session) (ingress.Source, error) {
			mu.Lock()
			defer mu.Unlock()
			require.Nil(t, open[s])
			open[s] = newReplay(nil, netip.AddrPort{})
			return open[s], nil
		},
	})
	main := newReplay(nil, netip.AddrPort{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx, main) }()
	<-main.reading
	version := uint8(0)
	announce := func(sessions ...route.Session) {
		doc := sls.STSID{RS: []sls.RS{{}}}
		doc.RS[0].Source, doc.RS[0].Destination, doc.RS[0].Port = session.Source, session.Group, session.Port
		for i, s := range append([]route.Session{session}, sessions...) {
			rs := sls.RS{Source: s.Source, Destination: s.Group, Port: s.Port, LS: []sls.LS{{TSI: uint32(i + 1), SrcFlow: &sls.SrcFlow{EFDT: &fdt.Instance{
				Expires: 0xffffffff, MaxTransportSize: 1000, FileTemplate: fmt.Sprintf("%d-$TOI$", i),
			}}}}}
			if i == 0 {
				doc.RS[0] = rs
			} else {
				doc.RS = append(doc.RS, rs)
			}
		}
		body, err := doc.Append(nil)
		require.NoError(t, err)
		version++
		pkg := sls.Package{NoEnvelope: true, Version: version, Parts: []sls.Part{{ContentType: sls.MediaTypeSTSID, Location: "stsid.xml", Body: body}}}
		b, err := pkg.AppendGzip(nil)
		require.NoError(t, err)
		h := lct.Header{PSI: 2, Codepoint: 3, TOI: uint64(pkg.TOI(true)), HasTOI: true}
		h.Extensions, _ = h.Extensions.AppendTOL(uint64(len(b)))
		head, err := h.AppendTo(nil)
		require.NoError(t, err)
		in.Push(netip.AddrPortFrom(session.Source, 5000), append(binary.BigEndian.AppendUint32(head, 0), b...))
	}
	others := func() int { return in.Stats().Others }
	joined := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range open {
			select {
			case <-r.closed:
			default:
				n++
			}
		}
		return n
	}
	other := func(group string, port uint16) route.Session {
		return route.Session{Source: session.Source, Group: netip.MustParseAddr(group), Port: port}
	}
	foreign := other("232.9.9.9", 1)
	foreign.Source = netip.MustParseAddr("192.0.2.99")
	announce(other("239.1.1.1", 7000), other("192.0.2.7", 7000), foreign, other("232.9.9.1", 7000))
	require.Equal(t, 1, others(), "of any source, of no group, of another source, and one that may be joined")
	var many []route.Session
	for i := range 12 {
		many = append(many, other(fmt.Sprintf("232.9.8.%d", i+1), 7000))
	}
	announce(many...)
	require.Equal(t, 8, others())
	require.Eventually(t, func() bool { return joined() == 8 }, 10*time.Second, time.Millisecond)
	announce(many[1])
	require.Equal(t, 1, others())
	require.Eventually(t, func() bool { return joined() == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
	require.Zero(t, joined())
}
