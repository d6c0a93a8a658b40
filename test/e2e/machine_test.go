package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"
)

// quantiles of durations.
type quantiles struct{ p50, p99, max time.Duration }

func quantilesOf(d []time.Duration) quantiles {
	sorted := slices.Sorted(slices.Values(d))
	return quantiles{sorted[len(sorted)/2], sorted[len(sorted)*99/100], sorted[len(sorted)-1]}
}

func (q quantiles) String() string {
	return fmt.Sprintf("p50 %6.2f ms, p99 %6.2f ms, max %6.2f ms", ms(q.p50), ms(q.p99), ms(q.max))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// machine is what else went on during a measurement.
type machine struct {
	// others is the share of all CPU time that other processes took; 1 where the system does not tell.
	others float64
	// late is by how much a goroutine that slept woke up too late, over time: of a wake-up that is late by a second there
	// are as many as would have been in that second.
	late quantiles
}

// promisedQuiet says that nothing else runs on the machine, so that figures can be asserted that only such a one shows.
func promisedQuiet() bool { return os.Getenv("TREEDN_QUIET") == "1" }

// quiet says that next to nothing ran but this process.
func (m machine) quiet() bool { return m.others <= 0.05 }

func (m machine) String() string {
	return fmt.Sprintf("others took %.0f %% of the CPUs; a goroutine woke up late by %v", 100*m.others, m.late)
}

// watch looks at the machine until ctx ends.
func watch(ctx context.Context) machine {
	const nap = 2 * time.Millisecond
	var late []time.Duration
	before := readTicks()
	for ctx.Err() == nil {
		begun := time.Now()
		time.Sleep(nap)
		for d := max(0, time.Since(begun)-nap); ; d -= nap {
			late = append(late, d)
			if d < nap {
				break
			}
		}
	}
	return machine{others: readTicks().others(before), late: quantilesOf(late)}
}

// ticks is CPU time since the machine and this process began: of all CPUs, whether busy or idle, and of this process. All
// are zero where there is no proc file system to tell.
type ticks struct{ all, busy, own float64 }

func readTicks() (t ticks) {
	stat, _ := os.ReadFile("/proc/stat")
	self, _ := os.ReadFile("/proc/self/stat")
	// user nice system idle iowait irq softirq steal; what follows is part of these.
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	for i, f := range bytes.Fields(line) {
		n, err := strconv.ParseFloat(string(f), 64)
		if err != nil || i > 8 {
			continue // i is 0: the name of the line
		}
		t.all += n
		if i != 4 && i != 5 {
			t.busy += n
		}
	}
	// utime and stime are the 12th and the 13th field behind the command in brackets.
	if rest := bytes.Fields(self[bytes.LastIndexByte(self, ')')+1:]); len(rest) > 12 {
		for _, f := range rest[11:13] {
			n, _ := strconv.ParseFloat(string(f), 64)
			t.own += n
		}
	}
	return t
}

func (t ticks) others(since ticks) float64 {
	all := t.all - since.all
	if all <= 0 {
		return 1
	}
	return max(0, (t.busy-since.busy)-(t.own-since.own)) / all
}
