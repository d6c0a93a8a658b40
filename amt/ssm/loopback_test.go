package ssm_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newHost(tb testing.TB, config ssm.Config) *ssm.Host {
	host := ssm.NewHost(config)
	tb.Cleanup(func() { require.NoError(tb, host.Close()) })
	return host
}

func join(tb testing.TB, host *ssm.Host, ch ssm.Channel) *ssm.Receiver {
	rx, err := host.Join(context.Background(), ch, "")
	require.NoError(tb, err)
	return rx
}

func newSender(tb testing.TB, source netip.Addr, config *ssm.SenderConfig) *ssm.Sender {
	tx, err := ssm.NewSender(source, config)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, tx.Close()) })
	return tx
}

// numbered makes packets of the given sizes that begin with their number.
func numbered(sizes ...int) [][]byte {
	packets := make([][]byte, len(sizes))
	for i, size := range sizes {
		packets[i] = make([]byte, size)
		binary.BigEndian.PutUint32(packets[i], uint32(i))
	}
	return packets
}

func repeat(n, size int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}

// collect reads until it has count packets. Those sent over loopback are in the
// receive buffer when WriteBatch returns; the deadline only bounds a failure.
func collect(tb testing.TB, rx *ssm.Receiver, count int) (packets [][]byte) {
	ms := ssm.NewMessages(4)
	require.NoError(tb, rx.SetReadDeadline(time.Now().Add(10*time.Second)))
	for len(packets) < count {
		n, err := rx.ReadBatch(ms)
		require.NoError(tb, err, "after %d of %d packets", len(packets), count)
		for i := range ms[:n] {
			for packet := range ms[i].Segments {
				packets = append(packets, append([]byte(nil), packet...))
			}
		}
	}
	requireNothing(tb, rx)
	return packets
}

func requireNothing(tb testing.TB, rx *ssm.Receiver) {
	require.NoError(tb, rx.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err := rx.ReadBatch(ssm.NewMessages(1))
	require.ErrorIs(tb, err, os.ErrDeadlineExceeded)
}

func TestSendAndReceive(t *testing.T) {
	mixed := append(repeat(100, 1400), 17, 1400, 1400, 900, 901, 5, 1200)
	for _, c := range []struct {
		name    string
		sizes   []int
		rx      ssm.Config
		tx      ssm.SenderConfig
		maxRead int // upper bound of messages if coalesced
	}{
		{name: "one packet", sizes: []int{4}},
		{name: "segmented and coalesced", sizes: repeat(300, 1400)},
		{name: "largest datagram between others", sizes: []int{100, 65507, 65507, 100, 100}},
		{name: "many messages in one batch", sizes: mixed},
		{name: "no segmentation", sizes: mixed, tx: ssm.SenderConfig{NoOffload: true}},
		{name: "no coalescing", sizes: mixed, rx: ssm.Config{NoOffload: true}},
		{name: "neither", sizes: mixed, rx: ssm.Config{NoOffload: true}, tx: ssm.SenderConfig{NoOffload: true}},
		{name: "every option", sizes: mixed, tx: ssm.SenderConfig{Interface: "lo", TTL: 3, DSCP: 46, SendBuffer: 1 << 16}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ch := ssmtest.Channel(t)
			rx := join(t, newHost(t, c.rx), ch)
			tx := newSender(t, ch.Source, &c.tx)
			sent := numbered(c.sizes...)
			n, err := tx.WriteBatch(sent, ch.Destination())
			require.NoError(t, err)
			require.Equal(t, len(sent), n)
			require.Equal(t, sent, collect(t, rx, len(sent)))

			stats := rx.Stats()
			require.EqualValues(t, len(sent), stats.Packets)
			require.Zero(t, stats.Dropped)
			require.Zero(t, stats.Rejected)
			require.Zero(t, stats.Truncated)
		})
	}
}

func TestMessageDescribesPackets(t *testing.T) {
	ch := ssmtest.Channel(t)
	rx := join(t, newHost(t, ssm.Config{}), ch)
	tx := newSender(t, ch.Source, nil)
	require.Equal(t, ssmtest.Interface, rx.Interface())
	require.Equal(t, ssmtest.Interface, tx.Interface())
	_, err := tx.WriteBatch(numbered(repeat(10, 1000)...), ch.Destination())
	require.NoError(t, err)

	ms := ssm.NewMessages(2)
	require.NoError(t, rx.SetReadDeadline(time.Now().Add(10*time.Second)))
	n, err := rx.ReadBatch(ms)
	require.NoError(t, err)
	require.Equal(t, 1, n, "ten packets of one size come as one message")
	require.Equal(t, 10_000, ms[0].N)
	require.Equal(t, 1000, ms[0].SegmentSize)
	require.Equal(t, tx.Source(), ms[0].Source)
	require.Equal(t, ch.Group, ms[0].Destination)
}

// Packets that lie behind each other in one buffer leave in one piece, and Receive hands runs of them out.
func TestReceiveRuns(t *testing.T) {
	ch := ssmtest.Channel(t)
	rx := join(t, newHost(t, ssm.Config{}), ch)
	tx := newSender(t, ch.Source, nil)
	var buf []byte
	var packets, got [][]byte
	for _, p := range numbered(repeat(100, 700)...) {
		buf = append(buf, p...)
	}
	for i := range 100 {
		packets = append(packets, buf[i*700:(i+1)*700])
	}
	n, err := tx.WriteBatch(packets, ch.Destination())
	require.NoError(t, err)
	require.Equal(t, len(packets), n)
	begin := time.Now()
	require.NoError(t, rx.SetReadDeadline(begin.Add(time.Minute)))
	for len(got) < len(packets) {
		require.NoError(t, rx.Receive(func(at time.Time, from, to netip.AddrPort, run []byte, size int) {
			require.False(t, at.Before(begin))
			require.Equal(t, tx.Source(), from)
			require.Equal(t, ch.Destination(), to)
			for i := 0; i < len(run); i += size {
				got = append(got, slices.Clone(run[i:min(len(run), i+size)]))
			}
		}))
	}
	require.Equal(t, packets, got)
	require.NoError(t, rx.SetReadDeadline(time.Unix(1, 0)))
	require.ErrorIs(t, rx.Receive(nil), os.ErrDeadlineExceeded)
}

func TestOtherSourcesAndGroupsStayApart(t *testing.T) {
	ch := ssmtest.Channel(t)
	otherSource, otherGroup, otherPort := ch, ch, ch
	otherSource.Source = ssmtest.Source()
	otherGroup.Group = ssmtest.Channel(t).Group
	otherPort.Port = ssmtest.Channel(t).Port

	host := newHost(t, ssm.Config{})
	rx := join(t, host, ch)
	for _, other := range []ssm.Channel{otherSource, otherGroup, otherPort} {
		// The other channel is joined on this machine as well.
		rxOther := join(t, host, other)
		tx := newSender(t, other.Source, nil)
		_, err := tx.WriteBatch(numbered(100, 100, 100), other.Destination())
		require.NoError(t, err)
		collect(t, rxOther, 3)
		requireNothing(t, rx)
	}
	require.Zero(t, rx.Stats().Packets)
	require.Zero(t, rx.Stats().Rejected, "the kernel filters")
}

func TestReceiversOfOneChannel(t *testing.T) {
	ch := ssmtest.Channel(t)
	host := newHost(t, ssm.Config{})
	first, second, other := join(t, host, ch), join(t, host, ch), join(t, newHost(t, ssm.Config{}), ch)
	require.Equal(t, 2, host.Memberships()[0].Users)

	tx := newSender(t, ch.Source, nil)
	sent := numbered(append(repeat(30, 1200), 600)...)
	_, err := tx.WriteBatch(sent, ch.Destination())
	require.NoError(t, err)
	for _, rx := range []*ssm.Receiver{first, second, other} {
		require.Equal(t, sent, collect(t, rx, len(sent)))
	}

	require.NoError(t, first.Close())
	require.Equal(t, 1, host.Memberships()[0].Users)
	_, err = tx.WriteBatch(sent, ch.Destination())
	require.NoError(t, err)
	for _, rx := range []*ssm.Receiver{second, other} {
		require.Equal(t, sent, collect(t, rx, len(sent)))
	}
	require.NoError(t, second.Close())
	require.Empty(t, host.Memberships())
}

// More groups than one socket can join, and more sources than one group can
// have on a socket.
func TestManyMemberships(t *testing.T) {
	host := newHost(t, ssm.Config{})
	base := ssmtest.Channel(t)
	var channels []ssm.Channel
	for i := range 25 {
		ch := base
		ch.Group = netip.AddrFrom4([4]byte{232, 200 + byte(i), base.Group.As4()[2], base.Group.As4()[3]})
		channels = append(channels, ch)
	}
	for range 12 {
		ch := base
		ch.Source = ssmtest.Source()
		channels = append(channels, ch)
	}
	receivers := make([]*ssm.Receiver, len(channels))
	for i, ch := range channels {
		receivers[i] = join(t, host, ch)
	}
	require.Len(t, host.Memberships(), len(channels))
	for i, ch := range channels {
		tx := newSender(t, ch.Source, nil)
		packets := numbered(repeat(i+1, 64)...)
		_, err := tx.WriteBatch(packets, ch.Destination())
		require.NoError(t, err)
	}
	for i, rx := range receivers {
		collect(t, rx, i+1)
		require.EqualValues(t, i+1, rx.Stats().Packets)
	}
}

func TestAnySourceGroup(t *testing.T) {
	ch := ssmtest.Channel(t)
	ch.Source = netip.Addr{}
	ch.Group = netip.AddrFrom4([4]byte{239, 255, ch.Group.As4()[2], ch.Group.As4()[3]})
	host := newHost(t, ssm.Config{Interface: ssmtest.Interface})
	rx := join(t, host, ch)
	for range 2 {
		tx := newSender(t, ssmtest.Source(), nil)
		_, err := tx.WriteBatch(numbered(50), ch.Destination())
		require.NoError(t, err)
		collect(t, rx, 1)
	}
}

func TestDroppedPacketsAreCounted(t *testing.T) {
	ch := ssmtest.Channel(t)
	rx := join(t, newHost(t, ssm.Config{ReceiveBuffer: 1, NoOffload: true}), ch)
	tx := newSender(t, ch.Source, nil)
	const count = 2000
	_, err := tx.WriteBatch(numbered(repeat(count, 1400)...), ch.Destination())
	require.NoError(t, err)
	dropped := rx.Stats().Dropped
	require.NotZero(t, dropped, "2.8 MB do not fit the default buffer")
	collect(t, rx, count-int(dropped))
	require.NoError(t, rx.Close())
	require.Equal(t, dropped, rx.Stats().Dropped, "the count outlives the socket")
}

func TestTruncatedRunKeepsWholePackets(t *testing.T) {
	ch := ssmtest.Channel(t)
	rx := join(t, newHost(t, ssm.Config{}), ch)
	tx := newSender(t, ch.Source, nil)
	sent := numbered(repeat(10, 1000)...)
	_, err := tx.WriteBatch(sent, ch.Destination())
	require.NoError(t, err)
	ms := []ssm.Message{{Buffer: make([]byte, 2500)}}
	require.NoError(t, rx.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = rx.ReadBatch(ms)
	require.NoError(t, err)
	require.Equal(t, 2000, ms[0].N)
	require.EqualValues(t, 2, rx.Stats().Packets)
	require.EqualValues(t, 1, rx.Stats().Truncated)
}

func TestCloseUnblocksReadBatch(t *testing.T) {
	cause := errors.New("the service was removed")
	for _, c := range []struct {
		name string
		want error
		end  func(*ssm.Host, *ssm.Receiver, context.CancelCauseFunc)
	}{
		{"receiver closed", net.ErrClosed, func(_ *ssm.Host, rx *ssm.Receiver, _ context.CancelCauseFunc) { rx.Close() }},
		{"host closed", net.ErrClosed, func(h *ssm.Host, _ *ssm.Receiver, _ context.CancelCauseFunc) { h.Close() }},
		{"context ended", cause, func(_ *ssm.Host, _ *ssm.Receiver, cancel context.CancelCauseFunc) { cancel(cause) }},
		{"deadline moved", os.ErrDeadlineExceeded, func(_ *ssm.Host, rx *ssm.Receiver, _ context.CancelCauseFunc) {
			_ = rx.SetReadDeadline(time.Unix(1, 0))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			host := newHost(t, ssm.Config{})
			rx, err := host.Join(ctx, ssmtest.Channel(t), "")
			require.NoError(t, err)
			result := make(chan error)
			go func() {
				_, err := rx.ReadBatch(ssm.NewMessages(1))
				result <- err
			}()
			c.end(host, rx, cancel)
			require.ErrorIs(t, <-result, c.want)
			require.NoError(t, rx.Close())
			require.NoError(t, rx.Close())
		})
	}
}

func TestClosedHostAndSenderRefuse(t *testing.T) {
	ch := ssmtest.Channel(t)
	host := ssm.NewHost(ssm.Config{})
	require.NoError(t, host.Close())
	require.NoError(t, host.Close())
	_, err := host.Join(context.Background(), ch, "")
	require.ErrorIs(t, err, net.ErrClosed)

	tx := newSender(t, ch.Source, nil)
	require.NoError(t, tx.Close())
	require.NoError(t, tx.Close())
	_, err = tx.WriteBatch(numbered(100), ch.Destination())
	require.Equal(t, net.ErrClosed, err)
}

func TestMaxReceivers(t *testing.T) {
	host := newHost(t, ssm.Config{MaxReceivers: 2})
	rx := join(t, host, ssmtest.Channel(t))
	join(t, host, ssmtest.Channel(t))
	_, err := host.Join(context.Background(), ssmtest.Channel(t), "")
	require.ErrorIs(t, err, ssm.ErrTooManyReceivers)
	require.NoError(t, rx.Close())
	join(t, host, ssmtest.Channel(t))
}

func TestProbe(t *testing.T) {
	require.NoError(t, ssm.Probe(context.Background(), "", ssmtest.Source()))
	require.NoError(t, ssm.Probe(context.Background(), ssmtest.Interface, netip.MustParseAddr("127.0.0.1")))
}
