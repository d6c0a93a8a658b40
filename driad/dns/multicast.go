package dns

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"
)

// MulticastPort is the UDP port of multicast DNS (RFC 6762 section 3).
const MulticastPort = 5353

// Groups of multicast DNS (RFC 6762 section 3).
var (
	MulticastIPv4 = netip.AddrFrom4([4]byte{224, 0, 0, 251})
	MulticastIPv6 = netip.AddrFrom16([16]byte{0xff, 2, 15: 0xfb})
)

// MaxMulticastMessage is the length of the longest message of multicast DNS in octets
// (RFC 6762 section 17, without the IP and UDP headers).
const MaxMulticastMessage = 9000 - 28

// classTop is the top bit of a class: in a question it asks for an answer by unicast,
// in a record it says that the set is complete (RFC 6762 sections 18.12 and 18.13).
const classTop = 0x8000

const (
	// silenceTTL is how long silence holds as an answer, in seconds. RFC 6762 section
	// 5.2 wants intervals between questions to grow.
	silenceTTL = 60
	// maxCollected bounds the records of one answer.
	maxCollected = 128
)

var local = MustParseName("local")

// IsMulticast reports whether a name is for multicast DNS: one below local (RFC 6762
// section 3).
func (n *Name) IsMulticast() bool { return n.In(&local) }

// MulticastConfig configures a [MulticastExchange].
type MulticastConfig struct {
	// Window is the time after which a question is asked once more. After half of that
	// the exchange ends. To a PTR question each host has answers of its own, which are
	// collected until then; other records have one owner, whose first answer is taken.
	// Default, and least: 1 s (RFC 6762 section 5.2).
	Window time.Duration
	// Rand gives IDs and times. Default: NewRand.
	Rand *rand.Rand
}

// MulticastExchange asks the hosts of the links that this machine is on, by multicast
// DNS (RFC 6762), as a one-shot querier does (section 5.1): from a port of its own, to
// which answers come by unicast. It has no sockets: what is to be sent to the groups
// on each link comes from PollTransmission, what arrives is given to HandleDatagram,
// and HandleTimeout is called at NextTimeout.
type MulticastExchange struct {
	config   MulticastConfig
	question Question
	id       uint16
	sent     int
	next     time.Time // zero: the exchange is over
	out      []byte
	records  [2][]collected // answers; addresses of targets
	seen     map[collectedKey]bool
	aliases  []Name
	absent   bool // the owner of the name says that it has no such record
	absence  uint32
}

// collected is a record with names that are not compressed.
type collected struct {
	owner Name
	kind  Type
	ttl   uint32 // seconds
	data  []byte
}

type collectedKey struct {
	owner Name
	kind  Type
	data  string
}

// NewMulticastExchange begins to ask.
func NewMulticastExchange(now time.Time, q Question, config MulticastConfig) *MulticastExchange {
	config.Window = max(config.Window, time.Second)
	if config.Rand == nil {
		config.Rand = NewRand()
	}
	q.Class = max(q.Class, ClassINET)
	x := &MulticastExchange{config: config, question: q, id: uint16(config.Rand.Uint32()), next: now, seen: make(map[collectedKey]bool)}
	if q.Type == TypePTR {
		// A search begins with such a question, and what made it begin may have
		// happened to many hosts at once (RFC 6762 section 5.2).
		x.next = now.Add(20*time.Millisecond + time.Duration(config.Rand.Int64N(int64(100*time.Millisecond))))
	}
	x.HandleTimeout(now)
	return x
}

// PollTransmission returns a message to send to [MulticastIPv4] and [MulticastIPv6].
func (x *MulticastExchange) PollTransmission() ([]byte, bool) {
	b := x.out
	x.out = nil
	return b, b != nil
}

// NextTimeout returns when to call HandleTimeout; zero for never.
func (x *MulticastExchange) NextTimeout() time.Time { return x.next }

// HandleTimeout asks, asks again, or ends the exchange if it is time to.
func (x *MulticastExchange) HandleTimeout(now time.Time) {
	if x.next.IsZero() || now.Before(x.next) {
		return
	}
	if x.sent == 2 {
		x.end()
		return
	}
	q := x.question
	x.next = now.Add(x.config.Window / 2)
	if x.sent == 0 {
		// Some answer the group, where nobody of this exchange listens, unless they
		// are asked to answer by unicast. Others, as mdnsd, ignore such questions.
		q.Class |= classTop
		x.next = now.Add(x.config.Window)
	}
	// No recursion, no EDNS (RFC 6762 sections 18.6 and 6.7).
	m := NewBuilder(nil, Header{ID: x.id}, &q)
	x.out = m.Message()
	x.sent++
}

func (x *MulticastExchange) end() { x.next, x.out = time.Time{}, nil }

// HandleDatagram takes a datagram that arrived by unicast from an address, on a link
// with the prefixes onLink. Nothing of it is kept.
func (x *MulticastExchange) HandleDatagram(from netip.AddrPort, onLink []netip.Prefix, b []byte) {
	if x.next.IsZero() || x.sent == 0 || from.Port() != MulticastPort || !isOnLink(from.Addr(), onLink) {
		return
	}
	var p Parser
	if p.Start(b) != nil || !x.answers(&p) {
		return
	}
	for {
		var r Resource
		if ok, err := p.Next(&r); err != nil || !ok {
			break // what comes before an error is good
		}
		if r.Class &^= classTop; r.Class == x.question.Class && ttlOf(r.TTL) != 0 { // 0: it is going (section 10.1)
			x.take(&r)
		}
	}
	if x.absent || len(x.records[0]) > 0 && x.question.Type != TypePTR {
		x.end()
	}
}

// isOnLink: others than the hosts of the link have no say (RFC 6762 section 11).
func isOnLink(a netip.Addr, prefixes []netip.Prefix) bool {
	a = a.Unmap().WithZone("")
	if a.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// answers reads header and questions. An answer repeats the question (RFC 6762 section
// 6.7); some implementations leave it out.
func (x *MulticastExchange) answers(p *Parser) bool {
	h := p.Header
	if h.Flags&FlagResponse == 0 || h.Opcode() != 0 || h.RCode() != 0 || h.ID != x.id || h.Counts[0] > 1 {
		return false
	}
	var q Question
	ok, err := p.Question(&q)
	return err == nil && (!ok || q.Type == x.question.Type && q.Class&^classTop == x.question.Class && q.Name.Equal(&x.question.Name))
}

// take keeps a record that may be of use for the question.
func (x *MulticastExchange) take(r *Resource) {
	switch {
	case r.Section == SectionAnswer && (r.Type == x.question.Type || r.Type == TypeCNAME) && x.leadsTo(&r.Name):
		x.collect(0, r)
	case x.question.Type == TypeSRV && (r.Type == TypeA || r.Type == TypeAAAA):
		x.collect(1, r) // Avahi has them among the answers
	case r.Type == TypeNSEC && r.Name.Equal(&x.question.Name) && denies(r, x.question.Type):
		x.absent, x.absence = true, r.TTL
	}
}

// leadsTo reports whether the question, or an alias of its name, is about n.
func (x *MulticastExchange) leadsTo(n *Name) bool {
	if n.Equal(&x.question.Name) {
		return true
	}
	for i := range x.aliases {
		if n.Equal(&x.aliases[i]) {
			return true
		}
	}
	return false
}

func (x *MulticastExchange) collect(list int, r *Resource) {
	if len(x.records[list]) >= maxCollected {
		return
	}
	c := collected{owner: r.Name, kind: r.Type, ttl: r.TTL, data: r.Data}
	switch r.Type {
	case TypePTR, TypeCNAME:
		n, err := r.onlyName()
		if err != nil {
			return
		}
		c.data = n.AppendTo(nil)
	case TypeSRV:
		rec, err := r.record()
		if err != nil {
			return
		}
		c.data = rec.Target.AppendTo(append([]byte(nil), r.Data[:6]...))
	default:
		c.data = append([]byte(nil), r.Data...)
	}
	k := collectedKey{r.Name.Lower(), r.Type, string(c.data)}
	if x.seen[k] {
		return // by the other family, or on another link
	}
	x.seen[k] = true
	x.records[list] = append(x.records[list], c)
	if r.Type == TypeCNAME {
		var n Name
		_, _ = n.Unmarshal(c.data)
		x.aliases = append(x.aliases, n)
	}
}

// denies reports whether an NSEC record of a name says that there is no record of a
// type. Multicast DNS has only block 0 (RFC 6762 section 6.1).
func denies(r *Resource, t Type) bool {
	_, at, err := r.NameAt(0)
	if err != nil || at+2 > len(r.Data) || r.Data[at] != 0 || t > 255 {
		return false
	}
	bits := r.Data[at+2:]
	n := int(r.Data[at+1])
	if n < 1 || n > 32 || n > len(bits) {
		return false
	}
	bits = bits[:n]
	return int(t/8) >= len(bits) || bits[t/8]&(0x80>>(t%8)) == 0
}

// Result returns whether the exchange is over, and a message for [ParseAnswer] with
// what all hosts said. Silence is that there is no such record.
func (x *MulticastExchange) Result() (msg []byte, over bool) {
	if !x.next.IsZero() {
		return nil, false
	}
	m := NewBuilder(nil, Header{ID: x.id, Flags: FlagResponse | FlagAuthoritative}, &x.question)
	for i, section := range [...]Section{SectionAnswer, SectionAdditional} {
		if len(x.records[0]) == 0 {
			break // addresses alone say nothing; the SOA record comes before them
		}
		for j := range x.records[i] {
			c := &x.records[i][j]
			if m.Len()+c.owner.Len()+10+len(c.data) <= MaxMessage {
				m.Record(section, &c.owner, c.kind, x.question.Class, c.ttl, c.data)
			}
		}
	}
	if len(x.records[0]) == 0 {
		ttl := uint32(silenceTTL)
		if x.absent {
			ttl = x.absence
		}
		soa := make([]byte, 22) // two roots and five numbers, of which MINIMUM is the last
		binary.BigEndian.PutUint32(soa[18:], ttl)
		m.Record(SectionAuthority, &x.question.Name, TypeSOA, x.question.Class, ttl, soa)
	}
	return m.Message(), true
}
