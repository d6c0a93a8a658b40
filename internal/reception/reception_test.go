package reception

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/depot"
	"github.com/treedn/treedn/internal/emission"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var silent = slog.New(slog.DiscardHandler)

// sender is the node above.
type sender struct {
	t   *testing.T
	svc *service.Service
	out *emission.Emission
	n   uint64

	depot *depot.Depot
}

func newSender(t *testing.T) *sender {
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	return newSenderOf(t, store)
}

func newSenderOf(t *testing.T, store *cache.Store) *sender {
	s := &sender{t: t, svc: service.New(service.Config{Name: "live", Store: store}), depot: depot.New(store)}
	s.out = emission.New(emission.Config{Service: s.svc, Depot: s.depot, Now: time.Now, Logger: silent})
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.out.Close(ctx)
		require.NoError(t, store.Close())
	})
	return s
}

func (s *sender) to(session config.Session) {
	s.t.Helper()
	require.NoError(s.t, s.out.Change(config.Downstream{Session: session, TTL: 1, FEC: config.FEC{Loss: 0.2, Target: 1e-6}}, nil))
}

// send sends one object and returns its name and content.
func (s *sender) send() (name, body string) {
	s.t.Helper()
	s.n++
	name, body = fmt.Sprintf("%d.bin", s.n), fmt.Sprintf("%050000d", s.n)
	o, err := s.svc.Begin(service.Meta{Name: name, Generation: s.n, Kind: service.Other, Length: int64(len(body))})
	require.NoError(s.t, err)
	require.NoError(s.t, o.Write([]byte(body), true))
	require.NoError(s.t, o.Commit())
	return name, body
}

func newSession(t *testing.T) config.Session {
	ch := ssmtest.Channel(t)
	return config.Session{Source: ch.Source, Group: ch.Group, Port: ch.Port}
}

func newBase(t *testing.T, c config.Cache, loss lossy.Config) *Base {
	if c.Memory == 0 {
		c.Memory = 1 << 20
	}
	b, err := OpenBase("beacon", config.Node{Name: "leaf"}, c, Options{Loss: loss, Now: time.Now, Logger: silent})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()); require.NoError(t, b.Close()) })
	return b
}

func live(session config.Session, parents ...string) config.Service {
	c := config.Service{Name: "live", Upstream: config.Upstream{Session: session, Unsigned: true}, Retention: time.Minute}
	for _, p := range parents {
		u, err := config.ParseURL(p)
		if err != nil {
			panic(err)
		}
		c.Upstream.Parents = append(c.Upstream.Parents, u)
	}
	return c
}

func read(b *Base, name string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	o, err := b.Store.Await(ctx, cache.Key{Service: "live", Name: name}, 0)
	if err != nil {
		return "", err
	}
	r, err := o.NewReader(ctx, 0)
	if err != nil {
		return "", err
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	return string(body), err
}

// pass sends an object and finds it at the receiver.
func pass(t *testing.T, s *sender, b *Base) {
	t.Helper()
	name, want := s.send()
	got, err := read(b, name)
	require.NoError(t, err, name)
	require.Equal(t, want, got)
}

func status(t *testing.T, b *Base) telemetry.Service {
	t.Helper()
	st := b.Status(time.Now())
	require.Len(t, st.Services, 1)
	return st.Services[0]
}

func TestChangeOfSession(t *testing.T) {
	s, b := newSender(t), newBase(t, config.Cache{}, lossy.Config{})
	one, two := newSession(t), newSession(t)
	x, err := b.Services.Add(live(one))
	require.NoError(t, err)
	st := status(t, b)
	require.Equal(t, telemetry.StateWaiting, st.State)
	require.False(t, b.Status(time.Now()).Readiness.Ready)
	s.to(one)
	pass(t, s, b)
	require.True(t, b.Status(time.Now()).Readiness.Ready)
	require.NotZero(t, status(t, b).RateIn)

	require.NoError(t, b.Services.Change(live(two)))
	for range 3 {
		pass(t, s, b) // the sender has not changed yet
	}
	require.Len(t, x.Sockets(), 2)
	before := status(t, b)
	require.Equal(t, uint64(4), before.Objects)
	require.Equal(t, two.String(), before.Source.Address)
	require.NotEmpty(t, before.Source.Why)
	s.to(two)
	for range 3 {
		pass(t, s, b)
	}
	require.Eventually(t, func() bool { return len(x.Sockets()) == 1 }, 5*overlap, 10*time.Millisecond, "the old session is never left")
	pass(t, s, b)
	require.Equal(t, two.Group, x.Sockets()[0].Group)
	after := status(t, b)
	require.Equal(t, uint64(8), after.Objects, "counters go on")
	require.Greater(t, after.Packets, before.Packets)
	require.Zero(t, after.ObjectsLost)
	require.Empty(t, after.Source.Why)
}

func TestMistypedSessionIsLeft(t *testing.T) {
	s, b := newSender(t), newBase(t, config.Cache{}, lossy.Config{})
	one, wrong, right := newSession(t), newSession(t), newSession(t)
	x, err := b.Services.Add(live(one))
	require.NoError(t, err)
	s.to(one)
	pass(t, s, b)
	require.NoError(t, b.Services.Change(live(wrong)))
	require.NoError(t, b.Services.Change(live(right)))
	pass(t, s, b)
	require.Len(t, x.Sockets(), 3)
	s.to(right)
	pass(t, s, b)
	require.Eventually(t, func() bool { return len(x.Sockets()) == 1 }, 5*overlap, 10*time.Millisecond)
	require.Equal(t, right.Group, x.Sockets()[0].Group)
	pass(t, s, b)
}

func TestCloseDoesNotWaitForASession(t *testing.T) {
	b := newBase(t, config.Cache{}, lossy.Config{})
	_, err := b.Services.Add(live(newSession(t)))
	require.NoError(t, err)
	require.NoError(t, b.Services.Change(live(newSession(t))))
	begun := time.Now()
	b.Services.Remove("live")
	require.Less(t, time.Since(begun), overlap)
	require.Nil(t, b.Services.Lookup("live"))
	require.Error(t, b.Services.Change(live(newSession(t))))
	b.Services.Remove("live")
}

func TestWhatCannotBeJoined(t *testing.T) {
	s, b := newSender(t), newBase(t, config.Cache{}, lossy.Config{})
	one, bad := newSession(t), newSession(t)
	bad.Interface = "none0"
	var e *ssm.Error
	_, err := b.Services.Add(live(bad))
	require.ErrorAs(t, err, &e)
	require.ErrorContains(t, err, "service live: ssm: interface")
	require.Empty(t, b.Services.All())
	require.Empty(t, b.Store.Services())

	_, err = b.Services.Add(live(one))
	require.NoError(t, err)
	require.ErrorAs(t, b.Services.Change(live(bad)), &e)
	s.to(one)
	pass(t, s, b)
	require.Equal(t, one.String(), status(t, b).Source.Address)
}

// Parents come and go while the session is received on.
func TestChangeOfParents(t *testing.T) {
	asked := make(chan string, 100)
	above := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		w.Header().Set("ETag", `"00000000000003e8"`)
		_, _ = io.WriteString(w, "from above")
	}))
	defer above.Close()
	s, b := newSender(t), newBase(t, config.Cache{}, lossy.Config{})
	session := newSession(t)
	x, err := b.Services.Add(live(session))
	require.NoError(t, err)
	s.to(session)
	pass(t, s, b)
	socket := x.receptions[0]
	_, err = x.Open(t.Context(), "other.bin")
	require.ErrorIs(t, err, service.ErrNotFound)

	require.NoError(t, b.Services.Change(live(session, above.URL)))
	o, err := x.Open(t.Context(), "other.bin")
	require.NoError(t, err)
	require.Equal(t, uint64(1000), o.Meta().Generation)
	require.Equal(t, "/live/other.bin", <-asked)
	body, err := read(b, "other.bin")
	require.NoError(t, err)
	require.Equal(t, "from above", body)
	st := status(t, b)
	require.Equal(t, uint64(1), st.ObjectsFallback)
	require.Equal(t, uint64(len("from above")), st.FallbackOctets)

	require.NoError(t, b.Services.Change(live(session)))
	_, err = x.Open(t.Context(), "third.bin")
	require.ErrorIs(t, err, service.ErrNotFound)
	require.Same(t, socket, x.receptions[0])
	pass(t, s, b)
}

func TestCacheKeyIsTurned(t *testing.T) {
	s := newSender(t)
	b := newBase(t, config.Cache{Disk: config.Disk{Dir: config.Path(t.TempDir()), Size: 1 << 30}}, lossy.Config{})
	session := newSession(t)
	c := live(session)
	c.CacheKey = config.NewCacheKey([32]byte{1})
	_, err := b.Services.Add(c)
	require.NoError(t, err)
	s.to(session)
	want := map[string]string{}
	send := func() {
		for range 30 { // more than the memory tier holds
			name, body := s.send()
			want[name] = body
			_, err := read(b, name)
			require.NoError(t, err)
			require.NoError(t, b.Store.Flush(t.Context()))
		}
	}
	send()
	c.CacheKey = config.NewCacheKey([32]byte{2})
	require.NoError(t, b.Services.Change(c))
	send()
	require.Less(t, b.Store.Stats().Memory.Objects, len(want), "nothing has gone to the disk")
	for name, body := range want {
		got, err := read(b, name)
		require.NoError(t, err, name)
		require.Equal(t, body, got, name)
	}
}

// What is on disk outlives the process, whatever the number of times that the key was turned before.
func TestRestartAfterTheKeyWasTurned(t *testing.T) {
	s, session := newSender(t), newSession(t)
	disk := config.Disk{Dir: config.Path(t.TempDir()), Size: 1 << 30}
	turned := func(key byte) config.Service {
		c := live(session)
		c.CacheKey = config.NewCacheKey([32]byte{key})
		return c
	}
	begin := func(key byte) *Base {
		b := newBase(t, config.Cache{Disk: disk}, lossy.Config{})
		_, err := b.Services.Add(turned(key))
		require.NoError(t, err)
		require.NoError(t, b.Store.Flush(t.Context()))
		return b
	}
	s.to(session)
	sealed := map[string]byte{} // by which key
	want := map[string]string{}
	send := func(b *Base, key byte) {
		for range 3 {
			name, body := s.send()
			sealed[name], want[name] = key, body
			_, err := read(b, name)
			require.NoError(t, err)
		}
	}
	has := func(b *Base, keys ...byte) {
		t.Helper()
		for name, body := range want {
			_, ok := b.Store.Lookup(cache.Key{Service: "live", Name: name})
			require.Equal(t, slices.Contains(keys, sealed[name]), ok, name)
			if ok {
				got, err := read(b, name)
				require.NoError(t, err)
				require.Equal(t, body, got)
			}
		}
	}

	b := begin(1)
	send(b, 1)
	require.NoError(t, b.Store.Flush(t.Context()))
	require.NoError(t, b.Services.Change(turned(2)))
	send(b, 2)
	has(b, 1, 2)
	require.NoError(t, b.Close())

	b = begin(2)
	has(b, 2) // nobody has told the first key
	require.Equal(t, 3, b.Store.Stats().ForeignFiles)
	send(b, 2)
	has(b, 2)
	require.NoError(t, b.Close())

	// Told both, one after the other, it reads what either sealed, before each of the restarts.
	b = begin(1)
	has(b, 1)
	require.NoError(t, b.Services.Change(turned(2)))
	require.NoError(t, b.Store.Flush(t.Context()))
	has(b, 1, 2)
	require.Zero(t, b.Store.Stats().ForeignFiles)
	require.Zero(t, b.Store.Stats().AuthenticationFail)
}

// Without a key one is drawn, so that the disk is of use while the process lives.
func TestDiskWithoutAKey(t *testing.T) {
	s := newSender(t)
	b := newBase(t, config.Cache{Disk: config.Disk{Dir: config.Path(t.TempDir()), Size: 1 << 30}}, lossy.Config{})
	session := newSession(t)
	_, err := b.Services.Add(live(session))
	require.NoError(t, err)
	s.to(session)
	pass(t, s, b)
	require.NoError(t, b.Store.Flush(t.Context()))
	require.NotZero(t, b.Store.Stats().Disk.Objects)
}

func TestStatusOfLoss(t *testing.T) {
	// With this seed the first packet comes, which is signalling. Without it the repair packets of the first object would
	// come too early to be understood.
	s, b := newSender(t), newBase(t, config.Cache{}, lossy.Config{Random: 0.1, Seed: 2})
	session := newSession(t)
	_, err := b.Services.Add(live(session))
	require.NoError(t, err)
	s.to(session)
	for range 10 {
		pass(t, s, b)
	}
	st := status(t, b)
	require.Equal(t, uint64(10), st.Objects)
	require.NotZero(t, b.Injected())
	// A packet may be late for some time before it counts as lost.
	require.Eventually(t, func() bool { return status(t, b).PacketsLost > 0 }, 5*time.Second, 20*time.Millisecond)
	require.NotZero(t, st.ObjectsFEC)
	require.Zero(t, st.ObjectsRepair+st.ObjectsFallback)
	require.Equal(t, uint64(500_000), st.Octets)
	require.NotZero(t, st.FECOctets)
	require.InDelta(t, st.Octets, st.SourceOctets+st.FECOctets, 10_000, "signalling comes in source packets, too")
	require.Equal(t, uint64(10), st.Latency.Count)
	require.NotZero(t, st.Latency.Max)
	require.Less(t, st.Latency.Max, time.Minute)
	require.Len(t, st.Limits, 1)
	require.Equal(t, uint64(maxMemory), st.Limits[0].Max)
	require.LessOrEqual(t, st.Limits[0].Used, st.Limits[0].Max)
}

// What a session that was replaced has not brought to its end is lost, and counts where it is looked for.
func TestStatusOfASessionThatWasLeft(t *testing.T) {
	s, b := newSender(t), newBase(t, config.Cache{}, lossy.Config{})
	session := newSession(t)
	x, err := b.Services.Add(live(session))
	require.NoError(t, err)
	s.to(session)
	pass(t, s, b)
	o, err := s.svc.Begin(service.Meta{Name: "half.bin", Generation: 100, Kind: service.Other, Length: -1})
	require.NoError(t, err)
	require.NoError(t, o.Write(make([]byte, 5000), true))
	require.Eventually(t, func() bool { return x.Has("half.bin") }, 5*time.Second, 2*time.Millisecond)
	require.Zero(t, status(t, b).ObjectsLost)
	x.leave(x.receptions[0], 100*time.Millisecond)
	st := status(t, b)
	require.EqualValues(t, 1, st.ObjectsLost)
	require.EqualValues(t, 1, st.ObjectsLostBy["left"])
	require.EqualValues(t, 1, st.Objects)
}
