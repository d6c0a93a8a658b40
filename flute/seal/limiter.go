package seal

import "time"

// limiter is a token bucket.
type limiter struct {
	rate, burst float64 // a second; at once
	tokens      float64 // as of at
	at          time.Time
}

func newLimiter(rate, burst float64) limiter {
	return limiter{rate: rate, burst: burst, tokens: burst}
}

// left brings the bucket up to now.
func (l *limiter) left(now time.Time) float64 {
	if d := now.Sub(l.at); d > 0 {
		if !l.at.IsZero() {
			l.tokens = min(l.burst, l.tokens+l.rate*d.Seconds())
		}
		l.at = now
	}
	return l.tokens
}

func (l *limiter) allow(now time.Time) bool {
	if l.left(now) < 1 {
		return false
	}
	l.tokens--
	return true
}

// notBefore delays t, if it is not zero, until there is a token.
func (l *limiter) notBefore(t time.Time) time.Time {
	if t.IsZero() || l.tokens >= 1 {
		return t
	}
	free := l.at.Add(time.Duration((1-l.tokens)/l.rate*float64(time.Second)) + time.Microsecond)
	if t.Before(free) {
		return free
	}
	return t
}
