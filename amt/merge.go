package amt

import (
	"hash/maphash"
	"time"
)

// merger joins the payloads of one channel that come by several paths, so that a
// planned switch from one path to another loses and doubles nothing.
//
// One path is in use; the payloads of the next are held back until the two are
// aligned: payloads that either path has had exactly once show where one
// sequence lies in the other, a few of them for one may be equal by chance. From a
// little before that the sequences are compared as multisets. What only the old path
// has had so far is dropped when it comes by the new one; what only the new path has
// had is delivered at once. Equal payloads are told apart by their number alone, so
// that a payload that a path has n times is delivered n times.
type merger struct {
	seed    maphash.Seed
	current Path
	started bool
	last    time.Time // of a payload that was delivered

	history ring // of what was delivered

	next    Path
	waiting bool // payloads of next are held back
	heard   ring // of next
	held    [][]byte
	octets  int
	since   time.Time // first payload of next
	anchor  uint64    // hash of a payload that both have had once
	offset  int64     // between its places
	votes   int       // anchors in a row whose offsets agree

	expected map[uint64]int // to be dropped: the former path has had them
	left     int            // sum of expected
	beyond   int            // payloads in a row that were not expected
}

const (
	historySize = 8192    // payloads that are remembered
	heldOctets  = 8 << 20 // payloads of the next path that are held back
	slack       = 32      // places by which the order of the paths may differ
	near        = 8       // places by which it does mostly
	maxBeyond   = 32      // payloads in a row, after which nothing more is expected
	minVotes    = 4       // payloads that agree on how the paths are aligned
	minHeard    = 16      // payloads of the next path before a switch, if they come soon
	minOverlap  = 200 * time.Millisecond
)

// ring remembers hashes in their order, and how often each is among them.
type ring struct {
	hashes []uint64
	first  uint64 // sequence number of the oldest
	next   uint64
	seen   map[uint64]place
}

type place struct {
	count int
	at    uint64 // sequence number of the last
}

func newRing(size int) ring {
	return ring{hashes: make([]uint64, size), seen: make(map[uint64]place)}
}

func (r *ring) full() bool { return r.next-r.first == uint64(len(r.hashes)) }

func (r *ring) at(seq uint64) uint64 { return r.hashes[seq%uint64(len(r.hashes))] }

func (r *ring) push(h uint64) {
	if r.full() {
		old := r.at(r.first)
		if p := r.seen[old]; p.count <= 1 {
			delete(r.seen, old)
		} else {
			p.count--
			r.seen[old] = p
		}
		r.first++
	}
	r.hashes[r.next%uint64(len(r.hashes))] = h
	p := r.seen[h]
	r.seen[h] = place{p.count + 1, r.next}
	r.next++
}

func newMerger() *merger {
	return &merger{
		seed: maphash.MakeSeed(), history: newRing(historySize),
		expected: make(map[uint64]int),
	}
}

// begin starts a planned switch: payloads of path are held back from now on.
func (m *merger) begin(path Path) {
	if m.waiting && m.next == path || path == m.current && m.started {
		return
	}
	m.drop()
	m.next, m.waiting = path, true
	m.heard = newRing(historySize)
}

// drop ends a planned switch that has not taken place.
func (m *merger) drop() {
	m.waiting, m.votes = false, 0
	m.heard = ring{}
	m.held, m.octets, m.since = nil, 0, time.Time{}
}

// push takes a payload and reports whether to deliver it. Payloads of paths that
// are neither in use nor next are not.
func (m *merger) push(now time.Time, path Path, payload []byte) bool {
	switch {
	case !m.started:
		m.started, m.current = true, path
	case path != m.current && m.waiting && path == m.next:
		m.hold(now, payload)
		return false
	case path != m.current:
		return false
	}
	h := maphash.Bytes(m.seed, payload)
	if m.left > 0 && m.repeated(h) {
		return false
	}
	m.history.push(h)
	m.last = now
	m.compare(h)
	return true
}

// compare looks whether a payload shows how the paths are aligned.
func (m *merger) compare(h uint64) {
	if !m.waiting {
		return
	}
	there, here := m.history.seen[h], m.heard.seen[h]
	if there.count != 1 || here.count != 1 {
		return
	}
	offset := int64(there.at - here.at)
	if d := offset - m.offset; d < -slack || d > slack {
		m.votes = 0 // equal, but not the same
	}
	m.anchor, m.offset = h, offset
	m.votes++
}

// repeated reports whether the former path has delivered a payload.
func (m *merger) repeated(h uint64) bool {
	if n := m.expected[h]; n > 0 {
		m.expected[h] = n - 1
		m.left--
		m.beyond = 0
		return true
	}
	// What is still expected that far behind has been lost on this path; an equal
	// payload that comes later is another one.
	if m.beyond++; m.beyond > maxBeyond {
		m.forget()
	}
	return false
}

func (m *merger) forget() {
	clear(m.expected)
	m.left, m.beyond = 0, 0
}

func (m *merger) hold(now time.Time, payload []byte) {
	if m.since.IsZero() {
		m.since = now
	}
	for len(m.held) > 0 && (m.octets+len(payload) > heldOctets || m.heard.full()) {
		m.octets -= len(m.held[0])
		m.held = m.held[1:]
		if m.heard.full() {
			break
		}
	}
	h := maphash.Bytes(m.seed, payload)
	m.heard.push(h)
	m.compare(h)
	m.held = append(m.held, append([]byte(nil), payload...))
	m.octets += len(payload)
}

// heardFor reports for how long the next path has delivered.
func (m *merger) heardFor(now time.Time) time.Duration {
	if !m.waiting || m.since.IsZero() {
		return 0
	}
	return now.Sub(m.since)
}

// align switches to the next path if it is known where its payloads lie among
// those of the present one, and returns those that are to be delivered at once.
func (m *merger) align(now time.Time) (payloads [][]byte, ok bool) {
	if !m.waiting || m.heard.next == 0 {
		return nil, false
	}
	if m.heard.next < minHeard && m.heardFor(now) < minOverlap {
		return nil, false
	}
	there, here := m.history.seen[m.anchor], m.heard.seen[m.anchor]
	if m.votes < minVotes || there.count != 1 || here.count != 1 {
		return nil, false
	}
	return m.switchAt(there.at, here.at), true
}

// switchAt makes the next path the one in use. Payload number old of the present
// one and number heard of the next are the same; those before may have changed
// places with those after.
func (m *merger) switchAt(old, heard uint64) (payloads [][]byte) {
	m.forget()
	back := min(slack, old-m.history.first, heard-m.heard.first)
	for seq := old - back; seq < m.history.next; seq++ {
		m.expected[m.history.at(seq)]++
		m.left++
	}
	// Right before the anchor both paths have the same, unless payloads changed
	// places: positive where the present path has more of a payload there.
	beside := make(map[uint64]int)
	for i := uint64(1); i <= back; i++ {
		beside[m.history.at(old-i)]++
		beside[m.heard.at(heard-i)]--
	}
	// What lies further back explains such differences, and nothing else.
	far := make(map[uint64]int)
	for seq := old - back; seq > m.history.first && old-back-seq < slack; {
		seq--
		far[m.history.at(seq)]++
	}
	oldest := m.heard.next - uint64(len(m.held))
	for seq := heard - back; seq < m.heard.next; seq++ {
		h := m.heard.at(seq)
		switch {
		case m.expected[h] > 0:
			m.expected[h]--
			m.left--
		case beside[h] < 0 && far[h] > 0:
			beside[h]++
			far[h]--
		case back < slack && far[h] == 1 && m.history.seen[h].count == 1 && m.heard.seen[h].count == 1 && seq < heard+slack &&
			m.moved(h, old+seq-heard):
			far[h]-- // the next path began amid payloads that changed places
		default:
			if seq >= oldest {
				payloads = append(payloads, m.held[seq-oldest])
			}
			m.history.push(h)
		}
	}
	for seq := heard - back; seq > m.heard.first && heard-back-seq < slack; {
		seq--
		if h := m.heard.at(seq); beside[h] > 0 && m.expected[h] > 0 {
			beside[h]--
			m.expected[h]-- // it was early on this path
			m.left--
		}
	}
	m.current = m.next
	m.drop()
	return payloads
}

// moved reports whether a payload that the present path has had once, and the next
// path has at place seq of the present one, can be one and the same that has changed
// its place, rather than an equal one. Where the present path has been already it
// would have had that, too; further on it can be told by the distance alone.
func (m *merger) moved(h, seq uint64) bool {
	return seq+near < m.history.next || seq-m.history.seen[h].at <= near
}

// force switches to a path without an alignment, as when the present one has
// failed: what was held back and has not been delivered goes out. The gap is the
// time since the last payload.
func (m *merger) force(now time.Time, path Path) (payloads [][]byte, gap time.Duration) {
	if !m.last.IsZero() {
		gap = now.Sub(m.last)
	}
	m.forget()
	if m.waiting && m.next == path {
		payloads = m.undelivered()
	}
	m.started, m.current = true, path
	m.drop()
	return payloads, gap
}

// undelivered returns what was held back and has not been delivered, as delivered.
func (m *merger) undelivered() (payloads [][]byte) {
	counts := make(map[uint64]int)
	oldest := m.heard.next - uint64(len(m.held))
	for seq := oldest; seq < m.heard.next; seq++ {
		h := m.heard.at(seq)
		if counts[h]++; counts[h] > m.history.seen[h].count {
			payloads = append(payloads, m.held[seq-oldest])
			m.history.push(h)
		}
	}
	return payloads
}

// release ends a planned switch that has not taken place, since the next path has
// delivered nothing after last. If it was the one that delivered last, what it has had
// alone is returned; should that still come by the present path, it is dropped. Else the
// present path is further than that: what it has lost would come late and out of order.
func (m *merger) release(last time.Time) (payloads [][]byte) {
	if m.last.Before(last) {
		payloads = m.undelivered()
		for seq := m.history.next - uint64(len(payloads)); seq < m.history.next; seq++ {
			m.expected[m.history.at(seq)]++
			m.left++
		}
		m.beyond = 0
	}
	m.drop()
	return payloads
}
