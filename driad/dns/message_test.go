package dns

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// reply is what the other implementation makes of header, question and records.
func reply(t testing.TB, q *Query, h dnsmessage.Header, answers, authority, additional []dnsmessage.Resource) []byte {
	t.Helper()
	h.ID, h.Response = q.ID, true
	m := dnsmessage.Message{Header: h, Answers: answers, Authorities: authority, Additionals: additional,
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(q.Question.Name.String()),
			Type: dnsmessage.Type(q.Question.Type), Class: dnsmessage.ClassINET}}}
	b, err := m.Pack()
	require.NoError(t, err)
	return b
}

func rr(name string, ttl uint32, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: ttl}, Body: body}
}

func cname(to string) *dnsmessage.CNAMEResource {
	return &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(to)}
}

func dname(to string) *dnsmessage.UnknownResource {
	n := MustParseName(to)
	return &dnsmessage.UnknownResource{Type: dnsmessage.Type(TypeDNAME), Data: n.AppendTo(nil)}
}

func amtrelay(data string) *dnsmessage.UnknownResource {
	return &dnsmessage.UnknownResource{Type: dnsmessage.Type(TypeAMTRELAY), Data: []byte(data)}
}

func soa(minimum uint32) *dnsmessage.SOAResource {
	return &dnsmessage.SOAResource{NS: dnsmessage.MustNewName("ns.example."), MBox: dnsmessage.MustNewName("x.example."), MinTTL: minimum}
}

func query(name string, t Type) Query {
	return Query{ID: 77, Question: Question{Name: MustParseName(name), Type: t, Class: ClassINET}}
}

const source = "12.100.51.198.in-addr.arpa."

func TestQueryOnTheWire(t *testing.T) {
	q := NewQuery(Question{Name: MustParseName(source), Type: TypeAMTRELAY}, true, rand.New(rand.NewPCG(1, 2)))
	require.NotEqual(t, source, q.Question.Name.String())
	require.Equal(t, source, strings.ToLower(q.Question.Name.String()))
	q.Pad = true
	b := q.AppendTo(nil)
	require.Len(t, b, 128)
	var m dnsmessage.Message
	require.NoError(t, m.Unpack(b))
	require.Equal(t, dnsmessage.Header{ID: q.ID, RecursionDesired: true, AuthenticData: true}, m.Header)
	require.Equal(t, q.Question.Name.String(), m.Questions[0].Name.String())
	require.Equal(t, dnsmessage.Type(260), m.Questions[0].Type)
	require.Equal(t, dnsmessage.ClassINET, m.Questions[0].Class)
	require.Equal(t, dnsmessage.TypeOPT, m.Additionals[0].Header.Type)
	require.EqualValues(t, UDPSize, m.Additionals[0].Header.Class)
	q.NoEDNS = true
	require.Len(t, q.AppendTo(nil), 12+28+4)
}

func TestQueryCheck(t *testing.T) {
	q := NewQuery(Question{Name: MustParseName(source), Type: TypeAMTRELAY}, true, rand.New(rand.NewPCG(1, 2)))
	good := reply(t, &q, dnsmessage.Header{}, nil, nil, nil)
	require.NoError(t, q.Check(good))
	change := func(f func(q *Query)) []byte {
		other := q
		f(&other)
		return reply(t, &other, dnsmessage.Header{}, nil, nil, nil)
	}
	for what, b := range map[string][]byte{
		"ID":    change(func(q *Query) { q.ID++ }),
		"type":  change(func(q *Query) { q.Question.Type = TypeA }),
		"name":  change(func(q *Query) { q.Question.Name = MustParseName("13.100.51.198.in-addr.arpa.") }),
		"case":  change(func(q *Query) { q.Question.Name = q.Question.Name.Lower() }),
		"query": q.AppendTo(nil),
		"none":  append(append([]byte{}, good[:4]...), 0, 0, 0, 0, 0, 0, 0, 0),
	} {
		require.ErrorIs(t, q.Check(b), ErrMismatch, what)
	}
	for i := range good {
		require.Error(t, q.Check(good[:i]))
	}
	q.MixedCase = false
	require.NoError(t, q.Check(change(func(q *Query) { q.Question.Name = q.Question.Name.Lower() })))
}

func TestAnswers(t *testing.T) {
	const target = "relays.example.net."
	q := query(source, TypeAMTRELAY)
	parse := func(h dnsmessage.Header, answers, authority, additional []dnsmessage.Resource) (Answer, error) {
		b := reply(t, &q, h, answers, authority, additional)
		require.NoError(t, q.Check(b))
		return ParseAnswer(b, q.Question)
	}
	a, err := parse(dnsmessage.Header{AuthenticData: true}, []dnsmessage.Resource{rr(source, 300, amtrelay("x")), rr(source, 200, amtrelay("y"))}, nil, nil)
	require.NoError(t, err)
	require.True(t, a.Authentic)
	require.Equal(t, 200*time.Second, a.TTL)
	require.Equal(t, []Record{{Type: TypeAMTRELAY, TTL: 300, Data: []byte("x")}, {Type: TypeAMTRELAY, TTL: 200, Data: []byte("y")}}, a.Records)

	// RFC 2317: an alias into another zone, records in any order.
	a, err = parse(dnsmessage.Header{}, []dnsmessage.Resource{
		rr("12.sub.example.", 900, amtrelay("x")), rr(source, 100, cname("12.sub.example."))}, nil, nil)
	require.NoError(t, err)
	require.Equal(t, "12.sub.example.", a.Name.String())
	require.Equal(t, 100*time.Second, a.TTL)
	require.Len(t, a.Records, 1)

	// RFC 6672: the DNAME rules, whatever the CNAME beside it says.
	a, err = parse(dnsmessage.Header{}, []dnsmessage.Resource{
		rr(source, 100, cname("evil.example.")), rr("evil.example.", 100, amtrelay("evil")),
		rr("100.51.198.in-addr.arpa.", 90, dname("sub.example.")), rr("12.sub.example.", 900, amtrelay("x"))}, nil, nil)
	require.NoError(t, err)
	require.Equal(t, []byte("x"), a.Records[0].Data)
	require.Equal(t, 90*time.Second, a.TTL)

	// What the question does not lead to does not count.
	a, err = parse(dnsmessage.Header{}, []dnsmessage.Resource{rr("other.example.", 100, amtrelay("evil"))}, nil,
		[]dnsmessage.Resource{rr(source, 100, amtrelay("evil"))})
	require.NoError(t, err)
	require.False(t, a.Exists())
	require.Zero(t, a.TTL)
	other := rr(source, 100, amtrelay("chaos"))
	other.Header.Class = dnsmessage.ClassCHAOS
	a, err = parse(dnsmessage.Header{}, []dnsmessage.Resource{other}, nil, nil)
	require.NoError(t, err)
	require.False(t, a.Exists())

	// Negative answers.
	a, err = parse(dnsmessage.Header{RCode: dnsmessage.RCodeNameError}, nil, []dnsmessage.Resource{rr("198.in-addr.arpa.", 60, soa(30))}, nil)
	require.NoError(t, err)
	require.Equal(t, RCodeNameError, a.RCode)
	require.Equal(t, 30*time.Second, a.TTL)
	a, err = parse(dnsmessage.Header{}, nil, []dnsmessage.Resource{rr("198.in-addr.arpa.", 20, soa(30))}, nil)
	require.NoError(t, err)
	require.Equal(t, 20*time.Second, a.TTL)
	a, err = parse(dnsmessage.Header{}, nil, []dnsmessage.Resource{rr("example.", 20, soa(30))}, nil)
	require.NoError(t, err)
	require.Zero(t, a.TTL, "the SOA of another zone")
	a, err = parse(dnsmessage.Header{}, nil, []dnsmessage.Resource{rr("198.in-addr.arpa.", 1<<31, soa(30))}, nil)
	require.NoError(t, err)
	require.Zero(t, a.TTL, "top bit")

	// An alias that the server has not followed, a referral, a failure.
	a, err = parse(dnsmessage.Header{}, []dnsmessage.Resource{rr(source, 100, cname(target))}, nil, nil)
	require.NoError(t, err)
	require.True(t, a.Open)
	require.Equal(t, target, a.Name.String())
	_, err = parse(dnsmessage.Header{}, nil, []dnsmessage.Resource{rr("198.in-addr.arpa.", 60, &dnsmessage.NSResource{NS: dnsmessage.MustNewName(target)})}, nil)
	require.ErrorIs(t, err, ErrReferral)
	a, err = parse(dnsmessage.Header{RCode: dnsmessage.RCodeServerFailure}, []dnsmessage.Resource{rr(source, 1, amtrelay("x"))}, nil, nil)
	require.NoError(t, err)
	require.Equal(t, RCodeServerFailure, a.RCode)
	require.False(t, a.Exists())

	// Chains.
	_, err = parse(dnsmessage.Header{}, []dnsmessage.Resource{rr(source, 1, cname("a.")), rr("a.", 1, cname("b.")), rr("b.", 1, cname("a."))}, nil, nil)
	require.ErrorIs(t, err, ErrAliases)
	_, err = parse(dnsmessage.Header{}, []dnsmessage.Resource{rr("in-addr.arpa.", 1, dname("x.in-addr.arpa."))}, nil, nil)
	require.ErrorIs(t, err, ErrAliases)
}

func TestServiceAnswers(t *testing.T) {
	q := query("_amt._udp.example.com.", TypeSRV)
	srv := func(port uint16, target string) *dnsmessage.SRVResource {
		return &dnsmessage.SRVResource{Priority: 1, Weight: 2, Port: port, Target: dnsmessage.MustNewName(target)}
	}
	b := reply(t, &q, dnsmessage.Header{}, []dnsmessage.Resource{rr("_amt._udp.example.com.", 60, srv(2268, "R.example.com."))}, nil,
		[]dnsmessage.Resource{
			rr("r.example.com.", 60, &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}),
			rr("other.example.com.", 60, &dnsmessage.AResource{A: [4]byte{192, 0, 2, 66}}),
		})
	a, err := ParseAnswer(b, q.Question)
	require.NoError(t, err)
	require.Equal(t, []Record{{Type: TypeSRV, TTL: 60, Priority: 1, Weight: 2, Port: 2268, Target: MustParseName("R.example.com")}}, a.Records)
	require.Len(t, a.Addresses, 1)
	require.Equal(t, netip.MustParseAddr("192.0.2.1"), a.Addresses[MustParseName("r.example.com")][0].Address)

	// An instance with a dot and a blank, compressed, which dnsmessage refuses.
	q = query("_amt._udp.example.com.", TypePTR)
	m := NewBuilder(nil, Header{ID: q.ID, Flags: FlagResponse}, &q.Question)
	data := append([]byte("\x09Relay 2.1"), 0xc0, 12)
	m.Record(SectionAnswer, &q.Question.Name, TypePTR, ClassINET, 5, data)
	a, err = ParseAnswer(m.Message(), q.Question)
	require.NoError(t, err)
	require.Equal(t, `Relay\0322\.1._amt._udp.example.com.`, a.Records[0].Target.String())
	var d dnsmessage.Message
	require.Error(t, d.Unpack(m.Message()))
}

func TestExchange(t *testing.T) {
	now := time.Unix(1e9, 0)
	servers := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("[2001:db8::53]:53")}
	question := Question{Name: MustParseName(source), Type: TypeAMTRELAY}
	begin := func() *Exchange {
		return NewExchange(now, question, ExchangeConfig{Servers: servers, Rand: rand.New(rand.NewPCG(3, 4))})
	}
	sent := func(x *Exchange) Query {
		tr, ok := x.PollTransmission()
		require.True(t, ok)
		for _, s := range x.servers {
			if s.address == tr.Server {
				return s.query
			}
		}
		panic("unknown server")
	}
	state := func(x *Exchange) ExchangeState { s, _, _, _ := x.Result(); return s }
	ok := dnsmessage.Header{}

	x := begin()
	q := sent(x)
	x.HandleDatagram(now, servers[1], reply(t, &q, ok, nil, nil, nil))
	require.Equal(t, ExchangePending, state(x), "from a server that was not asked")
	x.HandleDatagram(now, netip.MustParseAddrPort("192.0.2.53:5353"), reply(t, &q, ok, nil, nil, nil))
	require.Equal(t, ExchangePending, state(x), "from another port")
	bad := q
	bad.ID++
	x.HandleDatagram(now, servers[0], reply(t, &bad, ok, nil, nil, nil))
	require.Equal(t, ExchangePending, state(x), "another ID")
	x.HandleDatagram(now, netip.MustParseAddrPort("[::ffff:192.0.2.53]:53"), reply(t, &q, ok, nil, nil, nil))
	require.Equal(t, ExchangeAnswered, state(x))
	_, msg, from, err := x.Result()
	require.NoError(t, err)
	require.NoError(t, q.Check(msg))
	require.Equal(t, servers[0], from)

	// A forger who guesses leads to TCP, and so do truncation and a changed case.
	x = begin()
	sent(x)
	for i := range 10 {
		require.Equal(t, ExchangePending, state(x))
		bad.ID = uint16(i)
		x.HandleDatagram(now, servers[0], reply(t, &bad, ok, nil, nil, nil))
	}
	require.Equal(t, ExchangeUseTCP, state(x))
	x = begin()
	q = sent(x)
	x.HandleDatagram(now, servers[0], reply(t, &q, dnsmessage.Header{Truncated: true}, nil, nil, nil))
	require.Equal(t, ExchangeUseTCP, state(x))
	x = begin()
	q = sent(x)
	q.Question.Name = q.Question.Name.Lower()
	x.HandleDatagram(now, servers[0], reply(t, &q, ok, nil, nil, nil))
	require.Equal(t, ExchangeUseTCP, state(x))

	// Without EDNS for who does not know it, on to the next for who fails.
	x = begin()
	q = sent(x)
	x.HandleDatagram(now, servers[0], reply(t, &q, dnsmessage.Header{RCode: dnsmessage.RCodeFormatError}, nil, nil, nil))
	q2 := sent(x)
	require.True(t, q2.NoEDNS)
	x.HandleDatagram(now, servers[0], reply(t, &q2, dnsmessage.Header{RCode: dnsmessage.RCodeServerFailure}, nil, nil, nil))
	q = sent(x)
	x.HandleUnreachable(now, servers[1])
	s, msg, from, err := x.Result()
	require.NoError(t, err)
	require.Equal(t, ExchangeAnswered, s, "the failure is the answer when nobody else has one")
	require.Equal(t, servers[0], from)
	require.Equal(t, RCodeServerFailure, func() RCode { var p Parser; _ = p.Start(msg); return p.Header.RCode() }())

	// Silence: each server three times, with growing random times, then an error.
	x = begin()
	at, n := now, 1
	for sent(x); !x.NextTimeout().IsZero(); n++ {
		wait := x.NextTimeout().Sub(at)
		require.GreaterOrEqual(t, wait, time.Second)
		require.LessOrEqual(t, wait, time.Second<<((n-1)/2))
		at = x.NextTimeout()
		x.HandleTimeout(at)
		if state(x) == ExchangePending {
			sent(x)
		}
	}
	require.Equal(t, 7, n)
	_, _, _, err = x.Result()
	require.ErrorIs(t, err, ErrTimeout)
	_, _, _, err = NewExchange(now, question, ExchangeConfig{}).Result()
	require.ErrorIs(t, err, ErrServers)
}

// forward: dnsmessage follows pointers to later octets, which RFC 1035 section 4.1.4
// does not have.
func forward(err error) bool {
	return err != nil && strings.Contains(err.Error(), "does not lead back")
}

// Whatever arrives: no panic, bounded results, and what dnsmessage reads, we read,
// too.
func FuzzAnswer(f *testing.F) {
	q := query(source, TypeAMTRELAY)
	f.Add(reply(f, &q, dnsmessage.Header{}, []dnsmessage.Resource{rr(source, 1, amtrelay("x"))}, []dnsmessage.Resource{rr("arpa.", 1, soa(1))}, nil), uint16(260))
	f.Add(reply(f, &q, dnsmessage.Header{}, []dnsmessage.Resource{rr(source, 1, cname("a.")), rr("a.", 1, dname("b.")), rr("arpa.", 1, dname("b."))}, nil, nil), uint16(260))
	q.Question.Type = TypeSRV
	f.Add(reply(f, &q, dnsmessage.Header{}, []dnsmessage.Resource{rr(source, 1, &dnsmessage.SRVResource{Target: dnsmessage.MustNewName("a.")})}, nil,
		[]dnsmessage.Resource{rr("a.", 1, &dnsmessage.AAAAResource{})}), uint16(33))
	f.Fuzz(func(t *testing.T, msg []byte, typ uint16) {
		q := query(source, Type(typ))
		_ = q.Check(msg)
		a, err := ParseAnswer(msg, q.Question)
		if err == nil {
			require.LessOrEqual(t, len(a.Records), maxRecords)
			require.GreaterOrEqual(t, a.TTL, time.Duration(0))
		}
		var p Parser
		if p.Start(msg) != nil {
			return
		}
		var d dnsmessage.Parser
		_, err = d.Start(msg)
		require.NoError(t, err)
		for {
			var ours Question
			ok, err := p.Question(&ours)
			theirs, derr := d.Question()
			if errors.Is(derr, dnsmessage.ErrSectionDone) {
				break
			}
			if derr != nil {
				return // it would skip the question's name without a look at it, which we do not
			}
			if forward(err) {
				return
			}
			require.NoError(t, err)
			require.True(t, ok)
			if !strings.Contains(ours.Name.String(), `\`) {
				require.Equal(t, theirs.Name.String(), ours.Name.String())
			}
		}
		if d.SkipAllQuestions() != nil {
			return
		}
		for {
			h, derr := d.AnswerHeader()
			if derr != nil || d.SkipAnswer() != nil {
				break
			}
			var r Resource
			ok, err := p.Next(&r)
			if forward(err) {
				return
			}
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, uint16(h.Type), uint16(r.Type))
			require.Equal(t, h.TTL, r.TTL)
			require.Equal(t, int(h.Length), len(r.Data))
		}
	})
}
