// Package push sends objects of FLUTE or ROUTE over HTTP to where multicast does not reach: each as its octets are made,
// resumed where it broke, and handed on at the receiver as if it had come in packets. It knows HTTP and nothing of sessions,
// caches or FEC.
//
// # Protocol
//
//	PUT /ingest/v1/{session}/{tsi}/{toi}
//	Content-Location: http://media.example.com/live/seg-00007.m4s
//	Content-Type: video/mp4
//	Trailer: Repr-Digest
//	Transfer-Encoding: chunked
//
// The session is a name that the two have agreed on; TSI and TOI are those that packets would have had. The body is the object,
// of which octets are at the [Sink] before those after them are made; it goes over HTTP/1.1 as well as over HTTP/2. Upload-Length
// tells the length before the end, if it is known, and Repr-Digest (RFC 9530), as a header or a trailer field, the digests
// of the whole object: sha-256 and sha-512 are verified, others ignored; some proxies drop trailers. All other header fields are for the sink.
//
// An object whose connection breaks waits for its sender to come back. HEAD on its path tells how much is there:
//
//	HTTP/1.1 204 No Content
//	Upload-Offset: 140354
//	Upload-Complete: ?0
//
// and PUT with Content-Range goes on. Its form is that of RFC 9110 section 14.4, in which "*" may stand for an end that is not
// known yet:
//
//	Content-Range: bytes 140354-*/*
//
// Octets that come again have to be the same. The answers are:
//
//	201  the object is complete, and its digests are right
//	200  the same object, by its SHA-256, is complete already
//	204  a part has come, of a Content-Range with an end
//	400  a header field is malformed or contradicts the body
//	403  the sink does not want it
//	404  there is no such session; to HEAD: nothing is known of the object
//	408  the body broke, or nothing came for too long
//	409  the offset is another one, in Upload-Offset; with Retry-After another sender has the object
//	412  an object is complete already, and If-None-Match: * is for the case that none is
//	413  it is larger than allowed, or takes too long
//	415  a content coding: the octets of the object are meant
//	422  other octets, another length, another name than those here, or a wrong digest
//	503  overload, with Retry-After and, in milliseconds, Retry-After-Ms
//	508  a loop
//
// # Sender and receiver
//
// [Handler] gives what comes to a [Sink]; [Pusher] sends to one receiver:
//
//	pusher, err := push.NewPusher(push.Config{URL: "https://relay.example.net:8443", NodeID: "cast-1"})
//	...
//	err = pusher.Push(ctx, push.Object{
//		ID:              push.ObjectID{Session: "live-1", TSI: 3, TOI: 7},
//		ContentLocation: "http://media.example.com/live/seg-00007.m4s",
//		Length:          -1, // it is still made
//	}, body)
//
// The memory of both does not depend on the object: a body can be opened again at any offset, and a sink can read what it took.
//
// # Loops
//
// Nodes may push on to each other. Each with a NodeID adds itself to the header field Via (RFC 9110 section 7.6.3) and
// refuses a request that has passed it. A sink that pushes further has to use the context of Begin for that.
//
// # Threats
//
// The handler does not know who may push: it belongs behind one that does, by a token or a client certificate. Those who may
// can still be wrong. Octets, objects, requests, idle and whole times are bounded; what one sender has begun another one
// cannot change, but it can go on with it. A name (Content-Location) is checked for its length and for control characters
// only: it is not a path. Octets reach the sink before the digest is known to be right, so a sink must not let them count as
// verified until Commit; and the digest comes from the sender, so it shows errors, not lies. For that there is package seal.
package push
