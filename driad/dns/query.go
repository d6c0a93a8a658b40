package dns

import (
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
)

// NewRand returns a generator that nobody can predict, for IDs and the case of
// letters.
func NewRand() *rand.Rand {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails
	return rand.New(rand.NewChaCha8(seed))
}

// Query is a question as it is sent to a server.
type Query struct {
	ID       uint16
	Question Question
	// MixedCase: the name's letters are of random case, and an answer has to repeat
	// it (draft-vixie-dnsext-dns0x20).
	MixedCase bool
	// NoEDNS leaves the OPT record out, for servers that do not take one.
	NoEDNS bool
	// Pad makes the message a multiple of 128 octets, for encrypted transports
	// (RFC 8467).
	Pad bool
}

// NewQuery returns a query for q with a random ID and, if mixed, letters of random
// case.
func NewQuery(q Question, mixed bool, r *rand.Rand) Query {
	q.Class = max(q.Class, ClassINET)
	out := Query{ID: uint16(r.Uint32()), Question: q, MixedCase: mixed}
	if !mixed {
		return out
	}
	var bits uint64
	w := out.Question.Name.wire[:out.Question.Name.n]
	for i, c := range w {
		if i%64 == 0 {
			bits = r.Uint64()
		}
		// Octets of length are below the letters.
		if c = lower(c); 'a' <= c && c <= 'z' {
			w[i] = c - byte(bits&1)*('a'-'A')
			bits >>= 1
		}
	}
	return out
}

// AppendTo appends the message. It asks for recursion, and by the AD flag to hear
// whether the answer has been validated (RFC 6840 section 5.7).
func (q *Query) AppendTo(b []byte) []byte {
	start := len(b)
	m := NewBuilder(b[start:], Header{ID: q.ID, Flags: FlagRecursionDesired | FlagAuthenticData}, &q.Question)
	if !q.NoEDNS {
		var options []byte
		if q.Pad {
			options = appendPadding(nil, m.Len()+EDNSLen, 128)
		}
		m.EDNS(EDNS{UDPSize: UDPSize}, options)
	}
	if start == 0 {
		return m.Message()
	}
	return append(b, m.Message()...)
}

// ErrMismatch is matched by errors about messages that do not answer the query:
// forged, late, or of a server that changes questions.
var ErrMismatch = errors.New("dns: no answer to the query")

// errCase is a mismatch of the letters' case only.
var errCase = fmt.Errorf("%w: case of the name differs", ErrMismatch)

// Check reports whether msg answers the query: response flag, ID, one question, and
// that of the query.
func (q *Query) Check(msg []byte) error {
	var p Parser
	if err := p.Start(msg); err != nil {
		return err
	}
	h := p.Header
	switch {
	case h.Flags&FlagResponse == 0:
		return fmt.Errorf("%w: it is a query", ErrMismatch)
	case h.ID != q.ID:
		return fmt.Errorf("%w: ID differs", ErrMismatch)
	case h.Opcode() != 0:
		return fmt.Errorf("%w: opcode %d", ErrMismatch, h.Opcode())
	case h.Counts[0] == 0 && h.RCode() != RCodeSuccess && h.RCode() != RCodeNameError:
		return nil // a server that did not understand the question
	case h.Counts[0] != 1:
		return fmt.Errorf("%w: %d questions", ErrMismatch, h.Counts[0])
	}
	var got Question
	if _, err := p.Question(&got); err != nil {
		return err
	}
	want := &q.Question
	if got.Type != want.Type || got.Class != want.Class || !got.Name.Equal(&want.Name) {
		return fmt.Errorf("%w: question is %s", ErrMismatch, got)
	}
	if q.MixedCase && got.Name != want.Name {
		return errCase
	}
	return nil
}
