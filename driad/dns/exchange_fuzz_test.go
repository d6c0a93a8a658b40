package dns

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// The bytes of a script are answers, right ones and others, and steps in time. What
// is taken answers the question, and there is an end.
func FuzzExchange(f *testing.F) {
	f.Add([]byte{0, 0, 4, 5, 1, 0})
	f.Add([]byte{2, 3, 3, 2, 2, 5, 5, 1, 4, 9, 6, 3, 1, 2, 3})
	f.Fuzz(func(t *testing.T, script []byte) {
		now := time.Unix(1e9, 0)
		servers := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("[2001:db8::53]:53")}
		x := NewExchange(now, Question{Name: MustParseName(source), Type: TypeAMTRELAY}, ExchangeConfig{Servers: servers, Rand: rand.New(rand.NewPCG(1, 2))})
		var sent []Transmission
		drain := func() {
			for {
				tr, ok := x.PollTransmission()
				if !ok {
					return
				}
				sent = append(sent, tr)
				require.Less(t, len(sent), 20)
			}
		}
		drain()
		for len(script) >= 2 {
			op, arg := script[0], script[1]
			script = script[2:]
			tr := sent[int(arg)%len(sent)]
			var q Query
			var p Parser
			require.NoError(t, p.Start(tr.Payload))
			q.ID = p.Header.ID
			_, err := p.Question(&q.Question)
			require.NoError(t, err)
			switch op % 7 {
			case 0, 1: // a code
				x.HandleDatagram(now, tr.Server, reply(t, &q, dnsmessage.Header{RCode: dnsmessage.RCode(arg >> 4), Truncated: arg&8 != 0}, nil, nil, nil))
			case 2:
				q.ID ^= uint16(arg) | 1
				x.HandleDatagram(now, tr.Server, reply(t, &q, dnsmessage.Header{}, nil, nil, nil))
			case 3:
				x.HandleUnreachable(now, servers[arg&1])
			case 4: // from the other one
				x.HandleDatagram(now, servers[arg&1], reply(t, &q, dnsmessage.Header{}, nil, nil, nil))
			case 5:
				now = now.Add(time.Duration(arg) * 50 * time.Millisecond)
				x.HandleTimeout(now)
			default: // anything
				n := min(int(arg), len(script))
				x.HandleDatagram(now, tr.Server, append(tr.Payload[:int(arg)%len(tr.Payload):int(arg)%len(tr.Payload)], script[:n]...))
				script = script[n:]
			}
			drain()
		}
		for !x.NextTimeout().IsZero() {
			now = x.NextTimeout()
			x.HandleTimeout(now)
			drain()
		}
		state, msg, from, err := x.Result()
		switch state {
		case ExchangeAnswered:
			i := 0
			if from == servers[1] {
				i = 1
			}
			require.Equal(t, servers[i], from)
			require.True(t, x.servers[i].asked)
			ok := false
			for _, tr := range sent {
				ok = ok || tr.Server == from && tr.Payload[0] == msg[0] && tr.Payload[1] == msg[1]
			}
			require.True(t, ok, "it has the ID of a query to that server")
		case ExchangeUseTCP:
			require.Contains(t, servers, from)
		case ExchangeFailed:
			require.ErrorIs(t, err, ErrTimeout)
		default:
			t.Fatal("no end")
		}
	})
}
