// Package via is the loop guard of nodes that ask, or push to, each other over HTTP: the header field Via of RFC 9110
// section 7.6.3. Each node that acts on behalf of another adds its pseudonym, and none serves a request that has passed it.
package via

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrLoop is matched by the error about a request that came back, or has come too far.
var ErrLoop = errors.New("request loop")

type key struct{}

// With keeps the Via of a request that is served, so that a client acting further with this context goes on with it.
func With(ctx context.Context, via string) context.Context {
	if via == "" {
		return ctx
	}
	return context.WithValue(ctx, key{}, via)
}

// Of returns what With kept.
func Of(ctx context.Context) string {
	via, _ := ctx.Value(key{}).(string)
	return via
}

// Append returns via with node added; an empty node adds nothing.
func Append(via, node string) string {
	if node == "" {
		return via
	}
	if via != "" {
		via += ", "
	}
	return via + "1.1 " + Pseudonym(node)
}

// Check returns the combined Via of a request from the lines of the field, or an error that matches [ErrLoop] if it has
// passed node or more than maxHops nodes.
func Check(lines []string, node string, maxHops int) (via string, err error) {
	via = strings.Join(lines, ", ")
	node = Pseudonym(node)
	var hops int
	for rest := via; rest != ""; {
		var receivedBy string
		receivedBy, rest = next(rest)
		if receivedBy == "" {
			continue
		}
		if node != "" && strings.EqualFold(receivedBy, node) {
			return via, fmt.Errorf("%w: it has passed this node", ErrLoop)
		}
		if hops++; hops > maxHops {
			return via, fmt.Errorf("%w: it has passed more than %d nodes", ErrLoop, maxHops)
		}
	}
	return via, nil
}

// next returns received-by of the first element and the elements after it. Comments, which may hold commas, are skipped.
func next(s string) (receivedBy, rest string) {
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

// Pseudonym returns a node id as it stands in Via: a token (RFC 9110 section
// 5.6.2), with "_" for what cannot be in one.
func Pseudonym(node string) string {
	return strings.Map(func(r rune) rune {
		alnum := r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
		if alnum || strings.ContainsRune("!#$%&'*+-.^_`|~:", r) {
			return r
		}
		return '_'
	}, node)
}
