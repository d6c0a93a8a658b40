package authority_test

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"

	"github.com/treedn/treedn/driad/authority"
	"github.com/treedn/treedn/driad/dns"
)

// BenchmarkServer asks a server by UDP, with up to 256 questions under way, and for
// comparison a loop that sends back what it receives. The processor time is that of the
// client, too.
func BenchmarkServer(b *testing.B) {
	var list []authority.Relay
	for i := range 1000 {
		list = append(list, relay(fmt.Sprintf("10 1 1 192.0.2.%d", i%256), fmt.Sprintf("69.%d.%d.0/24", i/256, i%256)))
	}
	for i := range 3 {
		list = append(list, relay(fmt.Sprintf("10 1 1 203.0.113.%d", i), "69.0.0.0/12"))
	}
	b.Run("answers", func(b *testing.B) {
		load(b, serve(b, newAuthority(b, authority.Config{Rate: -1}, list...)))
	})
	b.Run("echo", func(b *testing.B) {
		u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		require.NoError(b, err)
		_ = u.SetReadBuffer(1 << 20)
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn, batch := ipv4.NewPacketConn(u), messages(32)
			for {
				n, err := conn.ReadBatch(batch, 0)
				if err != nil {
					return
				}
				for i := range batch[:n] {
					batch[i].Buffers[0] = batch[i].Buffers[0][:batch[i].N]
				}
				_, _ = conn.WriteBatch(batch[:n], 0)
				for i := range batch[:n] {
					batch[i].Buffers[0] = batch[i].Buffers[0][:1536]
				}
			}
		}()
		load(b, u.LocalAddr().(*net.UDPAddr).AddrPort())
		_ = u.Close()
		<-done
	})
}

func messages(n int) []ipv4.Message {
	list := make([]ipv4.Message, n)
	for i := range list {
		list[i].Buffers = [][]byte{make([]byte, 1536)}
	}
	return list
}

// load asks b.N questions.
func load(b *testing.B, at netip.AddrPort) {
	u, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
	require.NoError(b, err)
	defer func() { _ = u.Close() }()
	_ = u.SetReadBuffer(1 << 20)
	conn, in, out := ipv4.NewPacketConn(u), messages(32), messages(32)
	for i := range out {
		out[i].Buffers[0] = query(fmt.Sprintf("7.%d.0.69.in-addr.arpa", i), dns.TypeAMTRELAY, true)
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := processorTime()
	for sent, got, lost := 0, 0, 0; got+lost < b.N; {
		for sent-got-lost <= 256-32 && sent < b.N {
			n, err := conn.WriteBatch(out[:min(len(out), b.N-sent)], 0)
			require.NoError(b, err)
			sent += n
		}
		_ = u.SetReadDeadline(time.Now().Add(time.Second))
		n, err := conn.ReadBatch(in, 0)
		if err != nil {
			lost = sent - got // a full buffer somewhere
			continue
		}
		got += n
	}
	b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
}

func processorTime() int64 {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return r.Utime.Nano() + r.Stime.Nano()
}
