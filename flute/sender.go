package flute

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/pacing"
)

// Sender turns files into the packets of one FLUTE session. It opens no socket and starts no goroutine; it belongs to one
// goroutine, which adds files and sends what Poll returns. All times come from the caller.
type Sender struct {
	cfg    SenderConfig
	codec  object.Codec
	bucket pacing.Bucket

	files    map[uint64]*outgoing
	due      []*outgoing // being sent or waiting for their turn, by rank
	later    []*outgoing // of which no round has begun, by time
	lingers  []*outgoing // sent, and still described
	pages    []*page
	issued   map[uint32]time.Time // when FDT Instances expire, by ID
	nextID   uint32
	nextTOI  uint64
	seq      uint64
	turn     uint64
	works    []*Work
	closing  int // packets with A that are left
	closed   bool
	nextA    time.Time
	removed  bool // a file was, so that no instance lists all
	noMore   bool
	stats    SenderStats
	lastPage *page
}

// NewSender returns a Sender that has nothing to send.
func NewSender(cfg SenderConfig) (*Sender, error) {
	cfg = cfg.withDefaults()
	switch {
	case cfg.Profile > MBMS:
		return nil, fmt.Errorf("%w: profile %d", ErrConfig, cfg.Profile)
	case cfg.Profile == Version2 && cfg.TSI >= 1<<48, cfg.Profile != Version2 && cfg.TSI > math.MaxUint16:
		return nil, fmt.Errorf("%w: TSI %d", ErrConfig, cfg.TSI)
	case cfg.Profile == MBMS && cfg.ObjectFTI:
		return nil, fmt.Errorf("%w: MBMS has EXT_FTI with FDT Instances only", ErrConfig)
	case cfg.Profile != Version2 && cfg.FirstTOI > math.MaxUint16, cfg.FirstInstance >= maxInstanceID:
		return nil, fmt.Errorf("%w: first TOI %d, first FDT Instance %d", ErrConfig, cfg.FirstTOI, cfg.FirstInstance)
	}
	s := &Sender{
		cfg: cfg, files: make(map[uint64]*outgoing), issued: make(map[uint32]time.Time),
		nextID: cfg.FirstInstance, nextTOI: cfg.FirstTOI,
	}
	s.codec.Matrix = cfg.Matrix
	return s, nil
}

// header is that of every packet.
func (s *Sender) header(toi uint64) lct.Header {
	h := lct.Header{TSI: s.cfg.TSI, TOI: toi, HasTOI: true}
	if s.cfg.Profile != Version2 {
		h.TSILen, h.TOILen = 2, 2
	}
	return h
}

func (s *Sender) maxTOI() uint64 {
	if s.cfg.Profile != Version2 {
		return math.MaxUint16
	}
	return math.MaxUint32
}

// Remove stops sending a file and, at once, describing it.
func (s *Sender) Remove(now time.Time, toi uint64) {
	o := s.files[toi]
	if o == nil {
		return
	}
	o.removed = true
	is := func(x *outgoing) bool { return x == o }
	s.due = slices.DeleteFunc(s.due, is)
	s.later = slices.DeleteFunc(s.later, is)
	s.lingers = slices.DeleteFunc(s.lingers, is)
	s.unlist(o)
}

// Poll appends the next packet to buf, and returns false if there is none to send now: because of the rate, because
// there is nothing to send before NextTimeout, or because a computation of PollWork has to be done first.
func (s *Sender) Poll(now time.Time, buf []byte) ([]byte, bool) {
	if s.closed || s.bucket.Wait(now, s.cfg.Rate, s.cfg.Burst) > 0 {
		return buf, false
	}
	var out []byte
	var ok bool
	if s.closing > 0 {
		out, ok = s.pollClose(now, buf)
	} else {
		s.wakeFiles(now)
		if out, ok = s.pollFDT(now, buf); !ok {
			out, ok = s.pollFile(now, buf)
		}
	}
	if !ok {
		return buf, false
	}
	n := len(out) - len(buf)
	s.bucket.Take(now, n+pacing.UDPOverhead, s.cfg.Rate)
	s.stats.Packets++
	s.stats.Octets += uint64(n)
	return out, true
}

func (s *Sender) pollFile(now time.Time, buf []byte) ([]byte, bool) {
	o := s.pick(now)
	if o == nil {
		return buf, false
	}
	s.turn++
	o.turn = s.turn
	b, i, last := o.take()
	h := s.header(o.desc.TOI)
	h.Codepoint = uint8(o.plan.info.ID)
	h.Extensions = o.fti
	h.CloseObject = last && o.file.Rounds >= 0 && o.round+1 >= o.file.Rounds
	out, err := h.AppendTo(buf)
	if err == nil {
		out, err = b.AppendPacket(out, i)
	}
	if err != nil {
		o.err = err
		return buf, false
	}
	n := uint64(len(out) - len(buf) - h.Len() - o.plan.info.ID.PayloadIDLen())
	if i < b.SourcePackets() {
		s.stats.SourcePackets++
		s.stats.SourceOctets += n
	} else {
		s.stats.RepairPackets++
		s.stats.RepairOctets += n
	}
	if last {
		s.ended(now, o)
	}
	return out, true
}

// closePackets is how often the end of the session is told, closeInterval how far apart.
const (
	closePackets  = 3
	closeInterval = 100 * time.Millisecond
)

// Close ends the session: what has not been sent is dropped, and packets with the flag A follow. It may be called more
// than once.
func (s *Sender) Close(now time.Time) {
	if s.closing > 0 || s.closed {
		return
	}
	s.closing, s.nextA = closePackets, now
	s.due, s.later, s.lingers, s.pages, s.works = nil, nil, nil, nil, nil
	clear(s.files)
}

func (s *Sender) pollClose(now time.Time, buf []byte) ([]byte, bool) {
	if now.Before(s.nextA) {
		return buf, false
	}
	// Without symbols there is no TOI (RFC 6726 section 3.1), and without TOI no TSI of 16 bits.
	h := lct.Header{TSI: s.cfg.TSI, CloseSession: true}
	out, err := h.AppendTo(buf)
	if err != nil {
		return buf, false
	}
	s.closing--
	s.closed = s.closing == 0
	s.nextA = now.Add(closeInterval)
	return out, true
}

// NoMore announces that no other files will follow: the FDT says so, as long as one instance describes all that the session
// ever had.
func (s *Sender) NoMore() {
	s.noMore = true
	for _, p := range s.pages {
		p.dirty = true
	}
}

// Closed tells that the session has ended.
func (s *Sender) Closed() bool { return s.closed }

// Idle tells that no file is waiting to be sent, for the first time or again.
func (s *Sender) Idle() bool { return len(s.due) == 0 && len(s.later) == 0 }

// NextTimeout is when Poll may have a packet, zero for never. If a computation is under way there may be one sooner, after
// Finish.
func (s *Sender) NextTimeout(now time.Time) time.Time {
	if s.closed {
		return time.Time{}
	}
	var at time.Time
	switch {
	case s.closing > 0:
		at = s.nextA
	default:
		at = s.nextFDT()
		if len(s.later) > 0 {
			at = sooner(at, s.later[0].next)
		}
		if len(s.lingers) > 0 {
			at = sooner(at, s.lingers[0].gone)
		}
		for _, o := range s.due {
			if o.job == nil || o.cur.left() > 0 || o.prev.left() > 0 {
				at = sooner(at, now)
				break
			}
		}
	}
	if at.IsZero() {
		return at
	}
	if free := now.Add(s.bucket.Wait(now, s.cfg.Rate, s.cfg.Burst)); free.After(at) {
		return free
	}
	return at
}

// Stats returns the counters.
func (s *Sender) Stats() SenderStats {
	st := s.stats
	st.Waiting = len(s.due) + len(s.later)
	return st
}
