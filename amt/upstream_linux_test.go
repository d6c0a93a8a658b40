package amt_test

import (
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

// wholeNative returns an upstream for all ports, or skips.
func wholeNative(t testing.TB) *amt.Native {
	n, err := amt.NewNative(amt.NativeConfig{})
	if err != nil {
		require.ErrorIs(t, err, amt.ErrPrivilege)
		t.Skip(err)
	}
	require.True(t, n.Whole())
	return n
}

// box keeps what an upstream delivers.
type box struct {
	mu   sync.Mutex
	list [][]byte
}

func (b *box) deliver(packets [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range packets {
		b.list = append(b.list, append([]byte(nil), p...))
	}
}

func (b *box) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.list)
}

// With the privilege all ports of a channel come, with their own headers, and
// each channel has its own.
func TestNativeWhole(t *testing.T) {
	defer goleak.VerifyNone(t)
	n := wholeNative(t)
	ch, other := ssmtest.Channel(t), ssmtest.Channel(t)
	other.Group = ch.Group // of another source
	tx, err := ssm.NewSender(ch.Source, &ssm.SenderConfig{TTL: 9})
	require.NoError(t, err)
	defer tx.Close()
	tx2, err := ssm.NewSender(other.Source, nil)
	require.NoError(t, err)
	defer tx2.Close()
	var b, any box
	require.NoError(t, n.Join(ch.Source, ch.Group, b.deliver))
	for port := range uint16(50) {
		run := [][]byte{make([]byte, 1000), make([]byte, 1000), make([]byte, 1000)}
		_, err := tx.WriteBatch(run, netip.AddrPortFrom(ch.Group, 6000+port))
		require.NoError(t, err)
		_, err = tx2.WriteBatch(run, netip.AddrPortFrom(ch.Group, 6000+port))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return b.len() == 150 }, 10*time.Second, time.Millisecond)
	ports := make(map[uint16]int)
	for _, raw := range b.list {
		var p amt.Packet
		require.NoError(t, p.Parse(raw))
		require.NoError(t, p.ParseUDP())
		require.Equal(t, uint8(9), p.TTL)
		require.Equal(t, tx.Source(), p.Source)
		require.Len(t, p.Payload, 1000)
		ports[p.Destination.Port()]++
	}
	require.Len(t, ports, 50)

	n.Leave(ch.Source, ch.Group)
	n.Leave(ch.Source, ch.Group)
	before := b.len()
	require.NoError(t, n.Join(other.Source, ch.Group, any.deliver))
	_, err = tx.WriteBatch([][]byte{make([]byte, 10)}, ch.Destination())
	require.NoError(t, err)
	_, err = tx2.WriteBatch([][]byte{make([]byte, 10)}, ch.Destination())
	require.NoError(t, err)
	require.Eventually(t, func() bool { return any.len() == 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, before, b.len())
	require.NoError(t, n.Close())
	require.NoError(t, n.Close())
	require.Error(t, n.Join(ch.Source, ch.Group, b.deliver))
}

// Without the privilege it says what it needs, and does with ports.
func TestNativeWithoutPrivilege(t *testing.T) {
	runtime.LockOSThread() // and never unlocks it: the thread ends with the test
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &data[0]))
	data[0].Effective &^= 1 << unix.CAP_NET_RAW
	require.NoError(t, unix.Capset(&header, &data[0]))
	_, err := amt.NewNative(amt.NativeConfig{})
	require.ErrorIs(t, err, amt.ErrPrivilege)
	require.ErrorIs(t, err, unix.EPERM)
	require.ErrorContains(t, err, "CAP_NET_RAW")
	n, err := amt.NewNative(amt.NativeConfig{Ports: []uint16{5000}})
	require.NoError(t, err)
	require.False(t, n.Whole())
	require.NoError(t, n.Close())
}

// A group that some want as a whole, and others from one source: each gets each
// packet once, whether by sockets or whole.
func TestSourceAndGroupAsAWhole(t *testing.T) {
	for _, sockets := range []bool{true, false} {
		t.Run(map[bool]string{true: "sockets", false: "whole"}[sockets], func(t *testing.T) {
			ch := ssmtest.Channel(t)
			ch.Group = netip.AddrFrom4([4]byte{239, 7, byte(ch.Port >> 8), byte(ch.Port)})
			if !sockets {
				require.NoError(t, wholeNative(t).Close())
			}
			n, err := amt.NewNative(amt.NativeConfig{Ports: []uint16{ch.Port}, Interface: "lo", Sockets: sockets})
			require.NoError(t, err)
			relay := loopback(t)
			serve(t, relay, n, amt.RelayConfig{})
			sendTo(t, ch, 100, time.Millisecond)
			config := amt.DialConfig{Mode: amt.ModeTunnel, Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: relay}}}}
			one := dial(t, ch, config)
			numbers(t, one, 50)
			whole := ch
			whole.Source = netip.Addr{}
			all := dial(t, whole, config)
			numbers(t, all, 10)
			requireConsecutive(t, numbers(t, all, 100))
			list := numbers(t, one, 200) // the queue was full meanwhile
			for i := 1; i < len(list); i++ {
				require.Greater(t, list[i], list[i-1])
			}
		})
	}
}

// A relay behind a relay: packets keep their headers, but for one hop.
func TestChain(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("", func(t *testing.T) {
		ch := ssmtest.Channel(t)
		first, spare, second := loopback(t), loopback(t), loopback(t)
		up := &manual{}
		one := serve(t, first, up, amt.RelayConfig{})
		serve(t, spare, up, amt.RelayConfig{})
		chain, err := amt.NewChain(amt.ChainConfig{Gateway: amt.GatewayConfig{
			Relays: []amt.Candidate{{Address: first}, {Address: spare}},
		}})
		require.NoError(t, err)
		two := serve(t, second, chain, amt.RelayConfig{})
		c := dial(t, ch, amt.DialConfig{
			Mode: amt.ModeTunnel, Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: second}}},
		})
		stop := make(chan struct{})
		var done sync.WaitGroup
		done.Go(func() {
			b := make([]byte, 500)
			for i := uint64(0); ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				for k := range 8 {
					b[7-k] = byte(i >> (8 * k))
				}
				up.send(amt.AppendUDP(nil, netip.AddrPortFrom(ch.Source, 99), ch.Destination(), 9, b))
			}
		})
		defer done.Wait()
		defer close(stop)
		requireConsecutive(t, numbers(t, c, 200))
		require.Equal(t, first, chain.Stats().Relay)
		require.Equal(t, 1, two.Stats().Tunnels)
		require.Equal(t, 1, one.Stats().Tunnels)

		require.NoError(t, one.Close())
		for chain.Stats().Relay != spare {
			numbers(t, c, 1)
		}
		numbers(t, c, 100)
		require.NoError(t, c.Close())
		require.Eventually(t, func() bool { return chain.Stats().Relay == netip.AddrPort{} }, 10*time.Second, 10*time.Millisecond,
			"nobody wants anything")
		require.NoError(t, chain.Close())
		require.Error(t, chain.Join(ch.Source, ch.Group, nil))
	})
}

// both is an upstream of two.
type both struct{ a, b amt.Upstream }

func (u both) Join(source, group netip.Addr, deliver func([][]byte)) error {
	var mu sync.Mutex
	one := func(p [][]byte) { mu.Lock(); defer mu.Unlock(); deliver(p) }
	if err := u.a.Join(source, group, one); err != nil {
		return err
	}
	return u.b.Join(source, group, one)
}
func (u both) Leave(source, group netip.Addr) { u.a.Leave(source, group); u.b.Leave(source, group) }
func (u both) Close() error                   { _ = u.a.Close(); return u.b.Close() }

// Two relays with each other as upstream pass a packet round once.
func TestChainLoop(t *testing.T) {
	ch := ssmtest.Channel(t)
	a, b := loopback(t), loopback(t)
	up := &manual{}
	chain := func(to netip.AddrPort) *amt.Chain {
		c, err := amt.NewChain(amt.ChainConfig{Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: to}}, Silence: -1}})
		require.NoError(t, err)
		return c
	}
	toB, toA := chain(b), chain(a)
	sa := serve(t, a, both{up, toB}, amt.RelayConfig{})
	sb := serve(t, b, toA, amt.RelayConfig{})
	c := dial(t, ch, amt.DialConfig{Mode: amt.ModeTunnel, Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: a}}}})
	require.Eventually(t, func() bool { return sb.Stats().Tunnels == 1 && sa.Stats().Tunnels == 2 }, 10*time.Second, time.Millisecond)
	const n = 100
	for i := range n {
		up.send(amt.AppendUDP(nil, netip.AddrPortFrom(ch.Source, 99), ch.Destination(), 255, []byte{0, 0, 0, 0, 0, 0, 0, byte(i)}))
	}
	numbers(t, c, n)
	require.Eventually(t, func() bool { return toA.Stats().Looped+toB.Stats().Looped >= n }, 10*time.Second, time.Millisecond)
	time.Sleep(50 * time.Millisecond) // what went on, would by now have gone on
	require.LessOrEqual(t, sa.Stats().Copies+sb.Stats().Copies, uint64(6*n))
}

// failing is an upstream whose first join fails.
type failing struct {
	manual
	once sync.Once
}

func (u *failing) Join(source, group netip.Addr, deliver func([][]byte)) (err error) {
	u.once.Do(func() { err = unix.ENOBUFS })
	if err != nil {
		return err
	}
	return u.manual.Join(source, group, deliver)
}

// A channel that cannot be joined is tried again as long as somebody wants it.
func TestJoinIsTriedAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("that takes five seconds")
	}
	t.Parallel()
	ch := ssmtest.Channel(t)
	listen := loopback(t)
	up := &failing{}
	serve(t, listen, up, amt.RelayConfig{})
	c := dial(t, ch, amt.DialConfig{Mode: amt.ModeTunnel, Gateway: amt.GatewayConfig{Relays: []amt.Candidate{{Address: listen}}, Silence: -1}})
	require.Eventually(t, func() bool {
		up.send(amt.AppendUDP(nil, netip.AddrPortFrom(ch.Source, 9), ch.Destination(), 9, make([]byte, 8)))
		return c.Stats().Packets > 0
	}, 20*time.Second, 10*time.Millisecond)
}
