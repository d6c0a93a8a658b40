package driad_test

import (
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
	adFor func(dns.Question) bool // in place of ad
	lost  bool                    // no resolver answers
	open  []pendingAnswer
	asked []string
	// multicast: for which of asked that is needed.
	multicast []bool
	log       []driad.Event
	when      []time.Time
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
			r.m.Answer(r.now, l.ID, dns.Response{Message: r.zone.respond(r.t, l.Question, r.ad || r.adFor != nil && r.adFor(l.Question)), Trusted: true})
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
		r.multicast = append(r.multicast, l.Multicast)
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
