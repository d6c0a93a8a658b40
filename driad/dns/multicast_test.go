package dns

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	onLink  = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64")}
	browse  = Question{Name: MustParseName("_amt._udp.local"), Type: TypePTR}
	service = Question{Name: MustParseName(`second\032\"relay\"._amt._udp.local`), Type: TypeSRV}
	address = Question{Name: MustParseName("one.local"), Type: TypeA}
)

// What Avahi 0.8 answered to such questions.
var avahi = []struct {
	from, message string
	question      Question
	records       []string
}{
	{"192.0.2.2:5353", "9dcd84000001000100000000045f616d74045f756470056c6f63616c00000c0001c00c000c00010000000a000e0b52656c6179204e6f2e2037c00c",
		browse, []string{`Relay\032No\.\0327._amt._udp.local.`}},
	{"[2001:db8::3]:5353", "4c1d84000001000700000000045f616d74045f756470056c6f63616c00000c8001c00c000c00010000000a000b0852656c617909c3bcc00c" +
		"c02d001000010000000a000100c02d002100010000000a000c0000000008de0374776fc016c057001c00010000000a001020010db8000000000000000000000003" +
		"c00c000c00010000000a00110e5365636f6e64202272656c617922c00cc085001000010000000a000100c085002100010000000a00080000000008dcc057",
		browse, []string{`Relay\009\195\188._amt._udp.local.`, `Second\032\"relay\"._amt._udp.local.`}},
	{"192.0.2.3:5353", "483c840000010003000000000e7365636f6e64202272656c617922045f616d74045f756470056c6f63616c0000218001" +
		"0e5365636f6e64202272656c617922c01b002100010000000a000c0000000008dc0374776fc025c051001c00010000000a001020010db8000000000000000000000003" +
		"c051000100010000000a0004c0000203",
		service, []string{"two.local.:2268", "2001:db8::3", "192.0.2.3"}},
	{"192.0.2.2:5353", "c1b984000001000100000000036f6e65056c6f63616c0000018001c00c000100010000000a0004c0000202",
		address, []string{"192.0.2.2"}},
}

// collecting begins an exchange that has sent its question, and returns the time.
func collecting(t testing.TB, q Question) (*MulticastExchange, time.Time) {
	now := time.Unix(1e9, 0)
	x := NewMulticastExchange(now, q, MulticastConfig{Rand: rand.New(rand.NewPCG(1, 2))})
	if q.Type == TypePTR {
		wait := x.NextTimeout().Sub(now)
		require.GreaterOrEqual(t, wait, 20*time.Millisecond)
		require.LessOrEqual(t, wait, 120*time.Millisecond)
		now = x.NextTimeout()
		x.HandleTimeout(now)
	}
	return x, now
}

// answer is what others sent with the ID of x.
func answer(t testing.TB, x *MulticastExchange, message string) []byte {
	b, err := hex.DecodeString(message)
	require.NoError(t, err)
	b[0], b[1] = byte(x.id>>8), byte(x.id)
	return b
}

func result(t testing.TB, x *MulticastExchange) (Answer, []string) {
	msg, over := x.Result()
	require.True(t, over)
	a, err := ParseAnswer(msg, x.question)
	require.NoError(t, err)
	require.Zero(t, a.Malformed)
	var out []string
	for _, r := range a.Records {
		switch {
		case r.Address.IsValid():
			out = append(out, r.Address.String())
		case r.Type == TypeSRV:
			out = append(out, r.Target.String()+":"+strconv.Itoa(int(r.Port)))
			for _, x := range a.Addresses[r.Target.Lower()] {
				out = append(out, x.Address.String())
			}
		default:
			out = append(out, r.Target.String())
		}
	}
	return a, out
}

func TestMulticastQuestion(t *testing.T) {
	x, now := collecting(t, browse)
	b, ok := x.PollTransmission()
	require.True(t, ok)
	const want = "0001000000000000045f616d74045f756470056c6f63616c00000c"
	require.Equal(t, "0000"+want+"8001", hex.EncodeToString(b[2:]), "neither recursion nor EDNS; by unicast")
	_, ok = x.PollTransmission()
	require.False(t, ok)
	require.Equal(t, now.Add(time.Second), x.NextTimeout())
	x.HandleTimeout(now.Add(time.Second))
	b, ok = x.PollTransmission()
	require.True(t, ok, "again")
	require.Equal(t, "0000"+want+"0001", hex.EncodeToString(b[2:]))
	require.Equal(t, now.Add(1500*time.Millisecond), x.NextTimeout())
	_, over := x.Result()
	require.False(t, over)
	x.HandleTimeout(now.Add(1500 * time.Millisecond))
	require.True(t, x.NextTimeout().IsZero())
	a, list := result(t, x)
	require.Empty(t, list)
	require.Equal(t, time.Minute, a.TTL, "silence is an answer")
	_, ok = x.PollTransmission()
	require.False(t, ok)
}

func TestMulticastAnswers(t *testing.T) {
	for _, c := range avahi {
		x, now := collecting(t, c.question)
		msg := answer(t, x, c.message)
		x.HandleDatagram(netip.MustParseAddrPort(c.from), onLink, msg)
		if c.question.Type == TypePTR {
			x.HandleTimeout(now.Add(time.Second))
			_, over := x.Result()
			require.False(t, over, "others may answer as well")
			x.HandleTimeout(now.Add(2 * time.Second))
		}
		a, list := result(t, x)
		require.Equal(t, c.records, list)
		require.Equal(t, 10*time.Second, a.TTL)
	}
}

func TestMulticastSeveralHosts(t *testing.T) {
	x, now := collecting(t, browse)
	for _, c := range []int{1, 0, 1, 0} { // each more than once
		msg := answer(t, x, avahi[c].message)
		x.HandleDatagram(netip.MustParseAddrPort(avahi[c].from), onLink, msg)
		x.HandleTimeout(now.Add(time.Second))
	}
	x.HandleTimeout(now.Add(2 * time.Second))
	_, list := result(t, x)
	require.Equal(t, append(slices.Clone(avahi[1].records), avahi[0].records...), list)
}

// edit changes octets of Avahi's answer with an address.
func edit(t testing.TB, x *MulticastExchange, octets map[int]byte) []byte {
	b := answer(t, x, avahi[3].message)
	for i, v := range octets {
		b[i] = v
	}
	return b
}

func TestMulticastIgnores(t *testing.T) {
	const good = "192.0.2.2:5353"
	end := len(avahi[3].message) / 2
	record := end - 16
	for name, c := range map[string]struct {
		from   string
		octets map[int]byte
	}{
		"from another link":      {"198.51.100.7:5353", nil},
		"from another network":   {"[2001:db8:1::2]:5353", nil},
		"from another port":      {"192.0.2.2:5354", nil},
		"another ID":             {good, map[int]byte{0: 0xff, 1: 0xff}},
		"a query":                {good, map[int]byte{2: 0}},
		"an opcode":              {good, map[int]byte{2: 0xa4}},
		"a response code":        {good, map[int]byte{3: 3}},
		"two questions":          {good, map[int]byte{5: 2}},
		"another question":       {good, map[int]byte{13: 'x'}},
		"another type":           {good, map[int]byte{24: 2}},
		"another class":          {good, map[int]byte{record + 5: 3}},
		"another class, flushed": {good, map[int]byte{record + 4: 0x80, record + 5: 3}},
		"another owner":          {good, map[int]byte{record + 1: 16}},
		"a goodbye":              {good, map[int]byte{record + 9: 0}},
		"cut":                    {good, map[int]byte{record + 11: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			x, now := collecting(t, address)
			x.HandleDatagram(netip.MustParseAddrPort(c.from), onLink, edit(t, x, c.octets))
			require.False(t, x.NextTimeout().IsZero())
			x.HandleTimeout(now.Add(time.Second))
			x.HandleTimeout(now.Add(2 * time.Second))
			_, list := result(t, x)
			require.Empty(t, list)
			x.HandleDatagram(netip.MustParseAddrPort(good), onLink, edit(t, x, nil))
			_, list = result(t, x)
			require.Empty(t, list, "too late")
		})
	}
	for name, c := range map[string]struct {
		from   string
		octets map[int]byte
	}{
		"the cache-flush bit":     {good, map[int]byte{record + 4: 0x80}},
		"another case":            {good, map[int]byte{13: 'O'}},
		"an address of the link":  {"[fe80::2%eth0]:5353", nil},
		"and so for IPv4":         {"169.254.1.2:5353", nil},
		"an address that is both": {"[::ffff:192.0.2.2]:5353", nil},
	} {
		t.Run(name, func(t *testing.T) {
			x, _ := collecting(t, address)
			x.HandleDatagram(netip.MustParseAddrPort(c.from), onLink, edit(t, x, c.octets))
			_, list := result(t, x)
			require.Equal(t, []string{"192.0.2.2"}, list)
		})
	}
	// Without its question, as some implementations answer.
	x, _ := collecting(t, address)
	b := NewBuilder(nil, Header{ID: x.id, Flags: FlagResponse}, nil)
	b.Record(SectionAnswer, &address.Name, TypeA, ClassINET|classTop, 120, []byte{192, 0, 2, 9})
	x.HandleDatagram(netip.MustParseAddrPort(good), onLink, b.Message())
	_, list := result(t, x)
	require.Equal(t, []string{"192.0.2.9"}, list)
}

// The owner of a name says that it has no such record (RFC 6762 section 6.1).
func TestMulticastAbsence(t *testing.T) {
	host := netip.MustParseAddrPort("192.0.2.2:5353")
	q := Question{Name: address.Name, Type: TypeAAAA}
	for bits, absent := range map[string]bool{
		"000140": true, "000440000000": true, "000440000008": false, // A alone, and A with AAAA
		"": false, "00": false, "0000": false, "000240": false, "010140": false, "002140": false,
	} {
		x, now := collecting(t, q)
		data, err := hex.DecodeString("c00c" + bits)
		require.NoError(t, err)
		b := NewBuilder(nil, Header{ID: x.id, Flags: FlagResponse | FlagAuthoritative}, &q)
		b.Record(SectionAnswer, &q.Name, TypeNSEC, ClassINET|classTop, 7, data)
		x.HandleDatagram(host, onLink, b.Message())
		require.Equal(t, absent, x.NextTimeout().IsZero(), bits)
		want := 7 * time.Second
		if !absent {
			want = time.Minute
			x.HandleTimeout(now.Add(time.Second))
			x.HandleTimeout(now.Add(2 * time.Second))
		}
		a, list := result(t, x)
		require.Empty(t, list)
		require.Equal(t, want, a.TTL)
	}
}

// A TTL of 2^31 or more is 0 (RFC 2181 section 8): who says so takes back what he said.
func TestMulticastTTL(t *testing.T) {
	for ttl, absent := range map[uint32]bool{0: false, 1: true, 1<<31 - 1: true, 1 << 31: false, 1<<32 - 1: false} {
		x, now := collecting(t, Question{Name: MustParseName("relay.local"), Type: TypeAAAA})
		b := NewBuilder(nil, Header{ID: x.id, Flags: FlagResponse}, &x.question)
		b.Record(SectionAnswer, &x.question.Name, TypeNSEC, ClassINET, ttl, append(x.question.Name.AppendTo(nil), 0, 1, 0x40))
		x.HandleDatagram(netip.MustParseAddrPort("192.0.2.2:5353"), onLink, b.Message())
		require.Equal(t, absent, x.NextTimeout().IsZero(), ttl)
		x.HandleTimeout(now.Add(time.Second))
		x.HandleTimeout(now.Add(2 * time.Second))
		a, _ := result(t, x)
		require.Positive(t, a.TTL)
	}
}

func TestMulticastBounds(t *testing.T) {
	x, now := collecting(t, browse)
	for i := range 1000 {
		q := browse
		b := NewBuilder(nil, Header{ID: x.id, Flags: FlagResponse}, &q)
		b.Record(SectionAnswer, &q.Name, TypePTR, ClassINET, 10, []byte{3, 'a', byte('0' + i%50), byte(i / 50), 0xc0, 12})
		x.HandleDatagram(netip.MustParseAddrPort("192.0.2.2:5353"), onLink, b.Message())
	}
	x.HandleTimeout(now.Add(time.Second))
	x.HandleTimeout(now.Add(2 * time.Second))
	_, list := result(t, x)
	require.Len(t, list, maxCollected)
}

// Whatever arrives, the answer can be read, and there is an end.
func FuzzMulticast(f *testing.F) {
	for i, c := range avahi {
		b, err := hex.DecodeString(c.message)
		require.NoError(f, err)
		f.Add(uint8(i), b)
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		c := avahi[int(which)%len(avahi)]
		x, now := collecting(t, c.question)
		b = slices.Clone(b) // it is written as it is here if it fails
		if len(b) > 2 {
			b[0], b[1] = byte(x.id>>8), byte(x.id)
		}
		before := slices.Clone(b)
		for range 2 {
			x.HandleDatagram(netip.MustParseAddrPort(c.from), onLink, b)
			x.HandleTimeout(now.Add(time.Second))
		}
		require.Equal(t, before, b)
		clear(b) // it is not kept
		x.HandleTimeout(now.Add(2 * time.Second))
		msg, over := x.Result()
		require.True(t, over)
		require.LessOrEqual(t, len(msg), MaxMessage)
		a, err := ParseAnswer(msg, c.question)
		if err != nil {
			require.ErrorIs(t, err, ErrAliases)
		}
		if len(x.records[0]) == 0 {
			require.Positive(t, a.TTL)
		}
	})
}
