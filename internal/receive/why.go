package receive

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/resolver"
	"github.com/treedn/treedn/internal/gateway"
)

// why collects why nothing may come. The zero value is useful.
type why struct {
	source, group netip.Addr

	mu     sync.Mutex // guards below
	native string
	relays []reason // the latest last
	dns    []asked  // the first questions
	ports  []uint16 // for which packets came instead
}

// reason is why a relay is of no use.
type reason struct {
	relay netip.AddrPort // invalid: none was found
	text  string
}

// asked is a question to the DNS, and what came of it.
type asked struct{ question, answer string }

// maxWhy bounds the relays, the questions and the ports that are remembered.
const maxWhy = 8

// event takes what happened, and reports whether that is news.
func (w *why) event(e amt.ConnEvent) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Type {
	case amt.ConnStarted, amt.ConnSwitched:
		w.relays = nil
	case amt.ConnNativeFailed:
		w.native = fmt.Sprintf("cannot join natively: %v", e.Err)
	case amt.ConnRelay:
		w.put(reason{relay: e.Relay})
	case amt.ConnNativeJoined:
		w.native = ""
	case amt.ConnRelayLost, amt.ConnRelaySilent:
		return w.put(reason{e.Relay, reasonFor(e.Err)})
	}
	return true
}

// put remembers a reason, and reports whether it was another one before. The mutex is held.
func (w *why) put(r reason) bool {
	i := slices.IndexFunc(w.relays, func(o reason) bool { return o.relay == r.relay })
	if i < 0 {
		if w.relays = append(w.relays, r); len(w.relays) > maxWhy {
			w.relays = w.relays[1:]
		}
		return true
	}
	news := w.relays[i].text != r.text
	w.relays = append(append(w.relays[:i:i], w.relays[i+1:]...), r)
	return news
}

// whySilent is why a relay may not answer. One that takes no more gateways cannot always say so: that it is full shows only
// in Queries, as the L flag, and one that shuts down leaves discoveries unanswered (RFC 7450 sections 5.3.3.8 and 5.3.4).
var whySilent = fmt.Sprintf("is it an AMT relay, is UDP port %d open on the way, and is it not full or being drained? Such a one may be silent", amt.Port)

// reasonFor says in words why a relay was left.
func reasonFor(err error) string {
	if errors.Is(err, amt.ErrNoAnswer) {
		return "does not answer (" + whySilent + ")"
	}
	return gateway.Reason(err)
}

func (w *why) noRelay(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.put(reason{text: fmt.Sprintf("no relay was found: %v", err)})
}

func (w *why) otherPort(port uint16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ports) < maxWhy && !slices.Contains(w.ports, port) {
		w.ports = append(w.ports, port)
	}
}

// silent adds what the counters tell about a channel of which nothing came. Early is how long relays would not have been
// asked yet if the channel could be joined natively.
func (w *why) silent(mode amt.Mode, relays []amt.Candidate, s amt.ConnStats, port uint16, early time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	begun := mode != amt.ModeAuto || w.native != "" || early <= 0
	if mode != amt.ModeTunnel && w.native == "" {
		w.native = "joined natively, and no packet came: the source does not send, or no multicast route leads here"
		if port != 0 {
			w.native += ", or the port is another one"
		}
		if s.Native.Rejected > 0 {
			w.native = fmt.Sprintf("joined natively, and %d packets to the group came, but from other sources", s.Native.Rejected)
		}
	}
	switch {
	case mode == amt.ModeNative:
	case !begun:
		w.relays = []reason{{text: "no relay was asked yet: native reception is tried first (-mode tunnel asks at once)"}}
	case len(w.ports) > 0:
		var list []string
		for _, p := range w.ports {
			list = append(list, fmt.Sprint(p))
		}
		w.relays = []reason{{text: fmt.Sprintf("packets came through the tunnel, but for UDP port %s instead of %d", strings.Join(list, ", "), port)}}
	case s.Gateway.Queries > 0:
		for i, r := range w.relays {
			if r.text == "" {
				w.relays[i].text = gateway.Reason(amt.ErrNoData)
			}
		}
	default:
		var waiting []amt.Candidate
		for _, c := range relays {
			if !slices.ContainsFunc(w.relays, func(r reason) bool { return r.relay == c.Address }) {
				waiting = append(waiting, c)
			}
		}
		if len(waiting) > 0 {
			w.relays = append(w.relays, reason{text: fmt.Sprintf("no answer from %s (%s)", gateway.Addresses(waiting), whySilent)})
		}
	}
}

// String says all that is known, each in a line of its own.
func (w *why) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	if w.native != "" {
		list = append(list, w.native)
	}
	for _, r := range w.relays {
		switch {
		case !r.relay.IsValid():
			list = append(list, r.text)
		case r.text != "":
			list = append(list, fmt.Sprintf("relay %v %s", r.relay, r.text))
		}
	}
	if len(w.dns) > 0 {
		var texts []string
		for _, q := range w.dns {
			texts = append(texts, fmt.Sprintf("%s (%s)", q.question, q.answer))
		}
		list = append(list, "the DNS was asked for "+strings.Join(texts, ", "))
	}
	if w.source.IsLoopback() || w.source.IsLinkLocalUnicast() || w.source.IsPrivate() {
		list = append(list, fmt.Sprintf("source %v is a private address, which only its own network knows", w.source))
	}
	switch {
	case w.group.IsLinkLocalMulticast(), w.group.IsInterfaceLocalMulticast():
		list = append(list, fmt.Sprintf("group %v never leaves the link of its source, and no relay carries it", w.group))
	case !sourceSpecific(w.group):
		list = append(list, fmt.Sprintf("group %v is not in the range of source-specific multicast, 232/8 or ff3x::/32", w.group))
	}
	if len(list) == 0 {
		return "no reason is known"
	}
	return strings.Join(list, "\n  ")
}

// sourceSpecific tells the ranges of RFC 4607 section 1.
func sourceSpecific(group netip.Addr) bool {
	b := group.As16()
	return group.Is4() && b[12] == 232 || group.Is6() && b[1]>>4 == 3 && b[2] == 0 && b[3] == 0
}

// listen returns a configuration whose questions are noted.
func (w *why) listen(config driad.ClientConfig) (*driad.ClientConfig, error) {
	if config.Resolver == nil {
		system, search, err := resolver.System()
		if err != nil {
			return nil, err
		}
		config.Resolver = system
		if config.Domains == nil {
			config.Domains = search
		}
	}
	config.Resolver = noting{config.Resolver, w}
	return &config, nil
}

// noting is a resolver whose questions are noted.
type noting struct {
	driad.Resolver
	why *why
}

func (n noting) Resolve(ctx context.Context, q dns.Question) (dns.Response, error) {
	question := fmt.Sprintf("%s %s", q.Name, q.Type)
	n.why.answer(question, unanswered)
	r, err := n.Resolver.Resolve(ctx, q)
	text := ""
	switch a, bad := dns.ParseAnswer(r.Message, q); {
	case ctx.Err() == context.Canceled:
		return r, err
	case err != nil:
		text = strings.TrimPrefix(err.Error(), fmt.Sprintf("resolver: %s %s: ", q.Name, q.Type))
	case bad != nil:
		text = bad.Error()
	case a.Exists() || a.Open:
		text = fmt.Sprintf("%d records", len(a.Records))
	case a.RCode == dns.RCodeSuccess:
		text = "no such record"
	default:
		text = a.RCode.String()
	}
	n.why.answer(question, text)
	return r, err
}

// answer remembers what came of a question last.
func (w *why) answer(question, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.dns, func(a asked) bool { return a.question == question })
	switch {
	case i >= 0 && text != unanswered: // else it is asked once more
		w.dns[i].answer = text
	case i < 0 && len(w.dns) < maxWhy:
		w.dns = append(w.dns, asked{question, text})
	}
}

// unanswered is what came of a question so far.
const unanswered = "no answer yet"
