package object

import (
	"errors"
	"fmt"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/ldpc"
	"github.com/treedn/treedn/fec/raptor"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/fec/rs"
)

var (
	// ErrPacket reports a packet that does not fit its object: a source block or
	// symbol that does not exist, or a payload of the wrong length.
	ErrPacket = errors.New("object: packet does not fit the object")

	// ErrBudget reports that a block needs more memory than the decoder has left,
	// or than it may have at all.
	ErrBudget = errors.New("object: block exceeds the memory budget")

	// ErrPoisoned reports that the symbols of a block contradict each other, so
	// that some were corrupt. All of them are dropped.
	ErrPoisoned = errors.New("object: symbols of a block contradict each other")
)

// Codec makes encoders and decoders of objects that share plans and memory. The zero
// value is ready; a Codec is safe for concurrent use and must not be copied or
// changed after its first use.
type Codec struct {
	// Matrix is the generator matrix of Reed-Solomon codes, on which deployments
	// differ; see [rs.Matrix]. The zero value is what RFC 5510 specifies.
	Matrix rs.Matrix

	// RaptorQ and Raptor hold plans for block sizes in use.
	RaptorQ raptorq.Codec
	Raptor  raptor.Codec
}

// supported reports whether there is a code for a valid OTI.
func supported(o *fec.ObjectInfo) error {
	if o.ID == fec.SmallBlockSystematic && o.Instance != 0 {
		return fmt.Errorf("%w: %v, FEC Instance ID %d", fec.ErrUnsupported, o.ID, o.Instance)
	}
	return nil
}

// ldpcParams returns the parameters of a block of k source symbols.
func ldpcParams(o *fec.ObjectInfo, k int) ldpc.Params {
	return ldpc.Params{K: k, N: o.EncodingSymbols(k), N1: int(o.N1m3) + 3, Seed: o.Seed, Group: o.GroupSize()}
}

// ldpcCodes are the matrices of one object: its blocks have at most two sizes.
type ldpcCodes map[int]*ldpc.Code

func (c *ldpcCodes) get(o *fec.ObjectInfo, k int) (*ldpc.Code, error) {
	if code := (*c)[k]; code != nil {
		return code, nil
	}
	code, err := ldpc.NewCode(ldpcParams(o, k))
	if err != nil {
		return nil, err
	}
	if *c == nil {
		*c = make(ldpcCodes, 2)
	}
	(*c)[k] = code
	return code, nil
}

// blockSizes returns the numbers of source symbols that blocks of the object have:
// the larger, and the smaller or the same again.
func blockSizes(o *fec.ObjectInfo) (large, small int) {
	n := o.Blocks()
	if n == 0 {
		return 0, 0
	}
	large, _, _ = o.Block(0)
	small, _, _ = o.Block(uint32(n - 1))
	return large, small
}
