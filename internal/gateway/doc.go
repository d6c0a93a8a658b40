// Package gateway receives channels natively or through AMT relays (RFC 7450). It joins package amt, which speaks to
// relays, to package driad, which finds them: a [Finder] gives the former what the latter finds, and tells the latter
// what came of it. A [Conn] is a channel that is received so, with a second UDP port beside it.
package gateway
