package ntp_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/ntp"
)

func date(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestTime(t *testing.T) {
	for _, c := range []struct {
		name       string
		seconds    uint32
		near, want string
	}{
		{"RFC 6726: the start of the session", 4294944000, "2036-02-07T00:00:00Z", "2036-02-07T00:00:00Z"},
		{"RFC 6726: expiry in the next era", 149504, "2036-02-07T00:00:00Z", "2036-02-09T00:00:00Z"},
		{"era 1 seen from era 1", 149504, "2040-01-01T00:00:00Z", "2036-02-09T00:00:00Z"},
		{"the last second of era 0", 4294967295, "2026-11-20T00:00:00Z", "2036-02-07T06:28:15Z"},
		{"the Unix epoch", 2208988800, "1980-01-01T00:00:00Z", "1970-01-01T00:00:00Z"},
		{"zero", 0, "2026-11-20T00:00:00Z", "2036-02-07T06:28:16Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, date(c.want), ntp.Time(c.seconds, date(c.near)))
			require.Equal(t, c.seconds, ntp.Seconds(date(c.want)))
		})
	}
}

func TestTime64(t *testing.T) {
	got := ntp.Time64(0xeeab42fea2a7ce0f, date("2026-11-21T00:00:00Z"))
	require.Equal(t, "2026-11-20T22:06:54.635373Z", got.Round(time.Microsecond).Format(time.RFC3339Nano))
}

func FuzzTimestamp(f *testing.F) {
	f.Add(int64(1795212414), int64(635373000), int64(0))
	f.Add(int64(1795212414), int64(999999999), int64(1<<31-1))
	f.Fuzz(func(t *testing.T, sec, nsec, distance int64) {
		at := time.Unix(sec%1e11, nsec%1e9).UTC()
		near := at.Add(time.Duration(distance%(1<<31-1)) * time.Second)
		require.Equal(t, at, ntp.Time64(ntp.Timestamp(at), near))
	})
}

func Example() {
	now := time.Date(2036, 2, 7, 0, 0, 0, 0, time.UTC)
	expires := ntp.Seconds(now.Add(48 * time.Hour))
	fmt.Println(expires, ntp.Time(expires, now).Format(time.DateOnly))
	// Output: 149504 2036-02-09
}

func BenchmarkTime(b *testing.B) {
	now := time.Now()
	for b.Loop() {
		ntp.Time64(0xeeab42fea2a7ce0f, now)
	}
}
