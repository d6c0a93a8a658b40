// Package dns has the part of the DNS that looking for relays needs: names,
// messages, questions and what answers them (RFC 1035, 2181, 2308, 6672, 6891).
// It has no sockets and no clock, and allocates nothing for a message.
//
// [Name] holds any name, also one with dots, blanks or octets above 127 in its
// labels, as instances of DNS-SD have them. [Parser] reads a message record by
// record and [Builder] writes one. [Query] is a question on its way to a server
// and says which messages answer it; [Exchange] asks servers by UDP until one
// does; [Answer] is what a message says about a question, after its aliases.
//
// All messages are taken as hostile: lengths are exact, compression pointers lead
// backwards, chains of aliases are bounded, and of the records only those count
// that the question leads to.
package dns
