package seal

// Octets gives access to the octets of an object that have arrived. A
// *route.Object is one.
type Octets interface {
	// Prefix is the number of octets from the start on that are there without
	// a hole.
	Prefix() int64
	// Complete says that these are all, as far as is known.
	Complete() bool
	// Bytes returns octets from off on, as many as lie in one piece of memory.
	Bytes(off int64) []byte
}

// Body is Octets that are all there, such as a manifest.
type Body []byte

// Prefix implements Octets.
func (b Body) Prefix() int64 { return int64(len(b)) }

// Complete implements Octets.
func (b Body) Complete() bool { return true }

// Bytes implements Octets.
func (b Body) Bytes(off int64) []byte { return b[off:] }

// State is what the seals say about an object.
type State uint8

const (
	// Unsealed: no record of this generation was seen, and none of a newer one.
	Unsealed State = iota
	// Growing: all that is readable is genuine, and more is to come.
	Growing
	// Whole: the object is readable to its end.
	Whole
	// Broken: the object broke off at the source, and is readable up to there.
	// It must never be taken for a whole one.
	Broken
	// Superseded: a newer generation of the name has begun.
	Superseded
)

// String returns the name of the state.
func (s State) String() string {
	switch s {
	case Unsealed:
		return "unsealed"
	case Growing:
		return "growing"
	case Whole:
		return "whole"
	case Broken:
		return "broken"
	case Superseded:
		return "superseded"
	}
	return "unknown"
}

// Verdict is what a Verifier finds out about octets.
type Verdict struct {
	State State
	// Readable is the number of octets from the start on that are genuine.
	Readable int64
	// Forged, if it is not 0, says that not all of the octets from Readable up
	// to Forged are. They must be dropped and fetched by another way; Advance
	// says so again for as long as it gets them.
	Forged int64
}
