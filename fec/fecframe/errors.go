package fecframe

import "errors"

var (
	// ErrConfig reports a configuration that the scheme rules out.
	ErrConfig = errors.New("fecframe: invalid configuration")

	// ErrPacket reports a packet that does not fit the configuration. It changed
	// nothing. A packet that is too short is io.ErrUnexpectedEOF.
	ErrPacket = errors.New("fecframe: packet does not fit the configuration")

	// ErrConflict reports a packet that contradicts another one of its block, so
	// that one of the two is corrupt. The first is kept.
	ErrConflict = errors.New("fecframe: packets of a block contradict each other")

	// ErrPoisoned reports a block that was decoded to what no sender encodes.
	ErrPoisoned = errors.New("fecframe: decoded block is corrupt")

	// ErrOld reports a packet of a block that is no longer waited for.
	ErrOld = errors.New("fecframe: block is no longer waited for")

	// ErrRecovered reports a source packet that arrives after its ADU was recovered:
	// it has been delivered already.
	ErrRecovered = errors.New("fecframe: ADU was recovered before it arrived")

	// ErrBudget reports limits that do not allow for the blocks of a
	// configuration, or a block that does not decode with many more symbols than
	// it should need.
	ErrBudget = errors.New("fecframe: memory budget exceeded")

	// ErrFull reports an ADU that does not fit into the block any more: close the
	// block, and add it to the next one.
	ErrFull = errors.New("fecframe: source block is full")

	// ErrTooLong reports an ADU that fits no block.
	ErrTooLong = errors.New("fecframe: ADU is too long for the configuration")

	// ErrGap reports a sequence number that does not follow the last one. RFC 6681
	// section 8.2.2 wants a dummy ADU in its place, or the block closed.
	ErrGap = errors.New("fecframe: sequence numbers are not consecutive")
)
