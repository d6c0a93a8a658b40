package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Limits of [ParseAnswer].
const (
	maxAliases = 12
	maxRecords = 256 // that are looked at in a section
)

// ErrAliases is returned for chains of aliases that are too long, or circular.
var ErrAliases = errors.New("dns: too many aliases")

// ErrReferral is returned for a message that only names other servers: the server
// does not do recursion.
var ErrReferral = errors.New("dns: referral, the server does not do recursion")

// Record is a record that answers a question. Which fields are set depends on the
// type.
type Record struct {
	Type     Type
	TTL      uint32     // seconds
	Address  netip.Addr // A, AAAA
	Target   Name       // PTR, SRV
	Priority uint16     // SRV
	Weight   uint16     // SRV
	Port     uint16     // SRV
	Data     []byte     // all other types; a copy
}

// Answer is what a message says about a question.
type Answer struct {
	RCode RCode
	// Name is what the aliases, CNAME and DNAME records, lead to.
	Name Name
	// Records are those of the type asked for, at Name. There are none if name or
	// type do not exist.
	Records []Record
	// Addresses has A and AAAA records from the additional section for the targets
	// of SRV records.
	Addresses map[Name][]Record // keys in lower case
	// Open: the aliases lead to a Name about which the message says nothing. It has
	// to be asked for.
	Open bool
	// TTL is how long the answer holds: the least of all records that it was read
	// from; of the SOA record's for one without Records (RFC 2308 section 5), 0 if
	// there is none.
	TTL time.Duration
	// Authentic: the server says that it has validated the answer by DNSSEC (AD).
	// That is worth what the way to the server is worth.
	Authentic bool
	// Malformed counts records at Name that could not be read and were left out.
	Malformed int
}

// Exists reports whether there is something of the type asked for.
func (a *Answer) Exists() bool { return len(a.Records) > 0 }

// ttlOf: a TTL with the top bit is 0 (RFC 2181 section 8).
func ttlOf(v uint32) time.Duration {
	if v>>31 != 0 {
		return 0
	}
	return time.Duration(v) * time.Second
}

// ParseAnswer reads what a message that [Query.Check] has passed says about q. It
// counts only records of the question's class in the answer section whose owner is
// the question's name or is reached from it by aliases, so that a server, or who
// forges its answers, cannot speak about other names.
func ParseAnswer(msg []byte, q Question) (Answer, error) {
	q.Class = max(q.Class, ClassINET)
	a := Answer{Name: q.Name}
	var p Parser
	if err := p.Start(msg); err != nil {
		return a, err
	}
	a.RCode = p.Header.RCode()
	a.Authentic = p.Header.Flags&FlagAuthenticData != 0
	var sections [4][]Resource
	for {
		var r Resource
		ok, err := p.Next(&r)
		if err != nil {
			return a, err
		}
		if !ok {
			break
		}
		if e, ok := ParseEDNS(&r); ok {
			a.RCode |= RCode(e.Extended) << 4
		}
		if r.Class == q.Class && len(sections[r.Section]) < maxRecords {
			sections[r.Section] = append(sections[r.Section], r)
		}
	}
	if a.RCode != RCodeSuccess && a.RCode != RCodeNameError {
		return a, nil
	}
	ttl := time.Duration(-1)
	hold := func(r *Resource) {
		if t := ttlOf(r.TTL); ttl < 0 || t < ttl {
			ttl = t
		}
	}
	aliases := 0
	for {
		for i := range sections[SectionAnswer] {
			r := &sections[SectionAnswer][i]
			if r.Type == q.Type && r.Name.Equal(&a.Name) {
				hold(r)
				rec, err := r.record()
				if err != nil {
					a.Malformed++
					continue
				}
				a.Records = append(a.Records, rec)
			}
		}
		if len(a.Records) > 0 || a.Malformed > 0 {
			break
		}
		next, by, err := alias(sections[SectionAnswer], &a.Name, q.Type)
		if err != nil {
			return a, err
		}
		if by == nil {
			break
		}
		if aliases++; aliases > maxAliases {
			return a, fmt.Errorf("%w: of %s", ErrAliases, q.Name)
		}
		hold(by)
		a.Name = next
	}
	if a.Malformed == 0 && len(a.Records) == 0 {
		return a, a.negative(sections[SectionAuthority], ttl, aliases)
	}
	a.TTL = max(ttl, 0)
	a.additional(sections[SectionAdditional])
	return a, nil
}

// alias finds where n leads to. A CNAME that a server made from a DNAME says the
// same as that, or is ignored.
func alias(answers []Resource, n *Name, t Type) (next Name, by *Resource, err error) {
	for i := range answers {
		r := &answers[i]
		switch {
		case r.Type == TypeDNAME && r.Name.n != n.n && n.In(&r.Name):
			target, err := r.onlyName()
			if err != nil {
				return next, nil, err
			}
			next, err = n.Substitute(&r.Name, &target)
			return next, r, err
		case r.Type == TypeCNAME && t != TypeCNAME && by == nil && r.Name.Equal(n):
			if next, err = r.onlyName(); err != nil {
				return next, nil, err
			}
			by = r
		}
	}
	return next, by, nil
}

// negative completes an answer without records from the authority section.
func (a *Answer) negative(authority []Resource, ttl time.Duration, aliases int) error {
	referral := false
	for i := range authority {
		r := &authority[i]
		switch {
		case r.Type == TypeSOA && a.Name.In(&r.Name):
			// The last 20 octets are of fixed size, MINIMUM at the end.
			if len(r.Data) < 22 {
				return fmt.Errorf("%w: SOA record of %d octets", ErrMessage, len(r.Data))
			}
			a.TTL = min(ttlOf(r.TTL), ttlOf(binary.BigEndian.Uint32(r.Data[len(r.Data)-4:])))
			if ttl >= 0 {
				a.TTL = min(a.TTL, ttl)
			}
			return nil
		case r.Type == TypeNS:
			referral = true
		}
	}
	switch {
	case a.RCode == RCodeNameError:
	case aliases > 0:
		a.Open = true
		a.TTL = max(ttl, 0)
	case referral:
		return ErrReferral
	}
	return nil
}

// additional takes addresses of the targets of SRV records. A server that wanted to
// mislead could name any target, so that nothing is gained by forged addresses.
func (a *Answer) additional(records []Resource) {
	for i := range a.Records {
		s := &a.Records[i]
		if s.Type != TypeSRV {
			return
		}
		key := s.Target.Lower()
		if _, done := a.Addresses[key]; done {
			continue
		}
		var list []Record
		for j := range records {
			r := &records[j]
			if (r.Type == TypeA || r.Type == TypeAAAA) && r.Name.Equal(&s.Target) {
				if rec, err := r.record(); err == nil {
					list = append(list, rec)
				}
			}
		}
		if list != nil {
			if a.Addresses == nil {
				a.Addresses = make(map[Name][]Record)
			}
			a.Addresses[key] = list
		}
	}
}

// record reads the data.
func (r *Resource) record() (Record, error) {
	rec := Record{Type: r.Type, TTL: r.TTL}
	var err error
	switch r.Type {
	case TypeA, TypeAAAA:
		want := 4
		if r.Type == TypeAAAA {
			want = 16
		}
		if len(r.Data) != want {
			return rec, fmt.Errorf("%w: %s record of %d octets", ErrMessage, r.Type, len(r.Data))
		}
		rec.Address, _ = netip.AddrFromSlice(r.Data)
		rec.Address = rec.Address.Unmap()
	case TypePTR:
		rec.Target, err = r.onlyName()
	case TypeSRV:
		if len(r.Data) < 7 {
			return rec, fmt.Errorf("%w: SRV record of %d octets", ErrMessage, len(r.Data))
		}
		rec.Priority = binary.BigEndian.Uint16(r.Data)
		rec.Weight = binary.BigEndian.Uint16(r.Data[2:])
		rec.Port = binary.BigEndian.Uint16(r.Data[4:])
		var end int
		if rec.Target, end, err = r.NameAt(6); err == nil && end != len(r.Data) {
			err = fmt.Errorf("%w: SRV record: octets after the target", ErrMessage)
		}
	default:
		rec.Data = append([]byte(nil), r.Data...)
	}
	return rec, err
}
