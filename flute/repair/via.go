package repair

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// The loop guard is the header field Via of RFC 9110 section 7.6.3: each node
// that asks on behalf of another adds its pseudonym, and none answers a request
// that has passed it.

type viaKey struct{}

// withVia keeps the Via of a request that a server answers, so that a [Client]
// asking further with this context goes on with it.
func withVia(ctx context.Context, via string) context.Context {
	if via == "" {
		return ctx
	}
	return context.WithValue(ctx, viaKey{}, via)
}

func viaOf(ctx context.Context) string {
	via, _ := ctx.Value(viaKey{}).(string)
	return via
}

func appendVia(via, node string) string {
	if node == "" {
		return via
	}
	if via != "" {
		via += ", "
	}
	return via + "1.1 " + pseudonym(node)
}

// checkVia returns the combined Via of a request, or an error that matches
// [ErrLoop] if it has passed node or more than maxHops nodes.
func checkVia(h http.Header, node string, maxHops int) (via string, err error) {
	via = strings.Join(h.Values("Via"), ", ")
	node = pseudonym(node)
	var hops int
	for rest := via; rest != ""; {
		var receivedBy string
		receivedBy, rest = nextVia(rest)
		if receivedBy == "" {
			continue
		}
		if node != "" && strings.EqualFold(receivedBy, node) {
			return via, fmt.Errorf("repair: %w: it has passed this node", ErrLoop)
		}
		if hops++; hops > maxHops {
			return via, fmt.Errorf("repair: %w: it has passed more than %d nodes", ErrLoop, maxHops)
		}
	}
	return via, nil
}

// nextVia returns received-by of the first element and the elements after it.
// Comments, which may hold commas, are skipped.
func nextVia(s string) (receivedBy, rest string) {
	end := len(s)
	depth, text := 0, make([]byte, 0, 64)
scan:
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && depth > 0:
			i++
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == ',' && depth == 0:
			end = i
			break scan
		case depth == 0:
			text = append(text, c)
		}
	}
	if fields := strings.Fields(string(text)); len(fields) > 1 {
		receivedBy = fields[1]
	}
	return receivedBy, s[min(end+1, len(s)):]
}

// pseudonym returns a node id as it stands in Via: a token (RFC 9110 section
// 5.6.2), with "_" for what cannot be in one.
func pseudonym(node string) string {
	return strings.Map(func(r rune) rune {
		alnum := r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
		if alnum || strings.ContainsRune("!#$%&'*+-.^_`|~:", r) {
			return r
		}
		return '_'
	}, node)
}
