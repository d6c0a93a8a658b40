package flute

import (
	"bytes"
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/alc"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/ntp"
)

// page is an FDT Instance of a Sender and its successors: they describe some of the files, all if these are few.
type page struct {
	files []*outgoing
	dirty bool

	id      uint32
	ext     lct.Extensions
	scheme  fec.EncodingID
	blocks  []*sending
	block   int       // to send from next
	upTo    uint64    // the instance lists files that were added before
	sending bool      // a round is under way
	fresh   int       // rounds that are left to follow soon
	next    time.Time // of the round
	renew   time.Time
}

const (
	maxInstanceID = 1 << 20
	mbmsSchema    = 3 // the version of the schema of TS 26.346
	// freshRounds is how often a new instance is sent at once, freshInterval how far apart: it should be more reliable
	// than what it describes (RFC 6726 section 3.3).
	freshRounds   = 2
	freshInterval = 100 * time.Millisecond
	// fdtOverhead is the most that is before the symbols of an FDT Instance: header, EXT_FDT, EXT_FTI, EXT_CENC,
	// EXT_TIME, FEC Payload ID.
	fdtOverhead = 20 + 4 + 20 + 4 + 12 + 8
)

func (s *Sender) version() uint8 {
	if s.cfg.Profile == Version2 {
		return 2
	}
	return 1
}

// list enters a file into an FDT Instance to come.
func (s *Sender) list(o *outgoing) {
	p := s.lastPage
	if p == nil || len(p.files) >= s.cfg.FDTFiles {
		p = nil
		for _, x := range s.pages {
			if len(x.files) < s.cfg.FDTFiles {
				p = x
				break
			}
		}
	}
	if p == nil {
		p = &page{}
		s.pages = append(s.pages, p)
	}
	s.lastPage = p
	o.page = p
	p.files = append(p.files, o)
	p.dirty = true
}

// unlist takes a file out.
func (s *Sender) unlist(o *outgoing) {
	s.removed = true
	delete(s.files, o.desc.TOI)
	p := o.page
	if i := slices.Index(p.files, o); i >= 0 {
		p.files = slices.Delete(p.files, i, i+1)
		p.dirty = true
	}
	if len(p.files) == 0 { // an instance without files is not allowed
		s.pages = slices.DeleteFunc(s.pages, func(x *page) bool { return x == p })
		if s.lastPage == p {
			s.lastPage = nil
		}
	}
}

// instanceID returns the ID of a new instance: the next one, or one that has expired (RFC 6726 section 3.4.1).
func (s *Sender) instanceID(now, expires time.Time) uint32 {
	for id, at := range s.issued {
		if !now.Before(at) {
			delete(s.issued, id)
		}
	}
	id := s.nextID
	for range maxInstanceID {
		if _, used := s.issued[id]; !used {
			break
		}
		id = (id + 1) % maxInstanceID
	}
	s.nextID = (id + 1) % maxInstanceID
	s.issued[id] = expires
	return id
}

// compose makes a page's next instance.
func (s *Sender) compose(now time.Time, p *page) error {
	expires := now.Add(s.cfg.FDTLifetime)
	in := fdt.Instance{
		Version: s.version(), Expires: ntp.Seconds(expires) + 1, BaseURL1: s.cfg.BaseURL1, BaseURL2: s.cfg.BaseURL2,
		Complete: s.noMore && !s.removed && len(s.pages) == 1,
		FullFDT:  s.cfg.Profile == MBMS && len(s.pages) == 1,
	}
	if s.cfg.Profile == MBMS {
		in.SchemaVersion = mbmsSchema
	}
	for _, o := range p.files {
		in.Files = append(in.Files, o.desc)
	}
	doc, err := in.Append(nil)
	if err != nil {
		return err
	}
	id := s.instanceID(now, expires.Add(time.Second))
	x, err := lct.Extensions(nil).AppendFDT(lct.FDT{Version: s.version(), InstanceID: id})
	if err != nil {
		return err
	}
	if s.cfg.FDTGzip {
		if doc, err = compress("gzip", bytes.NewReader(doc)); err != nil {
			return err
		}
		x = x.AppendCENC(lct.CENCGzip)
	}
	cut, err := s.cfg.FDTFEC.cut(int64(len(doc)), s.cfg.MaxPayload-fdtOverhead)
	if err != nil {
		return err
	}
	info := cut.info
	if x, err = alc.AppendFTI(x, &info); err != nil {
		return err
	}
	enc, err := s.codec.NewEncoder(info, bytes.NewReader(doc))
	if err != nil {
		return err
	}
	enc.Group = cut.group
	var packets []*sending
	for sbn := range uint32(info.Blocks()) {
		b, err := enc.Block(sbn)
		if err != nil {
			return err
		}
		packets = append(packets, &sending{block: b, end: min(b.Packets(), b.SourcePackets()+s.cfg.FDTFEC.repair(b.SourcePackets()))})
	}
	p.id, p.ext, p.scheme, p.blocks = id, x, info.ID, packets
	p.begin()
	p.upTo, p.dirty = s.seq, false
	p.fresh, p.renew = freshRounds-1, now.Add(s.cfg.FDTLifetime/2)
	s.stats.FDTInstances++
	return nil
}

// begin starts a round.
func (p *page) begin() {
	p.sending, p.block = true, 0
	for _, b := range p.blocks {
		b.next = 0
	}
}

// pollFDT sends what is due of the FDT.
func (s *Sender) pollFDT(now time.Time, buf []byte) ([]byte, bool) {
	for _, p := range s.pages {
		switch {
		case p.sending:
		case p.dirty, !p.renew.IsZero() && !now.Before(p.renew):
			if err := s.compose(now, p); err != nil {
				s.cfg.Logger.Warn("no FDT Instance", "error", err)
				p.dirty, p.renew = false, now.Add(s.cfg.FDTInterval)
				continue
			}
		case !p.next.IsZero() && !now.Before(p.next):
			p.begin()
		}
		if p.sending {
			return s.sendFDT(now, p, buf)
		}
	}
	return buf, false
}

func (s *Sender) sendFDT(now time.Time, p *page, buf []byte) ([]byte, bool) {
	h := s.header(0)
	h.Codepoint = uint8(p.scheme)
	h.Extensions = p.ext
	if s.cfg.SenderTime {
		if x, err := slices.Clone(p.ext).AppendTime(lct.Time{SCT: ntp.Timestamp(now), HasSCT: true, HasSCTLow: true}); err == nil {
			h.Extensions = x
		}
	}
	b := p.blocks[p.block]
	out, err := h.AppendTo(buf)
	if err == nil {
		out, err = b.block.AppendPacket(out, b.next)
	}
	if err != nil {
		s.cfg.Logger.Warn("no packet of an FDT Instance", "error", err)
		p.sending, p.next = false, now.Add(s.cfg.FDTInterval)
		return buf, false
	}
	s.stats.FDTPackets++
	if b.next++; b.left() == 0 {
		p.block++
	}
	if p.block >= len(p.blocks) {
		p.sending = false
		p.next = now.Add(s.cfg.FDTInterval)
		if p.fresh > 0 {
			p.fresh--
			p.next = now.Add(min(freshInterval, s.cfg.FDTInterval))
		}
		for _, o := range p.files {
			o.ready = o.ready || o.seq < p.upTo // else it was added meanwhile
		}
	}
	return out, true
}

// nextFDT is when pollFDT has something to send, zero for never.
func (s *Sender) nextFDT() (at time.Time) {
	for _, p := range s.pages {
		switch {
		case p.sending, p.dirty:
			return time.Unix(0, 0)
		}
		at = sooner(sooner(at, p.next), p.renew)
	}
	return at
}
