package parent_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/edge"
	"github.com/treedn/treedn/internal/memnet"
	"github.com/treedn/treedn/internal/parent"
	"github.com/treedn/treedn/internal/service"
)

const name = "v-00001.m4s"

// node is a parent: its service, its server and its host.
type node struct {
	*memnet.Host
	svc      *service.Service
	requests int
	o        *service.Object
	http     *http.Server

	mu      sync.Mutex   // guards below and requests
	instead http.Handler // of what a node does; nil: nothing is
}

func newNode(t *testing.T, network *memnet.Network, address string) *node {
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	n := &node{Host: network.Host(address), svc: service.New(service.Config{Name: "live", Store: store})}
	h := edge.New(edge.Config{Store: store, Services: func(string) *service.Service { return n.svc }, Via: address})
	n.http = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		n.requests++
		serve := n.instead
		n.mu.Unlock()
		if serve == nil {
			serve = h
		}
		serve.ServeHTTP(w, r)
	})}
	n.listen()
	t.Cleanup(func() { n.http.Close(); n.Kill(); store.Close() })
	return n
}

func (n *node) listen() { go n.http.Serve(n.Listen()) }

func (n *node) asked() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.requests
}

func (n *node) begin(t *testing.T, generation uint64) {
	var err error
	n.o, err = n.svc.Begin(service.Meta{Name: name, Generation: generation, Kind: service.Media})
	require.NoError(t, err)
}

func (n *node) write(t *testing.T, p string) { require.NoError(t, n.o.Write([]byte(p), true)) }

// sink notes what comes and when.
type sink struct {
	mu   sync.Mutex // guards below
	b    bytes.Buffer
	at   time.Time
	meta service.Meta
	n    int    // of begins
	bad  string // octets that are refused, once
}

func (s *sink) begin(m service.Meta) (io.Writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meta = m
	s.n++
	return s, nil
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := bytes.Index(p, []byte(s.bad)); s.bad != "" && i >= 0 {
		s.bad = ""
		s.b.Write(p[:i])
		return i, &service.MismatchError{Offset: int64(s.b.Len())}
	}
	s.at = time.Now()
	return s.b.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *sink) when() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func newClient(t *testing.T, network *memnet.Network, addresses ...string) *parent.Client {
	c := parent.New(parent.Config{Node: "child", Dial: network.DialContext})
	t.Cleanup(c.Close)
	var urls []*url.URL
	for _, a := range addresses {
		urls = append(urls, &url.URL{Scheme: "http", Host: a})
	}
	require.NoError(t, c.SetParents(urls))
	return c
}

// fetch begins to fetch the object.
func fetch(ctx context.Context, c *parent.Client, r service.Request) (*sink, chan error) {
	s, done := &sink{}, make(chan error, 1)
	r.Service, r.Name = "live", name
	go func() { done <- c.Fetch(ctx, r, s.begin) }()
	return s, done
}

func patient(t *testing.T) context.Context { return service.WithPatience(t.Context(), time.Minute) }

// both runs f in virtual time with parents a and b, of which both have the first octets of an object, and a child that
// has them from a.
func both(t *testing.T, f func(t *testing.T, a, b *node, c *parent.Client, s *sink, done chan error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		a, b := newNode(t, &network, "a:80"), newNode(t, &network, "b:80")
		for _, n := range []*node{a, b} {
			n.begin(t, 5)
			n.write(t, "one ")
		}
		c := newClient(t, &network, "a:80", "b:80")
		ctx, cancel := context.WithCancel(patient(t))
		defer cancel()
		s, done := fetch(ctx, c, service.Request{Persist: true})
		synctest.Wait()
		require.Equal(t, "one ", s.String())
		require.Zero(t, b.asked())
		f(t, a, b, c, s, done)
		require.Equal(t, 1, s.n)
		require.EqualValues(t, 5, s.meta.Generation)
	})
}

func TestParentThatIsKilled(t *testing.T) {
	both(t, func(t *testing.T, a, b *node, c *parent.Client, s *sink, done chan error) {
		begun := time.Now()
		a.Kill()
		b.write(t, "two ")
		synctest.Wait()
		require.Equal(t, "one two ", s.String())
		require.Zero(t, time.Since(begun), "who is refused asks the next at once")
		b.write(t, "three")
		require.NoError(t, b.o.Commit())
		require.NoError(t, <-done)
		require.Equal(t, "one two three", s.String())
		require.Equal(t, 1, b.asked())
		_, ended := fetch(patient(t), c, service.Request{})
		require.NoError(t, <-ended)
		current, why := c.Current()
		require.Equal(t, "b:80", current.Host)
		require.Contains(t, why, "a:80 does not answer")

		a.listen()
		time.Sleep(time.Second)
		current, why = c.Current()
		require.Equal(t, "a:80", current.Host, "it is tried again")
		require.Empty(t, why)
	})
}

func TestParentThatIsCutOff(t *testing.T) {
	both(t, func(t *testing.T, a, b *node, c *parent.Client, s *sink, done chan error) {
		begun := time.Now()
		a.Cut()
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			b.write(t, "x")
		}
		require.NoError(t, b.o.Commit())
		require.NoError(t, <-done)
		require.Len(t, s.String(), 24)
		s.mu.Lock()
		at := s.at
		s.mu.Unlock()
		require.LessOrEqual(t, at.Sub(begun), 2100*time.Millisecond)
		require.LessOrEqual(t, b.asked(), 2)
	})
}

// One that lives and has nothing more is left for one that has, but not at once, and is asked again after a time.
func TestParentThatIsBehind(t *testing.T) {
	both(t, func(t *testing.T, a, b *node, c *parent.Client, s *sink, done chan error) {
		begun := time.Now()
		for range 30 {
			time.Sleep(100 * time.Millisecond)
			b.write(t, "x")
			if b.asked() == 0 {
				require.Less(t, time.Since(begun), 1600*time.Millisecond)
			}
		}
		require.Greater(t, b.asked(), 0)
		require.LessOrEqual(t, a.asked(), 2)
		require.NoError(t, b.o.Commit())
		require.NoError(t, <-done)
		_, why := c.Current()
		require.Contains(t, why, "a:80 is behind")
		time.Sleep(3 * time.Second)
		_, why = c.Current()
		require.Empty(t, why)
	})
}

// While the source makes a pause both parents have the same. The first in the list stays the one that is asked.
func TestPauseOfTheSource(t *testing.T) {
	both(t, func(t *testing.T, a, b *node, c *parent.Client, s *sink, done chan error) {
		time.Sleep(8 * time.Second)
		require.LessOrEqual(t, a.asked(), 3)
		require.LessOrEqual(t, b.asked(), 1)
		b.write(t, "two ") // a little nearer to the source
		time.Sleep(20 * time.Millisecond)
		a.write(t, "two ")
		time.Sleep(300 * time.Millisecond)
		asked := b.asked()
		for range 5 {
			time.Sleep(50 * time.Millisecond)
			b.write(t, "x")
			a.write(t, "x")
		}
		require.NoError(t, a.o.Commit())
		require.NoError(t, <-done)
		require.Equal(t, "one two xxxxx", s.String())
		require.Equal(t, asked, b.asked())
		current, why := c.Current()
		require.Equal(t, "a:80", current.Host)
		require.Empty(t, why)
	})
}

func TestParentThatLies(t *testing.T) {
	both(t, func(t *testing.T, a, b *node, c *parent.Client, s *sink, done chan error) {
		s.mu.Lock()
		s.bad = "lie"
		s.mu.Unlock()
		a.write(t, "a lie")
		b.write(t, "a truth")
		synctest.Wait()
		require.Equal(t, "one a truth", s.String())
		require.NoError(t, b.o.Commit())
		require.NoError(t, <-done)
		current, why := c.Current()
		require.Equal(t, "b:80", current.Host)
		require.Contains(t, why, "a:80 gave wrong octets")
		time.Sleep(11 * time.Second)
		current, _ = c.Current()
		require.Equal(t, "a:80", current.Host, "it is tried again")
	})
}

// The end of an object may be a lie, too: it is then the writer's word that counts.
func TestParentThatEndsAnObjectEarly(t *testing.T) {
	both(t, func(t *testing.T, a, b *node, c *parent.Client, s *sink, done chan error) {
		b.write(t, "two")
		require.NoError(t, b.o.Commit())
		a.Kill()
		require.NoError(t, <-done)
		require.Equal(t, "one two", s.String())
	})
}

// After a cut the child is back within half a second, however long the cut was.
func TestOnlyParentIsCutOff(t *testing.T) {
	for _, cut := range []time.Duration{time.Second, 5 * time.Second, 14 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var network memnet.Network
			a := newNode(t, &network, "a:80")
			a.begin(t, 5)
			a.write(t, "one ")
			c := newClient(t, &network, "a:80")
			s, done := fetch(patient(t), c, service.Request{Persist: true})
			synctest.Wait()
			a.Cut()
			a.write(t, "two")
			require.NoError(t, a.o.Commit())
			time.Sleep(cut)
			require.Equal(t, "one ", s.String())
			dials := a.Dials()
			require.LessOrEqual(t, dials, 10+int(cut/(120*time.Millisecond)))
			a.Heal()
			healed := time.Now()
			require.NoError(t, <-done)
			require.Equal(t, "one two", s.String())
			require.Less(t, time.Since(healed), 300*time.Millisecond)
		})
	}
}

// Of many requests that a parent leaves without a word each finds it dead, sooner or later, some of them after it has come
// back. That is one fault.
func TestManyRequestsToAParentThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		a := newNode(t, &network, "a:80")
		a.begin(t, 5)
		a.write(t, "one ")
		c := newClient(t, &network, "a:80")
		var all []chan error
		ask := func() {
			_, done := fetch(patient(t), c, service.Request{Persist: true})
			all = append(all, done)
		}
		for range 4 {
			ask()
		}
		synctest.Wait()
		a.Cut()
		a.write(t, "two")
		require.NoError(t, a.o.Commit())
		for range 12 {
			time.Sleep(300 * time.Millisecond)
			ask()
		}
		a.Heal()
		healed := time.Now()
		for _, done := range all {
			require.NoError(t, <-done)
		}
		require.Less(t, time.Since(healed), 300*time.Millisecond)
	})
}

// A request for what is about to come waits at a parent that lives; nobody else is asked meanwhile.
func TestParentThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		a, b := newNode(t, &network, "a:80"), newNode(t, &network, "b:80")
		for _, n := range []*node{a, b} {
			require.NoError(t, n.svc.PutManifest(service.Meta{Name: "v.m3u8", Generation: 1},
				[]byte("#EXTM3U\n#EXT-X-TARGETDURATION:8\n#EXTINF:8,\nv-00000.m4s\n")))
		}
		c := newClient(t, &network, "a:80", "b:80")
		s, done := fetch(patient(t), c, service.Request{Expect: 5 * time.Second})
		time.Sleep(5 * time.Second)
		require.Equal(t, 1, a.asked())
		require.Zero(t, b.asked())
		a.begin(t, 7)
		a.write(t, "here")
		require.NoError(t, a.o.Commit())
		require.NoError(t, <-done)
		require.Equal(t, "here", s.String())

		// A manifest is waited for until it is another one.
		changed := make(chan error, 1)
		go func() {
			changed <- c.Fetch(patient(t), service.Request{Service: "live", Name: "v.m3u8", After: 1, Expect: time.Minute}, (&sink{}).begin)
		}()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		require.Empty(t, changed)
		require.NoError(t, a.svc.PutManifest(service.Meta{Name: "v.m3u8", Generation: 2}, []byte("#EXTM3U\n")))
		require.NoError(t, <-changed)
		require.Equal(t, 2, a.asked())
		begun := time.Now()
		ctx := service.WithPatience(t.Context(), 3*time.Second)
		require.ErrorIs(t, c.Fetch(ctx, service.Request{Service: "live", Name: "v.m3u8", After: 2}, nil), service.ErrUnchanged)
		require.Equal(t, 3*time.Second, time.Since(begun))
	})
}

func TestNobodyIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		c := newClient(t, &network, "a:80", "b:80")
		begun := time.Now()
		_, done := fetch(t.Context(), c, service.Request{})
		require.Error(t, <-done)
		require.Zero(t, time.Since(begun))
		current, why := c.Current()
		require.Nil(t, current)
		require.Contains(t, why, "a:80")
		require.Contains(t, why, "b:80")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, done = fetch(ctx, c, service.Request{Persist: true})
		require.ErrorIs(t, <-done, context.DeadlineExceeded)
		require.Less(t, network.Host("a:80").Dials(), 150)
	})
}

// The octets that are here already are not fetched again.
func TestFetchFromAnOffset(t *testing.T) {
	both(t, func(t *testing.T, a, b *node, c *parent.Client, s *sink, done chan error) {
		for _, n := range []*node{a, b} {
			n.write(t, "two")
			require.NoError(t, n.o.Commit())
		}
		require.NoError(t, <-done)
		before := c.Octets()
		rest, ended := fetch(patient(t), c, service.Request{Offset: 4, Generation: 5})
		require.NoError(t, <-ended)
		require.Equal(t, "two", rest.String())
		require.EqualValues(t, 3, c.Octets()-before)
		none, ended := fetch(patient(t), c, service.Request{Offset: 7, Generation: 5})
		require.NoError(t, <-ended)
		require.Equal(t, 1, none.n)
		require.Empty(t, none.String())
		_, ended = fetch(patient(t), c, service.Request{Offset: 4, Generation: 4})
		require.ErrorIs(t, <-ended, service.ErrChanged)
	})
}
