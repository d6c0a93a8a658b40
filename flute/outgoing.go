package flute

import (
	"io"
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
)

// outgoing is a file of a Sender.
type outgoing struct {
	s     *Sender
	file  File
	desc  fdt.File
	plan  plan
	fec   FEC
	fti   lct.Extensions
	enc   *object.Encoder
	page  *page
	seq   uint64
	ready bool // announced

	round   int
	next    time.Time // of the round
	turn    uint64    // when it had its last one
	sbn     uint32    // the block to prepare next
	blocks  uint32
	cur     *sending // whose source packets leave
	prev    *sending // whose repair packets leave meanwhile
	fetched packets
	repairs [][2]int // by the size of a block, source packets and repair packets
	job     *encodeJob
	err     error
	removed bool
	gone    time.Time // leaves the FDT
}

// packets is a source block of a Sender, with the packets that it has.
type packets interface {
	SourcePackets() int
	Packets() int
	AppendPacket(dst []byte, i int) ([]byte, error)
}

// plainBlock is one without a code: its octets stay where they are until they are sent.
type plainBlock struct {
	body   io.ReaderAt
	sbn    uint32
	k      int
	symbol int
	offset int64
	length int
}

func (b *plainBlock) SourcePackets() int { return b.k }
func (b *plainBlock) Packets() int       { return b.k }

func (b *plainBlock) AppendPacket(dst []byte, i int) ([]byte, error) {
	out, err := fec.AppendPayloadID(dst, fec.CompactNoCode, fec.PayloadID{SBN: b.sbn, ESI: uint32(i)})
	if err != nil {
		return dst, err
	}
	at := i * b.symbol
	n := min(b.symbol, b.length-at)
	out = slices.Grow(out, n)
	symbol := out[len(out) : len(out)+n]
	if got, err := b.body.ReadAt(symbol, b.offset+int64(at)); got < n {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return dst, err
	}
	return out[:len(out)+n], nil
}

// sending is a block on its way out.
type sending struct {
	block packets
	next  int // packet
	end   int
	sent  int // of this stretch
}

func (x *sending) left() int {
	if x == nil {
		return 0
	}
	return x.end - x.next
}

// begin starts a round.
func (o *outgoing) begin() {
	o.sbn, o.cur, o.prev = 0, nil, nil
}

// prefetch has the next block prepared, if it is not yet.
func (o *outgoing) prefetch() {
	if o.fetched != nil || o.job != nil || o.sbn >= o.blocks || o.err != nil {
		return
	}
	if o.plain() {
		k, offset, length := o.plan.info.Block(o.sbn)
		o.fetched = &plainBlock{
			body: o.file.Body, sbn: o.sbn, k: k, symbol: int(o.plan.info.SymbolSize), offset: int64(offset), length: int(length),
		}
		o.sbn++
		return
	}
	o.job = &encodeJob{o: o, enc: o.enc, sbn: o.sbn}
	o.sbn++
	o.s.works = append(o.s.works, &Work{run: o.job.run, encode: o.job})
}

func (o *outgoing) plain() bool { return o.plan.info.ID == fec.CompactNoCode }

// advance brings the next block, and tells whether there is a packet to send now.
func (o *outgoing) advance() bool {
	if o.cur.left() > 0 || o.prev.left() > 0 && o.fetched == nil {
		return true
	}
	if o.cur != nil && o.prev.left() == 0 {
		// The source packets have left; those of repair go with the next block's.
		o.prev, o.cur = o.repairOf(o.cur.block), nil
		if o.prev.left() > 0 && o.sbn >= o.blocks && o.fetched == nil && o.job == nil {
			return true
		}
	}
	if o.fetched == nil {
		o.prefetch()
	}
	if o.cur == nil && o.fetched != nil {
		b := o.fetched
		o.fetched = nil
		o.cur = &sending{block: b, end: b.SourcePackets()}
		o.prefetch()
		return true
	}
	return o.cur.left() > 0 || o.prev.left() > 0
}

func (o *outgoing) repairOf(b packets) *sending {
	k := b.SourcePackets()
	n := min(o.repair(k), b.Packets()-k)
	// Later rounds bring other symbols, as long as there are any: those who lack some need not wait for the same again.
	first := k
	if n > 0 {
		first += o.round % ((b.Packets() - k) / n) * n
	}
	return &sending{block: b, next: first, end: first + n}
}

// repair is the number of repair packets of a block of k source packets, of which there are two sizes at most.
func (o *outgoing) repair(k int) int {
	if o.plain() {
		return 0
	}
	for _, known := range o.repairs {
		if known[0] == k {
			return known[1]
		}
	}
	n := o.fec.repair(k)
	o.repairs = append(o.repairs, [2]int{k, n})
	return n
}

// take returns the packet to send now; last tells that it is the last one of the round.
func (o *outgoing) take() (b packets, i int, last bool) {
	x := o.cur
	// Of the block before, repair packets are spread over this block's source packets.
	if o.prev.left() > 0 && (o.cur.left() == 0 || o.prev.sent*(o.cur.left()+o.cur.sent) < o.cur.sent*(o.prev.left()+o.prev.sent)) {
		x = o.prev
	}
	b, i = x.block, x.next
	x.next++
	x.sent++
	last = o.cur.left() == 0 && o.prev.left() == 0 && o.sbn >= o.blocks && o.fetched == nil && o.job == nil &&
		(o.cur == nil || o.repair(o.cur.block.SourcePackets()) == 0 || o.cur.block.Packets() == o.cur.block.SourcePackets())
	return b, i, last
}

// encodeJob prepares one source block.
type encodeJob struct {
	o    *outgoing
	enc  *object.Encoder
	sbn  uint32
	back bool

	block *object.Block
	err   error
}

func (j *encodeJob) run() { j.block, j.err = j.enc.Block(j.sbn) }

// PollWork returns the next computation to run, and false if there is none.
func (s *Sender) PollWork() (*Work, bool) {
	if len(s.works) == 0 {
		return nil, false
	}
	w := s.works[0]
	s.works = append(s.works[:0], s.works[1:]...)
	return w, true
}

// Finish takes a computation back that has been run.
func (s *Sender) Finish(now time.Time, w *Work) {
	j := w.encode
	if j == nil || j.o.s != s || j.back {
		return
	}
	j.back = true
	j.o.job = nil
	if j.err != nil {
		j.o.err = j.err
		return
	}
	j.o.fetched = j.block
}

// RunWork runs all waiting computations at once, for callers that can afford the delay.
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
