package dns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// ExchangeConfig configures an [Exchange].
type ExchangeConfig struct {
	// Servers are asked one after the other.
	Servers []netip.AddrPort
	// Timeout and MaxTimeout bound the time before the next server is asked, random
	// in [Timeout, min(Timeout * 2^round, MaxTimeout)]. Default: 1 s and 120 s (RFC
	// 8777 section 3.5).
	Timeout, MaxTimeout time.Duration
	// Rounds is how often each server is asked. Default: 3.
	Rounds int
	// MaxMismatches is the number of messages that are no answer after which the
	// exchange goes on by TCP: somebody is guessing. Default: 10.
	MaxMismatches int
	// KeepCase sends names in the letters of the question, for servers that do not
	// repeat random ones. An answer in any letters then counts.
	KeepCase bool
	// Rand gives IDs, case and times. Default: NewRand.
	Rand *rand.Rand
}

// Exchange asks servers by UDP. It has no sockets: what is to be sent comes from
// PollTransmission, what arrives is given to HandleDatagram, and HandleTimeout is
// called at NextTimeout.
type Exchange struct {
	config     ExchangeConfig
	question   Question
	servers    []exchangeServer
	at         int // the next server
	round      int
	next       time.Time
	out        []Transmission
	mismatches int
	caseDiffer bool
	state      ExchangeState
	message    []byte
	server     netip.AddrPort
	refused    []byte // what a server said that did not help
	refuser    netip.AddrPort
	err        error
}

type exchangeServer struct {
	address netip.AddrPort
	query   Query
	asked   bool
	failed  bool
}

// Transmission is a datagram to send.
type Transmission struct {
	Server  netip.AddrPort
	Payload []byte
}

// ExchangeState says how far an [Exchange] is.
type ExchangeState uint8

// States.
const (
	ExchangePending ExchangeState = iota
	ExchangeAnswered
	// ExchangeUseTCP: the question has to be asked by TCP, since the answer is too
	// long or forgers are at work.
	ExchangeUseTCP
	ExchangeFailed
)

// ErrTimeout is returned when no server answered.
var ErrTimeout error = timeoutError{}

type timeoutError struct{}

func (timeoutError) Error() string { return "dns: no server answered" }
func (timeoutError) Timeout() bool { return true }

// ErrServers is returned without servers.
var ErrServers = errors.New("dns: no servers")

// NewExchange begins to ask.
func NewExchange(now time.Time, q Question, config ExchangeConfig) *Exchange {
	if config.Timeout <= 0 {
		config.Timeout = time.Second
	}
	if config.MaxTimeout <= 0 {
		config.MaxTimeout = 120 * time.Second
	}
	if config.Rounds <= 0 {
		config.Rounds = 3
	}
	if config.MaxMismatches <= 0 {
		config.MaxMismatches = 10
	}
	if config.Rand == nil {
		config.Rand = NewRand()
	}
	x := &Exchange{config: config, question: q}
	for _, s := range config.Servers {
		x.servers = append(x.servers, exchangeServer{
			address: unmap(s), query: NewQuery(q, !config.KeepCase, config.Rand),
		})
	}
	if len(x.servers) == 0 {
		x.end(ExchangeFailed, ErrServers)
		return x
	}
	x.ask(now)
	return x
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// ask sends the query to the next server that has not failed.
func (x *Exchange) ask(now time.Time) {
	for range x.servers {
		if x.at == len(x.servers) {
			x.at, x.round = 0, x.round+1
		}
		if x.round >= x.config.Rounds {
			break
		}
		s := &x.servers[x.at]
		x.at++
		if s.failed {
			continue
		}
		x.send(s)
		wait := x.config.Timeout
		if most := min(x.config.Timeout<<min(x.round, 10), x.config.MaxTimeout); most > wait {
			wait += time.Duration(x.config.Rand.Int64N(int64(most-wait) + 1))
		}
		x.next = now.Add(wait)
		return
	}
	if x.refused != nil {
		x.message, x.server = x.refused, x.refuser
		x.end(ExchangeAnswered, nil)
		return
	}
	x.end(ExchangeFailed, fmt.Errorf("%s: %w", x.question, ErrTimeout))
}

func (x *Exchange) send(s *exchangeServer) {
	s.asked = true
	x.out = append(x.out, Transmission{s.address, s.query.AppendTo(nil)})
}

func (x *Exchange) end(state ExchangeState, err error) {
	x.state, x.err = state, err
	x.next = time.Time{}
	x.out = nil
}

// PollTransmission returns the next datagram to send.
func (x *Exchange) PollTransmission() (Transmission, bool) {
	if len(x.out) == 0 {
		return Transmission{}, false
	}
	t := x.out[0]
	x.out = x.out[1:]
	return t, true
}

// HandleDatagram takes a datagram that arrived from an address. It keeps a copy of
// an answer only.
func (x *Exchange) HandleDatagram(now time.Time, from netip.AddrPort, b []byte) {
	if x.state != ExchangePending {
		return
	}
	from = unmap(from)
	for i := range x.servers {
		s := &x.servers[i]
		if s.address != from || !s.asked || s.failed {
			continue
		}
		if err := s.query.Check(b); err != nil {
			if x.mismatches++; x.mismatches >= x.config.MaxMismatches || errors.Is(err, errCase) {
				// Either somebody who does not see the query, or a server that
				// does not repeat its case. TCP tells.
				x.server, x.caseDiffer = from, errors.Is(err, errCase)
				x.end(ExchangeUseTCP, nil)
			}
			return
		}
		x.answered(now, s, b)
		return
	}
}

// answered takes a message that answers the query.
func (x *Exchange) answered(now time.Time, s *exchangeServer, b []byte) {
	var p Parser
	_ = p.Start(b)
	switch r := p.Header.RCode(); {
	case p.Header.Flags&FlagTruncated != 0:
		x.server = s.address
		x.end(ExchangeUseTCP, nil)
	case (r == RCodeFormatError || r == RCodeNotImplemented) && !s.query.NoEDNS:
		s.query = NewQuery(x.question, s.query.MixedCase, x.config.Rand)
		s.query.NoEDNS = true // RFC 6891 section 6.2.2
		x.send(s)
	case r != RCodeSuccess && r != RCodeNameError:
		x.refused, x.refuser = append([]byte(nil), b...), s.address
		x.fail(now, s)
	default:
		x.message, x.server = append([]byte(nil), b...), s.address
		x.end(ExchangeAnswered, nil)
	}
}

// HandleUnreachable is told that a server's port or host cannot be reached.
func (x *Exchange) HandleUnreachable(now time.Time, server netip.AddrPort) {
	for i := range x.servers {
		if s := &x.servers[i]; x.state == ExchangePending && s.address == unmap(server) && s.asked && !s.failed {
			x.fail(now, s)
		}
	}
}

// fail gives a server up, and asks the next one if it is this one that is waited for.
func (x *Exchange) fail(now time.Time, s *exchangeServer) {
	s.failed = true
	left := false
	for i := range x.servers {
		left = left || !x.servers[i].failed
	}
	if !left || s == &x.servers[x.at-1] {
		x.ask(now)
	}
}

// NextTimeout returns when to call HandleTimeout; zero for never.
func (x *Exchange) NextTimeout() time.Time { return x.next }

// HandleTimeout asks the next server if it is time to.
func (x *Exchange) HandleTimeout(now time.Time) {
	if x.state == ExchangePending && !now.Before(x.next) {
		x.ask(now)
	}
}

// CaseDiffers reports whether TCP is to be used since an answer, which was right in all
// else, did not repeat the case of letters.
func (x *Exchange) CaseDiffers() bool { return x.caseDiffer }

// Result returns the state, the message if there is one, and the server that it is
// from or that is to be asked by TCP.
func (x *Exchange) Result() (ExchangeState, []byte, netip.AddrPort, error) {
	return x.state, x.message, x.server, x.err
}
