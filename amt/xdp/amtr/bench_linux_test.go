package amtr

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/xdp/internal/nettest"
)

// BenchmarkPrograms measures by the kernel's own statistics what the programs
// take for a message: those of control, of as many gateways as there are messages
// and so each with an event, and those with data, all to one.
func BenchmarkPrograms(b *testing.B) {
	peer := nettest.NewPeer(b, "side", "10.11.0.2/24", "10.11.0.1/24")
	relay := netip.MustParseAddrPort("10.11.0.2:2268")
	frame := func(from, to netip.AddrPort, m amt.Message) []byte {
		payload, err := m.AppendTo(nil)
		require.NoError(b, err)
		return amt.AppendUDP([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, from, to, 64, payload)
	}
	source, group := netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddrPort("232.1.1.1:1")
	data := amt.Message{Type: amt.TypeData, Packet: amt.AppendUDP(nil, source, group, 9, make([]byte, 1316))}
	enable, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	require.NoError(b, err)
	defer enable.Close()
	tracker, err := Open(Config{Interfaces: []string{"side"}, Method: MethodBPF})
	require.NoError(b, err)
	defer tracker.Close()
	here, there := nettest.Listen(b, peer.Here), peer.Listen(b)
	objs := &tracker.source.(*bpfSource).objs
	n := 0
	for b.Loop() {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 1000)
		there.Send(frame(from, relay, amt.Message{Type: amt.TypeRequest, Nonce: 1}))
		here.Send(frame(relay, netip.AddrPortFrom(peer4, 1000), data))
		n++
	}
	for name, p := range map[string]*ebpf.Program{"ns/request": objs.FromGateways, "ns/data": objs.ToGateways} {
		var s *ebpf.ProgramStats
		require.Eventually(b, func() bool {
			s, err = p.Stats()
			return err == nil && s.RunCount >= uint64(n)
		}, 5*time.Second, time.Millisecond)
		b.ReportMetric(float64(s.Runtime.Nanoseconds())/float64(s.RunCount), name)
	}
}

var peer4 = netip.MustParseAddr("10.11.0.1")

func BenchmarkParse(b *testing.B) {
	m := amt.Message{Type: amt.TypeUpdate, Packet: make([]byte, 44)}
	payload, err := m.AppendTo(nil)
	require.NoError(b, err)
	f := amt.AppendUDP([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0},
		netip.AddrPortFrom(peer4, 1000), netip.MustParseAddrPort("10.11.0.2:2268"), 64, payload)
	t := newTable(&Config{MaxGateways: 1000, Idle: time.Second, Lifetime: time.Second}, func(Event) {})
	b.ReportAllocs()
	for b.Loop() {
		var r record
		if r.parse(f, len(f), false, 2268) != verdictMessage {
			b.Fatal("no message")
		}
		t.handle(&r)
	}
}
