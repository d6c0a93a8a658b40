package inspect

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/ntp"
	"github.com/treedn/treedn/route/diagnose"
	"github.com/treedn/treedn/route/mabr"
	"github.com/treedn/treedn/route/sls"
)

// protocol is what a channel is.
type protocol uint8

const (
	undecided protocol = iota
	flute
	routing // ROUTE, which has an offset where FLUTE has a FEC Payload ID
)

func (p protocol) String() string {
	switch p {
	case flute:
		return "flute"
	case routing:
		return "route"
	}
	return ""
}

// session is what one source sends to one group and port.
type session struct {
	in       *Inspector
	source   netip.Addr
	to       netip.AddrPort
	channels map[uint64]*channel
	first    time.Time
	counts   Counts
	alike    uint64 // packets that look like LCT
	runs     bool   // the capture has several packets in a datagram
	// seen are the protocols that a packet was certainly of.
	seenFLUTE, seenROUTE bool
	announced            bool // by a SessionEvent
	held                 int  // octets of packets that wait for a decision

	// senderTime is the last EXT_TIME, which came at receivedAt.
	senderTime, receivedAt time.Time

	pkg       *diagnose.Package
	packages  map[uint64][sha256.Size]byte // digests, by TOI
	stsid     *sls.STSID
	usbd      *sls.USBD
	manifest  *diagnose.Manifest
	malformed []diagnose.Malformed
	repairs   map[repairKey]*repairSet
	fec       map[string]bool // the codes in use
	// config is the newest session configuration of DVB-MABR that came here.
	config *mabr.Configuration
}

// channel is one TSI of a session.
type channel struct {
	s        *session
	tsi      uint64
	protocol protocol
	objects  map[objectKey]*object
	lastOf   *object

	packets, repair uint64
	codepoints      []uint8
	last            time.Time
	closed          bool
	// What is odd about packets of FLUTE, as diagnose.Channel has it.
	unmarked, otherFEC, reused uint64
	began                      bool              // an object was seen from its beginning
	described                  time.Time         // by the first FDT Instance
	names                      []diagnose.Object // of objects that were told, for the diagnosis

	held [][]byte // packets before the protocol is known

	// files are what FDT Instances describe, instances all of them that came.
	files     map[uint64]*fdt.File
	instances []diagnose.Instance
	byID      map[uint32]*fdt.Instance // by FDT Instance ID plus one
	flow      *sls.LS
	template  *fdt.Template
}

// Bits of PSI.
const psiSource = 2

func (s *session) push(pkt []byte, n int) {
	h := &s.in.hdr
	ch := s.channels[h.TSI]
	if ch == nil {
		if len(s.channels) >= maxChannels {
			return
		}
		ch = s.newChannel(h.TSI)
	}
	s.counts.Packets++
	s.counts.Octets += uint64(len(pkt))
	ch.packets++
	ch.last = s.in.now
	ch.closed = h.CloseSession || ch.closed && len(pkt) == n
	if t, ok := h.Extensions.Time(); ok && t.HasSCT {
		s.senderTime, s.receivedAt = ntp.Time64(t.SCT, s.in.now), s.in.now
	}
	if ch.protocol == undecided {
		if ch.protocol = s.classify(ch, h); ch.protocol == undecided {
			s.hold(ch, pkt)
			return
		}
		s.decided(ch)
	}
	ch.take(pkt, n)
}

// maxCodes bounds what is remembered of codes.
const maxCodes = 16

func (s *session) protects(code string) {
	if s.fec == nil {
		s.fec = map[string]bool{}
	}
	if len(s.fec) < maxCodes {
		s.fec[code] = true
	}
}

func (s *session) newChannel(tsi uint64) *channel {
	ch := &channel{s: s, tsi: tsi, objects: map[objectKey]*object{}, files: map[uint64]*fdt.File{}}
	s.channels[tsi] = ch
	ch.join()
	return ch
}

// take handles a packet whose header is in Inspector.hdr.
func (ch *channel) take(pkt []byte, n int) {
	h := &ch.s.in.hdr
	if len(pkt) < n+4 {
		return // of the session only
	}
	if ch.protocol == flute {
		ch.sent(h.Codepoint)
		ch.takeFLUTE(pkt[n:])
		return
	}
	if h.TOI > 0xffffffff || h.TSI > 0xffffffff {
		return
	}
	if h.PSI&psiSource == 0 && ch.tsi != 0 && ch.isRepair() {
		ch.repair++
		ch.s.counts.Repair++
		ch.s.in.total.Repair++
		ch.s.protects(fec.RaptorQ.String())
		ch.takeRepair(pkt[n:])
		return
	}
	ch.sent(h.Codepoint)
	ch.takeROUTE(binary.BigEndian.Uint32(pkt[n:]), pkt[n+4:])
}

// sent remembers a codepoint.
func (ch *channel) sent(codepoint uint8) {
	if !slices.Contains(ch.codepoints, codepoint) {
		ch.codepoints = append(ch.codepoints, codepoint)
	}
}

// isRepair tells whether packets without the source bit are repair packets. Some senders never set it.
func (ch *channel) isRepair() bool {
	if ch.flow != nil {
		return ch.flow.RepairFlow != nil
	}
	return ch.s.seenROUTE
}

// find returns the object of a packet, a new one if need be.
func (ch *channel) find(key objectKey) *object {
	o := ch.lastOf
	if o == nil || o.key != key || o.retired || o.place == nil {
		if o = ch.objects[key]; o == nil {
			o = ch.open(key)
		}
		ch.lastOf = o
	}
	o.packets++
	o.codepoint = ch.s.in.hdr.Codepoint
	o.last = ch.s.in.now
	return o
}

func (ch *channel) open(key objectKey) *object {
	o := &object{ch: ch, key: key, length: -1, joined: !ch.began, last: ch.s.in.now}
	ch.objects[key] = o
	ch.s.in.enter(o)
	ch.describe(o)
	return o
}

// maxRetired bounds the incomplete objects whose key another one has taken.
const maxRetired = 1024

// retire makes place for another object with the same key.
func (ch *channel) retire(o *object) {
	in := ch.s.in
	o.retired = true
	delete(ch.objects, o.key)
	if o.complete || o.told {
		ch.note(o)
		return
	}
	if len(in.retired) < maxRetired {
		in.retired = append(in.retired, o)
		return
	}
	in.tell(o)
	in.remove(o)
}

// replace opens another object with the same key.
func (ch *channel) replace(o *object) *object {
	in := ch.s.in
	ch.retire(o)
	fresh := ch.open(o.key)
	fresh.packets, fresh.codepoint = 1, in.hdr.Codepoint
	ch.lastOf = fresh
	return fresh
}

// maxNotes bounds the objects of a channel that the diagnosis hears of.
const maxNotes = 4096

// note remembers an object for the diagnosis.
func (ch *channel) note(o *object) {
	if !o.isInstance() && len(ch.names) < maxNotes {
		ch.names = append(ch.names, o.observed())
	}
}

// finish looks after an object that may have become complete.
func (ch *channel) finish(o *object) {
	if o.complete || o.dropped || !o.whole() {
		return
	}
	o.complete = true
	o.waiting, o.decoder = nil, nil
	ch.s.in.completed(o)
	o.digest()
	o.entity()
	ch.received(o)
	in := ch.s.in
	if o.nameable() && o.name() == "" && len(in.waiting) < maxRetired {
		in.waiting = append(in.waiting, o)
		return
	}
	in.tell(o)
}

func (s *session) sortedChannels() []*channel {
	list := make([]*channel, 0, len(s.channels))
	for _, ch := range s.channels {
		list = append(list, ch)
	}
	slices.SortFunc(list, func(a, b *channel) int { return cmp.Compare(a.tsi, b.tsi) })
	return list
}

func (ch *channel) sortedObjects() []*object {
	list := make([]*object, 0, len(ch.objects))
	for _, o := range ch.objects {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b *object) int {
		return cmp.Or(cmp.Compare(a.key.toi, b.key.toi), cmp.Compare(a.key.instance, b.key.instance))
	})
	return list
}

// protocol is that of the session's channels.
func (s *session) protocol() protocol {
	for _, ch := range s.sortedChannels() {
		if ch.protocol != undecided {
			return ch.protocol
		}
	}
	return undecided
}

// takeROUTE handles a source packet of ROUTE, whose header is in Inspector.hdr.
func (ch *channel) takeROUTE(offset uint32, payload []byte) {
	h := &ch.s.in.hdr
	if !h.HasTOI {
		return
	}
	key := objectKey{toi: h.TOI}
	if x, ok := h.Extensions.FDT(); ok && h.TOI == 0 {
		key.instance = x.InstanceID + 1
	}
	o := ch.find(key)
	ch.began = ch.began || offset == 0 && !o.isInstance()
	for range 2 {
		if ch.placeROUTE(o, int64(offset), payload) == nil {
			ch.finish(o)
			return
		}
		o = ch.replace(o)
	}
}

func (ch *channel) placeROUTE(o *object, offset int64, payload []byte) error {
	h := &ch.s.in.hdr
	if n, ok := transferLength(h); ok {
		if err := o.setLength(n, true); err != nil {
			return err
		}
	}
	if _, err := o.store(offset, payload); err != nil {
		return err
	}
	if x, ok := h.Extensions.CENC(); ok {
		o.cenc = x
	}
	if h.CloseObject {
		return o.setLength(offset+int64(len(payload)), false)
	}
	return nil
}

// transferLength returns what EXT_TOL or EXT_FTI says. The length comes first in the FTI of every FEC scheme.
func transferLength(h *lct.Header) (int64, bool) {
	if n, ok := h.Extensions.TOL(); ok {
		return int64(n), true
	}
	if fti, ok := h.Extensions.FTI(); ok && len(fti) >= 6 {
		return int64(binary.BigEndian.Uint16(fti))<<32 | int64(binary.BigEndian.Uint32(fti[2:])), true
	}
	return 0, false
}
