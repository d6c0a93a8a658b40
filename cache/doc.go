// Package cache keeps the objects of a delivery node: segments, init segments
// and playlists. They can be read while they still grow, they are sealed when
// they reach the disk, and they are served over HTTP.
//
//	store, err := cache.Open(cache.Config{
//		Dir: "/var/cache/treedn",
//		Services: map[string]cache.ServiceConfig{
//			"news": {Keys: []cache.EpochKey{{Epoch: 1, Key: key}}},
//		},
//	})
//	...
//	w, err := store.Create(cache.Key{Service: "news", Name: "video/17.m4s"},
//		cache.Meta{Generation: generation, ContentType: "video/mp4"})
//	...
//	w.Write(chunk) // from here on its octets leave for everybody who reads
//	w.Finish()     // or w.Abort(err), which breaks every reader
//
//	http.Handle("/", &cache.Handler{Store: store})
//
// # Objects
//
// A Key is a service and a name in it. Under a key there is one current object,
// the one of the greatest generation: Create and Put replace an older one at
// once, in mid-growth too, and refuse a newer one's predecessor with an error
// that matches ErrStale. Readers of a replaced object go on to its end.
//
// An object grows by a Writer and is complete after Finish. One that is aborted
// never looks complete: readers get an error that matches ErrAborted, HTTP
// clients a broken connection. Put makes playlists and other small things at
// once, so that readers see the old one or the new one. Fetch brings what is
// missing, once for all who ask; Await waits for what is due.
//
// # Tiers
//
// Memory holds what grows and what was used lately, in plaintext, in pages that
// never change once they are written: readers share them without copies. The
// disk tier holds every complete object of a service with keys, written in the
// background. Each tier has limits in octets and objects, for all and for each
// service. SIEVE chooses what leaves; the live edge leaves memory late, pinned
// objects last, growing ones never. What the disk does not have yet stays until
// it does: in a burst, what is sealed goes before it, and writers wait for the
// disk a moment (Config.SpillWait) before an object is lost. From disk an object is served without going
// back to memory: opening a chunk of 16 KiB takes about 3 us. A disk that is
// full or fails leaves a store in memory, which logs one error, says so in
// Stats, and goes back to the disk when that works again.
//
// # At rest
//
// One file per object, its name an HMAC, its content noise to who lacks the
// service's key: a record with name and meta, then the body, both in C2SP
// chunked-encryption (package chunked). The context of a body binds it to
// service, epoch, name and generation. Files are written under another name and
// renamed, so that a process killed at any time leaves no torn object; whatever
// does not open is a miss, is removed and is counted. Keys come in epochs:
// new objects are sealed in the last one listed, objects of all are readable,
// and an epoch that is taken away takes its files along.
//
// This protects against theft of disks, inspection of a node that is off, and
// re-use of media. Whoever controls a running node can read keys and octets in
// its memory; content that must stay secret from a node's operator has to be
// encrypted before it gets here. Sizes and times of files are visible. An
// attacker who can write to the disk can bring back an older file of the same
// name for the next start, but nothing that was not sealed under that name.
//
// # Time and hostile input
//
// Names, lengths and headers of a request are bounded before they are used.
// Names never become paths. Octets of objects are not interpreted. The store
// trusts who calls Create: verification of what comes from the network lies
// before it.
//
// HTTP follows RFC 9110 and 9111 as far as a node needs it: GET, HEAD, OPTIONS,
// conditions on entity tags, ranges, also of what is still to come (RFC 8673),
// Age, Cache-Control, Cache-Status (RFC 9211). Left out: Last-Modified and conditions on dates, Vary, content coding,
// revalidation and stale answers; objects are replaced by their source, they do
// not expire by HTTP's rules.
package cache
