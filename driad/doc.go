// Package driad finds AMT relays: DNS Reverse IP AMT Discovery (RFC 8777) and the
// other ways by which RFC 8777 lets a gateway look for one. A receiver of
// source-specific multicast knows the address of the source and no more; the reverse
// DNS name of that address has AMTRELAY records with the relays that carry the
// source's traffic.
//
// # Looking for relays
//
// [Find] returns the relays of a source, the best first. For gateways, which live on,
// [Discover] looks for them until its context ends:
//
//	d, err := driad.Discover(ctx, source, driad.ClientConfig{})
//	if err != nil {
//		return err
//	}
//	for list := range d.Lists() {
//		conn.SetRelays(driad.As[amt.Candidate](list)) // an amt.Conn tries them
//	}
//
// In this order of preference, which RFC 8777 section 3.1.2 recommends: relays that
// are configured; those of this network by DNS-SD; the well-known anycast addresses;
// those that the source names in AMTRELAY records; and, for sources without such a
// record, plain A and AAAA records under amt.in-addr.arpa. Within a method, precedence
// rules, then the order of RFC 6724, then chance, which leans to relays known to be
// near. Relays that failed are held down for the times that the RFC gives.
//
// A gateway that tries candidates by itself, as package amt's, takes [Discovery.Lists].
// Others take [Discovery.Attempts], which paces attempts as RFC 8305 says. Both tell
// [Discovery.Report] what came of it; a relay that is lost, full or silent makes
// discovery begin again. A [Client] shares answers and experience among the sources
// that a program receives from.
//
// # Without sockets
//
// [Machine] is all of that without sockets or clock: questions, candidates and the
// time of the next timeout come out; answers, outcomes and time go in.
//
// Package resolver below asks DNS servers by UDP, TCP, TLS and HTTPS; package dns has
// names and messages; package amtrelay the record and the reverse names; package
// authority the server for those who publish relays.
//
// # Standards
//
// RFC 8777 (rfc8777.md in this directory goes through it clause by clause), with RFC
// 8305 (attempts), 6724 (order; rules that need more than addresses are left out), 6763
// (DNS-SD), 6762 (multicast DNS, as a one-shot querier), 2782, 2308, 6672, 6891, 7766,
// 7858, 8310's strict profile, 8484, 8767. There is no validation of DNSSEC here: the
// AD flag of a trusted resolver is reported, and can be required. A resolver is trusted
// that is asked by TLS or HTTPS, or that the user says is to be (TrustAD), as one on
// this machine.
//
// # Threats
//
// Who forges an answer sends the receiver to a relay of his own, where he can refuse
// the traffic, and send his own if nothing else authenticates it. Over plain UDP he has
// to guess port, ID and the case of letters in the time of one answer, and is left for
// TCP when he guesses; over TLS and HTTPS he has to be the resolver. Of an answer, only
// records count that the question leads to. What publishers, or who answers for them,
// can make a client do is bounded: questions in number and rate, chains of aliases,
// candidates, memory.
//
// Multicast DNS has no protection from who is on a link with this machine: he can offer
// relays, where local is among the domains to look in.
package driad
