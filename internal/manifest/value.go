package manifest

import (
	"strconv"
	"strings"
	"time"
)

func unsigned(s string, absent uint64) uint64 {
	if n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64); err == nil {
		return n
	}
	return absent
}

func signed(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0
	}
	return max(n, -1)
}

func timestamp(s string) time.Time {
	s = strings.TrimSpace(s)
	// xs:dateTime may leave the zone out; DASH then means UTC.
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}

// isoDuration reads an xs:duration of days, hours, minutes and seconds. Years
// and months have no fixed length and make it unreadable; what is unreadable,
// negative or beyond a century is 0.
func isoDuration(s string) time.Duration {
	s, ok := strings.CutPrefix(strings.TrimSpace(s), "P")
	if !ok {
		return 0
	}
	var total float64
	inTime := false
	for s != "" {
		if s[0] == 'T' {
			inTime = true
			s = s[1:]
			continue
		}
		i := strings.IndexFunc(s, func(c rune) bool { return c != '.' && (c < '0' || c > '9') })
		if i <= 0 {
			return 0
		}
		n, err := strconv.ParseFloat(s[:i], 64)
		if err != nil {
			return 0
		}
		switch unit := s[i]; {
		case unit == 'D' && !inTime:
			total += n * 86400
		case unit == 'H' && inTime:
			total += n * 3600
		case unit == 'M' && inTime:
			total += n * 60
		case unit == 'S' && inTime:
			total += n
		case (unit == 'Y' || unit == 'M') && !inTime && n == 0:
		default:
			return 0
		}
		s = s[i+1:]
	}
	if total > 100*365*86400 {
		return 0
	}
	return time.Duration(total * float64(time.Second))
}
