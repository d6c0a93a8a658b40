//go:build unix

package egress

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
)

// fickle is a socket that refuses the packets that it is told to, as one of the system does.
type fickle struct {
	refuse func(port uint16, i int) error // i counts the packets that it was given

	given, calls          int
	taken, octets         int
	seals, refusedOfSeals int
}

func (f *fickle) WriteBatch(packets [][]byte, dst netip.AddrPort) (int, error) {
	f.calls++
	for n, p := range packets {
		f.given++
		seal := dst.Port() != mediaPort
		if err := f.refuse(dst.Port(), f.given); err != nil {
			if seal {
				f.refusedOfSeals++
			}
			return n, &ssm.Error{Op: "send", Group: dst.Addr(), Err: os.NewSyscallError("sendmmsg", err)}
		}
		if seal {
			f.seals++
			continue
		}
		f.taken++
		f.octets += len(p)
	}
	return len(packets), nil
}

func (f *fickle) Close() error { return nil }

const mediaPort = 6000

// heard keeps the lines of a log.
type heard struct {
	mu    sync.Mutex
	lines []map[string]any
}

func (l *heard) Enabled(context.Context, slog.Level) bool { return true }
func (l *heard) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *heard) WithGroup(string) slog.Handler            { return l }
func (l *heard) Handle(_ context.Context, r slog.Record) error {
	line := map[string]any{"msg": r.Message}
	r.Attrs(func(a slog.Attr) bool { line[a.Key] = a.Value.Any(); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

func (l *heard) of(msgs ...string) (n int, count uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		for _, msg := range msgs {
			if line["msg"] == msg {
				n++
				k, _ := line["count"].(uint64)
				count += k
			}
		}
	}
	return n, count
}

// sending sends an object each second for some time by a socket.
func sending(t *testing.T, sock *fickle, sealed bool, length time.Duration) (sent Sent, made route.SenderStats, log *heard) {
	log = &heard{}
	c := Config{
		Session: route.Session{Source: ssmtest.Channel(t).Source, Group: netip.MustParseAddr("232.7.7.7"), Port: mediaPort}, TTL: 1,
		Sender: route.SenderConfig{FirstTSI: 1, Rate: 8_000_000, Loss: fec.Loss{Random: 0.1, Target: 1e-3}, MaxBuffered: 32 << 20},
		Logger: slog.New(log),
	}
	if sealed {
		c.SealPort, c.Service, c.HopKey = mediaPort+1, "live", ed25519.NewKeyFromSeed(make([]byte, 32))
	}
	e, err := New(c)
	require.NoError(t, err)
	require.NoError(t, e.sock.Close())
	e.sock = sock
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { require.NoError(t, e.Run(ctx)) })
	for range int(length / time.Second) {
		o := e.Begin(service.Meta{Name: "a.bin", Generation: uint64(time.Now().UnixMicro()), Kind: service.Other, Length: -1})
		o.Write(make([]byte, 100_000), true)
		o.Commit()
		time.Sleep(time.Second)
	}
	cancel()
	group.Wait()
	return e.Sent(), e.Stats(), log
}

// A packet that the system refuses costs that packet, and none of those behind it.
func TestRefusedPacketCostsItself(t *testing.T) {
	for _, c := range []struct {
		errno  error
		reason Reason
	}{
		{syscall.EMSGSIZE, TooLarge}, {syscall.EPERM, Forbidden}, {syscall.EACCES, Forbidden}, {syscall.ENOBUFS, Full},
	} {
		t.Run(c.errno.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sock := &fickle{}
				refused := 0
				sock.refuse = func(_ uint16, i int) error {
					if i%10 != 3 {
						return nil
					}
					refused++
					return c.errno
				}
				sent, made, log := sending(t, sock, false, 5*time.Second)
				require.Greater(t, refused, 30)
				require.EqualValues(t, refused, sent.Unsent[c.reason])
				require.EqualValues(t, refused, sent.Unsent.Sum())
				require.EqualValues(t, sock.taken, sent.Packets, "sent is what was sent")
				require.EqualValues(t, sock.octets, sent.Octets)
				require.Equal(t, made.Packets, sent.Packets+sent.Unsent.Sum(), "nothing is lost in silence")
				require.Positive(t, sent.RepairOctets)
				require.Less(t, sent.RepairOctets, made.RepairOctets)
				n, count := log.of("packets are not sent")
				require.Equal(t, 2, n, "the first at once, the others as it ends")
				require.Equal(t, sent.Unsent.Sum(), count)
			})
		})
	}
}

// While the socket cannot be used it is tried again now and then, and what does not leave is counted.
func TestSocketThatFailsIsLeftAlone(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EHOSTUNREACH, syscall.EIO} {
		t.Run(errno.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				sock := &fickle{}
				sock.refuse = func(uint16, int) error {
					if since := time.Since(begun); since < time.Second || since > 4*time.Second {
						return nil
					}
					return errno
				}
				sent, made, log := sending(t, sock, false, 8*time.Second)
				reason := Unreachable
				if errno == syscall.EIO {
					reason = Other
				}
				require.Greater(t, sent.Unsent[reason], uint64(100))
				require.Equal(t, sent.Unsent[reason], sent.Unsent.Sum())
				require.EqualValues(t, sock.taken, sent.Packets)
				require.Equal(t, made.Packets, sent.Packets+sent.Unsent.Sum())
				n, count := log.of("packets are not sent")
				require.Equal(t, 2, n, "at once, and as it ends")
				require.Equal(t, sent.Unsent.Sum(), count)
				n, _ = log.of("can send again")
				require.Equal(t, 1, n)
			})
		})
	}
}

func TestFailingSocketIsNotTriedMoreThanTenTimesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sock := &fickle{refuse: func(uint16, int) error { return syscall.ENETDOWN }}
		sent, made, _ := sending(t, sock, false, 10*time.Second)
		require.LessOrEqual(t, sock.calls, 101)
		require.Equal(t, made.Packets, sent.Unsent[Unreachable])
		require.Zero(t, sent.Packets)
		require.Zero(t, sent.Octets)
	})
}

func TestUnsentSealsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sock := &fickle{}
		sock.refuse = func(port uint16, _ int) error {
			if port == mediaPort {
				return nil
			}
			return syscall.EPERM
		}
		sent, made, log := sending(t, sock, true, 5*time.Second)
		require.Positive(t, sock.refusedOfSeals)
		require.EqualValues(t, sock.refusedOfSeals, sent.UnsentSeals[Forbidden])
		require.Zero(t, sent.Unsent)
		require.Equal(t, made.Packets, sent.Packets)
		_, count := log.of("packets are not sent")
		require.EqualValues(t, sock.refusedOfSeals, count)
	})
}

// The log gets one line a minute, and the counts in it add up.
func TestUnsentPacketsAreToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sock := &fickle{refuse: func(_ uint16, i int) error {
			if i%2 == 0 {
				return syscall.EPERM
			}
			return nil
		}}
		sent, _, log := sending(t, sock, false, 10*time.Minute)
		n, count := log.of("packets are not sent")
		require.Contains(t, []int{10, 11, 12}, n)
		require.Equal(t, sent.Unsent.Sum(), count)
	})
}

// A reason that comes up while another one has been told is told at once, too.
func TestEachReasonIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		_, _, log := sending(t, &fickle{refuse: func(uint16, int) error {
			switch since := time.Since(begun); {
			case since < 5*time.Second:
				return syscall.EPERM
			case since < 10*time.Second:
				return syscall.ENETDOWN
			}
			return nil
		}}, false, 15*time.Second)
		var told []any
		for _, line := range log.lines {
			if line["msg"] != "can send again" {
				told = append(told, line["reason"])
			}
		}
		require.Equal(t, []any{"forbidden", "unreachable", "forbidden", "unreachable"}, told)
		n, _ := log.of("can send again")
		require.Equal(t, 1, n)
	})
}

func TestReasonOfAClosedSocket(t *testing.T) {
	require.Equal(t, Other, reasonOf(net.ErrClosed))
	require.False(t, Other.ofPacket())
}
