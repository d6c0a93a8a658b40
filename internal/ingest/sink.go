package ingest

import "github.com/treedn/treedn/internal/manifest"

// A Sink takes the objects of all channels. Its methods are called from many
// goroutines. Objects of one name may overlap; the one with the higher
// generation is the newer, whichever ends first.
type Sink interface {
	// Begin opens an object. Its octets follow as they arrive, so that a
	// low-latency chunk can leave before its segment is complete. An error
	// refuses the object and closes the publisher's connection.
	Begin(o Object) (Writer, error)
	// Delete passes on a publisher's DELETE. It is a hint: encoders delete what
	// left their window, while a DVR window or a late reader may still want it.
	Delete(channel, name string)
}

// A Writer takes the octets of one object. It is used by one goroutine and ends
// with exactly one Commit or Abort.
type Writer interface {
	// Write takes the next octets and must not keep p. chunkEnd marks the last
	// octet of a CMAF chunk: all before it can be played.
	Write(p []byte, chunkEnd bool) error
	// Commit ends a complete object.
	Commit() error
	// Abort ends an object whose push broke off. Readers must see a broken
	// transfer, never a short complete one; complete chunks stay readable.
	Abort(cause error)
}

// Kind is what an object is to a channel.
type Kind uint8

// The kinds of objects.
const (
	Other    Kind = iota // anything else: a subtitle file, a picture
	Manifest             // an HLS playlist or a DASH MPD
	Init                 // a CMAF header: ftyp and moov
	Media                // a media segment
)

// String returns the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Manifest:
		return "manifest"
	case Init:
		return "init"
	case Media:
		return "media"
	}
	return "other"
}

// Object is what is known of an object when its first octets have arrived.
// Manifests and init segments are begun when they are complete, so that nobody
// sees half of one; FFmpeg sends init segments once, so the sink keeps them.
type Object struct {
	Channel, Name string
	ContentType   string
	Kind          Kind
	// Track is where a media segment belongs. Its Template is zero for an object
	// that is not one of a numbered series.
	Track manifest.Track
	// Generation orders objects of one name: the higher one is the newer. It is
	// at least the Unix time in microseconds of the request, and rises within a
	// channel, across restarts too. All objects of a track's run have the
	// generation Run; their names are unique within it.
	Generation uint64
	// Run is the generation at which the track's run began; 0 without a
	// template. An encoder that begins its numbers again begins a run. Within a
	// run numbers do not repeat, and rise but for uploads that overtake each
	// other.
	Run uint64
}
