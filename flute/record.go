package flute

import (
	"bytes"
	"time"

	"github.com/treedn/treedn/flute/alc"
	"github.com/treedn/treedn/flute/fdt"
)

// fate is how an object ended.
type fate uint8

const (
	delivered fate = iota
	unwanted
	lost
)

// record is what is left of an object that was delivered or given up, so that its repeats cost one look-up.
type record struct {
	fate   fate
	file   fdt.File
	fti    []byte
	symbol int    // octets of a symbol
	length int64  // of the object
	head   []byte // its first octets, all of small ones
	seen   time.Time
}

const (
	// maxHead is how much of an object a record keeps to tell another one under the same TOI: FDT Instances and small
	// files entirely.
	maxHead   = 4 << 10
	largeHead = 64
	// maxHeads bounds the octets of all records, beyond which only largeHead of each are kept.
	maxHeads = 8 << 20
	// stale is how long after its end the packets of a lost object are taken for stragglers.
	stale = 2 * time.Second
)

func (o *Object) record(now time.Time, f fate) *record {
	rec := &record{fate: f, fti: o.fti, symbol: int(o.info.SymbolSize), length: o.Length(), seen: now}
	if o.entry != nil {
		rec.file = o.entry.File
	}
	if f == delivered && !o.raw {
		n := o.Length()
		if n > maxHead {
			n = largeHead
		}
		rec.head = make([]byte, n)
		if o.data.read(rec.head, 0) != nil {
			rec.head = nil
		}
	}
	return rec
}

// repeats tells whether a packet belongs to the object that is over, and not to a new one that reuses its TOI.
func (rec *record) repeats(now time.Time, p *alc.Packet) bool {
	switch rec.fate {
	case unwanted:
		return true
	case lost:
		return now.Sub(rec.seen) < stale
	}
	if body, ok := p.Extensions.FTI(); ok && rec.fti != nil && !bytes.Equal(body, rec.fti) {
		return false
	}
	if p.ID.SBN != 0 {
		return true
	}
	off := int64(p.ID.ESI) * int64(rec.symbol)
	if n := int64(len(rec.head)); off < n {
		end := min(n, off+int64(len(p.Symbols)))
		return bytes.Equal(rec.head[off:end], p.Symbols[:end-off])
	}
	return true
}

// records is a FIFO of records.
type records struct {
	m     map[objectKey]*record
	order []objectKey
	max   int
	heads int
}

func (rs *records) add(key objectKey, rec *record) {
	if rs.heads+len(rec.head) > maxHeads {
		rec.head = rec.head[:min(len(rec.head), largeHead):largeHead]
	}
	rs.remove(key)
	rs.heads += len(rec.head)
	rs.order = append(rs.order, key)
	rs.m[key] = rec
	for len(rs.order) > rs.max {
		rs.remove(rs.order[0])
		rs.order = rs.order[1:]
	}
}

// remove leaves the key in the order: if it is added again before it comes to the end, the new record leaves a little
// early.
func (rs *records) remove(key objectKey) {
	if rec := rs.m[key]; rec != nil {
		rs.heads -= len(rec.head)
		delete(rs.m, key)
	}
}
