package lls

import (
	"fmt"
	"hash/maphash"
)

// A Tracker takes the datagrams of one sender and gives every version of a table
// once. The zero value is ready. It is not safe for concurrent use.
type Tracker struct {
	Limits Limits
	// Verify checks the signature of a SignedMultiTable, before its tables are
	// given: octets are what is signed, cms is the SignedData message in DER. An
	// error drops the tables. Nil takes them unverified.
	Verify func(octets, cms []byte) error
	// RequireSigned drops the tables that are not signed.
	RequireSigned bool

	seed  maphash.Seed
	known map[tableKey]tableState
	stats Stats
}

// An Update is a table that is new, or has changed.
type Update struct {
	Table Table
	// Signed: the table came in a SignedMultiTable.
	Signed bool
	// SameVersion: the table has changed without a new version, which receivers
	// that go by the version will not notice.
	SameVersion bool
}

// Stats counts what a Tracker has seen.
type Stats struct {
	Datagrams uint64
	// Repeated are the datagrams with a version known already, and Malformed those
	// that could not be read, or did not stand up to Verify.
	Repeated, Malformed uint64
	// Unsigned were dropped for RequireSigned.
	Unsigned uint64
}

type tableKey struct {
	id     TableID
	group  uint8
	signed bool
}

type tableState struct {
	version uint8
	sum     uint64
}

// Stats returns the counters.
func (t *Tracker) Stats() Stats { return t.stats }

// Push takes a datagram. The bodies of the tables may alias b. A datagram that
// is known costs no more than a look at its octets.
//
// There is no more state than one entry for each table id and group, signed and
// unsigned.
func (t *Tracker) Push(b []byte) ([]Update, error) {
	t.stats.Datagrams++
	updates, err := t.push(b)
	if err != nil {
		t.stats.Malformed++
	}
	return updates, err
}

func (t *Tracker) push(b []byte) ([]Update, error) {
	table, err := parseHeader(b)
	if err != nil {
		return nil, err
	}
	signed := table.ID == SignedMultiTableID
	if !signed && t.RequireSigned {
		t.stats.Unsigned++
		return nil, nil
	}
	key, state := tableKey{table.ID, table.Group, signed}, t.state(table)
	before, seen := t.known[key]
	if seen && before == state {
		t.stats.Repeated++
		return nil, nil
	}
	if !signed {
		if table.Body, err = t.Limits.inflate(table.Body); err != nil {
			return nil, err
		}
		t.known[key] = state
		return []Update{{Table: table, SameVersion: seen && before.version == state.version}}, nil
	}
	s, err := t.Limits.ParseSigned(table)
	if err != nil {
		return nil, err
	}
	if t.Verify != nil {
		if err := t.Verify(s.Octets, s.CMS); err != nil {
			return nil, fmt.Errorf("lls: SignedMultiTable: %w", err)
		}
	}
	var updates []Update
	for _, inner := range s.Tables {
		// The signature changes with every signing, the table inside need not.
		key, state := tableKey{inner.ID, inner.Group, true}, t.state(inner)
		before, seen := t.known[key]
		if seen && before == state {
			continue
		}
		t.known[key] = state
		updates = append(updates, Update{Table: inner, Signed: true, SameVersion: seen && before.version == state.version})
	}
	t.known[key] = state
	return updates, nil
}

func (t *Tracker) state(table Table) tableState {
	if t.known == nil {
		t.seed, t.known = maphash.MakeSeed(), map[tableKey]tableState{}
	}
	return tableState{version: table.Version, sum: maphash.Bytes(t.seed, table.Body)}
}
