package raptorq

// plan is a recipe that turns the values of given encoding symbols into the
// intermediate symbols. It depends on K' and on which symbols are given, never
// on their values, and is immutable once built.
//
// Columns solved by peeling come first (peeled), then inactive columns that a
// left-over binary row solves (dense), then those that only HDPC rows solve
// (rest). With C the intermediate symbols and D the values of the rows:
//
//  1. For peeled and dense steps in order: C[col] = D[row] + sum of C[before].
//     Inactive columns count as zero while this goes on.
//  2. The HDPC rows, reduced by the dense ones, give the rest.
//  3. For dense steps from last to first: C[col] += sum of C[after].
//  4. For peeled steps in order: C[col] = D[row] + sum of C[before and after].
//
// Computing the peeled columns twice from the sparse rows is much cheaper than
// keeping what each owes to the inactive columns, which would be dense.
type plan struct {
	params params
	peeled []step
	dense  []step
	cols   []uint16 // arena of the steps' lists

	// rest[i] is column i of the last group, which is the sum over HDPC rows h
	// of byHDPC[i*H+h] * (HDPC row h) and over dense steps k of
	// byDense[i*len(dense)+k] * C[dense[k].col], both taken after step 1.
	rest    []uint16
	byHDPC  []uint8
	byDense []uint8

	// surplus are the binary rows that nothing was solved by; all their
	// columns are in the after list, and col means nothing.
	surplus []step
}

// step solves column col by row row; rows below S are LDPC rows of value zero.
type step struct {
	row             uint32
	begin, mid, end uint32 // before is cols[begin:mid], after is cols[mid:end]
	col             uint16
}

// extraInactive bounds the columns that peeling may add to the P permanently
// inactive ones. Random symbol sets need about 200 at the largest K'; the bound
// keeps symbol sets picked by an adversary from taking cubic time.
const extraInactive = 1536

// newPlan plans for the encoding symbols with the given ISIs. If these do not
// determine the block it returns a nil plan and the number of further symbols
// that are needed at least.
func newPlan(p *params, isis []uint32) (pl *plan, need int) {
	if len(isis) < p.kp {
		return nil, p.kp - len(isis)
	}
	m := newRows(p, isis)
	z := newPeeler(p, &m)
	if !z.run(p.p + extraInactive) {
		return nil, 1
	}
	b := builder{
		plan: &plan{
			params: *p,
			peeled: make([]step, 0, len(z.order)),
			cols:   make([]uint16, 0, len(m.cols)),
		},
		rows:     &m,
		peeler:   z,
		inactive: z.inactive,
		words:    (len(z.inactive) + 63) / 64,
	}
	b.addPeeled()
	b.addDense()
	if need := b.addRest(); need > 0 {
		return nil, need
	}
	b.addSurplus()
	return b.plan, 0
}

// size is the approximate memory that the plan holds, in octets.
func (pl *plan) size() int {
	return 20*(cap(pl.peeled)+cap(pl.dense)) + 2*cap(pl.cols) +
		len(pl.byHDPC) + len(pl.byDense) + 256
}
