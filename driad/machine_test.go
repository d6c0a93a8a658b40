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
		Domains:     []dns.Name{dns.MustParseName("example.com"), dns.MustParseName("local")},
		NoMulticast: true,
		Relays:      []driad.Candidate{{Address: netip.MustParseAddrPort("192.0.2.200:0")}, {Address: netip.MustParseAddrPort("192.0.2.100:7"), Direct: true}},
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
		require.NotContains(t, q, "local.")
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

	// Of the same preference as a relay, that may be tried.
	r = newRig(t, onlyDRIAD, zone{reverse: {"60 1 0 0 .", "60 1 0 1 192.0.2.1", "60 2 0 1 192.0.2.2"}})
	id = r.m.Start(r.now, source)
	r.run(100 * time.Millisecond)
	require.Equal(t, []string{"192.0.2.1:2268"}, addresses(r.m.Candidates(id)))

	// What cannot be read does not mean that there is no relay.
	r = newRig(t, onlyDRIAD, zone{reverse: {`60 \# 2 0104`, "60 9 0 1 192.0.2.9"}})
	id = r.m.Start(r.now, source)
	r.run(100 * time.Millisecond)
	require.Equal(t, []string{"192.0.2.9:2268"}, addresses(r.m.Candidates(id)))
	r = newRig(t, onlyDRIAD, zone{reverse: {"60 0 0 0 ."}})
	id = r.m.Start(r.now, source)
	l, ok := r.m.PollQuery()
	require.True(t, ok)
	b := dns.NewBuilder(nil, dns.Header{Flags: dns.FlagResponse}, &l.Question)
	for _, data := range []string{"\x00\x00\x00", "\x00", "", "\x01\x01\xcb\x00\x71", "\x02\x01\xc0\x00\x02\x09"} {
		b.Record(dns.SectionAnswer, &l.Question.Name, dns.TypeAMTRELAY, dns.ClassINET, 60, []byte(data))
	}
	r.m.Answer(r.now, l.ID, dns.Response{Message: b.Message()})
	r.run(10 * time.Millisecond)
	require.Equal(t, []string{"192.0.2.9:2268"}, addresses(r.m.Candidates(id)))
	require.ErrorIs(t, r.last(driad.EventMalformed).Err, amtrelay.ErrRecord)
	require.EqualValues(t, 4, r.m.Stats().Malformed)
}

// Configured relays may be names, and may be where those from the DNS may not.
func TestConfiguredNames(t *testing.T) {
	r := newRig(t, driad.Config{NoAnycast: true, NoPlain: true, NoDRIAD: true, Relays: []driad.Candidate{
		{Address: netip.MustParseAddrPort("127.0.0.1:2269")}, {Name: dns.MustParseName("relay.example"), Direct: true},
		{Name: dns.MustParseName("none.example")}, {Address: port("192.0.2.3")}}},
		zone{"relay.example. A": {"60 127.0.0.2"}})
	id := r.m.Start(r.now, netip.Addr{})
	r.run(100 * time.Millisecond)
	list := r.m.Candidates(id)
	require.Equal(t, []string{"127.0.0.1:2269", "127.0.0.2:2268", "192.0.2.3:2268"}, addresses(list))
	require.True(t, list[1].Direct)
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

// A broker next door that leads to a relay far away is as far as that.
func TestBrokerIsAsFarAsItsRelay(t *testing.T) {
	r := newRig(t, onlyDRIAD, zone{reverse: {"300 1 0 1 192.0.2.1", "300 1 0 1 192.0.2.2", "300 1 0 1 192.0.2.3"}})
	id := r.m.Start(r.now, source)
	r.run(10 * time.Millisecond)
	r.m.ReportVia(r.now, id, port("192.0.2.1"), port("203.0.113.1"), driad.Connected, 90*time.Millisecond)
	r.m.ReportVia(r.now, id, port("192.0.2.2"), port("203.0.113.2"), driad.Connected, 5*time.Millisecond)
	r.m.ReportVia(r.now, id, port("192.0.2.3"), port("192.0.2.3"), driad.Connected, 30*time.Millisecond)
	r.m.Restart(r.now, id)
	r.run(10 * time.Millisecond)
	require.Equal(t, []string{"192.0.2.2:2268", "192.0.2.3:2268", "192.0.2.1:2268"}, addresses(r.m.Candidates(id)))
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

// The error blames what was answered and not believed, not what was asked in vain after it.
func TestErrNotAuthentic(t *testing.T) {
	config := driad.Config{NoServiceDiscovery: true, NoAnycast: true, RequireAuthentic: true}
	amtrelay := strings.TrimSuffix(reverse, " AMTRELAY")
	sd := driad.Config{NoAnycast: true, NoPlain: true, NoDRIAD: true, RequireAuthentic: true, Domains: []dns.Name{dns.MustParseName("example")}}
	services := zone{"_amt._udp.example. PTR": {"60 x.example."}, "x.example. SRV": {"60 1 1 2268 a."}, "a. A": {"60 192.0.2.1"}}
	for _, c := range []struct {
		name   string
		config driad.Config
		zone   zone
		forged string // the question that has no AD flag; empty: none has
		is     []error
		not    error
		want   string
	}{
		{"nothing else failed", config, zone{reverse: {"60 1 0 1 192.0.2.1"}}, "", []error{driad.ErrNotAuthentic}, driad.ErrLookup, "AD flag"},
		{"others failed", config, zone{reverse: {"60 1 0 1 192.0.2.1"}, plain: {"fail"}}, "", []error{driad.ErrNotAuthentic, driad.ErrLookup}, driad.ErrNoRelay,
			"for 12.100.51.198.in-addr.arpa. AMTRELAY; and driad: looking up relays"},
		{"that there is none", config, zone{}, "", []error{driad.ErrNotAuthentic}, driad.ErrNoRelay, amtrelay},
		{"plain", config, zone{plain: {"60 192.0.2.1"}}, plain, []error{driad.ErrNotAuthentic}, driad.ErrNoRelay, "for " + plain},
		{"service", sd, services, "_amt._udp.example. PTR", []error{driad.ErrNotAuthentic}, driad.ErrNoRelay, "for _amt._udp.example. PTR"},
		{"authentic", config, zone{}, "none", []error{driad.ErrNoRelay}, driad.ErrNotAuthentic, ""},
		{"authentic failure", config, zone{reverse: {"fail"}}, "none", []error{driad.ErrLookup}, driad.ErrNotAuthentic, "SERVFAIL"},
		{"both fail", config, zone{reverse: {"fail"}, plain: {"fail"}}, "none", []error{driad.ErrLookup}, driad.ErrNotAuthentic, "SERVFAIL for " + reverse},
		{"not required", onlyDRIAD, zone{}, "", []error{driad.ErrNoRelay}, driad.ErrNotAuthentic, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.config, c.zone)
			r.adFor = func(q dns.Question) bool { return c.forged != "" && q.String() != c.forged }
			r.m.Start(r.now, source)
			r.run(time.Second)
			err := r.last(driad.EventExhausted).Err
			for _, want := range c.is {
				require.ErrorIs(t, err, want)
			}
			require.NotErrorIs(t, err, c.not)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// What is not authentic does not say that there is no relay either, and an authentic
// record is worth what led to it.
func TestAuthenticAllTheWay(t *testing.T) {
	config := onlyDRIAD
	config.RequireAuthentic, config.NoAnycast = true, false
	r := newRig(t, config, zone{reverse: {"60 1 0 0 ."}})
	id := r.m.Start(r.now, source)
	r.run(time.Second)
	require.Len(t, r.m.Candidates(id), 2, "anycast")
	require.Nil(t, r.last(driad.EventNoRelay))
	r = newRig(t, config, zone{reverse: {"60 1 0 0 ."}})
	r.ad = true
	id = r.m.Start(r.now, source)
	r.run(time.Second)
	require.Empty(t, r.m.Candidates(id))
	require.NotNil(t, r.last(driad.EventNoRelay))

	for _, forged := range []string{"", "_amt._udp.example. PTR", "b._dns-sd._udp.example. PTR"} {
		config = driad.Config{NoAnycast: true, NoPlain: true, NoDRIAD: true, RequireAuthentic: true, Domains: []dns.Name{dns.MustParseName("example")}}
		r = newRig(t, config, zone{
			"_amt._udp.example. PTR": {"60 x.example."}, "x.example. SRV": {"60 1 1 2268 a."}, "a. A": {"60 192.0.2.1"},
			"b._dns-sd._udp.example. PTR": {"60 other."}, "_amt._udp.other. SRV": {"60 1 1 2268 b."}, "b. A": {"60 192.0.2.2"},
		})
		r.adFor = func(q dns.Question) bool { return q.String() != forged }
		id = r.m.Start(r.now, source)
		r.run(time.Second)
		want := map[string][]string{
			"": {"192.0.2.1:2268", "192.0.2.2:2268"}, "_amt._udp.example. PTR": {"192.0.2.2:2268"}, "b._dns-sd._udp.example. PTR": {"192.0.2.1:2268"},
		}[forged]
		require.ElementsMatch(t, want, addresses(r.m.Candidates(id)), forged)
	}
}

// A source that does not send takes the relays from no other.
func TestSilenceIsOfASource(t *testing.T) {
	other := netip.MustParseAddr("198.51.100.13")
	r := newRig(t, onlyDRIAD, zone{reverse: {"60 1 0 1 192.0.2.1"}, "13.100.51.198.in-addr.arpa. AMTRELAY": {"60 1 0 1 192.0.2.1"}})
	id, id2 := r.m.Start(r.now, source), r.m.Start(r.now, other)
	r.run(time.Second)
	r.m.Report(r.now, id, port("192.0.2.1"), driad.Connected, 0)
	r.m.Report(r.now, id, port("192.0.2.1"), driad.NoTraffic, 0)
	r.run(time.Second)
	require.Empty(t, r.m.Candidates(id))
	require.Equal(t, []string{"192.0.2.1:2268"}, addresses(r.m.Candidates(id2)))
	// That the other source uses it does not end the time for this one.
	r.m.Report(r.now, id2, port("192.0.2.1"), driad.Connected, 0)
	r.m.Restart(r.now, id)
	r.run(time.Second)
	require.Empty(t, r.m.Candidates(id))
	// What a relay is to all, it is to all.
	r.m.Report(r.now, id2, port("192.0.2.1"), driad.Overloaded, 0)
	r.run(time.Second)
	require.Empty(t, r.m.Candidates(id2))
}

// Of more records than are taken, those of the lowest precedence are.
func TestBoundsLeaveTheLastOut(t *testing.T) {
	config := onlyDRIAD
	config.MaxCandidates, config.MaxLookups = 2, 3
	r := newRig(t, config, zone{
		reverse: {"60 9 0 1 192.0.2.9", "60 8 0 1 192.0.2.8", "60 7 0 3 .", "60 2 0 3 b.", "60 1 0 3 a."},
		"a. A":  {"60 192.0.2.1"}, "b. A": {"60 192.0.2.2"},
	})
	id := r.m.Start(r.now, source)
	r.run(time.Second)
	require.Equal(t, []string{"192.0.2.1:2268"}, addresses(r.m.Candidates(id)))
	require.NotContains(t, r.asked, ". A")
}

// BenchmarkDiscovery is one source: questions, answers, an attempt, a connection. The
// messages are made beforehand.
func BenchmarkDiscovery(b *testing.B) {
	config := onlyDRIAD
	config.Rand = rand.New(rand.NewPCG(1, 2))
	m := driad.NewMachine(config)
	z := zone{}
	var messages [][]byte
	for i := range 256 {
		name := amtrelay.ReverseName(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
		z[name.String()+" AMTRELAY"] = []string{"60 1 1 1 192.0.2.1", "60 1 1 1 192.0.2.2"}
		messages = append(messages, z.respond(b, dns.Question{Name: name, Type: dns.TypeAMTRELAY}, false))
	}
	now := epoch
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(10 * time.Minute) // nothing is known any more
		id := m.Start(now, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
		l, ok := m.PollQuery()
		if !ok {
			b.Fatal("no question")
		}
		m.Answer(now, l.ID, dns.Response{Message: messages[i%256]})
		for {
			e, ok := m.PollEvent()
			if !ok {
				break
			}
			if e.Type == driad.EventAttempt {
				m.Report(now, id, e.Candidate.Address, driad.Connected, time.Millisecond)
			}
		}
		m.Stop(id)
	}
}

// Names below local are for multicast DNS, and only those who are on the link have a say
// about which.
func TestNamesBelowLocal(t *testing.T) {
	z := zone{
		"_amt._udp.local. PTR":         {`60 Relay._amt._udp.LOCAL.`},
		"relay._amt._udp.local. SRV":   {"60 0 0 2269 r1.local."},
		"r1.local. A":                  {"60 192.0.2.1"},
		"r2.local. A":                  {"60 192.0.2.2"},
		reverse:                        {"60 1 0 3 r3.local."},
		"r3.local. A":                  {"60 192.0.2.3"},
		"_amt._udp.example.com. SRV":   {"60 1 0 2268 r5.local."},
		"r5.local. A":                  {"60 192.0.2.5"},
		"12.100.51.198.in-addr.arpa. ": nil,
	}
	config := driad.Config{
		Domains: []dns.Name{dns.MustParseName("Local"), dns.MustParseName("example.com")},
		Relays:  []driad.Candidate{{Name: dns.MustParseName("r2.local")}},
		NoPlain: true, NoAnycast: true, NoIPv6: true,
	}
	run := func(change func(*driad.Config)) ([]string, *rig) {
		config := config
		change(&config)
		r := newRig(t, config, z)
		id := r.m.Start(r.now, source)
		r.run(5 * time.Second)
		return addresses(r.m.Candidates(id)), r
	}
	list, r := run(func(*driad.Config) {})
	require.Equal(t, []string{"192.0.2.2:2268", "192.0.2.1:2269", "192.0.2.5:2268"}, list)
	require.Contains(t, r.asked, "b._dns-sd._udp.local. PTR")
	require.NotContains(t, r.asked, "_amt._udp.local. SRV")
	require.NotContains(t, r.asked, "r3.local. A")
	for i, q := range r.asked {
		require.Equal(t, strings.HasSuffix(strings.Fields(q)[0], "local."), r.multicast[i], q)
	}
	for _, change := range []func(*driad.Config){
		func(c *driad.Config) { c.NoMulticast = true },
		func(c *driad.Config) { c.RequireAuthentic = true },
	} {
		list, r = run(change)
		require.Empty(t, list)
		require.NotContains(t, r.multicast, true)
	}
}

// A discovery address may lead others to another relay, so that it is held down for the
// source only; the relay that has failed is for all.
func TestDiscoveryAddressIsOfASource(t *testing.T) {
	const broker, one = "192.0.2.1", "203.0.113.9"
	for _, o := range []driad.Outcome{driad.Overloaded, driad.Unreachable, driad.NoTraffic} {
		r := newRig(t, onlyDRIAD, zone{
			reverse: {"60 10 0 1 " + broker}, "13.100.51.198.in-addr.arpa. AMTRELAY": {"60 10 0 1 " + broker, "60 20 0 1 " + one},
		})
		a, b := r.m.Start(r.now, source), r.m.Start(r.now, netip.MustParseAddr("198.51.100.13"))
		r.run(50 * time.Millisecond)
		require.Equal(t, []string{broker + ":2268"}, addresses(r.m.Candidates(a)))
		r.m.ReportVia(r.now, a, port(broker), port(one), driad.Connected, 0)
		r.m.ReportVia(r.now, a, port(broker), port(one), o, 0)
		require.Empty(t, r.m.Candidates(a), o)
		r.m.Restart(r.now, b)
		want := []string{broker + ":2268"}
		if o == driad.NoTraffic {
			want = append(want, one+":2268") // which is of a source
		}
		require.Equal(t, want, addresses(r.m.Candidates(b)), o)
		r.run(11 * time.Minute)
		require.Equal(t, []string{broker + ":2268"}, addresses(r.m.Candidates(a)), o)
	}
}

// Records that differ in the D bit alone, one of them by a name: a Relay Discovery is to
// be answered first, whatever the order of records.
func TestDiscoveryOptionalTwice(t *testing.T) {
	for _, records := range [][]string{
		{"60 10 1 1 203.0.113.1", "60 10 0 1 203.0.113.1"}, {"60 10 0 1 203.0.113.1", "60 10 1 1 203.0.113.1"},
		{"60 10 1 1 203.0.113.1", "60 10 0 3 relay.example."}, {"60 10 0 3 relay.example.", "60 10 1 1 203.0.113.1"},
	} {
		r := newRig(t, onlyDRIAD, zone{reverse: records, "relay.example. A": {"60 203.0.113.1"}})
		id := r.m.Start(r.now, source)
		r.run(200 * time.Millisecond)
		list := r.m.Candidates(id)
		require.Equal(t, []string{"203.0.113.1:2268"}, addresses(list))
		require.False(t, list[0].Direct, records)
	}
	// One of lower precedence has no say.
	r := newRig(t, onlyDRIAD, zone{reverse: {"60 10 1 1 203.0.113.1", "60 20 0 1 203.0.113.1"}})
	id := r.m.Start(r.now, source)
	r.run(200 * time.Millisecond)
	require.True(t, r.m.Candidates(id)[0].Direct)
}
