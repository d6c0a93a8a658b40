package ingress_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
)

// mute is a source of which nothing comes.
type mute struct {
	closed chan struct{}
	once   sync.Once
}

func (m *mute) ReadBatch([]ssm.Message) (int, error) { <-m.closed; return 0, net.ErrClosed }
func (m *mute) Close() error                         { m.once.Do(func() { close(m.closed) }); return nil }

// leaving receives the first halves of two objects, has f done with that, and ends reception.
func leaving(t *testing.T, c ingress.Config, f func(in *ingress.Ingress)) (st ingress.Stats, log *told) {
	log = &told{}
	c.Service, c.Receiver.Session, c.Logger = newService(t, "live"), session, slog.New(log)
	in := ingress.New(c)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { require.NoError(t, in.Run(ctx, &mute{closed: make(chan struct{})})) })
	tx := route.NewSender(route.SenderConfig{Session: session, FirstTSI: 7, NoRepair: true})
	synctest.Wait()
	for n, name := range []string{"seg-00001.m4s", "seg-00002.m4s"} {
		o, err := tx.Begin(time.Now(), route.Outgoing{Name: name, Generation: 100, Track: route.Track{Stem: "seg-$TOI%05d$.m4s", Number: uint32(n + 1), Run: 100}})
		require.NoError(t, err)
		require.NoError(t, o.Append(time.Now(), octets(uint64(n), 5000)))
		o.Cut()
		for {
			p, ok := tx.Poll(time.Now(), nil)
			if !ok {
				break
			}
			in.Push(netip.AddrPortFrom(session.Source, 5000), p)
		}
		if n == 0 {
			require.NoError(t, o.End(time.Now()))
		}
		for range 100 {
			time.Sleep(time.Millisecond)
			for {
				p, ok := tx.Poll(time.Now(), nil)
				if !ok {
					break
				}
				in.Push(netip.AddrPortFrom(session.Source, 5000), p)
			}
		}
	}
	require.EqualValues(t, 1, in.Stats().Receiver.Objects)
	f(in)
	cancel()
	group.Wait()
	return in.Stats(), log
}

func retire(t *testing.T, in *ingress.Ingress) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	in.Retire(ctx)
}

// An object that is under way when its session has been left for long enough is lost, and told of.
func TestObjectsOfASessionThatIsLeftAreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, log := leaving(t, ingress.Config{}, func(in *ingress.Ingress) { retire(t, in) })
		require.EqualValues(t, 1, st.Lost[ingress.Left])
		require.EqualValues(t, 1, lost(st))
		lines, count := log.of("objects are lost")
		require.EqualValues(t, 1, count)
		require.Equal(t, "left", lines[0]["reason"])
		require.Equal(t, "seg-00002.m4s", lines[0]["name"])
	})
}

// deaf is a parent that gives nothing.
type deaf struct{}

func (deaf) Fetch(ctx context.Context, _ service.Request, _ func(service.Meta) (io.Writer, error)) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestWhatParentsDoNotBringOfASessionThatIsLeftIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, log := leaving(t, ingress.Config{Plain: deaf{}}, func(in *ingress.Ingress) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.ErrorIs(t, in.Feed(ctx, "seg-00002.m4s"), context.DeadlineExceeded)
			retire(t, in)
		})
		require.EqualValues(t, 1, st.Lost[ingress.Left])
		require.EqualValues(t, 1, lost(st))
		_, count := log.of("objects are lost")
		require.EqualValues(t, 1, count)
	})
}

// A node that ends loses nothing that anybody could still ask it for.
func TestObjectsUnderWayAtTheEndAreNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, _ := leaving(t, ingress.Config{}, func(*ingress.Ingress) {})
		require.Zero(t, lost(st))
		st, _ = leaving(t, ingress.Config{}, func(in *ingress.Ingress) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			in.Retire(ctx)
		})
		require.Zero(t, lost(st))
	})
}
