// Package cmaf finds the boundaries in a CMAF byte stream (ISO/IEC 23000-19)
// while the stream is still arriving.
//
// A live encoder sends a segment over two seconds, one fragment after the
// other. Whoever forwards it must know where a fragment ends to send it on at
// once, and knows nothing about how the transport has cut the octets. The
// [Splitter] takes octets in any portions and says, after each, whether an
// initialization segment, a segment, a moof or a whole chunk has just begun or
// ended:
//
//	var s cmaf.Splitter
//	for len(b) > 0 {
//		n, ev, err := s.Next(b)
//		if err != nil {
//			return err // not CMAF
//		}
//		forward(b[:n])
//		if ev.Kind == cmaf.ChunkEnd {
//			flush()
//		}
//		b = b[n:]
//	}
//
// It is not a full parser. It reads the box headers at the top level and the
// few fields in moof and moov that say when the chunk decodes and whether it
// starts with a sync sample. It never keeps or copies mdat, and it allocates
// nothing.
//
// Beside it stand helpers for whole pieces: [ParseInit] reads tracks, time
// scales and RFC 6381 codec strings from an initialization segment, and
// [Rebase] moves a chunk to another place of the timeline.
//
// # Hostile input
//
// All octets come from the network. Sizes are checked against the enclosing
// box and against [Config] before anything is skipped, only four container
// types are entered (so depth is bounded by construction), and memory is one
// [Splitter] whatever the input says. Errors are of type [*Error] and match
// [ErrSize], [ErrLimit] or [ErrOrder]; input that merely ends too soon matches
// [io.ErrUnexpectedEOF].
package cmaf
