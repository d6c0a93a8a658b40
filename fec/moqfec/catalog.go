package moqfec

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
)

var (
	// ErrNoFEC reports a track that has no FEC which this package can use. It is
	// consumed without.
	ErrNoFEC = errors.New("moqfec: no usable FEC")

	// ErrCatalog reports a catalog whose FEC contradicts itself. The track is
	// consumed without, its repair tracks are not joined.
	ErrCatalog = errors.New("moqfec: invalid FEC in the catalog")
)

// The only algorithm and block profile of the draft.
const (
	Algorithm    = "raptorq"
	BlockProfile = "iso-ssbg1-v1"
)

// SourceTrack is what the catalog says of a source track's FEC: its member "fec".
type SourceTrack struct {
	Algorithm         string   `json:"algorithm"`
	BlockProfile      string   `json:"blockProfile,omitempty"`
	SourceSymbols     int      `json:"sourceSymbols,omitempty"` // K at most
	RepairSymbols     int      `json:"repairSymbols,omitempty"` // P of layer 0
	SymbolSize        int      `json:"symbolSize,omitempty"`    // T
	InterleaveDepthMs float64  `json:"interleaveDepthMs,omitempty"`
	ReorderMs         *float64 `json:"reorderToleranceMs,omitempty"` // absent is not zero
	RepairTrack       string   `json:"repairTrack,omitempty"`        // name of layer 0

	// Enhancement is a member of an older revision, which rules the catalog out.
	Enhancement json.RawMessage `json:"enhancementRepair,omitempty"`
}

// RepairTrack is what the catalog says of a track with packaging "fec-repair".
type RepairTrack struct {
	Name          string   `json:"name"`
	Depends       []string `json:"depends,omitempty"`
	Layer         *int     `json:"repairLayer,omitempty"`
	RepairSymbols int      `json:"repairSymbols,omitempty"`
	Priority      *int     `json:"priority,omitempty"`
	Scope         string   `json:"scope,omitempty"`

	// What belongs on the source track alone.
	Algorithm         json.RawMessage `json:"algorithm,omitempty"`
	BlockProfile      json.RawMessage `json:"blockProfile,omitempty"`
	MMTPMode          json.RawMessage `json:"mmtpMode,omitempty"`
	Timescale         json.RawMessage `json:"timescale,omitempty"`
	GroupDuration     json.RawMessage `json:"groupDuration,omitempty"`
	GroupDurationMs   json.RawMessage `json:"groupDurationMs,omitempty"`
	GroupDurationTk   json.RawMessage `json:"groupDurationTicks,omitempty"`
	SymbolSize        json.RawMessage `json:"symbolSize,omitempty"`
	InterleaveDepthMs json.RawMessage `json:"interleaveDepthMs,omitempty"`
	ReorderMs         json.RawMessage `json:"reorderToleranceMs,omitempty"`
	SourceSymbols     json.RawMessage `json:"sourceSymbols,omitempty"`
}

func (t *RepairTrack) geometry() bool {
	for _, m := range []json.RawMessage{
		t.Algorithm, t.BlockProfile, t.MMTPMode, t.Timescale, t.GroupDuration, t.GroupDurationMs, t.GroupDurationTk,
		t.SymbolSize, t.InterleaveDepthMs, t.ReorderMs, t.SourceSymbols,
	} {
		if m != nil {
			return true
		}
	}
	return false
}

// Profile is the way in which source packets become symbols.
type Profile uint8

const (
	SSBG1       Profile = iota // iso-ssbg1-v1: length, packet, padding
	LegacySSBG0                // packet, padding; every block has K symbols
)

// Layer is a repair track.
type Layer struct {
	Name     string
	Symbols  int // P, repair symbols of a block on this track
	Priority int // of the track, 192 to 255
}

// Config is the FEC of a track.
type Config struct {
	Profile Profile

	// MaxBlock is K, the source packets of a block at most; with LegacySSBG0
	// exactly.
	MaxBlock int

	// SymbolSize is T in octets, a multiple of 8.
	SymbolSize int

	// Layers are the repair tracks, of which each continues the numbers (RS_ID) of
	// those before.
	Layers []Layer

	// InterleaveDepth is how long a block is under way at the sender, from its first
	// packet to its last; zero if not said.
	InterleaveDepth time.Duration

	// Reorder is how much later packets may come in another order, if HasReorder.
	Reorder    time.Duration
	HasReorder bool
}

// maxESI bounds ESIs: K+P-1.
const maxESI = raptorq.MaxESI

// Validate reports what the draft rules out, as an error that is [ErrCatalog].
func (c *Config) Validate() error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrCatalog, fmt.Sprintf(format, args...))
	}
	switch {
	case c.Profile > LegacySSBG0:
		return invalid("profile %d", c.Profile)
	case c.MaxBlock < 1, c.MaxBlock > raptorq.MaxK:
		return invalid("%d source symbols", c.MaxBlock)
	case c.SymbolSize < 16, c.SymbolSize > 65528, c.SymbolSize%8 != 0:
		return invalid("symbols of %d octets", c.SymbolSize)
	case len(c.Layers) == 0:
		return invalid("no repair track")
	case c.InterleaveDepth < 0, c.Reorder < 0:
		return invalid("negative time")
	}
	total, priority := 0, 192
	for i, l := range c.Layers {
		if l.Symbols < 1 || l.Symbols > maxESI {
			return invalid("layer %d: %d repair symbols", i, l.Symbols)
		}
		if l.Priority < priority || l.Priority > 255 {
			return invalid("layer %d: priority %d", i, l.Priority)
		}
		total += l.Symbols
		priority = l.Priority
		if c.MaxBlock+total-1 > maxESI {
			return invalid("%d source and %d repair symbols", c.MaxBlock, total)
		}
	}
	return nil
}

// RepairSymbols returns RSB_length, the repair symbols of a block in all layers.
func (c *Config) RepairSymbols() (n int) {
	for _, l := range c.Layers {
		n += l.Symbols
	}
	return n
}

// LayerOffset returns the first RS_ID of a layer: layer i carries LayerOffset(i) to
// LayerOffset(i+1)-1.
func (c *Config) LayerOffset(layer int) (n int) {
	for _, l := range c.Layers[:layer] {
		n += l.Symbols
	}
	return n
}

// Deadline returns when to give a block up of which the first packet was sent at first:
// after its span, and the reordering that is tolerated.
func (c *Config) Deadline(first time.Time) time.Time {
	return first.Add(c.InterleaveDepth + c.Reorder)
}

// Groups returns D, how many MoQ groups a block spans, of the given duration.
func (c *Config) Groups(group time.Duration) int {
	if group <= 0 || c.InterleaveDepth <= 0 {
		return 1
	}
	return max(1, int(math.Round(float64(c.InterleaveDepth)/float64(group))))
}

// Info returns the OTI of a block of k source packets, which is derived and never sent.
func (c *Config) Info(k int) fec.ObjectInfo {
	return fec.ObjectInfo{
		ID: fec.RaptorQ, TransferLength: uint64(c.codeLength(k)) * uint64(c.SymbolSize), SymbolSize: uint16(c.SymbolSize),
		SourceBlocks: 1, SubBlocks: 1, Alignment: 8,
	}
}

// codeLength returns K of the code for a block of k source packets.
func (c *Config) codeLength(k int) int {
	if c.Profile == LegacySSBG0 {
		return c.MaxBlock
	}
	return k
}

const (
	defaultPriority = 240 // of layer 0
	longestMs       = 1e9
)

// Negotiate returns the FEC of a source track by what the catalog says of it and of the
// repair tracks that depend on it. name is the source track's.
func Negotiate(name string, s SourceTrack, tracks []RepairTrack) (Config, error) {
	if s.Enhancement != nil {
		return Config{}, fmt.Errorf("%w: enhancementRepair", ErrCatalog)
	}
	if s.Algorithm != Algorithm {
		return Config{}, fmt.Errorf("%w: algorithm %.40q", ErrNoFEC, s.Algorithm)
	}
	if s.BlockProfile != BlockProfile {
		return Config{}, fmt.Errorf("%w: block profile %.40q", ErrNoFEC, s.BlockProfile)
	}
	c := Config{MaxBlock: s.SourceSymbols, SymbolSize: s.SymbolSize}
	if !(s.InterleaveDepthMs >= 0 && s.InterleaveDepthMs < longestMs) {
		return Config{}, fmt.Errorf("%w: interleaveDepthMs %v", ErrCatalog, s.InterleaveDepthMs)
	}
	c.InterleaveDepth = time.Duration(s.InterleaveDepthMs * float64(time.Millisecond))
	if s.ReorderMs != nil {
		if !(*s.ReorderMs >= 0 && *s.ReorderMs < longestMs) {
			return Config{}, fmt.Errorf("%w: reorderToleranceMs %v", ErrCatalog, *s.ReorderMs)
		}
		c.Reorder, c.HasReorder = time.Duration(*s.ReorderMs*float64(time.Millisecond)), true
	}
	layers := make(map[int]*RepairTrack)
	for i := range tracks {
		t := &tracks[i]
		switch {
		case !slices.Contains(t.Depends, name):
			continue // another track's, or nobody's
		case len(t.Depends) != 1:
			return Config{}, fmt.Errorf("%w: repair track %.40q depends on %d tracks", ErrCatalog, t.Name, len(t.Depends))
		case t.Scope != "":
			// A receiver that does not implement a scope must not use the FEC.
			return Config{}, fmt.Errorf("%w: repair track %.40q with scope %.40q", ErrCatalog, t.Name, t.Scope)
		case t.geometry():
			return Config{}, fmt.Errorf("%w: repair track %.40q repeats what its source track says", ErrCatalog, t.Name)
		}
		layer := 0
		if t.Layer != nil {
			if layer = *t.Layer; layer < 1 {
				return Config{}, fmt.Errorf("%w: repair track %.40q: layer %d", ErrCatalog, t.Name, layer)
			}
		}
		if layers[layer] != nil {
			return Config{}, fmt.Errorf("%w: two repair tracks of layer %d", ErrCatalog, layer)
		}
		layers[layer] = t
	}
	priority := defaultPriority
	for i := range len(layers) {
		t := layers[i]
		if t == nil {
			return Config{}, fmt.Errorf("%w: repair layers are not contiguous", ErrCatalog)
		}
		if t.Priority != nil {
			priority = *t.Priority
		}
		c.Layers = append(c.Layers, Layer{Name: t.Name, Symbols: t.RepairSymbols, Priority: priority})
	}
	switch {
	case len(c.Layers) == 0:
		return Config{}, fmt.Errorf("%w: no repair track", ErrNoFEC)
	case c.Layers[0].Name != s.RepairTrack:
		return Config{}, fmt.Errorf("%w: layer 0 is %.40q, not %.40q", ErrCatalog, c.Layers[0].Name, s.RepairTrack)
	case c.Layers[0].Symbols == 0:
		c.Layers[0].Symbols = s.RepairSymbols
	case c.Layers[0].Symbols != s.RepairSymbols:
		return Config{}, fmt.Errorf("%w: layer 0 has %d repair symbols, not %d", ErrCatalog, c.Layers[0].Symbols, s.RepairSymbols)
	}
	return c, c.Validate()
}
