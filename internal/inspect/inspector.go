package inspect

import (
	"cmp"
	"container/list"
	"crypto/sha256"
	"maps"
	"net/netip"
	"slices"
	"time"

	fecobject "github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/mbms"
	"github.com/treedn/treedn/flute/packetio"
	"github.com/treedn/treedn/flute/reassembly"
	"github.com/treedn/treedn/route/mabr"
)

// Config configures an Inspector. The zero value of every field but Emit is usable.
type Config struct {
	// Emit takes the events. What they refer to is valid during the call.
	Emit func(Event)
	// MaxMemory bounds the octets that objects take. Default 512 MiB. Complete objects give way first, the oldest
	// before the others: of those it is no longer noticed when other octets come under the same TOI.
	MaxMemory int64
	// MaxObjects bounds the number of objects that are known at a time. Default 65536.
	MaxObjects int
	// NameDelay is how long a complete object waits for signalling that names it. Default 10 s.
	NameDelay time.Duration
}

const (
	maxObject = 1<<32 - 1 // octets
	maxRanges = 1 << 16   // of one object
	// maxSessions bounds pairs of source and destination, maxChannels the TSIs of one.
	maxSessions = 1024
	maxChannels = 1024
)

// An Inspector takes datagrams and finds out what they are. It is not safe for concurrent use.
type Inspector struct {
	cfg   Config
	pool  *reassembly.Pool
	codec fecobject.Codec
	now   time.Time
	hdr   lct.Header

	sessions map[sessionKey]*session
	open     *list.List // objects on their way, by their age
	done     *list.List // complete ones, likewise
	waiting  []*object  // complete, and without a name
	renamed  bool       // signalling came since these were looked at
	retired  []*object  // incomplete, and another one has their key
	told     map[tellKey]struct{}
	total    Counts

	lls       map[netip.Addr]*lowLevel
	configs   []*mabr.Configuration // the newest of each session
	sdps      []*mbms.SDP
	plans     map[netip.AddrPort][]plan // what S-TSIDs say of sessions
	foreign   map[netip.AddrPort]*foreign
	held      int // octets of packets whose protocol is not known
	places    int // for slabs, of all objects
	announced []Channel
	ttls      map[netip.AddrPort]uint8 // the highest, for multicasts
	received  []netip.AddrPort         // what is listened to; nil is everything
	services  map[string]bool
	finished  bool
}

type sessionKey struct {
	source netip.Addr
	to     netip.AddrPort
}

// tellKey is what makes an object the same that was told before.
type tellKey struct {
	ch  *channel
	key objectKey
	sum [sha256.Size]byte
}

// New returns an Inspector that has seen nothing yet.
func New(cfg Config) *Inspector {
	cfg.MaxMemory = cmp.Or(cfg.MaxMemory, 512<<20)
	cfg.MaxObjects = cmp.Or(cfg.MaxObjects, 1<<16)
	cfg.NameDelay = cmp.Or(cfg.NameDelay, 10*time.Second)
	return &Inspector{
		cfg: cfg, pool: reassembly.NewPool(cfg.MaxMemory), sessions: map[sessionKey]*session{}, open: list.New(), done: list.New(),
		told: map[tellKey]struct{}{}, lls: map[netip.Addr]*lowLevel{}, foreign: map[netip.AddrPort]*foreign{}, services: map[string]bool{}, ttls: map[netip.AddrPort]uint8{}, plans: map[netip.AddrPort][]plan{},
	}
}

// Push takes one datagram. Payload is not kept.
func (in *Inspector) Push(at time.Time, from, to netip.AddrPort, payload []byte) {
	if at.After(in.now) {
		in.now = at
	}
	in.total.Packets++
	in.total.Octets += uint64(len(payload))
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	in.tellWaiting(false)
	if isLLS(to) {
		in.pushLLS(from.Addr(), to, payload)
		return
	}
	n, err := unmarshal(&in.hdr, payload)
	if err != nil || in.hdr.TOIHigh != 0 {
		in.foreignTo(to, payload)
		return
	}
	s := in.session(from.Addr(), to)
	if s == nil {
		in.foreignTo(to, payload)
		return
	}
	if f := in.foreign[to]; f != nil && (s.alike+1)*4 < f.packets {
		s.alike++
		in.foreignTo(to, payload) // of another protocol, some of whose datagrams look like LCT by chance
		return
	}
	s.alike++
	if len(payload) <= largeDatagram && !s.runs {
		s.push(payload, n)
		return
	}
	size := segmentSize(&in.hdr, n, payload)
	if size == 0 {
		s.push(payload, n)
		return
	}
	s.runs = true
	in.total.Packets--
	for packet := range packetio.Segments(payload, size) {
		in.total.Packets++
		if n, err := unmarshal(&in.hdr, packet); err == nil {
			s.push(packet, n)
		}
	}
}

// Listening tells that a destination is received. Without a call all of them are, as in a capture. What others announce
// is not missed then, and of a destination to which nothing comes it is said.
func (in *Inspector) Listening(to netip.AddrPort) {
	if !slices.Contains(in.received, to) {
		in.received = append(in.received, to)
	}
}

// TTL tells the time to live, or hop limit, of a datagram, where that is known.
func (in *Inspector) TTL(to netip.AddrPort, ttl uint8) {
	before, known := in.ttls[to]
	if known && before >= ttl || !known && len(in.ttls) >= maxSessions || !to.Addr().IsMulticast() {
		return
	}
	in.ttls[to] = ttl
}

// unmarshal decodes a header. The flags T and R are only set by senders of the first LCT, whose header has up to two more
// words then (RFC 3451, 5.1); RFC 5651 has them 0.
func unmarshal(h *lct.Header, b []byte) (n int, err error) {
	const flags = 0x0c
	if len(b) >= 2 && b[1]&flags != 0 {
		if n, err = h.UnmarshalRFC3451(b); err == nil {
			return n, nil
		}
	}
	return h.Unmarshal(b)
}

// Advance tells objects that have waited for a name long enough, where no datagrams come that would bring it about.
func (in *Inspector) Advance(now time.Time) {
	if now.After(in.now) {
		in.now = now
	}
	in.tellWaiting(false)
}

// session returns the session of a packet, nil if there are too many.
func (in *Inspector) session(source netip.Addr, to netip.AddrPort) *session {
	key := sessionKey{source, to}
	s := in.sessions[key]
	if s == nil && len(in.sessions) < maxSessions {
		s = &session{in: in, source: source, to: to, channels: map[uint64]*channel{}, first: in.now}
		in.sessions[key] = s
	}
	return s
}

// sorted lists the sessions by destination and source.
func (in *Inspector) sorted() []*session {
	list := make([]*session, 0, len(in.sessions))
	for _, s := range in.sessions {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *session) int {
		return cmp.Or(a.to.Compare(b.to), a.source.Compare(b.source))
	})
	return list
}

// enter makes an object known.
func (in *Inspector) enter(o *object) {
	for in.open.Len()+in.done.Len() >= in.cfg.MaxObjects && in.evict(o) {
	}
	o.place = in.open.PushBack(o)
}

// evict makes room for an object: the oldest complete one goes, or the oldest of all if there is none.
func (in *Inspector) evict(except *object) bool {
	for _, l := range []*list.List{in.done, in.open} {
		for e := l.Front(); e != nil; e = e.Next() {
			if o := e.Value.(*object); o != except {
				in.tell(o)
				in.remove(o)
				return true
			}
		}
	}
	return false
}

// completed moves an object to the others that are complete.
func (in *Inspector) completed(o *object) {
	if o.place != nil {
		in.open.Remove(o.place)
		o.place = in.done.PushBack(o)
	}
}

// remove makes an object unknown.
func (in *Inspector) remove(o *object) {
	if o.place != nil {
		in.open.Remove(o.place) // which leaves elements of another list alone
		in.done.Remove(o.place)
		o.place = nil
	}
	if o.ch.objects[o.key] == o {
		delete(o.ch.objects, o.key)
	}
	o.ch.note(o)
	o.drop()
}

// maxTold bounds the memory for what was told.
const maxTold = 1 << 18

// tell emits an object, once.
func (in *Inspector) tell(o *object) {
	if o.told {
		return
	}
	o.told = true
	s := o.ch.s
	if o.complete {
		key := tellKey{o.ch, o.key, o.sum}
		if _, ok := in.told[key]; ok {
			return
		}
		if len(in.told) >= maxTold {
			clear(in.told)
		}
		in.told[key] = struct{}{}
		s.counts.Objects++
		in.total.Objects++
	} else {
		s.counts.Incomplete++
		in.total.Incomplete++
		s.counts.Missing += o.lacks()
		in.total.Missing += o.lacks()
	}
	s.counts.Recovered += o.recovered
	in.total.Recovered += o.recovered
	e := o.objectEvent(o.last)
	if o.complete && !o.dropped {
		e.Body, e.Content = o.body(), o.content
		e.Parts = o.parts(e.Body)
	}
	in.cfg.Emit(&e)
	if e.Body != nil {
		o.ch.contents(o, e.file())
	}
}

// tellWaiting tells objects that got a name, or have waited long enough for one.
func (in *Inspector) tellWaiting(all bool) {
	if len(in.waiting) == 0 {
		return
	}
	if o := in.waiting[0]; !all && !in.renamed && in.now.Sub(o.last) < in.cfg.NameDelay {
		return
	}
	in.renamed = false
	in.waiting = slices.DeleteFunc(in.waiting, func(o *object) bool {
		if !all && o.name() == "" && !o.told && in.now.Sub(o.last) < in.cfg.NameDelay {
			return false
		}
		in.tell(o)
		return true
	})
}

// Finish tells what is left: incomplete objects, what is wrong with the signalling, and the sums. Later datagrams are
// not expected.
func (in *Inspector) Finish() {
	if in.finished {
		return
	}
	in.finished = true
	sessions := in.sorted()
	for _, s := range sessions {
		s.decide(true)
		s.repairAll()
		s.guessAll()
	}
	in.tellWaiting(true)
	for _, o := range in.retired {
		in.tell(o)
	}
	for _, s := range sessions {
		for _, ch := range s.sortedChannels() {
			for _, o := range ch.sortedObjects() {
				in.tell(o)
			}
		}
	}
	in.diagnose(sessions)
	for _, s := range sessions {
		if s.counts.Packets == 0 {
			continue
		}
		in.cfg.Emit(&SummaryEvent{
			Head: Head{Event: "summary", Time: in.now}, Source: s.source, Dst: s.to.Addr(), Port: s.to.Port(),
			Protocol: s.protocol().String(), System: s.system(), Channels: len(s.channels), FEC: slices.Sorted(maps.Keys(s.fec)), Counts: s.counts,
		})
	}
	in.cfg.Emit(&SummaryEvent{Head: Head{Event: "summary", Time: in.now}, Counts: in.total})
}

// Status is how far an Inspector has come.
type Status struct {
	Now      time.Time
	Sessions int
	// Open are objects that are on their way. Missing of the Counts has what they lack, too.
	Open int
	Counts
}

// Status returns how far it has come.
func (in *Inspector) Status() Status {
	st := Status{Now: in.now, Sessions: len(in.sessions), Counts: in.total}
	for e := in.open.Front(); e != nil; e = e.Next() {
		if o := e.Value.(*object); !o.told {
			st.Open++
			st.Counts.Missing += o.lacks()
		}
	}
	return st
}
