package repair

import "time"

// Window spreads the first requests of the many receivers that lose the same packets: each waits for Offset and a random
// part of Random. MBMS and ATSC call them offsetTime and randomTimePeriod (3GPP TS 26.346 clause 9.3.4), DVB
// fixedBackOffPeriod and randomBackOffPeriod (ETSI TS 103 769 clause 9).
type Window struct {
	Offset, Random time.Duration
}

// Draw returns the wait for a random number u in [0, 1).
func (w Window) Draw(u float64) time.Duration {
	return max(w.Offset, 0) + time.Duration(u*float64(max(w.Random, 0)))
}

// Retry spreads further requests after one that failed in passing.
type Retry struct {
	// Wait is the least time until the second request; it doubles with each. Default: 1 s.
	Wait time.Duration
	// Max bounds the doubled wait, and what a server may ask for. Default: 30 s.
	Max time.Duration
}

// Draw returns the wait after so many failures in a row, the first being 1, for a random number u in [0, 1): the doubled
// wait, or what the server asked for if that is longer, and a random part of the same. So those who were refused at the same
// time do not come back at the same time.
func (r Retry) Draw(failures int, asked time.Duration, u float64) time.Duration {
	wait, most := orDefault(r.Wait, time.Second), orDefault(r.Max, 30*time.Second)
	for range min(failures-1, 30) {
		if wait *= 2; wait >= most {
			break
		}
	}
	wait = min(max(wait, asked), most)
	return wait + time.Duration(u*float64(wait))
}
