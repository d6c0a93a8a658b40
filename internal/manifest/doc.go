// Package manifest answers what the manifests of a channel currently announce.
//
// A channel is a set of objects below one path: HLS playlists, DASH MPDs, init
// and media segments. The package reads the playlists and MPDs and keeps, per
// channel, an [Index]: which names exist or come next, which track a name
// belongs to and which init segment that track needs, and how long a segment
// is. CAST puts tracks on ROUTE transport sessions by it; a BEACON decides by it
// whether a request for an object that has not arrived yet is worth waiting for.
//
//	var x manifest.Index
//	err := x.Update("manifest.mpd", body)
//	x.Observe("chunk-stream0-00007.m4s", 0)
//	x.Expects("chunk-stream0-00008.m4s") // true: the template yields it next
//	t, _ := x.TrackOf("chunk-stream0-00008.m4s")
//	t.Template.String()                  // "chunk-stream0-$TOI%05d$.m4s"
//	t.Init                               // "init-stream0.m4s"
//
// Names are paths relative to the channel, percent-decoded, without query.
// References that lead out of the channel (another host, an absolute path,
// "..") name nothing here and are passed over.
//
// # Standards
//
// HLS: RFC 8216 and its second edition (draft-pantos-hls-rfc8216bis) as far as
// names and times go: no decryption, no EXT-X-DEFINE, no delta updates
// (EXT-X-SKIP). DASH: ISO/IEC 23009-1 SegmentTemplate, SegmentTimeline,
// SegmentList and BaseURL; no xlink, no MPD patches, no SegmentBase indexes.
//
// # Hostile input
//
// Manifests come from whoever may publish, or over multicast. Parsing is bounded
// in size, depth and number of entries by [Limits], never expands a repeat
// count, and never panics. A manifest that cannot be read leaves the Index as it
// was.
package manifest
