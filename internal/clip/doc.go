// Package clip plays a small built-in CMAF clip as an endless live channel: a
// source for demonstrations and tests that needs neither an encoder nor a file.
//
// [Source] is the channel as a state machine: given the time, it says which
// octets of which object are due. It behaves as FFmpeg's dash muxer does with
// low-latency options: two video renditions and one audio, segments of 2 s, each
// frame a fragment that leaves as soon as it would have been encoded, an MPD and
// HLS playlists at every segment boundary, FFmpeg's names. The clip of 8 s
// repeats for ever with rising decode times and without a discontinuity.
//
//	var s clip.Source
//	for {
//		if p, ok := s.Poll(time.Now()); ok {
//			send(p)
//			continue
//		}
//		time.Sleep(time.Until(s.NextTimeout()))
//	}
//
// [Push] is that loop, with HTTP PUT requests to an ingest as FFmpeg makes them.
//
// # Time
//
// Segment 1 starts at Config.Start, and so does the media time line, so the MPD
// needs no offset: a player computes the newest segment from
// availabilityStartTime. A chunk is due when its last sample has passed, as from
// an encoder without delay. The source follows the wall clock: if it is not
// polled for long (the machine slept), or the clock is set, it breaks off its
// segments and goes on with those of the present.
//
// # Standards
//
// HLS: RFC 8216, without partial segments. DASH: ISO/IEC 23009-1 with
// SegmentTemplate, $Number$ and availabilityTimeOffset.
package clip
