package receive

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/treedn/treedn/amt"
)

// report writes what happens, and a line with the statistics.
type report struct {
	w        io.Writer
	terminal bool

	mu        sync.Mutex // guards below
	moving    bool       // the cursor stands behind the live line
	transport transport
	packets   uint64
	octets    uint64
	started   time.Time // first packet
	last      time.Time // last packet
	lineAt    time.Time
	before    uint64 // octets at the line before
	written   time.Time
}

// lineEvery is how often the statistics are written where a line cannot move.
const lineEvery = 10 * time.Second

func newReport(w io.Writer, terminal bool) *report {
	if w == nil {
		w = io.Discard
	}
	return &report{w: w, terminal: terminal, lineAt: time.Now()}
}

// say writes a line of its own.
func (r *report) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear()
	fmt.Fprintf(r.w, format+"\n", args...)
}

func (r *report) clear() {
	if r.moving {
		fmt.Fprint(r.w, "\r\x1b[K")
		r.moving = false
	}
}

// add counts a payload.
func (r *report) add(payload []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Now()
	if r.packets == 0 {
		r.started = r.last
	}
	r.packets++
	r.octets += uint64(len(payload))
	r.transport.add(payload)
}

// line writes the statistics.
func (r *report) line(now time.Time, way string, s amt.ConnStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rate := float64(r.octets-r.before) * 8 / max(now.Sub(r.lineAt).Seconds(), 0.001)
	r.before, r.lineAt = r.octets, now
	if !r.terminal {
		if now.Sub(r.written) < lineEvery || r.packets == 0 {
			return
		}
		r.written = now
	}
	text := "nothing yet"
	if r.packets > 0 {
		text = fmt.Sprintf("%s · %s · %d packets · %s", way, bitRate(rate), r.packets, octets(r.octets))
		if pause := now.Sub(r.last); pause > 2*time.Second {
			text = fmt.Sprintf("silent for %v · %s · %d packets", pause.Round(time.Second), way, r.packets)
		}
		text += r.losses()
		if n := s.Dropped + s.Native.Dropped; n > 0 {
			text += fmt.Sprintf(" · %d dropped here", n)
		}
	}
	r.clear()
	if r.terminal {
		fmt.Fprint(r.w, text)
		r.moving = true
		return
	}
	fmt.Fprintln(r.w, text)
}

// losses says what is known to be missing.
func (r *report) losses() string {
	t := &r.transport
	switch {
	case t.rtp:
		return fmt.Sprintf(" · %d lost", t.rtpLost)
	case t.packets > 0 && t.gaps == 0:
		return " · MPEG-TS, whole"
	case t.packets > 0:
		return fmt.Sprintf(" · MPEG-TS, %d gaps", t.gaps)
	}
	return ""
}

// end writes the sum.
func (r *report) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear()
	if r.packets > 0 {
		took := max(r.last.Sub(r.started), time.Millisecond)
		fmt.Fprintf(r.w, "%d packets, %s in %v, %s%s\n", r.packets, octets(r.octets), took.Round(time.Millisecond),
			bitRate(float64(r.octets)*8/took.Seconds()), r.losses())
	}
}

func bitRate(r float64) string {
	switch {
	case r >= 1e6:
		return fmt.Sprintf("%.2f Mbit/s", r/1e6)
	case r >= 1e3:
		return fmt.Sprintf("%.1f kbit/s", r/1e3)
	}
	return fmt.Sprintf("%.0f bit/s", r)
}

func octets(n uint64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d kB", n/1000)
}
