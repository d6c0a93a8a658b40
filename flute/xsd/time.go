package xsd

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// DateTime reads an xs:dateTime, or a timePoint of MPEG-7, whose fractions it
// leaves out. What names no time zone is UTC, as the standards that use it say
// (TS 103 769, 10.2.1). The result is zero if s is absent or malformed.
func DateTime(s string) time.Time {
	s = strings.TrimSpace(s)
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02",
	} {
		t, err := time.Parse(layout, s)
		if t = t.UTC(); err == nil && t.Year() >= 1 && t.Year() <= 9999 {
			return t
		}
	}
	return time.Time{}
}

// The months and years of a duration have no fixed length. Nobody who announces
// a session means more by them than this.
const (
	day   = 24 * time.Hour
	month = 30 * day
	year  = 365 * day
)

// Duration reads an xs:duration. It is false if s is absent or malformed, or
// more than a time.Duration can hold. A month is taken for 30 days, a year for 365.
func Duration(s string) (time.Duration, bool) {
	s = strings.TrimSpace(s)
	s, negative := strings.CutPrefix(s, "-")
	s, ok := strings.CutPrefix(s, "P")
	if !ok || s == "" {
		return 0, false
	}
	date, clock, timed := strings.Cut(s, "T")
	if timed && clock == "" {
		return 0, false
	}
	sum, ok := components(date, "YMWD", []time.Duration{year, month, 7 * day, day})
	if !ok {
		return 0, false
	}
	more, ok := components(clock, "HMS", []time.Duration{time.Hour, time.Minute, time.Second})
	if !ok {
		return 0, false
	}
	if sum += more; sum >= math.MaxInt64 {
		return 0, false
	}
	if negative {
		sum = -sum
	}
	return time.Duration(sum), true
}

// components adds up the numbers before the letters, which come in that order.
func components(s, letters string, units []time.Duration) (sum float64, ok bool) {
	for s != "" {
		i := strings.IndexAny(s, letters)
		if i <= 0 {
			return 0, false
		}
		at := strings.IndexByte(letters, s[i])
		number := s[:i]
		if strings.Trim(number, "0123456789.") != "" {
			return 0, false
		}
		v, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return 0, false
		}
		sum += math.Round(v * float64(units[at]))
		letters, units, s = letters[at+1:], units[at+1:], s[i+1:]
	}
	return sum, true
}

// FormatDuration returns d as an xs:duration in hours, minutes and seconds,
// which Duration reads back exactly up to some months.
func FormatDuration(d time.Duration) string {
	if d == math.MinInt64 {
		d++
	}
	s := "PT"
	if d < 0 {
		s, d = "-PT", -d
	}
	h, m := d/time.Hour, d%time.Hour/time.Minute
	if h > 0 {
		s += strconv.FormatInt(int64(h), 10) + "H"
	}
	if m > 0 {
		s += strconv.FormatInt(int64(m), 10) + "M"
	}
	if rest := d % time.Minute; rest > 0 || h == 0 && m == 0 {
		s += strconv.FormatInt(int64(rest/time.Second), 10)
		if f := rest % time.Second; f > 0 {
			digits := strconv.FormatInt(int64(f+time.Second), 10)[1:]
			s += "." + strings.TrimRight(digits, "0")
		}
		s += "S"
	}
	return s
}
