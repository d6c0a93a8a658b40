package telemetry

import (
	"encoding/json"
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// Below 2^subBits µs a bucket is 1 µs wide; above, an octave has 2^subBits
	// buckets, so that a quantile is off by 1.6% at most.
	subBits = 5
	subs    = 1 << subBits
	// Durations of 2^32 µs (71 minutes) and more count in the last bucket.
	octaves = 32 - subBits
	buckets = subs + octaves*subs
)

// Latency counts durations. The zero value is ready; all methods may be called
// at the same time from several goroutines, and Observe allocates nothing.
type Latency struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
	max    atomic.Int64 // nanoseconds
}

func bucketOf(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < subs {
		return int(us)
	}
	octave := bits.Len64(us) - subBits // 1 for the first octave above the linear part
	if octave > octaves {
		return buckets - 1
	}
	return octave*subs + int(us>>(octave-1)) - subs
}

// boundsOf is the range [low, high) of a bucket in microseconds.
func boundsOf(bucket int) (low, high uint64) {
	if bucket < subs {
		return uint64(bucket), uint64(bucket) + 1
	}
	octave := bucket/subs - 1
	low = uint64(subs+bucket%subs) << octave
	return low, low + 1<<octave
}

// Observe counts one duration. A negative one, which clocks of two machines may
// yield, counts as 0.
func (l *Latency) Observe(d time.Duration) {
	d = max(d, 0)
	l.counts[bucketOf(d)].Add(1)
	l.sum.Add(int64(d))
	for {
		m := l.max.Load()
		if int64(d) <= m || l.max.CompareAndSwap(m, int64(d)) {
			return
		}
	}
}

// Quantiles are those of all durations since the start. A Prometheus histogram
// of the same counts tells those of other times.
type Quantiles struct {
	Count         uint64
	Sum           time.Duration
	P50, P99, Max time.Duration
	// Cumulative is the number of durations not above each of LatencyBounds.
	Cumulative [len(LatencyBounds)]uint64
}

// LatencyBounds are the upper bounds of the histogram's buckets.
var LatencyBounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
}

// Quantiles summarises what was observed so far.
func (l *Latency) Quantiles() Quantiles {
	var counts [buckets]uint64
	q := Quantiles{Sum: time.Duration(l.sum.Load()), Max: time.Duration(l.max.Load())}
	for i := range counts {
		counts[i] = l.counts[i].Load()
		q.Count += counts[i]
		_, high := boundsOf(i)
		for j, bound := range LatencyBounds {
			// A bucket that straddles a bound counts above it.
			if high <= uint64(bound/time.Microsecond) {
				q.Cumulative[j] += counts[i]
			}
		}
	}
	q.P50 = quantile(&counts, q.Count, 0.50, q.Max)
	q.P99 = quantile(&counts, q.Count, 0.99, q.Max)
	return q
}

// quantile is the middle of the bucket that holds the ceil(p*n)-th duration.
func quantile(counts *[buckets]uint64, n uint64, p float64, most time.Duration) time.Duration {
	rank := uint64(math.Ceil(p * float64(n)))
	for i, c := range counts {
		if c >= rank && rank > 0 {
			low, high := boundsOf(i)
			return min(time.Duration(low+high)*time.Microsecond/2, most)
		}
		rank -= c
		if rank == 0 {
			break
		}
	}
	return 0
}

type quantilesJSON struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// MarshalJSON writes count, mean, p50, p99 and max, in milliseconds.
func (q Quantiles) MarshalJSON() ([]byte, error) {
	mean := time.Duration(0)
	if q.Count > 0 {
		mean = q.Sum / time.Duration(q.Count)
	}
	return json.Marshal(quantilesJSON{q.Count, millis(mean), millis(q.P50), millis(q.P99), millis(q.Max)})
}

// UnmarshalJSON reads what MarshalJSON wrote; the histogram is not in it.
func (q *Quantiles) UnmarshalJSON(b []byte) error {
	var j quantilesJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*q = Quantiles{
		Count: j.Count, Sum: time.Duration(j.Mean * float64(j.Count) * float64(time.Millisecond)),
		P50: duration(j.P50), P99: duration(j.P99), Max: duration(j.Max),
	}
	return nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func duration(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
