package driad_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/dns"
)

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

	// Nor do answers from the other network that are still under way.
	r.lost = false
	r.run(10 * time.Minute)
	r.m.NetworkChanged(r.now, nil)
	l, ok := r.m.PollQuery()
	require.True(t, ok)
	r.m.NetworkChanged(r.now, nil)
	r.m.Answer(r.now, l.ID, dns.Response{Message: zone{reverse: {"60 1 0 1 192.0.2.66"}}.respond(t, l.Question, false)})
	r.run(100 * time.Millisecond)
	require.Equal(t, []string{"192.0.2.1:2268"}, addresses(r.m.Candidates(ids[0])))
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

// One that leads below local is not followed there.
func TestOpenAliasToLocal(t *testing.T) {
	r := newRig(t, onlyDRIAD, nil)
	r.m.Start(r.now, source)
	l, ok := r.m.PollQuery()
	require.True(t, ok)
	b := dns.NewBuilder(nil, dns.Header{Flags: dns.FlagResponse}, &l.Question)
	target := dns.MustParseName("relay.local")
	b.Record(dns.SectionAnswer, &l.Question.Name, dns.TypeCNAME, dns.ClassINET, 60, target.AppendTo(nil))
	r.m.Answer(r.now, l.ID, dns.Response{Message: b.Message()})
	_, ok = r.m.PollQuery()
	require.False(t, ok)
	r.drain()
	require.ErrorIs(t, r.last(driad.EventExhausted).Err, driad.ErrLookup)
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

	// A network that names many relays and domains does not keep the source's away.
	z = zone{reverse: {"60 1 0 1 203.0.113.1"}}
	for i := range 200 {
		name := "i" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + "._amt._udp.example.com."
		z["_amt._udp.example.com. PTR"] = append(z["_amt._udp.example.com. PTR"], "60 "+name)
		for k := range 20 {
			target := string(rune('a'+i%26)) + string(rune('a'+i/26)) + string(rune('a'+k)) + ".example.com."
			z[name+" SRV"] = append(z[name+" SRV"], "60 0 0 2268 "+target)
			z[target+" A"] = []string{"60 " + netip.AddrFrom4([4]byte{10, 1, byte(i), byte(k)}).String()}
		}
	}
	r = newRig(t, driad.Config{NoAnycast: true, NoPlain: true, Domains: []dns.Name{dns.MustParseName("example.com")}}, z)
	id = r.m.Start(r.now, source)
	r.run(5 * time.Second)
	require.Contains(t, r.asked[0], "AMTRELAY", "it is asked first")
	require.LessOrEqual(t, len(r.asked), 64+1)
	list := addresses(r.m.Candidates(id))
	require.Less(t, len(list), 66)
	require.Equal(t, "203.0.113.1:2268", list[len(list)-1])

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
