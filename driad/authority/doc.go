// Package authority answers the questions of RFC 8777 for publishers of multicast: an
// authoritative DNS server for the reverse zones of their sources, whose contents are
// a list of relays.
//
// An [Authority] has zones and relays. Each [Relay] has the prefixes of the sources
// that it serves, a weight and a health; [Authority.SetRelays] replaces them at run
// time. It answers AMTRELAY questions at the reverse names of sources, and A and AAAA
// questions at their plain names, as well as SOA and NS at the top of a zone; what
// does not exist is denied as RFC 2308 and RFC 8020 say. Relays may be for clients in
// some networks only, which resolvers tell by their own address or by RFC 7871. It is
// a function of octets, without sockets or clock, and may be used by many goroutines.
//
//	a, err := authority.New(authority.Config{Zones: []authority.Zone{{
//		Name:        dns.MustParseName("95.25.69.in-addr.arpa"),
//		NameServers: []dns.Name{dns.MustParseName("ns1.example.com")},
//	}}})
//	...
//	err = a.SetRelays([]authority.Relay{{
//		Record:   relay, // 10 0 1 203.0.113.15
//		Coverage: []netip.Prefix{netip.MustParsePrefix("69.25.95.0/24")},
//	}})
//	...
//	server, err := authority.Listen(authority.ServerConfig{
//		Authority: a, Listen: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")},
//	})
//	...
//	err = server.Serve(ctx)
//
// Secondaries, as BIND, NSD or Knot, get the zones by AXFR (RFC 5936) if Config.Transfer
// has their addresses, and are told of changes (RFC 1996) if ServerConfig.Notify has them.
// IXFR is answered by whole zones. What depends on who asks, Clients and weights, is lost
// there; TSIG is not here, so that who can take an address of theirs can have the zones,
// which hold nothing that questions do not bring out.
//
// [Authority.AppendZone] writes a zone in the format of zone files, for who would rather
// let another server sign it: there is no DNSSEC here.
//
// # Threats
//
// Everybody can ask, with any source address. Answers by UDP are at most 1,232
// octets long and limited in rate by what they say and to whom, as BIND and NSD do
// it: of those above the limit, one in two is a request to come by TCP, which who
// forges addresses cannot follow. TCP connections are bounded in number, for each
// network of clients, too, and in time.
package authority
