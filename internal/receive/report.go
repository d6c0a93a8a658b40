package receive

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// Report says where and how to tell what happens. The zero value tells nothing.
type Report struct {
	// Line takes the live line and what happens.
	Line io.Writer
	// Terminal gets a line that moves, once a second. All else gets one every Every. Default: 10 s.
	Terminal bool
	Every    time.Duration
	// JSON writes lines of JSON instead: a Statistics, or an object with "time", "event" and "message". It is for what is
	// not a Terminal.
	JSON bool
}

// Event is the name of what a line of JSON tells. Names stay, texts do not.
type Event string

// Events of lines that Run does not write.
const (
	EventError     Event = "error"
	EventRelayName Event = "relay_name" // that could not be looked up
)

const (
	eventStatistics    Event = "statistics"
	eventRelays        Event = "relays"
	eventNoRelay       Event = "no_relay"
	eventWaiting       Event = "waiting"
	eventPort          Event = "port"
	eventJoining       Event = "joining"
	eventNativeFailed  Event = "native_failed"
	eventNativeJoined  Event = "native_joined"
	eventNativeWorse   Event = "native_worse"
	eventRelayAsked    Event = "relay_asked"
	eventRelayFailed   Event = "relay_failed"
	eventStarted       Event = "started"
	eventSwitched      Event = "switched"
	eventReaderGone    Event = "reader_gone"
	eventOutputStalled Event = "output_stalled"
)

// Statistics are those of a reception. All counters rise only.
type Statistics struct {
	Time  time.Time `json:"time"`
	Event Event     `json:"event"`
	// Way is "native" or "relay" and its address, empty before the first packet.
	Way string `json:"way"`
	// BitRate of the payloads, in bit/s: since the statistics before, of the last ones that of all.
	BitRate float64 `json:"bit_rate"`
	Packets uint64  `json:"packets"`
	Octets  uint64  `json:"octets"` // of UDP payload
	// Silent is how long no packet has come, in seconds.
	Silent float64 `json:"silent_seconds"`
	// TSPackets are those of an MPEG transport stream, TSGaps the places where its continuity counters jump.
	TSPackets uint64 `json:"ts_packets"`
	TSGaps    uint64 `json:"ts_gaps"`
	// RTP says that the stream has RTP headers, RTPLost how many packets are missing by their sequence numbers.
	RTP     bool   `json:"rtp"`
	RTPLost uint64 `json:"rtp_lost"`
	// Dropped are packets that came, and were not read in time; Unsent those that could not be passed on.
	Dropped uint64 `json:"dropped"`
	Unsent  uint64 `json:"unsent"`
	// End says that these are the last ones.
	End bool `json:"end"`
}

// report writes what happens, and a line with the statistics.
type report struct {
	Report

	mu        sync.Mutex // guards below
	moving    bool       // the cursor stands behind the live line
	stats     Statistics
	transport transport
	started   time.Time // first packet
	last      time.Time // last packet
	written   time.Time // the statistics before
	before    uint64    // their octets
	why       error     // the last packet could not be passed on
}

// shortest is the least time that a bit rate is told of.
const shortest = 500 * time.Millisecond

func newReport(r Report) *report {
	if r.Line == nil {
		r.Line = io.Discard
	}
	if r.Terminal {
		r.Every = 0
	} else if r.Every == 0 {
		r.Every = 10 * time.Second
	}
	return &report{Report: r, written: time.Now(), stats: Statistics{Event: eventStatistics}}
}

// say writes a line of its own.
func (r *report) say(event Event, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	if r.JSON {
		r.json(map[string]any{"time": time.Now(), "event": event, "message": text})
		return
	}
	r.clear()
	fmt.Fprintln(r.Line, text)
}

func (r *report) json(v any) {
	if b, err := json.Marshal(v); err == nil {
		_, _ = r.Line.Write(append(b, '\n'))
	}
}

func (r *report) clear() {
	if r.moving {
		fmt.Fprint(r.Line, "\r\x1b[K")
		r.moving = false
	}
}

// add counts a payload.
func (r *report) add(payload []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Now()
	if r.stats.Packets == 0 {
		r.started = r.last
	}
	r.stats.Packets++
	r.stats.Octets += uint64(len(payload))
	r.transport.add(payload)
}

// unsent counts a payload that could not be passed on.
func (r *report) unsent(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Unsent++
	r.why = err
}

// line writes the statistics when it is time to.
func (r *report) line(now time.Time, way string, dropped uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Way, r.stats.Dropped = way, dropped
	first := r.stats.Packets > 0 && r.before == 0
	if first && now.Sub(r.started) < shortest { // it would be the rate of a burst
		return
	}
	if !r.Terminal && !first && (r.stats.Packets == 0 || now.Sub(r.written) < r.Every-r.Every/20) {
		return
	}
	r.stats.BitRate = float64(r.stats.Octets-r.before) * 8 / max(now.Sub(r.written).Seconds(), 0.001)
	if first { // since the first packet, not since the start
		r.stats.BitRate = float64(r.stats.Octets) * 8 / max(now.Sub(r.started).Seconds(), 0.001)
	}
	r.before, r.written = r.stats.Octets, now
	r.count(now)
	switch {
	case r.JSON:
		r.json(&r.stats)
	case r.Terminal:
		// Without wrapping, what does not fit would fill the screen.
		fmt.Fprintf(r.Line, "\r\x1b[K\x1b[?7l%s\x1b[?7h", r.text())
		r.moving = true
	default:
		fmt.Fprintln(r.Line, r.text())
	}
}

// count brings the statistics up to date.
func (r *report) count(now time.Time) {
	s, t := &r.stats, &r.transport
	s.Time, s.TSPackets, s.TSGaps, s.RTP, s.RTPLost = now, t.packets, t.gaps, t.rtp, t.lost()
	s.Silent = 0
	if s.Packets > 0 {
		s.Silent = max(now.Sub(r.last).Seconds(), 0)
	}
}

// text is the live line.
func (r *report) text() string {
	s := &r.stats
	if s.Packets == 0 {
		return "nothing yet"
	}
	text := fmt.Sprintf("%s · %s · %d packets · %s", s.Way, bitRate(s.BitRate), s.Packets, octets(s.Octets))
	if s.Silent > 2 {
		text = fmt.Sprintf("silent for %.0f s · %s · %d packets", s.Silent, s.Way, s.Packets)
	}
	return text + r.losses()
}

// losses says what is known to be missing.
func (r *report) losses() (text string) {
	s := &r.stats
	switch {
	case s.RTP:
		text = fmt.Sprintf(" · RTP, %d lost", s.RTPLost)
	case s.TSPackets > 0 && s.TSGaps == 0:
		text = " · MPEG-TS, whole"
	case s.TSPackets > 0:
		text = fmt.Sprintf(" · MPEG-TS, %d gaps", s.TSGaps)
	}
	if s.Dropped > 0 {
		text += fmt.Sprintf(" · %d dropped here", s.Dropped)
	}
	if s.Unsent > 0 {
		text += fmt.Sprintf(" · %d not sent: %v", s.Unsent, r.why)
	}
	return text
}

// end writes the sum.
func (r *report) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear()
	s := &r.stats
	took := max(r.last.Sub(r.started), time.Millisecond)
	s.BitRate = float64(s.Octets) * 8 / took.Seconds()
	r.count(time.Now())
	switch {
	case r.JSON:
		s.End = true
		r.json(s)
	case s.Packets > 0:
		text := fmt.Sprintf("%d packets, %s in %v", s.Packets, octets(s.Octets), took.Round(time.Millisecond))
		if took >= shortest {
			text += ", " + bitRate(s.BitRate)
		}
		fmt.Fprintln(r.Line, text+r.losses())
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
