package amt

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// slowUpstream blocks in Join and Leave until it is let go on.
type slowUpstream struct {
	calls  chan string
	let    chan error
	closed bool
}

func (u *slowUpstream) Join(_, group netip.Addr, _ func([][]byte)) error {
	u.calls <- fmt.Sprint("join ", group)
	return <-u.let
}

func (u *slowUpstream) Leave(_, group netip.Addr) {
	u.calls <- fmt.Sprint("leave ", group)
	<-u.let
}

func (u *slowUpstream) Close() error { u.closed = true; return nil }

// next lets the upstream end what it is at, and returns what it does then.
func (u *slowUpstream) next(err error) string {
	u.let <- err
	synctest.Wait()
	select {
	case call := <-u.calls:
		return call
	default:
		return ""
	}
}

// While an upstream blocks gateways may join and leave as much as they like: what waits is
// bounded by the channels that they want and those that are joined, and of each channel
// the last wish is done, once.
func TestWishesWhileUpstreamBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay, err := NewRelay(time.Now(), RelayConfig{IPv4: netip.MustParseAddr("192.0.2.1")})
		require.NoError(t, err)
		up := &slowUpstream{calls: make(chan string, 1), let: make(chan error)}
		s := &Server{
			config: ServerConfig{Upstream: up}, relay: relay, log: LimitLog(nil), have: make(map[channel]bool), failed: make(map[channel]time.Time),
			wake: make(chan struct{}, 1), work: make(chan struct{}, 1), closed: make(chan struct{}),
		}
		s.done.Go(s.upstream)
		s.done.Go(s.loop)
		group := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{232, 1, byte(i >> 8), byte(i)}) }
		wish := func(join bool, i int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			e := Event{Type: EventLeave, Source: netip.MustParseAddr("10.0.0.1"), Group: group(i)}
			if join {
				e.Type = EventJoin
			}
			relay.events = append(relay.events, e)
			s.after()
		}
		wish(true, 1)
		synctest.Wait()
		require.Equal(t, "join 232.1.0.1", <-up.calls)
		for i := range 100_000 {
			wish(true, 2+i%60_000)
			wish(false, 2+i%60_000)
		}
		require.Zero(t, s.wishes.len())
		require.Zero(t, s.wishes.order.Len())
		require.LessOrEqual(t, cap(relay.events), 16)
		for range 1000 { // that it is at
			wish(false, 1)
			wish(true, 1)
		}
		require.Equal(t, 1, s.wishes.len())
		wish(false, 1)
		wish(true, 2)
		wish(true, 3)
		wish(false, 3)
		wish(true, 4)
		require.Equal(t, "leave 232.1.0.1", up.next(nil))
		wish(true, 1) // while it is left
		require.Equal(t, "join 232.1.0.2", up.next(nil))
		require.Equal(t, "join 232.1.0.4", up.next(nil))
		require.Equal(t, "join 232.1.0.1", up.next(nil))
		wish(false, 1)
		wish(true, 1) // while it is joined
		require.Empty(t, up.next(nil), "no second join")

		// What is joined and wanted in the end is left alone.
		wish(true, 5)
		synctest.Wait()
		require.Equal(t, "join 232.1.0.5", <-up.calls)
		wish(false, 1)
		wish(false, 2)
		wish(true, 1)
		require.Equal(t, "leave 232.1.0.2", up.next(os.ErrPermission))
		require.Empty(t, up.next(nil))
		require.Equal(t, 1, s.Stats().Unjoined)

		// What has failed is tried again unless it was left.
		time.Sleep(retryJoin + time.Second)
		synctest.Wait()
		require.Equal(t, "join 232.1.0.5", <-up.calls)
		wish(false, 5)
		require.Empty(t, up.next(os.ErrPermission), "there is nothing to leave")
		require.Zero(t, s.Stats().Unjoined)
		time.Sleep(time.Minute)
		require.Empty(t, up.calls)

		require.NoError(t, s.Close())
		s.done.Wait()
		require.True(t, up.closed)
	})
}

// What the log is too slow for is counted.
func TestNotesAreBounded(t *testing.T) {
	s := &Server{log: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for range maxNotes + 10 {
		s.note(&Event{Type: EventTunnelUp})
		s.note(&Event{Type: EventFull})
		s.note(&Event{Type: EventReady})
	}
	require.Len(t, s.notes, maxNotes)
	require.Equal(t, 10, s.missed)
	require.Equal(t, EventReady, s.fullness)
	s.log = LimitLog(nil)
	s.notes = nil
	s.note(&Event{Type: EventTunnelUp})
	require.Empty(t, s.notes, "nobody is told")
}
