package route

import (
	"cmp"
	"encoding/binary"
	"log/slog"
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/route/sls"
)

// SenderConfig configures a Sender. The zero value of every field is usable.
type SenderConfig struct {
	// Session is announced in the S-TSID. Receivers take it from there only
	// if it is valid.
	Session Session
	// MaxPayload is the largest UDP payload in octets. Default 1400, at
	// least 256.
	MaxPayload int
	// FirstTSI is the first TSI for files and media, default 1. A sender that
	// starts again must continue behind the TSIs of the run before, see
	// NextTSI: receivers remember them.
	FirstTSI uint32
	// Loss is what the repair flow must make up for.
	Loss fec.Loss
	// NoRepair turns the repair flow off.
	NoRepair bool
	// BlockSymbols bounds the source symbols of one RaptorQ block, default
	// 1024. Blocks of smaller symbols may have up to four times as many.
	BlockSymbols int
	// Rate limits what is sent, in bit/s. Default: four times the peak of
	// the octets appended within a second, but never less than 20 Mbit/s.
	Rate int64
	// Burst is how much may leave at once, in octets. Default 64 KiB.
	Burst int
	// SLSInterval is the repetition of the signalling, default 500 ms.
	SLSInterval time.Duration
	// CarouselInterval is the repetition of carousel objects, default 1 s.
	CarouselInterval time.Duration
	// TrackLinger is how long the channel of a superseded run stays
	// announced, default 10 s; also for the File entry of a lone file.
	TrackLinger time.Duration
	// TrackIdle is how long a channel without objects stays announced,
	// default 60 s.
	TrackIdle time.Duration
	// Retain is how long Lookup finds an object after its end, default 60 s.
	Retain time.Duration
	// RepairAge is how long after its end an object's repair packets may
	// leave, default 5 s.
	RepairAge time.Duration
	// MaxObject bounds one object, in octets. Default 64 MiB.
	MaxObject int64
	// MaxBuffered bounds the octets that wait to be sent. Default 256 MiB.
	MaxBuffered int64
	// Logger gets warnings. Nil is silent.
	Logger *slog.Logger
}

func (c SenderConfig) withDefaults() SenderConfig {
	c.MaxPayload = max(256, cmp.Or(c.MaxPayload, 1400))
	c.FirstTSI = max(1, c.FirstTSI)
	c.BlockSymbols = cmp.Or(c.BlockSymbols, 1024)
	c.Burst = cmp.Or(c.Burst, 64<<10)
	c.SLSInterval = cmp.Or(c.SLSInterval, 500*time.Millisecond)
	c.CarouselInterval = cmp.Or(c.CarouselInterval, time.Second)
	c.TrackLinger = cmp.Or(c.TrackLinger, 10*time.Second)
	c.TrackIdle = cmp.Or(c.TrackIdle, time.Minute)
	c.Retain = cmp.Or(c.Retain, time.Minute)
	c.RepairAge = cmp.Or(c.RepairAge, 5*time.Second)
	c.MaxObject = min(maxObject, cmp.Or(c.MaxObject, 64<<20))
	c.MaxBuffered = cmp.Or(c.MaxBuffered, 256<<20)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

const (
	minRate = 20_000_000 // bit/s
	// Largest headers before the payload: LCT 16, Payload ID 4, and EXT_TOL 8
	// on source or EXT_FTI 16 on repair packets.
	sourceOverhead = 16 + 4 + 8
	repairOverhead = 16 + 4 + 16
)

// SenderStats counts what a Sender did.
type SenderStats struct {
	Packets, Octets             uint64 // all of them, UDP payload
	SourcePackets, SourceOctets uint64
	RepairPackets, RepairOctets uint64
	SignallingPackets           uint64
	CarouselPackets             uint64
	Objects, Aborted            uint64
	RepairDropped               uint64 // objects whose repair came too late
	Buffered                    int64  // octets that wait
	Rate                        int64  // bit/s, as it stands
}

// Sender turns objects into the packets of one ROUTE session. It opens no
// socket and starts no goroutine; it belongs to one goroutine, which feeds it
// and sends what Poll returns. All times come from the caller.
type Sender struct {
	cfg  SenderConfig
	unit int // octets of a full source payload, and of a repair payload

	bucket bucket
	peak   peak

	nextTSI uint32
	flows   []*flow
	turn    int // of the round among flows
	meta    *flow

	signal   signal
	rev      uint64 // of what should be announced
	sentRev  uint64 // of what was sent at least once
	parts    []sls.Part
	carousel *file // being repeated now

	works    []*Work
	repairs  []*encodeJob // oldest object first
	index    map[objectKey]*Lookup
	expiry   []retained
	bufs     [][]byte
	buffered int64
	stats    SenderStats
}

type objectKey struct {
	tsi, toi uint32
}

type retained struct {
	key   objectKey
	until time.Time
}

// NewSender returns a Sender that has nothing to send.
func NewSender(cfg SenderConfig) *Sender {
	cfg = cfg.withDefaults()
	// The unit is the same for source and repair packets and has many
	// divisors that are multiples of 8: see symbolSize.
	unit := cfg.MaxPayload - max(sourceOverhead, repairOverhead)
	return &Sender{
		cfg:     cfg,
		unit:    unit - unit%48,
		nextTSI: cfg.FirstTSI,
		index:   make(map[objectKey]*Lookup),
	}
}

// NextTSI is the lowest TSI that was not used yet.
func (s *Sender) NextTSI() uint32 { return s.nextTSI }

// Stats returns the counters.
func (s *Sender) Stats() SenderStats {
	st := s.stats
	st.Buffered, st.Rate = s.buffered, s.rate()
	return st
}

// Begin starts an object. It is announced, if its channel or File entry is
// new, before its first packet leaves.
func (s *Sender) Begin(now time.Time, out Outgoing) (*Transmission, error) {
	for _, name := range []string{out.Name, out.ContentType, out.Track.Stem, out.Track.Representation} {
		if len(name) > maxName || !announceable(name) {
			return nil, ErrName
		}
	}
	if out.Name == "" {
		return nil, ErrName
	}
	if out.Length < 0 || out.Length > s.cfg.MaxObject {
		return nil, ErrTooLarge
	}
	t := &Transmission{s: s, out: out, length: -1, cp: cpMedia, buf: s.takeBuffer()}
	if out.Length > 0 {
		t.length = out.Length
	}
	var templated bool
	t.flow, t.toi, templated = s.place(&out)
	t.rev = t.flow.rev
	switch {
	case out.Carousel && !templated:
		t.cp = cpInit
	case out.Track.Stem == "":
		t.cp = cpFile
	}
	if !templated {
		t.file = &file{tx: t, name: out.Name, carousel: out.Carousel}
		t.flow.files = append(t.flow.files, t.file)
		t.rev = s.announce()
	}
	t.flow.open++
	s.stats.Objects++
	s.index[objectKey{t.flow.tsi, t.toi}] = &Lookup{
		Name: out.Name, Generation: t.generation(), ContentType: out.ContentType, Length: t.length,
	}
	return t, nil
}

// generation is what receivers are told.
func (t *Transmission) generation() uint64 {
	if t.file == nil {
		return t.flow.track.Run
	}
	return t.out.Generation
}

// RemoveFile ends the carousel of a lone file and withdraws its announcement.
func (s *Sender) RemoveFile(now time.Time, name string) {
	if s.meta == nil {
		return
	}
	for _, x := range slices.Clone(s.meta.files) {
		if x.name == name {
			s.meta.removeFile(x)
			s.changed(now)
		}
	}
}

// enqueue notes that t has a packet to send.
func (s *Sender) enqueue(t *Transmission) {
	if !slices.Contains(t.flow.queue, t) {
		t.flow.queue = append(t.flow.queue, t)
	}
}

func (s *Sender) ended(now time.Time, t *Transmission) {
	key := objectKey{t.flow.tsi, t.toi}
	t.flow.open--
	t.flow.idle = now
	s.index[key].Length = t.length
	s.expiry = append(s.expiry, retained{key, now.Add(s.cfg.Retain)})
	if t.file != nil {
		for _, x := range slices.Clone(t.flow.files) {
			if x.name == t.file.name && x != t.file && x.tx.ended {
				t.flow.removeFile(x)
				s.changed(now)
			}
		}
		if t.file.carousel {
			t.file.next = now.Add(s.cfg.CarouselInterval)
		} else {
			t.file.expires = now.Add(s.cfg.TrackLinger)
		}
	}
	if s.cfg.NoRepair || t.length == 0 {
		return
	}
	t.coding = true
	j := &encodeJob{
		tx: t, object: t.buf, packets: t.packets,
		unit: s.unit, block: s.cfg.BlockSymbols, loss: s.cfg.Loss,
	}
	s.works = append(s.works, &Work{run: j.run, encode: j})
}

func (s *Sender) abort(t *Transmission) {
	s.stats.Aborted++
	t.flow.open--
	delete(s.index, objectKey{t.flow.tsi, t.toi})
	if i := slices.Index(t.flow.queue, t); i >= 0 {
		t.flow.queue = slices.Delete(t.flow.queue, i, i+1)
	}
	if t.file != nil {
		// The entry stays announced until the next change: harmless.
		t.flow.removeFile(t.file)
	}
	t.packets, t.next = nil, 0
	s.release(t)
}

// PollWork returns the next FEC computation to run, and false if there is
// none.
func (s *Sender) PollWork() (*Work, bool) {
	if len(s.works) == 0 {
		return nil, false
	}
	w := s.works[0]
	s.works = slices.Delete(s.works, 0, 1)
	return w, true
}

// Finish takes a computation back that has been run.
func (s *Sender) Finish(now time.Time, w *Work) {
	j := w.encode
	if j == nil || j.tx.s != s || !j.tx.coding {
		return
	}
	j.tx.coding = false
	s.release(j.tx)
	if j.err != nil {
		s.cfg.Logger.Warn("no repair packets for object", "name", j.tx.out.Name, "error", j.err)
		return
	}
	if l := s.index[objectKey{j.tx.flow.tsi, j.tx.toi}]; l != nil {
		l.Repair, l.OTI, l.NextESI = true, j.oti, j.firstESI
	}
	i, _ := slices.BinarySearchFunc(s.repairs, j, func(a, b *encodeJob) int {
		return a.tx.endedAt.Compare(b.tx.endedAt)
	})
	s.repairs = slices.Insert(s.repairs, i, j)
}

// RunWork runs all waiting computations at once, for callers that can afford
// the delay: some milliseconds for each megabyte.
func (s *Sender) RunWork(now time.Time) {
	for {
		w, ok := s.PollWork()
		if !ok {
			return
		}
		w.Run()
		s.Finish(now, w)
	}
}

// takeBuffer and release recycle the memory of objects.
func (s *Sender) takeBuffer() []byte {
	if n := len(s.bufs); n > 0 {
		b := s.bufs[n-1]
		s.bufs = s.bufs[:n-1]
		return b[:0]
	}
	return nil
}

func (s *Sender) release(t *Transmission) {
	if t.buf == nil || t.coding || t.next < len(t.packets) || !t.ended && !t.aborted {
		return
	}
	if !t.settled {
		t.settled = true
		s.buffered -= int64(len(t.buf))
	}
	if t.file != nil && t.file.carousel {
		return
	}
	if len(s.bufs) < 8 && cap(t.buf) <= 4<<20 {
		s.bufs = append(s.bufs, t.buf)
	}
	t.buf = nil
}

func (s *Sender) rate() int64 {
	if s.cfg.Rate > 0 {
		return s.cfg.Rate
	}
	return max(minRate, 4*s.peak.bitrate())
}

// Poll appends the next packet to dst, if one may leave now. Signalling and
// source packets go first, then repair packets, those of the oldest object
// first, then carousel repetitions.
func (s *Sender) Poll(now time.Time, dst []byte) (pkt []byte, ok bool) {
	rate := s.rate()
	if s.bucket.wait(now, rate, s.cfg.Burst) > 0 {
		return dst, false
	}
	n := len(dst)
	dst, ok = s.appendNext(now, dst)
	if ok {
		s.bucket.take(now, len(dst)-n+udpOverhead, rate)
		s.stats.Packets++
		s.stats.Octets += uint64(len(dst) - n)
	}
	return dst, ok
}

func (s *Sender) appendNext(now time.Time, dst []byte) ([]byte, bool) {
	s.expire(now)
	if dst, ok := s.appendSignalling(now, dst); ok {
		s.stats.SignallingPackets++
		return dst, true
	}
	if t := s.nextSource(); t != nil {
		n := len(dst)
		dst = t.appendSource(dst, t.next)
		t.next++
		s.stats.SourcePackets++
		s.stats.SourceOctets += uint64(len(dst) - n)
		if t.next == len(t.packets) {
			t.flow.queue = slices.DeleteFunc(t.flow.queue, func(x *Transmission) bool { return x == t })
			t.flow.idle = now
			s.release(t)
		}
		return dst, true
	}
	n := len(dst)
	if dst, ok := s.appendRepair(now, dst); ok {
		s.stats.RepairPackets++
		s.stats.RepairOctets += uint64(len(dst) - n)
		return dst, true
	}
	if dst, ok := s.appendCarousel(now, dst); ok {
		s.stats.CarouselPackets++
		return dst, true
	}
	return dst, false
}

// nextSource takes the channels in turn, so that a large segment of one does
// not hold up the small ones of another.
func (s *Sender) nextSource() *Transmission {
	for range s.flows {
		s.turn = (s.turn + 1) % len(s.flows)
		if t := s.flows[s.turn].pendingIn(); t != nil {
			return t
		}
	}
	return nil
}

func (s *Sender) appendRepair(now time.Time, dst []byte) ([]byte, bool) {
	for len(s.repairs) > 0 {
		j := s.repairs[0]
		late := now.Sub(j.tx.endedAt) > s.cfg.RepairAge
		if late {
			s.stats.RepairDropped++
		} else if dst, ok := j.appendPacket(dst); ok {
			return dst, true
		}
		s.repairs = slices.Delete(s.repairs, 0, 1)
	}
	return dst, false
}

// appendPacket appends the next repair packet. The blocks take turns, so that
// a burst of losses hits all of them alike.
func (j *encodeJob) appendPacket(dst []byte) ([]byte, bool) {
	for range j.blocks {
		sbn := j.turn
		j.turn = (j.turn + 1) % len(j.blocks)
		b := &j.blocks[sbn]
		if b.sent == len(b.symbols) {
			continue
		}
		y := int(j.oti.SymbolSize)
		n := min(j.group*y, len(b.symbols)-b.sent)
		var room [16]byte
		ext, _ := lct.Extensions(room[:0]).AppendFTI(j.fti[:])
		h := lct.Header{
			PSI: psiRepair, Codepoint: cpRepair,
			TSI: uint64(j.tx.flow.tsi), TOI: uint64(j.tx.toi), HasTOI: true, TSILen: 4, TOILen: 4,
			Extensions: ext,
		}
		dst, _ = h.AppendTo(dst)
		esi := b.k + uint32(b.sent/y)
		dst = binary.BigEndian.AppendUint32(dst, uint32(sbn)<<24|esi)
		dst = append(dst, b.symbols[b.sent:b.sent+n]...)
		b.sent += n
		return dst, true
	}
	return dst, false
}

func (s *Sender) appendCarousel(now time.Time, dst []byte) ([]byte, bool) {
	for {
		x := s.carousel
		if x == nil {
			if x = s.dueFile(now); x == nil {
				return dst, false
			}
			s.carousel = x
			x.at = 0
		}
		if x.at < len(x.tx.packets) && slices.Contains(s.meta.files, x) {
			dst = x.tx.appendSource(dst, x.at)
			x.at++
			return dst, true
		}
		x.next = now.Add(s.cfg.CarouselInterval)
		s.carousel = nil
	}
}

// dueFile returns a carousel file whose time has come.
func (s *Sender) dueFile(now time.Time) *file {
	if s.meta == nil {
		return nil
	}
	for _, x := range s.meta.files {
		if !x.next.IsZero() && !now.Before(x.next) && x.tx.next == len(x.tx.packets) {
			return x
		}
	}
	return nil
}

// NextTimeout is when Poll is worth calling again if it had nothing, or was
// not allowed, to send; zero if only new input can change that.
func (s *Sender) NextTimeout(now time.Time) time.Time {
	next := s.nextRetire()
	ready := s.signal.urgent || s.signal.sending || len(s.repairs) > 0 || s.carousel != nil
	for _, f := range s.flows {
		ready = ready || f.pendingIn() != nil
	}
	if s.meta != nil {
		for _, x := range s.meta.files {
			next = sooner(next, x.next)
		}
	}
	next = sooner(next, s.signal.nextTimeout())
	if ready || !next.IsZero() && next.Before(now) {
		next = now
	}
	if next.IsZero() {
		return next
	}
	if free := now.Add(s.bucket.wait(now, s.rate(), s.cfg.Burst)); next.Before(free) {
		return free
	}
	return next
}

// Lookup finds an object by its identifiers, from Begin until Retain after its
// end.
func (s *Sender) Lookup(tsi, toi uint32) (Lookup, bool) {
	l := s.index[objectKey{tsi, toi}]
	if l == nil {
		return Lookup{}, false
	}
	return *l, true
}

func (s *Sender) expire(now time.Time) {
	n := 0
	for n < len(s.expiry) && now.After(s.expiry[n].until) {
		key := s.expiry[n].key
		if !s.inCarousel(key) {
			delete(s.index, key)
		}
		n++
	}
	s.expiry = slices.Delete(s.expiry, 0, n)
	if next := s.nextRetire(); !next.IsZero() && !now.Before(next) {
		s.retire(now)
	}
}

func (s *Sender) inCarousel(key objectKey) bool {
	return s.meta != nil && s.meta.tsi == key.tsi && slices.ContainsFunc(s.meta.files, func(x *file) bool {
		return x.tx.toi == key.toi && x.carousel
	})
}
