package route

import (
	"cmp"
	"slices"
	"time"

	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/flute/pacing"
	"github.com/treedn/treedn/route/sls"
)

// Sender turns objects into the packets of one ROUTE session. It opens no
// socket and starts no goroutine; it belongs to one goroutine, which feeds it
// and sends what Poll returns. All times come from the caller.
type Sender struct {
	cfg  SenderConfig
	unit int // octets of a full source payload, and of a repair payload

	bucket    pacing.Bucket
	throttled bool // the bucket was empty
	peak      peak

	nextTSI uint32
	flows   []*flow
	turn    int // of the round among flows
	meta    *flow

	signal   signal
	rev      uint64 // of what should be announced
	sentRev  uint64 // of what was sent at least once
	parts    []sls.Part
	carousel *file // being repeated now

	works   []*Work
	repairs []*encodeJob // oldest object first
	pools   []*poolFlow

	// Of growing objects.
	codec      raptorq.Codec
	open       []*Transmission // with an open block
	blockWorks []*Work
	blocks     []*blockJob // with repair packets to send, oldest first
	blockJobs  []*blockJob // for reuse
	plans      plans

	index       map[objectKey]*Lookup
	expiry      []retained
	bufs        [][]byte
	spareOctets int // of bufs
	buffered    int64
	stats       SenderStats
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
	unit := cfg.MaxPayload - max(sourceOverhead, repairOverhead, growingOverhead)
	return &Sender{
		cfg:     cfg,
		unit:    unit - unit%48,
		nextTSI: cfg.FirstTSI,
		signal:  signal{version: versionBefore(cfg.FirstTSI), since: cfg.After},
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
	if _, err := out.codepoint(false); err != nil {
		return nil, err
	}
	var header []byte
	chunked := false
	if out.Format == sls.FormatEntity {
		var err error
		if header, chunked, err = out.entityHeader(); err != nil {
			return nil, err
		}
	}
	t := &Transmission{s: s, out: out, length: -1, chunked: chunked, buf: s.takeBuffer(out.Length)}
	if out.Length > 0 {
		t.length = int64(len(header)) + out.Length
	}
	var templated bool
	t.flow, t.toi, templated = s.place(&out)
	t.cp, _ = out.codepoint(templated)
	t.rev = t.flow.rev
	if templated && out.Pool != "" && t.flow.pool == nil && !s.cfg.NoRepair {
		s.join(t.flow, out.Pool)
		t.rev = t.flow.rev
	}
	if templated && out.Format == sls.FormatEntity && !t.flow.entities {
		t.flow.entities = true
		t.rev = s.announce()
		t.flow.rev = t.rev
	}
	if out.ChannelRate > 0 && out.ChannelRate != t.flow.limit {
		t.flow.limit = out.ChannelRate
		s.changed(now)
	}
	if !templated {
		t.file = &file{tx: t, name: out.Name, carousel: out.repeated(), every: cmp.Or(out.Every, s.cfg.CarouselInterval), left: out.Times - 1}
		t.flow.files = append(t.flow.files, t.file)
		t.rev = s.announce()
	}
	t.flow.open++
	s.stats.Objects++
	s.index[objectKey{t.flow.tsi, t.toi}] = &Lookup{
		Name: out.Name, Generation: t.generation(), ContentType: out.ContentType, Length: t.length,
	}
	if len(header) > 0 {
		if err := t.append(now, header); err != nil {
			t.Abort()
			return nil, err
		}
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
			s.dropFile(now, x)
		}
	}
}

// dropFile withdraws a File entry.
func (s *Sender) dropFile(now time.Time, x *file) {
	s.meta.removeFile(x)
	s.changed(now)
	if x.carousel {
		s.expiry = append(s.expiry, retained{objectKey{s.meta.tsi, x.tx.toi}, now.Add(s.cfg.Retain)})
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
				s.dropFile(now, x)
			}
		}
		if t.file.carousel {
			t.file.next = now.Add(t.file.every)
		} else {
			t.file.expires = now.Add(s.cfg.TrackLinger)
		}
	}
	if s.cfg.NoRepair || t.length == 0 {
		return
	}
	if t.flow.pool != nil {
		s.pooled(t)
		return
	}
	t.coding++
	j := &encodeJob{
		tx: t, tsi: s.repairTSI(t.flow.tsi), object: t.buf, packets: t.packets, grown: t.growth.blocks,
		unit: s.unit, block: s.cfg.BlockSymbols, loss: s.cfg.Loss, codec: &s.codec,
	}
	s.works = append(s.works, &Work{run: j.run, encode: j})
}

func (s *Sender) abort(t *Transmission) {
	s.stats.Aborted++
	s.ungrow(t)
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
	works := &s.works
	if len(s.blockWorks) > 0 {
		works = &s.blockWorks // takes less time, and has less
	}
	if len(*works) == 0 {
		return nil, false
	}
	w := (*works)[0]
	*works = slices.Delete(*works, 0, 1)
	return w, true
}

// Finish takes a computation back that has been run.
func (s *Sender) Finish(now time.Time, w *Work) {
	if w.block != nil {
		s.finishBlock(w)
		return
	}
	j := w.encode
	if j == nil || j.tx.s != s || j.back {
		return
	}
	j.back = true
	for _, t := range j.pool {
		t.coding--
		s.release(t)
	}
	if j.pool == nil {
		j.tx.coding--
		s.release(j.tx)
	}
	if j.err != nil {
		s.cfg.Logger.Warn("no repair packets for object", "name", j.tx.out.Name, "error", j.err)
		return
	}
	if j.of != nil && j.of.epoch != j.epoch {
		return
	}
	if l := s.index[objectKey{j.tx.flow.tsi, j.tx.toi}]; l != nil && j.pool == nil {
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
	s.closeBlocks(now)
	for {
		w, ok := s.PollWork()
		if !ok {
			return
		}
		w.Run()
		s.Finish(now, w)
	}
}

// maxSpare bounds the memory that is kept for objects to come, in octets.
const maxSpare = 32 << 20

// takeBuffer and release recycle the memory of objects.
func (s *Sender) takeBuffer(length int64) []byte {
	var b []byte
	if n := len(s.bufs); n > 0 {
		b = s.bufs[n-1][:0]
		s.bufs[n-1] = nil
		s.bufs = s.bufs[:n-1]
		s.spareOctets -= cap(b)
	}
	if length > 0 {
		// With room for what a super-object appends. A length that is only announced takes no memory beyond this.
		b = slices.Grow(b, int(min(length, 4<<20))+2*s.unit)
	}
	return b
}

func (s *Sender) release(t *Transmission) {
	if t.buf == nil || t.coding > 0 || t.next < len(t.packets) || !t.ended && !t.aborted {
		return
	}
	if !t.settled {
		t.settled = true
		s.buffered -= int64(len(t.buf))
	}
	if t.file != nil && t.file.carousel {
		return
	}
	if s.spareOctets+cap(t.buf) <= maxSpare {
		s.bufs = append(s.bufs, t.buf)
		s.spareOctets += cap(t.buf)
	}
	t.buf = nil
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
