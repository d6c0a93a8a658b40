package flute

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"compress/zlib"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math"
	"slices"
	"time"

	"github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/flute/alc"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
)

// File is what a Sender sends.
type File struct {
	// Location is the Content-Location: the name, most often a URL.
	Location string
	// Body is the file, of Length octets, as it is transferred unless Compress is set. It is read until the file is
	// gone, in places, more than once.
	Body   io.ReaderAt
	Length int64

	ContentType string
	// ContentEncoding is that of Body; ContentLength is then the length behind it, 0 if it is not known.
	ContentEncoding string
	ContentLength   int64
	// Compress makes the Sender encode Body: gzip, deflate or zlib.
	Compress string

	// FEC is the protection, nil for that of the configuration.
	FEC *FEC

	// Start is when the first round begins, now if it is zero. Rounds is how often the file is sent, Interval the time
	// from one beginning to the next. Rounds 0 is once, -1 until Remove.
	Start    time.Time
	Rounds   int
	Interval time.Duration
	// Deadline is when the last packet should have left. Files with a deadline go first, the earliest before all; then
	// those of higher Priority.
	Deadline time.Time
	Priority int

	// Attributes is what else the FDT shall say: entity tag, caching, alternate locations, groups, signatures, and so
	// on. What this File says, and FEC, lengths and digests, take the place of what is there.
	Attributes fdt.File
	// TOI, if it is not zero, is the TOI to use.
	TOI uint64
}

// Sender turns files into the packets of one FLUTE session. It opens no socket and starts no goroutine; it belongs to one
// goroutine, which adds files and sends what Poll returns. All times come from the caller.
type Sender struct {
	cfg    SenderConfig
	codec  object.Codec
	bucket bucket

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

// Add starts a file and returns its TOI. It is described before its first packet leaves. Its digest is computed here,
// and Compress done, so that all of Body is read once.
func (s *Sender) Add(now time.Time, f File) (toi uint64, err error) {
	switch {
	case s.closing > 0 || s.closed || s.noMore:
		return 0, fmt.Errorf("%w: session is closed", ErrConfig)
	case f.Location == "":
		return 0, fmt.Errorf("%w: no location", ErrConfig)
	case f.Length < 0 || f.Length > maxTransfer || f.Body == nil && f.Length > 0:
		return 0, fmt.Errorf("%w: %d octets", ErrConfig, f.Length)
	case f.TOI > s.maxTOI() || s.files[f.TOI] != nil:
		return 0, fmt.Errorf("%w: TOI %d", ErrConfig, f.TOI)
	}
	if toi = f.TOI; toi == 0 {
		if toi, err = s.freeTOI(); err != nil {
			return 0, err
		}
	}
	o := &outgoing{s: s, file: f, seq: s.seq, next: f.Start}
	if o.next.IsZero() {
		o.next = now
	}
	if err := o.describe(toi); err != nil {
		return 0, err
	}
	h := s.header(toi)
	h.Extensions = o.fti
	room := s.cfg.MaxPayload - h.Len() - o.fec.Scheme.PayloadIDLen()
	if o.plan, err = o.fec.cut(o.file.Length, room); err != nil {
		return 0, err
	}
	if o.desc.FEC, err = fdt.FECOf(o.plan.info); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if k, _, _ := o.plan.info.Block(0); o.fec.Scheme != 0 && k > 0 {
		o.desc.FECRedundancyLevel = uint32(math.Ceil(float64(o.fec.repair(k)) * 100 / float64(k)))
	}
	if s.cfg.ObjectFTI {
		if o.fti, err = alc.AppendFTI(nil, &o.plan.info); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	if o.enc, err = s.codec.NewEncoder(o.plan.info, o.file.Body); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	o.enc.Group = o.plan.group
	o.blocks = uint32(o.plan.info.Blocks())
	// What the FDT cannot say is found out here.
	probe := fdt.Instance{Version: s.version(), Expires: 1, Files: []fdt.File{o.desc}}
	if _, err := probe.Append(nil); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	s.seq++
	s.files[toi] = o
	s.list(o)
	s.schedule(o)
	return toi, nil
}

// describe fills in what the FDT says of the file, and encodes it.
func (o *outgoing) describe(toi uint64) error {
	s, f := o.s, &o.file
	o.fec = s.cfg.FEC
	if f.FEC != nil {
		o.fec = *f.FEC
	}
	o.desc = f.Attributes
	o.desc.TOI, o.desc.ContentLocation = toi, f.Location
	o.desc.ContentType, o.desc.ContentEncoding = f.ContentType, f.ContentEncoding
	o.desc.ContentLength, o.desc.HasContentLength = 0, false
	switch {
	case f.ContentEncoding == "" && f.Compress == "":
		o.desc.ContentLength, o.desc.HasContentLength = uint64(f.Length), true
	case f.ContentLength > 0:
		o.desc.ContentLength, o.desc.HasContentLength = uint64(f.ContentLength), true
	}
	sum := md5.New()
	if !s.cfg.NoDigests && f.ContentEncoding == "" {
		// Over the decoded file (RFC 6726 section 3.4.2).
		if _, err := io.Copy(sum, io.NewSectionReader(f.Body, 0, f.Length)); err != nil {
			return fmt.Errorf("flute: reading %q: %w", f.Location, err)
		}
		o.desc.ContentMD5 = sum.Sum(nil)
	}
	if f.Compress != "" {
		if f.ContentEncoding != "" {
			return fmt.Errorf("%w: both Compress and ContentEncoding", ErrConfig)
		}
		body, err := compress(f.Compress, io.NewSectionReader(f.Body, 0, f.Length))
		if err != nil {
			return err
		}
		o.desc.ContentLength, o.desc.HasContentLength = uint64(f.Length), true
		o.desc.ContentEncoding = f.Compress
		f.Body, f.Length = bytes.NewReader(body), int64(len(body))
	}
	o.desc.TransferLength, o.desc.HasTransferLength = uint64(f.Length), true
	if s.cfg.SHA256 {
		var h hash.Hash = sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(f.Body, 0, f.Length)); err != nil {
			return fmt.Errorf("flute: reading %q: %w", f.Location, err)
		}
		o.desc.ContentDigest.SHA256 = h.Sum(nil)
	}
	if s.cfg.ObjectFTI {
		o.fti = make(lct.Extensions, 4*5) // the longest
	}
	return nil
}

// compress applies a content encoding.
func compress(encoding string, r io.Reader) ([]byte, error) {
	var buf bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "zlib", "deflate": // HTTP's deflate is zlib's format
		w = zlib.NewWriter(&buf)
	default:
		return nil, fmt.Errorf("%w: %w: %q", ErrConfig, ErrEncoding, encoding)
	}
	if _, err := io.Copy(w, r); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func (s *Sender) freeTOI() (uint64, error) {
	for range len(s.files) + 1 {
		toi := s.nextTOI
		if s.nextTOI++; s.nextTOI > s.maxTOI() {
			s.nextTOI = 1
		}
		if s.files[toi] == nil {
			return toi, nil
		}
	}
	return 0, fmt.Errorf("%w: all TOIs are in use", ErrConfig)
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

// schedule puts a file where it waits for its next round.
func (s *Sender) schedule(o *outgoing) {
	i, _ := slices.BinarySearchFunc(s.later, o, func(a, b *outgoing) int {
		return cmp.Or(a.next.Compare(b.next), cmp.Compare(a.seq, b.seq))
	})
	s.later = slices.Insert(s.later, i, o)
}

// wakeFiles begins the rounds that are due, and forgets what is over.
func (s *Sender) wakeFiles(now time.Time) {
	n := 0
	for ; n < len(s.later) && !s.later[n].next.After(now); n++ {
		o := s.later[n]
		i, _ := slices.BinarySearchFunc(s.due, o, func(a, b *outgoing) int {
			if a.before(b) {
				return -1
			}
			return 1
		})
		s.due = slices.Insert(s.due, i, o)
		o.begin()
	}
	s.later = slices.Delete(s.later, 0, n)
	for n = 0; n < len(s.lingers) && !s.lingers[n].gone.After(now); n++ {
		s.unlist(s.lingers[n])
	}
	s.lingers = slices.Delete(s.lingers, 0, n)
}

// ended is the end of a file's round.
func (s *Sender) ended(now time.Time, o *outgoing) {
	s.due = slices.DeleteFunc(s.due, func(x *outgoing) bool { return x == o })
	if o.round++; o.round == 1 {
		s.stats.Files++
	}
	s.stats.Rounds++
	if o.more() {
		o.next = o.next.Add(o.file.Interval)
		if o.next.Before(now) {
			o.next = now // the rate does not suffice for the interval
		}
		s.schedule(o)
		return
	}
	o.gone = now.Add(s.cfg.Linger)
	s.lingers = append(s.lingers, o)
}

// endedEmpty is ended for a file without octets: every round is like the first.
func (s *Sender) endedEmpty(now time.Time, o *outgoing) {
	if o.file.Rounds < 0 {
		s.due = slices.DeleteFunc(s.due, func(x *outgoing) bool { return x == o })
		return
	}
	o.file.Rounds = 0
	s.ended(now, o)
}

// more tells whether another round follows the one that is under way.
func (o *outgoing) more() bool { return o.file.Rounds < 0 || o.round < o.file.Rounds }

// Poll appends the next packet to buf, and returns false if there is none to send now: because of the rate, because
// there is nothing to send before NextTimeout, or because a computation of PollWork has to be done first.
func (s *Sender) Poll(now time.Time, buf []byte) ([]byte, bool) {
	if s.closed || s.bucket.wait(now, s.cfg.Rate, s.cfg.Burst) > 0 {
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
	s.bucket.take(now, n+udpOverhead, s.cfg.Rate)
	s.stats.Packets++
	s.stats.Octets += uint64(n)
	return out, true
}

// pick returns the file whose turn it is.
func (s *Sender) pick(now time.Time) *outgoing {
	var best *outgoing
	window := 0
	for i := 0; i < len(s.due); {
		o := s.due[i]
		if best != nil && (!o.sameRank(best) || window >= s.cfg.Parallel) || window > s.cfg.Parallel {
			break // one more than Parallel, since blocks take time to prepare
		}
		if o.err != nil {
			s.cfg.Logger.Warn("file cannot be sent", "location", o.file.Location, "error", o.err)
			s.Remove(now, o.desc.TOI)
			continue
		}
		i++
		if !o.ready {
			if o.page.dirty || o.page.sending {
				window++ // its description is about to leave
			}
			continue
		}
		if o.blocks == 0 { // an empty file is in the FDT only
			i--
			s.endedEmpty(now, o)
			continue
		}
		window++
		if o.advance() && (best == nil || o.turn < best.turn) {
			best = o
		}
	}
	return best
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
	if free := now.Add(s.bucket.wait(now, s.cfg.Rate, s.cfg.Burst)); free.After(at) {
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
