package route

import "time"

// record is what is left of an object that was delivered or given up, so that
// its repeats cost one look-up.
type record struct {
	kind       kind
	name       string
	generation uint64
	length     int64
	fate       fate
	announced  bool   // its TOI is never reused
	body       []byte // all octets, of signalling and small files
	head       [64]byte
	headLen    int
	seen       time.Time
	loss       *account // nil if there is nothing to account for
}

// fate is how an object ended.
type fate uint8

const (
	delivered fate = iota
	replaced       // a package of TSI 0, by a later one
	dropped        // released before it was complete
	lost
)

// maxRecordBody is the size up to which a record keeps all octets of a file:
// initialization segments are sent again and again under one TOI, and an
// encoder that starts anew changes a few octets of them.
const maxRecordBody = 16 << 10

// stale is how long after its last packet an object that was replaced or lost
// counts as new if it is sent again: its sender went back.
const stale = 2 * time.Second

// repeats tells whether a packet belongs to the object that is over, and not
// to a new one that reuses its TOI (GPAC's initialization segments do, and TOI
// 0 does).
func (rec *record) repeats(now time.Time, off int64, payload []byte, length int64, known bool) bool {
	switch rec.fate {
	case replaced, dropped:
		fresh := now.Sub(rec.seen) < stale
		rec.seen = now
		return fresh
	case lost:
		// Stragglers. An attacker who made it be lost before it was sent
		// must not have made it deaf: a first packet is always heard.
		return off > 0 && now.Sub(rec.seen) < stale
	}
	if rec.announced {
		return true
	}
	end := off + int64(len(payload))
	if known && length != rec.length || end > rec.length {
		return false
	}
	if rec.body != nil {
		return string(rec.body[off:end]) == string(payload)
	}
	if n := min(int64(rec.headLen), end); off < n {
		return string(rec.head[off:n]) == string(payload[:n-off])
	}
	return true
}

// records is a FIFO of records.
type records struct {
	m       map[objectKey]*record
	order   []objectKey
	max     int
	pkg     *record // the latest package of TSI 0
	bodyLen int
}

// maxBodies bounds the octets of all bodies, beyond which only heads are kept.
const maxBodies = 8 << 20

func (rs *records) add(key objectKey, rec *record) {
	if rec.kind == kindPackage && rec.fate == delivered {
		if old := rs.pkg; old != nil {
			old.fate = replaced
			rs.dropBody(old)
		}
		rs.pkg = rec
	}
	if rs.bodyLen+len(rec.body) > maxBodies {
		rec.body = nil
	}
	rs.bodyLen += len(rec.body)
	rs.remove(key)
	rs.order = append(rs.order, key)
	rs.m[key] = rec
	for len(rs.order) > rs.max {
		rs.remove(rs.order[0])
		rs.order = rs.order[1:]
	}
}

func (rs *records) dropBody(rec *record) {
	rs.bodyLen -= len(rec.body)
	rec.body = nil
}

// remove leaves the key in the order: if it is added again before it comes to
// the end, the new record leaves a little early.
func (rs *records) remove(key objectKey) {
	if rec := rs.m[key]; rec != nil {
		rs.dropBody(rec)
		delete(rs.m, key)
	}
}
