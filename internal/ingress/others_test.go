package ingress_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/flute/flutetest"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
)

// replay is a source of the packets of a capture to one group and port.
type replay struct {
	packets []flutetest.Packet
	closing sync.Once
	closed  chan struct{}
}

func newReplay(packets []flutetest.Packet, to netip.AddrPort) *replay {
	r := &replay{closed: make(chan struct{})}
	for _, p := range packets {
		if p.Dst == to {
			r.packets = append(r.packets, p)
		}
	}
	return r
}

func (r *replay) ReadBatch(messages []ssm.Message) (int, error) {
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
				require.Eventually(t, func() bool {
					got.mu.Lock()
					defer got.mu.Unlock()
					return len(got.list) >= len(want)
				}, 20*time.Second, time.Millisecond)
				require.Equal(t, 2, in.Stats().Others)
				require.Subset(t, got.list, want)
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
