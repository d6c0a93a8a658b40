package repair

import (
	"context"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// stampede simulates, in virtual time, receivers that lose the same packets in the same instant and ask one server, which
// serves so many requests a second and refuses the others.
type stampede struct {
	receivers  int
	perSecond  int // served in each second; 0: all
	retryAfter time.Duration
	random     *rand.Rand

	// first returns when a receiver asks first; again when it asks after a refusal, and whether it does.
	first func(id int32) time.Duration
	again func(id int32, now, asked time.Duration) (time.Duration, bool)

	arrivals []int // in each tenth of a second
	served   int
	lost     int // receivers that gave up
	last     time.Duration
	queue    []arrival // a heap
}

type arrival struct {
	at time.Duration
	id int32
}

const tick = 100 * time.Millisecond

func (s *stampede) push(a arrival) {
	q := append(s.queue, a)
	i := len(q) - 1
	for i > 0 && q[(i-1)/2].at > a.at {
		q[i] = q[(i-1)/2]
		i = (i - 1) / 2
	}
	q[i] = a
	s.queue = q
}

func (s *stampede) pop() arrival {
	q := s.queue
	top, end := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	i := 0
	for len(q) > 0 {
		child := 2*i + 1
		if child >= len(q) {
			break
		}
		if child+1 < len(q) && q[child+1].at < q[child].at {
			child++
		}
		if q[child].at >= end.at {
			break
		}
		q[i] = q[child]
		i = child
	}
	if len(q) > 0 {
		q[i] = end
	}
	s.queue = q
	return top
}

func (s *stampede) run() {
	s.queue = make([]arrival, 0, s.receivers)
	for id := range int32(s.receivers) {
		s.push(arrival{s.first(id), id})
	}
	var second time.Duration
	left := s.perSecond
	for len(s.queue) > 0 {
		a := s.pop()
		for int(a.at/tick) >= len(s.arrivals) {
			s.arrivals = append(s.arrivals, 0)
		}
		s.arrivals[a.at/tick]++
		if now := a.at.Truncate(time.Second); now != second {
			second, left = now, s.perSecond
		}
		if s.perSecond == 0 || left > 0 {
			left--
			s.served++
			s.last = a.at
			continue
		}
		// As Handler does.
		asked := s.retryAfter + time.Duration(s.random.Float64()*float64(s.retryAfter))
		if at, ok := s.again(a.id, a.at, asked); ok {
			s.push(arrival{at, a.id})
		} else {
			s.lost++
		}
	}
}

// peak returns the most arrivals in a second.
func (s *stampede) peak() (peak int) {
	const n = int(time.Second / tick)
	sum := 0
	for i, a := range s.arrivals {
		if sum += a; i >= n {
			sum -= s.arrivals[i-n]
		}
		peak = max(peak, sum)
	}
	return peak
}

func (s *stampede) requests() (sum int) {
	for _, a := range s.arrivals {
		sum += a
	}
	return sum
}

// byRules uses the rules of Plan without its memory for each object, so that there is room for many.
func (s *stampede) byRules(w Window, r Retry, attempts int) {
	failures := make([]uint8, s.receivers)
	s.first = func(int32) time.Duration { return w.Draw(s.random.Float64()) }
	s.again = func(id int32, now, asked time.Duration) (time.Duration, bool) {
		failures[id]++
		return now + r.Draw(int(failures[id]), asked, s.random.Float64()), int(failures[id]) < attempts
	}
}

// byPlans uses a Plan for each receiver.
func (s *stampede) byPlans(t *testing.T, w Window, r Retry, attempts int) {
	plans := make([]*Plan, s.receivers)
	procedure := Procedure{Window: w, Sources: []Source{{URL: "http://server/"}}}
	s.first = func(id int32) time.Duration {
		var err error
		plans[id], err = NewPlan(PlanConfig{
			Procedure: procedure, Missing: []Range{{0, 1000}}, Start: planStart, Retry: r, Attempts: attempts, Rand: s.random.Float64,
		})
		require.NoError(t, err)
		at, _ := plans[id].Timeout()
		return at.Sub(planStart)
	}
	s.again = func(id int32, now, asked time.Duration) (time.Duration, bool) {
		at := planStart.Add(now)
		if _, ok := plans[id].Poll(at); !ok {
			t.Fatal("a receiver asks before its time")
		}
		plans[id].Answered(at, Outcome{Err: &StatusError{503}, RetryAfter: asked, Length: -1})
		next, ok := plans[id].Timeout()
		return next.Sub(planStart), ok
	}
}

// uniform bounds the most of n random times that fall in a part of a window: the mean and six standard deviations, and
// what the sliding of the part can add.
func uniform(n int, part, window time.Duration) int {
	mean := float64(n) * min(1, float64(part)/float64(window))
	return int(mean + 6*math.Sqrt(mean) + 1)
}

// million is how many receivers there are; the race detector, for which tests are short, gets fewer.
func million() int {
	if testing.Short() {
		return 50_000
	}
	return 1_000_000
}

func TestMillionReceiversInTheWindowsOfTheStandards(t *testing.T) {
	million := million()
	for name, w := range map[string]Window{
		"MBMS: offsetTime 5 s, randomTimePeriod 60 s":         {5 * time.Second, 60 * time.Second},
		"ATSC: offsetTime 0, randomTimePeriod 10 s":           {0, 10 * time.Second},
		"DVB: fixedBackOff 500 ms, randomBackOffPeriod 2.5 s": {500 * time.Millisecond, 2500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			s := stampede{receivers: million, random: rand.New(rand.NewPCG(1, 1))}
			s.byRules(w, Retry{}, 3)
			s.run()
			t.Logf("at most %d requests in a second; without a window it is %d", s.peak(), million)
			require.LessOrEqual(t, s.peak(), uniform(million, time.Second, w.Random))
			require.Equal(t, million, s.served)
			require.Equal(t, million, s.requests(), "each asks once")
			for i := range int(w.Offset / tick) {
				require.Zero(t, s.arrivals[i], "nobody before the offset")
			}
			require.LessOrEqual(t, s.last, w.Offset+w.Random)
		})
	}
}

// A server that can do less than the window promises refuses; those refused spread, so that it is never asked by more than
// the window lets through and what returns, and it works to capacity until all are served.
func TestMillionReceiversAndAServerThatCannotKeepUp(t *testing.T) {
	million := million()
	capacity := million / 25 // a second: 25 s of work
	for name, c := range map[string]struct {
		window Window
		bound  int // requests in a second
	}{
		"a window of 10 s":       {Window{0, 10 * time.Second}, 2 * million / 10},
		"no window, all at once": {Window{}, million},
	} {
		t.Run(name, func(t *testing.T) {
			s := stampede{receivers: million, perSecond: capacity, retryAfter: 2 * time.Second, random: rand.New(rand.NewPCG(2, 2))}
			s.byRules(c.window, Retry{Wait: time.Second, Max: 30 * time.Second}, 16)
			s.run()
			t.Logf("at most %d requests in a second, %.2f for each receiver, the last one served after %v", s.peak(),
				float64(s.requests())/float64(million), s.last)
			require.Zero(t, s.lost)
			require.Equal(t, million, s.served)
			require.LessOrEqual(t, s.peak(), c.bound)
			require.LessOrEqual(t, s.requests(), 5*million)
			require.LessOrEqual(t, s.last, 4*25*time.Second)
			// After the first second no more than a third ever comes in one.
			later := stampede{arrivals: s.arrivals[10:]}
			require.LessOrEqual(t, later.peak(), million/3)
		})
	}
}

// The rules that the simulation uses and Plan are the same.
func TestStampedeOfPlans(t *testing.T) {
	window, retry := Window{time.Second, 10 * time.Second}, Retry{Wait: time.Second, Max: 30 * time.Second}
	run := func(set func(*stampede)) *stampede {
		s := &stampede{receivers: 20_000, perSecond: 800, retryAfter: 2 * time.Second, random: rand.New(rand.NewPCG(5, 5))}
		set(s)
		s.run()
		return s
	}
	rules := run(func(s *stampede) { s.byRules(window, retry, 16) })
	plans := run(func(s *stampede) { s.byPlans(t, window, retry, 16) })
	require.Equal(t, rules.served, plans.served)
	require.InEpsilon(t, rules.requests(), plans.requests(), 0.03)
	require.InEpsilon(t, rules.peak(), plans.peak(), 0.1)
	require.InEpsilon(t, rules.last.Seconds(), plans.last.Seconds(), 0.25)
}

// A tree: nodes between the source and the receivers lose the same packets, ask the source once each with a short window, and
// serve their receivers from what they have got. What the source has to do depends on the number of nodes alone.
func TestMillionReceiversBehindATree(t *testing.T) {
	const nodes = 1000
	window := Window{5 * time.Millisecond, 30 * time.Millisecond}
	retry := Retry{Wait: 100 * time.Millisecond, Max: 2 * time.Second}
	const rtt = 20 * time.Millisecond
	for _, receivers := range []int{10_000, 100_000, million()} {
		random := rand.New(rand.NewPCG(7, 7))
		var source [1000]int // requests in each millisecond
		ready := make([]time.Duration, nodes)
		for i := range ready {
			at := window.Draw(random.Float64())
			source[at/time.Millisecond]++
			ready[i] = at + rtt
		}
		var atNodes, most int
		inWindow := make(map[int]int) // of one node, in 5 ms
		for i := range receivers {
			node := i % nodes
			at := window.Draw(random.Float64())
			for failures := 0; ; {
				atNodes++
				if node == 0 {
					inWindow[int(at/(5*time.Millisecond))]++
				}
				if at >= ready[node] {
					break
				}
				failures++ // 425
				at += retry.Draw(failures, 0, random.Float64())
			}
		}
		for _, n := range inWindow {
			most = max(most, n)
		}
		sum, peak := 0, 0
		for _, n := range source {
			sum += n
			peak = max(peak, n)
		}
		t.Logf("%d receivers: %d requests at the source, at most %d in 1 ms; %.2f for each receiver at the nodes, at most %d in 5 ms at one",
			receivers, sum, peak, float64(atNodes)/float64(receivers), most)
		require.Equal(t, nodes, sum, "whatever the number of receivers")
		require.LessOrEqual(t, peak, uniform(nodes, time.Millisecond, window.Random))
		require.LessOrEqual(t, atNodes, 2*receivers)
		require.LessOrEqual(t, most, uniform(receivers/nodes, 5*time.Millisecond, window.Random)+receivers/nodes/10)
	}
}

// handlerTransport is a network without sockets.
type handlerTransport struct{ handler http.Handler }

func (h handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// pulling is the backend of a node that asks its parent for what it lacks.
type pulling struct {
	Backend
	client *Client
}

func (p pulling) Lookup(ctx context.Context, id ObjectID) (Object, error) {
	a, err := p.client.Fetch(ctx, Request{ID: id})
	if err != nil {
		return nil, err
	}
	o := newFakeObject(0)
	o.data = a.Parts[0].Data
	return o, nil
}

// With the real server and client: requests that come to a node together are one request to its parent.
func TestNodeCoalescesItsReceivers(t *testing.T) {
	const receivers = 1000
	synctest.Test(t, func(t *testing.T) {
		source := &Handler{Backend: serving(newFakeObject(5000)), NodeID: "source"}
		client, err := NewClient(Config{
			Parents: []Parent{{URL: "http://source"}}, NodeID: "relay", Transport: handlerTransport{source},
			BackOff: 5 * time.Millisecond, BackOffWindow: 30 * time.Millisecond,
		})
		require.NoError(t, err)
		defer client.Close()
		relay := &Handler{Backend: pulling{client: client}, NodeID: "relay", MaxConcurrent: -1, MaxPerPeer: -1}
		var wg sync.WaitGroup
		for range receivers {
			wg.Go(func() {
				w := get(relay, testPath, "Range", "bytes=100-199")
				if w.Code != 206 || w.Body.Len() != 100 {
					t.Errorf("status %d, %d octets", w.Code, w.Body.Len())
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, source.Stats().Requests)
		require.EqualValues(t, receivers, relay.Stats().Requests)
		require.EqualValues(t, receivers-1, client.Stats().Coalesced)
	})
}
