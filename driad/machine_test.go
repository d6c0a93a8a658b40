package driad_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/dns"
)

var (
	epoch  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	source = netip.MustParseAddr("198.51.100.12")
)

// zone is what a recursive resolver knows: lines of a zone file by question.
type zone map[string][]string

// respond makes the answer to a question: the records of its name and type, the
// aliases that lead there, NXDOMAIN or "no data" with an SOA record otherwise.
func (z zone) respond(t testing.TB, q dns.Question, ad bool) []byte {
	t.Helper()
	h := dns.Header{Flags: dns.FlagResponse | dns.FlagRecursionAvailable}
	if ad {
		h.Flags |= dns.FlagAuthenticData
	}
	b := dns.NewBuilder(nil, h, &q)
	name := q.Name
	for range 10 {
		list, ok := z[strings.ToLower(name.String())+" "+q.Type.String()]
		kind := q.Type
		if !ok {
			if list, ok = z[strings.ToLower(name.String())+" CNAME"]; ok {
				kind = dns.TypeCNAME
			}
		}
		if !ok {
			break
		}
		for _, line := range list {
			ttl, data := parse(t, kind, line)
			if ttl == 0 && data == nil { // "fail"
				b.SetFlags(uint16(dns.RCodeServerFailure))
				return b.Message()
			}
			b.Record(dns.SectionAnswer, &name, kind, dns.ClassINET, ttl, data)
			if kind == dns.TypeCNAME {
				name = dns.Name{}
				_, err := name.Unmarshal(data)
				require.NoError(t, err)
			}
		}
		if kind == q.Type {
			return b.Message()
		}
	}
	found := false
	for k := range z {
		found = found || strings.HasPrefix(k, strings.ToLower(name.String())+" ")
	}
	if !found {
		b.SetFlags(uint16(dns.RCodeNameError))
	}
	soa := append([]byte{0, 0}, make([]byte, 20)...)
	soa[21] = 30 // MINIMUM
	b.Record(dns.SectionAuthority, &dns.Name{}, dns.TypeSOA, dns.ClassINET, 60, soa)
	return b.Message()
}

// parse reads "ttl data".
func parse(t testing.TB, kind dns.Type, line string) (uint32, []byte) {
	t.Helper()
	f := strings.Fields(line)
	if f[0] == "fail" {
		return 0, nil
	}
	number := func(s string) uint32 {
		v := uint32(0)
		for _, c := range s {
			v = 10*v + uint32(c-'0')
		}
		return v
	}
	ttl := number(f[0])
	rest := strings.TrimSpace(line[len(f[0]):])
	switch kind {
	case dns.TypeA, dns.TypeAAAA:
		return ttl, netip.MustParseAddr(rest).AsSlice()
	case dns.TypeAMTRELAY:
		r, err := amtrelay.Parse(rest, dns.Name{})
		require.NoError(t, err)
		b, err := r.AppendTo(nil)
		require.NoError(t, err)
		return ttl, b
	case dns.TypeSRV:
		var b []byte
		for _, s := range f[1:4] {
			b = append(b, byte(number(s)>>8), byte(number(s)))
		}
		n := dns.MustParseName(f[4])
		return ttl, n.AppendTo(b)
	default:
		n := dns.MustParseName(rest)
		return ttl, n.AppendTo(nil)
	}
}

const (
	reverse = "12.100.51.198.in-addr.arpa. AMTRELAY"
	plain   = "12.100.51.198.amt.in-addr.arpa. A"
)

// rig runs a machine in its own time.
type rig struct {
	t     testing.TB
	m     *driad.Machine
	now   time.Time
	zone  zone
	delay func(dns.Question) time.Duration
	ad    bool
	lost  bool // no resolver answers
	open  []pendingAnswer
	asked []string
	log   []driad.Event
	when  []time.Time
}

type pendingAnswer struct {
	at time.Time
	l  driad.Lookup
}

func newRig(t testing.TB, config driad.Config, z zone) *rig {
	if config.Rand == nil {
		config.Rand = rand.New(rand.NewPCG(1, 2))
	}
	return &rig{t: t, m: driad.NewMachine(config), now: epoch, zone: z, delay: func(dns.Question) time.Duration { return 5 * time.Millisecond }}
}

// run lets time pass.
func (r *rig) run(d time.Duration) {
	end := r.now.Add(d)
	for n := 0; ; n++ {
		require.Less(r.t, n, 1_000_000, "it never ends")
		r.drain()
		next := r.m.NextTimeout()
		i := -1
		for j, p := range r.open {
			if next.IsZero() || !p.at.After(next) {
				next, i = p.at, j
			}
		}
		if next.IsZero() || next.After(end) {
			r.now = end
			return
		}
		if next.After(r.now) {
			r.now = next
		}
		if i < 0 {
			r.m.HandleTimeout(r.now)
			continue
		}
		l := r.open[i].l
		r.open = append(r.open[:i], r.open[i+1:]...)
		if r.lost {
			r.m.Failed(r.now, l.ID, dns.ErrTimeout)
		} else {
			r.m.Answer(r.now, l.ID, dns.Response{Message: r.zone.respond(r.t, l.Question, r.ad), Trusted: true})
		}
	}
}

func (r *rig) drain() {
	for {
		l, ok := r.m.PollQuery()
		if !ok {
			break
		}
		r.asked = append(r.asked, l.Question.String())
		r.open = append(r.open, pendingAnswer{r.now.Add(r.delay(l.Question)), l})
	}
	for {
		e, ok := r.m.PollEvent()
		if !ok {
			break
		}
		r.log = append(r.log, e)
		r.when = append(r.when, r.now)
	}
}

// attempts returns the addresses of the attempts so far, and when they were.
func (r *rig) attempts() (list []string, at []time.Duration) {
	for i, e := range r.log {
		if e.Type == driad.EventAttempt {
			list = append(list, e.Candidate.Address.String())
			at = append(at, r.when[i].Sub(epoch))
		}
	}
	return list, at
}

func (r *rig) last(kind driad.EventType) *driad.Event {
	for i := len(r.log) - 1; i >= 0; i-- {
		if r.log[i].Type == kind {
			return &r.log[i]
		}
	}
	return nil
}

func addresses(list []driad.Candidate) (out []string) {
	for _, c := range list {
		out = append(out, c.Address.String())
	}
	return out
}

func port(s string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(s), driad.Port) }

var onlyDRIAD = driad.Config{NoServiceDiscovery: true, NoAnycast: true, NoPlain: true}

// The example of RFC 8777 section 4.3.2.
func TestDRIAD(t *testing.T) {
	r := newRig(t, onlyDRIAD, zone{
		reverse:                        {"300 128 1 3 amtrelays.example.com.", "300 10 0 1 203.0.113.15", "300 10 0 2 2001:db8::15"},
		"amtrelays.example.com. A":     {"300 203.0.113.99"},
		"amtrelays.example.com. AAAA":  {"300 2001:db8::99"},
		"12.100.51.198.in-addr.arpa. ": nil,
	})
	r.ad = true
	id := r.m.Start(r.now, source)
	r.run(2 * time.Second)
	list := r.m.Candidates(id)
	require.Len(t, list, 4)
	require.ElementsMatch(t, []string{"203.0.113.15:2268", "[2001:db8::15]:2268"}, addresses(list[:2]))
	require.ElementsMatch(t, []string{"203.0.113.99:2268", "[2001:db8::99]:2268"}, addresses(list[2:]))
	for i, c := range list {
		require.Equal(t, driad.DRIAD, c.Method)
		require.True(t, c.Authentic)
		require.Equal(t, i >= 2, c.Direct, "the D bit carries over to the addresses of the name")
		if i >= 2 {
			require.EqualValues(t, 128, c.Precedence)
			require.Equal(t, "amtrelays.example.com.", c.Name.String())
		}
	}
	got, at := r.attempts()
	require.Equal(t, addresses(list), got)
	for i := range 3 {
		require.Equal(t, 250*time.Millisecond, at[i+1]-at[i])
	}
}

func TestMethodsInOrder(t *testing.T) {
	r := newRig(t, driad.Config{
		Domains: []dns.Name{dns.MustParseName("example.com"), dns.MustParseName("local")},
		Relays:  []driad.Candidate{{Address: netip.MustParseAddrPort("192.0.2.200:0")}, {Address: netip.MustParseAddrPort("192.0.2.100:7"), Direct: true}},
	}, zone{
		"b._dns-sd._udp.example.com. PTR":            {"60 other.example."},
		"_amt._udp.example.com. PTR":                 {`60 Relay\0322\.1._amt._udp.example.com.`},
		`relay\0322\.1._amt._udp.example.com. SRV`:   {"60 0 0 2269 r1.example.com.", "60 1 0 2268 r2.example.com.", "60 0 0 1 ."},
		"_amt._udp.other.example. SRV":               {"60 0 0 2268 r3.other.example."},
		"r1.example.com. A":                          {"60 192.0.2.1"},
		"r2.example.com. A":                          {"60 192.0.2.2", "60 127.0.0.1", "60 224.0.0.1"},
		"r3.other.example. A":                        {"60 192.0.2.3"},
		"12.100.51.198.in-addr.arpa. AMTRELAY":       {"60 1 0 1 192.0.2.4", "60 0 0 1 127.0.0.1"},
		"12.100.51.198.amt.in-addr.arpa. A":          {"60 192.0.2.5"},
		"lb._dns-sd._udp.example.com. PTR":           {"60 example.com."},
		"unrelated.example. A":                       {"60 192.0.2.66"},
		"_amt._udp.unrelated.example. SRV":           {"60 0 0 2268 unrelated.example."},
		"b._dns-sd._udp.unrelated.example. PTR":      {"60 unrelated.example."},
		"12.100.51.198.in-addr.arpa. PTR":            {"60 unrelated.example."},
		"13.100.51.198.in-addr.arpa. AMTRELAY":       {"60 0 0 1 192.0.2.66"},
		"12.100.51.198.amt.in-addr.arpa. AAAA":       {"60 2001:db8::5"},
		"_amt._udp.example.com. TXT":                 nil,
		"relay\\0322\\.1._amt._udp.example.com. TXT": nil,
	})
	id := r.m.Start(r.now, source)
	r.run(5 * time.Second)
	list := addresses(r.m.Candidates(id))
	require.Equal(t, []string{"192.0.2.200:2268", "192.0.2.100:7"}, list[:2], "as configured")
	require.ElementsMatch(t, []string{"192.0.2.1:2269", "192.0.2.3:2268"}, list[2:4], "priority 0")
	require.Equal(t, "192.0.2.2:2268", list[4])
	require.ElementsMatch(t, []string{"192.52.193.1:2268", "[2001:3::1]:2268"}, list[5:7])
	require.Equal(t, "192.0.2.4:2268", list[7])
	require.Len(t, list, 8, "plain records count only without AMTRELAY")
	for _, q := range r.asked {
		require.NotContains(t, q, "local.", "that is for multicast DNS")
	}

	delete(r.zone, reverse)
	id = r.m.Start(r.now.Add(time.Hour), source)
	r.now = r.now.Add(time.Hour)
	r.run(5 * time.Second)
	list = addresses(r.m.Candidates(id))
	require.ElementsMatch(t, []string{"192.0.2.5:2268", "[2001:db8::5]:2268"}, list[7:])
}

// Preferred answers that come soon overtake; later ones do not hold others up (RFC
// 8305 sections 3 and 5).
func TestResolutionDelay(t *testing.T) {
	z := zone{reverse: {"60 1 0 3 r.example."}, "r.example. A": {"60 192.0.2.4"}, "r.example. AAAA": {"60 2001:db8::4"}}
	for _, c := range []struct {
		aaaa  time.Duration
		first string
		at    time.Duration
	}{
		{40 * time.Millisecond, "[2001:db8::4]:2268", 50 * time.Millisecond},
		{80 * time.Millisecond, "192.0.2.4:2268", 70 * time.Millisecond},
	} {
		config := onlyDRIAD
		config.Local = func(a netip.Addr) netip.Addr {
			if a.Is4() {
				return netip.MustParseAddr("192.0.2.250")
			}
			return netip.MustParseAddr("2001:db8::250")
		}
		r := newRig(t, config, z)
		r.delay = func(q dns.Question) time.Duration {
			if q.Type == dns.TypeAAAA {
				return c.aaaa
			}
			return 10 * time.Millisecond
		}
		r.m.Start(r.now, source)
		r.run(time.Second)
		list, at := r.attempts()
		require.Equal(t, c.first, list[0], "IPv6 is preferred by RFC 6724")
		require.Equal(t, c.at, at[0])
		require.Len(t, list, 2)
	}
}

func TestOutcomes(t *testing.T) {
	r := newRig(t, onlyDRIAD, zone{reverse: {"60 1 0 1 192.0.2.1", "60 2 0 1 192.0.2.2", "60 3 0 1 192.0.2.3", "60 4 0 1 192.0.2.4"}})
	id := r.m.Start(r.now, source)
	r.run(10 * time.Millisecond)
	r.m.Report(r.now, id, port("192.0.2.1"), driad.Unreachable, 0)
	r.run(time.Millisecond)
	r.m.Report(r.now, id, port("192.0.2.2"), driad.Overloaded, 0)
	r.run(time.Millisecond)
	r.m.Report(r.now, id, port("192.0.2.3"), driad.Connected, 20*time.Millisecond)
	r.run(time.Minute)
	list, at := r.attempts()
	require.Equal(t, []string{"192.0.2.1:2268", "192.0.2.2:2268", "192.0.2.3:2268"}, list)
	require.Equal(t, []time.Duration{5 * time.Millisecond, 10 * time.Millisecond, 11 * time.Millisecond}, at, "a failure is not waited for")
	queries := len(r.asked)
	r.run(time.Hour)
	require.Len(t, r.asked, queries, "nothing is looked up while there is a relay")
	require.True(t, r.m.NextTimeout().IsZero())

	// No traffic: the next one, and this one not for 3 minutes at least.
	r.m.Report(r.now, id, port("192.0.2.3"), driad.NoTraffic, 0)
	r.run(time.Second)
	require.Equal(t, []string{"192.0.2.1:2268", "192.0.2.2:2268", "192.0.2.4:2268"}, addresses(r.m.Candidates(id)))
	list, _ = r.attempts()
	require.Equal(t, []string{"192.0.2.1:2268", "192.0.2.2:2268", "192.0.2.4:2268"}, list[3:])
	r.m.Report(r.now, id, port("192.0.2.4"), driad.Connected, 0)
	start := r.now
	r.run(2*time.Minute + 59*time.Second - time.Second)
	r.m.Restart(r.now, id)
	r.run(10 * time.Millisecond)
	require.NotContains(t, addresses(r.m.Candidates(id)), "192.0.2.3:2268")
	r.run(start.Add(4 * time.Minute).Sub(r.now))
	r.m.Restart(r.now, id)
	r.run(10 * time.Millisecond)
	require.Contains(t, addresses(r.m.Candidates(id)), "192.0.2.3:2268")

	// Congestion: again after a random time.
	r.m.Report(r.now, id, port("192.0.2.1"), driad.Connected, 0)
	r.log = nil
	r.m.Report(r.now, id, port("192.0.2.1"), driad.Congested, 0)
	r.run(10 * time.Second)
	require.NotNil(t, r.last(driad.EventRestarted))
	require.Equal(t, "192.0.2.1:2268", addresses(r.m.Candidates(id))[0], "without a hold-down")
	r.m.Stop(id)
	r.run(time.Hour)
	require.Zero(t, r.m.Stats().Searches)
}

func TestExhausted(t *testing.T) {
	r := newRig(t, onlyDRIAD, zone{reverse: {"60 1 0 1 192.0.2.1"}})
	id := r.m.Start(r.now, source)
	r.run(10 * time.Millisecond)
	r.m.Report(r.now, id, port("192.0.2.1"), driad.Unreachable, 0)
	r.run(time.Millisecond)
	require.ErrorIs(t, r.last(driad.EventExhausted).Err, driad.ErrHeldDown)
	r.run(2 * time.Minute)
	list, at := r.attempts()
	require.GreaterOrEqual(t, len(list), 2)
	require.GreaterOrEqual(t, at[1], 30*time.Second, "held down")

	r = newRig(t, onlyDRIAD, zone{})
	r.m.Start(r.now, source)
	r.run(time.Second)
	require.ErrorIs(t, r.last(driad.EventExhausted).Err, driad.ErrNoRelay)
	r.run(10 * time.Minute)
	require.Less(t, len(r.asked), 20, "what does not exist is remembered (30 s here)")
	require.Greater(t, len(r.asked), 3)
	r.zone[reverse] = []string{"60 1 0 1 192.0.2.1"}
	r.run(3 * time.Minute)
	list, _ = r.attempts()
	require.NotEmpty(t, list)

	r = newRig(t, onlyDRIAD, zone{})
	r.lost = true
	r.m.Start(r.now, source)
	r.run(time.Second)
	err := r.last(driad.EventExhausted).Err
	require.ErrorIs(t, err, driad.ErrLookup)
	require.ErrorIs(t, err, dns.ErrTimeout)
}

func TestNoRelayForSource(t *testing.T) {
	z := zone{reverse: {"60 0 0 0 .", "60 1 0 1 192.0.2.1"}}
	config := driad.Config{NoServiceDiscovery: true, Relays: []driad.Candidate{{Address: port("192.0.2.100")}}}
	r := newRig(t, config, z)
	id := r.m.Start(r.now, source)
	r.run(100 * time.Millisecond)
	require.Equal(t, []string{"192.0.2.100:2268"}, addresses(r.m.Candidates(id)), "what is configured is used all the same")
	require.NotNil(t, r.last(driad.EventNoRelay))

	r = newRig(t, onlyDRIAD, z)
	r.m.Start(r.now, source)
	r.run(100 * time.Millisecond)
	require.ErrorIs(t, r.last(driad.EventExhausted).Err, driad.ErrNoRelay)

	// Of lower preference than relays, it ends the list.
	r = newRig(t, onlyDRIAD, zone{reverse: {"60 1 0 1 192.0.2.1", "60 5 0 0 .", "60 9 0 1 192.0.2.9"}})
	id = r.m.Start(r.now, source)
	r.run(100 * time.Millisecond)
	require.Equal(t, []string{"192.0.2.1:2268"}, addresses(r.m.Candidates(id)))

	// What cannot be read does not mean that there is no relay.
	r = newRig(t, onlyDRIAD, zone{reverse: {`60 \# 2 0104`, "60 9 0 1 192.0.2.9"}})
	id = r.m.Start(r.now, source)
	r.run(100 * time.Millisecond)
	require.Equal(t, []string{"192.0.2.9:2268"}, addresses(r.m.Candidates(id)))
}

func TestCache(t *testing.T) {
	r := newRig(t, onlyDRIAD, zone{reverse: {"86400 1 0 3 a.example."}, "a.example. CNAME": {"86400 b.example."}, "b.example. A": {"0 192.0.2.1"}})
	var ids []driad.ID
	for range 20 {
		ids = append(ids, r.m.Start(r.now, source))
	}
	r.run(100 * time.Millisecond)
	require.Len(t, r.asked, 3, "each question once")
	for _, id := range ids {
		require.Equal(t, []string{"192.0.2.1:2268"}, addresses(r.m.Candidates(id)))
		r.m.Report(r.now, id, port("192.0.2.1"), driad.Connected, 0)
	}
	restart := func(after time.Duration) (asked []string) {
		r.run(after)
		n := len(r.asked)
		r.m.Restart(r.now, ids[0])
		r.run(100 * time.Millisecond)
		r.m.Report(r.now, ids[0], port("192.0.2.1"), driad.Connected, 0)
		return r.asked[n:]
	}
	require.Equal(t, []string{"a.example. A"}, restart(20*time.Second), "TTL of 0 at the end of the aliases; the lack of AAAA holds 30 s")
	require.Contains(t, restart(4*time.Minute), "a.example. A")
	require.Contains(t, restart(time.Minute), strings.Split(reverse, " ")[0]+" AMTRELAY", "5 minutes at most")

	// While the resolver is away, what is known is used.
	r.lost = true
	r.run(10 * time.Minute)
	r.m.Restart(r.now, ids[0])
	r.run(100 * time.Millisecond)
	require.Equal(t, []string{"192.0.2.1:2268"}, addresses(r.m.Candidates(ids[0])))
	r.m.NetworkChanged(r.now, nil)
	r.run(100 * time.Millisecond)
	require.Empty(t, r.m.Candidates(ids[0]), "but not in another network")
}

// At most 10 questions in any 100 ms (RFC 8777 section 3.2.2), each once.
func TestRateLimit(t *testing.T) {
	r := newRig(t, onlyDRIAD, zone{})
	for i := range 100 {
		r.m.Start(r.now, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
	}
	var at []time.Duration
	for len(at) < 100 {
		for {
			if _, ok := r.m.PollQuery(); !ok {
				break
			}
			at = append(at, r.now.Sub(epoch))
		}
		if len(at) < 100 {
			r.now = r.m.NextTimeout()
			r.m.HandleTimeout(r.now)
		}
	}
	for i := range at[10:] {
		require.GreaterOrEqual(t, at[i+10]-at[i], 100*time.Millisecond)
	}
	require.Equal(t, 900*time.Millisecond, at[99])
}

// Aliases that a server does not follow are asked for, within bounds.
func TestOpenAliases(t *testing.T) {
	r := newRig(t, onlyDRIAD, nil)
	r.m.Start(r.now, source)
	for n := 0; ; n++ {
		l, ok := r.m.PollQuery()
		if !ok {
			require.Equal(t, 9, n)
			break
		}
		b := dns.NewBuilder(nil, dns.Header{Flags: dns.FlagResponse}, &l.Question)
		next, err := l.Question.Name.Under("x")
		require.NoError(t, err)
		b.Record(dns.SectionAnswer, &l.Question.Name, dns.TypeCNAME, dns.ClassINET, 60, next.AppendTo(nil))
		r.m.Answer(r.now, l.ID, dns.Response{Message: b.Message()})
		r.m.Answer(r.now, l.ID, dns.Response{Message: b.Message()}) // of no effect
	}
	r.drain()
	require.ErrorIs(t, r.last(driad.EventExhausted).Err, dns.ErrAliases)
}

func TestNearRelaysComeFirst(t *testing.T) {
	r := newRig(t, onlyDRIAD, zone{reverse: {"300 1 0 1 192.0.2.1", "300 1 0 1 192.0.2.2", "300 1 0 1 192.0.2.3", "300 0 0 1 192.0.2.9"}})
	id := r.m.Start(r.now, source)
	r.run(10 * time.Millisecond)
	for a, rtt := range map[string]time.Duration{"192.0.2.1": 30, "192.0.2.2": 10, "192.0.2.3": 20, "192.0.2.9": 500} {
		r.m.Report(r.now, id, port(a), driad.Connected, rtt*time.Millisecond)
	}
	r.m.Restart(r.now, id)
	r.run(10 * time.Millisecond)
	require.Equal(t, []string{"192.0.2.9:2268", "192.0.2.2:2268", "192.0.2.3:2268", "192.0.2.1:2268"}, addresses(r.m.Candidates(id)),
		"precedence before distance")
}

// Load spreads over relays of the same precedence, and by weight in DNS-SD.
func TestChoiceIsRandom(t *testing.T) {
	first := make(map[string]int)
	service := make(map[string]int)
	for i := range 400 {
		config := onlyDRIAD
		config.Rand = rand.New(rand.NewPCG(uint64(i), 1))
		r := newRig(t, config, zone{reverse: {"60 1 0 1 192.0.2.1", "60 1 0 1 192.0.2.2"}})
		id := r.m.Start(r.now, source)
		r.run(10 * time.Millisecond)
		first[addresses(r.m.Candidates(id))[0]]++

		config = driad.Config{NoAnycast: true, NoPlain: true, NoDRIAD: true, Domains: []dns.Name{dns.MustParseName("example")}, NoIPv6: true}
		config.Rand = rand.New(rand.NewPCG(uint64(i), 1))
		r = newRig(t, config, zone{"_amt._udp.example. SRV": {"60 1 30 2268 a.", "60 1 10 2268 b."}, "a. A": {"60 192.0.2.1"}, "b. A": {"60 192.0.2.2"}})
		id = r.m.Start(r.now, source)
		r.run(100 * time.Millisecond)
		service[addresses(r.m.Candidates(id))[0]]++
	}
	require.InDelta(t, 200, first["192.0.2.1:2268"], 50)
	require.InDelta(t, 300, service["192.0.2.1:2268"], 45)
}

func TestRequireAuthentic(t *testing.T) {
	config := onlyDRIAD
	config.RequireAuthentic = true
	r := newRig(t, config, zone{reverse: {"60 1 0 1 192.0.2.1"}})
	id := r.m.Start(r.now, source)
	r.run(time.Second)
	require.Empty(t, r.m.Candidates(id))
	r = newRig(t, config, zone{reverse: {"60 1 0 1 192.0.2.1"}})
	r.ad = true
	id = r.m.Start(r.now, source)
	r.run(time.Second)
	require.Len(t, r.m.Candidates(id), 1)
}

// A server that answers with much, and names that lead to names.
func TestBounds(t *testing.T) {
	z := zone{}
	for i := range 250 {
		z[reverse] = append(z[reverse], "60 1 0 3 r"+string(rune('a'+i%26))+string(rune('a'+i/26))+".example.")
	}
	for i := range 26 {
		for j := range 26 {
			name := "r" + string(rune('a'+i)) + string(rune('a'+j)) + ".example. A"
			for k := range 200 {
				z[name] = append(z[name], "60 "+netip.AddrFrom4([4]byte{10, byte(i), byte(j), byte(k)}).String())
			}
		}
	}
	r := newRig(t, onlyDRIAD, z)
	id := r.m.Start(r.now, source)
	r.run(20 * time.Second)
	require.LessOrEqual(t, len(r.asked), 64)
	require.Len(t, r.m.Candidates(id), 64)

	config := onlyDRIAD
	config.MaxEntries = 100
	r = newRig(t, config, zone{})
	for i := range 2000 {
		id := r.m.Start(r.now, netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}))
		r.run(200 * time.Millisecond)
		r.m.Report(r.now, id, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1), driad.Unreachable, 0)
		r.m.Stop(id)
		require.LessOrEqual(t, r.m.Stats().Entries, 101)
		require.LessOrEqual(t, r.m.Stats().Relays, 101)
	}
}

func TestHTTPAge(t *testing.T) {
	r := newRig(t, onlyDRIAD, zone{reverse: {"100 1 0 1 192.0.2.1"}})
	ask := func(resp dns.Response) driad.ID {
		id := r.m.Start(r.now, source)
		l, ok := r.m.PollQuery()
		require.True(t, ok)
		resp.Message = r.zone.respond(t, l.Question, false)
		r.m.Answer(r.now, l.ID, resp)
		return id
	}
	id := ask(dns.Response{Age: 90 * time.Second})
	r.m.Report(r.now, id, port("192.0.2.1"), driad.Connected, 0)
	r.now = r.now.Add(11 * time.Second)
	ask(dns.Response{Fresh: 5 * time.Second, HasFresh: true})
	r.now = r.now.Add(6 * time.Second)
	ask(dns.Response{})
}

func TestErrorsOfServers(t *testing.T) {
	r := newRig(t, onlyDRIAD, zone{reverse: {"fail"}})
	r.m.Start(r.now, source)
	r.run(time.Second)
	err := r.last(driad.EventExhausted).Err
	require.ErrorIs(t, err, driad.ErrLookup)
	require.ErrorContains(t, err, "SERVFAIL")
	require.False(t, errors.Is(err, driad.ErrNoRelay))
}
