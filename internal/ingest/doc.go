// Package ingest takes live streams in: it is the HTTP server that encoders push
// to, and the client that pulls from an origin.
//
// Both hand every object - manifest, init segment, media segment - to a [Sink]
// as it arrives. A low-latency chunk is marked and passed on while the rest of
// its segment has not been made yet; manifests and init segments are passed on
// when they are complete.
//
//	server, err := ingest.New(ingest.Config{
//		Sink:     sink,
//		Channels: map[string]ingest.Channel{"ch1": {Keys: []ingest.KeyHash{hash}}},
//		StateDir: "/var/lib/treedn/cast",
//	})
//	h := &http.Server{Handler: server, ConnContext: server.ConnContext}
//
// An encoder pushes below /publish/<channel>/ or /publish/<channel>/<key>/:
//
//	ffmpeg -re -i IN -c:v libx264 -c:a aac -f dash -method PUT -http_persistent 1 \
//		-ldash 1 -streaming 1 -frag_type every_frame -seg_duration 2 \
//		http://127.0.0.1:8080/publish/ch1/manifest.mpd
//
// # What FFmpeg does
//
// The server is made for FFmpeg's dash and hls muxers and takes what they send:
// PUT or POST, chunked without a length, a connection per request or a few
// persistent ones; manifests twice per segment boundary, overlapping; DELETE that
// overtakes the PUT; no init segments after a reconnection; all names again after
// a restart; requests whose status nobody reads. For the last reason a refusal
// closes the connection, and [Server.State] tells people what happened.
//
// # Generations and runs
//
// Names come again, so each object has a generation: the higher one is the newer.
// Segments of one numbered series ("chunk-stream0-00001.m4s" and on) share the
// generation of their run. A run ends when the encoder begins its numbers again,
// changes the init segment, or is another one. Generations rise across restarts
// of the server, even if the clock steps back, as long as StateDir is kept.
//
// # One publisher
//
// A channel has one publisher at a time, told by address and User-Agent, for as
// long as it is heard of and ten seconds more. A second encoder of the same kind
// on the same host looks like the first one restarted; it is told by pushing what
// a new run would begin with while the first one goes on. See contest.
//
// # Threats
//
// Everything that a publisher sends is hostile, before and after it has shown a
// key: names, sizes, slow and endless bodies, boxes and manifests are bounded by
// [Config]. Keys are kept as hashes and appear in no log, error or state. Unknown
// channels and wrong keys are not told apart. Without any key, only connections
// within the host are served, and none that a web page makes. An origin that is
// pulled from cannot redirect to files or to private addresses.
package ingest
