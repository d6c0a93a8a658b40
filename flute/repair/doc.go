// Package repair carries the HTTP repair protocol between a receiver of FLUTE
// or ROUTE and the server above it: what multicast and FEC did not bring is
// fetched as octets or as encoding symbols. It knows HTTP and nothing of
// sessions, decoders or caches.
//
// # Requests
//
// An object is addressed by its place in the multicast session or by its name
// (Content-Location):
//
//	GET /repair/v1/{source}/{group}/{port}/{tsi}/{toi}
//	GET /{name}
//
// Octets are asked for with the header field Range and come as 200, 206 or 206
// with multipart/byteranges, so that players, gateways and file repair of other
// systems can use the server too (ATSC A/331 8.3, DVB TS 103 769 clause 9).
// Symbols are asked for with a query:
//
//	?SBN=0;ESI=7,20-29,400+8&SBN=1;ESI=3   these symbols
//	?SBN=0&count=12                        12 repair symbols nobody was sent yet
//	?SBN=0-3                               all source symbols of the blocks
//
// and come as [SymbolsType]: FEC Payload ID (4 octets), length (2 octets) and
// the symbol, repeated; the header field FEC-OTI has the 12 octets of RFC 6330
// section 3.3 in base64. An ETag names the version of the object. An answer with
// symbols of the server's choice is for one client; all others can be cached.
//
// Clients of MBMS (3GPP TS 26.346 clause 9.3) name the file in the query of any
// path, and get [ContainerType]: the number of symbols (2 octets), the FEC
// Payload ID of the first one and the symbols, repeated ([SymbolGroup]). [NoCode]
// gives any object the symbols of Compact No-Code FEC.
//
//	?fileURI=<Content-Location>&Content-MD5=<base64>&SBN=0;ESI=7,20-29&SBN=3
//
// An object that still grows is served inside its readable prefix, with symbols
// of its closed blocks. What is yet to come is answered with 425, an unknown
// object with 404, one that is gone with 410, one without symbols with 422,
// another version than the If-Match or Content-MD5 of the request with 412, and
// more than the server works on at a time with 503. Retry-After has whole
// seconds; Retry-After-Ms says the same in milliseconds.
//
// # Server
//
// [Handler] serves a [Backend]. A node that must not serve repairs does not
// mount it. Requests under way are bounded, in all and for one peer.
//
// # Client
//
// [Client] asks its parents in order until it has all. Requests of many
// receivers for one loss are spread by a random back-off; calls in one process
// for the same octets share a request; close ranges are merged; a version, once
// known, holds for all parents:
//
//	client, err := repair.NewClient(repair.Config{
//		Parents: []repair.Parent{{URL: "http://192.0.2.7:8081"}},
//		NodeID:  "beacon-1",
//	})
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//	answer, err := client.Fetch(ctx, repair.Request{
//		ID:     id,
//		Ranges: []repair.Range{{Start: 1400, End: 5600}},
//	})
//
// # Repair as the standards have it
//
// MBMS, ATSC and DVB name the servers, and when to ask them, in their signalling.
// [PostFileRepair] and [UnicastRepair] make a [Procedure] of it; a [Plan] says when,
// where and what to ask, without I/O and without a clock; a [Fetcher] does it:
//
//	procedure, err := repair.UnicastRepair{
//		BaseURLs:               []repair.WeightedURL{{URL: "https://cdn.example.com/", RelativeWeight: 1}},
//		TransportObjectBaseURI: "http://origin.example.com/live/",
//		FixedBackOffPeriod:     20 * time.Millisecond,
//		RandomBackOffPeriod:    time.Second,
//	}.Procedure("http://origin.example.com/live/seg-7.m4s", etag)
//	...
//	plan, err := repair.NewPlan(repair.PlanConfig{
//		Procedure: procedure,
//		Missing:   []repair.Range{{Start: 1400, End: 5600}},
//		Start:     time.Now(),
//	})
//	...
//	got, err := fetcher.Fetch(ctx, plan, nil)
//
// # Many receivers
//
// What one link loses is lost by all receivers behind it. A [Window] spreads their
// first requests, [Retry] those after a refusal, for which the server draws
// another random part; the tests simulate a million of them.
//
// # Loops
//
// Nodes ask each other, so that a wrong configuration could make a circle. Each
// node with a NodeID adds itself to the header field Via (RFC 9110 section
// 7.6.3) and refuses, with 508, a request that it finds itself in. A Backend
// that asks further has to use the context of its call for that.
//
// # Threats
//
// Requests come from anybody who can reach the server: number of ranges and
// symbols is bounded and overlapping ranges are merged, so that an answer is
// never larger than the object or the bound. Parents can be wrong: memory is
// bounded by what was asked for, and nothing else than that is taken but small
// gaps, over which servers may join ranges. The octets themselves are not
// authenticated here.
package repair
