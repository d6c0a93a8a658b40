package fdt

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Errors of Database.Add. An instance that cannot be read gives those of Parse.
var (
	// ErrReused: an instance has the ID of another one that is still valid. It must not (RFC 6726 section 3.4.1), and is
	// not used.
	ErrReused = errors.New("fdt: Instance ID is that of another instance which has not expired")
	// ErrExpired: an instance had expired when it arrived.
	ErrExpired = errors.New("fdt: instance has expired")
	// ErrContradiction: an instance changes what an earlier one that is still valid says of a file (RFC 6726 section
	// 3.3). Of that file, what was there is kept; all else of the instance is used.
	ErrContradiction = errors.New("fdt: instance contradicts an earlier one")
	// ErrFull: there are more files than the Database holds.
	ErrFull = errors.New("fdt: too many files in all instances")
)

// A Database is what the FDT Instances of one FLUTE session, taken together, say of its files (RFC 6726 section 3.3).
// The zero value is empty. It belongs to one goroutine; times come from the caller.
//
// Instances may come in any order and may overlap. What is said of a file stays as long as an instance that says so is
// valid; later instances may add to it. Some senders write no true Expires: then the newer instance wins. And some begin
// anew with old IDs and TOIs: what was not sent again for ReuseAfter gives way.
type Database struct {
	// Limits bounds each instance.
	Limits Limits
	// MaxFiles bounds the files of all instances. Default 65536. Beyond, those are forgotten that were announced
	// longest ago.
	MaxFiles int
	// ReuseAfter is for how long an instance that is not sent again keeps others out. Default 5 s.
	ReuseAfter time.Duration

	files     map[uint64]*Entry
	locations map[string]*Entry
	instances map[uint32]*record
	complete  bool
	next      time.Time // the first expiry, zero for none
}

// record is what is kept of an instance.
type record struct {
	id      uint32
	sum     [sha256.Size]byte
	expires time.Time // zero for never
	seen    time.Time
}

func (r *record) valid(now time.Time) bool { return r.expires.IsZero() || now.Before(r.expires) }

// newer compares Instance IDs of 20 bits that wrap.
func newer(a, b uint32) bool {
	const bits = 20
	d := (a - b) & (1<<bits - 1)
	return d != 0 && d < 1<<(bits-1)
}

const maxInstances = 4096

func (db *Database) reuseAfter() time.Duration { return cmp.Or(db.ReuseAfter, 5*time.Second) }

// Add takes the FDT Instance of an ID, decoded if EXT_CENC says so, and returns what it changes. It may return both
// changes and an error: that of the first file for which there is one.
func (db *Database) Add(now time.Time, id uint32, doc []byte) ([]Change, error) {
	sum := sha256.Sum256(doc)
	known := db.instances[id]
	switch {
	case known == nil:
	case known.sum == sum:
		known.seen = now
		if !known.valid(now) {
			return nil, ErrExpired
		}
		return nil, nil
	case known.valid(now) && now.Sub(known.seen) < db.reuseAfter():
		return nil, fmt.Errorf("%w: %d", ErrReused, id)
	}
	in, err := db.Limits.Parse(doc)
	if err != nil {
		return nil, err
	}
	rec := &record{id: id, sum: sum, seen: now}
	if at, ok := in.ExpiresAt(now); ok {
		rec.expires = at
		if !rec.valid(now) {
			return nil, fmt.Errorf("%w at %v", ErrExpired, at)
		}
	}
	if db.files == nil {
		db.files, db.locations = make(map[uint64]*Entry), make(map[string]*Entry)
		db.instances = make(map[uint32]*record)
	}
	db.remember(now, rec)
	db.complete = db.complete || in.Complete
	changes, err := db.list(now, in, rec)
	if in.FullFDT && len(in.Files) > 0 {
		changes = db.keepOnly(in, rec, changes)
	}
	return changes, err
}

// Seen notes that an instance came again, for callers that know without Add.
func (db *Database) Seen(now time.Time, id uint32) {
	if r := db.instances[id]; r != nil {
		r.seen = now
	}
}

func (db *Database) remember(now time.Time, rec *record) {
	if len(db.instances) >= maxInstances {
		var oldest *record
		for id, r := range db.instances {
			if !r.valid(now) {
				delete(db.instances, id)
			} else if oldest == nil || r.seen.Before(oldest.seen) {
				oldest = r
			}
		}
		if oldest != nil && len(db.instances) >= maxInstances {
			delete(db.instances, oldest.id)
		}
	}
	db.instances[rec.id] = rec
	db.wake(rec.expires)
}

func (db *Database) wake(at time.Time) {
	if !at.IsZero() && (db.next.IsZero() || at.Before(db.next)) {
		db.next = at
	}
}

// list enters the files of an instance.
func (db *Database) list(now time.Time, in *Instance, rec *record) (changes []Change, err error) {
	for _, f := range in.Files {
		e := &Entry{
			File: in.Resolve(f), BaseURL1: in.BaseURL1, BaseURL2: in.BaseURL2,
			InstanceID: rec.id, Expires: rec.expires, in: rec,
		}
		old := db.files[f.TOI]
		kind := Added
		switch {
		case old == nil:
			if !db.room(now, rec) {
				return changes, ErrFull
			}
		case !old.valid(now):
		case e.File.Contradicts(&old.File):
			kind = Replaced
			if !old.givesWay(now, rec, db.reuseAfter()) {
				if err == nil {
					err = fmt.Errorf("%w: TOI %d, %.64q", ErrContradiction, f.TOI, f.ContentLocation)
				}
				continue
			}
		default:
			kind = Augmented
			e.merge(old)
		}
		db.put(e)
		if old != nil && old.File.ContentLocation != e.File.ContentLocation && db.locations[old.File.ContentLocation] == old {
			delete(db.locations, old.File.ContentLocation)
		}
		changes = append(changes, Change{kind, e})
	}
	return changes, err
}

func (db *Database) put(e *Entry) {
	db.files[e.File.TOI] = e
	location := e.File.ContentLocation
	// The newer version of a file is in the higher instance (RFC 6726 section 3.4.2).
	if other := db.locations[location]; other == nil || other.File.TOI == e.File.TOI || db.files[other.File.TOI] != other ||
		newer(e.InstanceID, other.InstanceID) || e.InstanceID == other.InstanceID && e.File.TOI > other.File.TOI {
		db.locations[location] = e
	}
	db.wake(e.Expires)
}

// room makes room for a file, if need be: of files that have expired or, if there are none, of the one that was announced
// longest ago, but not of those of the same instance.
func (db *Database) room(now time.Time, rec *record) bool {
	limit := cmp.Or(db.MaxFiles, defaultMaxFiles)
	if len(db.files) < limit {
		return true
	}
	// A sixteenth at once, so that a flood does not look at all files for each of its own.
	old := make([]*Entry, 0, len(db.files))
	for _, e := range db.files {
		if e.in != rec {
			old = append(old, e)
		}
	}
	slices.SortFunc(old, func(a, b *Entry) int {
		if x, y := a.valid(now), b.valid(now); x != y {
			if x {
				return 1
			}
			return -1
		}
		return a.in.seen.Compare(b.in.seen)
	})
	for _, e := range old[:min(len(old), max(limit/16, 1))] {
		db.drop(e)
	}
	return len(db.files) < limit
}

func (db *Database) drop(e *Entry) {
	delete(db.files, e.File.TOI)
	if db.locations[e.File.ContentLocation] == e {
		delete(db.locations, e.File.ContentLocation)
	}
}

// keepOnly removes all files that an instance which claims to be full does not list, unless a newer one does.
func (db *Database) keepOnly(in *Instance, rec *record, changes []Change) []Change {
	listed := make(map[uint64]bool, len(in.Files))
	for i := range in.Files {
		listed[in.Files[i].TOI] = true
	}
	first := len(changes)
	for toi, e := range db.files {
		if !listed[toi] && !newer(e.InstanceID, rec.id) {
			db.drop(e)
			changes = append(changes, Change{Removed, e})
		}
	}
	slices.SortFunc(changes[first:], byTOI)
	return changes
}

func byTOI(a, b Change) int { return cmp.Compare(a.Entry.File.TOI, b.Entry.File.TOI) }

// Expire removes what is not valid any more and returns it.
func (db *Database) Expire(now time.Time) (changes []Change) {
	if db.next.IsZero() || now.Before(db.next) {
		return nil
	}
	db.next = time.Time{}
	for id, r := range db.instances {
		if !r.valid(now) {
			delete(db.instances, id)
			continue
		}
		db.wake(r.expires)
	}
	for _, e := range db.files {
		if !e.valid(now) {
			db.drop(e)
			changes = append(changes, Change{Expired, e})
			continue
		}
		db.wake(e.Expires)
	}
	slices.SortFunc(changes, byTOI)
	return changes
}

// NextExpiry is when Expire has something to do, zero for never.
func (db *Database) NextExpiry() time.Time { return db.next }

// File returns the description of a TOI, and false if there is none that is valid.
func (db *Database) File(now time.Time, toi uint64) (*Entry, bool) {
	e := db.files[toi]
	if e == nil || !e.valid(now) {
		return nil, false
	}
	return e, true
}

// Location returns the newest file of that Content-Location.
func (db *Database) Location(now time.Time, location string) (*Entry, bool) {
	e := db.locations[location]
	if e == nil || !e.valid(now) {
		return nil, false
	}
	return e, true
}

// Len is the number of files.
func (db *Database) Len() int { return len(db.files) }

// Files returns all files, by TOI.
func (db *Database) Files() []*Entry {
	all := make([]*Entry, 0, len(db.files))
	for _, e := range db.files {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *Entry) int { return cmp.Compare(a.File.TOI, b.File.TOI) })
	return all
}

// Complete tells that an instance claimed to list every file that the session ever had or will have.
func (db *Database) Complete() bool { return db.complete }
