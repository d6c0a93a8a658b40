package amt

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// merger joins the payloads of one channel that come by several paths, so that a
// planned switch from one path to another loses and doubles nothing.
//
// One path is in use; the payloads of the next are held back until the two are
// aligned: payloads that either path has had exactly once show where one
// sequence lies in the other, a few of them for one may be equal by chance. From one of
// them on, the cut, the sequences are compared as multisets. What only the old path
// has had so far is dropped when it comes by the new one; what only the new path has
// had is delivered at once. Equal payloads are told apart by their number alone, so
// that a payload that a path has n times is delivered n times.
//
// Where packets overtake each other a cut may have a payload on different sides on the
// two paths. One that is like no other is recognized; so the cut is where no others are
// near, by twice what the order was seen to differ, and where both paths are past that.
//
// All of that is the same for any two paths and in either direction. Which of them is
// ahead does not matter either, as long as the payloads between them fit: historySize
// of the one that is behind, that and heldOctets of the one that is ahead, and what
// comes in maxOverlap.
type merger struct {
	seed    maphash.Seed
	alone   bool // there is but one path: nothing is remembered until there is a next
	current Path
	started bool
	last    time.Time     // of a payload that was delivered
	gap     time.Duration // longest pause between two, fading

	history ring // of what was delivered

	next    Path
	waiting bool // payloads of next are held back
	demand  demand
	worse   bool // next does not meet the demand
	heard   ring // of next
	held    []held
	octets  int
	since   time.Time // first payload of next
	heardAt time.Time // its last
	anchor  uint64    // hash of a payload that both have had once
	offset  int64     // between its places
	votes   int       // anchors in a row whose offsets agree
	offsets spread    // of the last of them
	first   [2]uint64 // places of the first of them, on the present path and the next

	expected map[uint64]int // to be dropped: the former path has had them
	left     int            // sum of expected
	beyond   int            // payloads in a row that were not expected
}

// held is a payload of the next path.
type held struct {
	payload []byte
	source  netip.AddrPort
}

// demand says what a path has to be like for a switch to it.
type demand uint8

const (
	anyPath  demand = iota
	notWorse        // it must not lose more than the present one
	better          // it must lose less
)

const (
	historySize = 8192    // payloads that are remembered
	heldOctets  = 8 << 20 // payloads of the next path that are held back
	slack       = 32      // places by which the order of the paths may differ
	near        = 8       // places by which it does mostly
	minClear    = 8       // places around a cut, in any case
	maxClear    = 24      // and not more
	relaxing    = 2 * time.Second
	maxBeyond   = 32 // payloads in a row, after which nothing more is expected
	minVotes    = 4  // payloads that agree on how the paths are aligned
	sureVotes   = 32 // payloads that also show how much the order differs
	minHeard    = 16 // payloads of the next path before a switch, if they come soon
	minOverlap  = 200 * time.Millisecond

	compared    = 64              // payloads that show which path loses more
	comparing   = 2 * time.Second // or as many as came in that time
	fewLosses   = 2               // that say nothing
	worseFactor = 32              // one of so many payloads more are lost: worse
)

// ring remembers hashes in their order, historySize at most, and how often each is
// among them if asked to.
type ring struct {
	hashes []uint64
	first  uint64 // sequence number of the oldest
	next   uint64
	seen   map[uint64]place // nil: not asked to
}

type place struct {
	count int
	at    uint64 // sequence number of the last
}

func (r *ring) full() bool { return r.next-r.first == historySize }

func (r *ring) at(seq uint64) uint64 { return r.hashes[seq%historySize] }

// index makes seen of what it remembers.
func (r *ring) index() {
	r.seen = make(map[uint64]place, r.next-r.first)
	for seq := r.first; seq < r.next; seq++ {
		h := r.at(seq)
		r.seen[h] = place{r.seen[h].count + 1, seq}
	}
}

func (r *ring) push(h uint64) {
	if r.full() {
		r.forget(r.at(r.first))
		r.first++
	}
	if len(r.hashes) < historySize {
		r.hashes = append(r.hashes, h)
	} else {
		r.hashes[r.next%historySize] = h
	}
	if r.seen != nil {
		r.seen[h] = place{r.seen[h].count + 1, r.next}
	}
	r.next++
}

func (r *ring) forget(h uint64) {
	if r.seen == nil {
		return
	}
	if p := r.seen[h]; p.count <= 1 {
		delete(r.seen, h)
	} else {
		p.count--
		r.seen[h] = p
	}
}

func newMerger() *merger {
	return &merger{seed: maphash.MakeSeed(), expected: make(map[uint64]int)}
}

// begin starts a planned switch: payloads of path are held back from now on, until it
// is clear how it lies beside the present one, and that it is what is demanded.
func (m *merger) begin(path Path, d demand) {
	if m.waiting && m.next == path || path == m.current && m.started {
		return
	}
	m.drop()
	m.next, m.waiting, m.demand = path, true, d
	if m.alone {
		m.history = ring{} // what is in it, if anything, is not what came last
	}
	m.history.index()
	m.heard.index()
}

// pair ends being alone: other paths may come soon, and more than one.
func (m *merger) pair() {
	if m.alone && !m.waiting {
		m.history = ring{}
	}
	m.alone = false
}

// drop ends a planned switch that has not taken place.
func (m *merger) drop() {
	m.waiting, m.worse, m.votes = false, false, 0
	m.heard, m.history.seen = ring{}, nil
	m.held, m.octets, m.since, m.heardAt = nil, 0, time.Time{}, time.Time{}
}

// push takes a payload and reports whether to deliver it. Payloads of paths that
// are neither in use nor next are not.
func (m *merger) push(now time.Time, path Path, payload []byte, source netip.AddrPort) bool {
	switch {
	case !m.started:
		m.started, m.current = true, path
	case path != m.current && m.waiting && path == m.next:
		m.hold(now, payload, source)
		return false
	case path != m.current:
		return false
	}
	if m.left == 0 && !m.waiting {
		m.remember(now, payload)
		return true
	}
	h := maphash.Bytes(m.seed, payload)
	if m.left > 0 && m.repeated(h) {
		return false
	}
	m.history.push(h)
	m.delivered(now)
	m.compare(h)
	return true
}

// remember takes a payload of the path in use that is delivered: there is no other that
// it could come by.
func (m *merger) remember(now time.Time, payload []byte) {
	if !m.alone {
		m.history.push(maphash.Bytes(m.seed, payload))
	}
	m.delivered(now)
}

func (m *merger) delivered(now time.Time) {
	if !m.last.IsZero() {
		if gap := now.Sub(m.last); gap > m.gap {
			m.gap = gap
		} else {
			m.gap -= m.gap / 256
		}
	}
	m.last = now
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
	if m.votes == 0 {
		m.first, m.offsets = [2]uint64{there.at, here.at}, spread{}
	}
	m.offsets.add(offset)
	m.anchor, m.offset = h, offset
	m.votes++
}

// spread is how much the last numbers differ: 32 of them, up to 64.
type spread struct {
	n        int
	lo, hi   int64
	old, new int64 // lo and hi of those before
}

func (s *spread) add(v int64) {
	switch {
	case s.n == 0:
		s.lo, s.hi, s.old, s.new = v, v, v, v
	case s.n%slack == 0:
		s.lo, s.hi, s.old, s.new = v, v, s.lo, s.hi
	}
	s.lo, s.hi = min(s.lo, v), max(s.hi, v)
	s.n++
}

func (s *spread) width() int { return int(max(s.hi, s.new) - min(s.lo, s.old)) }

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

func (m *merger) hold(now time.Time, payload []byte, source netip.AddrPort) {
	if m.since.IsZero() {
		m.since = now
	}
	m.heardAt = now
	for len(m.held) > 0 && (m.octets+len(payload) > heldOctets || m.heard.full()) {
		m.octets -= len(m.held[0].payload)
		m.held = m.held[1:]
		if m.heard.full() {
			break
		}
	}
	h := maphash.Bytes(m.seed, payload)
	m.heard.push(h)
	m.compare(h)
	m.held = append(m.held, held{append([]byte(nil), payload...), source})
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
func (m *merger) align(now time.Time) (payloads []held, ok bool) {
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
	if m.votes < sureVotes && !m.slow(now) && m.heardFor(now) < relaxing {
		return nil, false
	}
	old, heard, ok := m.cut(now)
	if !ok {
		return nil, false
	}
	if m.demand != anyPath {
		n, current, next := m.losses(there.at, here.at)
		if n < compared && m.heardFor(now) < comparing {
			return nil, false
		}
		worse := significant(next-current, next+current, n, 2)
		if m.demand == better {
			worse = !significant(current-next, next+current, n, 6)
		}
		if m.worse = worse; worse {
			return nil, false
		}
	}
	return m.switchAt(old, heard), true
}

// significant reports whether so many more losses, of so many of either path among n
// payloads, are hardly by chance: their variance is the sum of both.
func significant(more, sum, n, squares int) bool {
	return more > max(fewLosses, n/worseFactor) && more*more > squares*sum
}

// slow reports whether the payloads of the next path are far between.
func (m *merger) slow(now time.Time) bool {
	return m.heardFor(now) > time.Duration(m.heard.next)*minOverlap/4
}

// cut looks for a place to switch at, in the present path and in the next.
func (m *merger) cut(now time.Time) (old, heard uint64, ok bool) {
	clear := uint64(min(max(minClear, 2*m.offsets.width()), maxClear))
	if m.slow(now) {
		clear = 0 // such packets do not overtake each other
	}
	// Better a doubtful cut than none.
	clear >>= uint(min(m.heardFor(now)/relaxing, 10))
	if last := m.history.next - 1; last >= m.history.first+clear {
		h := m.history.at(last - clear)
		if old, heard = last-clear, m.heard.seen[h].at; m.clear(old, heard, clear) {
			return old, heard, true
		}
	}
	if last := m.heard.next - 1; last >= m.heard.first+clear {
		h := m.heard.at(last - clear)
		if old, heard = m.history.seen[h].at, last-clear; m.clear(old, heard, clear) {
			return old, heard, true
		}
	}
	return 0, 0, false
}

// clear reports whether the same payload is at these places, and around it only
// payloads that are like no others.
func (m *merger) clear(old, heard, around uint64) bool {
	h := m.history.at(old)
	if m.heard.next == 0 || m.heard.at(heard) != h || m.heard.seen[h].count != 1 ||
		old+around >= m.history.next || heard+around >= m.heard.next ||
		old < m.history.first+around || heard < m.heard.first+around {
		return false
	}
	offset := int64(old - heard)
	for d := -int64(around); d <= int64(around); d++ {
		if !m.single(m.history.at(uint64(int64(old)+d)), offset) || !m.single(m.heard.at(uint64(int64(heard)+d)), offset) {
			return false
		}
	}
	return true
}

// single reports whether a payload is like no other. If each path has had it once it
// also has to be at the same place.
func (m *merger) single(h uint64, offset int64) bool {
	there, here := m.history.seen[h], m.heard.seen[h]
	if there.count > 1 || here.count > 1 {
		return false
	}
	d := int64(there.at-here.at) - offset
	return there.count+here.count < 2 || -slack <= d && d <= slack
}

// losses returns how many payloads were compared, and how many of them either path has
// not had, from the first anchor to the one at these places.
func (m *merger) losses(old, heard uint64) (n, current, next int) {
	a := missing(&m.history, max(m.first[0], m.history.first)+near, old, &m.heard, m.first[1], heard)
	b := missing(&m.heard, max(m.first[1], m.heard.first)+near, heard, &m.history, m.first[0], old)
	return a.of + b.missing, b.missing, a.missing
}

type absent struct{ of, missing int }

// missing counts payloads from one place of a ring up to near another that are not
// between two places of the other ring. Those that may have changed places are not
// counted at the edges, and are looked for beyond.
func missing(r *ring, from, to uint64, other *ring, otherFrom, otherTo uint64) (a absent) {
	counts := make(map[uint64]int)
	for seq := max(other.first, otherFrom-min(otherFrom, slack)); seq < min(other.next, otherTo+slack); seq++ {
		counts[other.at(seq)]++
	}
	for ; from+near < to; from++ {
		a.of++
		if h := r.at(from); counts[h] > 0 {
			counts[h]--
		} else {
			a.missing++
		}
	}
	return a
}

// switchAt makes the next path the one in use. Payload number old of the present
// one and number heard of the next are the same.
func (m *merger) switchAt(old, heard uint64) (payloads []held) {
	m.forget()
	for seq := old; seq < m.history.next; seq++ {
		m.expected[m.history.at(seq)]++
		m.left++
	}
	// Those that are on different sides of the cut have but moved. What one path alone
	// has had right before it may be late on the other.
	moved := func(h uint64) bool {
		return m.history.seen[h].count == 1 && m.heard.seen[h].count == 1 && m.single(h, int64(old-heard))
	}
	oldest := m.heard.next - uint64(len(m.held))
	for back := min(slack, heard-m.heard.first, old-m.history.first); back > 0; back-- {
		h := m.heard.at(heard - back)
		switch {
		case m.expected[h] > 0 && moved(h):
			m.expected[h]--
			m.left--
		case m.history.seen[h].count == 0 && heard-back >= oldest && back+near <= old-m.history.first:
			payloads = append(payloads, m.held[heard-back-oldest])
			m.history.push(h)
		}
		// The next path may have begun after what is that far back.
		if h := m.history.at(old - back); back+near <= heard-m.heard.first && m.history.seen[h].count == 1 && m.heard.seen[h].count == 0 {
			m.expected[h]++
			m.left++
		}
	}
	for seq := heard; seq < m.heard.next; seq++ {
		h := m.heard.at(seq)
		switch {
		case m.expected[h] > 0:
			m.expected[h]--
			m.left--
		case moved(h):
		default:
			if seq >= oldest {
				payloads = append(payloads, m.held[seq-oldest])
			}
			m.history.push(h)
		}
	}
	m.current = m.next
	m.drop()
	return payloads
}

// force switches to a path without an alignment, as when the present one has
// failed: what was held back and has not been delivered goes out. The gap is the
// time since the last payload.
func (m *merger) force(now time.Time, path Path) (payloads []held, gap time.Duration) {
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
func (m *merger) undelivered() (payloads []held) {
	counts := make(map[uint64]int)
	oldest := m.heard.next - uint64(len(m.held))
	if m.alone {
		// What came before it began to remember has been delivered.
		for seq := oldest; seq < m.heard.next; seq++ {
			if m.history.seen[m.heard.at(seq)].count > 0 {
				oldest = seq
				break
			}
		}
	}
	for seq := oldest; seq < m.heard.next; seq++ {
		h := m.heard.at(seq)
		if counts[h]++; counts[h] > m.history.seen[h].count {
			payloads = append(payloads, m.held[uint64(len(m.held))-(m.heard.next-seq)])
			m.history.push(h)
		}
	}
	return payloads
}

// release ends a planned switch that has not taken place, since the next path has
// delivered nothing after last. If it was the one that delivered last, what it has had
// alone is returned; should that still come by the present path, it is dropped. Else the
// present path is further than that: what it has lost would come late and out of order.
func (m *merger) release(last time.Time) (payloads []held) {
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
