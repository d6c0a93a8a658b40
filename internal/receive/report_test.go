package receive

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReport(t *testing.T) {
	ts := append(tsOf(100, 1, true, false), tsOf(100, 2, true, false)...)
	start := time.Now()
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	for _, c := range []struct {
		name     string
		terminal bool
		want     []string
	}{
		// Only the first, and one each ten seconds.
		{"file", false, []string{"native · ", "silent for 10 s · native · 2 packets · MPEG-TS, 1 gaps · 3 dropped here · 1 not sent: no route"}},
		{"terminal", true, []string{"nothing yet", "1 packets", "silent for 5 s", "silent for 10 s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			r := newReport(Report{Line: &b, Terminal: c.terminal})
			r.line(start, "", 0)
			r.add(ts)
			r.line(at(0.1), "native", 0) // too early for a rate
			r.line(at(0.7), "native", 0)
			r.add(ts)
			r.unsent(errors.New("no route"))
			r.line(at(5), "native", 0)
			r.line(at(10.3), "native", 3)
			r.end()
			if c.terminal {
				require.NotContains(t, b.String(), "\n\r")
				require.Equal(t, 5, strings.Count(b.String(), "\r\x1b[K"))
			} else {
				require.NotContains(t, b.String(), "\r")
			}
			rest := b.String()
			for _, want := range append(c.want, "2 packets, 0 kB in ") {
				_, after, ok := strings.Cut(rest, want)
				require.True(t, ok, "%q is not in %q", want, rest)
				rest = after
			}
			require.Equal(t, 1, strings.Count(b.String(), "2 packets, 0 kB in "))
			require.NotContains(t, rest, "bit/s") // that of two packets behind each other is none
		})
	}
}

// Scripts go by the names of events: each is documented, and nothing else is.
func TestEvents(t *testing.T) {
	var b strings.Builder
	r := newReport(Report{Line: &b, JSON: true})
	r.say(eventPort, "packets are for UDP port %d", 5000)
	r.end()
	var got []string
	for line := range strings.Lines(b.String()) {
		var e struct{ Event, Time string }
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		require.NotEmpty(t, e.Time)
		got = append(got, e.Event)
	}
	require.Equal(t, []string{"port", "statistics"}, got)

	source, err := os.ReadFile("report.go")
	require.NoError(t, err)
	var names []string
	for _, m := range regexp.MustCompile(`Event += "(\w+)"`).FindAllSubmatch(source, -1) {
		names = append(names, string(m[1]))
	}
	doc, err := os.ReadFile("../../docs/receive.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(doc), "| event | meaning |")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n\n")
	var documented []string
	for _, m := range regexp.MustCompile(`(?m)^\| `+"`(\\w+)`").FindAllStringSubmatch(table, -1) {
		documented = append(documented, m[1])
	}
	require.ElementsMatch(t, names, documented)
}
