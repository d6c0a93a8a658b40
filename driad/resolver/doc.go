// Package resolver asks DNS servers: [Plain] by UDP, and by TCP for what is too long
// for it; [TLS] by DNS over TLS (RFC 7858); [HTTPS] by DNS over HTTPS (RFC 8484).
// [Multicast] asks the hosts on this machine's links, by multicast DNS (RFC 6762).
// [System] finds the servers that this machine is configured to use.
//
// Each of them sends one question and returns the message that answers it, checked
// by package dns below; Multicast puts those of several hosts together. There is no
// cache and no recursion here: the servers are expected to be recursive resolvers.
//
// Plain has no protection but the port, the ID and the case of letters, which a
// forger off the path has to guess; Multicast believes all who are on a link with this
// machine. The others authenticate the server.
package resolver
