// Package resolver asks DNS servers: [Plain] by UDP, and by TCP for what is too long
// for it; [TLS] by DNS over TLS (RFC 7858); [HTTPS] by DNS over HTTPS (RFC 8484).
// [System] finds the servers that this machine is configured to use.
//
// Each of them sends one question and returns the message that answers it, checked
// by package dns below. There is no cache and no recursion here: the servers are
// expected to be recursive resolvers.
//
// Plain has no protection but the port, the ID and the case of letters, which a
// forger off the path has to guess. The others authenticate the server.
package resolver
