package parent_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/repair"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/memnet"
	"github.com/treedn/treedn/internal/parent"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
)

// shelf has one object, and not all of it at first.
type shelf struct {
	body  []byte
	whole time.Time // when all of it can be read
	have  int64     // before that
}

func (s *shelf) Lookup(context.Context, repair.ObjectID) (repair.Object, error) { return s, nil }
func (s *shelf) LookupName(context.Context, string) (repair.Object, error)      { return s, nil }
func (s *shelf) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(s.body).ReadAt(p, off)
}
func (s *shelf) Info() repair.Info {
	x := repair.Info{Name: name, ETag: parent.ETag(5), Prefix: int64(len(s.body)), Length: int64(len(s.body))}
	if time.Now().Before(s.whole) {
		x.Prefix, x.Length = s.have, -1
	}
	return x
}

// counter counts what passes a server.
type counter struct {
	next http.Handler

	mu     sync.Mutex // guards below
	at     []time.Time
	octets int
}

type counted struct {
	http.ResponseWriter
	c *counter
}

func (w counted) Write(p []byte) (int, error) {
	w.c.mu.Lock()
	w.c.octets += len(p)
	w.c.mu.Unlock()
	return w.ResponseWriter.Write(p)
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.at = append(c.at, time.Now())
	c.mu.Unlock()
	c.next.ServeHTTP(counted{w, c}, r)
}

// most is the largest number of requests within a time.
func (c *counter) most(within time.Duration) (most int) {
	slices.SortFunc(c.at, time.Time.Compare)
	first := 0
	for i, at := range c.at {
		for at.Sub(c.at[first]) >= within {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// many is a thousand. The race detector, for which tests are short, cannot have so many goroutines.
func many() int {
	if testing.Short() {
		return 200
	}
	return 1000
}

// A thousand children of one node lose the same packets in the same instant. Each asks once for all that it lacks, and not
// all of them at a time; the parent that lacks them, too, is not asked again at once.
func TestThousandChildrenLoseTheSamePackets(t *testing.T) {
	const packet, packets = 1400, 100
	children := many()
	lost := []route.Range{{Start: 3 * packet, End: 9 * packet}, {Start: 20 * packet, End: 21 * packet}, {Start: 22 * packet, End: 26 * packet}}
	missing := 0
	for _, r := range lost {
		missing += int(r.End - r.Start)
	}
	for test, c := range map[string]struct {
		lacks    time.Duration // for so long the parent lacks them, too
		requests int           // of one child
	}{
		"the parent has them":       {0, 1},
		"the parent gets them late": {250 * time.Millisecond, 2},
	} {
		t.Run(test, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := make([]byte, packets*packet)
				_, _ = rand.NewChaCha8([32]byte{7}).Read(body)
				var network memnet.Network
				host := network.Host("parent:80")
				n := &counter{next: &repair.Handler{Backend: &shelf{body, time.Now().Add(c.lacks), 3 * packet}}}
				server := &http.Server{Handler: n}
				go server.Serve(host.Listen())
				defer func() { server.Close(); host.Kill() }()
				begun := time.Now()
				var group sync.WaitGroup
				for range children {
					client := newClient(t, &network, "parent:80")
					group.Go(func() {
						want := ingress.Wanted{
							Session: route.Session{Source: netip.MustParseAddr("10.0.0.1"), Group: netip.MustParseAddr("232.0.0.1"), Port: 6000},
							TSI:     1, TOI: 1, Service: "live", Name: name, Generation: 5, Missing: lost,
						}
						got := 0
						err := client.Repair(t.Context(), want, func(off int64, p []byte, _ int64) error {
							if !bytes.Equal(p, body[off:off+int64(len(p))]) {
								return context.Canceled
							}
							got += len(p)
							return nil
						})
						if err != nil || got != missing {
							t.Errorf("%d octets of %d: %v", got, missing, err)
						}
					})
				}
				group.Wait()
				t.Logf("%d requests, at most %d in 5 ms, %.3f octets for each that was lost, %v in all",
					len(n.at), n.most(5*time.Millisecond), float64(n.octets)/float64(children*missing), time.Since(begun))
				require.LessOrEqual(t, len(n.at), c.requests*children)
				require.LessOrEqual(t, n.most(5*time.Millisecond), children*2/5) // the times are drawn
				require.LessOrEqual(t, n.octets, children*missing*105/100)
			})
		})
	}
}

// A thousand children whose only parent dies look whether it is back, and ask it for each object once when it is.
func TestThousandChildrenOfAParentThatDies(t *testing.T) {
	children := many()
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		a := newNode(t, &network, "a:80")
		a.begin(t, 5)
		a.write(t, "one ")
		var sinks []*sink
		var all []chan error
		for range children {
			s, done := fetch(patient(t), newClient(t, &network, "a:80"), service.Request{Persist: true})
			sinks, all = append(sinks, s), append(all, done)
		}
		synctest.Wait()
		asked := a.asked()
		require.LessOrEqual(t, asked, children)
		a.Cut()
		a.write(t, "two")
		require.NoError(t, a.o.Commit())
		dials := a.Dials()
		const outage = 10 * time.Second
		time.Sleep(outage)
		dials = a.Dials() - dials
		a.Heal()
		healed := time.Now()
		for i, done := range all {
			require.NoError(t, <-done)
			require.Equal(t, "one two", sinks[i].String())
		}
		t.Logf("%.1f attempts to connect a second and child; %d requests afterwards, all served after %v",
			float64(dials)/outage.Seconds()/float64(children), a.asked()-asked, time.Since(healed))
		require.LessOrEqual(t, dials, 8*children*int(outage/time.Second))
		require.LessOrEqual(t, a.asked()-asked, 2*children)
		require.Less(t, time.Since(healed), time.Second)
	})
}
