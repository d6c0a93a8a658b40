package repair

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var planStart = time.Unix(1_800_000_000, 0)

// half is a Rand that always draws the middle.
func half() float64 { return 0.5 }

func TestPlanInOrder(t *testing.T) {
	p, err := NewPlan(PlanConfig{
		Procedure: Procedure{
			Window: Window{4 * time.Second, 4 * time.Second},
			Sources: []Source{
				{URL: "http://second/", Tier: 1},
				{URL: "http://first/"},
				{URL: "http://gone/", Until: planStart.Add(5 * time.Second)},
				{URL: "http://service?fileURI=a", Form: Symbols, Tier: 2},
			},
			ETag: `"1"`,
		},
		Missing: []Range{{5000, 6000}, {0, 100}}, MergeGap: -1,
		Blocks: []BlockSymbols{{SBN: 3, ESIs: []ESIRange{{4, 5}}}}, Scheme: Scheme{Raptor, 100},
		Start: planStart, Rand: half,
	})
	require.NoError(t, err)
	now := planStart
	_, ok := p.Poll(now)
	require.False(t, ok, "the back-off")
	now, ok = p.Timeout()
	require.True(t, ok)
	require.Equal(t, planStart.Add(6*time.Second), now)

	ask, ok := p.Poll(now)
	require.True(t, ok)
	require.Equal(t, Ask{URL: "http://first/", Ranges: []Range{{0, 100}, {5000, 6000}}, ETag: `"1"`}, ask)
	_, ok = p.Poll(now)
	require.False(t, ok, "one at a time")
	_, ok = p.Timeout()
	require.False(t, ok)

	// A part has come, which is progress: the rest from the same one.
	p.Received(Range{0, 100})
	p.Answered(now, Outcome{Length: 10_000})
	ask, ok = p.Poll(now)
	require.True(t, ok)
	require.Equal(t, Ask{URL: "http://first/", Ranges: []Range{{5000, 6000}}, ETag: `"1"`}, ask)
	p.Answered(now, Outcome{Err: &StatusError{503}, RetryAfter: 5 * time.Second, Length: -1})

	ask, ok = p.Poll(now)
	require.True(t, ok)
	require.Equal(t, "http://second/", ask.URL, "while the first rests")
	p.Answered(now, Outcome{Err: ErrUnknown, Length: -1})

	ask, ok = p.Poll(now)
	require.True(t, ok)
	require.Equal(t, Ask{
		URL: "http://service?fileURI=a&SBN=3;ESI=4-5", Form: Symbols, Blocks: []BlockSymbols{{SBN: 3, ESIs: []ESIRange{{4, 5}}}},
		Scheme: Scheme{Raptor, 100},
	}, ask)
	p.Answered(now, Outcome{Err: ErrNoSymbols, Length: -1})

	at, ok := p.Timeout()
	require.True(t, ok)
	require.Equal(t, now.Add(7500*time.Millisecond), at, "Retry-After and a random half of it")
	_, ok = p.Poll(at.Add(-1))
	require.False(t, ok)
	ask, ok = p.Poll(at)
	require.True(t, ok)
	require.Equal(t, "http://first/", ask.URL)
	require.NoError(t, p.Err(), "it goes on")
	p.Received(Range{5000, 6000})
	require.False(t, p.Done(), "the answer has not ended")
	p.Answered(at, Outcome{Length: 10_000})
	require.True(t, p.Done())
	require.NoError(t, p.Err())
	require.Empty(t, p.Missing())
}

func TestPlanEnds(t *testing.T) {
	one := Procedure{Sources: []Source{{URL: "http://a/"}}}
	start := func(c PlanConfig) *Plan {
		c.Start, c.Rand = planStart, half
		if c.Procedure.Sources == nil {
			c.Procedure = one
		}
		p, err := NewPlan(c)
		require.NoError(t, err)
		return p
	}
	t.Run("multicast brings it during the back-off", func(t *testing.T) {
		c := PlanConfig{Missing: []Range{{0, 10}}, Procedure: one}
		c.Procedure.Window.Offset = time.Minute
		p := start(c)
		p.Received(Range{0, 7})
		require.Equal(t, []Range{{7, 10}}, p.Missing())
		p.Complete()
		require.True(t, p.Done())
		require.NoError(t, p.Err())
	})
	t.Run("hurry", func(t *testing.T) {
		c := PlanConfig{Procedure: one}
		c.Procedure.Window.Offset = time.Minute
		p := start(c)
		p.Hurry(planStart)
		ask, ok := p.Poll(planStart)
		require.True(t, ok)
		require.Equal(t, Ask{URL: "http://a/"}, ask, "all of it")
	})
	t.Run("deadline", func(t *testing.T) {
		c := PlanConfig{Deadline: planStart.Add(time.Second), Procedure: one}
		c.Procedure.Window.Offset = time.Minute
		p := start(c)
		at, ok := p.Timeout()
		require.True(t, ok)
		require.Equal(t, planStart.Add(time.Second), at)
		_, ok = p.Poll(at)
		require.False(t, ok)
		require.True(t, p.Done())
		require.ErrorIs(t, p.Err(), ErrTooLate)
	})
	t.Run("all sources are over", func(t *testing.T) {
		p := start(PlanConfig{Procedure: Procedure{Sources: []Source{{URL: "http://a/", Until: planStart}}}})
		_, ok := p.Poll(planStart)
		require.False(t, ok)
		require.ErrorIs(t, p.Err(), ErrNoSource)
	})
	t.Run("nothing new", func(t *testing.T) {
		p := start(PlanConfig{Missing: []Range{{0, 10}}})
		asks, now := 0, planStart
		for !p.Done() {
			if _, ok := p.Poll(now); ok {
				asks++
				p.Answered(now, Outcome{Length: 100})
			} else {
				now, _ = p.Timeout()
			}
		}
		require.Equal(t, 3, asks)
		require.ErrorIs(t, p.Err(), ErrNotReady)
		require.Equal(t, planStart.Add(1500*time.Millisecond+3000*time.Millisecond), now)
	})
	t.Run("one octet at a time", func(t *testing.T) {
		p := start(PlanConfig{Missing: []Range{{0, 10_000}}})
		for i := int64(0); !p.Done(); i++ {
			_, ok := p.Poll(planStart)
			require.True(t, ok)
			p.Received(Range{i, i + 1})
			p.Answered(planStart, Outcome{Length: 10_000})
		}
		require.ErrorIs(t, p.Err(), ErrLimit)
		require.Len(t, p.Missing(), 1)
	})
	t.Run("another version", func(t *testing.T) {
		p := start(PlanConfig{Missing: []Range{{0, 10}, {90_000, 90_010}}})
		_, ok := p.Poll(planStart)
		require.True(t, ok)
		p.Received(Range{0, 10})
		p.Answered(planStart, Outcome{ETag: `"2"`, Length: 90_005})
		require.True(t, p.Done())
		require.ErrorIs(t, p.Err(), ErrChanged, "the object is shorter than known")
	})
	t.Run("length found out", func(t *testing.T) {
		p := start(PlanConfig{Missing: []Range{{0, 10}, {90_000, ToEnd}}})
		ask, _ := p.Poll(planStart)
		require.Equal(t, []Range{{0, 10}, {90_000, ToEnd}}, ask.Ranges)
		p.Received(Range{0, 10})
		p.Answered(planStart, Outcome{ETag: `"2"`, Length: 90_005})
		ask, _ = p.Poll(planStart)
		require.Equal(t, Ask{URL: "http://a/", Ranges: []Range{{90_000, 90_005}}, ETag: `"2"`}, ask)
		p.Received(Range{90_000, 90_005})
		p.Answered(planStart, Outcome{Length: 90_005})
		require.True(t, p.Done())
		require.NoError(t, p.Err())
	})
	t.Run("chunk of a segment", func(t *testing.T) {
		c := PlanConfig{Missing: []Range{{10, 20}, {50_000, ToEnd}}, Procedure: one}
		c.Procedure.Offset = 1000
		p := start(c)
		ask, _ := p.Poll(planStart)
		require.Equal(t, []Range{{1010, 1020}, {51_000, ToEnd}}, ask.Ranges)
	})
	t.Run("nothing is missing of a known length", func(t *testing.T) {
		p := start(PlanConfig{Missing: []Range{{100, ToEnd}}, Partition: Partition{100, 10, 10}})
		require.True(t, p.Done())
		require.NoError(t, p.Err())
	})
	t.Run("many ranges", func(t *testing.T) {
		c := PlanConfig{MergeGap: -1, MaxRanges: 2}
		for i := range int64(5) {
			c.Missing = append(c.Missing, Range{10 * i, 10*i + 1})
		}
		p := start(c)
		asks := 0
		for ; !p.Done(); asks++ {
			ask, ok := p.Poll(planStart)
			require.True(t, ok)
			require.LessOrEqual(t, len(ask.Ranges), 2)
			for _, r := range ask.Ranges {
				p.Received(r)
			}
			p.Answered(planStart, Outcome{Length: 100})
		}
		require.Equal(t, 3, asks)
	})

	_, err := NewPlan(PlanConfig{Procedure: Procedure{Sources: []Source{{URL: "http://s", Form: Symbols}}}})
	require.ErrorIs(t, err, ErrNoSource, "nobody knows the symbols that are missing")
	_, err = NewPlan(PlanConfig{Procedure: one, Missing: []Range{{3, 3}}})
	require.ErrorIs(t, err, ErrRequest)
}

// Sources of a tier are drawn by their weight.
func TestPlanWeights(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	sources := []Source{{URL: "a", Weight: 3}, {URL: "b"}, {URL: "c", Weight: 6}, {URL: "d", Tier: 1, Weight: 1000}}
	drawn := map[string]int{}
	const n = 20_000
	for range n {
		p, err := NewPlan(PlanConfig{Procedure: Procedure{Sources: sources}, Start: planStart, Rand: random.Float64})
		require.NoError(t, err)
		ask, ok := p.Poll(planStart)
		require.True(t, ok)
		drawn[ask.URL]++
	}
	require.InDelta(t, 0.3, float64(drawn["a"])/n, 0.02)
	require.InDelta(t, 0.1, float64(drawn["b"])/n, 0.02)
	require.InDelta(t, 0.6, float64(drawn["c"])/n, 0.02)
	require.Zero(t, drawn["d"])
}

// Whatever servers do, a plan ends, asks nobody too early, too often or for what it has, and says why it failed.
func TestPlanAgainstAnyServers(t *testing.T) {
	errs := []error{
		ErrUnknown, ErrExpired, ErrNotReady, ErrChanged, ErrAnswer, &StatusError{503}, &StatusError{403}, errors.New("no route"),
	}
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 1))
		config := PlanConfig{
			Start: planStart, Rand: random.Float64, Attempts: 1 + random.IntN(4), MaxRanges: 1 + random.IntN(3), MergeGap: -1,
			Procedure: Procedure{Window: Window{time.Second, time.Minute}},
		}
		for range 1 + random.IntN(4) {
			config.Procedure.Sources = append(config.Procedure.Sources, Source{
				URL: string(rune('a' + random.IntN(26))), Tier: random.IntN(3), Weight: random.IntN(3),
			})
		}
		for range random.IntN(6) {
			start := random.Int64N(1000)
			config.Missing = append(config.Missing, Range{start, start + 1 + random.Int64N(50)})
		}
		if random.IntN(3) == 0 {
			config.Deadline = planStart.Add(time.Duration(random.Int64N(int64(2 * time.Minute))))
		}
		p, err := NewPlan(config)
		require.NoError(t, err)
		now, asks := planStart, 0
		for steps := 0; !p.Done(); steps++ {
			require.Less(t, steps, 3*maxAsks)
			ask, ok := p.Poll(now)
			if p.Done() {
				break
			}
			if !ok {
				at, ok := p.Timeout()
				require.True(t, ok)
				require.True(t, at.After(now), "no busy loop")
				now = at
				continue
			}
			asks++
			require.False(t, now.Before(planStart.Add(time.Second)))
			require.LessOrEqual(t, len(ask.Ranges), config.MaxRanges)
			for _, r := range ask.Ranges {
				require.True(t, contains(p.Missing(), r))
			}
			now = now.Add(time.Duration(random.Int64N(int64(time.Second))))
			outcome := Outcome{Length: -1}
			switch random.IntN(3) {
			case 0:
				outcome.Err = errs[random.IntN(len(errs))]
				outcome.RetryAfter = time.Duration(random.Int64N(int64(time.Hour)))
			case 1:
				for _, r := range ask.Ranges {
					p.Received(r)
				}
				if len(ask.Ranges) == 0 {
					p.Received(Range{0, 1000})
					outcome.Length = 1000
				}
			default:
				if len(ask.Ranges) > 0 {
					r := ask.Ranges[random.IntN(len(ask.Ranges))]
					p.Received(Range{r.Start, r.Start + 1 + random.Int64N(r.Len())})
				}
			}
			p.Answered(now, outcome)
		}
		require.LessOrEqual(t, asks, maxAsks)
		if len(p.Missing()) > 0 {
			require.Error(t, p.Err())
		} else {
			require.NoError(t, p.Err())
		}
	}
}
